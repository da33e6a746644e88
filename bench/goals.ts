import { oneEach } from './chain.ts'
import { formatFigure, type MetricName } from './harness/metrics.ts'
import type { SubjectResult } from './harness/results.ts'
import { limitAead } from './limit/limit.ts'
import { postern, posternEach, posternLarge, secretStream, tls } from './peers/subjects.ts'

/** One figure of the run. */
interface Figure {
  readonly case: string
  readonly subject: string
  readonly metric: MetricName
}

/** What Postern is to reach: a number, or a multiple of what somebody else reached in the same run. */
interface Aim {
  readonly claim: string
  readonly figure: Figure
  readonly atLeast?: number
  readonly atMost?: number
  /** The bound is so many times this. */
  readonly times?: Figure & { readonly name: string }
}

export interface Judged {
  readonly claim: string
  readonly wanted: string
  readonly measured: string
  /** Measured / wanted for what is to be large, wanted / measured for what is to be small: 1 and above is reached. `undefined`: not measured. */
  readonly share: number | undefined
}

const build = 'postern'

function of(name: string, subject: string, metric: MetricName): Figure {
  return { case: name, subject, metric }
}

function than(figure: Figure, name: string): Figure & { readonly name: string } {
  return { ...figure, name }
}

const bulkOurs = of('bulk', postern.name, 'megabytesPerSecond')
const packed = of('messages-100', postern.name, 'messagesPerSecond')
const each = of('messages-100', posternEach.name, 'messagesPerSecond')
const udx = secretStream.name

/** What a transport of this kind can reach on two cores over the loopback, as prototypes and peers showed. */
const aims: readonly Aim[] = [
  { claim: 'bulk, daemon to daemon', figure: bulkOurs, atLeast: 0.7, times: than(of('bulk', limitAead, 'megabytesPerSecond'), 'the limit in C') },
  { claim: 'bulk, daemon to daemon', figure: bulkOurs, atLeast: 3.5, times: than(of('bulk', udx, 'megabytesPerSecond'), udx) },
  { claim: 'bulk, daemon to daemon', figure: bulkOurs, atLeast: 2, times: than(of('bulk', 'libp2p TCP', 'megabytesPerSecond'), 'libp2p TCP') },
  { claim: 'bulk with datagrams of 16 KiB, daemon to daemon', figure: of('bulk', posternLarge.name, 'megabytesPerSecond'), atLeast: 1.1, times: than(of('bulk', tls.name, 'megabytesPerSecond'), tls.name) },
  { claim: 'reliable 100 B, packed, daemon to daemon', figure: packed, atLeast: 4_000_000 },
  { claim: 'reliable 100 B, packed, daemon to daemon', figure: packed, atLeast: 9, times: than(of('messages-100', udx, 'messagesPerSecond'), udx) },
  { claim: 'reliable 100 B, one a datagram, daemon to daemon', figure: each, atLeast: 800_000 },
  { claim: 'reliable 100 B, one a datagram, daemon to daemon', figure: each, atLeast: 2.5, times: than(of('messages-100', 'node-datachannel', 'messagesPerSecond'), 'node-datachannel') },
  { claim: 'reliable 100 B, packed, app to app', figure: of('chain-100', build, 'messagesPerSecond'), atLeast: 1_500_000 },
  { claim: 'reliable 100 B, one a datagram, app to app', figure: of('chain-100', oneEach(build), 'messagesPerSecond'), atLeast: 400_000 },
  { claim: 'round trip p50, daemon to daemon', figure: of('rtt', postern.name, 'p50Us'), atMost: 0.9, times: than(of('rtt', udx, 'p50Us'), udx) },
  { claim: 'round trip p99, daemon to daemon', figure: of('rtt', postern.name, 'p99Us'), atMost: 0.9, times: than(of('rtt', udx, 'p99Us'), udx) },
  { claim: 'round trip p50, app to app', figure: of('chain-rtt', build, 'p50Us'), atMost: 280 },
  { claim: 'round trip p99, app to app', figure: of('chain-rtt', build, 'p99Us'), atMost: 600 },
  { claim: 'handshakes, 32 in flight', figure: of('handshakes', `${build}, ids checked before`, 'handshakesPerSecond'), atLeast: 2500 },
  { claim: 'handshakes, one at a time', figure: of('handshakes', `${build}, one at a time`, 'handshakesPerSecond'), atLeast: 1000 },
  { claim: 'memory of an idle session', figure: of('idle-memory', `${build}, in the roster`, 'residentKiBPerSession'), atMost: 4 },
  { claim: '10,000 idle sessions with keep-alives', figure: of('idle-cpu', `${build}, 10000, every 20 s`, 'corePercent'), atMost: 5 },
  { claim: 'bulk at 1 % loss, 40 ms, app to app', figure: of('impaired-1', build, 'megabytesPerSecond'), atLeast: 0.9, times: than(of('impaired-1', udx, 'megabytesPerSecond'), udx) },
  { claim: 'bulk at 1 % loss, 40 ms, app to app', figure: of('impaired-1', build, 'megabytesPerSecond'), atLeast: 5, times: than(of('impaired-1', 'kernel TCP, cubic', 'megabytesPerSecond'), 'the kernel\'s TCP') },
  { claim: 'bulk at 5 % loss, 40 ms, app to app', figure: of('impaired-5', build, 'megabytesPerSecond'), atLeast: 0.9, times: than(of('impaired-5', udx, 'megabytesPerSecond'), udx) },
  { claim: 'bulk at 5 % loss, 40 ms, app to app', figure: of('impaired-5', build, 'megabytesPerSecond'), atLeast: 5, times: than(of('impaired-5', 'kernel TCP, cubic', 'megabytesPerSecond'), 'the kernel\'s TCP') },
  { claim: 'bulk at 2 % loss, 40 ms, app to app', figure: of('impaired-2', build, 'megabytesPerSecond'), atLeast: 0.5, times: than(of('impaired-0', build, 'megabytesPerSecond'), 'itself without loss') },
  { claim: 'fairness of two sessions over one wire', figure: of('shared-wire', build, 'fairness'), atLeast: 0.8 },
]

