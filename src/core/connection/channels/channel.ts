import { dropReason, type ChannelHandle, type DropReason, type Overflow } from '../../base/domain.ts'
import type { MemoryAccount } from '../../base/memory-account.ts'
import { never, type Instant } from '../../base/time.ts'
import { LaneTally } from '../../flow/lane-tally.ts'
import type { LaneMember } from '../../flow/lanes.ts'
import type { MessageSink, Receiver } from '../../flow/receive.ts'
import { LatestReceiver } from '../../flow/receive-latest.ts'
import { OrderedReceiver } from '../../flow/receive-ordered.ts'
import { UnorderedReceiver } from '../../flow/receive-unordered.ts'
import { UnreliableReceiver } from '../../flow/receive-unreliable.ts'
import { SendCount, SendQueue, type SendTraits } from '../../flow/send-queue.ts'
import type { SendOwner } from '../../flow/send-ring.ts'
import { RECORD_MARK_SHIFT } from '../../flow/sent-packets.ts'
import type { ChannelCloseFrame } from '../../wire/frame.ts'

export const MODE_RELIABLE_ORDERED = 0
export const MODE_RELIABLE_UNORDERED = 1
export const MODE_UNRELIABLE = 2
export const MODE_LATEST = 3

/** `lane` of a message that goes by its channel's. */
export const LANE_OF_CHANNEL = 255

/** By mode (WIRE.md §5, Channels). */
const SEND_TRAITS: readonly SendTraits[] = [
  { repeats: true, charged: true, latest: false },
  { repeats: true, charged: true, latest: false },
  { repeats: false, charged: false, latest: false },
  { repeats: true, charged: false, latest: true },
]
/** WIRE.md §5: a sender of mode 1 stays within so many ids of its oldest unacknowledged one. */
const ID_WINDOW = 4096

/** How much of one consumer's data lies unread in this session: what is beyond its share does not close the window for others. */
export class ConsumerShare {
  readonly consumer: number
  unread = 0
  channels = 0
  /** When it last took something, or came. */
  readAt: Instant

  constructor(consumer: number, now: Instant) {
    this.consumer = consumer
    this.readAt = now
  }
}

/** What became of a message, in a notice (WIRE.md §8.3). */
export const NOTICE_DELIVERED = 1
export const NOTICE_DROPPED = 2

/** Where the fate of messages leaves the core. */
export interface NoticeSink {
  /** Returns the place of the row, to be given as `hint` with the channel's next one; any number is allowed. */
  push(channel: ChannelHandle, what: number, reason: number, tag: number, hint: number): number
}

/** Where received messages leave the core. */
export interface DeliveryQueue {
  push(channel: ChannelHandle, offset: number, length: number, block: number, gap: boolean, memory: MemoryAccount): void
}

/** What a channel needs of its session. */
export interface ChannelSession {
  readonly memory: MemoryAccount
  readonly tally: LaneTally
  readonly host: {
    readonly deliveries: DeliveryQueue
    readonly notices: NoticeSink
    countDropped(reason: number): void
  }
}

/** Messages of one channel that go by one lane: what the scheduler knows. The channel itself is the first; most have no other. */
export interface SendStream extends LaneMember {
  readonly channel: Channel
  readonly queue: SendQueue
}

export interface ChannelIdentity {
  readonly id: number
  readonly handle: ChannelHandle
  /** Whether we opened it. */
  readonly local: boolean
  readonly app: string
  readonly mode: number
  readonly lane: number
  readonly weight: number
  readonly meta: Uint8Array
}

/**
 * One app's flow inside a session.
 *
 *   opening ──ACCEPT, a message──▶ open ──close──▶ closing ──both CLOSEs, all delivered──▶ closed ──both CLOSEs──▶ forgotten
 *   incoming ──accept──▶ open                          (an incoming channel that its peer closed stays incoming until decided)
 *   opening, incoming, open, closing ──abort, reject, time out──▶ closed
 *   any ──session ends──▶ forgotten
 */
