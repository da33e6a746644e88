import { after, millisecond, never, type Duration, type Instant, type Now } from '../core/base/time.ts'

/** What the timer uses of Node; replaced in tests. */
export interface TimerSystem {
  setTimeout(run: () => void, milliseconds: number): unknown
  clearTimeout(handle: unknown): void
  setImmediate(run: () => void): unknown
  clearImmediate(handle: unknown): void
}

export const timerSystem: TimerSystem = {
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
  setImmediate: (run) => setImmediate(run),
  clearImmediate: (handle) => clearImmediate(handle as NodeJS.Immediate),
}

/** Node's clock for timers stands still while the machine sleeps: waiting in pieces shows a deadline that passed in sleep within this. */
const PIECE: Duration = 30_000 * millisecond
/** Turning the loop is charged by what an empty turn costs at most; a turn that did real work was not spent on waiting. */
const TURN_COST_MAX: Duration = 20
/** How long it may turn at a stretch. */
const BUDGET_MAX: Duration = 5 * millisecond
/** Share of one core that turning may take in the long run. */
const BUDGET_SHARE = 0.25

//           arm (≥ 1 ms away, or coarse)            due: fire
//  idle ─────────────────────────▶ sleeping ──────────────────▶ idle
//   │                                 │ woke early, < 1 ms left, precise
//   │ arm (< 1 ms away, precise)      ▼
//   └───────────────────────────▶ turning ── due: fire ──▶ idle        (budget spent: sleeping for 1 ms)
type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'sleeping'; readonly handle: unknown; readonly wakes: Instant }
  | { readonly kind: 'turning'; readonly handle: unknown; readonly since: Instant }

/**
 * The one timer behind a pump. Deadlines wait in one `setTimeout`, rounded up, so they are at most about two milliseconds late.
 * The last millisecond before a precise one, which pacing asks for, is met by turning the event loop with `setImmediate`; since
 * that keeps a core busy, it is paid from a budget: {@link BUDGET_MAX} at a stretch, {@link BUDGET_SHARE} of a core in the long
 * run, beyond which such a deadline is up to a millisecond late as well. With nothing armed it costs nothing.
 *
 * Others never turn: the keep-alives of ten thousand idle sessions, of which the next is always near, would take the whole budget.
 */
export class Timer {
  readonly #clock: { now(): Now }
  readonly #fire: (now: Now) => void
  readonly #system: TimerSystem
  #deadline: Instant = never
  #precise = true
  #state: State = { kind: 'idle' }
  #budget: Duration = BUDGET_MAX
  #budgetAt: Instant
  readonly #onSleep = (): void => this.#wake()
  readonly #onTurn = (): void => this.#turned()

  /** `fire` gets the reading that found the deadline due, and may arm again. */
  constructor(clock: { now(): Now }, fire: (now: Now) => void, system: TimerSystem = timerSystem) {
    this.#clock = clock
    this.#fire = fire
    this.#system = system
    this.#budgetAt = clock.now().mono
  }

  /**
   * Fires once at or after `deadline`, in place of any earlier wish; `never` takes the wish back. Cheap to call after
   * every batch: a later deadline than the running timer's changes only a number.
   */
  arm(deadline: Instant, precise = true): void {
    this.#deadline = deadline
    this.#precise = precise
    if (deadline === never) return
    const state = this.#state
    if (state.kind === 'turning' || (state.kind === 'sleeping' && state.wakes <= deadline)) return
    this.#wait(this.#clock.now().mono)
  }

  /** Nothing fires any more until the next {@link arm}, and the process is not kept alive. */
  stop(): void {
    this.#deadline = never
    const state = this.#state
    if (state.kind === 'sleeping') this.#system.clearTimeout(state.handle)
    if (state.kind === 'turning') this.#system.clearImmediate(state.handle)
    this.#state = { kind: 'idle' }
  }

  /** Goes to wait for the deadline in the best way there is, leaving a sleep that ends sooner. */
  #wait(now: Instant): void {
    const left = this.#deadline - now
    this.#refill(now)
    const turn = this.#precise && left < millisecond && this.#budget > 0
    // Node's timers may come most of a millisecond early; one more spares a coarse deadline the second sleep.
    const milliseconds = Math.max(1, Math.ceil(Math.min(left, PIECE) / millisecond)) + (this.#precise ? 0 : 1)
    const wakes = after(now, milliseconds * millisecond)
    if (this.#state.kind === 'sleeping') {
      // A sleep renewed at every batch would never end: under load that is every fraction of a millisecond.
      if (!turn && wakes >= this.#state.wakes) return
      this.#system.clearTimeout(this.#state.handle)
    }
    this.#state = turn
      ? { kind: 'turning', handle: this.#system.setImmediate(this.#onTurn), since: now }
      : { kind: 'sleeping', handle: this.#system.setTimeout(this.#onSleep, milliseconds), wakes }
  }

  #turned(): void {
    const state = this.#state
    const { mono } = this.#clock.now()
    if (state.kind === 'turning') this.#budget -= Math.min(TURN_COST_MAX, Math.max(0, mono - state.since))
    this.#wake()
  }

  #wake(): void {
    this.#state = { kind: 'idle' }
    // Nobody waits any more: this was the last wake-up.
    if (this.#deadline === never) return
    const now = this.#clock.now()
    if (now.mono < this.#deadline) {
      this.#wait(now.mono)
      return
    }
    this.#deadline = never
    this.#fire(now)
  }

  #refill(now: Instant): void {
    this.#budget = Math.min(BUDGET_MAX, this.#budget + (now - this.#budgetAt) * BUDGET_SHARE)
    this.#budgetAt = now
  }
}
