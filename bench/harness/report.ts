import type { Goal, ProcessUse } from './case.ts'
import { formatFigure, formatNumber, metricNames, metrics, type MetricName } from './metrics.ts'
import type { JudgedGoal, Machine, SubjectResult } from './results.ts'

/** Columns of their own in the table: not repeated below it. */
const tabled: readonly MetricName[] = ['packetsPerSecond', 'cores', 'othersCores', 'cpuNsPerMessage', 'cpuNsPerPacket', 'p50Us', 'p99Us']

/** A load above this is somebody's. */
const BUSY = 0.3

const header = ['case', 'subject', 'message', 'median', 'min – max', 'packets/s', 'cores', 'others', 'CPU/message', 'CPU/packet', 'p50', 'p99', 'goal']
const rightAligned = new Set([2, 3, 4, 5, 6, 7, 8, 9, 10, 11])

/** The table of all headlines, then everything else that was measured, case by case. */
export function printReport(results: readonly SubjectResult[], machine: Machine, heading: string, goals = ''): string {
  const rows = results.map(tableRow)
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)))
  const line = (cells: readonly string[]): string => cells.map((cell, i) => (rightAligned.has(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('  ').trimEnd()
  return [
    '', heading, describeMachineLine(machine), '', line(header), line(widths.map((width) => '─'.repeat(width))), ...rows.map(line), '', goals,
    ...results.flatMap(details),
  ].join('\n')
}

/** What figures depend on, in one line; a second one when others were at work. */
export function describeMachineLine({ system, cpu, cores, memoryGiB, node, openssl, rmemMax, governor, loadBefore, withoutAddon }: Machine): string {
  const buffers = rmemMax === undefined ? '' : `, rmem_max ${formatNumber(rmemMax / 1024)} KiB`
  const frequency = governor === undefined ? '' : `, governor ${governor}`
  const busy = loadBefore > BUSY ? '\nOthers were at work on this machine before it began: rates are lower than they could be, and CPU per message and per packet is what to compare.' : ''
  const twins = withoutAddon === undefined ? '' : `\nPostern runs without its addon, several times as slow: ${withoutAddon}`
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}${frequency}, Node ${node} (OpenSSL ${openssl})${buffers}, load before ${loadBefore.toFixed(2)}; loopback${busy}${twins}`
}

function tableRow(result: SubjectResult): string[] {
  const { figures, headline, goals, unmeasured } = result
  const figure = figures[headline]
  const cell = (name: MetricName): string => (figures[name] === undefined ? '' : formatFigure(name, figures[name].median))
  const size = result.messageSize === undefined ? '' : formatSize(result.messageSize)
  if (figure === undefined) return [result.case, result.subject, size, '–', '', '', '', '', '', '', '', '', unmeasured?.failed === true ? 'FAILED, see below' : 'not measured, see below']
  const range = figure.min === figure.max ? '' : `${formatNumber(figure.min)} – ${formatNumber(figure.max)}`
  return [
    result.case, result.subject, size, formatFigure(headline, figure.median), range, cell('packetsPerSecond'), cell('cores'), cell('othersCores'), cell('cpuNsPerMessage'), cell('cpuNsPerPacket'), cell('p50Us'), cell('p99Us'),
    goals.map(formatJudged).join('; '),
  ]
}

function details(result: SubjectResult): string[] {
  const { figures, processes, counts, notes, unmeasured, headline } = result
  const lines = [`${result.case} · ${result.subject}: ${result.title}`]
  if (unmeasured !== undefined) lines.push(`  ${unmeasured.failed ? 'failed' : 'not measured'}: ${unmeasured.reason}`)
  for (const name of metricNames) {
    const figure = figures[name]
    if (figure === undefined || name === headline || tabled.includes(name)) continue
    lines.push(`  ${metrics[name].label}: ${formatFigure(name, figure.median)}${figure.min === figure.max ? '' : ` (${formatNumber(figure.min)} – ${formatNumber(figure.max)})`}`)
  }
  if (processes.length > 0) lines.push(`  ${processes.map(formatProcess).join('; ')}`)
  const counted = Object.entries(counts)
  if (counted.length > 0) lines.push(`  counted: ${counted.map(([name, count]) => `${name} ${formatNumber(count)}`).join(', ')}`)
  for (const note of notes) lines.push(`  ${note}`)
  return [...lines, '']
}

function formatProcess({ name, cores, nsPerUnit, residentMiB }: ProcessUse): string {
  const cpu = nsPerUnit === undefined ? '' : `, ${formatNumber(nsPerUnit)} ns each`
  const memory = residentMiB === undefined ? '' : `, ${formatNumber(residentMiB)} MiB`
  return `${name} ${cores.toFixed(2)} cores${cpu}${memory}`
}

function formatJudged(goal: JudgedGoal): string {
  return `${formatGoal(goal)}: ${goal.reached ? 'reached' : 'NOT REACHED'}`
}

function formatGoal({ metric, atLeast, atMost }: Goal): string {
  const bound = atLeast === undefined ? `≤ ${formatFigure(metric, atMost ?? 0)}` : `≥ ${formatFigure(metric, atLeast)}`
  return tabled.includes(metric) ? `${metrics[metric].label} ${bound}` : bound
}

function formatSize(bytes: number): string {
  return bytes >= 1024 && bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`
}