/** The goals for which this run measured something of ours, and how far each was reached. */
export function judge(results: readonly SubjectResult[]): Judged[] {
  return aims.flatMap((aim): Judged[] => {
    const measured = medianOf(results, aim.figure)
    if (measured === undefined) return []
    const { metric } = aim.figure
    const base = aim.times === undefined ? 1 : medianOf(results, aim.times)
    const bound = aim.atLeast ?? aim.atMost ?? 0
    const sign = aim.atLeast === undefined ? '≤' : '≥'
    const wanted = aim.times === undefined ? `${sign} ${formatFigure(metric, bound)}` : `${sign} ${bound} × ${aim.times.name}${base === undefined ? '' : ` = ${formatFigure(metric, bound * base)}`}`
    const share = base === undefined ? undefined : aim.atLeast === undefined ? (bound * base) / measured : measured / (bound * base)
    return [{ claim: aim.claim, wanted, measured: formatFigure(metric, measured), share }]
  })
}

function medianOf(results: readonly SubjectResult[], { case: name, subject, metric }: Figure): number | undefined {
  return results.find((result) => result.case === name && result.subject === subject)?.figures[metric]?.median
}

export function verdict({ share }: Judged): string {
  if (share === undefined) return 'not measured here'
  return share >= 1 ? 'reached' : `at ${share >= 0.1 ? (100 * share).toFixed(0) : (100 * share).toFixed(1)} % of it`
}

/** Lines for the terminal. */
export function printGoals(judged: readonly Judged[]): string {
  if (judged.length === 0) return ''
  const rows = judged.map((row) => [row.claim, row.measured, row.wanted, verdict(row)])
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  const line = (row: readonly string[]): string => `${row[0]!.padEnd(widths[0]!)}  ${row[1]!.padStart(widths[1]!)}  ${row[2]!.padEnd(widths[2]!)}  ${row[3]!}`
  return ['Goals for two cores, by the medians of this run', ...rows.map(line), ''].join('\n')
}
