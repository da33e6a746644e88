import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inWords } from './matrix.ts'
import type { Fates } from './talk.ts'

/** What one scenario of the lab came to. */
export interface Finding {
  readonly scenario: string
  /** What was measured, as words; the number is {@link ms}. */
  readonly what: string
  readonly ms: number | 'none'
  /** What it should be at most; none: nothing was promised. */
  readonly goalMs?: number
  /** How long the network itself was out. */
  readonly outageMs?: number
  /** By which kind of path they talked in the end. */
  readonly path: string
  /** What became of the messages on the reliable channel. */
  readonly messages?: Fates
}

const fates = ({ sent, lost, wrong }: Fates): string => `${sent} sent, ${lost} lost, ${wrong} doubled`
const goal = ({ goalMs, ms }: Finding): string => (goalMs === undefined ? '' : `≤ ${inWords(goalMs)}${ms !== 'none' && ms <= goalMs ? '' : ' missed'}`)

const heads = ['scenario', 'measured', '', 'goal', 'network out', 'path', 'messages'] as const

function rowOf(finding: Finding): readonly string[] {
  const { messages, ms, outageMs, path, scenario, what } = finding
  return [scenario, what, inWords(ms), goal(finding), outageMs === undefined ? '' : inWords(outageMs), path, messages === undefined ? '' : fates(messages)]
}

/** For a terminal. */
export function findingsTable(findings: readonly Finding[]): string {
  const rows = [heads, ...findings.map(rowOf)]
  const widths = heads.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows.map((row) => row.map((text, i) => text.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n')
}

/** For docs/nat.md: there an address says nothing. */
export function findingsPage(findings: readonly Finding[]): string {
  const rows = findings.map((finding) => rowOf({ ...finding, path: finding.path === 'none' ? '–' : finding.path.split(' ')[0]!.toUpperCase() }))
  return [heads, heads.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

/** Where a table of the lab begins and ends in docs/nat.md. */
export function marksOf(name: string): readonly [string, string] {
  return [`<!-- docs/lab/${name}.json -->`, `<!-- end of ${name} -->`]
}

/** Says what was found, in the order of `scenarios` (they run at the same time), and keeps it in docs/lab and docs/nat.md where that is wanted (`npm run test:lab -- --write`). */
export function report(name: string, unordered: readonly Finding[], scenarios: readonly string[]): void {
  if (unordered.length === 0) return
  const findings = [...unordered].sort((a, b) => scenarios.indexOf(a.scenario) - scenarios.indexOf(b.scenario))
  process.stdout.write(`\n${findingsTable(findings)}\n\n`)
  const directory = process.env['POSTERN_LAB_WRITE']
  // What ran is a part of the whole: docs keep what they have.
  if (directory === undefined || findings.length < scenarios.length) return
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(findings, undefined, 1)}\n`)
  const page = join(directory, '../nat.md')
  if (!existsSync(page)) return
  const [begin, end] = marksOf(name)
  const text = readFileSync(page, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from >= 0 && to > from) writeFileSync(page, `${text.slice(0, from + begin.length)}\n\n${findingsPage(findings)}\n\n${text.slice(to)}`)
}
