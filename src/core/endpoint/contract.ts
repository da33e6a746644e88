/**
 * The contract between the core and everything around it (DESIGN §3): bytes and time go in, bytes, events and actions come
 * out. Drivers, the daemon's router, the simulator and the tests see this file and nothing else of the endpoint.
 *
 * Ownership, once for all:
 * - All bytes live in the endpoint's {@link Arena}; batches hold (offset, length) into `arena.bytes`.
 * - A receive slab belongs to its driver. The core looks at it during `handleDatagrams` only, with one exception: messages
 *   polled right after it may still lie in that slab, so the pump drains them before the driver reuses it.
 * - A transmit slab belongs to the pump, which lends it to `pollTransmits` and to the driver until its last send completed.
 * - What `pollMessages` hands out is valid until the next call of any other method.
 * - Nothing is thrown across the contract. No room is a value (`'blocked'`, later a `writable` event).
 */
import type { Arena } from '../base/arena.ts'
import { ADDRESS_SIZE } from '../base/address.ts'
import type { ChannelHandle, DeliveryMode, DropReason, EndReason, Lane, LinkId, LinkKind, LinkState, Overflow, PeerHandle, PeerState, SendResult } from '../base/domain.ts'
import type { MessageRun } from '../base/message-run.ts'
import type { Duration, Instant, Now, WallTime } from '../base/time.ts'
import type { LaneCount } from '../flow/lane-tally.ts'
import type { OutgoingMessage } from '../connection/packets/send.ts'
import type { SessionEvent } from '../connection/events.ts'
import type { PathHint, RefusalReason } from '../path/attempts.ts'
import type { MeetOptions, Whereabouts } from '../path/meeting.ts'
import type { PathPolicy } from '../path/path-policy.ts'
import type { PresenceKey } from '../session/presence.ts'
import type { InviteReply } from '../wire/invite-reply.ts'
import type { Candidate } from '../wire/candidates-frame.ts'
import type { MappingClass } from '../stun/nat-classes.ts'
import type { IpFamily, StunContract } from '../stun/reflexive.ts'
import type { RadioContract } from './radio-contract.ts'
import type { PeerWhy } from './why-contract.ts'

export type { ChannelHandle, DeliveryMode, DropReason, EndReason, Lane, LinkId, LinkKind, LinkState, Overflow, PathId, PathRule, PeerHandle, PeerState, SendResult } from '../base/domain.ts'
export { CHANNEL_SLOT_BITS, channelSlot, deliveryModes, dropReasons, lanes, MESSAGE_COST } from '../base/domain.ts'
export { ATTEMPTS_MAX, refusalReasons, type Attempt, type PathHint, type RefusalReason } from '../path/attempts.ts'
export { DECISIONS_MAX, type PathDecision, type PathView } from '../path/path-log.ts'
export type { PathPolicy } from '../path/path-policy.ts'
export type { BirthdayView, MeetOptions, Whereabouts } from '../path/meeting.ts'
export { NOTICE_DELIVERED, NOTICE_DROPPED } from '../connection/channels/channel.ts'
export type { OutgoingMessage } from '../connection/packets/send.ts'
export type { RadioContract } from './radio-contract.ts'

