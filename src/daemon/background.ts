import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { PosternError, type ErrorCode } from '../core/base/errors.ts'

/** What a daemon in the background tells the process that started it, once. */
export type StartReport =
  | { readonly kind: 'ready'; readonly peerId: string; readonly udpPort: number; readonly socket: string; readonly pid: number; readonly log: string }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined }

/** Its log, unless the configuration names another. */
const LOG_NAME = 'posternd.log'
/** PBKDF2 and a slow disk together stay far below. */
const START_TIMEOUT_MS = 30_000

/**
 * Starts this program again, detached from the terminal, and resolves when it is ready to serve. Rejects with what kept it from
 * starting. The passphrase, if one was asked for, goes by the environment, out of which the daemon takes it at once.
 */
export function startInBackground(args: readonly string[], state: string, logFile: string | undefined, passphrase: string | undefined): Promise<Extract<StartReport, { kind: 'ready' }>> {
  mkdirSync(state, { recursive: true, mode: 0o700 })
  const log = logFile ?? join(state, LOG_NAME)
  const child = spawn(process.execPath, [process.argv[1]!, ...args, '--set', `log.file=${JSON.stringify(log)}`], {
    detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: passphrase === undefined ? process.env : { ...process.env, POSTERN_PASSPHRASE: passphrase },
  })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => finish(new PosternError('timeout', `The daemon did not say that it is ready within ${START_TIMEOUT_MS / 1000} s.`, { hint: `Its log: ${log}` })), START_TIMEOUT_MS)
    const finish = (outcome: Extract<StartReport, { kind: 'ready' }> | PosternError): void => {
      clearTimeout(timer)
      child.removeAllListeners()
      if (child.connected) child.disconnect()
      child.unref()
      if (outcome instanceof PosternError) reject(outcome)
      else resolve(outcome)
    }
    child.on('message', (message) => {
      const report = message as StartReport
      finish(report.kind === 'ready' ? { ...report, log } : new PosternError(report.code, report.message, report.hint === undefined ? {} : { hint: report.hint }))
    })
    child.on('error', (error) => finish(new PosternError('start', 'The daemon could not be started.', { cause: error })))
    child.on('exit', (code) => finish(new PosternError('start', `The daemon ended before it was ready (exit status ${code ?? 'unknown'}).`, { hint: `Its log: ${log}` })))
  })
}

/** In the daemon: tells the process that waits, if there is one, and lets go of it. */
export function report(message: StartReport): void {
  if (process.send === undefined) return
  process.send(message, () => {
    if (process.connected) process.disconnect()
  })
}
