import type { Duplex } from 'node:stream'
import type { BackendCommand, BackendEvent, BackendName, BackendOptions, BleBackend } from './backend.ts'
import { decodeEvent, encodeCommand, MessageReader, type PipeEvent } from './pipe.ts'

/** A child process, as much of it as is needed here. */
export interface Child {
  readonly pipe: Duplex
  /** Once, with one line about how it ended. */
  onExit(handler: (how: string) => void): void
  kill(): void
}

/** What the supervisor asks of the machine, so that a test can play one whose children fail, and its clock. */
export interface ProcessSystem {
  spawn(options: BackendOptions): Child
  /** Milliseconds on a clock that never goes back. */
  now(): number
  setTimeout(run: () => void, milliseconds: number): unknown
  clearTimeout(handle: unknown): void
  random(): number
}

/** A child that lived so long did not fail at once: the next one is started as the first was. */
const STEADY_MS = 60_000
const RESTART_MS = 1000
const RESTART_MAX_MS = 300_000
/** Children in a row that did not live long; 1 + 2 + 4 + … s are some twenty minutes. */
const FAILURES_MAX = 10
/** A child is asked whether it still turns, and ended if nothing at all came from it for the other. */
const PING_MS = 15_000
const SILENCE_MS = 50_000
/** How long it may take to give its adapter back. */
const STOP_MS = 3000
/** Commands that it did not read: a child that has so many does not turn any more. */
const UNREAD_MAX = 262_144
/** Links open at once, and dials without an answer: no radio has so many, so a child that has tells what is not. */
const LINKS_MAX = 64
const DIALS_MAX = 64
/** Events that came before anybody listened. */
const EARLY_MAX = 64

//  idle ──start──▶ running ──end──▶ waiting ──backoff──▶ running
//                     │                 └─ too often ─┐
//                     └── unsupported ────────────────┴──▶ over ──reopen──▶ running      close: from anywhere to closed
type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'running'; readonly child: Child; readonly startedAt: number }
  | { readonly kind: 'waiting'; readonly timer: unknown }
  | { readonly kind: 'over'; readonly why: string }
  | { readonly kind: 'closed' }

/**
 * A backend in a process of its own, started by {@link start} and again after it ended, later and later, until that makes no sense: then the adapter is
 * `absent`, for the reason given. To its user it is a backend whose adapter is `resetting` now and then; links and dials end with the process.
 */
export class BackendProcess implements BleBackend {
  #options: BackendOptions
  readonly #system: ProcessSystem
  #isReopening = false
  #state: State = { kind: 'idle' }
  #handler: ((event: BackendEvent) => void) | undefined
  #early: BackendEvent[] = []
  readonly #links = new Set<number>()
  readonly #dials = new Set<string>()
  #failures = 0
  /** The last fault that the child spoke of: why it ended, most of the time. */
  #fault: Extract<BackendEvent, { kind: 'fault' }> | undefined
  #heardAt = 0
  #ping: unknown
  #onExit: (() => void) | undefined

  constructor(options: BackendOptions, system: ProcessSystem) {
    this.#options = options
    this.#system = system
  }

  get name(): BackendName {
    return this.#options.name
  }

