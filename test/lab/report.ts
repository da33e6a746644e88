import { mkdirSync, writeFileSync } from 'node:fs'
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

/** For a terminal. */
export function findingsTable(findings: readonly Finding[]): string {
  const rows = [['scenario', 'measured', '', 'goal', 'network out', 'path', 'messages'], ...findings.map((finding) => [
    finding.scenario, finding.what, inWords(finding.ms), goal(finding), finding.outageMs === undefined ? '' : inWords(finding.outageMs), finding.path, finding.messages === undefined ? '' : fates(finding.messages),
  ])]
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows.map((row) => row.map((text, i) => text.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n')
}

/** Says what was found, in the order of `scenarios` (they run at the same time), and keeps it in docs/lab where that is wanted (`npm run test:lab -- --write`). */
export function report(name: string, unordered: readonly Finding[], scenarios: readonly string[]): void {
  if (unordered.length === 0) return
  const findings = [...unordered].sort((a, b) => scenarios.indexOf(a.scenario) - scenarios.indexOf(b.scenario))
  process.stdout.write(`\n${findingsTable(findings)}\n\n`)
  const directory = process.env['POSTERN_LAB_WRITE']
  if (directory === undefined) return
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(findings, undefined, 1)}\n`)
}
