import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { concat, writeU32 } from '../../src/core/base/bytes.ts'
import { MESSAGE_COST } from '../../src/core/wire/ipc/ipc.ts'
import type { ChannelOpenResult } from '../../src/core/wire/ipc/ipc-methods.ts'
import { MESSAGE_MAX, messageFrame, PEER, RawClient, startBench, turns, until, type Bench } from './support.ts'

let bench: Bench
const clients: RawClient[] = []

async function dialHello(): Promise<RawClient> {
  const client = new RawClient(bench.server.path)
  clients.push(client)
  await client.hello()
  return client
}

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

describe('messages', () => {
  it('reach the router with all that they carry', async () => {
    const { handler } = bench
    handler.record = true
    const client = await dialHello()
    const ordered = await client.open({ deadlineMs: 70 })
    const loose = await client.open({ mode: 'unreliable' })
    client.message(ordered, new Uint8Array(5), { flags: 1, tag: 9 })
    client.message(loose, new Uint8Array(0), { lane: 0, ttl: 33, tag: 0xffff_ffff })
    client.message(loose, new Uint8Array(MESSAGE_MAX - 100), { flags: 0xfe })
    await until(() => handler.taken.length === 3)
    expect(handler.taken).toEqual([
      { channel: ordered, lane: 255, tag: 9, ttlMs: 70, confirm: true, length: 5 },
      { channel: loose, lane: 0, tag: 0xffff_ffff, ttlMs: 33, confirm: false, length: 0 },
      { channel: loose, lane: 255, tag: 0, ttlMs: 0, confirm: false, length: MESSAGE_MAX - 100 },
    ])
  })

  it('keep their order and are numbered on the way back', async () => {
    const client = await dialHello()
    const [a, b] = [await client.open(), await client.open()]
    const frames: Uint8Array[] = []
    for (let i = 0; i < 500; i++) frames.push(messageFrame(i % 2 === 0 ? a : b, Uint8Array.of(i, i >> 8)))
    client.write(concat(...frames))
    await until(() => client.messages.length === 500, '500 echoes')
    for (const [channel, start] of [[a, 0], [b, 1]] as const) {
      const own = client.messages.filter((message) => message.channel === channel)
      expect(own.map(({ id }) => id)).toEqual(Array.from({ length: 250 }, (_, i) => i))
      expect(own.map(({ bytes }) => bytes[0]! | (bytes[1]! << 8))).toEqual(Array.from({ length: 250 }, (_, i) => 2 * i + start))
      expect(new Set(own.map(({ handle }) => handle))).toEqual(new Set([1]))
    }
  })

  it('wait in the socket while the router has no room, and none is lost', async () => {
    const { handler } = bench
    const client = await dialHello()
    const channel = await client.open()
    handler.parkNext = 3
    for (let i = 0; i < 50; i++) client.message(channel, Uint8Array.of(i))
    await until(() => client.messages.length === 50, '50 echoes')
    expect(client.messages.map(({ bytes }) => bytes[0])).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(handler.parkNext).toBe(0)
  })

  it('that lie behind one another are handed over together, but for those that are not plain', async () => {
    const { handler } = bench
    handler.record = true
    const client = await dialHello()
    const [a, b] = [await client.open(), await client.open({ mode: 'reliable-unordered' })]
    const plain = (channel: number, from: number, count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => messageFrame(channel, Uint8Array.of(from + i), { tag: from + i }))
    client.write(concat(...plain(a, 1, 4), ...plain(b, 5, 3), messageFrame(b, Uint8Array.of(8), { tag: 8, lane: 1 }), messageFrame(b, Uint8Array.of(9), { tag: 9, ttl: 50 }),
      messageFrame(b, Uint8Array.of(10), { tag: 10, flags: 1 }), messageFrame(b, Uint8Array.of(11)), ...plain(b, 12, 2)))
    await until(() => client.messages.length === 13, '13 echoes')
    expect(client.messages.filter(({ channel }) => channel === b).map(({ bytes }) => bytes[0])).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13])
    expect(handler.taken.map(({ tag }) => tag)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 12, 13])
    expect(handler.taken.slice(7, 10)).toMatchObject([{ lane: 1 }, { ttlMs: 50 }, { confirm: true }])
    expect(handler.runs).toEqual([4, 3, 2])
  })

  it('that there is no room for are taken one by one later, and gathered again behind', async () => {
    const { handler } = bench
    const client = await dialHello()
    const channel = await client.open()
    handler.room = 20
    const frames = (from: number): Uint8Array[] => Array.from({ length: 50 }, (_, i) => messageFrame(channel, Uint8Array.of(from + i)))
    client.write(concat(...frames(0)))
    await until(() => client.messages.length === 50, '50 echoes')
    client.write(concat(...frames(50)))
    await until(() => client.messages.length === 100, '100 echoes')
    expect(client.messages.map(({ bytes }) => bytes[0])).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(handler.runs).toEqual([50, 50])
  })

  it('beyond the credit end the channel, and those before count', async () => {
    const { handler } = bench
    handler.sendCredit = 3 * 42
    handler.echo = false
    handler.credits = false
    const client = await dialHello()
    const channel = await client.open()
    client.write(concat(...Array.from({ length: 6 }, () => messageFrame(channel, new Uint8Array(10)))))
    expect(await client.event('event.channel.closed')).toMatchObject({ channel, code: 'credit' })
    expect(handler.received).toBe(3)
  })

  it('of a channel that was closed meanwhile are ignored', async () => {
    const client = await dialHello()
    const channel = await client.open()
    await client.ask('channel.close', { channel })
    client.message(channel, Uint8Array.of(1))
    client.credit(channel, 100)
    expect(await client.ask('status')).toHaveProperty('result')
    expect(bench.server.counters().ipc_ignored_closed_channel).toBe(2)
    expect(await client.errorOf(client.call('channel.stats', { channel }))).toBe('unknown_channel')
  })

  it('are sent together, as far as credit goes and up to one with flags', async () => {
    const client = await dialHello()
    const [channel, loose] = [await client.open({ credit: 3 * 33 }), await client.open({ mode: 'unreliable' })]
    const daemon = bench.handler.clients.get(0)!
    const bytes = Uint8Array.from({ length: 40 }, (_, i) => i)
    const rows = { offset: Int32Array.from({ length: 10 }, (_, i) => 4 * i), length: new Int32Array(10).fill(1), flags: new Uint8Array(10) }
    expect(daemon.sendRun(channel, bytes, rows, 2, 10)).toBe(3)
    expect(daemon.sendRun(channel, bytes, rows, 5, 10)).toBe(0)
    expect(daemon.deliveryCredit(channel)).toBe(0)
    rows.flags[3] = 1
    expect(daemon.sendRun(loose, bytes, rows, 0, 10)).toBe(3)
    expect(daemon.sendRun(loose, bytes, rows, 3, 10)).toBe(0)
    expect(daemon.sendMessage(loose, 1, bytes, 12, 1)).toBe('queued')
    expect(daemon.sendRun(loose, bytes, rows, 4, 6)).toBe(2)
    expect(daemon.sendRun(99, bytes, rows, 0, 1)).toBe(0)
    await until(() => client.messages.length === 9, '9 messages')
    const of = (number: number): number[][] => client.messages.filter((message) => message.channel === number).map(({ bytes: [first], id, handle, flags }) => [first!, id, handle, flags])
    expect(of(channel)).toEqual([[8, 0, 1, 0], [12, 1, 1, 0], [16, 2, 1, 0]])
    expect(of(loose)).toEqual([[0, 0, 1, 0], [4, 1, 1, 0], [8, 2, 1, 0], [12, 3, 1, 1], [16, 4, 1, 0], [20, 5, 1, 0]])
    client.credit(channel, 33)
    await until(() => daemon.deliveryCredit(channel) === 33, 'credit')
    expect(daemon.sendRun(channel, bytes, rows, 0, 10)).toBe(1)
  })

  it('come after the answer that opens their channel, and before the event that closes it', async () => {
    bench.handler.overrides = {
      'channel.open': async (peer, request): Promise<ChannelOpenResult> => {
        const channel = peer.addChannel({ peer: request.peer, context: 1, mode: request.mode, credit: request.credit, deadlineMs: 0 })!
        for (let i = 0; i < 3; i++) expect(peer.sendMessage(channel, 1, Uint8Array.of(i), 0, 1)).toBe('queued')
        await turns(5)
        setImmediate(() => {
          peer.sendMessage(channel, 0, Uint8Array.of(9), 0, 1)
          peer.closeChannel(channel, { code: 'app', appCode: 300, reason: 'over', by: 'peer' })
          expect(peer.sendMessage(channel, 0, Uint8Array.of(9), 0, 1)).toBe('closed')
        })
        return { channel, handle: peer.peerHandle(request.peer), sendCredit: 100, maxMessage: 100 }
      },
    }
    const client = await dialHello()
    const channel = await client.open()
    expect(await client.event('event.channel.closed')).toEqual({ channel, code: 'app', appCode: 300, reason: 'over', by: 'peer' })
    expect(client.frames.slice(1).map((entry) => (entry.kind === 'message' ? entry.bytes[0] : entry.kind))).toEqual(['json', 0, 1, 2, 9, 'json'])
    expect(client.messages[0]!.flags).toBe(1)
  })

  it('are not promised on a channel that ended before it was open', async () => {
    bench.handler.overrides = {
      'channel.open': (peer, request): ChannelOpenResult => {
        const channel = peer.addChannel({ peer: request.peer, context: 1, mode: request.mode, credit: request.credit, deadlineMs: 0 })!
        peer.sendMessage(channel, 0, Uint8Array.of(1), 0, 1)
        peer.closeChannel(channel, { code: 'no_app', reason: '', by: 'peer' })
        return { channel, handle: 1, sendCredit: 100, maxMessage: 100 }
      },
    }
    const client = await dialHello()
    expect(await client.errorOf(client.call('channel.open', { peer: PEER, app: 'echo', mode: 'unreliable' }))).toBe('unknown_channel')
    await turns(5)
    expect(client.frames).toHaveLength(2)
  })
})

