import { after, microsecond, millisecond, never, type Duration, type Instant } from '../base/time.ts'

/** WIRE.md §6: pacing at 1.25 × window / RTT, so that pacing itself never holds the window back. */
const PACING_GAIN = 1.25
const BURST_DATAGRAMS = 10
/** A timer fires up to a millisecond late; tokens of that long must not be lost, or the rate could never be reached. */
const TIMER_SLACK: Duration = 1.5 * millisecond
/**
 * A process that waits for a core comes later still. What was due meanwhile goes at once, up to this share of a round trip: else the rate
 * would be what the stalls leave of it, and a controller that measures the rate would follow it down, however fast the path is.
 */
const LATE_SHARE = 0.25

/** A token bucket in bytes: what may be sent now, and when the next burst may go. */
export class Pacer {
  #tokens = 0
  #rate = 0
  #burst = 0
  #updated: Instant | undefined
  /** When what waits for tokens was to go. */
  #due: Instant | undefined
  /** The last call came so late that tokens were lost: not the pacer but the machine sets the rate. */
  overdue = false

  /** Bytes that may be sent now. */
  available(now: Instant, window: number, rtt: Duration, rate: number | undefined, datagramSize: number, burstMax: number): number {
    this.#rate = rate ?? (PACING_GAIN * window) / Math.max(rtt, 1)
    // Below a millisecond of RTT one whole segmented transmit may go: the timer cannot cut finer (WIRE.md §6).
    const floor = rtt < millisecond ? Math.max(burstMax, BURST_DATAGRAMS * datagramSize) : BURST_DATAGRAMS * datagramSize
    this.#burst = Math.max(floor, this.#rate * TIMER_SLACK)
    if (this.#updated === undefined) this.#tokens = this.#burst
    else this.#refill(now, LATE_SHARE * rtt)
    this.#updated = now
    return this.#tokens
  }

  #refill(now: Instant, lateMax: Duration): void {
    const late = this.#due === undefined ? 0 : Math.max(0, now - this.#due)
    this.#due = undefined
    this.overdue = late > lateMax
    const most = this.#burst + Math.min(late, lateMax) * this.#rate
    // What a late call has gained is not lost by the next one in the same turn.
    this.#tokens = Math.max(this.#tokens, Math.min(most, this.#tokens + (now - this.#updated!) * this.#rate))
  }

  /** Nothing waits to be sent any more: time that goes by from now on is not lateness. */
  rest(): void {
    this.#due = undefined
    this.#tokens = Math.min(this.#tokens, this.#burst)
  }

  spend(bytes: number): void {
    this.#tokens -= bytes
  }

  /** When `bytes` (or a full bucket, if that is less) will be there. */
  nextAt(bytes: number): Instant {
    if (this.#updated === undefined || this.#rate === 0) return never
    const missing = Math.min(bytes, this.#burst) - this.#tokens
    // At least a microsecond on: a rounding error of missing bytes would else be waited for at the same instant for ever.
    this.#due = missing <= 0 ? this.#updated : after(this.#updated, Math.max(missing / this.#rate, microsecond))
    return this.#due
  }
}
