import type { LinkId } from '../../base/domain.ts'
import { after, minute, never, type Duration, type Instant } from '../../base/time.ts'
import type { Initiation } from '../../session/initiation.ts'

/** Where a door's TTL was not enough to pass our own routers, they open when the whole way is gone: after this, if the other side has not come. */
const DOORS_TIME: Duration = minute

export interface DialTarget {
  link: LinkId
  /** 18 bytes. */
  readonly address: Uint8Array
  /** A connection: it repeats by itself, so each attempt sends one copy (WIRE.md §3.7). */
  readonly reliable: boolean
  /** Messages A sent there since anything came from there. */
  copies: number
  /** Of this attempt. */
  copiesNow: number
  /** When a COOKIE from there was last answered with the same A. */
  resentAt: Instant
  /** A goes there only as far as it takes to open our own routers. */
  door: boolean
  /** A goes there by the scout. */
  readonly scout: boolean
}

/**
 * The initiator's campaign to reach a peer: attempts of 5 s, each one message A in up to four copies to every target; loud for
 * 90 s, then quiet with doubling pauses until something changes.
 *
 *   loud ──give up──▶ quiet ──new targets, demand──▶ loud        loud ──peer dials too──▶ suspended ──10 s──▶ loud
 */
export class Dial {
  /** Where the peer may be, 18 bytes each, at most 16: what was asked for last comes first. TCP is tried at the same addresses as UDP. */
  addresses: Uint8Array[] = []
  readonly targets: DialTarget[] = []
  /** Whether it only replaces the keys of a session that is up. */
  readonly rekey: boolean
  initiation: Initiation | undefined
  startedAt: Instant
  attemptAt: Instant = never
  step = 0
  /** Addresses that TCP was dialed at in this attempt: each has one turn, however long the pause after it. */
  carrierTurns = 0
  /** The next turn comes no sooner. */
  carrierAt: Instant
  /** Whether this attempt has dialed Bluetooth. */
  bleTried = false
  /** Pause between attempts when quiet; 0 while loud. */
  quiet: Duration = 0
  suspended = false
  /** The peer is known to dial us at the same time: who is refused tries again soon. */
  meeting = false
  /** Where connections were refused that are dialed again soon: as many as run at a time. */
  again: Uint8Array[] = []
  /** How often that was put off, in this attempt. */
  tcpAgain = 0
  /** The peer cannot know of us yet, unless somebody has carried our reply to it. */
  early: boolean
  readonly doorsUntil: Instant
  /** The socket that asks whether somebody answers: asked for, and open. */
  scoutToken: number | undefined
  scout: LinkId | undefined

  constructor(now: Instant, rekey: boolean, early = false) {
    this.startedAt = now
    this.early = early
    this.doorsUntil = early ? after(now, DOORS_TIME) : never
    this.carrierAt = now
    this.rekey = rekey
  }
}
