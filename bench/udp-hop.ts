import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * One hop over the loopback between two processes: what the UDP driver adds to plain node:dgram. The sender is not held back,
 * so the kernel drops what the receiver cannot take: the received rate is what counts, and CPU per datagram is the figure to
 * watch over time. Needs a built dist/.
 */
export interface UdpHopOptions {
  /** Bytes of a datagram. */
  readonly size: number
  /** Datagrams of a burst. */
  readonly segments: number
  readonly seconds: number
  /** Interleaved repetitions; medians are reported. */
  readonly rounds: number
}

export interface UdpHopFigures {
  readonly way: 'driver' | 'plain'
  readonly size: number
  readonly cores: number
  readonly sentPerSecond: number
  readonly receivedPerSecond: number
  readonly sendCpuNs: number
  readonly receiveCpuNs: number
  /** Datagrams per receive batch. */
  readonly batch: number
}

interface Reading {
  readonly sent: number
  readonly received: number
  readonly batches: number
  readonly cpuNs: number
  readonly at: number
}

const child = fileURLToPath(new URL('./udp-hop-child.mjs', import.meta.url))

export async function run(options: Partial<UdpHopOptions> = {}): Promise<readonly UdpHopFigures[]> {
  const settings: UdpHopOptions = { size: 1181, segments: 64, seconds: 3, rounds: 3, ...options }
  const figures: Record<UdpHopFigures['way'], UdpHopFigures[]> = { driver: [], plain: [] }
  for (let round = 0; round < settings.rounds; round++) {
    for (const way of ['driver', 'plain'] as const) figures[way].push(await hop(way, settings))
  }
  const medians = [median(figures.driver), median(figures.plain)]
  for (const { way, size, receivedPerSecond, sentPerSecond, sendCpuNs, receiveCpuNs, batch } of medians) {
    console.log(`udp hop, ${way}: ${size} B, ${Math.round(sentPerSecond)}/s sent, ${Math.round(receivedPerSecond)}/s received, CPU ns per datagram ${Math.round(sendCpuNs)} out, ${Math.round(receiveCpuNs)} in, ${batch.toFixed(1)} per batch, 2 processes`)
  }
  return medians
}

async function hop(way: UdpHopFigures['way'], { size, segments, seconds }: UdpHopOptions): Promise<UdpHopFigures> {
  const receiver = fork(child, ['receive', way, String(size), String(segments)])
  const sender = fork(child, ['send', way, String(size), String(segments)])
  try {
    const [{ port }] = await Promise.all([answer<{ port: number }>(receiver), answer(sender)])
    sender.send({ send: port })
    // The first part of a second is compilation, on both sides.
    await sleep(500)
    const before = await readBoth(sender, receiver)
    await sleep(seconds * 1000)
    const after = await readBoth(sender, receiver)
    sender.send({ stop: true })
    return difference(way, size, before, after)
  } finally {
    sender.kill()
    receiver.kill()
  }
}

function difference(way: UdpHopFigures['way'], size: number, before: readonly [Reading, Reading], after: readonly [Reading, Reading]): UdpHopFigures {
  const [sentBefore, receivedBefore] = before
  const [sentAfter, receivedAfter] = after
  const sent = sentAfter.sent - sentBefore.sent
  const received = receivedAfter.received - receivedBefore.received
  return {
    way, size, cores: 2,
    sentPerSecond: sent / ((sentAfter.at - sentBefore.at) / 1000),
    receivedPerSecond: received / ((receivedAfter.at - receivedBefore.at) / 1000),
    sendCpuNs: (sentAfter.cpuNs - sentBefore.cpuNs) / sent,
    receiveCpuNs: (receivedAfter.cpuNs - receivedBefore.cpuNs) / received,
    batch: way === 'plain' ? 1 : received / Math.max(1, receivedAfter.batches - receivedBefore.batches),
  }
}

async function readBoth(sender: ChildProcess, receiver: ChildProcess): Promise<readonly [Reading, Reading]> {
  sender.send({ read: true })
  receiver.send({ read: true })
  return Promise.all([answer<Reading>(sender), answer<Reading>(receiver)])
}

async function answer<T>(process: ChildProcess): Promise<T> {
  const [message] = (await once(process, 'message')) as [T]
  return message
}

function median(figures: readonly UdpHopFigures[]): UdpHopFigures {
  const sorted = [...figures].sort((a, b) => a.receivedPerSecond - b.receivedPerSecond)
  return sorted[sorted.length >> 1]!
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
