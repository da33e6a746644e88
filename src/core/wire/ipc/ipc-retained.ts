import { readU32 } from '../../base/bytes.ts'
import { encodeMessageHead, FRAME_HEADER_SIZE, MESSAGE_COST, MESSAGE_HEADER_SIZE, messageFrameSize } from './ipc.ts'

// Kept as the frames they go in (`encodeMessageHead`), so that what was written in one piece is kept by one copy. Of the head only these count:
const HEADER_SIZE = FRAME_HEADER_SIZE + MESSAGE_HEADER_SIZE
const FLAGS_AT = 9
const LANE_AT = 10
const WORD_AT = 17
const CAPACITY_MIN = 4096
/** A larger buffer that has become empty is given back: an idle channel holds at most this. */
const CAPACITY_KEPT = 65_536
const EMPTY = new Uint8Array(0)

/** A message that is still held. One object is filled again and again: the bytes are valid until the next change. */
export class RetainedView {
  bytes: Uint8Array = EMPTY
  offset = 0
  length = 0
  flags = 0
  lane = 0
  word = 0
}

/**
 * Messages of one channel and direction in order, held until credit shows that the other side has them (WIRE.md §8.4): what a lost
 * connection did not carry is written again over the next one. A prefix of them was written, the rest ({@link unsent}) waits.
 *
 * Not bounded by itself: both sides hold no more than the credit of their channel and one message, and credit covers the oldest first.
 */
export class RetainedMessages {
  count = 0
  /** Of {@link count}, those that were not written yet. */
  unsent = 0
  /** Cost of all. */
  cost = 0
  #buffer: Uint8Array = EMPTY
  #start = 0
  #end = 0
  /** Where the first unsent one begins. */
  #next = 0
  /** Credit that does not cover the oldest message yet. Below zero: that much is for messages that are not held here. */
  #credited = 0

  /** Copies a message to the end. `sent`: it is being written now, which the caller may do while nothing is {@link unsent}. */
  push(sent: boolean, flags: number, lane: number, word: number, source: Uint8Array, offset: number, length: number): void {
    this.#reserve(HEADER_SIZE + length)
    const buffer = this.#buffer
    const at = this.#end
    encodeMessageHead(buffer, at, length, 0, flags, lane, 0, word)
    buffer.set(length === source.length ? source : source.subarray(offset, offset + length), at + HEADER_SIZE)
    this.#end = at + HEADER_SIZE + length
    this.count++
    this.cost += length + MESSAGE_COST
    if (sent) this.#next = this.#end
    else this.unsent++
  }

  /**
   * Copies `count` message frames of this cost to the end, as they are being written: they lie behind one another in `[start, end)`. Only
   * while nothing is {@link unsent}.
   */
  pushFrames(frames: Uint8Array, start: number, end: number, count: number, cost: number): void {
    this.#reserve(end - start)
    this.#buffer.set(frames.subarray(start, end), this.#end)
    this.#end += end - start
    this.#next = this.#end
    this.count += count
    this.cost += cost
  }

  /** The first unsent message, which from now on counts as written. */
  next(view: RetainedView): boolean {
    if (this.unsent === 0) return false
    const buffer = this.#buffer
    const at = this.#next
    view.bytes = buffer
    view.offset = at + HEADER_SIZE
    view.length = lengthAt(buffer, at)
    view.flags = buffer[at + FLAGS_AT]!
    view.lane = buffer[at + LANE_AT]!
    view.word = readU32(buffer, at + WORD_AT)
    this.#next = view.offset + view.length
    this.unsent--
    return true
  }

  /** The other side took messages of this cost, the oldest first. */
  credit(cost: number): void {
    this.#credited += cost
    while (this.count > this.unsent) {
      const oldest = lengthAt(this.#buffer, this.#start) + MESSAGE_COST
      if (this.#credited < oldest) return
      this.#credited -= oldest
      this.#shift()
    }
  }

  /** Forgets the `count` oldest of those that were written; with them goes what was credited towards the oldest. */
  drop(count: number): void {
    for (let i = 0; i < count && this.count > this.unsent; i++) {
      this.#shift()
      this.#credited = Math.min(this.#credited, 0)
    }
  }

  /** All are to be written again; those that were written before get `flags` besides their own. */
  rewind(flags: number): void {
    let at = this.#start
    for (let i = this.count - this.unsent; i > 0; i--) {
      this.#buffer[at + FLAGS_AT]! |= flags
      at += messageFrameSize(lengthAt(this.#buffer, at))
    }
    this.unsent = this.count
    this.#next = this.#start
  }

  /** The next `cost` of credit is for messages that were handed over before and are not held any more. */
  expectForeignCredit(cost: number): void {
    this.#credited = -cost
  }

  clear(): void {
    this.count = 0
    this.unsent = 0
    this.cost = 0
    this.#credited = 0
    this.#buffer = EMPTY
    this.#start = this.#end = this.#next = 0
  }

  #shift(): void {
    const length = lengthAt(this.#buffer, this.#start)
    this.#start += HEADER_SIZE + length
    this.count--
    this.cost -= length + MESSAGE_COST
    if (this.count > 0) return
    this.#start = this.#end = this.#next = 0
    if (this.#buffer.length > CAPACITY_KEPT) this.#buffer = EMPTY
  }

  /** Room for so many bytes at the end: what was taken from the front is used again once it is half of the buffer. */
  #reserve(size: number): void {
    if (this.#end + size <= this.#buffer.length) return
    const live = this.#end - this.#start
    const needed = live + size
    if (2 * needed <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#start, this.#end)
    } else {
      let capacity = Math.max(CAPACITY_MIN, this.#buffer.length)
      while (capacity < 2 * needed) capacity *= 2
      const grown = new Uint8Array(capacity)
      grown.set(this.#buffer.subarray(this.#start, this.#end))
      this.#buffer = grown
    }
    this.#next -= this.#start
    this.#end = live
    this.#start = 0
  }
}

/** Bytes of the app in the message frame at this offset. */
function lengthAt(frames: Uint8Array, at: number): number {
  return readU32(frames, at) - 1 - MESSAGE_HEADER_SIZE
}

/** Tags go from 1 to 2^32 − 1 and begin again at 1: 0 means that a message has none. */
const TAG_COUNT = 0xffff_ffff

export function tagAfter(tag: number, steps = 1): number {
  return ((tag - 1 + steps) % TAG_COUNT + TAG_COUNT) % TAG_COUNT + 1
}

/** Whether `tag` comes after `other` on a circle, as sequence numbers do: within the half that lies ahead. */
export function isTagAfter(tag: number, other: number): boolean {
  const ahead = (tag - other + TAG_COUNT) % TAG_COUNT
  return ahead > 0 && ahead < TAG_COUNT / 2
}

/** How many steps lead from `from` to `to`. */
export function tagDistance(from: number, to: number): number {
  return (to - from + TAG_COUNT) % TAG_COUNT
}
