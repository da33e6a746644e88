import { after, millisecond, minute, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'

/** RFC 6886 §3.1; PCP at the same servers keeps to it as well, where RFC 6887 §8.1.1 would wait 3 s for a lost datagram (decision 091). */
const RETRY_FIRST: Duration = 250 * millisecond
/** [P] Given up after 15.75 s; RFC 6886 goes on for another 48 s. */
export const TRIES_MAX = 6
const JITTER = 0.1

/** How long a request that was sent `tries` times (1 and up) waits for its answer before the next try. */
export function retryPause(tries: number, unit: number): Duration {
  return RETRY_FIRST * 2 ** (tries - 1) * (1 - JITTER + 2 * JITTER * unit)
}

/** RFC 6887 §11.2.1: no two renewals of a mapping are closer, however short its lifetime. */
const RENEWAL_PAUSE_MIN: Duration = 4 * second

/**
 * When a mapping that was made at `made` is asked for again (RFC 6887 §11.2.1): within the eighth behind half of its lifetime; if nobody answers
 * (`attempt` 1), within the sixteenth behind three quarters, and so on.
 */
export function renewalTime(made: Instant, now: Instant, lifetime: Duration, attempt: number, unit: number): Instant {
  const share = 1 - 2 ** -(attempt + 1) + 2 ** -(attempt + 3) * unit
  return toInstant(Math.max(made + lifetime * share, now + RENEWAL_PAUSE_MIN))
}

/** [P] Between rounds of questions that led to nothing. */
const ROUND_PAUSES: readonly Duration[] = [minute, 5 * minute, 25 * minute, 120 * minute]

/** When the round behind round `round` (0 and up) begins: `never` after the fifth, until the network changes or the router says that it began anew. */
export function nextRound(now: Instant, round: number, unit: number): Instant {
  const pause = ROUND_PAUSES[round]
  return pause === undefined ? never : after(now, pause * (1 - JITTER + 2 * JITTER * unit))
}

/** RFC 6887 §14.1.3: all clients of a router hear it at once and are not to answer at once. */
export const RESTART_SPREAD: Duration = 5 * second
/** [P] Anybody on the link can forge the router's announcement: more often than this it is not followed. */
export const RESTART_PAUSE_MIN: Duration = 30 * second
