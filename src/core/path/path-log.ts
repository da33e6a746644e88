import { equalAddress } from '../base/address.ts'
import type { EndReason, LinkKind, PathRule, PeerState } from '../base/domain.ts'
import type { Duration, WallTime } from '../base/time.ts'
import { Attempts, type AttemptResult, type DialCause } from './attempts.ts'
import type { Standing } from './path-choice.ts'
import type { PathPolicy } from './path-policy.ts'

/** One path, as a decision found it. */
export interface PathView {
  readonly kind: LinkKind
  /** 18 bytes. */
  readonly address: Uint8Array
  readonly standing: Standing
  readonly rtt: Duration | undefined
  readonly loss: number
}

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
  /** Data is not acknowledged: all paths are asked. `count`: so often since the last move. */
  | { readonly kind: 'doubt'; readonly at: WallTime; readonly transport: LinkKind; readonly address: Uint8Array; count: number }
  /** A path did not answer its challenges. */
  | { readonly kind: 'silent'; readonly at: WallTime; readonly transport: LinkKind; readonly address: Uint8Array; count: number }
  /** The system does not send to an address that is a path. */
  | { readonly kind: 'refused'; readonly at: WallTime; readonly transport: LinkKind; readonly address: Uint8Array; count: number }
  /** The user's wish changed; `undefined`: as the configuration says. */
  | { readonly kind: 'policy'; readonly at: WallTime; readonly policy: PathPolicy | undefined }
  /** A session or a dial ended, or lost its last path. */
  | { readonly kind: 'end'; readonly at: WallTime; readonly state: PeerState; readonly reason: EndReason; count: number }

/** Why a connection was dialed, and what came of it (`undefined`: it still runs). */
export interface DialDecision {
  readonly kind: 'dial'
  readonly at: WallTime
  readonly transport: LinkKind
  readonly address: Uint8Array
  readonly cause: DialCause
  outcome: AttemptResult | undefined
}

/** found: a probe of that size arrived · black_hole: large datagrams vanish, small ones arrive · too_large: the system refuses the size */
export type MtuCause = 'found' | 'black_hole' | 'too_large'
/** unused: another path has been good for long · extra: one connection is enough · silent: no answer on it */
export type CloseCause = 'unused' | 'extra' | 'silent' | 'policy'

/** Decisions kept of one peer: the last so many. */
export const DECISIONS_MAX = 32

/** The last decisions about one peer, oldest first; when full, an old one goes. What repeats between two moves stands there once. */
export class PathLog {
  #entries: PathDecision[] = []
  /** Made with the first one: who was only ever dialed by the peer tried nothing. */
  #attempts: Attempts | undefined

  get entries(): readonly PathDecision[] {
    return this.#entries
  }

  get attempts(): Attempts | undefined {
    return this.#attempts
  }

  makeAttempts(): Attempts {
    return this.#attempts ??= new Attempts()
  }

  add(decision: PathDecision): void {
    const at = this.#repeated(decision)
    if (at >= 0) {
      const [before] = this.#entries.splice(at, 1)
      if ('count' in decision && before !== undefined && 'count' in before) decision.count += before.count
    }
    if (this.#entries.length === DECISIONS_MAX) this.#entries.splice(this.#leastOfUse(), 1)
    // Exactly as long as it is: pushing makes room for seventeen, and there may be ten thousand of these.
    this.#entries = this.#entries.concat(decision)
  }

  /** The oldest move, or of all else the oldest, so that neither has more than half of the places for long. */
  #leastOfUse(): number {
    const moves = this.#entries.filter(({ kind }) => kind === 'path').length
    return this.#entries.findIndex(({ kind }) => (kind === 'path') === (moves > DECISIONS_MAX / 2))
  }

  /** Where the same stands already since the last move, −1: a peer that is not to be reached must not push its moves out. */
  #repeated(decision: PathDecision): number {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]!
      if (entry.kind === 'path' || entry.kind === 'policy') return -1
      if (isSame(entry, decision)) return i
    }
    return -1
  }
}

function isSame(a: PathDecision, b: PathDecision): boolean {
  if (a.kind === 'end') return b.kind === 'end' && a.reason === b.reason && a.state === b.state
  if (a.kind !== 'dial' && !('count' in a)) return false
  return a.kind === b.kind && 'address' in b && a.transport === b.transport && equalAddress(a.address, 0, b.address, 0)
}
