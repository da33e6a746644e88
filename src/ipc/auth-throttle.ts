import { after, toInstant, type Duration, type Instant } from '../core/base/time.ts'
import { AUTH_DELAY_MAX, AUTH_DELAY_MIN, AUTH_FORGET } from './limits.ts'

/**
 * Slows down whoever guesses keys: 250 ms · 2^failures, at most 8 s (WIRE.md §8.1). One count for all connections, because
 * only one user can open the socket and guessing over many connections must not be faster.
 */
export class AuthThrottle {
  #failures = 0
  #forgetAt: Instant = toInstant(0)

  /** Counts a failure and says how long its answer has to wait. */
  fail(now: Instant): Duration {
    if (now >= this.#forgetAt) this.#failures = 0
    const delay = Math.min(AUTH_DELAY_MAX, AUTH_DELAY_MIN * 2 ** this.#failures)
    this.#failures++
    this.#forgetAt = after(now, AUTH_FORGET)
    return delay
  }
}