export class Channel implements SendStream, SendOwner, MessageSink {
  readonly id: number
  readonly handle: ChannelHandle
  readonly local: boolean
  readonly app: string
  readonly mode: number
  readonly meta: Uint8Array
  /** Under flow control, and nothing is lost: modes 0 and 1. */
  readonly reliable: boolean
  readonly channel: Channel = this
  /** Of messages that name none. */
  readonly laneDefault: number
  lane: number
  weight: number
  deficit = 0
  scheduled = false
  state: 'opening' | 'incoming' | 'open' | 'closing' | 'closed' = 'opening'
  overflow: Overflow = 'block'
  share: ConsumerShare
  readonly queue: SendQueue
  /** This, and one more for each other lane that a message named; at most four. */
  readonly streams: SendStream[] = [this]
  readonly count: SendCount = new SendCount()
  readonly receiver: Receiver

  /** Control frames to be sent, and what is known of those that were. */
  openWanted = false
  openAcked = false
  acceptWanted = false
  /** The CLOSE that stands: 0 none, 1 after what is queued, 2 abort. */
  closeVersion = 0
  closeWanted = false
  closeAcked = false
  maxDataWanted = false
  blockedWanted = false
  /** The datagram into which OPEN was last written, so that one carries it once. */
  openWrittenIn = -1
  /** The peer's ACCEPT came: its credit counts once. */
  accepted = false
  /** Stands in the session's list of channels with control frames to send. */
  controlListed = false

  /** Peer's limit and ours, as cumulative cost. */
  sendLimit: number
  receiveLimit: number
  /** The limit at which we last said CHANNEL_BLOCKED. */
  blockedAt = -1
  peerBlocked = false
  consumed = 0
  /** Cost of this channel that the session already counts as received (more than the receiver saw, once it is closed). */
  counted = 0

  closeLocal: { readonly abort: boolean; readonly code: number; readonly reason: string } | undefined
  closeRemote: ChannelCloseFrame | undefined
  /** The session has ended and this is how the channel does, once its consumer has taken the messages that still wait for it. */
  outlives: { readonly code: number; readonly reason: string; readonly by: 'peer' | 'local' | 'session' } | undefined
  /** When an undecided or closing channel ends anyway. */
  deadline: Instant = never
  /** `send` said blocked: a `writable` event is owed. */
  writableOwed = false
  /** What the session's totals hold of this channel's queue. */
  accountedMessages = 0
  accountedBytes = 0
  /** Stands in the endpoint's list of channels with released room. */
  releaseListed = false
  /** Messages that `send` took, ever: their order. */
  pushed = 0
  received = 0
  /** Drops of the receiver that the counters hold already. */
  countedNoCredit = 0
  countedIncomplete = 0
  readonly tally: LaneTally
  readonly #session: ChannelSession
  readonly #deliveries: DeliveryQueue
  #noticeHint = -1

  constructor(identity: ChannelIdentity, credit: number, share: ConsumerShare, limits: { readonly send: number; readonly receive: number }, session: ChannelSession) {
    this.id = identity.id
    this.handle = identity.handle
    this.local = identity.local
    this.app = identity.app
    this.mode = identity.mode
    this.laneDefault = identity.lane
    this.lane = identity.lane
    this.weight = identity.weight
    this.meta = identity.meta
    this.reliable = identity.mode <= MODE_RELIABLE_UNORDERED
    this.share = share
    this.sendLimit = limits.send
    this.receiveLimit = limits.receive
    this.tally = new LaneTally(session.tally)
    this.#session = session
    this.#deliveries = session.host.deliveries
    this.queue = this.#newQueue(0, identity.lane)
    this.receiver = newReceiver(identity.mode, session.memory, credit, limits.receive)
  }

