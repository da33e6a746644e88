import type { LinkId, LinkKind, PeerHandle } from '../../base/domain.ts'
import type { Instant, Now } from '../../base/time.ts'
import type { Keys } from '../../connection/keys/keys.ts'
import type { XxInitiation, XxResponse } from '../../session/xx.ts'
import type { PeerEntry } from '../roster.ts'

/** One XX handshake that this side began, over a connection that it dialed. */
export interface XxDial {
  readonly kind: 'xx-dial'
  readonly link: LinkId
  /** Whom the hint promised; `undefined`: whoever is there, while a pairing window is open. */
  readonly expected: PeerEntry | undefined
  readonly startedAt: Instant
  initiation: XxInitiation
  attempts: number
  attemptAt: Instant
  /** After C. */
  confirmation: { readonly datagrams: readonly Uint8Array[]; readonly keys: Keys; readonly at: Instant; step: number; sentAt: Instant } | undefined
}

/** An XX handshake that was answered: nobody knows yet by whom it was begun. */
export interface XxAnswer {
  readonly kind: 'xx-answer'
  readonly source: { readonly link: LinkId; readonly kind: LinkKind; readonly address: Uint8Array }
  readonly sourceKey: string
  readonly response: XxResponse
  readonly digest: Uint8Array
  /** Our side's name of the session, if it is a new one. */
  readonly sid: Uint8Array
  readonly stamp: Uint8Array
  readonly createdAt: Instant
  copies: number
}

/** What XX does for sessions and links; set once it exists. */
export interface XxService {
  begin(now: Now, link: LinkId, expected: PeerEntry | undefined): boolean
  isAsking(peer: PeerHandle): boolean
  linkClosed(link: LinkId): void
}