describe('credit of a client', () => {
  it('may be used up by one large message, and a message without it closes the channel', async () => {
    bench.handler.sendCredit = 100
    bench.handler.echo = false
    bench.handler.onMessage = () => true
    const client = await dialHello()
    const channel = await client.open()
    client.message(channel, new Uint8Array(500_000))
    expect(await client.ask('status')).toHaveProperty('result')
    client.message(channel, Uint8Array.of(1))
    expect(await client.event('event.channel.closed')).toMatchObject({ channel, code: 'credit', by: 'daemon' })
    expect(bench.handler.broken).toMatchObject([{ code: 'credit' }])
    expect(await client.ask('status')).toHaveProperty('result')
    expect(bench.server.counters().ipc_channel_no_credit).toBe(1)
  })

  it('grows by what the daemon gives', async () => {
    bench.handler.sendCredit = 33
    const client = await dialHello()
    const channel = await client.open()
    for (let i = 0; i < 5; i++) {
      client.message(channel, Uint8Array.of(i))
      await until(() => client.frames.filter(({ kind }) => kind === 'credit').length === i + 1, 'credit')
    }
    expect(client.frames.filter((entry) => entry.kind === 'credit')).toEqual(new Array(5).fill({ kind: 'credit', channel, add: 33 }))
    expect(client.messages).toHaveLength(5)
  })

  it('is nothing before a channel was accepted', async () => {
    const client = await dialHello()
    await client.ask('listen', { app: 'dice' })
    const channel = bench.handler.offer('dice')!
    await client.event('event.channel.incoming')
    client.message(channel, Uint8Array.of(1))
    expect(await client.event('event.channel.closed')).toMatchObject({ channel, code: 'credit' })
  })

  it('does not help against messages that are too large, or lanes that are none', async () => {
    bench.handler.maxMessage = 1000
    const client = await dialHello()
    const [large, ordered, loose] = [await client.open(), await client.open(), await client.open({ mode: 'unreliable' })]
    client.message(large, new Uint8Array(1001))
    client.message(ordered, Uint8Array.of(1), { lane: 1 })
    client.message(loose, Uint8Array.of(1), { lane: 4 })
    await until(() => bench.handler.broken.length === 3)
    expect(bench.handler.broken.map(({ code }) => code)).toEqual(['limit', 'protocol', 'protocol'])
  })
})

