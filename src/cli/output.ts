import { isatty } from 'node:tty'
import { PosternError } from '../core/base/errors.ts'
import type { CommandResults, ConfigProblem, ErrorResult, ResultName } from './results.ts'
import { safeLine } from './text.ts'

/** What every command is told besides its own options. */
export interface Globals {
  readonly dir?: string
  readonly json?: boolean
}

/** Prints text for people, or with `--json` one object a line for programs. */
export class Output {
  readonly json: boolean

  constructor(globals: Globals) {
    this.json = globals.json === true
  }

  /** A terminal that a person looks at: what is redrawn in place, or is a picture, goes only there. */
  get onTerminal(): boolean {
    return !this.json && isatty(process.stdout.fd)
  }

  /** Colours, unless they are not wanted: https://no-color.org. */
  get colours(): boolean {
    return this.redraws && (process.env['NO_COLOR'] ?? '') === ''
  }

  /** What is on the terminal can be written over. */
  get redraws(): boolean {
    return this.onTerminal && process.env['TERM'] !== 'dumb'
  }

  /** Of the terminal; where there is none, nothing is too wide. */
  get columns(): number {
    return this.onTerminal ? process.stdout.columns : Infinity
  }

  /** A result of a command: `text` for people (made only when needed), `value` for programs. */
  result<Name extends ResultName>(_name: Name, value: CommandResults[Name], text: () => string): void {
    process.stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${text()}\n`)
  }

  /** Something on the way that only people want to see. */
  progress(text: string): void {
    if (!this.json) process.stderr.write(`${text}\n`)
  }
}

/** Says what went wrong, its code, and what to do; as an object with `--json`. */
export function printError(error: unknown, json: boolean): PosternError {
  const known = error instanceof PosternError ? error : new PosternError('internal', error instanceof Error ? error.stack ?? error.message : String(error))
  const problems = known.details?.['problems'] as readonly ConfigProblem[] | undefined
  if (json) {
    const result: ErrorResult = {
      error: { code: known.code, message: known.message, ...(known.hint === undefined ? {} : { hint: known.hint }), ...(problems === undefined ? {} : { problems }) },
    }
    process.stdout.write(`${JSON.stringify(result)}\n`)
    return known
  }
  // Part of a sentence may be a reason that a peer gave. Only a mistake of ours has more than one line.
  process.stderr.write(`postern: ${known.code === 'internal' ? known.message : safeLine(known.message)} [${known.code}]\n`)
  for (const { source, line, message } of problems === undefined || problems.length < 2 ? [] : problems) {
    process.stderr.write(`  ${line === undefined ? source : `line ${line}`}: ${safeLine(message)}\n`)
  }
  if (known.hint !== undefined) process.stderr.write(`  ${safeLine(known.hint)}\n`)
  return known
}
