import type { Duration, WallTime } from '../base/time.ts'

/** What a peer said of itself by other ways than a session: in an invite, a reply, or an introduction. */
export interface Whereabouts {
  /** Each destination sees another port of it. */
  readonly hard: boolean
  /** 18 bytes each. */
  readonly addresses: readonly Uint8Array[]
}

export interface MeetOptions {
  /** For how long the other side may not have begun. */
  readonly patience: Duration
  /** A person asked for it, and nobody says when the other side begins. */
  readonly byHand: boolean
}

/** Birthday probing towards a peer (decision 098). */
export interface BirthdayView {
  /** What this side was: the one with many sockets, or the one that guesses. */
  readonly role: 'hard' | 'easy'
  /** Where the peer said that it is. */
  readonly target: Uint8Array
  readonly startedAt: WallTime
  readonly endedAt: WallTime | undefined
  readonly outcome: 'running' | 'met' | 'in_vain' | 'called_off'
  /** Knocks, and those of the peer that were heard. */
  readonly sent: number
  readonly heard: number
  /** Sockets that were open at once. */
  readonly sockets: number
}