describe('credit for a client', () => {
  it('stops the daemon until the client gives it back', async () => {
    const { handler } = bench
    const client = await dialHello()
    const channel = await client.open({ credit: 100 })
    for (let i = 0; i < 10; i++) client.message(channel, Uint8Array.of(i))
    await until(() => handler.received === 10)
    await turns(10)
    // 100, 67, 34, 1: the fourth message takes it below zero.
    expect(client.messages).toHaveLength(4)
    expect([...handler.clients.values()][0]!.deliveryCredit(channel)).toBe(-32)
    client.credit(channel, 33)
    await until(() => client.messages.length === 5)
    await turns(10)
    expect(client.messages).toHaveLength(5)
  })

  it('that is more than was taken opens nothing', async () => {
    const { handler } = bench
    const client = await dialHello()
    const channel = await client.open({ credit: 50 })
    client.credit(channel, 0xffff_ffff)
    client.message(channel, Uint8Array.of(0))
    client.message(channel, Uint8Array.of(1))
    client.message(channel, Uint8Array.of(2))
    await until(() => client.messages.length === 2)
    await turns(5)
    expect(client.messages).toHaveLength(2)
    client.credit(channel, 0xffff_ffff)
    await until(() => client.messages.length === 3)
    expect(handler.credited).toEqual([2 * (1 + MESSAGE_COST)])
  })
})

