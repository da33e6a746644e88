import { DeadlineHeap } from '../core/base/deadline-heap.ts'
import { millisecond, never, type Instant } from '../core/base/time.ts'
import type { TcpSystem } from './tcp-system.ts'

/**
 * The deadlines of all connections behind one timer. A deadline that moves away costs no timer call: the timer wakes once for
 * nothing and looks anew. At most as many slots as connections.
 */
export class TcpDeadlines {
  readonly #system: TcpSystem
  readonly #due: (slot: number, now: Instant) => void
  readonly #heap = new DeadlineHeap()
  #timer: { readonly handle: unknown; readonly wakes: Instant } | undefined

  /** `due` is called once per deadline that passed; the slot has none then until it is set again. */
  constructor(system: TcpSystem, due: (slot: number, now: Instant) => void) {
    this.#system = system
    this.#due = due
  }

  /** Sets, moves or (with `never`) clears. */
  set(slot: number, deadline: Instant): void {
    this.#heap.set(slot, deadline)
    this.#arm()
  }

  /** No timer runs any more. */
  stop(): void {
    if (this.#timer !== undefined) this.#system.clearTimeout(this.#timer.handle)
    this.#timer = undefined
  }

  #arm(): void {
    const next = this.#heap.next()
    if (next === never || (this.#timer !== undefined && this.#timer.wakes <= next)) return
    this.stop()
    const milliseconds = Math.max(1, Math.ceil((next - this.#system.now()) / millisecond))
    this.#timer = { handle: this.#system.setTimeout(() => this.#wake(), milliseconds), wakes: next }
  }

  #wake(): void {
    this.#timer = undefined
    const now = this.#system.now()
    for (let slot = this.#heap.due(now); slot >= 0; slot = this.#heap.due(now)) {
      this.#heap.clear(slot)
      this.#due(slot, now)
    }
    this.#arm()
  }
}
