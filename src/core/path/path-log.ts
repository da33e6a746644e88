import type { LinkKind, PathRule } from '../base/domain.ts'
import type { Duration, WallTime } from '../base/time.ts'
import type { Standing } from './path-choice.ts'

/** One path, as a decision found it. */
export interface PathView {
  readonly kind: LinkKind
  /** 18 bytes. */
  readonly address: Uint8Array
  readonly standing: Standing
  readonly rtt: Duration | undefined
  readonly loss: number
}

export type DialOutcome = 'opened' | 'failed' | 'late'

/** What was decided about a peer's paths, as data. */
export type PathDecision =
  /** Traffic moved: `to` is undefined when there was nowhere to go. `candidates` are all paths known then. */
  | { readonly kind: 'path'; readonly at: WallTime; readonly rule: PathRule; readonly from: PathView | undefined; readonly to: PathView | undefined; readonly candidates: readonly PathView[] }
  | DialDecision
  /** An address answers probes, but data sent there was lost again and again. */
  | { readonly kind: 'quarantine'; readonly at: WallTime; readonly address: Uint8Array; readonly transport: LinkKind; readonly until: WallTime }
  /** The largest datagram that is sent on a path is another one now: bytes of UDP payload. */
  | { readonly kind: 'mtu'; readonly at: WallTime; readonly transport: LinkKind; readonly address: Uint8Array; readonly from: number; readonly to: number; readonly cause: MtuCause }
  | { readonly kind: 'close'; readonly at: WallTime; readonly transport: LinkKind; readonly address: Uint8Array; readonly cause: CloseCause }

/** Why a connection was dialed, and what came of it (`undefined`: it still runs). */
export interface DialDecision {
  readonly kind: 'dial'
  readonly at: WallTime
  readonly transport: LinkKind
  readonly address: Uint8Array
  readonly cause: DialCause
  outcome: DialOutcome | undefined
}

/** unanswered: UDP did not answer a dial · doubt: nothing was acknowledged · refused: the system does not send · policy: the user's wish */
export type DialCause = 'unanswered' | 'doubt' | 'refused' | 'policy'
/** found: a probe of that size arrived · black_hole: large datagrams vanish, small ones arrive · too_large: the system refuses the size */
export type MtuCause = 'found' | 'black_hole' | 'too_large'
/** unused: another path has been good for long · extra: one connection is enough · silent: no answer on it */
export type CloseCause = 'unused' | 'extra' | 'silent' | 'policy'

/** Decisions kept of one peer: the last so many. */
export const DECISIONS_MAX = 32

/** The last decisions about one peer, oldest first; when full, the oldest goes. */
export class PathLog {
  readonly #entries: PathDecision[] = []

  get entries(): readonly PathDecision[] {
    return this.#entries
  }

  add(decision: PathDecision): void {
    if (this.#entries.length === DECISIONS_MAX) this.#entries.shift()
    this.#entries.push(decision)
  }
}