describe('incoming channels', () => {
  it('are offered, accepted with credit, and used', async () => {
    const client = await dialHello()
    await client.ask('listen', { app: 'dice' })
    const channel = bench.handler.offer('dice', { mode: 'unreliable', lane: 'high', meta: Uint8Array.of(1, 2, 3) })!
    expect(await client.event('event.channel.incoming')).toEqual({ channel, peer: PEER, handle: 1, app: 'dice', mode: 'unreliable', lane: 'high', meta: 'AQID' })
    expect(await client.ask('channel.accept', { channel, credit: 64 })).toMatchObject({ result: { sendCredit: 65_536, maxMessage: MESSAGE_MAX } })
    expect(await client.errorOf(client.call('channel.accept', { channel }))).toBe('unknown_channel')
    client.message(channel, Uint8Array.of(7))
    client.message(channel, Uint8Array.of(8))
    client.message(channel, Uint8Array.of(9))
    await until(() => client.messages.length === 2)
    await turns(5)
    expect(client.messages.map(({ bytes }) => bytes[0])).toEqual([7, 8])
  })

  it('are rejected for good', async () => {
    const client = await dialHello()
    await client.ask('listen', { app: 'dice' })
    const channel = bench.handler.offer('dice')!
    await client.ask('channel.reject', { channel, reason: 'busy' })
    expect(await client.errorOf(client.call('channel.accept', { channel }))).toBe('unknown_channel')
  })

  it('can be accepted again when the router could not yet', async () => {
    const { handler } = bench
    let fails = 1
    const accept = handler.methods['channel.accept']
    Object.assign(handler.methods, {
      'channel.accept': (...args: Parameters<typeof accept>) => (fails-- > 0 ? Promise.reject(new Error('a bug')) : accept(...args)),
    })
    const client = await dialHello()
    await client.ask('listen', { app: 'dice' })
    const channel = handler.offer('dice')!
    expect(await client.errorOf(client.call('channel.accept', { channel }))).toBe('internal')
    expect(handler.faults.splice(0)).toHaveLength(1)
    expect(await client.ask('channel.accept', { channel })).toHaveProperty('result')
  })

  it('and opened ones are at most 256, with numbers that are never used again', async () => {
    const client = await dialHello()
    const numbers = new Set<number>()
    for (let i = 0; i < 256; i++) numbers.add(await client.open())
    expect(await client.errorOf(client.call('channel.open', { peer: PEER, app: 'echo', mode: 'unreliable' }))).toBe('limit')
    await client.ask('listen', { app: 'dice' })
    expect(bench.handler.offer('dice')).toBeUndefined()
    await client.ask('channel.close', { channel: 5 })
    expect(await client.open()).toBe(257)
    expect(numbers.size).toBe(256)
  })
})

