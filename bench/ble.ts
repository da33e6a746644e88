import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { whyNoWire, Wire } from '../test/lab/wire.ts'
import type { Air } from './ble-air.ts'
import type { Overtake } from './ble-overtake.ts'
import { Chain, type Places } from './chain.ts'
import type { Role } from './chain-app.ts'
import { sleep, Unmeasurable, type BenchCase, type DaemonBuild, type Sample, type Subject, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { BenchDaemon, growth, pair, type DaemonOptions } from './harness/daemon.ts'
import { CpuWatch, totalNsPerUnit } from './harness/processes.ts'
import { Histogram, spread } from './harness/stats.ts'

/** What a good phone gives to all of its links together, in both directions. */
const SLOW_BITS = 400_000
const INTERVAL_MS = 15
const MESSAGE_SIZE = 8192
const WARM_UP_MS = 2000
const PATIENCE_MS = 30_000
const BULK_BYTES = 65_536
/** Bulk flows for some intervals before the critical message is said: never at the same point of one. */
const OVERTAKE_AFTER_MS = [150, 163, 171, 184, 192, 157, 166, 178, 189, 199] as const
const COUNTED = ['ble_sent_datagrams', 'ble_sent_values', 'acks_sent', 'packets_lost', 'frames_retransmitted', 'ble_blocked', 'ble_sent_bytes'] as const
const OUTAGES = 3
const PING_PAUSE_MS = 20

/** From dist-bench/bench. */
const lab = fileURLToPath(new URL('../../test/lab', import.meta.url))

/** As fast as the processes can, or as a phone does. */
const fast = 'MTU 517, nothing delays'
const slow = `MTU 517, every ${INTERVAL_MS} ms, ${SLOW_BITS / 1000} kbit/s`

/** Two real daemons, each with a radio in a process of its own, on a virtual air: nothing of it is hardware, everything above the controller is what ships. */
export const ble: readonly BenchCase[] = [
  {
    name: 'ble-bulk', title: `reliable messages of ${MESSAGE_SIZE} bytes by Bluetooth, app → app, on the virtual air`, headline: 'megabytesPerSecond', messageSize: MESSAGE_SIZE,
    subjects: each((build) => [
      { name: `${build.name}, ${fast}`, goals: [{ metric: 'megabytesPerSecond', atLeast: 1 }], measure: (tools) => bulk(tools, build, undefined) },
      { name: `${build.name}, ${slow}`, goals: [{ metric: 'linkPercent', atLeast: 85 }], measure: (tools) => bulk(tools, build, SLOW_BITS) },
    ]),
  },
  {
    name: 'ble-rtt', title: 'round trip of 100 bytes by Bluetooth, app → app → app, nothing else going on', headline: 'p50Us',
    subjects: each((build) => [
      { name: `${build.name}, ${fast}`, goals: [{ metric: 'p50Us', atMost: 5000 }], measure: (tools) => roundTrips(tools, build, undefined) },
      { name: `${build.name}, ${slow}`, measure: (tools) => roundTrips(tools, build, SLOW_BITS) },
    ]),
  },
  {
    name: 'ble-overtake', title: `one critical message by Bluetooth behind ${BULK_BYTES / 1024} KiB that were queued on the low lane, app → app; p50 and p99 of ${OVERTAKE_AFTER_MS.length}`, headline: 'p50Us',
    subjects: each((build) => [{ name: `${build.name}, ${slow}`, goals: [{ metric: 'p99Us', atMost: 2 * INTERVAL_MS * 1000 }], measure: (tools) => overtake(tools, build) }]),
  },
  {
    name: 'ble-fallback', title: `the network dies in silence under a ping every ${PING_PAUSE_MS} ms: the longest that one took, by Bluetooth in the end`, headline: 'p99Us', once: true,
    subjects: each((build) => [{ name: `${build.name}, ${slow}`, goals: [{ metric: 'p99Us', atMost: 3_000_000 }, { metric: 'misplaced', atMost: 0 }], measure: (tools) => fallback(tools, build) }]),
  },
]

function each(subjects: (build: DaemonBuild) => readonly Subject[]): BenchCase['subjects'] {
  return ({ builds }) => builds.flatMap(subjects)
}

/** The air and how a daemon gets to it. */
async function openAir(directory: string, bitsPerSecond: number | undefined): Promise<{ readonly air: Child<Air>; readonly set: Readonly<Record<string, string>> }> {
  const { resolve } = createRequire(import.meta.url)
  try {
    for (const name of ['@abandonware/noble', '@abandonware/bleno']) resolve(name)
  } catch {
    throw new Unmeasurable('noble and bleno, which are optional, are not installed')
  }
  const socket = `${directory}/air`
  const air = new Child<Air>(new URL('./ble-air.js', import.meta.url))
  await air.ask('open', { socket, ...(bitsPerSecond === undefined ? {} : { bitsPerSecond }) })
  return { air, set: { 'ble.backend': '"virtual"', 'ble.socket': `"${socket}"` } }
}

/** The two are friends by the network; from here on they may use nothing but the radio, unless `free`. */
async function overTheAir({ progress }: Tools, a: BenchDaemon, b: BenchDaemon, free = false): Promise<void> {
  progress('looking for each other on the air')
  const until = performance.now() + PATIENCE_MS
  for (const [daemon, other] of [[a, b], [b, a]] as const) {
    const client = await daemon.client()
    while (!(await client.nearby()).devices.some(({ peer }) => peer === other.ready.peerId)) {
      if (performance.now() > until) throw new Error(`${daemon.name} does not hear ${other.name}: ${(await client.bleStatus()).reason}`)
      await sleep(50)
    }
    if (!free) await client.setPeerPolicy(other.ready.peerId, { only: 'ble' })
  }
  while (!free && !(await Promise.all([kindOf(a, b), kindOf(b, a)])).every((kind) => kind === 'ble')) {
    if (performance.now() > until) throw new Error('The session does not go by Bluetooth.')
    await sleep(50)
  }
}

async function kindOf(daemon: BenchDaemon, other: BenchDaemon): Promise<string | undefined> {
  const peers = await (await daemon.client()).peers()
  return peers.find(({ id }) => id === other.ready.peerId)?.path?.split(' ')[0]
}

async function openChain(tools: Tools, build: DaemonBuild, size: number, roles: { readonly a: Role; readonly b: Role }, set: Readonly<Record<string, string>>): Promise<Chain> {
  const places: Places = { a: { set }, b: { set } }
  const chain = await Chain.open(tools, build, size, roles, places)
  try {
    await overTheAir(tools, chain.a, chain.b)
    return chain
  } catch (error) {
    await chain[Symbol.asyncDispose]()
    throw error
  }
}

async function bulk(tools: Tools, build: DaemonBuild, bits: number | undefined): Promise<Sample> {
  const { air, set } = await openAir(tools.directory, bits)
  await using _ = air
  await using chain = await openChain(tools, build, MESSAGE_SIZE, { a: 'send', b: 'receive' }, set)
  await chain.appA.ask('go', { pauseMs: 0 })
  await sleep(tools.settings.quick ? 500 : WARM_UP_MS)
  tools.progress('measuring')
  const counted = await chain.counters()
  const before = await chain.appB.ask('read')
  const watch = new CpuWatch(chain.pids)
  await sleep(tools.settings.seconds * 1000 * (bits === undefined ? 1 : 2))
  const after = await chain.appB.ask('read')
  const count = after.count - before.count
  const { processes, cores, others } = watch.read(count)
  const grown = growth(counted, await chain.counters())
  await chain.appA.ask('halt')
  if (after.misplaced > 0) throw new Error(`${after.misplaced} messages were lost, doubled or out of order.`)
  const bytesPerSecond = (count * MESSAGE_SIZE * 1000) / (after.atMs - before.atMs)
  return {
    figures: {
      megabytesPerSecond: bytesPerSecond / 1e6, ...(bits === undefined ? {} : { linkPercent: (100 * 8 * bytesPerSecond) / bits }), cores, othersCores: others,
      cpuNsPerMessage: totalNsPerUnit(processes),
    },
    processes, counts: Object.fromEntries(COUNTED.map((name) => [name, grown[name] ?? 0])),
  }
}

async function roundTrips(tools: Tools, build: DaemonBuild, bits: number | undefined): Promise<Sample> {
  const { air, set } = await openAir(tools.directory, bits)
  await using _ = air
  await using chain = await openChain(tools, build, 100, { a: 'ping', b: 'echo' }, set)
  await chain.appA.ask('go', { pauseMs: 0 })
  await sleep(tools.settings.quick ? 300 : WARM_UP_MS)
  tools.progress('measuring')
  await chain.appA.ask('read')
  await sleep(tools.settings.seconds * 1000)
  const latency = new Histogram((await chain.appA.ask('read')).latency)
  await chain.appA.ask('halt')
  return { figures: { p50Us: (latency.percentile(0.5) ?? NaN) / 1000, p99Us: (latency.percentile(0.99) ?? NaN) / 1000 } }
}

async function overtake(tools: Tools, build: DaemonBuild): Promise<Sample> {
  const { air, set } = await openAir(tools.directory, SLOW_BITS)
  await using _ = air
  const options = (name: string): DaemonOptions => ({ name, build, directory: tools.directory, set })
  await using a = await BenchDaemon.start(options('a'))
  await using b = await BenchDaemon.start(options('b'))
  await pair(a, b)
  await overTheAir(tools, a, b)
  const app = (): Child<Overtake> => new Child(new URL('./ble-overtake.js', import.meta.url))
  await using speaker = app()
  await using hearer = app()
  await hearer.ask('start', { path: b.ready.socket, peer: undefined })
  await speaker.ask('start', { path: a.ready.socket, peer: b.ready.peerId })
  let queued = 0
  for (const afterMs of OVERTAKE_AFTER_MS) {
    tools.progress('measuring')
    await speaker.ask('overtake', { bytes: BULK_BYTES, afterMs })
    queued += Math.ceil(BULK_BYTES / MESSAGE_SIZE) * MESSAGE_SIZE
    const until = performance.now() + PATIENCE_MS
    // The next time begins with an empty queue.
    for (let came = 0; came < queued;) {
      if (performance.now() > until) throw new Error(`${came} of ${queued} bytes came`)
      await sleep(50)
      const reading = await hearer.ask('read')
      came = reading.bulkBytes
      latencies.push(...reading.latencies)
    }
  }
  const sorted = latencies.splice(0).sort((x, y) => x - y)
  return { figures: { p50Us: 1000 * spread(sorted).median, p99Us: 1000 * (sorted.at(-1) ?? NaN) }, notes: [`milliseconds: ${sorted.map((ms) => ms.toFixed(1)).join(', ')}`] }
}

const latencies: number[] = []

async function fallback(tools: Tools, build: DaemonBuild): Promise<Sample> {
  const why = whyNoWire()
  if (why !== undefined) throw new Unmeasurable(why)
  const { air, set } = await openAir(tools.directory, SLOW_BITS)
  await using _ = air
  await using wire = await Wire.open(lab)
  const [a, b] = wire.machines
  await using chain = await Chain.open(tools, build, 100, { a: 'ping', b: 'echo' }, { a: { prefix: a.prefix, address: a.address, set }, b: { prefix: b.prefix, address: b.address, set } })
  await overTheAir(tools, chain.a, chain.b, true)
  await chain.appA.ask('go', { pauseMs: PING_PAUSE_MS })
  const outages: number[] = []
  const returns: number[] = []
  for (let i = 0; i < OUTAGES; i++) {
    await sleep(2000)
    await chain.appA.ask('read')
    tools.progress(`the network dies for the ${i + 1}. time`)
    await wire.impair({ loss: 100 })
    await sleep(6000)
    outages.push((new Histogram((await chain.appA.ask('read')).latency).percentile(1) ?? NaN) / 1000)
    if (await kindOf(chain.a, chain.b) !== 'ble') throw new Error('The session does not go by Bluetooth.')
    const back = performance.now()
    await wire.impair({ loss: 0 })
    while (await kindOf(chain.a, chain.b) !== 'udp') {
      if (performance.now() > back + PATIENCE_MS) throw new Error('The session stays on Bluetooth.')
      await sleep(20)
    }
    returns.push(performance.now() - back)
  }
  await chain.appA.ask('halt')
  const { misplaced } = await chain.appB.ask('read')
  return {
    figures: { p50Us: spread(outages).median, p99Us: Math.max(...outages), misplaced },
    notes: [`outages in ms: ${outages.map((us) => (us / 1000).toFixed(0)).join(', ')}; back on UDP after ms: ${returns.map((ms) => ms.toFixed(0)).join(', ')}`],
  }
}
