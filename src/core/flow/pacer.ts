import { after, microsecond, millisecond, never, type Duration, type Instant } from '../base/time.ts'

/** WIRE.md §6: pacing at 1.25 × window / RTT, so that pacing itself never holds the window back. */
const PACING_GAIN = 1.25
const BURST_DATAGRAMS = 10
/** A timer fires up to a millisecond late; tokens of that long must not be lost, or the rate could never be reached. */
const TIMER_SLACK: Duration = 1.5 * millisecond

/** A token bucket in bytes: what may be sent now, and when the next burst may go. */
export class Pacer {
  #tokens = 0
  #rate = 0
  #burst = 0
  #updated: Instant | undefined

  /** Bytes that may be sent now. */
  available(now: Instant, window: number, rtt: Duration, rate: number | undefined, datagramSize: number, burstMax: number): number {
    this.#rate = rate ?? (PACING_GAIN * window) / Math.max(rtt, 1)
    // Below a millisecond of RTT one whole segmented transmit may go: the timer cannot cut finer (WIRE.md §6).
    const floor = rtt < millisecond ? Math.max(burstMax, BURST_DATAGRAMS * datagramSize) : BURST_DATAGRAMS * datagramSize
    this.#burst = Math.max(floor, this.#rate * TIMER_SLACK)
    if (this.#updated === undefined) this.#tokens = this.#burst
    else this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#updated) * this.#rate)
    this.#updated = now
    return this.#tokens
  }

  spend(bytes: number): void {
    this.#tokens -= bytes
  }

  /** When `bytes` (or a full bucket, if that is less) will be there. */
  nextAt(bytes: number): Instant {
    if (this.#updated === undefined || this.#rate === 0) return never
    const missing = Math.min(bytes, this.#burst) - this.#tokens
    // At least a microsecond on: a rounding error of missing bytes would else be waited for at the same instant for ever.
    return missing <= 0 ? this.#updated : after(this.#updated, Math.max(missing / this.#rate, microsecond))
  }
}