describe('a client that does not read', () => {
  it('is held at 1 MiB and let go at 4 MiB, told why, and the others never notice', async () => {
    const { handler, server } = bench
    const slow = await dialHello()
    const other = await dialHello()
    const channel = await slow.open({ credit: 16_777_216 })
    const echo = await other.open()
    slow.socket.pause()
    const client = [...handler.clients.values()].find(({ id }) => id === 0)!
    const message = new Uint8Array(60_000)
    let sent = 0
    while (!client.congested) {
      expect(client.sendMessage(channel, 0, message, 0, message.length)).toBe('queued')
      sent++
      await turns(1)
    }
    expect(client.unsent).toBeGreaterThan(1_048_576)
    expect(client.unsent).toBeLessThan(1_200_000)
    // A router that ignores that:
    while (client.sendMessage(channel, 0, message, 0, message.length) === 'queued') sent++
    expect(sent * message.length).toBeLessThan(6_000_000)
    expect(client.unsent).toBeLessThan(200_000)
    expect(handler.ends).toEqual([])
    await until(() => handler.ends.length === 1)
    expect(handler.ends[0]).toMatchObject({ code: 'slow_reader' })
    other.message(echo, Uint8Array.of(1))
    await until(() => other.messages.length === 1, 'an echo')
    slow.socket.resume()
    expect(await slow.event('event.bye')).toMatchObject({ code: 'slow_reader' })
    await slow.gone()
    expect(server.counters().ipc_end_slow_reader).toBe(1)
  })

  it('is cut after a second when it does not even read the reason', async () => {
    const { handler, server, timers } = bench
    const slow = await dialHello()
    const channel = await slow.open({ credit: 16_777_216 })
    slow.socket.pause()
    const client = [...handler.clients.values()][0]!
    while (client.sendMessage(channel, 0, new Uint8Array(60_000), 0, 60_000) === 'queued') await turns(1)
    await until(() => handler.ends.length === 1)
    expect(server.clients).toBe(1)
    await timers.advance(1001)
    await until(() => server.clients === 0)
  })

  it('makes room again when it reads on', async () => {
    const { handler } = bench
    const slow = await dialHello()
    const channel = await slow.open({ credit: 16_777_216 })
    slow.socket.pause()
    const client = [...handler.clients.values()][0]!
    while (!client.congested) {
      client.sendMessage(channel, 0, new Uint8Array(60_000), 0, 60_000)
      await turns(1)
    }
    expect(handler.writable).toBe(0)
    slow.socket.resume()
    await until(() => handler.writable === 1, 'room')
    expect(client.congested).toBe(false)
    await until(() => client.unsent === 0)
    expect(slow.messages.map(({ id }) => id)).toEqual(slow.messages.map((_, i) => i))
  })

  it('goes after 15 s without progress, and not while it makes some', async () => {
    const { handler, timers } = bench
    const slow = await dialHello()
    const channel = await slow.open({ credit: 16_777_216 })
    slow.socket.pause()
    const client = [...handler.clients.values()][0]!
    while (client.unsent < 300_000) {
      client.sendMessage(channel, 0, new Uint8Array(60_000), 0, 60_000)
      await turns(1)
    }
    for (let i = 0; i < 3; i++) {
      await timers.advance(14_000)
      expect(handler.ends).toEqual([])
      const before = client.unsent
      slow.socket.resume()
      await until(() => client.unsent < before, 'progress')
      slow.socket.pause()
      while (client.unsent < 300_000) {
        client.sendMessage(channel, 0, new Uint8Array(60_000), 0, 60_000)
        await turns(1)
      }
    }
    await timers.advance(15_001)
    await until(() => handler.ends.length === 1)
    expect(handler.ends[0]).toMatchObject({ code: 'slow_reader' })
  })

  it('is not sent more than 1024 events', async () => {
    const { handler } = bench
    const slow = await dialHello()
    slow.socket.pause()
    const client = [...handler.clients.values()][0]!
    // The socket's own buffer must be full first, else events count as read.
    const channel = await openPaused(slow, client.id)
    while (client.unsent < 100_000) {
      client.sendMessage(channel, 0, new Uint8Array(60_000), 0, 60_000)
      await turns(1)
    }
    let events = 0
    while (handler.ends.length === 0 && events < 3000) {
      const offered = client.offerChannel({ peer: PEER, context: 9, mode: 'unreliable', lane: 'low', app: 'x', meta: new Uint8Array(0), credit: 1, deadlineMs: 0 })
      client.closeChannel(offered!, { code: 'done', reason: '', by: 'peer' })
      events += 2
      if (events % 100 === 0) await turns(1)
    }
    expect(events).toBeGreaterThan(1024)
    expect(events).toBeLessThan(1200)
    expect(handler.ends[0]).toMatchObject({ code: 'slow_reader', reason: expect.stringContaining('1024 events') as string })
  })

  it('but writes is bounded as well', async () => {
    const { handler, server } = bench
    const slow = await dialHello()
    const other = await dialHello()
    slow.socket.pause()
    const request = new Uint8Array(200)
    const text = '{"jsonrpc":"2.0","id":1,"method":"status","params":{}}'
    writeU32(request, 0, text.length + 1)
    request.set(new TextEncoder().encode(text), 5)
    const one = request.subarray(0, text.length + 5)
    const many = concat(...new Array<Uint8Array>(1000).fill(one))
    for (let i = 0; i < 60 && handler.ends.length === 0; i++) {
      slow.write(many)
      await turns(5)
    }
    await until(() => handler.ends.length === 1, 'the end of it')
    expect(handler.ends[0]).toMatchObject({ code: 'slow_reader' })
    expect(await other.ask('status')).toHaveProperty('result')
    expect(server.clients).toBeLessThanOrEqual(2)
  })
})

/** Opens a channel for a client whose own side does not read the answer. */
async function openPaused(client: RawClient, id: number): Promise<number> {
  const { handler } = bench
  client.call('channel.open', { peer: PEER, app: 'echo', mode: 'unreliable', credit: 16_777_216 })
  await until(() => [...handler.channels.values()].some((channel) => channel.client.id === id))
  return [...handler.channels.values()].find((channel) => channel.client.id === id)!.number
}
