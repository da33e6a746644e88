import { freemem } from 'node:os'
import { join } from 'node:path'
import { sleep, Unmeasurable, type BenchCase, type DaemonBuild, type Sample, type Subject, type Tools } from './harness/case.ts'
import { BenchDaemon, growth } from './harness/daemon.ts'
import { CpuWatch } from './harness/processes.ts'
import { newLoad, targetOf } from './handshakes.ts'
import { writeRoster } from './harness/state.ts'

const IN_FLIGHT = 32
const KEEP_ALIVE_S = 20
/** Until quiet sessions gave their rings back and keep-alives have spread out. */
const SETTLE_MS = 7000
/** Bytes of a peer in the load process: a whole endpoint each. */
const PEER_MEMORY = 400_000

/** CPU of a real daemon with sessions on which nothing happens. The peers send no keep-alives of their own; they answer the daemon's. */
export const idleCpu: BenchCase = {
  name: 'idle-cpu', title: 'CPU of one daemon with idle sessions', headline: 'corePercent', once: true,
  subjects: ({ builds, quick }) => builds.flatMap((build): Subject[] => {
    const sessions = quick ? 100 : 10_000
    return [
      { name: `${build.name}, ${sessions}, keep-alives off`, goals: [{ metric: 'corePercent', atMost: 1 }], measure: (tools) => measure(tools, build, sessions, false) },
      { name: `${build.name}, ${sessions}, every ${KEEP_ALIVE_S} s`, measure: (tools) => measure(tools, build, sessions, true) },
    ]
  }),
}

async function measure(tools: Tools, build: DaemonBuild, sessions: number, keepAlive: boolean): Promise<Sample> {
  const { directory, progress, settings, profiler } = tools
  await using load = newLoad()
  // In the roster, because opening ten thousand sessions with strangers takes three times as long.
  await writeRoster(join(directory, 'd'), await load.ask('ids', { total: sessions }))
  await using daemon = await BenchDaemon.start({
    name: 'd', build, directory, probe: profiler !== undefined,
    set: { 'limits.handshake_cpu_share': '1', 'session.keepalive': keepAlive ? `"${KEEP_ALIVE_S}s"` : '"off"' },
  })
  if (process.platform === 'linux' && freemem() < sessions * PEER_MEMORY) throw new Unmeasurable(`${sessions} peers in the load process need ${Math.round((sessions * PEER_MEMORY) / 2 ** 20)} MiB, and ${Math.round(freemem() / 2 ** 20)} MiB are free`)
  progress(`opening ${sessions} sessions`)
  try {
    await load.ask('open', { target: targetOf(daemon), total: sessions, inFlight: IN_FLIGHT })
  } catch (error) {
    if (error instanceof Error && error.message.includes('EMFILE')) throw new Unmeasurable(`the limit of open files (ulimit -n) does not let one process have ${sessions} sockets`)
    throw error
  }
  progress('settling')
  await sleep(settings.quick ? 500 : SETTLE_MS)
  progress('measuring')
  // Keep-alives are spread evenly by then: half a period shows half of them.
  const windowMs = settings.quick ? 1000 : (KEEP_ALIVE_S * 1000) / 2
  let sample: Sample | undefined
  const work = async (): Promise<void> => {
    const before = await daemon.counters()
    const watch = new CpuWatch({ daemon: daemon.pid, peers: load.pid })
    await sleep(windowMs)
    const { processes, others } = watch.read()
    const grown = growth(before, await daemon.counters())
    const packets = (grown['udp_sent_datagrams'] ?? 0) + (grown['udp_received_datagrams'] ?? 0)
    const cores = processes[0]?.cores ?? NaN
    sample = {
      figures: { corePercent: 100 * cores, packetsPerSecond: packets / (windowMs / 1000), cores, othersCores: others, ...(packets < 1000 ? {} : { cpuNsPerPacket: (cores * windowMs * 1e6) / packets }) },
      processes,
      notes: [`${await load.ask('connected')} of ${sessions} sessions were up at the end; measured for ${windowMs / 1000} s; two status requests are included`],
    }
  }
  if (profiler === undefined) await work()
  else await profiler.during([{ name: 'daemon', probe: daemon.probe }], work)
  return sample!
}
