import { never, type Instant } from '../../base/time.ts'
import type { KeySlot } from '../../crypto/aead-batch.ts'
import { AckRanges } from '../../flow/ack-ranges.ts'
import { ReplayWindow } from '../../session/replay-window.ts'

/** [D] A datagram counter may not pass this; a rekey comes long before. 2^48 keeps counters exact in a double. */
export const REKEY_MESSAGES: number = 2 ** 48
/** [P] So long before that, and before the last failed open, a rekey is due: an hour at a million datagrams a second. */
const REKEY_MESSAGES_AHEAD: number = 2 ** 32
/** RFC 9001 §6.6. */
export const FAILED_OPENS_MAX: number = 2 ** 36

export interface KeysOptions {
  readonly localIndex: number
  readonly remoteIndex: number
  readonly seal: KeySlot
  readonly open: KeySlot
  readonly initiator: boolean
  /** Whether the peer with the lower id began the handshake: decides between two keypairs of crossing handshakes. */
  readonly lowerInitiated: boolean
  /** Of a handshake inside the session: it follows the keys it replaces, it cannot cross them. */
  readonly rekey: boolean
  readonly now: Instant
  readonly remoteResetToken: Uint8Array
  /** 0 ≤ x < 1, so that many sessions do not rekey at once. */
  readonly jitter: number
}

/** One generation of a session's transport keys: both directions, the replay window and what is to be acknowledged. */
export class Keys {
  readonly kind = 'keys'
  readonly localIndex: number
  readonly remoteIndex: number
  readonly seal: KeySlot
  readonly open: KeySlot
  readonly initiator: boolean
  readonly lowerInitiated: boolean
  readonly rekey: boolean
  readonly createdAt: Instant
  readonly remoteResetToken: Uint8Array
  readonly jitter: number
  /** When they came into use: at the initiator with B, at the responder with the first datagram under them. */
  confirmedAt: Instant = never
  /** When an app frame was first sealed or opened (WIRE.md §3.11). */
  dirtyAt: Instant = never
  /** As previous keys: when they are wiped. */
  retireAt: Instant = never
  /** The path changed under them: the next ones shall come soon, so that an observer cannot go on linking the two by index and counter. */
  exposed = false
  /** Set when the slot was wiped: neither seals nor opens. */
  wiped = false

  sendCounter = 0
  /** The next counter to leave out (WIRE.md §4). */
  skipCounter = 0
  /** Order in the session's sent packets of counter 0. */
  orderBase = 0

  readonly replay: ReplayWindow = new ReplayWindow()
  failedOpens = 0
  readonly acks: AckRanges = new AckRanges()
  /** Ack-eliciting packets since the last ACK we sent for these keys. */
  ackPending = 0
  ackNow = false
  /** When the greatest number came. */
  largestAt: Instant = never
  /** ACK frames sent since the peer last acknowledged one. */
  unackedAcks = 0

  constructor(options: KeysOptions) {
    this.localIndex = options.localIndex
    this.remoteIndex = options.remoteIndex
    this.seal = options.seal
    this.open = options.open
    this.initiator = options.initiator
    this.lowerInitiated = options.lowerInitiated
    this.rekey = options.rekey
    this.createdAt = options.now
    this.remoteResetToken = options.remoteResetToken
    this.jitter = options.jitter
  }

  /** Whether they have been used as much as keys may, but for a margin. */
  get worn(): boolean {
    return this.sendCounter >= REKEY_MESSAGES - REKEY_MESSAGES_AHEAD || this.failedOpens >= FAILED_OPENS_MAX / 2
  }
}
