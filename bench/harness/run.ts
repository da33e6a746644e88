import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Unmeasurable, type BenchCase, type Sample, type Settings, type Subject } from './case.ts'
import { formatFigure } from './metrics.ts'
import { quietMachine } from './processes.ts'
import type { CpuProfiler } from './profile.ts'
import { summarize, type SubjectResult } from './results.ts'
import { killRunning } from './running.ts'

/** Cores that others may use before and during a measurement that is not to be disturbed. */
const QUIET_BEFORE = 0.15
const QUIET_DURING = 0.3
/** A measurement that was disturbed is repeated this often, then taken as it is. */
const TRIES = 4
/** No measurement takes so long. */
const HANG_MS = 300_000

/** One subject of one case and what was measured of it so far. */
interface Entry {
  readonly of: BenchCase
  readonly subject: Subject
  readonly samples: Sample[]
  unmeasured: SubjectResult['unmeasured']
}

export interface RunOptions {
  readonly settings: Settings
  readonly profiler: CpuProfiler | undefined
  /** One line that says what is going on, replaced by the next. */
  readonly progress: (text: string) => void
  /** A line that stays. */
  readonly say: (text: string) => void
}

/** All subjects of all cases, in turn and over again: what disturbs the machine for a while disturbs them all. */
export async function runCases(cases: readonly BenchCase[], options: RunOptions): Promise<SubjectResult[]> {
  const { settings } = options
  const entries = cases.flatMap((of) => of.subjects(settings).map((subject): Entry => ({ of, subject, samples: [], unmeasured: undefined })))
  for (let round = 0; round < settings.rounds; round++) {
    for (const entry of entries) {
      if (entry.unmeasured !== undefined || (round > 0 && entry.of.once === true)) continue
      await measure(entry, `${round + 1}/${settings.rounds}`, options)
    }
  }
  return entries.map(({ of, subject, samples, unmeasured }) => summarize({
    case: of.name, title: of.title, subject: subject.name, headline: of.headline, messageSize: of.messageSize, ...(unmeasured === undefined ? {} : { unmeasured }),
  }, settings.quick ? [] : subject.goals ?? [], samples))
}

async function measure(entry: Entry, round: string, options: RunOptions): Promise<void> {
  const { of, subject } = entry
  const { settings, progress, say } = options
  const name = `round ${round}  ${of.name} · ${subject.name}`
  try {
    for (let tries = 1; ; tries++) {
      if (settings.patience > 0) {
        progress(`${name}: waiting for others to leave the machine alone`)
        await quietMachine(QUIET_BEFORE, settings.patience * 1000)
      }
      const started = performance.now()
      const sample = await attempt(entry, name, options)
      const figure = sample.figures[of.headline]
      const others = sample.figures.othersCores ?? 0
      const again = settings.patience > 0 && others > QUIET_DURING && tries < TRIES
      say(`${name}: ${figure === undefined ? 'no figure' : formatFigure(of.headline, figure)} (${((performance.now() - started) / 1000).toFixed(0)} s${others < 0.1 ? '' : `, others used ${others.toFixed(2)} cores`}${again ? ', once more' : ''})`)
      if (again) continue
      entry.samples.push(sample)
      return
    }
  } catch (error) {
    const failed = !(error instanceof Unmeasurable)
    entry.unmeasured = { reason: error instanceof Error ? (failed ? error.stack ?? error.message : error.message) : String(error), failed }
    say(`${name}: ${failed ? 'failed' : 'not measured'}: ${entry.unmeasured.reason}`)
  }
}

async function attempt({ of, subject }: Entry, name: string, { settings, profiler, progress, say }: RunOptions): Promise<Sample> {
  // Short: paths of Unix sockets lie below it.
  const directory = mkdtempSync(join(tmpdir(), 'pb-'))
  progress(name)
  profiler?.name(`${of.name}-${subject.name}`)
  const watchdog = setTimeout(() => {
    say(`${name}: nothing for ${HANG_MS / 60_000} minutes; its processes are ended`)
    killRunning()
  }, HANG_MS)
  try {
    return await subject.measure({ settings, directory, profiler, progress: (text) => progress(`${name}: ${text}`) })
  } finally {
    clearTimeout(watchdog)
    rmSync(directory, { recursive: true, force: true })
  }
}
