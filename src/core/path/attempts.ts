import { equalAddress } from '../base/address.ts'
import type { LinkKind } from '../base/domain.ts'
import type { WallTime } from '../base/time.ts'

/** Why a dial opened no connection, or why the system does not send to an address: as far as its driver can tell. */
export const refusalReasons = ['no_answer', 'refused', 'unreachable', 'forbidden', 'not_postern', 'no_resources', 'failed'] as const
export type RefusalReason = (typeof refusalReasons)[number]

/** What ICMP said of a datagram to an address, which nobody vouches for. */
export interface PathHint {
  /** 18 bytes. */
  readonly address: Uint8Array
  readonly reason: RefusalReason
  /** It was too long: the longest IP packet that passes, in bytes. 0: that was not it. */
  readonly largest: number
}

/**
 * waiting: nothing came yet · answered: the peer is there · opened: a connection, on which the peer has not answered · called_off: another
 * way was found meanwhile · no_answer, refused (something is there, and nobody listens), unreachable (no way to go), forbidden (by this
 * machine's own packet filter), not_postern, no_resources, failed: as the driver says
 */
export type AttemptResult = RefusalReason | 'waiting' | 'answered' | 'opened' | 'called_off'

/** Why a connection is dialed. unanswered: UDP did not answer a dial · doubt: nothing was acknowledged · refused: the system does not send · policy: the user's wish ·
 * better: the way in use is of a worse kind */
export type DialCause = 'unanswered' | 'doubt' | 'refused' | 'policy' | 'better'

/** What came of trying one address by one kind of path. */
export interface Attempt {
  readonly transport: LinkKind
  /** 18 bytes. */
  readonly address: Uint8Array
  /** Why it was last tried; `dial`: there was no session. */
  cause: DialCause | 'dial'
  /** Messages A sent there by UDP, connections dialed by TCP. */
  count: number
  readonly firstAt: WallTime
  lastAt: WallTime
  result: AttemptResult
  resultAt: WallTime
}

/** Addresses of one peer that are remembered with what came of them; of more, the one that was not tried for longest goes. */
export const ATTEMPTS_MAX = 32

/** Every way to a peer that was tried, and the last answer. */
export class Attempts {
  readonly #entries: Attempt[] = []

  get entries(): readonly Attempt[] {
    return this.#entries
  }

  tried(at: WallTime, transport: LinkKind, address: Uint8Array, cause: Attempt['cause']): void {
    const known = this.#find(transport, address)
    if (known === undefined) {
      if (this.#entries.length === ATTEMPTS_MAX) this.#entries.splice(this.#oldest(), 1)
      this.#entries.push({ transport, address: address.slice(), cause, count: 1, firstAt: at, lastAt: at, result: 'waiting', resultAt: at })
      return
    }
    known.cause = cause
    known.count++
    known.lastAt = at
    // A word that was against it stands until there is another one.
    if (known.result === 'answered' || known.result === 'opened' || known.result === 'called_off') this.#set(known, at, 'waiting')
  }

  /** What came of it; nothing is noted of an address that was not tried. */
  ended(at: WallTime, transport: LinkKind, address: Uint8Array, result: AttemptResult): void {
    const known = this.#find(transport, address)
    if (known !== undefined) this.#set(known, at, result)
  }

  /** Another attempt begins, and nothing came back from where the last one went. */
  unanswered(at: WallTime, transport: LinkKind): void {
    for (const attempt of this.#entries) if (attempt.transport === transport && attempt.result === 'waiting') this.#set(attempt, at, 'no_answer')
  }

  #set(attempt: Attempt, at: WallTime, result: AttemptResult): void {
    attempt.result = result
    attempt.resultAt = at
  }

  #find(transport: LinkKind, address: Uint8Array): Attempt | undefined {
    return this.#entries.find((attempt) => attempt.transport === transport && equalAddress(attempt.address, 0, address, 0))
  }

  #oldest(): number {
    let oldest = 0
    for (let i = 1; i < this.#entries.length; i++) if (this.#entries[i]!.lastAt < this.#entries[oldest]!.lastAt) oldest = i
    return oldest
  }
}
