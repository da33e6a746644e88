import { PosternError } from '../core/base/errors.ts'

/** What every command is told besides its own options. */
export interface Globals {
  readonly dir?: string
  readonly json?: boolean
}

/** Prints text for people, or with `--json` one object for programs. */
export class Output {
  readonly json: boolean

  constructor(globals: Globals) {
    this.json = globals.json === true
  }

  /** The result of a command: `text` for people (made only when needed), `value` for programs. */
  result(value: unknown, text: () => string): void {
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
  if (json) {
    process.stdout.write(`${JSON.stringify({ error: { code: known.code, message: known.message, ...(known.hint === undefined ? {} : { hint: known.hint }) } })}\n`)
    return known
  }
  process.stderr.write(`postern: ${known.message} [${known.code}]\n`)
  if (known.hint !== undefined) process.stderr.write(`  ${known.hint}\n`)
  return known
}

/** Columns as wide as their widest cell; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, cell.length) })
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]!))).join('  ').trimEnd()).join('\n')
}

/** `3 d 4 h`, `5 min 6 s`: the two largest units. */
export function ago(milliseconds: number): string {
  const units = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']] as const
  const parts: string[] = []
  let left = Math.max(0, milliseconds)
  for (const [size, name] of units) {
    const count = Math.floor(left / size)
    left -= count * size
    if (count > 0 && parts.length < 2) parts.push(`${count} ${name}`)
    else if (parts.length === 1) break
  }
  return parts.length === 0 ? '0 s' : parts.join(' ')
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1 << 20) return `${(bytes / 1024).toFixed(1)} KiB`
  return `${(bytes / (1 << 20)).toFixed(1)} MiB`
}

/** Seconds of `90`, `30s`, `15min`, `12h`, `7d`. */
export function parseSeconds(text: string): number {
  const match = /^(\d+)\s*(s|min|h|d)?$/.exec(text)
  const unit = { s: 1, min: 60, h: 3600, d: 86_400 }[match?.[2] ?? 's']
  if (match === null || unit === undefined) throw new PosternError('params', `"${text}" is not a duration.`, { hint: 'For example: 30min, 12h, 7d' })
  return Number(match[1]) * unit
}

export function parseCount(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new PosternError('params', `"${text}" is not a whole number above 0.`)
  return value
}
