import { fileURLToPath } from 'node:url'
import { whyNoWire, Wire } from '../test/lab/wire.ts'
import { Chain, type Places } from './chain.ts'
import { sleep, Unmeasurable, type BenchCase, type DaemonBuild, type Sample, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { CpuWatch, totalNsPerUnit } from './harness/processes.ts'
import { join, play, secretStream, type Peer } from './peers/subjects.ts'
import type { TcpBulkEnd } from './tcp-bulk-child.ts'

export const RATE_KBIT = 100_000
export const DELAY_MS = 20
/** One and a half times what is on its way at the full rate. */
const QUEUE = 500
const WARM_UP_MS = 3000
/** Goodput settles slowly: it is measured for as many times the bench's own time. */
const PATIENCE = 4
const MESSAGE_SIZE = 65_536
const PORT = 5201
const COUNTED = ['datagrams_sent', 'packets_lost', 'packets_lost_spurious', 'frames_retransmitted', 'probes_sent'] as const

/** From dist-bench/bench. */
const lab = fileURLToPath(new URL('../../test/lab', import.meta.url))

/**
 * One bulk flow over a real cable between two kernels that loses at random, as Wi-Fi and mobile links do: the daemons in network
 * namespaces, the kernel's own TCP on the same wire in turn, and at 1 and 5 % UDX, whose congestion control is BBR.
 */
export const impaired: readonly BenchCase[] = [0, 1, 2, 5].map((loss): BenchCase => ({
  name: `impaired-${loss}`, title: `bulk over a wire of ${RATE_KBIT / 1000} Mbit/s, ${2 * DELAY_MS} ms round trip, ${loss} % of the packets lost each way at random`,
  headline: 'megabytesPerSecond', messageSize: MESSAGE_SIZE,
  // Fifteen seconds a subject: only what goals look at is worth several rounds.
  ...(loss === 0 ? { once: true } : {}),
  subjects: ({ builds }) => [
    ...builds.map((build) => ({ name: build.name, measure: (tools: Tools) => ours(tools, build, loss, {}) })),
    ...builds.map((build) => ({ name: `${build.name}, cubic`, measure: (tools: Tools) => ours(tools, build, loss, { 'transport.congestion': '"cubic"' }) })),
    { name: 'kernel TCP, cubic', measure: (tools) => kernels(tools, loss) },
    ...(loss === 1 || loss === 5 ? [{ name: secretStream.name, measure: (tools: Tools) => peers(tools, secretStream, loss) }] : []),
  ],
}))

/** The cable between two machines, before anything runs there. */
export async function openWire(loss: number): Promise<Wire> {
  const why = whyNoWire()
  if (why !== undefined) throw new Unmeasurable(why)
  const wire = await Wire.open(lab)
  await wire.impair({ rateKbit: RATE_KBIT, delayMs: DELAY_MS, queue: QUEUE, loss, seed: 11 })
  return wire
}

async function ours(tools: Tools, build: DaemonBuild, loss: number, set: Readonly<Record<string, string>>): Promise<Sample> {
  await using wire = await openWire(loss)
  const [a, b] = wire.machines
  const places: Places = { a: { prefix: a.prefix, address: a.address, set }, b: { prefix: b.prefix, address: b.address, set } }
  await using chain = await Chain.open(tools, build, MESSAGE_SIZE, { a: 'send', b: 'receive' }, places)
  await chain.appA.ask('go', { pauseMs: 0 })
  await sleep(WARM_UP_MS)
  tools.progress('measuring')
  const countersBefore = await chain.counters()
  const before = await chain.appB.ask('read')
  const watch = new CpuWatch(chain.pids)
  await sleep(PATIENCE * tools.settings.seconds * 1000)
  const after = await chain.appB.ask('read')
  const count = after.count - before.count
  const { processes, cores, others } = watch.read(count)
  const countersAfter = await chain.counters()
  const counts = Object.fromEntries(COUNTED.map((name) => [name, (countersAfter[name] ?? 0) - (countersBefore[name] ?? 0)]))
  await chain.appA.ask('halt')
  if (after.misplaced > 0) throw new Error(`${after.misplaced} messages were lost, doubled or out of order.`)
  const packets = counts['datagrams_sent'] ?? 0
  const cpuNsPerMessage = totalNsPerUnit(processes)
  return {
    figures: {
      megabytesPerSecond: (count * MESSAGE_SIZE) / (after.atMs - before.atMs) / 1000, cores, othersCores: others, cpuNsPerMessage,
      packetsPerSecond: (packets / (after.atMs - before.atMs)) * 1000, cpuNsPerPacket: (cpuNsPerMessage * count) / packets,
    },
    processes, counts,
  }
}

/** A library of others on the same wire, process to process. */
async function peers(tools: Tools, peer: Peer, loss: number): Promise<Sample> {
  await using wire = await openWire(loss)
  const [a, b] = wire.machines
  // Awaited here: the wire is to outlive it.
  return await play(peer, tools, async (match) => {
    await join(match, 'reliable', 'bytes')
    await match.dialer.ask('pour', { size: MESSAGE_SIZE, way: 'bytes' })
    await sleep(WARM_UP_MS)
    tools.progress('measuring')
    const before = await match.listener.ask('read')
    const watch = new CpuWatch(match.pids)
    await sleep(PATIENCE * tools.settings.seconds * 1000)
    const after = await match.listener.ask('read')
    if (after.bytes === before.bytes) throw new Error('Nothing arrived.')
    const { processes, cores, others } = watch.read((after.bytes - before.bytes) / MESSAGE_SIZE)
    return { figures: { megabytesPerSecond: (after.bytes - before.bytes) / (after.atMs - before.atMs) / 1000, cores, othersCores: others, cpuNsPerMessage: totalNsPerUnit(processes) }, processes }
  }, [b, a])
}

async function kernels(tools: Tools, loss: number): Promise<Sample> {
  await using wire = await openWire(loss)
  const [a, b] = wire.machines
  // The system's default may be another, and is not to be changed from a namespace everywhere; a route's can.
  for (const machine of wire.machines) machine.run('ip', 'route', 'change', '10.77.0.0/24', 'dev', 'eth0', 'src', machine.address, 'congctl', 'cubic')
  const end = (prefix: readonly string[]): Child<TcpBulkEnd> => new Child(new URL('./tcp-bulk-child.js', import.meta.url), { prefix })
  await using sink = end(b.prefix)
  await using source = end(a.prefix)
  await sink.ask('listen', { port: PORT })
  await source.ask('pour', { host: b.address, port: PORT, size: MESSAGE_SIZE })
  await sleep(WARM_UP_MS)
  tools.progress('measuring')
  const before = await sink.ask('read')
  const watch = new CpuWatch({ source: source.pid, sink: sink.pid })
  await sleep(PATIENCE * tools.settings.seconds * 1000)
  const after = await sink.ask('read')
  const { processes, cores, others } = watch.read((after.bytes - before.bytes) / MESSAGE_SIZE)
  return { figures: { megabytesPerSecond: (after.bytes - before.bytes) / (after.atMs - before.atMs) / 1000, cores, othersCores: others }, processes }
}