/** What a driver says of a link when it opens it. */
export interface LinkInfo {
  readonly kind: LinkKind
  /** 18 bytes; the wildcard address for a socket bound to all. */
  readonly local: Uint8Array
  /** A v6 socket that also carries IPv4 (as v4-mapped addresses). */
  readonly dualStack?: boolean
  /** A socket that an `open-sockets` asked for. */
  readonly spare?: boolean
  /** For connected links (tcp, ble): the one remote address. */
  readonly remote?: Uint8Array
  /** Whether this side dialed it (tcp, ble), and the token of the `dial` or the `open-sockets` that it answers. */
  readonly dialed?: boolean
  readonly token?: number
  /** Drawn for this link by the side that was dialed, and known to both (ble): the first message of XX is good on this link alone. */
  readonly nonce?: Uint8Array
  /** Largest datagram the link can carry, bytes. */
  readonly datagramMax: number
  /** Bytes of a usual datagram on a connection that carries larger ones, but slowly: what is urgent waits for the rest of one. */
  readonly datagramSize?: number
  /**
   * The link takes one datagram at a time: after each it counts as blocked until its driver says `writable`, which it does as soon as it has
   * room for the next. So nothing stands in a driver's queue that something urgent could have overtaken.
   */
  readonly single?: boolean
  /** Datagrams go out with DF, so that one arrives whole or not at all: only then larger ones are tried. */
  readonly dontFragment?: boolean
  /** Datagrams go out with the TTL of their row. */
  readonly setsTtl?: boolean
  /** Datagrams the driver takes as one burst of equal segments (GSO); 1 where each is sent alone. */
  readonly segmentsMax: number
}

/** See {@link EndpointContract.linkUse}. */
export type LinkUse = 'active' | 'standby' | 'stranger'

/** Received datagrams over slabs in the arena. Row i holds `length[i]` bytes at `offset[i]`, in segments of `segmentSize[i]` (GRO), the last may be shorter. */
export class ReceiveBatch {
  readonly capacity: number
  count = 0
  readonly link: Int32Array
  readonly address: Uint8Array // ADDRESS_SIZE bytes a row
  readonly offset: Int32Array
  readonly length: Int32Array
  readonly segmentSize: Int32Array
  readonly ecn: Uint8Array
  /** Which address of this machine it came to: a number that its driver gave it, 0 where it does not know, or has no choice. */
  readonly local: Uint8Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.link = new Int32Array(capacity)
    this.address = new Uint8Array(capacity * ADDRESS_SIZE)
    this.offset = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
    this.segmentSize = new Int32Array(capacity)
    this.ecn = new Uint8Array(capacity)
    this.local = new Uint8Array(capacity)
  }

  /** Appends one datagram; `address` holds 18 bytes. The caller checks `count < capacity`. */
  push(link: LinkId, address: Uint8Array, offset: number, length: number): void {
    const i = this.count++
    this.link[i] = link
    this.address.set(address, i * ADDRESS_SIZE)
    this.offset[i] = offset
    this.length[i] = length
    this.segmentSize[i] = length
    this.ecn[i] = 0
    this.local[i] = 0
  }
}

/**
 * Sealed bursts in one transmit slab. The pump sets `base` and `size` of the slab; `pollTransmits` fills rows until the slab
 * or the work is used up. Row i goes to `address` over `link` as segments of `segmentSize[i]` bytes, the last may be shorter.
 */
export class TransmitBatch {
  readonly capacity: number
  base = 0
  size = 0
  count = 0
  /** Bytes of the slab in use. */
  used = 0
  readonly link: Int32Array
  readonly path: Int32Array
  readonly address: Uint8Array
  readonly offset: Int32Array
  readonly length: Int32Array
  readonly segmentSize: Int32Array
  readonly ecn: Uint8Array
  /** 0 leaves the socket's default. */
  readonly ttl: Uint8Array
  /** Which address of this machine it leaves from, by the number of received rows; 0: the one that the route says. One that is gone is no other than 0. */
  readonly local: Uint8Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.link = new Int32Array(capacity)
    this.path = new Int32Array(capacity)
    this.address = new Uint8Array(capacity * ADDRESS_SIZE)
    this.offset = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
    this.segmentSize = new Int32Array(capacity)
    this.ecn = new Uint8Array(capacity)
    this.ttl = new Uint8Array(capacity)
    this.local = new Uint8Array(capacity)
  }

  reset(base: number, size: number): void {
    this.base = base
    this.size = size
    this.count = 0
    this.used = 0
  }
}

