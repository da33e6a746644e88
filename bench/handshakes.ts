import { join } from 'node:path'
import { decodePeerId } from '../src/core/wire/peer-id.ts'
import { sleep, type BenchCase, type DaemonBuild, type Sample, type Subject, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { BenchDaemon, growth } from './harness/daemon.ts'
import { CpuWatch, warmedUp } from './harness/processes.ts'
import { writeRoster } from './harness/state.ts'
import { Histogram } from './harness/stats.ts'
import type { Load, Target } from './load.ts'

const IN_FLIGHT = 32
const WARM_UP_MS = 1500
const WARM_UP_CPU_MS = 1500
const COUNTED = ['cookies_sent', 'handshakes_refused', 'sessions_restarted'] as const

/**
 * Whole handshakes (A, B, the datagram that confirms) that a real daemon answers, counted by the daemon; the session is closed right
 * after. The initiators are shipping endpoints in one load process.
 */
export const handshakes: BenchCase = {
  name: 'handshakes', title: `handshakes answered by one daemon, ${IN_FLIGHT} in flight or one at a time, a socket each, handshake_cpu_share 1; p50 and p99 from the first datagram to the session`,
  headline: 'handshakesPerSecond',
  subjects: ({ builds }) => builds.flatMap((build): Subject[] => [
    { name: `${build.name}, ids checked before`, goals: [{ metric: 'handshakesPerSecond', atLeast: 500 }], measure: (tools) => measure(tools, build, false, IN_FLIGHT) },
    { name: `${build.name}, one at a time`, measure: (tools) => measure(tools, build, false, 1) },
    { name: `${build.name}, new ids`, measure: (tools) => measure(tools, build, true, IN_FLIGHT) },
  ]),
}

async function measure(tools: Tools, build: DaemonBuild, fresh: boolean, slots: number): Promise<Sample> {
  const { directory, settings, progress, profiler } = tools
  await using load = newLoad()
  if (!fresh) await writeRoster(join(directory, 'd'), await load.ask('ids', { total: slots }))
  await using daemon = await BenchDaemon.start({
    name: 'd', build, directory, probe: profiler !== undefined, set: { 'limits.handshake_cpu_share': '1', 'session.keepalive': '"off"', 'access.strangers': String(fresh) },
  })
  await load.ask('handshake', { target: targetOf(daemon), slots, fresh })
  progress('warming up')
  if (settings.quick) await sleep(300)
  else await warmedUp({ daemon: daemon.pid }, WARM_UP_MS, WARM_UP_CPU_MS)
  progress('measuring')
  let sample: Sample | undefined
  const work = async (): Promise<void> => {
    const before = await daemon.counters()
    await load.ask('read')
    const watch = new CpuWatch({ daemon: daemon.pid, peers: load.pid })
    const began = performance.now()
    await sleep(settings.seconds * 1000)
    const after = await daemon.counters()
    const seconds = (performance.now() - began) / 1000
    const grown = growth(before, after)
    const done = grown['handshakes_completed'] ?? 0
    const { processes, cores, others } = watch.read(done)
    const latency = new Histogram((await load.ask('read')).latency)
    const us = (share: number): number => (latency.percentile(share) ?? NaN) / 1000
    if (done === 0) throw new Error('No handshake was completed.')
    const packets = (grown['udp_sent_datagrams'] ?? 0) + (grown['udp_received_datagrams'] ?? 0)
    const nsPerHandshake = processes[0]?.nsPerUnit ?? NaN
    sample = {
      figures: {
        handshakesPerSecond: done / seconds, packetsPerSecond: packets / seconds,
        cores, othersCores: others, p50Us: us(0.5), p99Us: us(0.99), cpuUsPerHandshake: nsPerHandshake / 1000, cpuNsPerPacket: (nsPerHandshake * done) / packets,
      },
      processes, counts: Object.fromEntries(Object.entries(grown).filter(([name]) => name.startsWith('drop_') || COUNTED.some((counted) => counted === name))),
    }
  }
  if (profiler === undefined) await work()
  else await profiler.during([{ name: 'daemon', probe: daemon.probe }], work)
  await load.ask('halt')
  return sample!
}

export function newLoad(): Child<Load> {
  return new Child(new URL('./load.js', import.meta.url))
}

export function targetOf(daemon: BenchDaemon): Target {
  const id = decodePeerId(daemon.ready.peerId)
  if (id === undefined) throw new Error(`${daemon.ready.peerId} is not a peer id.`)
  return { port: daemon.ready.udpPort, id }
}
