/** What the endpoint tells of the ways to one peer: as data, for `peer.why`. */
import type { PathRule, PeerState } from '../base/domain.ts'
import type { Duration, WallTime } from '../base/time.ts'
import type { Attempt, RefusalReason } from '../path/attempts.ts'
import type { BirthdayView, Whereabouts } from '../path/meeting.ts'
import type { PathDecision, PathView } from '../path/path-log.ts'
import type { PathPolicy } from '../path/path-policy.ts'
import type { MappingClass } from '../stun/nat-classes.ts'
import type { Candidate } from '../wire/candidates-frame.ts'

/** A path, as it is now. */
export interface WhyPath extends PathView {
  readonly active: boolean
  /** Of a kind that the policy lets be used. */
  readonly allowed: boolean
  /** A connection that this side dialed. */
  readonly dialed: boolean
  /** It is only asked whether it works. */
  readonly probing: boolean
  readonly openedAt: WallTime
  /** When the traffic moved here, and why. */
  readonly takenAt: WallTime | undefined
  readonly rule: PathRule | undefined
  /** When the peer last answered a challenge here. */
  readonly provenAt: WallTime | undefined
  /** Largest datagram that is sent on it, bytes of UDP payload. */
  readonly datagramSize: number
  /** How long nothing has been acknowledged, though something was to be. */
  readonly silent: Duration | undefined
  readonly sent: number
  readonly lost: number
}

/** A UDP address of the peer, or one where it may be, that is asked while UDP carries no traffic. */
export interface AskedAddress {
  readonly address: Uint8Array
  /** The peer once answered there, or on another port of the same host. */
  readonly proven: boolean
  /** Questions since the last answer. */
  readonly probes: number
  /** Why the system did not send there, if it did not. */
  readonly refused: RefusalReason | undefined
  /** It answered probes but carried no data, and rests for so much longer. */
  readonly rest: Duration | undefined
}

export interface RunningDial {
  readonly since: WallTime
  /** Not yet given up; later there are pauses between the attempts. */
  readonly loud: boolean
  readonly next: Duration | undefined
}

/** What is known of the ways to a peer, as data. */
export interface PeerWhy {
  readonly id: Uint8Array
  readonly name: string | undefined
  readonly inRoster: boolean
  readonly state: PeerState
  readonly since: WallTime
  readonly policy: PathPolicy
  /** Whether it was set for this peer, or is that of all. */
  readonly policyFrom: 'peer' | 'config'
  /** Whether this node has a UDP socket, and dials TCP at all. */
  readonly udp: boolean
  readonly tcp: boolean
  /** How the NAT before this node gives out ports, as far as servers showed it. */
  readonly mapping: MappingClass
  /** What the peer said of its own. */
  readonly whereabouts: Whereabouts | undefined
  /** The last round of guessing ports. */
  readonly birthday: BirthdayView | undefined
  /** Where this node is, as peers are told. */
  readonly own: readonly Candidate[]
  /** Where the peer told in this session that it is, and whether it may be asked there. */
  readonly told: readonly { readonly candidate: Candidate; readonly mayAsk: boolean }[]
  /** Where it was reachable, or is said to be, most recent first. */
  readonly addresses: readonly Uint8Array[]
  readonly paths: readonly WhyPath[]
  readonly asked: readonly AskedAddress[]
  readonly dial: RunningDial | undefined
  /** What was tried, by address and kind of path, with the last answer; at most {@link ATTEMPTS_MAX}. */
  readonly attempts: readonly Attempt[]
  /** What was decided about its paths lately, oldest first; at most {@link DECISIONS_MAX}. */
  readonly decisions: readonly PathDecision[]
}
