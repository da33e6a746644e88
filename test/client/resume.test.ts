import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, type Channel, type Client, type Message } from '../../src/client/client.ts'
import type { ClientTimers } from '../../src/client/timers.ts'
import { PEER, startBench, turns, until, type Bench } from '../ipc/support.ts'
import { CuttingProxy, type Cut } from './cutting-proxy.ts'

/** Comes back a hundred times faster, and gives up its channels as late as ever. */
const quickTimers: ClientTimers = {
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs < 5000 ? delayMs / 100 : delayMs)
    return () => clearTimeout(timer)
  },
  defer(callback) {
    setImmediate(callback)
  },
  random: () => 0.5,
}

let bench: Bench
let proxy: CuttingProxy
let client: Client

beforeEach(async () => {
  bench = await startBench()
  const path = join(bench.dir, 'run', 'cut.sock')
  proxy = await CuttingProxy.start(path, bench.server.path)
  client = await connect({ path, timers: quickTimers })
})
afterEach(async () => {
  await client.close()
  await proxy.close()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

const numbered = (value: number, size = 4): Uint8Array => {
  const bytes = new Uint8Array(Math.max(4, size)).fill(value)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}
const valueOf = (message: Message): number => new DataView(message.bytes.buffer).getUint32(0)

/** Sends messages to the echo and takes what comes back: everything, once, in order. */
async function converse(channel: Channel, first: number, count: number, size: (i: number) => number): Promise<void> {
  const sending = (async () => {
    for (let i = 0; i < count; i++) await channel.send(numbered(first + i, size(i)))
  })()
  for (let i = 0; i < count; i++) {
    const message = await channel.receive()
    if (message === undefined) throw new Error('the channel ended')
    if (valueOf(message) !== first + i || message.id !== first + i) throw new Error(`${valueOf(message)} (${message.id}) came in place of ${first + i}`)
    if (Buffer.compare(message.bytes, numbered(first + i, size(i))) !== 0) throw new Error(`${first + i} came with other bytes`)
  }
  await sending
}

describe('a channel outlives its connection', () => {
  it.each(['client', 'daemon'] as const)('cut at every byte of what the %s writes, nothing is lost or doubled', async (from) => {
    const channel = await client.openChannel(PEER, { app: 'echo', credit: 200 })
    let next = 0
    let cuts = 0
    for (let after = 0; ; after++) {
      proxy.cutOnce({ from, after })
      await converse(channel, next, 6, (i) => 7 * i)
      next += 6
      if (proxy.armed) break
      cuts++
    }
    // Six messages of 21 bytes and more, in each direction.
    expect(cuts).toBeGreaterThan(200)
    expect(bench.server.counters().ipc_clients_resumed).toBeGreaterThanOrEqual(cuts)
    expect(bench.handler.received).toBe(next)
  })

  it('however often and wherever it is cut, with large and small messages, in both directions at once', async () => {
    await fc.assert(fc.asyncProperty(
      fc.array(fc.record({ from: fc.constantFrom<Cut['from']>('client', 'daemon'), after: fc.oneof(fc.nat(300), fc.nat(60_000)) }), { minLength: 1, maxLength: 6 }),
      fc.array(fc.oneof(fc.nat(60), fc.nat(30_000)), { minLength: 5, maxLength: 60 }), fc.integer({ min: 100, max: 100_000 }),
      async (cuts, sizes, credit) => {
        bench.handler.sendCredit = credit
        const channel = await client.openChannel(PEER, { app: 'echo', credit })
        const plan = [...cuts]
        proxy.cutOnce(plan.shift()!)
        const arming = setInterval(() => {
          if (!proxy.armed && plan.length > 0) proxy.cutOnce(plan.shift()!)
        }, 1)
        try {
          await converse(channel, 0, sizes.length, (i) => sizes[i]!)
        } finally {
          clearInterval(arming)
          proxy.disarm()
        }
        await until(() => client.state === 'connected')
        await channel.close()
      },
    ), { numRuns: 60 })
    expect(proxy.cuts).toBeGreaterThan(60)
  }, 60_000)

  it('while the app does not read, however often: what waits is here once', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo', credit: 1000 })
    for (let i = 0; i < 100; i++) channel.trySend(numbered(i))
    for (let round = 0; round < 20; round++) {
      await until(() => channel.waiting === 28)
      proxy.cutOnce({ from: 'daemon', after: 0 })
      client.status().catch(() => undefined)
      await until(() => !proxy.armed)
      await until(() => bench.server.counters().ipc_clients_resumed === round + 1)
    }
    for (let i = 0; i < 100; i++) expect(valueOf((await channel.receive())!)).toBe(i)
  })

  it('and queues meanwhile, within its credit', async () => {
    bench.handler.sendCredit = 36 * 10
    const channel = await client.openChannel(PEER, { app: 'echo' })
    const listening = await client.listen('dice')
    await proxy.close()
    await until(() => client.state === 'reconnecting')
    let queued = 0
    while (channel.trySend(numbered(queued)) === 'queued') queued++
    expect(queued).toBe(10)
    const waiting = channel.send(numbered(10))
    proxy = await CuttingProxy.start(join(bench.dir, 'run', 'cut.sock'), bench.server.path)
    for (let i = 0; i <= 10; i++) expect(valueOf((await channel.receive())!)).toBe(i)
    await waiting
    expect(listening.app).toBe('dice')
    await until(() => bench.handler.listening.has('dice'), 'the listener to be back')
  })

  it('though the app takes a message between hello and its answer', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo' })
    for (let i = 0; i < 5; i++) channel.trySend(numbered(i))
    await until(() => channel.waiting === 5)
    const taken: Promise<Message | undefined>[] = []
    const { handler } = bench
    const resumed = handler.onClientResumed.bind(handler)
    handler.onClientResumed = () => {
      taken.push(channel.receive(), channel.receive())
      return resumed()
    }
    proxy.cutOnce({ from: 'client', after: 0 })
    await client.status().catch(() => undefined)
    await until(() => taken.length === 2)
    for (let i = 2; i < 5; i++) taken.push(channel.receive())
    expect((await Promise.all(taken)).map((message) => valueOf(message!))).toEqual([0, 1, 2, 3, 4])
    await turns(10)
    expect(channel.waiting).toBe(0)
  })

  it('and does not take credit for earlier messages as a sign that a later one arrived', async () => {
    const { handler } = bench
    const seen: number[] = []
    handler.onMessage = (_session, message) => {
      seen.push(new DataView(message.bytes.buffer, message.bytes.byteOffset + message.offset).getUint32(0))
      return true
    }
    const channel = await client.openChannel(PEER, { app: 'echo' })
    const session = [...handler.clients.values()][0]!
    for (let i = 0; i < 5; i++) channel.trySend(numbered(i))
    await until(() => seen.length === 5)
    proxy.cutOnce({ from: 'client', after: 0 })
    await client.status().catch(() => undefined)
    await until(() => bench.server.counters().ipc_clients_resumed === 1 && client.state === 'connected')
    // The next message stays in the daemon's socket, and goes with it.
    session.pause()
    await turns(5)
    const before = channel.credit
    channel.trySend(numbered(5))
    session.sendCredit(1, 5 * 36)
    await until(() => channel.credit === before - 36 + 5 * 36)
    await proxy.close()
    proxy = await CuttingProxy.start(join(bench.dir, 'run', 'cut.sock'), bench.server.path)
    await until(() => bench.server.counters().ipc_clients_resumed === 2)
    session.resume()
    await until(() => seen.length > 5, 'the message that was lost')
    expect(seen).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('and hears of an end that came while it was away, behind the last message', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo' })
    const row = [...bench.handler.channels.values()][0]!
    await proxy.close()
    await until(() => bench.handler.lost.length === 1)
    row.client.sendMessage(row.number, 0, numbered(0), 0, 4)
    row.client.closeChannel(row.number, { code: 'done', reason: 'over', by: 'peer' })
    proxy = await CuttingProxy.start(join(bench.dir, 'run', 'cut.sock'), bench.server.path)
    const seen: number[] = []
    for await (const message of channel) seen.push(valueOf(message))
    expect(seen).toEqual([0])
    expect(await channel.closed).toEqual({ code: 'done', reason: 'over', by: 'peer' })
  })

  it('and is closed when its close was lost', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo' })
    proxy.cutOnce({ from: 'client', after: 3 })
    await channel.close()
    expect(await channel.closed).toMatchObject({ code: 'done', by: 'local' })
    await until(() => client.state === 'connected')
    await turns(10)
    expect([...bench.handler.clients.values()][0]!.channelContext(1)).toBeUndefined()
  })

  it('and what was opened just as the connection was lost is closed there', async () => {
    proxy.cutOnce({ from: 'daemon', after: 20 })
    const opened = client.openChannel(PEER, { app: 'echo' })
    await expect(opened).rejects.toMatchObject({ code: 'disconnected' })
    await until(() => client.state === 'connected')
    const next = await client.openChannel(PEER, { app: 'echo' })
    await converse(next, 0, 3, () => 10)
    expect([...bench.handler.clients.values()].map((one) => one.channelContext(1))).toEqual([undefined])
  })
})

