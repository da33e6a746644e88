import { loadAddon } from '../src/platform/addon.ts'
import { sleep, type BenchCase, type Sample, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { CpuWatch } from './harness/processes.ts'
import type { UdpEnd, UdpHopEnd } from './udp-hop-child.ts'

/** A base-size datagram of the product: 1152 bytes of plaintext and 29 around them. */
const SIZE = 1181
const SEGMENTS = 64
const WARM_UP_MS = 500

const names = { addon: 'UDP driver, addon', driver: 'UDP driver, node:dgram', plain: 'node:dgram' } as const

function hasNativeUdp(): boolean {
  const state = loadAddon()
  return state.kind === 'loaded' && state.addon.udp !== undefined
}

/**
 * One hop over the loopback between two processes: what the UDP driver adds to plain node:dgram, and what the addon takes away. The sender is not held back,
 * so the kernel drops what the receiver cannot take: what was received counts, and CPU per datagram is the figure to watch over time.
 */
export const udpHop: BenchCase = {
  name: 'udp-hop', title: 'datagrams received over one hop of UDP between two processes, the sender not held back', headline: 'packetsPerSecond', messageSize: SIZE,
  subjects: () => (['addon', 'driver', 'plain'] as const).filter((way) => way !== 'addon' || hasNativeUdp()).map((way) => ({ name: names[way], measure: (tools) => measure(tools, way) })),
}

async function measure({ settings }: Tools, way: UdpEnd['way']): Promise<Sample> {
  await using receiver = newEnd()
  await using sender = newEnd()
  const end = { way, size: SIZE, segments: SEGMENTS }
  const [port] = await Promise.all([receiver.ask('open', end), sender.ask('open', end)])
  await sender.ask('go', { port })
  await sleep(WARM_UP_MS)
  const watch = new CpuWatch({ sender: sender.pid, receiver: receiver.pid })
  const [sentBefore, receivedBefore] = await Promise.all([sender.ask('read'), receiver.ask('read')])
  await sleep(settings.seconds * 500)
  const [sentAfter, receivedAfter] = await Promise.all([sender.ask('read'), receiver.ask('read')])
  const sent = sentAfter.sent - sentBefore.sent
  const received = receivedAfter.received - receivedBefore.received
  // Little is dropped: what was received stands for both.
  const { processes, cores, others } = watch.read(received)
  return {
    figures: { packetsPerSecond: received / ((receivedAfter.atMs - receivedBefore.atMs) / 1000), cores, othersCores: others }, processes,
    counts: { sent, received },
    notes: [`about ${(received / Math.max(1, receivedAfter.batches - receivedBefore.batches)).toFixed(0)} datagrams per batch received`],
  }
}

function newEnd(): Child<UdpHopEnd> {
  return new Child(new URL('./udp-hop-child.js', import.meta.url))
}
