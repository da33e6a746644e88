import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { PosternError, type ErrorCode } from '../core/base/errors.ts'

export interface PosterndOutcome {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

/** Runs posternd to its end, which for the daemon itself means `--background` or `--check`. What it asks on the terminal is asked. */
export function runPosternd(args: readonly string[]): Promise<PosterndOutcome> {
  const program = fileURLToPath(new URL('../daemon/main.js', import.meta.url))
  const child = spawn(process.execPath, [program, ...args], { stdio: ['inherit', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString()
    // A passphrase is asked for there, without a line's end.
    if (!err.includes('posternd:')) process.stderr.write(chunk)
  })
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new PosternError('start', 'posternd could not be started.', { cause })))
    child.on('close', (status) => resolve({ status, out, err }))
  })
}

/** What posternd printed when it failed, as the error it was. */
export function posterndError({ status, err }: PosterndOutcome): PosternError {
  const match = /^posternd: (.*) \[([a-z_]+)\]\n(?: {2}(.*)\n)?/m.exec(err)
  if (match === null) return new PosternError('start', `posternd ended with status ${status ?? 'unknown'}: ${err.trim()}`)
  return new PosternError(match[2] as ErrorCode, match[1]!, match[3] === undefined ? {} : { hint: match[3] })
}
