import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Channel, Client, Listener } from '../../src/client/client.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const APPS = 200
const MESSAGES = 200
const SIZE = 1000

const temporary = new TemporaryDirectory()
let near: TestDaemon
let far: TestDaemon

beforeAll(async () => {
  const toml = '[limits]\nmemory = "64MiB"\n'
  near = await TestDaemon.start(temporary.join('near'), { toml })
  far = await TestDaemon.start(temporary.join('far'), { toml })
  await pair(near, far)
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

/** One app on each daemon, with a connection of its own, and their channel. */
interface Pair {
  readonly sender: Channel
  readonly receiver: Channel
  readonly listener: Listener
  readonly clients: readonly Client[]
  received: number
}

async function makePair(app: string): Promise<Pair> {
  const [here, there] = [await near.client({ app }), await far.client({ app })]
  // Little enough that what stands in sockets, which this one process reads one after the other, is no progress.
  const listener = await there.listen(app, { credit: 32_768 })
  const opening = here.openChannel(far.peerId, { app })
  for await (const incoming of listener) {
    const [receiver, sender] = await Promise.all([incoming.accept(), opening])
    return { sender, receiver, listener, clients: [here, there], received: 0 }
  }
  throw new Error('nobody came')
}

/** Makes them a few at a time: a crowd that waits for one loop is no test of anything. */
async function makePairs(count: number): Promise<Pair[]> {
  const pairs: Pair[] = []
  for (let i = 0; i < count; i += 20) pairs.push(...(await Promise.all(Array.from({ length: Math.min(20, count - i) }, (_, j) => makePair(`app/${i + j}`)))))
  return pairs
}

/** Jain's index: 1 when all have the same, 1/n when one has everything. */
function fairness(shares: readonly number[]): number {
  const sum = shares.reduce((a, b) => a + b, 0)
  return (sum * sum) / (shares.length * shares.reduce((a, b) => a + b * b, 0))
}

async function sendAll(channel: Channel, count: number): Promise<void> {
  const bytes = new Uint8Array(SIZE)
  for (let i = 0; i < count; i++) {
    new DataView(bytes.buffer).setUint32(0, i)
    await channel.send(bytes.slice())
    // All these apps share one loop here; none of them has it for itself.
    if (i % 5 === 4) await turn()
  }
}

/** Takes every message, in order; `each` is told how many. */
async function takeAll(pair: Pair, count: number, each: (received: number) => void): Promise<void> {
  while (pair.received < count) {
    const message = await pair.receiver.receive()
    if (message === undefined) throw new Error(`the channel ended after ${pair.received}`)
    const number = new DataView(message.bytes.buffer, message.bytes.byteOffset).getUint32(0)
    if (number !== pair.received) throw new Error(`${number} came in place of ${pair.received}`)
    pair.received++
    each(pair.received)
  }
}

describe(`${APPS} apps on a daemon, each with its channel to an app on another`, () => {
  let pairs: Pair[]

  beforeAll(async () => {
    pairs = await makePairs(APPS)
  })

  it('all get all their messages, and when the first has its last one the others are nearly there', async () => {
    let progress: readonly number[] | undefined
    const noteFirst = (received: number): void => {
      if (received === MESSAGES) progress ??= pairs.map((pair) => pair.received)
    }
    await Promise.all(pairs.flatMap((pair) => [sendAll(pair.sender, MESSAGES), takeAll(pair, MESSAGES, noteFirst)]))
    expect(pairs.every(({ received }) => received === MESSAGES)).toBe(true)
    expect(fairness(progress!)).toBeGreaterThanOrEqual(0.8)
    expect(Math.min(...progress!)).toBeGreaterThan(0)
    process.stderr.write(`fairness of ${APPS} apps when the first was done: ${fairness(progress!).toFixed(4)}, least ${Math.min(...progress!)} of ${MESSAGES}\n`)
  })

  it('one that floods and ones that stall stop nobody else, and the daemons hold no more than they may', async () => {
    const [flooder, ...others] = pairs
    const [stalled, busy] = [others.slice(0, 10), others.slice(10)]
    for (const pair of pairs) pair.received = 0
    // Nobody takes what these are sent: ten whose apps are asleep, and one that is sent as much as it can be.
    const asleep = stalled.map((pair) => {
      let [sent, open] = [0, true]
      while (open && sent < 10_000) {
        open = pair.sender.trySend(new Uint8Array(SIZE)) === 'queued'
        if (open) sent++
      }
      return sent
    })
    const flood = { on: true, count: 0 }
    const flooding = (async () => {
      for (; flood.on; flood.count++) {
        await flooder!.sender.send(new Uint8Array(60_000))
        await turn()
      }
    })()
    const drain = (async () => {
      while ((await flooder!.receiver.receive()) !== undefined);
    })()
    await Promise.all(busy.flatMap((pair) => [sendAll(pair.sender, MESSAGES), takeAll(pair, MESSAGES, () => undefined)]))
    expect(busy.every(({ received }) => received === MESSAGES)).toBe(true)
    // A sleeper was stopped by credit long before it had sent all it wished to, and the flooder got on all the while.
    expect(Math.max(...asleep)).toBeLessThan(10_000)
    expect(flood.count).toBeGreaterThan(10)
    for (const daemon of [near, far]) {
      const counters = await daemon.counters()
      expect(counters['memory_used']).toBeLessThanOrEqual(counters['memory_capacity']!)
      expect(counters['ipc_end_slow_reader']).toBe(0)
      // Besides the arena: the process itself, and for each connection what its socket and its windows hold.
      expect(daemon.resident()).toBeLessThan(450 * 2 ** 20)
      process.stderr.write(`resident with ${APPS} apps: ${(daemon.resident() / 2 ** 20).toFixed(0)} MiB, arena ${(counters['memory_used']! / 2 ** 20).toFixed(1)} of ${(counters['memory_capacity']! / 2 ** 20).toFixed(0)} MiB\n`)
    }
    flood.on = false
    await flooding
    // Whoever wakes up finds what was sent to it.
    for (const [i, pair] of stalled.entries()) {
      let count = 0
      while (count < asleep[i]! && (await pair.receiver.receive()) !== undefined) count++
      expect(count).toBe(asleep[i])
    }
    await flooder!.sender.close()
    await drain
  })

  it('gone all at once leave nothing behind', async () => {
    await Promise.all(pairs.flatMap(({ clients }) => clients.map((client) => client.close())))
    await until(async () => (await (await near.client()).peers())[0]?.channels === 0, 'all channels are closed')
  })
})
