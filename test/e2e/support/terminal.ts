import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Program, finish, programFile } from './program.ts'

/** Terminals of the tests are made by a small program in Python: Node.js has none. */
export const hasTerminals: boolean = process.platform === 'linux' && spawnSync('python3', ['-c', 'import os; os.openpty, os.waitstatus_to_exitcode']).status === 0

export type Step = readonly [text: string, action: { readonly keys?: string; readonly resize?: readonly [columns: number, rows: number]; readonly signal?: number }]

export interface TerminalOutcome {
  /** Everything that was written, escape sequences and all. */
  readonly screen: string
  readonly status: number
  /** The terminal reads lines, echoes and sends signals, as before. */
  readonly usual: boolean
  /** Steps whose text never came. */
  readonly stepsLeft: number
}

/** Runs a command of the CLI on a terminal of its own. */
export async function onTerminal(args: readonly string[], options: { readonly columns?: number; readonly rows?: number; readonly steps?: readonly Step[]; readonly env?: Readonly<Record<string, string>> } = {}): Promise<TerminalOutcome> {
  const { columns = 120, rows = 40, steps = [], env = {} } = options
  const helper = fileURLToPath(new URL('./terminal.py', import.meta.url))
  await using program = new Program(['python3', helper, String(columns), String(rows), JSON.stringify(steps), process.execPath, programFile('postern'), ...args], {
    env: { TERM: 'xterm-256color', NO_COLOR: '', ...env },
  })
  const { out, err } = await finish(program, 25_000)
  const report = /\{"status".*\}\n$/.exec(err)
  if (report === null) throw new Error(`the terminal gave no report:\n${out}\n${err}`)
  return { screen: out, ...(JSON.parse(report[0]) as Omit<TerminalOutcome, 'screen'>) }
}