  /** Whether `send` takes messages. */
  get sendable(): boolean {
    return this.state === 'open' || this.state === 'opening'
  }

  /** Messages over all lanes that were not sent yet. */
  get hasNew(): boolean {
    for (const stream of this.streams) if (stream.queue.hasNew) return true
    return false
  }

  /** Messages over all lanes that are not done. */
  get queuedMessages(): number {
    if (this.streams.length === 1) return this.queue.messages
    let sum = 0
    for (const stream of this.streams) sum += stream.queue.messages
    return sum
  }

  get queuedBytes(): number {
    if (this.streams.length === 1) return this.queue.bytes
    let sum = 0
    for (const stream of this.streams) sum += stream.queue.bytes
    return sum
  }

  get released(): number {
    if (this.streams.length === 1) return this.queue.released
    let sum = 0
    for (const stream of this.streams) sum += stream.queue.released
    return sum
  }

  /** What {@link released} says, which then begins at 0 again. */
  takeReleased(): number {
    const released = this.released
    for (const stream of this.streams) stream.queue.released = 0
    return released
  }

  /** Where messages of this lane go. Ordered channels have one stream; a latest value is one message, and takes its stream along. */
  streamFor(lane: number): SendStream {
    if (lane === LANE_OF_CHANNEL || this.mode === MODE_RELIABLE_ORDERED || this.mode === MODE_LATEST) return this
    for (const stream of this.streams) if (stream.lane === lane) return stream
    const side: SendStream = { channel: this, queue: this.#newQueue(this.streams.length, lane), lane, weight: this.weight, deficit: 0, scheduled: false }
    this.streams.push(side)
    return side
  }

  /** The queue whose frame records carry this kind. */
  queueOf(kind: number): SendQueue {
    return this.streams[kind >> RECORD_MARK_SHIFT]!.queue
  }

  /** Mode 1: moves the window of ids that may be begun. */
  updateIdLimit(): void {
    if (this.mode !== MODE_RELIABLE_UNORDERED) return
    let oldest = Infinity
    for (const stream of this.streams) oldest = Math.min(oldest, stream.queue.oldestId)
    this.count.idLimit = oldest + ID_WINDOW
  }

  /** Drops all that was not sent or not acknowledged. */
  clearQueues(reason: DropReason): void {
    for (const stream of this.streams) stream.queue.clear(dropReason[reason])
  }

  trim(): void {
    for (const stream of this.streams) stream.queue.trim()
    this.receiver.trim()
  }

  onMessageDelivered(tag: number): void {
    this.#noticeHint = this.#session.host.notices.push(this.handle, NOTICE_DELIVERED, dropReason.none, tag, this.#noticeHint)
  }

  onMessageDropped(lane: number, reason: number, tag: number, told: boolean): void {
    this.tally.addDropped(lane, reason, 1)
    this.#session.host.countDropped(reason)
    if (told) this.#noticeHint = this.#session.host.notices.push(this.handle, NOTICE_DROPPED, reason, tag, this.#noticeHint)
  }

  deliver(offset: number, length: number, block: number, gap: boolean): void {
    this.received++
    this.#deliveries.push(this.handle, offset, length, block, gap, this.#session.memory)
  }

  #newQueue(index: number, lane: number): SendQueue {
    return new SendQueue(this.id, SEND_TRAITS[this.mode]!, this.count, index << RECORD_MARK_SHIFT, lane, this.#session.memory, this)
  }
}

function newReceiver(mode: number, memory: MemoryAccount, credit: number, window: number): Receiver {
  switch (mode) {
    case MODE_RELIABLE_ORDERED:
      return new OrderedReceiver(memory, credit, window)
    case MODE_RELIABLE_UNORDERED:
      return new UnorderedReceiver(memory, credit)
    case MODE_LATEST:
      return new LatestReceiver(memory, credit)
    case MODE_UNRELIABLE:
    default:
      return new UnreliableReceiver(memory, credit)
  }
}