describe('a channel ends with its connection', () => {
  it('when the daemon is another one', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo' })
    await proxy.close()
    await until(() => client.state === 'reconnecting')
    const other = await startBench()
    proxy = await CuttingProxy.start(join(bench.dir, 'run', 'cut.sock'), other.server.path)
    expect(await channel.closed).toMatchObject({ code: 'disconnected', by: 'daemon' })
    await until(() => client.state === 'connected')
    await client.close()
    await other.stop()
  })

  it('when it comes back too late', async () => {
    const channel = await client.openChannel(PEER, { app: 'echo' })
    await proxy.close()
    await until(() => bench.handler.lost.length === 1)
    await bench.timers.advance(10_001)
    expect(bench.handler.ends).toHaveLength(1)
    proxy = await CuttingProxy.start(join(bench.dir, 'run', 'cut.sock'), bench.server.path)
    expect(await channel.closed).toMatchObject({ code: 'disconnected' })
  })

  it('at once without reconnect, and when the client is closed: the daemon does not wait', async () => {
    const single = await connect({ dir: bench.dir, reconnect: false })
    await single.openChannel(PEER, { app: 'echo' })
    await client.openChannel(PEER, { app: 'echo' })
    await turns(10)
    await single.close()
    await client.close()
    await until(() => bench.handler.ends.length === 2)
    expect(bench.handler.lost).toEqual([])
  })
})
