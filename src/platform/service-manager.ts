import { spawn } from 'node:child_process'
import { getSystemErrorName } from 'node:util'
import type { AddonSystem } from './addon.ts'

/** Sends one message: `undefined`, or for people why it could not. `busy`: the same again may work in a moment. */
export type Notify = (text: string) => Promise<{ readonly reason: string; readonly busy: boolean } | undefined>

export interface ServiceManagerOptions {
  readonly environment: NodeJS.ProcessEnv
  /** What sends a datagram to a Unix socket, which Node cannot; `undefined`: the program `systemd-notify` does. */
  readonly system: AddonSystem | undefined
  /** The first message that could not be sent, in words. */
  readonly onRefused: (reason: string) => void
}

/** The manager reads a few hundred messages a second; one whose queue is full is asked again this often. */
const ATTEMPTS_MAX = 20
const PAUSE_MS = 50
/** A start, a status or two and a stop. */
const WAITING_MAX = 8
const PROGRAM = 'systemd-notify'
const PROGRAM_TIMEOUT_MS = 5_000

/**
 * What started this process and wants to know how it is (sd_notify(3)): systemd with `Type=notify`. Messages go one after the other; at
 * most {@link WAITING_MAX} wait, more are dropped, since each is overtaken by a later one.
 */
export class ServiceManager {
  readonly #notify: Notify
  readonly #onRefused: (reason: string) => void
  #watchdog: NodeJS.Timeout | undefined
  #last: Promise<void> = Promise.resolve()
  #waiting = 0
  #refused = false

  /** `undefined` when nobody asked (no NOTIFY_SOCKET). A watchdog is fed from now on: from the loop that does all the work, so one that hangs is noticed. */
  static of({ environment, system, onRefused }: ServiceManagerOptions): ServiceManager | undefined {
    const path = environment['NOTIFY_SOCKET']
    if (path === undefined || path === '') return undefined
    return new ServiceManager(system === undefined ? notifyByProgram(environment) : notifyBySocket(system, path), onRefused, watchdogMs(environment))
  }

  constructor(notify: Notify, onRefused: (reason: string) => void, watchdog: number | undefined) {
    this.#notify = notify
    this.#onRefused = onRefused
    if (watchdog === undefined) return
    this.#send('WATCHDOG=1')
    // Half of it, as sd_watchdog_enabled(3) advises.
    this.#watchdog = setInterval(() => {
      if (this.#waiting === 0) this.#send('WATCHDOG=1')
    }, watchdog / 2).unref()
  }

  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${line(status)}`)
  }

  /** `timeoutMs` is how long it may take from now; the manager's own patience counts if that is longer. */
  stopping(status: string, timeoutMs: number): void {
    this.#send(`STOPPING=1\nEXTEND_TIMEOUT_USEC=${Math.ceil(timeoutMs * 1000)}\nSTATUS=${line(status)}`)
  }

  status(status: string): void {
    this.#send(`STATUS=${line(status)}`)
  }

  /** The watchdog gets no more; resolves when everything was sent, or could not be. */
  close(): Promise<void> {
    clearInterval(this.#watchdog)
    return this.#last
  }

  #send(text: string): void {
    if (this.#waiting === WAITING_MAX) return
    this.#waiting++
    this.#last = this.#last.then(() => this.#try(text)).finally(() => {
      this.#waiting--
    })
  }

  async #try(text: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const refusal = await this.#notify(text)
      if (refusal === undefined) return
      if (!refusal.busy || attempt === ATTEMPTS_MAX) {
        if (!this.#refused) this.#onRefused(refusal.reason)
        this.#refused = true
        return
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
}

/** A message has one assignment a line. */
function line(text: string): string {
  return text.replace(/\s+/g, ' ')
}

/** sd_watchdog_enabled(3): for this process, or for whoever reads it. */
function watchdogMs(environment: NodeJS.ProcessEnv): number | undefined {
  const microseconds = Number(environment['WATCHDOG_USEC'])
  const pid = environment['WATCHDOG_PID']
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0 || (pid !== undefined && Number(pid) !== process.pid)) return undefined
  return microseconds / 1000
}

function notifyBySocket(system: AddonSystem, path: string): Notify {
  const name = Buffer.from(path)
  return (text) => {
    const result = system.sendUnix(name, Buffer.from(text))
    if (result === 0) return Promise.resolve(undefined)
    const code = getSystemErrorName(result)
    return Promise.resolve({ reason: `${path} took no message: ${code}`, busy: code === 'EAGAIN' || code === 'ENOBUFS' })
  }
}

/** The twin: a process for each message, which the manager takes for us only with `NotifyAccess=all`. */
const notifyByProgram = (env: NodeJS.ProcessEnv): Notify => (text) => new Promise((resolve) => {
  const child = spawn(PROGRAM, text.split('\n'), { env, stdio: 'ignore', timeout: PROGRAM_TIMEOUT_MS })
  child.once('error', () => resolve({ reason: `Node cannot send it, and there is neither the native addon nor the program ${PROGRAM}`, busy: false }))
  child.once('exit', (code) => resolve(code === 0 ? undefined : { reason: `${PROGRAM} ended with ${code ?? 'a signal'}`, busy: false }))
})
