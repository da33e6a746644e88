import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Profiler, ProfileTarget } from './case.ts'
import { printHeap, summarizeHeap } from './heap.ts'
import { askProbe } from './probe-client.ts'

const INTERVAL_US = 200
const FUNCTIONS_SHOWN = 25
const ROOMS_SHOWN = 14

/** A V8 CPU profile, as far as it is read here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  /** Node on top of the stack at each sample, and microseconds since the sample before. */
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface ProfileEntry {
  readonly name: string
  /** Share of the time in which the process was not idle. */
  readonly share: number
}

export interface ProfileSummary {
  readonly target: string
  readonly file: string
  /** Share of the whole time in which the main thread was not idle. */
  readonly busy: number
  /** By self time, most first. */
  readonly functions: readonly ProfileEntry[]
  /** The same by folder: of ours, of Node, of the engine. */
  readonly rooms: readonly ProfileEntry[]
}

/** Samples processes that carry the probe, keeps their `.cpuprofile` files (Chrome and VS Code open them), and sums them up. */
export class CpuProfiler implements Profiler {
  readonly summaries: ProfileSummary[] = []
  /** Texts to print. */
  readonly heaps: string[] = []
  readonly #directory: string
  #prefix = ''

  constructor(directory: string) {
    this.#directory = directory
    mkdirSync(directory, { recursive: true })
  }

  /** What the files of the measurements that follow are called. */
  name(prefix: string): void {
    this.#prefix = prefix.replace(/[^a-z0-9.-]+/gi, '-')
  }

  async during(targets: readonly ProfileTarget[], work: () => Promise<void>): Promise<void> {
    await Promise.all(targets.map(({ probe }) => askProbe(probe, { kind: 'profile-start', intervalUs: INTERVAL_US })))
    await work()
    await Promise.all(targets.map(async ({ name, probe }) => {
      const file = join(this.#directory, `${this.#prefix}-${name.replaceAll(' ', '-')}.cpuprofile`)
      await askProbe(probe, { kind: 'profile-stop', file })
      this.summaries.push(summarize(`${this.#prefix} ${name}`, file, JSON.parse(readFileSync(file, 'utf8')) as CpuProfile))
    }))
    this.summaries.sort((a, b) => (a.target < b.target ? -1 : 1))
  }

  async heap(targets: readonly ProfileTarget[]): Promise<void> {
    for (const { name, probe } of targets) {
      const file = join(this.#directory, `${this.#prefix}-${name.replaceAll(' ', '-')}.heapsnapshot`)
      await askProbe(probe, { kind: 'heap', file })
      this.heaps.push(printHeap(`${this.#prefix} ${name}`, file, summarizeHeap(file)))
    }
  }
}

function summarize(target: string, file: string, profile: CpuProfile): ProfileSummary {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]))
  const functions = new Map<string, number>()
  const rooms = new Map<string, number>()
  let total = 0
  let idle = 0
  profile.samples.forEach((id, i) => {
    // The time until the next sample belongs to what was on top at this one.
    const time = Math.max(0, profile.timeDeltas[i + 1] ?? 0)
    const { functionName, url, lineNumber } = frames.get(id)!
    total += time
    if (functionName === '(idle)') {
      idle += time
      return
    }
    const place = placeOf(url)
    const name = `${functionName === '' ? '(anonymous)' : functionName}${place === '' ? '' : `  ${place}:${lineNumber + 1}`}`
    functions.set(name, (functions.get(name) ?? 0) + time)
    const room = roomOf(functionName, place)
    rooms.set(room, (rooms.get(room) ?? 0) + time)
  })
  const busy = Math.max(1, total - idle)
  const sorted = (times: ReadonlyMap<string, number>): ProfileEntry[] => [...times].map(([name, time]) => ({ name, share: time / busy })).sort((a, b) => b.share - a.share)
  return { target, file, busy: (total - idle) / Math.max(1, total), functions: sorted(functions), rooms: sorted(rooms) }
}

/** `core/flow/send-queue.js`, `node:net`, a package's name, or nothing for native code. */
function placeOf(url: string): string {
  const own = /\/(?:dist-bench\/src|dist|src)\/(.+)$/.exec(url)?.[1]
  if (own !== undefined) return own
  return /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? url.replace(/^file:\/\//, '')
}

function roomOf(functionName: string, place: string): string {
  if (place === '') return functionName.startsWith('(') ? functionName : '(native calls)'
  if (place.startsWith('node:')) return place.split('/').slice(0, 2).join('/')
  const slash = place.lastIndexOf('/')
  return slash < 0 ? place : place.slice(0, slash)
}

export function printProfile({ target, file, busy, functions, rooms }: ProfileSummary): string {
  const line = ({ name, share }: ProfileEntry): string => `  ${(100 * share).toFixed(1).padStart(5)} %  ${name}`
  return [
    '', `${target}: main thread busy ${(100 * busy).toFixed(0)} % of the time; self time as share of that (${file})`,
    ...functions.slice(0, FUNCTIONS_SHOWN).map(line), '  by room:', ...rooms.slice(0, ROOMS_SHOWN).map(line),
  ].join('\n')
}
