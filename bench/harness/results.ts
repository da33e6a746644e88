import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, hostname, loadavg, release, totalmem, type } from 'node:os'
import { dirname } from 'node:path'
import { loadAddon } from '../../src/platform/addon.ts'
import type { Goal, ProcessUse, Sample, Settings } from './case.ts'
import { metricNames, type MetricName } from './metrics.ts'
import { spread, type Spread } from './stats.ts'

/** Of the JSON file; raised when a reader of an older one would misread it. */
const SCHEMA = 1

export interface JudgedGoal extends Goal {
  readonly reached: boolean
}

/** One subject of one case, over all rounds. */
export interface SubjectResult {
  readonly case: string
  readonly title: string
  readonly subject: string
  readonly headline: MetricName
  readonly messageSize: number | undefined
  readonly figures: Partial<Record<MetricName, Spread>>
  readonly processes: readonly ProcessUse[]
  readonly counts: Readonly<Record<string, number>>
  readonly notes: readonly string[]
  readonly goals: readonly JudgedGoal[]
  /** Why there are no figures, or fewer than rounds. */
  readonly unmeasured?: { readonly reason: string; readonly failed: boolean }
  readonly samples: readonly Sample[]
}

export type SubjectFacts = Pick<SubjectResult, 'case' | 'title' | 'subject' | 'headline' | 'messageSize' | 'unmeasured'>

export interface Machine {
  readonly host: string
  readonly system: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly node: string
  readonly openssl: string
  /** Largest receive buffer a socket may ask for; `undefined` where the system does not tell. */
  readonly rmemMax: number | undefined
  /** What rules the clock of the processor; `undefined` where that is not told, as in virtual machines. */
  readonly governor: string | undefined
  /** Processes that wanted a core when the bench began: above about 0.2 others were at work. */
  readonly loadBefore: number
  /** Why our own figures are those of the twins in TypeScript: the addon is not there, or was built from other sources. */
  readonly withoutAddon?: string
}

export interface Results {
  readonly schema: number
  readonly date: string
  readonly commit: string
  /** How it was made; absent in files that are older than this. */
  readonly command?: string
  readonly machine: Machine
  readonly settings: Settings
  readonly results: readonly SubjectResult[]
}

/** What {@link writeResults} wrote. */
export function readResults(file: string): Results {
  const results = JSON.parse(readFileSync(file, 'utf8')) as Results
  if (results.schema !== SCHEMA) throw new Error(`${file} holds no results of this version of the bench.`)
  return results
}

export function summarize(facts: SubjectFacts, goals: readonly Goal[], samples: readonly Sample[]): SubjectResult {
  const figures: Partial<Record<MetricName, Spread>> = {}
  for (const name of metricNames) {
    const values = samples.map((sample) => sample.figures[name]).filter((value) => value !== undefined)
    if (values.length > 0) figures[name] = spread(values)
  }
  const counts: Record<string, number> = {}
  for (const sample of samples) for (const [name, count] of Object.entries(sample.counts ?? {})) counts[name] = (counts[name] ?? 0) + count
  return {
    ...facts, figures, processes: medianProcesses(samples), counts, notes: [...new Set(samples.flatMap(({ notes }) => notes ?? []))],
    goals: goals.map((goal) => ({ ...goal, reached: isReached(goal, figures[goal.metric]) })), samples,
  }
}

function isReached({ atLeast, atMost }: Goal, figure: Spread | undefined): boolean {
  return figure !== undefined && figure.median >= (atLeast ?? -Infinity) && figure.median <= (atMost ?? Infinity)
}

function medianProcesses(samples: readonly Sample[]): ProcessUse[] {
  const names = new Set(samples.flatMap(({ processes }) => (processes ?? []).map(({ name }) => name)))
  return [...names].map((name) => {
    const all = samples.flatMap(({ processes }) => (processes ?? []).filter((process) => process.name === name))
    const nsPerUnit = all.map((process) => process.nsPerUnit).filter((value) => value !== undefined)
    const residentMiB = all.map((process) => process.residentMiB).filter((value) => value !== undefined)
    return {
      name, cores: spread(all.map(({ cores }) => cores)).median,
      ...(nsPerUnit.length === 0 ? {} : { nsPerUnit: spread(nsPerUnit).median }),
      ...(residentMiB.length === 0 ? {} : { residentMiB: spread(residentMiB).median }),
    }
  })
}

export function describeMachine(): Machine {
  const processors = cpus()
  const addon = loadAddon()
  return {
    host: hostname(), system: `${type()} ${release()} ${process.arch}`, cpu: processors[0]?.model ?? 'unknown', cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30), node: process.version, openssl: process.versions.openssl, rmemMax: rmemMax(), governor: governor(), loadBefore: loadavg()[0] ?? 0,
    ...(addon.kind === 'loaded' ? {} : { withoutAddon: addon.reason }),
  }
}

function governor(): string | undefined {
  try {
    return readFileSync('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', 'utf8').trim()
  } catch {
    return undefined
  }
}

function rmemMax(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/net/core/rmem_max', 'utf8'))
  } catch {
    return undefined
  }
}

/** The commit that was measured, with a `+` when files differ from it. */
export function commitOf(directory: string): string {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--', 'src', 'bench') === '' ? '' : '+'}`
  } catch {
    return 'unknown'
  }
}

export function writeResults(file: string, results: Omit<Results, 'schema'>): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify({ schema: SCHEMA, ...results }, undefined, 1)}\n`)
}