/** Received messages, in order per channel. `flags` bit 0: at least one earlier message of this channel was dropped here (modes 2, 3). */
export class MessageBatch {
  readonly capacity: number
  count = 0
  readonly channel: Int32Array
  readonly offset: Int32Array
  readonly length: Int32Array
  readonly flags: Uint8Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.channel = new Int32Array(capacity)
    this.offset = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
    this.flags = new Uint8Array(capacity)
  }
}

export const MESSAGE_GAP_BEFORE = 1

/** Room that queued messages gave back, as cost (length + {@link MESSAGE_COST} each): what IPC returns to the client as credit. */
export class ReleaseBatch {
  readonly capacity: number
  count = 0
  readonly channel: Int32Array
  readonly cost: Float64Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.channel = new Int32Array(capacity)
    this.cost = new Float64Array(capacity)
  }
}

/**
 * What became of messages: row i speaks of those of channel i with tags first … last. `what` is NOTICE_DELIVERED (acknowledged by the
 * peer's daemon; only for messages to be confirmed) or NOTICE_DROPPED, `reason` an index of `dropReasons`. In order per channel; a
 * channel's last notice comes before its `channel-closed`. A message has one notice at most; what it says stands, even if the
 * message arrives after all.
 */
export class NoticeBatch {
  readonly capacity: number
  count = 0
  readonly channel: Int32Array
  readonly what: Uint8Array
  readonly reason: Uint8Array
  readonly firstTag: Uint32Array
  readonly lastTag: Uint32Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.channel = new Int32Array(capacity)
    this.what = new Uint8Array(capacity)
    this.reason = new Uint8Array(capacity)
    this.firstTag = new Uint32Array(capacity)
    this.lastTag = new Uint32Array(capacity)
  }
}

export interface ChannelOptions {
  readonly app: string
  readonly mode: DeliveryMode
  readonly lane: Lane
  /** Share among channels of the same lane, 1 … 255. */
  readonly weight: number
  readonly overflow: Overflow
  /** At most 256 bytes for the remote app. */
  readonly meta: Uint8Array
  /** Delivery credit: how much `pollMessages` may hand out before `consume` gives it back. */
  readonly credit: number
  /** Whom this channel belongs to locally; one consumer's unread data does not close the session window for the others. */
  readonly consumer: number
}

/** What is kept of a peer between runs. `greatest` and `lastSent` are TAI64N stamps of 12 bytes (WIRE.md §3.7). */
export interface PeerRecord {
  readonly id: Uint8Array
  readonly name: string | undefined
  /** Where it was reachable, most recent first, 18 bytes each, at most 16. */
  readonly addresses: readonly Uint8Array[]
  readonly addedAt: WallTime
  readonly connectedAt: WallTime | undefined
  /** A session was up when this was written: dial at start, so that the peer learns of our restart. */
  readonly hadSession: boolean
  readonly greatest: Uint8Array | undefined
  readonly lastSent: Uint8Array | undefined
  /** The user's wish about paths to this peer; absent: what the configuration says. */
  readonly policy: PathPolicy | undefined
  /** By what we know it on the air, the newest first, at most 2. */
  readonly presence?: readonly PresenceKey[] | undefined
  /** Token of the invite by which we joined, presented until it expires. */
  readonly invite: { readonly token: Uint8Array; readonly expires: WallTime } | undefined
}

export interface InviteRecord {
  readonly token: Uint8Array
  readonly expires: WallTime
  readonly name: string | undefined
  /** Ids that spent it, at most `uses`; it stays good for them until it expires. */
  readonly spentBy: readonly Uint8Array[]
  readonly uses: number
}

/** Why a reply to an invite is not taken. `unknown`: no open invite has that token; `self`: this node wrote it, or it can know no more peers. */
export type ReplyRefusal = 'unknown' | 'forged' | 'expired' | 'spent' | 'self'

export type PersistValue =
  | { readonly kind: 'peer'; readonly record: PeerRecord }
  | { readonly kind: 'invite'; readonly record: InviteRecord }
  /** Our own presence keys, the newest first; for `EndpointOptions.presence` at the next start. */
  | { readonly kind: 'presence'; readonly keys: readonly PresenceKey[] }

