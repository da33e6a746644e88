import { join } from 'node:path'
import { sleep, type BenchCase, type DaemonBuild, type ProfileTarget, type Sample, type Subject, type Tools } from './harness/case.ts'
import { BenchDaemon } from './harness/daemon.ts'
import { heapOf } from './harness/probe-client.ts'
import { memoryOf } from './harness/processes.ts'
import { writeRoster } from './harness/state.ts'
import { newLoad, targetOf } from './handshakes.ts'

const IN_FLIGHT = 32
/** A quiet session gives its rings back after 5 s; the last of them came a moment before. */
const QUIET_MS = 6500
/** Shares of all sessions at which memory is read. */
const STEPS = [0, 1 / 4, 1]

/**
 * What an idle session costs a real daemon in memory, by the resident set of its process. Sessions are opened in steps; before each
 * reading the daemon is left alone until quiet sessions gave back what they can, and is made to collect garbage. The figure is
 * the growth from the first step, which pays for what is made once, to the last. V8's young generation does not count: it grows and
 * shrinks by tens of megabytes with the rate of allocation, ten times what is to be seen here.
 */
export const idleMemory: BenchCase = {
  name: 'idle-memory', title: 'resident memory of one daemon per idle session', headline: 'residentKiBPerSession', once: true,
  subjects: ({ builds }) => builds.flatMap((build): Subject[] => [
    { name: `${build.name}, strangers`, goals: [{ metric: 'residentKiBPerSession', atMost: 12 }], measure: (tools) => measure(tools, build, false) },
    { name: `${build.name}, in the roster`, goals: [{ metric: 'residentKiBPerSession', atMost: 12 }], measure: (tools) => measure(tools, build, true) },
  ]),
}

async function measure(tools: Tools, build: DaemonBuild, roster: boolean): Promise<Sample> {
  const { directory, progress, settings } = tools
  const total = settings.quick ? 100 : 2000
  await using load = newLoad()
  if (roster) await writeRoster(join(directory, 'd'), await load.ask('ids', { total }))
  await using daemon = await BenchDaemon.start({
    name: 'd', build, directory, probe: true, set: { 'limits.handshake_cpu_share': '1', 'session.keepalive': '"off"', 'access.strangers': String(!roster) },
  })
  const rows: (readonly number[])[] = []
  for (const share of STEPS) {
    const wanted = Math.round(total * share)
    progress(`${wanted} of ${total} sessions`)
    await load.ask('open', { target: targetOf(daemon), total: wanted, inFlight: IN_FLIGHT })
    if (wanted > 0) await sleep(settings.quick ? 300 : QUIET_MS)
    rows.push([wanted, ...(await reading(daemon))])
  }
  const sessions = (await (await daemon.client()).status()).sessions
  if (sessions !== total) throw new Error(`${sessions} of ${total} sessions are up.`)
  if (tools.profiler !== undefined) await tools.profiler.heap([{ name: 'daemon', probe: daemon.probe } satisfies ProfileTarget])
  return sampleOf(rows, total)
}

/** Bytes: resident as it is; then, after collecting: resident without the young generation, heap, array buffers. */
async function reading(daemon: BenchDaemon): Promise<number[]> {
  const untidy = memoryOf(daemon.pid).resident
  const { heapUsed, arrayBuffers, young } = await heapOf(daemon.probe, true)
  return [untidy, memoryOf(daemon.pid).resident - young, heapUsed, arrayBuffers]
}

function sampleOf(rows: readonly (readonly number[])[], total: number): Sample {
  const first = rows[1]!
  const last = rows.at(-1)!
  const perSession = (column: number, from: readonly number[]): number => (last[column]! - from[column]!) / (last[0]! - from[0]!) / 1024
  const heap = perSession(3, first)
  const external = perSession(4, first)
  const resident = perSession(2, first)
  return {
    figures: {
      residentKiBPerSession: resident, untidyKiBPerSession: perSession(1, first),
      heapKiBPerSession: heap, externalKiBPerSession: external, nativeKiBPerSession: resident - heap - external,
    },
    series: { columns: ['sessions', 'residentUntidy', 'resident', 'heap', 'arrayBuffers'], rows },
    notes: [
      `${total} sessions; resident set of posternd (VmRSS) without V8's young generation, after forced collections, from the first ${first[0]!} sessions on; with everything since the start of the daemon it is ${perSession(2, rows[0]!).toFixed(1)} KiB`,
    ],
  }
}
