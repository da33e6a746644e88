import { sleep, type BenchCase, type Sample, type Settings, type Subject, type Tools } from '../harness/case.ts'
import { CpuWatch, totalNsPerUnit, warmedUp } from '../harness/processes.ts'
import { Histogram } from '../harness/stats.ts'
import { limitBulk, limitMessages } from '../limit/limit.ts'
import { dgram, join, peers, play, postern, posternEach, posternLarge, type Match, type Peer } from './subjects.ts'
import type { PipeKind } from './transport.ts'
import { wireguard } from './wireguard.ts'

/**
 * Postern beside its peers, process to process: each subject is two processes on this machine with one connection between them,
 * told by the same program (`peer-end.ts`) what to send, on the same clock. Postern takes part as its daemon is inside, without IPC,
 * as the others have none; what IPC adds is the difference to the chain-* cases.
 */

const BULK_SIZE = 65_536
const RTT_SIZE = 100
/** Compilation, slow start: libraries in JavaScript take that long. */
const WARM_UP_MS = 1000
const WARM_UP_CPU_MS = 900
const IDLE_CONNECTIONS = 300
const IDLE_IN_FLIGHT = 10
const IN_FLIGHT = 10
/** With fewer connections than this the measurement goes on, in steps of half a second. */
const SLOW = 5
const SLOW_TRIES = 8

const reliable = peers.filter(({ kinds }) => kinds.includes('reliable'))
const unreliable = peers.filter(({ kinds }) => kinds.includes('unreliable'))

const bulk: BenchCase = {
  name: 'bulk', title: 'reliable bytes from one process to another over one connection, 64 KiB a write', headline: 'megabytesPerSecond', messageSize: BULK_SIZE,
  subjects: () => [
    ...[postern, posternLarge, ...reliable].map((peer) => subject(peer, (tools) => pour(peer, tools, 'reliable', BULK_SIZE))),
    wireguard, ...limitBulk,
  ],
}

/** Reliable messages, and messages that may be lost: packed by whoever packs, and by Postern also one in each datagram. */
function messages(kind: PipeKind, size: 100 | 1024): BenchCase {
  // At 1 KiB one message fills a datagram of the base size either way.
  const ours = size === 100 ? [postern, posternLarge, posternEach] : [postern, posternLarge]
  const others = kind === 'reliable' ? reliable : [...unreliable, dgram]
  return {
    name: `${kind === 'reliable' ? 'messages' : 'datagrams'}-${size === 100 ? '100' : '1k'}`, headline: 'messagesPerSecond', messageSize: size,
    title: kind === 'reliable'
      ? 'reliable messages from one process to another, one write each; streams carry a length before each'
      : 'messages that may be lost, from one process to another: those that arrived',
    subjects: () => [
      ...[...ours, ...others].map((peer) => subject(peer, (tools) => pour(peer, tools, kind, size))),
      ...(kind === 'unreliable' ? limitMessages(size) : []),
    ],
  }
}

const rtt: BenchCase = {
  name: 'rtt', title: 'round trip process → process → process, one message at a time, nothing else going on', headline: 'p50Us', messageSize: RTT_SIZE,
  subjects: () => [postern, ...reliable, dgram].map((peer) => subject(peer, (tools) => roundTrips(peer, tools))),
}

const connects: BenchCase = {
  name: 'connects', title: 'connections made, each until a byte came back through it, then closed; both ends on this machine (Postern: see handshakes)', headline: 'handshakesPerSecond', once: true,
  subjects: () => reliable.flatMap((peer): Subject[] => [1, IN_FLIGHT].map((inFlight) => ({
    name: `${peer.name}, ${inFlight === 1 ? 'one at a time' : `${inFlight} in flight`}`, measure: (tools) => connections(peer, tools, inFlight),
  }))),
}

const idle: BenchCase = {
  name: 'idle-peers', title: 'resident memory of the listening process per idle connection (Postern: see idle-memory)', headline: 'residentKiBPerSession', once: true,
  subjects: (settings) => reliable.map((peer) => subject(peer, (tools) => holding(peer, tools, settings))),
}

export const comparison: readonly BenchCase[] = [bulk, messages('reliable', 100), messages('reliable', 1024), messages('unreliable', 100), messages('unreliable', 1024), rtt, connects, idle]

function subject({ name }: Peer, measure: Subject['measure']): Subject {
  return { name, measure }
}

