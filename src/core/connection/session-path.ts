import type { LinkId, LinkKind } from '../base/domain.ts'
import { never, type Instant } from '../base/time.ts'
import { PathRecovery } from '../flow/path-recovery.ts'
import type { CongestionController } from '../flow/congestion.ts'
import { PathValidation } from '../path/path-validation.ts'

/** One (link, remote address) that datagrams of a session take or may take. */
export class SessionPath {
  /** Place in the session's path table; what sent packets remember. */
  readonly slot: number
  readonly link: LinkId
  readonly kind: LinkKind
  /** 18 bytes, own copy. */
  readonly address: Uint8Array
  readonly validation: PathValidation = new PathValidation()
  readonly recovery: PathRecovery
  /** Plaintext bytes of a full datagram on this path. */
  size: number
  readonly segmentsMax: number
  /** PATH_RESPONSE data owed on this path, at most 4; more are dropped. */
  readonly responses: Uint8Array[] = []
  /** The peer's source address on this path is to be told. */
  observedWanted = true
  readonly openedAt: Instant
  lastSentAt: Instant
  /** The silence in which the other paths were challenged, and when it is looked at again. */
  doubtedSince: Instant = never
  lookAt: Instant = never
  /** An old path is kept until then as a fallback. */
  retireAt: Instant = never

  constructor(slot: number, link: LinkId, kind: LinkKind, address: Uint8Array, size: number, segmentsMax: number, controller: CongestionController, now: Instant) {
    this.slot = slot
    this.link = link
    this.kind = kind
    this.address = address
    this.size = size
    this.segmentsMax = segmentsMax
    this.recovery = new PathRecovery(controller)
    this.openedAt = now
    this.lastSentAt = now
  }
}
