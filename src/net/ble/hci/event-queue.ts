import type { BackendEvent } from '../backend.ts'

/** Events that wait for a handler. As bounded as the pipe that will take them; more are dropped, the oldest first. */
const EVENTS_KEPT_MAX = 256

/** Tells events to one handler: those that came before it was set afterwards, and those from inside a command when that has returned. */
export class EventQueue {
  #handler: ((event: BackendEvent) => void) | undefined
  /** BOUNDED by {@link EVENTS_KEPT_MAX}. */
  #kept: BackendEvent[] = []
  #isInside = false

  setHandler(handler: (event: BackendEvent) => void): void {
    this.#handler = handler
    queueMicrotask(() => this.#flush())
  }

  inside(run: () => void): void {
    this.#isInside = true
    run()
    this.#isInside = false
    if (this.#kept.length > 0) queueMicrotask(() => this.#flush())
  }

  tell(event: BackendEvent): void {
    if (this.#handler !== undefined && !this.#isInside && this.#kept.length === 0) {
      this.#handler(event)
      return
    }
    this.#kept.push(event)
    if (this.#kept.length > EVENTS_KEPT_MAX) this.#kept.shift()
  }

  #flush(): void {
    const handler = this.#handler
    if (handler === undefined) return
    const kept = this.#kept
    this.#kept = []
    for (const event of kept) handler(event)
  }
}