/** no_answer: also when no connection came about · other: not whom the hint promised · stranger: nobody we know, and no pairing window is open · self: our own node */
export type LinkRefusal = 'no_answer' | 'other' | 'stranger' | 'self' | 'busy' | 'suite' | 'malformed'

/** Rare things, as objects. */
export type EndpointEvent =
  | SessionEvent
  | { readonly kind: 'peer'; readonly peer: PeerHandle; readonly state: PeerState; readonly reason: EndReason | undefined }
  /** Somebody joined by an invite of ours and is in the roster now; `invite` is the id of its token, 8 bytes. */
  | { readonly kind: 'peer-joined'; readonly peer: PeerHandle; readonly invite: Uint8Array }
  /** Numbered by key, the last value wins. With `barrier`, later events may be told to nobody before this is written. */
  | { readonly kind: 'persist'; readonly key: string; readonly sequence: number; readonly value: PersistValue | undefined; readonly barrier: boolean }
  /** Where a STUN server sees our socket; none: nobody tells any more. A candidate, and no more than that: the server may lie. */
  | { readonly kind: 'reflexive-address'; readonly family: IpFamily; readonly address: Uint8Array | undefined; readonly server: string }
  /** How the NAT before our IPv4 socket gives out ports, as servers' answers show it: each destination sees another one (`dependent`), or all the same. */
  | { readonly kind: 'nat-mapping'; readonly mapping: MappingClass }
  /** By XX, over a connection that either side dialed: who is at its other end. */
  | { readonly kind: 'link-peer'; readonly link: LinkId; readonly address: Uint8Array; readonly peer: PeerHandle }
  /** A connection to this address was not to be had, or XX over it came to nothing. */
  | { readonly kind: 'link-refused'; readonly address: Uint8Array; readonly reason: LinkRefusal }
  /** Both people said that the codes are equal: the peer is in the roster now. */
  | { readonly kind: 'paired'; readonly peer: PeerHandle }
  /** A pairing came to nothing: somebody said no, or nobody yes, or the session ended. */
  | { readonly kind: 'pairing-ended'; readonly peer: PeerHandle }
  | { readonly kind: 'drained' }

/** What only a driver can do. A host that cannot dial says `handleDialFailed` at once. */
export type EndpointAction =
  /** Answered by `handleLink(…, 'opened', { token, … })` or by `handleDialFailed`; after `cancel-dial` nobody waits for the answer. */
  | { readonly kind: 'dial'; readonly transport: 'tcp' | 'ble'; readonly token: number; readonly address: Uint8Array; readonly peer: PeerHandle | undefined }
  /** Also calls off the rest of an `open-sockets`. */
  | { readonly kind: 'cancel-dial'; readonly token: number }
  /** UDP sockets on ports of their own: each is a link that is `spare`. As many as the system gives, or none: nobody waits for all of them. */
  | { readonly kind: 'open-sockets'; readonly token: number; readonly count: number }
  /** A session was authenticated on this connection: the driver's limits for strangers no longer hold for it. */
  | { readonly kind: 'confirm-link'; readonly link: LinkId }
  /** The connection, or the spare socket, is of no use any more. What was given to its driver before is still delivered. */
  | { readonly kind: 'close-link'; readonly link: LinkId }

export interface ConnectOptions {
  /** Where to try, besides what the roster knows: 18 bytes each; more than 16 are cut. */
  readonly addresses: readonly Uint8Array[]
  /** Dial even if a quiet backoff is running. */
  readonly now: boolean
  /** The peer dials this node at the same time: a connection that is refused is dialed again soon. */
  readonly meeting?: boolean
}

export interface PathStats {
  readonly address: Uint8Array
  readonly kind: LinkKind
  readonly active: boolean
  readonly validated: boolean
  readonly rtt: Duration | undefined
  /** Name of what decides how much may be in flight. */
  readonly congestion: string
  readonly congestionWindow: number
  /** Largest datagram that is sent on the path, bytes of UDP payload. */
  readonly datagramSize: number
  readonly bytesInFlight: number
  /** Share of packets declared lost, 0 … 1, over the life of the path. */
  readonly loss: number
}

