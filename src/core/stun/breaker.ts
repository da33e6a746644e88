import { after, hour, minute, type Duration, type Instant } from '../base/time.ts'
import { jitter } from './schedule.ts'

/**
 * A circuit breaker for one server, as a value: closed, it is asked; after two failures in a row it rests, and is then asked once.
 *
 *     closed ──2 failures──► resting ──time──► (one question) ──answer──► closed
 *        ▲                      ▲                     └──failure──► resting, twice as long
 *        └──answer──────────────┘ (a late one)
 */
export type Breaker =
  | { readonly kind: 'closed'; readonly failures: number }
  | { readonly kind: 'resting'; readonly failures: number; readonly until: Instant }

export const newBreaker: Breaker = { kind: 'closed', failures: 0 }

/** [P] */
const FAILURES_MAX = 2
const REST_FIRST: Duration = minute
const REST_MAX: Duration = hour

export function mayAsk(breaker: Breaker, now: Instant): boolean {
  return breaker.kind === 'closed' || now >= breaker.until
}

/** It did not answer, or with nothing of use. `unit` is random, 0 ≤ x < 1. */
export function failed(breaker: Breaker, now: Instant, unit: number): Breaker {
  const failures = breaker.failures + 1
  if (failures < FAILURES_MAX) return { kind: 'closed', failures }
  const rest = Math.min(REST_MAX, REST_FIRST * 2 ** (failures - FAILURES_MAX))
  return { kind: 'resting', failures, until: after(now, rest * jitter(unit)) }
}

/** The network is another one: whoever failed in the last may be asked at once, but a single failure is enough to rest again. */
export function forgiven(breaker: Breaker, now: Instant): Breaker {
  return breaker.kind === 'closed' ? breaker : { kind: 'resting', failures: FAILURES_MAX - 1, until: now }
}