  /** Why no child is started any more by itself. */
  get over(): 'failed' | 'unsupported' | undefined {
    if (this.#state.kind !== 'over') return undefined
    return this.#fault?.code === 'unsupported' ? 'unsupported' : 'failed'
  }

  /** Children started in a row that did not live long. */
  get failures(): number {
    return this.#failures
  }

  start(): void {
    if (this.#state.kind === 'idle') this.#spawn()
  }

  /** Begins anew, perhaps with another backend, and forgives what failed. A child that runs gives its adapter back first. */
  reopen(options: BackendOptions): void {
    const state = this.#state
    if (state.kind === 'idle' || state.kind === 'closed') return
    this.#options = options
    this.#failures = 0
    if (state.kind === 'waiting') this.#system.clearTimeout(state.timer)
    if (state.kind !== 'running') return this.#spawn()
    if (this.#isReopening) return
    this.#isReopening = true
    state.child.pipe.write(encodeCommand({ kind: 'stop' }))
    this.#system.clearTimeout(this.#ping)
    this.#ping = this.#system.setTimeout(() => state.child.kill(), STOP_MS)
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#handler = handler
    for (const event of this.#early.splice(0)) handler(event)
  }

  command(command: BackendCommand): void {
    if (this.#state.kind !== 'running') {
      if (command.kind === 'connect') setImmediate(() => this.#tell({ kind: 'connectFailed', address: command.address, reason: 'the backend does not run' }))
      return
    }
    if (command.kind === 'connect') this.#dials.add(command.address)
    const { child } = this.#state
    if (child.pipe.writableLength > UNREAD_MAX || this.#dials.size > DIALS_MAX) child.kill()
    else child.pipe.write(encodeCommand(command))
  }

  async close(): Promise<void> {
    const state = this.#state
    if (state.kind === 'waiting') this.#system.clearTimeout(state.timer)
    this.#state = { kind: 'closed' }
    this.#system.clearTimeout(this.#ping)
    if (state.kind !== 'running') return
    const gone = new Promise<void>((resolve) => (this.#onExit = resolve))
    state.child.pipe.write(encodeCommand({ kind: 'stop' }))
    const timer = this.#system.setTimeout(() => state.child.kill(), STOP_MS)
    await gone
    this.#system.clearTimeout(timer)
  }

  #spawn(): void {
    this.#fault = undefined
    let child: Child
    try {
      child = this.#system.spawn(this.#options)
    } catch (error) {
      this.#rest(`could not be started: ${error instanceof Error ? error.message : String(error)}`, this.#system.now())
      return
    }
    this.#state = { kind: 'running', child, startedAt: this.#system.now() }
    this.#heardAt = this.#system.now()
    const reader = new MessageReader((message) => {
      const event = decodeEvent(message)
      if (event === undefined || !this.#isPossible(event)) return false
      if (event.kind !== 'pong') this.#onEvent(event)
      return true
    })
    child.pipe.on('data', (chunk: Uint8Array) => {
      this.#heardAt = this.#system.now()
      if (!reader.push(chunk)) child.kill()
    })
    child.pipe.on('error', () => child.kill())
    child.onExit((how) => this.#onEnd(how))
    this.#ping = this.#system.setTimeout(() => this.#watch(child), PING_MS)
  }

  #watch(child: Child): void {
    if (this.#system.now() - this.#heardAt > SILENCE_MS) return child.kill()
    child.pipe.write(encodeCommand({ kind: 'ping' }))
    this.#ping = this.#system.setTimeout(() => this.#watch(child), PING_MS)
  }

  /** Each link has a number of its own, and there are not many: what is told otherwise would be remembered without end. */
  #isPossible(event: PipeEvent): boolean {
    return event.kind !== 'opened' || (!this.#links.has(event.link) && this.#links.size < LINKS_MAX)
  }

  #onEvent(event: BackendEvent): void {
    if (this.#state.kind !== 'running') return
    switch (event.kind) {
      case 'opened':
        this.#links.add(event.link)
        this.#dials.delete(event.address)
        break
      case 'closed':
        this.#links.delete(event.link)
        break
      case 'connectFailed':
        this.#dials.delete(event.address)
        break
      case 'fault':
        this.#fault = event
        break
      default:
    }
    this.#tell(event)
  }

  #onEnd(how: string): void {
    this.#system.clearTimeout(this.#ping)
    this.#onExit?.()
    if (this.#state.kind !== 'running') return
    if (this.#isReopening) return this.#reopened()
    this.#rest(how, this.#state.startedAt)
  }

  /** No child runs: another one later, unless that makes no sense. */
  #rest(how: string, startedAt: number): void {
    this.#failures = this.#system.now() - startedAt >= STEADY_MS ? 1 : this.#failures + 1
    const why = this.#fault === undefined ? `the process of the backend ${this.name} ${how}` : this.#fault.detail
    if (this.#fault?.code === 'unsupported') this.#state = { kind: 'over', why }
    else if (this.#failures >= FAILURES_MAX) this.#state = { kind: 'over', why: `${why}; it was started ${FAILURES_MAX} times, and is not started again for now` }
    else {
      const pause = Math.min(RESTART_MAX_MS, RESTART_MS * 2 ** (this.#failures - 1)) * (0.8 + 0.4 * this.#system.random())
      this.#state = { kind: 'waiting', timer: this.#system.setTimeout(() => this.#spawn(), pause) }
    }
    this.#endAll(why)
    this.#tell(this.#state.kind === 'over' ? { kind: 'adapter', state: 'absent', detail: this.#state.why } : { kind: 'adapter', state: 'resetting', detail: why })
  }

  #reopened(): void {
    this.#isReopening = false
    const why = `the backend ${this.name} is being started`
    this.#spawn()
    this.#endAll(why)
    this.#tell({ kind: 'adapter', state: 'resetting', detail: why })
  }

  #endAll(why: string): void {
    for (const address of this.#dials) this.#tell({ kind: 'connectFailed', address, reason: why })
    for (const link of this.#links) this.#tell({ kind: 'closed', link, reason: why })
    this.#dials.clear()
    this.#links.clear()
  }

  #tell(event: BackendEvent): void {
    if (this.#state.kind === 'closed') return
    if (this.#handler !== undefined) this.#handler(event)
    else if (this.#early.length < EARLY_MAX) this.#early.push(event)
  }
}
