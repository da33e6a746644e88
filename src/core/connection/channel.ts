import type { ChannelHandle, DropReason, Overflow } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import { never, type Instant } from '../base/time.ts'
import type { LaneMember } from '../flow/lanes.ts'
import type { MessageSink, Receiver } from '../flow/receive.ts'
import { OrderedReceiver } from '../flow/receive-ordered.ts'
import { UnreliableReceiver } from '../flow/receive-unreliable.ts'
import { SendQueue } from '../flow/send-queue.ts'
import type { ChannelCloseFrame } from '../wire/frame.ts'

export const MODE_RELIABLE_ORDERED = 0
export const MODE_UNRELIABLE = 2
/** Modes built so far; the others are answered with CHANNEL_CLOSE `refused`. */
export function isBuiltMode(mode: number): boolean {
  return mode === MODE_RELIABLE_ORDERED || mode === MODE_UNRELIABLE
}

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

/** Where received messages leave the core. */
export interface DeliveryQueue {
  push(channel: ChannelHandle, offset: number, length: number, block: number, gap: boolean, memory: MemoryAccount): void
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
export class Channel implements LaneMember, MessageSink {
  readonly id: number
  readonly handle: ChannelHandle
  readonly local: boolean
  readonly app: string
  readonly mode: number
  readonly meta: Uint8Array
  readonly reliable: boolean
  lane: number
  weight: number
  deficit = 0
  scheduled = false
  state: 'opening' | 'incoming' | 'open' | 'closing' | 'closed' = 'opening'
  overflow: Overflow = 'block'
  share: ConsumerShare
  readonly queue: SendQueue
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
  received = 0
  /** Drops of the receiver that the counters hold already. */
  countedDrops = 0
  readonly dropped: Partial<Record<DropReason, number>> = {}
  readonly #memory: MemoryAccount
  readonly #deliveries: DeliveryQueue

  constructor(identity: ChannelIdentity, credit: number, share: ConsumerShare, limits: { readonly send: number; readonly receive: number }, memory: MemoryAccount, deliveries: DeliveryQueue) {
    this.id = identity.id
    this.handle = identity.handle
    this.local = identity.local
    this.app = identity.app
    this.mode = identity.mode
    this.lane = identity.lane
    this.weight = identity.weight
    this.meta = identity.meta
    this.reliable = identity.mode !== MODE_UNRELIABLE
    this.share = share
    this.sendLimit = limits.send
    this.receiveLimit = limits.receive
    this.#memory = memory
    this.#deliveries = deliveries
    this.queue = new SendQueue(identity.id, this.reliable, memory)
    this.receiver = this.reliable ? new OrderedReceiver(memory, credit, limits.receive) : new UnreliableReceiver(memory, credit)
  }

  /** Whether `send` takes messages. */
  get sendable(): boolean {
    return this.state === 'open' || this.state === 'opening'
  }

  get hasData(): boolean {
    return this.queue.hasLost || this.queue.hasNew
  }

  deliver(offset: number, length: number, block: number, gap: boolean): void {
    this.received++
    this.#deliveries.push(this.handle, offset, length, block, gap, this.#memory)
  }
}
