/** Each delivery mode and drop policy between two real daemons, over a network that loses what the test says. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Channel, IpcMode, IpcOverflow, Listener, MessageFate, OpenChannelOptions } from '../../src/client/client.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { Gate } from './support/gate.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const APP = 'modes'
/** A message that fills most of a datagram; all others here are far smaller. */
const LARGE = 900
const SMALL_DATAGRAM_MAX = 600
/** What the queue holds, messages; one channel may have half of it. */
const QUEUE = 64

interface Flow {
  readonly from: Channel
  readonly got: number[]
}

let temporary: TemporaryDirectory
let gate: Gate
let near: TestDaemon
let far: TestDaemon
let listener: Listener
let client: Awaited<ReturnType<TestDaemon['client']>>

beforeAll(async () => {
  temporary = new TemporaryDirectory()
  gate = await Gate.open()
  const toml = `[tcp]\nenabled = false\n[limits]\nqueue_messages = ${QUEUE}\n`
  far = await TestDaemon.start(temporary.join('far'), { toml, args: ['--set', `udp.advertise=["${gate.address}"]`] })
  gate.forwardTo(far.udpPort)
  near = await TestDaemon.start(temporary.join('near'), { toml })
  await pair(far, near)
  listener = await (await far.client()).listen(APP)
  client = await near.client()
}, 60_000)

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  await gate[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

const numbered = (n: number, length = 8): Uint8Array => {
  const bytes = new Uint8Array(length)
  new DataView(bytes.buffer).setUint32(0, n)
  return bytes
}

async function accepted(): Promise<Channel> {
  for await (const incoming of listener) return await incoming.accept()
  throw new Error('nobody came')
}

/** A channel through the gate, and the numbers that come out of it. */
async function flow(mode: IpcMode, options: Partial<OpenChannelOptions> = {}): Promise<Flow> {
  gate.passes = () => true
  const [from, to] = await Promise.all([client.openChannel(far.peerId, { app: APP, mode, ...options }), accepted()])
  const got: number[] = []
  to.onMessage((message) => got.push(new DataView(message.bytes.buffer, message.bytes.byteOffset + message.offset).getUint32(0)))
  // Round trips are known and OPEN is acknowledged before anything is lost.
  await from.sendConfirmed(numbered(1_000_000))
  await until(() => got.length === 1)
  got.length = 0
  return { from, got }
}

/** Datagrams that hold the large message are lost, as often as it is sent. */
function loseLarge(): void {
  gate.dropped = 0
  gate.passes = (length) => length <= SMALL_DATAGRAM_MAX
}

describe('a message that is lost', () => {
  it('holds up those behind it on a reliable-ordered channel, and on no reliable-unordered one', async () => {
    const ordered = await flow('reliable-ordered')
    const unordered = await flow('reliable-unordered')
    loseLarge()
    const first = [ordered.from.sendConfirmed(numbered(0, LARGE)), unordered.from.sendConfirmed(numbered(0, LARGE))]
    await until(() => gate.dropped > 0, 'the loss')
    const rest: Promise<MessageFate>[] = []
    for (let n = 1; n <= 20; n++) for (const { from } of [ordered, unordered]) rest.push(from.sendConfirmed(numbered(n)))
    await Promise.all(rest)
    await until(() => unordered.got.length === 20)
    // The far daemon has all of both; on one channel it waits for the hole.
    expect(unordered.got.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(ordered.got).toEqual([])
    gate.passes = () => true
    expect(await Promise.all(first)).toEqual([{ outcome: 'delivered' }, { outcome: 'delivered' }])
    await until(() => ordered.got.length === 21 && unordered.got.length === 21)
    expect(ordered.got).toEqual(Array.from({ length: 21 }, (_, i) => i))
    expect(unordered.got.at(-1)).toBe(0)
  }, 30_000)

  it('is skipped when it is late, and the ordered channel goes on', async () => {
    const { from, got } = await flow('reliable-ordered')
    loseLarge()
    const late = from.sendConfirmed(numbered(0, LARGE), { ttlMs: 300 })
    await until(() => gate.dropped > 0, 'the loss')
    const rest = [1, 2, 3].map((n) => from.sendConfirmed(numbered(n)))
    expect(await late).toEqual({ outcome: 'dropped', reason: 'deadline' })
    await Promise.all(rest)
    await until(() => got.length === 3, 'what is behind it')
    expect(got).toEqual([1, 2, 3])
    gate.passes = () => true
    await from.sendConfirmed(numbered(4))
    await until(() => got.length === 4)
    expect(got).toEqual([1, 2, 3, 4])
    expect((await from.stats()).dropped).toEqual({ deadline: 1 })
  }, 30_000)

  it('is lost for good on an unreliable channel, and that is told', async () => {
    const { from, got } = await flow('unreliable')
    loseLarge()
    const lost = from.sendConfirmed(numbered(0, LARGE))
    await until(() => gate.dropped > 0, 'the loss')
    const others = [1, 2, 3, 4, 5].map((n) => from.sendConfirmed(numbered(n)))
    expect(await lost).toEqual({ outcome: 'dropped', reason: 'none' })
    for (const fate of await Promise.all(others)) expect(fate).toEqual({ outcome: 'delivered' })
    await until(() => got.length === 5)
    gate.passes = () => true
  }, 30_000)
})

it('latest: values only rise, and the last one arrives', async () => {
  const { from, got } = await flow('latest')
  let count = 0
  gate.passes = () => count++ % 3 !== 0
  const fates: string[] = []
  const onFate = (fate: MessageFate): void => { fates.push(fate.outcome === 'dropped' ? fate.reason : fate.outcome) }
  for (let n = 0; n < 200; n++) {
    await from.send(numbered(n, n % 5 === 0 ? LARGE : 8), { onFate })
    if (n % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await until(() => fates.length === 200 && got.at(-1) === 199, 'the last value and every fate')
  gate.passes = () => true
  expect(got).toEqual([...new Set(got)].sort((a, b) => a - b))
  expect(new Set(fates)).toEqual(new Set(['delivered', 'superseded']))
  expect(got.length).toBeGreaterThan(10)
}, 30_000)

describe('a queue that is full', () => {
  const SENT = 150
  /** So large that a few of them fill what is in flight, which no policy takes back, also where datagrams are of 16 KiB. */
  const SIZE = 50_000

  /** Sends more than the queue holds while nothing passes; then everything does. Returns each message's fate. */
  async function flood(overflow: IpcOverflow, lane: (n: number) => 'critical' | 'low'): Promise<{ readonly fates: string[]; readonly got: number[]; readonly from: Channel }> {
    const { from, got } = await flow('reliable-unordered', { overflow })
    gate.passes = () => false
    const fates: string[] = []
    for (let n = 0; n < SENT; n++) {
      await from.send(numbered(n, SIZE), { lane: lane(n), onFate: (fate) => { fates[n] = fate.outcome === 'dropped' ? fate.reason : fate.outcome } })
    }
    const dropped = (): number => fates.filter((fate) => fate !== 'delivered').length
    await until(() => dropped() >= SENT - QUEUE, 'the drops')
    gate.passes = () => true
    await until(() => Object.keys(fates).length === SENT, 'every fate')
    const delivered = fates.flatMap((fate, n) => (fate === 'delivered' ? [n] : []))
    await until(() => got.length === delivered.length)
    expect([...got].sort((a, b) => a - b), 'what was delivered, once each').toEqual(delivered)
    return { fates, got, from }
  }

  it('drop-oldest: the newest are delivered, of the others it is told', async () => {
    const { fates, from } = await flood('drop-oldest', () => 'low')
    expect(new Set(fates)).toEqual(new Set(['delivered', 'drop-oldest']))
    expect(fates.slice(SENT - 20)).toEqual(Array<string>(20).fill('delivered'))
    const { dropped, lanes } = await from.stats()
    expect(dropped).toEqual({ 'drop-oldest': fates.filter((fate) => fate !== 'delivered').length })
    expect(lanes.low.dropped).toEqual(dropped)
  }, 30_000)

  it('drop-newest: the oldest are delivered', async () => {
    const { fates } = await flood('drop-newest', () => 'low')
    expect(new Set(fates)).toEqual(new Set(['delivered', 'drop-newest']))
    const first = fates.indexOf('drop-newest')
    expect(first).toBeGreaterThanOrEqual(20)
    expect(fates.slice(0, first)).toEqual(Array<string>(first).fill('delivered'))
  }, 30_000)

  it('drop-lowest-lane: what is critical is delivered before anything low is kept', async () => {
    const { fates } = await flood('drop-lowest-lane', (n) => (n % 10 === 9 ? 'critical' : 'low'))
    expect(new Set(fates)).toEqual(new Set(['delivered', 'lane']))
    expect(fates.filter((_, n) => n % 10 === 9)).toEqual(Array<string>(SENT / 10).fill('delivered'))
  }, 30_000)

  it('block: credit stops, nothing is dropped', async () => {
    const { from, got } = await flow('reliable-unordered')
    gate.passes = () => false
    let queued = 0
    while (from.trySend(numbered(queued, 5000)) === 'queued') queued++
    expect(queued).toBeGreaterThan(100)
    gate.passes = () => true
    await from.writable()
    await until(() => got.length === queued)
    expect((await from.stats()).dropped).toEqual({})
  }, 30_000)
})

it('one message to many channels is one call, and comes out of each', async () => {
  const flows = [await flow('reliable-ordered'), await flow('unreliable'), await flow('latest')]
  expect(client.sendMany(flows.map(({ from }) => from), numbered(7))).toEqual(['queued', 'queued', 'queued'])
  await until(() => flows.every(({ got }) => got.length === 1))
  expect(flows.map(({ got }) => got)).toEqual([[7], [7], [7]])
}, 30_000)
