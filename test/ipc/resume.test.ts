import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { jsonFrame, messageFrame, PEER, RawClient, startBench, turns, until, type Bench } from './support.ts'

let bench: Bench
const clients: RawClient[] = []

interface Hello { readonly resume: string; readonly resumed: boolean; readonly lingerMs: number; readonly channels: readonly { readonly channel: number; readonly acceptedTag: number; readonly sendCredit: number }[] }

async function dial(params: object = {}): Promise<{ readonly client: RawClient; readonly hello: Hello }> {
  const client = new RawClient(bench.server.path)
  clients.push(client)
  const hello = (await client.hello(params))['result'] as Hello | undefined
  if (hello === undefined) throw new Error('hello was refused')
  return { client, hello }
}

/** The daemon has seen its end. */
async function lose(client: RawClient): Promise<void> {
  const before = bench.handler.lost.length
  client.destroy()
  await until(() => bench.handler.lost.length > before, 'the loss to be seen')
}

const texts = (client: RawClient): string[] => client.messages.map(({ bytes }) => Buffer.from(bytes).toString())
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

describe('a client that lost its connection', () => {
  it('finds its channels, both balances anew, and gets once more what it did not name', async () => {
    const { client, hello } = await dial()
    expect(hello).toMatchObject({ resumed: false, channels: [], lingerMs: 10_000, resume: expect.stringMatching(/^[0-9a-f]{32}$/) as string })
    const channel = await client.open({ credit: 1000 })
    for (let i = 1; i <= 5; i++) client.message(channel, text(`m${i}`), { tag: i })
    await until(() => client.messages.length === 5)
    client.credit(channel, 34) // The first one is taken.
    await until(() => bench.handler.credited.length === 1)
    await lose(client)
    expect(bench.handler.clients.size).toBe(1)

    const again = await dial({ resume: hello.resume, received: { [channel]: 2 } })
    expect(again.hello).toMatchObject({ resumed: true, channels: [{ channel, acceptedTag: 5, sendCredit: 65_536 }] })
    expect(again.hello.resume).not.toBe(hello.resume)
    await until(() => again.client.messages.length === 2)
    expect(again.client.messages).toMatchObject([{ channel, id: 3, flags: 2 }, { channel, id: 4, flags: 2 }])
    expect(texts(again.client)).toEqual(['m4', 'm5'])
    // What was named as received counts as taken.
    expect(bench.handler.credited).toEqual([34, 68])
    again.client.message(channel, text('m6'), { tag: 6 })
    await until(() => again.client.messages.length === 3)
    expect(again.client.messages[2]).toMatchObject({ id: 5, flags: 0 })
    expect(bench.server.counters()).toMatchObject({ ipc_clients_opened: 1, ipc_clients_lost: 1, ipc_clients_resumed: 1, ipc_clients_closed: 0 })
  })

  it('sends again, and tags that were accepted are ignored, at no cost', async () => {
    bench.handler.echo = false
    const { client, hello } = await dial()
    const channel = await client.open()
    client.message(channel, text('one'), { tag: 1 })
    // The second one is cut in the middle of its frame.
    client.write(messageFrame(channel, text('two'), { tag: 2 }).subarray(0, 15))
    await until(() => bench.handler.received === 1)
    await lose(client)
    const again = await dial({ resume: hello.resume })
    expect(again.hello.channels).toEqual([{ channel, acceptedTag: 1, sendCredit: 65_536 }])
    for (const tag of [1, 2, 3]) again.client.message(channel, text(`t${tag}`), { tag })
    await until(() => bench.handler.received === 3)
    expect(bench.server.counters().ipc_ignored_repeats).toBe(1)
    await turns(5)
    const credit = again.client.frames.reduce((sum, frame) => sum + (frame.kind === 'credit' ? frame.add : 0), 0)
    expect(credit).toBe(3 * 34)
  })

  it('is gone after 10 s, and then its token is worth nothing', async () => {
    const { client, hello } = await dial()
    await client.open()
    await lose(client)
    await bench.timers.advance(9999)
    expect(bench.handler.ends).toEqual([])
    await bench.timers.advance(2)
    expect(bench.handler.ends).toMatchObject([{ code: 'closed' }])
    expect((await dial({ resume: hello.resume })).hello).toMatchObject({ resumed: false, channels: [] })
  })

  it('without channels, or one that said it would leave, is gone at once', async () => {
    const { client } = await dial()
    client.destroy()
    await until(() => bench.handler.ends.length === 1)
    const other = await dial()
    await other.client.open()
    expect(await other.client.ask('leave')).toHaveProperty('result')
    other.client.destroy()
    await until(() => bench.handler.ends.length === 2)
    expect((await dial({ resume: other.hello.resume })).hello.resumed).toBe(false)
  })

  it('needs the token it was told last; the one before is good until its next frame', async () => {
    const first = await dial()
    const channel = await first.client.open()
    await lose(first.client)
    expect((await dial({ resume: 'x'.repeat(32) })).hello.resumed).toBe(false)
    // The answer to this hello is lost: it comes back with the old token.
    const second = await dial({ resume: first.hello.resume })
    await lose(second.client)
    const third = await dial({ resume: first.hello.resume })
    expect(third.hello.resumed).toBe(true)
    // The second one's token was never used, and is void.
    third.client.credit(channel, 0)
    await third.client.ask('status')
    await lose(third.client)
    for (const token of [first.hello.resume, second.hello.resume]) expect((await dial({ resume: token })).hello.resumed).toBe(false)
    expect((await dial({ resume: third.hello.resume })).hello.resumed).toBe(true)
  })

  it('comes back with its own key only', async () => {
    bench.handler.keys.set('pk_a', ['app:*']).set('pk_b', ['app:*'])
    const { client, hello } = await dial({ key: 'pk_a' })
    await client.open()
    await lose(client)
    expect((await dial({ key: 'pk_b', resume: hello.resume })).hello.resumed).toBe(false)
    expect((await dial({ resume: hello.resume })).hello.resumed).toBe(false)
    expect((await dial({ key: 'pk_a', resume: hello.resume })).hello.resumed).toBe(true)
  })

  it('takes its channels from a connection that was not seen to end', async () => {
    const { client, hello } = await dial()
    const channel = await client.open()
    client.message(channel, text('a'), { tag: 1 })
    await until(() => client.messages.length === 1)
    const again = await dial({ resume: hello.resume })
    expect(again.hello).toMatchObject({ resumed: true, channels: [{ channel, acceptedTag: 1 }] })
    await client.gone()
    await until(() => again.client.messages.length === 1)
    expect(bench.handler.ends).toEqual([])
    expect(bench.server.clients).toBe(1)
    again.client.message(channel, text('b'), { tag: 2 })
    await until(() => again.client.messages.length === 2)
  })

  it('writes on in the same breath as hello', async () => {
    const { client, hello } = await dial()
    const channel = await client.open()
    await lose(client)
    const next = new RawClient(bench.server.path)
    clients.push(next)
    const greeting = jsonFrame({ jsonrpc: '2.0', id: 1, method: 'hello', params: { protocol: 1, resume: hello.resume } })
    const message = messageFrame(channel, text('hurry'), { tag: 1 })
    next.write(Buffer.concat([greeting, message.subarray(0, 9)]))
    await turns(10)
    next.write(message.subarray(9))
    await until(() => texts(next).includes('hurry'))
  })

  it('learns what came and what ended while it was away, in order', async () => {
    const { client, hello } = await dial()
    const channel = await client.open()
    const other = await client.open()
    const row = [...bench.handler.channels.values()].find(({ number }) => number === channel)!
    await lose(client)
    for (const word of ['x', 'y']) expect(row.client.sendMessage(channel, 0, text(word), 0, 1)).toBe('queued')
    row.client.closeChannel(channel, { code: 'done', reason: 'over', by: 'peer' })
    expect(row.client.sendMessage(channel, 0, text('z'), 0, 1)).toBe('closed')
    row.client.sendCredit(other, 100)
    const again = await dial({ resume: hello.resume })
    expect(again.hello.channels).toMatchObject([{ channel }, { channel: other, sendCredit: 65_636 }])
    expect(await again.client.event('event.channel.closed')).toMatchObject({ channel, code: 'done', reason: 'over', by: 'peer' })
    expect(again.client.frames.map((frame) => (frame.kind === 'message' ? [Buffer.from(frame.bytes).toString(), frame.flags] : frame.kind)))
      .toEqual(['json', ['x', 0], ['y', 0], 'json'])
  })

  it('is told again of an end that it may not have read, for as long as it could have been slow', async () => {
    const { client, hello } = await dial()
    const channel = await client.open()
    await client.open()
    const row = [...bench.handler.channels.values()][0]!
    row.client.sendMessage(channel, 0, text('last'), 0, 4)
    row.client.closeChannel(channel, { code: 'done', reason: '', by: 'peer' })
    await client.event('event.channel.closed')
    await lose(client)
    const again = await dial({ resume: hello.resume })
    expect(await again.client.event('event.channel.closed')).toMatchObject({ channel })
    expect(texts(again.client)).toEqual(['last'])
    await bench.timers.advance(15_001)
    await again.client.ask('status')
    await lose(again.client)
    expect((await dial({ resume: again.hello.resume })).hello.channels.map((one) => one.channel)).toEqual([2])
  })

  it('has what it was opening or offered ended: it never knew', async () => {
    bench.handler.overrides = { 'channel.open': (caller, { peer, mode, credit, deadlineMs }) => {
      caller.addChannel({ peer, context: 77, mode, credit, deadlineMs })
      return new Promise<never>(() => undefined)
    } }
    const { client, hello } = await dial()
    await client.ask('listen', { app: 'dice' })
    bench.handler.offer('dice')
    client.call('channel.open', { peer: PEER, app: 'echo', mode: 'reliable-ordered' })
    await client.event('event.channel.incoming')
    bench.handler.overrides = {}
    const kept = await client.open()
    await lose(client)
    expect(bench.handler.broken).toHaveLength(2)
    expect(bench.handler.listening.size).toBe(0)
    expect((await dial({ resume: hello.resume })).hello.channels.map(({ channel }) => channel)).toEqual([kept])
  })

  it('gets what waited in pieces that its socket takes, never too much at once', async () => {
    bench.handler.sendCredit = 16_777_216
    const { client, hello } = await dial()
    const numbers = await Promise.all(Array.from({ length: 40 }, () => client.open({ credit: 262_144 })))
    await lose(client)
    const piece = new Uint8Array(65_000)
    for (const row of bench.handler.channels.values()) {
      for (let i = 0; i < 4; i++) expect(row.client.sendMessage(row.number, 0, piece, 0, piece.length)).toBe('queued')
    }
    const next = new RawClient(bench.server.path)
    clients.push(next)
    next.socket.pause()
    next.call('hello', { protocol: 1, resume: hello.resume })
    await until(() => bench.server.counters().ipc_clients_resumed === 1)
    await turns(30)
    const session = [...bench.handler.clients.values()][0]!
    expect(session.unsent).toBeLessThan(1_200_000)
    next.socket.resume()
    await until(() => next.messages.length === 160, '160 messages')
    for (const number of numbers) expect(next.messages.filter(({ channel }) => channel === number).map(({ id }) => id)).toEqual([0, 1, 2, 3])
  })

  it('on an unreliable channel is told of the gap', async () => {
    const { client, hello } = await dial()
    const channel = await client.open({ mode: 'unreliable' })
    client.message(channel, text('a'))
    await until(() => client.messages.length === 1)
    await lose(client)
    const row = [...bench.handler.channels.values()][0]!
    expect(row.client.sendMessage(channel, 0, text('b'), 0, 1)).toBe('no-credit')
    const again = await dial({ resume: hello.resume, received: { [channel]: 0 } })
    again.client.message(channel, text('c'))
    again.client.message(channel, text('d'))
    await until(() => again.client.messages.length === 2)
    expect(again.client.messages).toMatchObject([{ id: 1, flags: 1 }, { id: 2, flags: 0 }])
  })

  it('that names nonsense is refused', async () => {
    const client = new RawClient(bench.server.path)
    clients.push(client)
    expect(await client.errorOf(client.call('hello', { protocol: 1, received: { x: 1 } }))).toBe('params')
    await client.gone()
  })
})

describe('lost clients', () => {
  it('do not keep others out, and the one that was lost first makes room', async () => {
    for (let i = 0; i < 260; i++) {
      const client = new RawClient(bench.server.path)
      client.call('hello', { protocol: 1 })
      client.json({ jsonrpc: '2.0', id: 'open', method: 'channel.open', params: { peer: PEER, app: 'echo', mode: 'reliable-ordered' } })
      await client.answer('open')
      client.destroy()
    }
    await until(() => bench.server.counters().ipc_clients_lost === 260)
    expect(bench.server.clients).toBe(0)
    await turns(5)
    expect(bench.handler.ends.map(({ code }) => code)).toEqual(['limit', 'limit', 'limit', 'limit'])
    await bench.timers.advance(10_001)
    expect(bench.handler.clients.size).toBe(0)
    expect(bench.handler.ends).toHaveLength(260)
  })

  it('end with the daemon', async () => {
    const { client } = await dial()
    await client.open()
    await lose(client)
    await bench.server.close()
    expect(bench.handler.ends).toMatchObject([{ code: 'shutting_down' }])
  })
})
