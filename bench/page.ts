import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawCharts, type Chart } from './charts.ts'
import { judge, verdict } from './goals.ts'
import { formatFigure, formatNumber, type MetricName } from './harness/metrics.ts'
import { describeMachineLine } from './harness/report.ts'
import type { Results, SubjectResult } from './harness/results.ts'

const columns: readonly (readonly [title: string, metric: MetricName])[] = [
  ['packets/s', 'packetsPerSecond'], ['CPU a message', 'cpuNsPerMessage'], ['CPU a packet', 'cpuNsPerPacket'], ['p50', 'p50Us'], ['p99', 'p99Us'], ['cores', 'cores'], ['others', 'othersCores'],
]

/** Writes the charts of a run and the page that shows them with all figures, instead of those that lie there. */
export function writePage(directory: string, results: Omit<Results, 'schema'>, command: string): void {
  mkdirSync(directory, { recursive: true })
  const day = results.date.slice(0, 10)
  const charts = drawCharts(results.results, `${command} · ${day} · Postern ${results.commit} · ${results.machine.cpu}, ${results.machine.cores} cores`)
  for (const name of readdirSync(directory)) if (name.endsWith('.svg')) rmSync(join(directory, name))
  for (const { file, svg } of charts) writeFileSync(join(directory, file), svg)
  writeFileSync(join(directory, 'results.md'), pageOf(results, command, charts))
}

const BEGIN = '<!-- goals: written by npm run bench -->'
const END = '<!-- end of goals -->'

/** Replaces the table of goals in a page that is otherwise written by hand. */
export function writeGoals(file: string, results: Omit<Results, 'schema'>, command: string): void {
  const text = readFileSync(file, 'utf8')
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`${file} has no place for the goals: ${BEGIN} … ${END}`)
  writeFileSync(file, `${text.slice(0, begin)}${[BEGIN, ...goalsOf(results, command)].join('\n')}\n${text.slice(end)}`)
}

function goalsOf({ date, commit, machine, settings, results }: Omit<Results, 'schema'>, command: string): string[] {
  const rows = judge(results).map(({ claim, measured, wanted, share }) => `| ${claim} | ${measured} | ${wanted} | ${share === undefined ? 'not measured' : share.toFixed(2)} |`)
  const missing = results.filter(({ unmeasured }) => unmeasured !== undefined).map((result) => `${result.case} · ${result.subject}`)
  return [
    '', `\`${command}\`, ${date.slice(0, 16).replace('T', ' ')} UTC, Postern ${commit}, ${settings.rounds} rounds of ${settings.seconds} s. ${describeMachineLine(machine).replace('\n', '. ')}`, '',
    '| what | measured | goal | share of the goal |', '|---|---:|---|---:|', ...rows, '',
    ...(missing.length === 0 ? [] : [`Not measured there: ${missing.join('; ')}.`, '']),
  ]
}

function pageOf({ date, commit, machine, settings, results }: Omit<Results, 'schema'>, command: string, charts: readonly Chart[]): string {
  const judged = judge(results)
  const names = [...new Set(results.map((result) => result.case))]
  return [
    '# Results of one run', '',
    `Written by \`${command}\` at ${date.slice(0, 16).replace('T', ' ')} UTC, of Postern ${commit}: ${settings.rounds} rounds, all subjects in turn. How to read it: [README.md](README.md).`, '',
    `Machine: ${describeMachineLine(machine).replace('\n', '. ')}`, '',
    ...(judged.length === 0 ? [] : ['## Goals', '', '| what | measured | goal | |', '|---|---:|---|---|', ...judged.map((row) => `| ${row.claim} | ${row.measured} | ${row.wanted} | ${verdict(row)} |`), '']),
    ...charts.flatMap(({ file, title }) => [`![${title}](${file})`, '']),
    ...names.flatMap((name) => caseOf(results.filter((result) => result.case === name))),
  ].join('\n')
}

function caseOf(results: readonly SubjectResult[]): string[] {
  const first = results[0]!
  const used = columns.filter(([, metric]) => metric !== first.headline && results.some(({ figures }) => figures[metric] !== undefined))
  const rows = results.map((result) => {
    const figure = result.figures[first.headline]
    const range = figure === undefined || figure.min === figure.max ? '' : `${formatNumber(figure.min)} – ${formatNumber(figure.max)}`
    const cells = used.map(([, metric]) => (result.figures[metric] === undefined ? '' : formatFigure(metric, result.figures[metric].median)))
    return `| ${[result.subject, figure === undefined ? '–' : formatFigure(first.headline, figure.median), range, ...cells].join(' | ')} |`
  })
  const said = results.flatMap(({ subject, notes, unmeasured }) => [...(unmeasured === undefined ? [] : [`not measured: ${unmeasured.reason.split('\n')[0]!}`]), ...notes].map((note) => `- ${subject}: ${note}`))
  return [
    `## ${first.case}`, '', `${first.title}${first.messageSize === undefined ? '' : `; ${formatNumber(first.messageSize)} bytes`}.`, '',
    `| subject | median | min – max |${used.map(([title]) => ` ${title} |`).join('')}`, `|---|---:|---|${used.map(() => '---:|').join('')}`, ...rows, '', ...said, ...(said.length === 0 ? [] : ['']),
  ]
}
