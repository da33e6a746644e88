import { formatFigure, formatNumber, metrics, type MetricName } from './harness/metrics.ts'
import type { SubjectResult } from './harness/results.ts'

const WIDTH = 860
const NAMES = 290
const VALUES = 150
const ROW = 26
const TOP = 64
const BOTTOM = 34
/** Both schemes of a reader's screen; an image that is shown by itself follows it as well. */
const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #57606a }
.ours { fill: #1a7f37 } .peer { fill: #8c959f } .limit { fill: #d4a72c }
.spread { stroke: #24292f; stroke-width: 1 } .axis { stroke: #d0d7de }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #3fb950 } .peer { fill: #6e7681 } .limit { fill: #bb8009 } .spread { stroke: #e6edf3 } .axis { stroke: #3d444d } }`

interface Bars {
  /** Of the file, without `.svg`. */
  readonly file: string
  readonly title: string
  readonly metric: MetricName
  /** Cases whose subjects are its bars. */
  readonly cases: readonly string[]
  readonly smaller?: boolean
  /** Subjects left out: their bars would hide all others. */
  readonly without?: RegExp
}

export interface Chart {
  readonly file: string
  readonly title: string
  readonly svg: string
}

const wanted: readonly Bars[] = [
  { file: 'bulk', title: 'Reliable bytes, process to process', metric: 'megabytesPerSecond', cases: ['bulk'], without: /no encryption/ },
  { file: 'messages-100', title: 'Reliable messages of 100 bytes', metric: 'messagesPerSecond', cases: ['messages-100'] },
  { file: 'messages-1k', title: 'Reliable messages of 1 KiB', metric: 'messagesPerSecond', cases: ['messages-1k'] },
  { file: 'datagrams-100', title: 'Messages of 100 bytes that may be lost', metric: 'messagesPerSecond', cases: ['datagrams-100'] },
  { file: 'datagrams-1k', title: 'Messages of 1 KiB that may be lost', metric: 'messagesPerSecond', cases: ['datagrams-1k'] },
  { file: 'rtt-p50', title: 'Round trip of 100 bytes, median', metric: 'p50Us', cases: ['rtt', 'chain-rtt'], smaller: true, without: /16 ms/ },
  { file: 'rtt-p99', title: 'Round trip of 100 bytes, 99th percentile', metric: 'p99Us', cases: ['rtt', 'chain-rtt'], smaller: true, without: /16 ms/ },
  { file: 'handshakes', title: 'Connections made per second', metric: 'handshakesPerSecond', cases: ['handshakes', 'connects'], without: /node:net/ },
  { file: 'idle-memory', title: 'Memory of an idle connection, listening side', metric: 'residentKiBPerSession', cases: ['idle-memory', 'idle-peers'], smaller: true, without: /node:net/ },
  { file: 'chain', title: 'Postern, app to app through both daemons', metric: 'messagesPerSecond', cases: ['chain-100', 'chain-1k'] },
  { file: 'impaired-1', title: 'Bulk over 100 Mbit/s and 40 ms with 1 % of the packets lost', metric: 'megabytesPerSecond', cases: ['impaired-1'] },
]

/** One chart for each comparison of which the run has at least two bars. */
export function drawCharts(results: readonly SubjectResult[], footer: string): Chart[] {
  return wanted.flatMap((bars) => {
    const chosen = results.filter((result) => bars.cases.includes(result.case) && result.figures[bars.metric] !== undefined && bars.without?.test(result.subject) !== true)
    return chosen.length < 2 ? [] : [{ file: `${bars.file}.svg`, title: bars.title, svg: draw(bars, chosen, footer) }]
  })
}

function draw({ title, metric, cases, smaller }: Bars, results: readonly SubjectResult[], footer: string): string {
  const rows = results.map((result) => ({ name: nameOf(result, cases), kind: kindOf(result), figure: result.figures[metric]! }))
  rows.sort((a, b) => (smaller === true ? a.figure.median - b.figure.median : b.figure.median - a.figure.median))
  const most = Math.max(...rows.map(({ figure }) => figure.max), 1e-9)
  const x = (value: number): number => NAMES + (Math.max(0, value) / most) * (WIDTH - NAMES - VALUES)
  const height = TOP + rows.length * ROW + BOTTOM
  const bars = rows.map(({ name, kind, figure: { median, min, max } }, i) => {
    const y = TOP + i * ROW
    const middle = y + ROW / 2 - 2
    const width = Math.max(1, x(median) - NAMES)
    const range = min === max ? '' : `<line class="spread" x1="${round(x(min))}" x2="${round(x(max))}" y1="${middle}" y2="${middle}"/>`
    return `<text x="${NAMES - 8}" y="${middle + 5}" text-anchor="end">${escape(name)}</text><rect class="${kind}" x="${NAMES}" y="${y + 2}" width="${round(width)}" height="${ROW - 8}"/>${range}`
      + `<text x="${round(Math.max(x(median), x(max)) + 8)}" y="${middle + 5}">${escape(formatFigure(metric, median))}</text>`
  })
  const { unit } = metrics[metric]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}">`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="12" y="24">${escape(title)}</text>`,
    `<text class="small" x="12" y="44">${escape(`${unit === '' ? '' : `${unit}, `}${smaller === true ? 'smaller is better' : 'more is better'}; bars are medians, lines go from the smallest to the largest (${formatNumber(rows.length)} subjects of one run)`)}</text>`,
    `<line class="axis" x1="${NAMES}" x2="${NAMES}" y1="${TOP - 4}" y2="${height - BOTTOM + 2}"/>`,
    ...bars,
    `<text class="small" x="12" y="${height - 10}">${escape(footer)}</text>`,
    '</svg>', '',
  ].join('\n')
}

/** Of several cases in one chart, the name tells which; a build of ours is called by the product's name. */
function nameOf(result: SubjectResult, cases: readonly string[]): string {
  const name = result.subject.replace(/^postern\b/, 'Postern')
  if (result.case === 'chain-rtt') return `${name}, app to app`
  if (result.case === 'handshakes') return name.replace('ids checked before', '32 in flight').replace('new ids', '32 in flight, new ids')
  return cases[0] === 'chain-100' ? `${name}, ${result.case === 'chain-100' ? '100 B' : '1 KiB'}` : name
}

function kindOf({ subject }: SubjectResult): 'ours' | 'peer' | 'limit' {
  return /^postern\b/i.test(subject) ? 'ours' : subject.startsWith('limit') ? 'limit' : 'peer'
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

function round(value: number): string {
  return value.toFixed(1)
}
