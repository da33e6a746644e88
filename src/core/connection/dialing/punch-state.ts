import { after, second, type Duration, type Instant } from '../../base/time.ts'
import type { BirthdayRole } from '../../path/birthday.ts'
import type { PunchFrame } from '../../wire/punch-frame.ts'

/** A connection carries the traffic for so long before the two look for more: what the first questions find needs no round. */
export const FIRST_TIME: Duration = 3 * second
export const OUTBOX_MAX = 4
const FOLLOWER_LAG: Duration = 2 * second

/**
 *   leader (lower id)    rest ──wish──▶ asked ──ready──▶ waiting ──half a round trip──▶ running ──path, time──▶ rest
 *   follower             rest ──ask──▶ ready ──go──▶ running ──path, time──▶ rest
 */
export type PunchPhase =
  | { readonly kind: 'rest' }
  | { readonly kind: 'asked'; readonly askedAt: Instant; readonly until: Instant }
  | { readonly kind: 'ready'; readonly nat: number; readonly until: Instant }
  | { readonly kind: 'waiting'; readonly role: BirthdayRole | undefined; readonly until: Instant }
  | { readonly kind: 'running'; readonly guessing: boolean; readonly startedAt: Instant; readonly until: Instant; readonly targets: readonly Uint8Array[]; sent: number; nextAt: Instant }

/** What a session knows of punching: made when it first may need it. */
export class PunchState {
  phase: PunchPhase = { kind: 'rest' }
  /** Of the leader the last one that it began, of the follower the last one that it heard of. */
  round = 0
  /** In vain, since something changed. */
  vain = 0
  /** No round begins before. */
  nextAt: Instant
  /** When this side speaks of the next one: the leader is given the time to. */
  wishAt: Instant
  readonly #lag: Duration
  /** Frames to send. BOUNDED by {@link OUTBOX_MAX}: a round has few, and what finds no room is not said. */
  readonly outbox: PunchFrame[] = []
  heard = 0
  heardSince: Instant

  constructor(now: Instant, leader: boolean) {
    this.#lag = leader ? 0 : FOLLOWER_LAG
    this.nextAt = after(now, FIRST_TIME)
    this.wishAt = after(this.nextAt, this.#lag)
    this.heardSince = now
  }

  pause(until: Instant): void {
    this.nextAt = until
    this.wishAt = after(until, this.#lag)
  }

  /** Something is otherwise than in the rounds before: the next ones may find what those did not. */
  changed(): void {
    this.vain = 0
  }
}
