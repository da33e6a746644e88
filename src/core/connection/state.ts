import { CHANNEL_SLOT_BITS, type PeerHandle } from '../base/domain.ts'
import { MemoryAccount } from '../base/memory-account.ts'
import { BoundedQueue } from '../base/queue.ts'
import { never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import { LaneTally } from '../flow/lane-tally.ts'
import { LaneScheduler } from '../flow/lanes.ts'
import { RangeSet } from '../flow/range-set.ts'
import { SentPackets } from '../flow/sent-packets.ts'
import type { PeerCandidates } from '../path/candidates.ts'
import type { PathPolicy } from '../path/path-policy.ts'
import type { Remotes } from '../path/remotes.ts'
import { ConsumerShare, type Channel, type SendStream } from './channels/channel.ts'
import type { PeerLimits } from './config.ts'
import type { Dial } from './dialing/dial-campaign.ts'
import type { ConnectionHost } from './host.ts'
import type { Keys } from './keys/keys.ts'
import { CarrierDials, type CarrierKind } from './dialing/pending-dials.ts'
import type { PairingExchange } from './pairing/pairing-exchange.ts'
import type { PunchState } from './dialing/punch-state.ts'
import type { Rekeying } from './keys/rekeying.ts'
import type { SessionPath } from './paths/session-path.ts'
import { TimerTable } from './timers.ts'

/** Why a session is closed by us: the CLOSE frame's fields. */
export interface Failure {
  readonly code: number
  readonly frameType: number
  readonly reason: string
}

/** Paths one session may know at once; a datagram from one more source is answered over the known ones only. */
export const PATHS_MAX = 8

/** A session without traffic for this long gives its rings and blocks back. */
export const QUIET_TIME: Duration = 5 * second

/** Pings that may wait for their answer at once. */
export const PINGS_MAX = 16

const NO_CHANNELS: ReadonlyMap<number, Channel> = new Map()
const NO_CARRIERS: Readonly<Record<CarrierKind, CarrierDials | undefined>> = { tcp: undefined, ble: undefined }
const NO_SHARES: ReadonlyMap<number, ConsumerShare> = new Map()

/**
 * Everything one session with one peer is made of. Plain data: the modules of this folder (packet reader and writer, acks,
 * channels, paths) are functions over it, and `Connection` is the order in which they are called.
 */
export class SessionState {
  readonly host: ConnectionHost
  /** Place in the endpoint's table of sessions and its deadline heap. */
  readonly slot: number
  readonly peer: PeerHandle
  /** Whether our id is the lower one: even channel ids, and the tie-breaker of crossings. */
  readonly lower: boolean
  readonly memory: MemoryAccount
  readonly timers: TimerTable = new TimerTable()

  /** Session ids of 8 bytes (WIRE.md §3.9); the peer's is undefined until a handshake was confirmed. */
  sidSelf: Uint8Array
  sidPeer: Uint8Array | undefined
  limits: PeerLimits
  previous: Keys | undefined
  current: Keys | undefined
  /** Keys of a rekey that we answered: they open, and the first datagram under them makes them current. */
  next: Keys | undefined
  /** The rekey inside the session; made when the first one begins. */
  rekeying: Rekeying | undefined
  phase: 'dialing' | 'open' | 'closing' | 'closed' = 'dialing'
  openedAt: Instant = never

  readonly sent: SentPackets = new SentPackets()
  readonly lanes: LaneScheduler<SendStream> = new LaneScheduler<SendStream>()
  /** Messages by lane, of all channels there ever were. */
  readonly tally: LaneTally
  /** {@link addChannel} makes the table: most sessions of an idle node have none. */
  channels: ReadonlyMap<number, Channel> = NO_CHANNELS
  lastChannel: Channel | undefined
  /** {@link share} makes the table. */
  shares: ReadonlyMap<number, ConsumerShare> = NO_SHARES
  /** Indexes (id >> 1) of channels that the peer opened, ever. */
  readonly remoteSeen: RangeSet = new RangeSet()
  nextLocalChannel: number
  /** Channels with control frames to send; each stands in it once. */
  readonly control: BoundedQueue<Channel> = new BoundedQueue<Channel>(1 << CHANNEL_SLOT_BITS)

  /** Session flow control, cumulative cost. */
  sendLimit: number
  charged = 0
  receiveLimit: number
  counted = 0
  consumed = 0
  /** Unread cost of consumers beyond their share: counts as consumed. */
  excess = 0
  /** Consumers when {@link excess} was last counted. */
  shareCount = 0
  /** What each of {@link shareCount} consumers may leave unread before it counts as excess; 0 before the first count. */
  shareMax = 0
  /** The peer is to be told where this node may be reached. */
  candidatesWanted: boolean
  /** Where the peer says that it may be reached; made when it says so. */
  candidates: PeerCandidates | undefined
  /** The peer takes PUNCH. */
  peerPunches = false
  /** Made when it may first be of use, or the peer speaks of it. */
  punch: PunchState | undefined
  /** The peer is to be told by what it knows us on the air. */
  presenceWanted = false
  /** A stranger in a pairing window: no channels, no candidates, nothing but the comparing. */
  restricted = false
  pairing: PairingExchange | undefined
  maxDataWanted = false
  blockedWanted = false
  blockedAt = -1
  peerBlocked = false

  /** By slot. With room for one from the beginning: an empty array makes room for seventeen. */
  readonly paths: (SessionPath | undefined)[] = [undefined]
  active: SessionPath | undefined
  /** Where the peer's UDP sockets were or may be; made when a session first needs to know. */
  remotes: Remotes | undefined
  /** Whether traffic was on the way when UDP was last asked. */
  probedBusy = false
  /** The last path that carried traffic was TCP: UDP was known not to work. */
  lastCarrier = false
  /** Connections that were asked for, by kind; made with the first one. */
  carriers: Readonly<Record<CarrierKind, CarrierDials | undefined>> = NO_CARRIERS
  policy: PathPolicy
  /** The path in use is of a kind that the policy forbids, and is left by then, wherever the traffic goes. */
  leaveBy: Instant = never
  /** How often the peer was pinged because it uses a forbidden path, and when it may be next. */
  insisted = 0
  insistAt: Instant = toInstant(0)
  /** The path the peer seems to have moved to, while both are challenged. */
  migrateTo: SessionPath | undefined
  /** When the peer's use of another path was last looked into: not again for a while, or two good paths would be challenged for ever. */
  migrationAt: Instant = never
  responseTokens = 16
  responsesAt: Instant
  /** Sequence of OBSERVED_ADDRESS frames, ours and the peer's. */
  observedNext = 0
  observedSeen = -1
  /** When the peer last told us a new one. */
  observedAt: Instant = never

  /** Ack-eliciting packets that may go beyond the window: probes of a PTO. */
  probes = 0
  pingWanted = false
  /** So many of the next ack-eliciting datagrams carry grease: a PING over UDP may be a question only, an extension frame says that this path is used. */
  pathShows = 0
  /** Outstanding pings: token and the packet order that carries the PING (−1 until written). */
  readonly pings: { readonly token: number; order: number; sentAt: Instant }[] = []
  dial: Dial | undefined
  /** We joined by an invite of the peer, which has not heard of us yet. */
  early = false

  /** What waits to be sent or acknowledged over all channels, and how many channels that is. */
  queuedMessages = 0
  queuedBytes = 0
  busyChannels = 0
  /** Channels whose `send` said blocked and that were not told `writable` since. */
  owed = 0
  /** Those of them that have nothing queued. */
  starving = 0
  /** A channel waits only because the last quarter of the window is kept for higher lanes. */
  heldBack = false
  /** The channel whose turn it was when the session's window closed. */
  turn: Channel | undefined

  failure: Failure | undefined
  /** When the next CLOSE may go, while one is wanted; when the last went. */
  closeWantedAt: Instant = never
  closeSentAt: Instant = never
  unreachableSince: Instant = never
  /** When a RESET last made us begin a handshake. */
  resetAt: Instant = never
  /** When candidates of the peer last hurried the questions where it answered before. */
  hurriedAt: Instant = never
  lastReceivedAt: Instant = never
  lastSentAt: Instant = never
  /** Keys became dirty or changed: their timers are to be set anew. */
  keysChanged = false
  /** The session is quiet and as small as it gets: nothing looks after it until something is sent. */
  parked = false

  constructor(host: ConnectionHost, slot: number, peer: PeerHandle, lower: boolean, sidSelf: Uint8Array, now: Instant) {
    this.host = host
    this.slot = slot
    this.peer = peer
    this.lower = lower
    this.sidSelf = sidSelf
    this.responsesAt = now
    this.memory = new MemoryAccount(host.arena)
    this.tally = new LaneTally(host.tally)
    this.nextLocalChannel = lower ? 0 : 1
    const config = host.config
    this.receiveLimit = config.maxData
    this.policy = config.pathPolicy
    this.candidatesWanted = host.candidates.generation > 0
    this.limits = { maxData: config.maxData, maxChannelData: config.maxChannelData, maxMessage: config.maxMessage, maxChannels: config.maxChannels, maxAckDelay: config.maxAckDelay, maxDatagram: 65507 }
    this.sendLimit = 0
  }

  /** The probe timeout of the path in use, without backoff. */
  pto(): Duration {
    return this.active === undefined ? 1_000_000 : this.active.recovery.rtt.pto(this.limits.maxAckDelay)
  }

  /** Closes the session once the current call is done; the first reason stands. */
  fail(code: number, frameType: number, reason: string): void {
    this.failure ??= { code, frameType, reason }
  }

  /** The channel of a frame record or frame; several in a row mostly name the same one. */
  channelById(id: number): Channel | undefined {
    if (this.lastChannel?.id === id) return this.lastChannel
    const channel = this.channels.get(id)
    if (channel !== undefined) this.lastChannel = channel
    return channel
  }

  addChannel(channel: Channel): void {
    const channels = this.channels === NO_CHANNELS ? new Map<number, Channel>() : this.channels as Map<number, Channel>
    channels.set(channel.id, channel)
    this.channels = channels
  }

  /** The last one takes the table with it. */
  removeChannel(id: number): void {
    if (this.channels.size <= 1 && this.channels.has(id)) this.channels = NO_CHANNELS
    else if (this.channels !== NO_CHANNELS) (this.channels as Map<number, Channel>).delete(id)
  }

  carriersOf(kind: CarrierKind): CarrierDials {
    const known = this.carriers[kind]
    if (known !== undefined) return known
    const dials = new CarrierDials()
    this.carriers = { ...this.carriers, [kind]: dials }
    return dials
  }

  share(consumer: number, now: Instant): ConsumerShare {
    const known = this.shares.get(consumer)
    if (known !== undefined) return known
    const shares = this.shares === NO_SHARES ? new Map<number, ConsumerShare>() : this.shares as Map<number, ConsumerShare>
    const share = new ConsumerShare(consumer, now)
    shares.set(consumer, share)
    this.shares = shares
    return share
  }

  removeShare(consumer: number): void {
    if (this.shares.size <= 1 && this.shares.has(consumer)) this.shares = NO_SHARES
    else if (this.shares !== NO_SHARES) (this.shares as Map<number, ConsumerShare>).delete(consumer)
  }

  /** The keys that an ACK of other keys names: by the peer's own receiver index in the datagrams it acknowledges. */
  keysByRemoteIndex(index: number): Keys | undefined {
    if (this.current?.remoteIndex === index) return this.current
    if (this.previous?.remoteIndex === index) return this.previous
    return undefined
  }
}