function pour(peer: Peer, tools: Tools, kind: PipeKind, size: number): Promise<Sample> {
  const way = size === BULK_SIZE ? 'bytes' : 'messages'
  return play(peer, tools, async (match) => {
    const { listener, dialer } = match
    await join(match, kind, way)
    await dialer.ask('pour', { size, way })
    await warmUp(tools, match)
    const [before, sentBefore] = [await listener.ask('read'), await dialer.ask('read')]
    const watch = new CpuWatch(match.pids)
    await sleep(tools.settings.seconds * 500)
    const [after, sentAfter] = [await listener.ask('read'), await dialer.ask('read')]
    const bytes = after.bytes - before.bytes
    const count = way === 'bytes' ? bytes / size : after.messages - before.messages
    if (count === 0) throw new Error('Nothing arrived.')
    const { processes, cores, others } = watch.read(count)
    const seconds = (after.atMs - before.atMs) / 1000
    const packets = sentAfter.packets - sentBefore.packets
    const cpuNsPerMessage = totalNsPerUnit(processes)
    return {
      figures: {
        messagesPerSecond: count / seconds, cores, othersCores: others, cpuNsPerMessage,
        ...(size === 100 ? {} : { megabytesPerSecond: (count * size) / seconds / 1e6, cpuNsPerKiB: (cpuNsPerMessage * 1024) / size }),
        ...(packets === 0 ? {} : { packetsPerSecond: packets / seconds, cpuNsPerPacket: (cpuNsPerMessage * count) / packets }),
      },
      processes,
    }
  })
}

function roundTrips(peer: Peer, tools: Tools): Promise<Sample> {
  return play(peer, tools, async (match) => {
    await join(match, peer.kinds.includes('reliable') ? 'reliable' : 'unreliable', 'echo')
    await match.dialer.ask('ping', { size: RTT_SIZE })
    await warmUp(tools, match)
    const [before, listenerBefore] = [await match.dialer.ask('read'), await match.listener.ask('read')]
    const watch = new CpuWatch(match.pids)
    await sleep(tools.settings.seconds * 500)
    const after = await match.dialer.ask('read')
    const count = after.messages - before.messages
    if (count === 0) throw new Error('Nothing came back.')
    const { processes, cores, others } = watch.read(count)
    const packets = after.packets - before.packets + (await match.listener.ask('read')).packets - listenerBefore.packets
    const cpuNsPerMessage = totalNsPerUnit(processes)
    return {
      figures: {
        ...latencies(after.latency), messagesPerSecond: (count / (after.atMs - before.atMs)) * 1000, cores, othersCores: others, cpuNsPerMessage,
        ...(packets === 0 ? {} : { cpuNsPerPacket: (cpuNsPerMessage * count) / packets }),
      },
      processes,
    }
  })
}

function connections(peer: Peer, tools: Tools, inFlight: number): Promise<Sample> {
  return play(peer, tools, async (match) => {
    const meeting = await match.listener.ask('listen', { way: 'echo' })
    await match.dialer.ask('connect', { meeting, inFlight })
    await warmUp(tools, match)
    const before = await match.dialer.ask('read')
    const watch = new CpuWatch(match.pids)
    await sleep(tools.settings.seconds * 500)
    let after = await match.dialer.ask('read')
    // WebRTC takes the better part of a second for one.
    for (let more = 0; more < SLOW_TRIES && after.messages - before.messages < SLOW; more++) {
      await sleep(500)
      const next = await match.dialer.ask('read')
      after = { ...next, latency: next.latency.map((value, bucket) => value + after.latency[bucket]!) }
    }
    await match.dialer.ask('halt')
    const count = after.messages - before.messages
    if (count === 0) throw new Error('No connection was made.')
    const { processes, cores, others } = watch.read(count)
    return {
      figures: {
        ...latencies(after.latency), handshakesPerSecond: (count / (after.atMs - before.atMs)) * 1000, cores, othersCores: others,
        cpuUsPerHandshake: (processes.find(({ name }) => name === 'listener')?.nsPerUnit ?? NaN) / 1000,
      },
      processes,
    }
  })
}

function holding(peer: Peer, tools: Tools, { quick }: Settings): Promise<Sample> {
  const count = quick ? 20 : peer.connections ?? IDLE_CONNECTIONS
  return play(peer, tools, async ({ listener, dialer }) => {
    const meeting = await listener.ask('listen', { way: 'echo' })
    // What the first ones cost is made once.
    await dialer.ask('hold', { meeting, count: count / 2, inFlight: IDLE_IN_FLIGHT })
    const before = await listener.ask('resident')
    await dialer.ask('hold', { meeting, count, inFlight: IDLE_IN_FLIGHT })
    await sleep(quick ? 100 : 1000)
    const grown = (await listener.ask('resident')) - before
    const watch = new CpuWatch({ listener: listener.pid })
    await sleep(quick ? 200 : 1500)
    const { processes, others } = watch.read()
    return {
      figures: { residentKiBPerSession: grown / count / 1024, corePercent: 100 * (processes[0]?.cores ?? NaN), othersCores: others },
      notes: [`${count} connections more after ${count / 2}; resident set without V8's young generation, after forced collections, to within a few KiB`],
    }
  })
}

async function warmUp({ settings, progress }: Tools, { pids }: Match): Promise<void> {
  progress('warming up')
  if (settings.quick) await sleep(200)
  else await warmedUp(pids, WARM_UP_MS, WARM_UP_CPU_MS)
  progress('measuring')
}

function latencies(counts: Float64Array): { readonly p50Us: number; readonly p99Us: number } {
  const histogram = new Histogram(counts)
  const us = (share: number): number => (histogram.percentile(share) ?? NaN) / 1000
  return { p50Us: us(0.5), p99Us: us(0.99) }
}
