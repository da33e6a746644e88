import { readFileSync } from 'node:fs'
import { formatNumber } from './harness/metrics.ts'

/** A figure above the committed one by more than this is a regression. */
export const TOLERANCE = 0.35
/** The same where others used the machine in every round: caches are cold, and the compiler never got far. */
export const TOLERANCE_DISTURBED = 1.5

/** CPU of a unit of work as a multiple of the calibrator's, in one round. */
export interface Ratio {
  readonly ratio: number
  /** Others used much of the machine meanwhile. */
  readonly disturbed: boolean
}

/** CPU of one unit of work in each hot case, as a multiple of the calibrator's, by name of the case. */
export type Ratios = Readonly<Record<string, number>>

/** What was committed for one kind of setup; another kind costs other multiples. */
export interface Committed {
  readonly date: string
  readonly commit: string
  readonly cpu: string
  readonly ratios: Ratios
}

/** `bench/ratios.json`: by setup, as {@link setupOf} names it. */
export type RatiosFile = Readonly<Record<string, Committed>>

export interface Setup {
  readonly calibrator: 'C' | 'JavaScript'
  readonly crypto: string
  /** `20.20.2` */
  readonly node: string
}

export function setupOf({ calibrator, crypto, node }: Setup): string {
  return `calibrator in ${calibrator}, ${crypto}, Node ${node.split('.')[0]!}`
}

export function readRatios(file: string): RatiosFile {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RatiosFile
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
}

export interface Verdict {
  readonly name: string
  readonly measured: number
  /** `undefined` for a case that nothing was committed for. */
  readonly committed: number | undefined
  /** Share by which it costs more than committed; below 0 less. */
  readonly worse: number | undefined
  /** What `worse` may be. */
  readonly tolerance: number
  readonly regressed: boolean
}

/** @param ratios of all rounds: neighbours and a cold compiler only ever add, so the cheapest counts, of the undisturbed if there are any */
export function compare(name: string, ratios: readonly Ratio[], committed: Ratios | undefined): Verdict {
  const calm = ratios.filter(({ disturbed }) => !disturbed)
  const measured = Math.min(...(calm.length > 0 ? calm : ratios).map(({ ratio }) => ratio))
  const tolerance = calm.length > 0 ? TOLERANCE : TOLERANCE_DISTURBED
  const before = committed?.[name]
  const worse = before === undefined ? undefined : measured / before - 1
  return { name, measured, committed: before, worse, tolerance, regressed: worse !== undefined && worse > tolerance }
}

export function sayVerdict({ name, measured, committed, worse, tolerance, regressed }: Verdict): string {
  const figure = `${name.padEnd(50)} ${formatNumber(measured).padStart(8)} × the calibrator`
  if (committed === undefined || worse === undefined) return `${figure}, nothing committed to compare with`
  const change = `${worse < 0 ? '' : '+'}${(100 * worse).toFixed(0)} %`
  return `${figure}, committed ${formatNumber(committed)}: ${change}${noteOn(worse, tolerance, regressed)}`
}

function noteOn(worse: number, tolerance: number, regressed: boolean): string {
  if (regressed) return `, beyond +${(100 * tolerance).toFixed(0)} %: REGRESSED`
  if (worse > TOLERANCE) return ', but others used the machine in every round: not judged'
  return worse < -TOLERANCE ? ': much cheaper; commit it with --update, or a later regression hides here' : ''
}
