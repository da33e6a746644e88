import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Unmeasurable, type BenchCase, type Sample, type Settings, type Subject } from './case.ts'
import { formatFigure } from './metrics.ts'
import type { CpuProfiler } from './profile.ts'
import { summarize, type SubjectResult } from './results.ts'
import { killRunning } from './running.ts'

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
  }, subject.goals ?? [], samples))
}

async function measure(entry: Entry, round: string, { settings, profiler, progress, say }: RunOptions): Promise<void> {
  const { of, subject } = entry
  const name = `round ${round}  ${of.name} · ${subject.name}`
  // Short: paths of Unix sockets lie below it.
  const directory = mkdtempSync(join(tmpdir(), 'pb-'))
  const started = performance.now()
  progress(name)
  profiler?.name(`${of.name}-${subject.name}`)
  const watchdog = setTimeout(() => {
    say(`${name}: nothing for ${HANG_MS / 60_000} minutes; its processes are ended`)
    killRunning()
  }, HANG_MS)
  try {
    const sample = await subject.measure({ settings, directory, profiler, progress: (text) => progress(`${name}: ${text}`) })
    entry.samples.push(sample)
    const figure = sample.figures[of.headline]
    say(`${name}: ${figure === undefined ? 'no figure' : formatFigure(of.headline, figure)} (${((performance.now() - started) / 1000).toFixed(0)} s)`)
  } catch (error) {
    const failed = !(error instanceof Unmeasurable)
    entry.unmeasured = { reason: error instanceof Error ? (failed ? error.stack ?? error.message : error.message) : String(error), failed }
    say(`${name}: ${failed ? 'failed' : 'not measured'}: ${entry.unmeasured.reason}`)
  } finally {
    clearTimeout(watchdog)
    rmSync(directory, { recursive: true, force: true })
  }
}
