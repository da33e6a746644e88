import type { MemoryAccount } from '../base/memory-account.ts'
import { RangeSet, RANGES_MAX } from './range-set.ts'

/** What became of a received MESSAGE frame. */
export const RECEIVED = 0
/** Already had it: acknowledge, nothing else. */
export const RECEIVED_BEFORE = 1
/** No memory, or no credit to keep it: the datagram must not be acknowledged, so that it comes again. */
export const RECEIVED_NO_ROOM = 2
/** The peer broke flow control: close the session. */
export const RECEIVED_FLOW_CONTROL = 3
/** The peer contradicts itself (two totals for one message). */
export const RECEIVED_PROTOCOL = 4
/** More ranges or ids than a peer may use. */
export const RECEIVED_LIMIT = 5
export type ReceiveResult = 0 | 1 | 2 | 3 | 4 | 5

/** Where complete messages go. `block` ≥ 0 is a reference that the sink now holds; −1 = the bytes lie in the receive slab. */
export interface MessageSink {
  deliver(offset: number, length: number, block: number, gap: boolean): void
}

/** One message that arrives in fragments: a contiguous arena block, filled in any order. */
export class Reassembly {
  readonly id: number
  readonly total: number
  readonly block: number
  readonly #ranges = new RangeSet()
  /** When its first fragment came, for modes that give up. */
  readonly startedAt: number

  constructor(id: number, total: number, block: number, startedAt: number) {
    this.id = id
    this.total = total
    this.block = block
    this.startedAt = startedAt
  }

  get complete(): boolean {
    return this.#ranges.prefix >= this.total
  }

  /** Copies the bytes that are new (first wins) from `from`. */
  add(bytes: Uint8Array, from: number, offset: number, length: number): ReceiveResult {
    const before = this.#ranges
    if (offset >= before.end) {
      bytes.copyWithin(this.block + offset, from, from + length)
      before.add(offset, offset + length)
      return before.count > RANGES_MAX ? RECEIVED_LIMIT : RECEIVED
    }
    if (before.covers(offset, offset + length)) return RECEIVED_BEFORE
    before.gaps(offset, offset + length, (lo, hi) => bytes.copyWithin(this.block + lo, from + lo - offset, from + hi - offset))
    before.add(offset, offset + length)
    return before.count > RANGES_MAX ? RECEIVED_LIMIT : RECEIVED
  }
}

/**
 * The receiving half of a channel, one class per delivery mode. It holds what came and was not handed over, in arena blocks,
 * and hands over only while the channel has delivery credit (the consumer's room) and is not held.
 */
export interface Receiver {
  /** Delivery credit left: messages are handed over while it is above zero, the last may take it below. */
  credit: number
  held: boolean
  /** Cost (length + 32) of messages whose first fragment came, ever: what flow control counts. 0 in modes outside flow control. */
  readonly received: number
  /** Messages handed over. */
  readonly delivered: number
  /** Whole messages that found no delivery credit, in modes that do not wait for it. */
  readonly droppedNoCredit: number
  /** Messages of which something came and not all, or for which there was no memory, in modes that do not repeat. */
  readonly droppedIncomplete: number
  /** Whether everything up to `final` was handed over or passed. */
  finished(final: number): boolean
  /** One whole message of `length` bytes at `offset` of the receive slab. `room` is the cost that flow control still admits. */
  whole(now: number, id: number, offset: number, length: number, room: number, sink: MessageSink): ReceiveResult
  fragment(now: number, id: number, offset: number, length: number, at: number, total: number, room: number, sink: MessageSink): ReceiveResult
  /** The sender gave this begun message up. */
  skip(id: number, total: number, room: number, sink: MessageSink): ReceiveResult
  /** Hands over what waits, after credit came or the hold ended. */
  resume(sink: MessageSink): void
  /** Gives up reassemblies older than the mode allows; the earliest moment to call again, Infinity for none. */
  expire(now: number): number
  /** Cost of SKIPped messages passed since the last call: nobody will consume it, so the owner does. */
  takePassed(): number
  /** Gives back storage that stands empty: called when the session falls idle. */
  trim(): void
  /** Whether a message waits that credit alone would hand over. */
  readonly waiting: boolean
  /** Nothing more will come: frees what lies behind a hole. The id up to which everything was handed over or waits. */
  seal(): number
  /** Frees everything. */
  clear(): void
}

/** Keeps a whole message that cannot be handed over now: its offset in an arena block of its own or shared, −1 without room. */
export class MessageStore {
  readonly #memory: MemoryAccount
  #current = -1
  #fill = 0
  #size = 1024

  constructor(memory: MemoryAccount) {
    this.#memory = memory
  }

  get bytes(): Uint8Array {
    return this.#memory.arena.bytes
  }

  /** A block for a message in fragments. `urgent`: everything behind it waits for it ({@link MemoryAccount.allocateUrgent}). */
  allocate(length: number, urgent: boolean): number {
    return urgent ? this.#memory.allocateUrgent(length) : this.#memory.allocate(length)
  }

  release(block: number): void {
    this.#memory.release(block)
  }

  /** Copies `length` bytes in and returns where; `lastBlock` then names the block whose reference the caller holds. */
  put(from: number, length: number): number {
    const memory = this.#memory
    if (length > 16384) {
      const own = memory.allocate(length)
      if (own >= 0) memory.arena.bytes.copyWithin(own, from, from + length)
      this.lastBlock = own
      return own
    }
    if (this.#current < 0 || this.#fill + length > memory.arena.sizeOf(this.#current)) {
      const fresh = memory.allocateUpTo(Math.max(this.#size, length), length)
      if (fresh < 0) return -1
      if (this.#current >= 0) {
        memory.release(this.#current)
        this.#size = Math.min(2 * this.#size, 65536)
      }
      this.#current = fresh
      this.#fill = 0
    }
    const at = this.#current + this.#fill
    memory.arena.bytes.copyWithin(at, from, from + length)
    this.#fill += length
    memory.arena.retain(this.#current)
    this.lastBlock = this.#current
    return at
  }

  lastBlock = -1

  /** Lets go of the block that small messages share; messages in it keep it alive. */
  trim(): void {
    if (this.#current >= 0) this.#memory.release(this.#current)
    this.#current = -1
    this.#size = 1024
  }
}
