import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, type Channel, type Client, type OpenChannelOptions } from '../../src/client/client.ts'
import type { ChannelOpenResult } from '../../src/core/wire/ipc/ipc-methods.ts'
import { PEER, startBench, turns, until, type Bench } from '../ipc/support.ts'

let bench: Bench
let client: Client

beforeEach(async () => {
  bench = await startBench()
  client = await connect({ dir: bench.dir, app: 'dice' })
})
afterEach(async () => {
  await client.close()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

const open = (options: Partial<OpenChannelOptions> = {}): Promise<Channel> => client.openChannel(PEER, { app: 'echo', ...options })
const rejection = (promise: Promise<unknown>): Promise<unknown> => promise.then((value) => value, (error: unknown) => error)
const number = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)
const valueOf = (bytes: Uint8Array): number => new Uint32Array(bytes.slice().buffer)[0]!

describe('messages', () => {
  it('come back in order, through the loop', async () => {
    const channel = await open({ meta: Uint8Array.of(1, 2), lane: 'high' })
    expect(channel).toMatchObject({ peer: PEER, app: 'echo', mode: 'reliable-ordered', lane: 'high', maxMessage: 1_048_576, credit: 65_536 })
    const sending = (async () => {
      for (let i = 0; i < 20_000; i++) await channel.send(number(i))
    })()
    let next = 0
    for await (const message of channel) {
      expect(message.id).toBe(next)
      expect(valueOf(message.bytes)).toBe(next)
      if (++next === 20_000) break
    }
    await sending
    expect(channel.waiting).toBe(0)
  })

  it('come back in order, through the callback', async () => {
    const channel = await open()
    let next = 0
    let wrong = 0
    let resolve: () => void = () => undefined
    const done = new Promise<void>((settle) => (resolve = settle))
    channel.onMessage((message) => {
      if (valueOf(message.view()) !== next || message.id !== next || message.length !== 4) wrong++
      if (++next === 50_000) resolve()
    })
    for (let i = 0; i < 50_000; i++) await channel.send(number(i))
    await done
    expect(wrong).toBe(0)
  })

  it('of every size come back whole', async () => {
    const channel = await open({ credit: 4_194_304 })
    for (const size of [0, 1, 100, 65_536 - 21, 65_536 - 20, 200_000, 1_048_576]) {
      const bytes = new Uint8Array(size).map((_, i) => i * 7 + size)
      await channel.send(bytes)
      expect(Buffer.compare((await channel.receive())!.bytes, bytes)).toBe(0)
    }
  })

  it('are the receiver\'s own bytes', async () => {
    const channel = await open()
    const bytes = Uint8Array.of(1, 2, 3)
    await channel.send(bytes)
    bytes.fill(9)
    await channel.send(Uint8Array.of(4))
    const [first, second] = [await channel.receive(), await channel.receive()]
    expect([first!.bytes, second!.bytes]).toEqual([Uint8Array.of(1, 2, 3), Uint8Array.of(4)])
    expect(first!.bytes.buffer.byteLength).toBe(3)
  })

  it('sent in one turn go out in one write', async () => {
    const channel = await open()
    const before = bench.handler.received
    for (let i = 0; i < 100; i++) expect(channel.trySend(number(i))).toBe('queued')
    expect(bench.handler.received).toBe(before)
    client.flush()
    await until(() => bench.handler.received === before + 100)
  })

  it('carry lane and ttl', async () => {
    bench.handler.record = true
    const channel = await open({ mode: 'unreliable', deadlineMs: 80 })
    await channel.send(number(1), { lane: 'critical', ttlMs: 30 })
    expect(channel.trySend(number(2))).toBe('queued')
    await until(() => bench.handler.taken.length === 2)
    expect(bench.handler.taken).toMatchObject([{ lane: 0, ttlMs: 30 }, { lane: 255, ttlMs: 80 }])
  })

  it('that no channel of this kind takes are refused here', async () => {
    bench.handler.maxMessage = 10
    const ordered = await open()
    await expect(ordered.send(new Uint8Array(11))).rejects.toMatchObject({ code: 'limit', details: { limit: 'message', max: 10 } })
    expect(() => ordered.trySend(new Uint8Array(11))).toThrow(expect.objectContaining({ code: 'limit' }) as Error)
    await expect(ordered.send(number(1), { lane: 'low' })).rejects.toMatchObject({ code: 'params' })
    await expect(ordered.send(number(1), { ttlMs: -1 })).rejects.toMatchObject({ code: 'params' })
    expect(ordered.credit).toBe(65_536)
  })

  it('wait for a callback that is set later, and go back to waiting without it', async () => {
    const channel = await open()
    for (let i = 0; i < 3; i++) channel.trySend(number(i))
    await until(() => channel.waiting === 3)
    const seen: number[] = []
    channel.onMessage((message) => seen.push(valueOf(message.copy())))
    expect(seen).toEqual([0, 1, 2])
    channel.onMessage(undefined)
    channel.trySend(number(3))
    expect(valueOf((await channel.receive())!.bytes)).toBe(3)
  })
})

describe('backpressure', () => {
  it('is said at once or waited for, and nothing is lost', async () => {
    bench.handler.sendCredit = 360
    const channel = await open({ credit: 40 })
    let queued = 0
    while (channel.trySend(number(queued)) === 'queued') queued++
    expect(queued).toBe(10)
    expect(channel.credit).toBe(0)
    // The echo cannot give its answers back: 40 carries two of cost 36, and none is taken here.
    await turns(20)
    expect(channel.waiting).toBe(2)
    expect(channel.trySend(number(0))).toBe('queued')
    expect(channel.trySend(number(0))).toBe('queued')
    expect(channel.trySend(number(0))).toBe('full')
    const waiting = [channel.send(number(100)), channel.send(number(101))]
    const room = channel.writable()
    await turns(20)
    expect(channel.trySend(number(0))).toBe('full')
    const seen: number[] = []
    while (seen.length < 14) seen.push(valueOf((await channel.receive())!.bytes))
    await Promise.all([...waiting, room])
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 100, 101])
  })

  it('that is not waited for is refused, not stored', async () => {
    bench.handler.sendCredit = 1
    const channel = await open({ credit: 0 })
    channel.trySend(number(0))
    const sends = Array.from({ length: 257 }, () => rejection(channel.send(number(1))))
    expect(await sends[256]).toMatchObject({ code: 'limit', hint: expect.stringContaining('wait') as string })
    await channel.close({ abort: true })
    expect(await sends[0]).toMatchObject({ code: 'closed' })
  })

  it('can be called off, and the order of the others stays', async () => {
    bench.handler.sendCredit = 1
    const channel = await open({ credit: 1 })
    channel.trySend(number(0))
    await until(() => channel.waiting === 1)
    expect(channel.trySend(number(1))).toBe('queued')
    const controller = new AbortController()
    const [called, kept] = [rejection(channel.send(number(2), { signal: controller.signal })), channel.send(number(3))]
    const room = rejection(channel.writable({ signal: controller.signal }))
    controller.abort()
    expect(await called).toMatchObject({ code: 'aborted' })
    expect(await room).toMatchObject({ code: 'aborted' })
    await expect(channel.send(number(4), { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' })
    const seen = [await channel.receive(), await channel.receive(), await channel.receive()]
    await kept
    expect(seen.map((message) => valueOf(message!.bytes))).toEqual([0, 1, 3])
  })

  it('stops the daemon when messages are not taken', async () => {
    const { handler } = bench
    const channel = await open({ credit: 10_000 })
    const sending = (async () => {
      for (let i = 0; i < 3000; i++) await channel.send(new Uint8Array(68))
    })()
    await until(() => channel.waiting === 100)
    await turns(50)
    expect(channel.waiting).toBe(100)
    expect([...handler.clients.values()][0]!.unsent).toBe(0)
    for (let i = 0; i < 3000; i++) expect((await channel.receive())!.id).toBe(i)
    await sending
  })

  it('of receiving can be called off without losing a message', async () => {
    const channel = await open()
    const controller = new AbortController()
    const called = rejection(channel.receive({ signal: controller.signal }))
    controller.abort()
    expect(await called).toMatchObject({ code: 'aborted' })
    channel.trySend(number(5))
    expect(valueOf((await channel.receive())!.bytes)).toBe(5)
  })
})

describe('the end of a channel', () => {
  it('by this side ends loops and refuses sends', async () => {
    const channel = await open()
    const loop = (async () => {
      for await (const message of channel) expect(message).toBeDefined()
      return 'ended'
    })()
    await channel.close({ code: 300, reason: 'over' })
    expect(await loop).toBe('ended')
    expect(await channel.closed).toMatchObject({ code: 'done', by: 'local' })
    expect(channel.trySend(number(1))).toBe('closed')
    await expect(channel.send(number(1))).rejects.toMatchObject({ code: 'closed' })
    await channel.close()
  })

  it('by the peer comes after its last message', async () => {
    const { handler } = bench
    const channel = await open()
    channel.trySend(number(1))
    await until(() => handler.received === 1)
    const { client: server, number: which } = [...handler.channels.values()][0]!
    server.sendMessage(which, 0, number(2), 0, 4)
    server.closeChannel(which, { code: 'done', reason: '', by: 'peer' })
    await channel.closed
    const seen: number[] = []
    for await (const message of channel) seen.push(valueOf(message.bytes))
    expect(seen).toEqual([1, 2])
    expect(await channel.receive()).toBeUndefined()
  })

  it('that was not agreed is an error to who reads', async () => {
    const { handler } = bench
    const [gone, own] = [await open(), await open()]
    const rows = [...handler.channels.values()]
    rows[0]!.client.closeChannel(rows[0]!.number, { code: 'app_gone', reason: 'it crashed', by: 'peer' })
    rows[1]!.client.closeChannel(rows[1]!.number, { code: 'app', appCode: 777, reason: 'I won', by: 'peer' })
    await expect(gone.receive()).rejects.toMatchObject({ code: 'closed', details: { end: 'app_gone', by: 'peer', reason: 'it crashed' } })
    expect(await own.receive()).toBeUndefined()
    expect(await own.closed).toEqual({ code: 'app', appCode: 777, reason: 'I won', by: 'peer' })
  })

  it('is asked for by await using', async () => {
    let kept: Channel
    {
      await using channel = await open()
      kept = channel
    }
    expect(await kept.closed).toMatchObject({ code: 'done' })
  })

  it('comes to a channel whose opener no longer waits', async () => {
    const { handler } = bench
    let answer: () => void = () => undefined
    const closes: number[] = []
    const close = handler.methods['channel.close']
    Object.assign(handler.methods, {
      'channel.close': (...args: Parameters<typeof close>) => {
        closes.push(args[1].channel)
        return close(...args)
      },
    })
    handler.overrides = {
      'channel.open': async (server, request): Promise<ChannelOpenResult> => {
        await new Promise<void>((resolve) => (answer = resolve))
        const channel = server.addChannel({ peer: request.peer, context: 1, mode: request.mode, credit: 100, deadlineMs: 0 })!
        return { channel, handle: 1, sendCredit: 100, maxMessage: 100 }
      },
    }
    const controller = new AbortController()
    const opening = rejection(open({ signal: controller.signal }))
    await turns(10)
    controller.abort()
    expect(await opening).toMatchObject({ code: 'aborted' })
    answer()
    await until(() => closes.length === 1)
    expect(closes).toEqual([1])
  })

  it('has its figures', async () => {
    const channel = await open()
    expect(await channel.stats()).toMatchObject({ sent: 1, received: 2, rttMs: null })
    await expect(channel.stats({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
  })
})

describe('listening', () => {
  it('hands out channels to accept or reject', async () => {
    const listener = await client.listen('dice', { from: 'any', credit: 1000 })
    await expect(client.listen('dice')).rejects.toMatchObject({ code: 'app_taken' })
    bench.handler.offer('dice', { mode: 'unreliable', lane: 'low', meta: Uint8Array.of(5), credit: 1000 })
    bench.handler.offer('dice')
    const offers = listener[Symbol.asyncIterator]()
    const { value: first } = await offers.next()
    expect(first).toMatchObject({ peer: PEER, app: 'dice', mode: 'unreliable', lane: 'low', meta: Uint8Array.of(5) })
    const channel = await first!.accept()
    channel.trySend(number(8))
    expect(valueOf((await channel.receive())!.bytes)).toBe(8)
    const { value: second } = await offers.next()
    await second!.reject({ reason: 'busy' })
    await expect(second!.accept()).rejects.toMatchObject({ code: 'unknown_channel' })
    await listener.close()
    expect(await offers.next()).toMatchObject({ done: true })
    expect(bench.handler.listening.size).toBe(0)
    await (await client.listen('dice')).close()
  })

  it('skips what was undecided for too long', async () => {
    const listener = await client.listen('dice')
    const late = bench.handler.offer('dice')!
    ;[...bench.handler.clients.values()][0]!.closeChannel(late, { code: 'timeout', reason: '', by: 'daemon' })
    bench.handler.offer('dice', { lane: 'critical' })
    await client.status()
    const { value } = await listener[Symbol.asyncIterator]().next()
    expect(value).toMatchObject({ lane: 'critical' })
  })

  it('fails when the name is another program\'s', async () => {
    const other = await connect({ dir: bench.dir })
    await other.listen('dice')
    await expect(client.listen('dice')).rejects.toMatchObject({ code: 'app_taken' })
    await other.close()
    await until(() => bench.handler.listening.size === 0)
    await (await client.listen('dice')).close()
  })

  it('gets messages that come before accept was answered', async () => {
    const { handler } = bench
    const accept = handler.methods['channel.accept']
    Object.assign(handler.methods, {
      'channel.accept': async (...args: Parameters<typeof accept>) => {
        const [server, { channel }] = args
        server.sendMessage(channel, 0, number(1), 0, 4)
        await turns(3)
        return await accept(...args)
      },
    })
    const listener = await client.listen('dice')
    handler.offer('dice')
    const { value } = await listener[Symbol.asyncIterator]().next()
    const channel = await value!.accept()
    expect(valueOf((await channel.receive())!.bytes)).toBe(1)
  })
})

describe('closing the client', () => {
  it('writes what was queued first', async () => {
    bench.handler.echo = false
    bench.handler.sendCredit = 10_000_000
    const channel = await open()
    for (let i = 0; i < 9; i++) channel.trySend(new Uint8Array(1_000_000))
    await client.close()
    await until(() => bench.handler.received === 9, 'all nine')
    expect(await channel.closed).toMatchObject({ code: 'disconnected' })
    await expect(client.status()).rejects.toMatchObject({ code: 'closed' })
  })
})
