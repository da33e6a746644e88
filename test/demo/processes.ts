import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { PlayerTask, Report } from './messages.ts'

/** A daemon drains for at most 5 s when it is asked to end; then it is killed. */
const END_TIMEOUT_MS = 8000
/** Of what a process wrote to standard error, the end is kept. */
const ERRORS_KEPT = 4096

/** A process of the demo; it is ended by its own id and waited for, whatever happens. */
class Started implements AsyncDisposable {
  readonly name: string
  readonly child: ChildProcess
  readonly #exited: Promise<void>
  #errors = ''

  constructor(name: string, child: ChildProcess) {
    this.name = name
    this.child = child
    this.#exited = new Promise((resolve) => {
      child.once('close', () => resolve())
      child.once('error', (error) => {
        this.#errors += error.message
        resolve()
      })
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-ERRORS_KEPT)
    })
  }

  /** Resolves with a sentence when the process has ended. */
  async ended(): Promise<string> {
    await this.#exited
    const { exitCode, signalCode } = this.child
    const errors = this.#errors.trim()
    return `${this.name} ended (${signalCode ?? `exit status ${exitCode ?? 'unknown'}`})${errors === '' ? '' : `:\n${errors}`}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { child } = this
    if (child.pid === undefined) return
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS)
    await this.#exited
    clearTimeout(timer)
  }
}

/** What posternd tells the process that started it, over Node's channel between processes. */
interface Ready {
  readonly kind: 'ready' | 'failed'
  readonly peerId: string
  readonly udpPort: number
  readonly message: string
}

/** A real posternd in the foreground, with everything it keeps under one directory. */
export class DemoDaemon implements AsyncDisposable {
  readonly dir: string
  readonly #process: Started

  private constructor(dir: string, process: Started) {
    this.dir = dir
    this.#process = process
  }

  /** Started, not yet {@link ready}. `advertise` is what peers are told to reach it by, `air` the socket of the virtual air that its Bluetooth is on. */
  static start(name: string, dir: string, advertise: readonly string[], air?: string): DemoDaemon {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    writeFileSync(join(dir, 'postern.toml'), [
      '[udp]', 'bind = ["127.0.0.1"]', `advertise = ${JSON.stringify(advertise)}`, '[stun]', 'enabled = false', '[portmap]', 'enabled = false', '[log]', `file = ${JSON.stringify(join(dir, 'posternd.log'))}`,
      ...(air === undefined ? [] : ['[ble]', 'enabled = "on"', 'backend = "virtual"', `socket = ${JSON.stringify(air)}`]), '',
    ].join('\n'), { mode: 0o600 })
    const program = fileURLToPath(new URL('../dist/daemon/main.js', import.meta.url))
    const child = spawn(process.execPath, [program, '--dir', dir], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: air === undefined ? process.env : { ...process.env, POSTERN_BLE: '1' } })
    return new DemoDaemon(dir, new Started(`the daemon of ${name}`, child))
  }

  /** Resolves with its UDP port when it serves. */
  async ready(): Promise<number> {
    const said = once(this.#process.child, 'message').then(([message]) => message as Ready)
    const ready = await Promise.race([said, this.ended()])
    if (typeof ready === 'string') throw new Error(ready)
    if (ready.kind === 'failed') throw new Error(`${this.#process.name} could not start: ${ready.message}`)
    return ready.udpPort
  }

  ended(): Promise<string> {
    return this.#process.ended()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]()
  }
}

/** A game client in a process of its own. */
export class PlayerProcess implements AsyncDisposable {
  readonly #process: Started

  constructor(name: string, task: PlayerTask, onReport: (report: Report) => void) {
    const program = fileURLToPath(new URL('player.js', import.meta.url))
    const child = fork(program, [JSON.stringify(task)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    child.on('message', (message) => onReport(message as Report))
    this.#process = new Started(`the game client of ${name}`, child)
  }

  ended(): Promise<string> {
    return this.#process.ended()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]()
  }
}
