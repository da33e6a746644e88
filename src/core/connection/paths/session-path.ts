import { isReliable, type LinkId, type LinkKind, type PathRule } from '../../base/domain.ts'
import { never, toInstant, type Instant } from '../../base/time.ts'
import { PathRecovery } from '../../flow/path-recovery.ts'
import type { CongestionController } from '../../flow/congestion.ts'
import type { MtuDiscovery } from '../../flow/mtu-discovery.ts'
import { PathValidation } from '../../path/path-validation.ts'
import type { LinkFacts } from '../host.ts'

/** One (link, remote address) that datagrams of a session take or may take. */
export class SessionPath {
  /** Place in the session's path table; what sent packets remember. */
  readonly slot: number
  readonly link: LinkId
  readonly kind: LinkKind
  /** 18 bytes, own copy. */
  readonly address: Uint8Array
  /** A connection, which delivers everything in order while it lives: nothing on it is lost but with it (DESIGN §5). */
  readonly reliable: boolean
  /** The peer can be reached at this address again: it is not the far end of a connection that the peer dialed, nor a Bluetooth address, which changes. */
  readonly dialable: boolean
  /** Of two connections with the peer, the one that the lower id dialed is used. */
  readonly secondary: boolean
  readonly validation: PathValidation = new PathValidation()
  readonly recovery: PathRecovery
  readonly mtu: MtuDiscovery
  /** Plaintext bytes of a full datagram on this path: what {@link mtu} found, or its base while {@link sizeDoubt}. */
  size: number
  /** Nothing was acknowledged for a probe timeout, with so many large datagrams in flight; what goes since then, from this send order on, is of the base size. */
  sizeDoubt: { readonly sequence: number; readonly large: number } | undefined
  /** The same of the largest datagram: what is longer than {@link size} and cannot be cut goes in one of its own. */
  readonly sizeMax: number
  /** Its driver says how long a usual datagram is: longer ones would hold up what is urgent. */
  readonly slow: boolean
  readonly segmentsMax: number
  /** PATH_RESPONSE data owed on this path, at most 4; more are dropped. */
  readonly responses: Uint8Array[] = []
  /** The peer's source address on this path is to be told. */
  observedWanted: boolean
  readonly openedAt: Instant
  lastSentAt: Instant
  /** The silence in which the other paths were challenged, and when it is looked at again. */
  doubtedSince: Instant = never
  lookAt: Instant = never
  /** An old path is kept until then as a fallback. */
  retireAt: Instant = never
  /** When the system last refused to send on it; {@link never} once something came back. */
  refusedAt: Instant = never
  /** When the peer last answered a challenge here, or the handshake proved it. */
  provenAt: Instant = never
  /** Which address of this machine what goes here leaves from (decision 102): the one that the peer wrote to first. 0: as the route says. */
  local = 0
  /** The one that its last new datagram came to. */
  heardAt = 0
  /** What ICMP says is followed not before then: by asking, and by searching the size anew. */
  hintAt: Instant = toInstant(0)
  sizeHintAt: Instant = toInstant(0)
  /** When the traffic last moved here. */
  takenAt: Instant = never
  /** Why it did. */
  rule: PathRule | undefined
  /** It is only asked whether it works again: forgotten when it does not answer. */
  probing = false

  constructor(slot: number, link: LinkId, facts: LinkFacts, address: Uint8Array, mtu: MtuDiscovery, sizeMax: number, lower: boolean, controller: CongestionController, now: Instant) {
    this.slot = slot
    this.link = link
    this.kind = facts.kind
    this.reliable = isReliable(facts.kind)
    this.dialable = !this.reliable || (facts.dialed && facts.kind !== 'ble')
    this.secondary = this.reliable && facts.dialed !== lower
    this.address = address
    this.mtu = mtu
    this.size = mtu.size
    this.sizeMax = sizeMax
    this.slow = facts.datagramSize !== undefined
    this.segmentsMax = facts.segmentsMax
    this.recovery = new PathRecovery(controller, this.reliable)
    this.observedWanted = !this.reliable
    this.openedAt = now
    this.lastSentAt = now
  }
}