export interface PeerStats {
  readonly peer: PeerHandle
  readonly id: Uint8Array
  readonly name: string | undefined
  readonly state: PeerState
  readonly since: WallTime
  readonly inRoster: boolean
  /** A session is to be had whenever there is a way: the last one did not end by the user's wish, or there was none yet. */
  readonly wanted: boolean
  readonly paths: readonly PathStats[]
  readonly channels: number
  /** Messages to this peer, in this session; `undefined` without one. */
  readonly lanes: LaneStats | undefined
  /** Session binding, 32 bytes (WIRE.md §2), exported to apps as channel binding. */
  readonly binding: Uint8Array | undefined
}

export interface ChannelStats {
  readonly sent: number
  readonly received: number
  readonly delivered: number
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>
  readonly queued: number
  readonly queuedBytes: number
  readonly rtt: Duration | undefined
  readonly lanes: LaneStats
}

export type LaneStats = Readonly<Record<Lane, LaneCount & { readonly queued: number }>>

/** One local node. */
export interface EndpointContract {
  readonly arena: Arena
  /** The node's own peer id, 32 bytes. */
  readonly id: Uint8Array
  readonly stun: StunContract
  readonly radio: RadioContract

  handleDatagrams(now: Now, batch: ReceiveBatch): void
  handleLink(now: Now, link: LinkId, state: LinkState, info?: LinkInfo): void
  /** A `dial` led to no link. */
  handleDialFailed(now: Now, token: number, reason?: RefusalReason): void
  /**
   * The operating system refused to send to these addresses (18 bytes each) over this link: no route, a packet filter, nobody there.
   * It ends nothing, since such a word may be forged or soon be over: the sessions concerned look for another path at once.
   */
  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[], reason?: RefusalReason): void
  /** ICMP came for datagrams that went out over this link. Nobody vouches for it. */
  handleHints(now: Now, link: LinkId, hints: readonly PathHint[]): void
  /** The system refused a datagram of `length` bytes on this link (EMSGSIZE): nothing that large is sent over it for a while. */
  handleTooLarge(now: Now, link: LinkId, length: number): void
  /** This machine has other addresses or routes than before. A burst of one datagram per session, so not to be said more often than a few times a second. */
  handleNetworkChange(now: Now): void
  /** A peer is in range of this node's radio, at this Bluetooth address (`base/ble-address`); `undefined`: no longer. A session that lacks a way there dials it. */
  handleNearby(now: Now, peer: PeerHandle, address: Uint8Array | undefined): void
  handleTimeout(now: Now): void

  /** `undefined` for an id that is not valid or is our own. */
  connect(now: Now, id: Uint8Array, options: ConnectOptions): PeerHandle | undefined
  disconnect(now: Now, peer: PeerHandle): void
  /** A number for the `pong` event; `undefined` when there is no session. */
  ping(now: Now, peer: PeerHandle): number | undefined
  openChannel(now: Now, peer: PeerHandle, options: ChannelOptions): ChannelHandle | 'unreachable' | 'limit'
  acceptChannel(now: Now, channel: ChannelHandle, options: { readonly credit: number; readonly consumer: number; readonly overflow: Overflow }): boolean
  rejectChannel(now: Now, channel: ChannelHandle, code: number, reason: string): void
  /** Queued messages are sent first, unless `abort`. A `channel-closed` event ends it. */
  closeChannel(now: Now, channel: ChannelHandle, options: { readonly abort: boolean; readonly code: number; readonly reason: string }): void
  /** Stops or resumes delivery of a channel regardless of credit, for a consumer whose socket is full. */
  holdChannel(now: Now, channel: ChannelHandle, held: boolean): void
  /** Where this node may be reached, the best first, at most 32: told to every peer with a session, now and with each change. */
  setLocalCandidates(now: Now, candidates: readonly Candidate[]): void

  addPeer(now: Now, id: Uint8Array, options: { readonly name: string | undefined; readonly addresses: readonly Uint8Array[]; readonly invite: PeerRecord['invite'] }): PeerHandle | undefined
  removePeer(now: Now, id: Uint8Array): boolean
  /**
   * Which kinds of path may lead to this peer of the roster from now on; `undefined`: what the configuration says. A session that is up
   * moves at once, and has no path after 3 s where nothing else works. `nothing-left`: refused, as this node could not reach the peer at all.
   */
  setPeerPolicy(now: Now, id: Uint8Array, policy: PathPolicy | undefined): 'set' | 'unknown' | 'nothing-left'
  addInvite(now: Now, invite: InviteRecord): boolean
  revokeInvite(now: Now, token: Uint8Array): boolean
  invites(): readonly InviteRecord[]
  /** A reply to an invite of ours was carried back: its writer is in the roster now, and has spent a use. */
  acceptReply(now: Now, reply: InviteReply): PeerHandle | ReplyRefusal
  /** What the peer said of itself, by others or by hand; the last word counts, but for a meeting by hand the last one by hand. Forgotten with the process. */
  noteWhereabouts(peer: PeerHandle, whereabouts: Whereabouts, byHand?: boolean): void
  /** Both sides look for each other from now on: where plain dialing leads nowhere and one of the two is hard, ports are guessed. */
  meet(now: Now, peer: PeerHandle, options: MeetOptions): void
  /** The token by which this peer may be answered with a reply: we joined it by an invite that still holds. */
  joinedBy(peer: PeerHandle): PeerRecord['invite']
  peers(): readonly PeerHandle[]
  findPeer(id: Uint8Array): PeerHandle | undefined
  /** Its id as text: for who needs nothing else of {@link peerStats}. */
  peerId(peer: PeerHandle): string | undefined
  peerStats(peer: PeerHandle): PeerStats | undefined
  /** Why the traffic with this peer goes where it goes. */
  peerWhy(now: Now, peer: PeerHandle): PeerWhy | undefined
  channelStats(channel: ChannelHandle): ChannelStats | undefined
  /** What a connection is for: it carries a session's traffic, it is one more way of a session, nobody was authenticated on it yet. `undefined`: there is none. */
  linkUse(link: LinkId): LinkUse | undefined
  counters(): Readonly<Record<string, number>>
  /** Messages of the whole node by lane. */
  laneStats(): LaneStats
  /** Closes all channels and sessions; `drained` when nothing is left, at the latest at `deadline`. */
  shutdown(now: Now, deadline: Instant): void

  send(now: Now, channel: ChannelHandle, message: OutgoingMessage): SendResult
  /** Queues messages of one channel, as many from the first on as need no decision, and returns how many; the next one is for {@link send}, which says why. */
  sendRun(channel: ChannelHandle, run: MessageRun): number
  /** One call for many channels; result i belongs to channel i. */
  sendMany(now: Now, channels: readonly ChannelHandle[], message: OutgoingMessage, results: SendResult[]): void
  /** The app took messages of this cost: reopens delivery credit and the peer's flow-control window. */
  consume(now: Now, channel: ChannelHandle, cost: number): void

  /** Fills rows of sealed bursts and returns how many; 0 when there is nothing to send now. */
  pollTransmits(now: Now, batch: TransmitBatch): number
  pollMessages(now: Now, batch: MessageBatch): number
  pollReleases(batch: ReleaseBatch): number
  pollNotices(batch: NoticeBatch): number
  pollEvent(): EndpointEvent | undefined
  pollAction(): EndpointAction | undefined
  nextTimeout(): Instant
  /** Whether that moment is a pacer's, and should be met within a fraction of a millisecond. All others bear a millisecond or two. */
  nextTimeoutIsPacing(): boolean
}
