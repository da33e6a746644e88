import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import { varintSize, writeVarint } from '../base/varint.ts'
import { FRAME_MESSAGE, MESSAGE_FRAGMENT, MESSAGE_LENGTH } from '../wire/frame.ts'
import { LostRing } from './lost-ring.ts'
import { RangeSet } from './range-set.ts'
import { RECORD_FRAGMENT, RECORD_RUN, type SentPackets } from './sent-packets.ts'

const FIRST_CAPACITY = 16
const FIRST_BLOCK = 1024
const LARGEST_BLOCK = 65536
/** A reliable message is cut to fill a datagram only when at least this much of it fits: a header and a reassembly cost more than less. */
const FRAGMENT_MIN = 256
/** A retransmitted fragment is cut further only when at least this much fits. */
const REFRAGMENT_MIN = 32

const QUEUED = 0
const DONE = 1

// One empty array of each kind for all queues: most channels are idle most of the time.
const NO_DOUBLES = new Float64Array(0)
const NO_INTS = new Int32Array(0)
const NO_BYTES = new Uint8Array(0)

/**
 * The messages of one channel in one direction, from `send` until they are acknowledged (reliable) or handed to a datagram
 * (unreliable). Bytes lie in arena blocks: small messages share a block that grows with use, large ones have their own.
 * Messages are numbered by `sequence` from 0 in order of `send`; the wire id is given at the first transmission.
 *
 * BOUNDED by the owner, who asks before `push` (messages, bytes, arena). Ring storage doubles on demand and is given back
 * when the queue runs empty.
 */
export class SendQueue {
  /** Oldest message not done; next to be sent for the first time; next to be pushed. */
  base = 0
  next = 0
  head = 0
  /** Bytes of message `next` that were sent already. */
  nextOffset = 0
  /** Wire id of the next message to be sent for the first time = number of messages sent. */
  nextId = 0
  /** Bytes of messages not done. */
  bytes = 0
  /** Cost of messages that are done, since it was last read by the owner. */
  released = 0
  /** Cost charged to flow control, ever. */
  charged = 0
  /** Cost charged by the last {@link packNew}. */
  chargedNow = 0
  readonly reliable: boolean
  readonly channel: number
  readonly #memory: MemoryAccount
  #mask = -1
  #block: Int32Array = NO_INTS
  #offset: Int32Array = NO_INTS
  #length: Int32Array = NO_INTS
  #state: Uint8Array = NO_BYTES
  #id: Float64Array = NO_DOUBLES
  #current = -1
  #currentFill = 0
  #blockSize = FIRST_BLOCK
  /** Acked byte ranges of messages in more than one fragment. */
  #acked: Map<number, RangeSet> | undefined
  readonly #lost = new LostRing()

  constructor(channel: number, reliable: boolean, memory: MemoryAccount) {
    this.channel = channel
    this.reliable = reliable
    this.#memory = memory
  }

  /** Messages not done. */
  get messages(): number {
    return this.head - this.base
  }

  get hasNew(): boolean {
    return this.next < this.head
  }

  get hasLost(): boolean {
    return !this.#lost.empty
  }

  /** Length of the next message to be sent for the first time; only when {@link hasNew}. */
  get nextLength(): number {
    return this.#length[this.next & this.#mask]!
  }

  /** Copies a message in. `false` when the arena has no room; nothing changed then. */
  push(bytes: Uint8Array, offset: number, length: number): boolean {
    const at = this.#place(length)
    if (at < 0) return false
    if (this.head - this.base > this.#mask) this.#grow()
    const i = this.head & this.#mask
    if (length > 0) this.#memory.arena.bytes.set(offset === 0 && length === bytes.length ? bytes : bytes.subarray(offset, offset + length), at)
    this.#offset[i] = at
    this.#block[i] = length === 0 ? -1 : this.#placedIn
    this.#length[i] = length
    this.#state[i] = QUEUED
    this.head++
    this.bytes += length
    return true
  }

  /**
   * Writes MESSAGE frames of messages not sent before into `[at, end)`, as many as fit and as `allowance` (flow-control cost
   * left, ignored for unreliable queues) permits, at most `limit` bytes of them. Returns the offset behind the last.
   * @param capacity room for frames in an empty datagram: what decides whether a message must be cut
   */
  packNew(bytes: Uint8Array, at: number, end: number, capacity: number, allowance: number, limit: number, log: SentPackets): number {
    let p = at
    let runStart = -1
    let charged = 0
    const stop = Math.min(end, at + limit)
    while (this.next < this.head && p < stop) {
      const i = this.next & this.#mask
      const length = this.#length[i]!
      const cost = length + MESSAGE_COST
      if (this.nextOffset === 0) {
        if (this.reliable && charged + cost > allowance) break
        const header = 1 + varintSize(this.channel) + varintSize(this.nextId) + varintSize(length)
        if (p + header + length <= end) {
          p = this.#writeWhole(bytes, p, i, this.nextId, length)
          if (runStart < 0) runStart = this.next
          charged += cost
          this.#id[i] = this.nextId++
          this.next++
          if (!this.reliable) this.#finish(this.next - 1)
          continue
        }
        if (header + length <= capacity && (!this.reliable || end - p < header + 16 + FRAGMENT_MIN)) break
      }
      const behind = this.#packFragment(bytes, p, end, i, log, runStart)
      if (behind === p) break
      runStart = -1
      if (this.#fragmentBegan) charged += cost
      p = behind
    }
    if (runStart >= 0 && this.reliable) this.#logRun(log, runStart, this.next - runStart)
    this.chargedNow = this.reliable ? charged : 0
    this.charged += this.chargedNow
    return p
  }

  /** Writes frames that were lost once more, as many as fit. `capacity` as in {@link packNew}. */
  packLost(bytes: Uint8Array, at: number, end: number, capacity: number, log: SentPackets): number {
    let p = at
    while (!this.#lost.empty) {
      const sequence = this.#sequenceOf(this.#lost.sequence)
      const behind = this.#lost.isRun
        ? this.#packLostRun(bytes, p, end, capacity, sequence, log)
        : this.#packLostFragment(bytes, p, end, sequence, log)
      if (behind < 0) return p
      p = behind
    }
    return p
  }

  onAckedRun(sequenceLow: number, count: number): void {
    const first = this.#sequenceOf(sequenceLow)
    for (let sequence = Math.max(first, this.base); sequence < first + count; sequence++) {
      if (this.#state[sequence & this.#mask] === QUEUED) this.#finish(sequence)
    }
  }

  onAckedFragment(sequenceLow: number, offset: number, length: number): void {
    const sequence = this.#sequenceOf(sequenceLow)
    if (sequence < this.base || this.#state[sequence & this.#mask] === DONE) return
    const total = this.#length[sequence & this.#mask]!
    this.#acked ??= new Map()
    let ranges = this.#acked.get(sequence)
    if (ranges === undefined) {
      ranges = new RangeSet()
      this.#acked.set(sequence, ranges)
    }
    ranges.add(offset, offset + length)
    if (ranges.prefix >= total) this.#finish(sequence)
  }

  onLostRun(sequenceLow: number, count: number): void {
    this.#lost.pushRun(sequenceLow, count)
  }

  onLostFragment(sequenceLow: number, offset: number, length: number): void {
    this.#lost.pushFragment(sequenceLow, offset, length)
  }

  /** Drops everything: the channel or the session ended. Its cost counts as released. */
  clear(): void {
    this.next = this.head
    this.nextOffset = 0
    for (let sequence = this.base; sequence < this.head; sequence++) {
      if (this.#state[sequence & this.#mask] === QUEUED) this.#finish(sequence)
    }
    this.#lost.clear()
    this.#acked = undefined
    this.trim()
  }

  /** Gives back what an empty queue still holds: called when the session falls idle. */
  trim(): void {
    if (this.base !== this.head) return
    if (this.#current >= 0) this.#memory.release(this.#current)
    this.#current = -1
    this.#blockSize = FIRST_BLOCK
    this.#lost.clear()
    if (this.#mask > FIRST_CAPACITY) {
      this.#mask = -1
      this.#block = NO_INTS
      this.#offset = NO_INTS
      this.#length = NO_INTS
      this.#state = NO_BYTES
      this.#id = NO_DOUBLES
    }
  }

  #placedIn = -1
  #fragmentBegan = false

  /** Room for `length` bytes: an offset, −1 when the arena is full. Sets `#placedIn`. */
  #place(length: number): number {
    if (length === 0) return 0
    const memory = this.#memory
    if (length > LARGEST_BLOCK / 4) {
      const own = memory.allocate(length)
      this.#placedIn = own
      return own
    }
    if (this.#current < 0 || this.#currentFill + length > memory.arena.sizeOf(this.#current)) {
      const fresh = memory.allocateUpTo(Math.max(this.#blockSize, length), length)
      if (fresh < 0) return -1
      if (this.#current >= 0) {
        memory.release(this.#current)
        this.#blockSize = Math.min(2 * this.#blockSize, LARGEST_BLOCK)
      }
      this.#current = fresh
      this.#currentFill = 0
    }
    const at = this.#current + this.#currentFill
    this.#currentFill += length
    memory.arena.retain(this.#current)
    this.#placedIn = this.#current
    return at
  }

  #writeWhole(bytes: Uint8Array, at: number, i: number, id: number, length: number): number {
    bytes[at] = FRAME_MESSAGE | MESSAGE_LENGTH
    let p = writeVarint(bytes, at + 1, this.channel)
    p = writeVarint(bytes, p, id)
    p = writeVarint(bytes, p, length)
    const from = this.#offset[i]!
    if (length > 0) bytes.copyWithin(p, from, from + length)
    return p + length
  }

  #packFragment(bytes: Uint8Array, at: number, end: number, i: number, log: SentPackets, runStart: number): number {
    const length = this.#length[i]!
    this.#fragmentBegan = this.nextOffset === 0
    const header = 1 + varintSize(this.channel) + varintSize(this.nextId) + varintSize(this.nextOffset) + varintSize(length) + 2
    const left = length - this.nextOffset
    const room = end - at - header
    const size = Math.min(left, room)
    if (size <= 0 || (size < left && size < REFRAGMENT_MIN)) return at
    if (runStart >= 0 && this.reliable) this.#logRun(log, runStart, this.next - runStart)
    const p = this.#writeFragment(bytes, at, i, this.nextId, this.nextOffset, size)
    if (this.reliable) log.addFrame(RECORD_FRAGMENT, this.channel, this.next | 0, this.nextOffset, size)
    this.nextOffset += size
    if (this.nextOffset === length) {
      this.#id[i] = this.nextId++
      this.nextOffset = 0
      this.next++
      if (!this.reliable) this.#finish(this.next - 1)
    } else {
      this.#id[i] = this.nextId
    }
    return p
  }

  #writeFragment(bytes: Uint8Array, at: number, i: number, id: number, offset: number, size: number): number {
    bytes[at] = FRAME_MESSAGE | MESSAGE_LENGTH | MESSAGE_FRAGMENT
    let p = writeVarint(bytes, at + 1, this.channel)
    p = writeVarint(bytes, p, id)
    p = writeVarint(bytes, p, offset)
    p = writeVarint(bytes, p, this.#length[i]!)
    p = writeVarint(bytes, p, size)
    const from = this.#offset[i]! + offset
    bytes.copyWithin(p, from, from + size)
    return p + size
  }

  /** Returns −1 when the datagram is full, else the offset behind what was written. */
  #packLostRun(bytes: Uint8Array, at: number, end: number, capacity: number, first: number, log: SentPackets): number {
    let p = at
    let sequence = first
    const stop = first + this.#lost.countOrOffset
    let runStart = -1
    for (; sequence < stop; sequence++) {
      const i = sequence & this.#mask
      if (sequence < this.base || this.#state[i] === DONE) {
        if (runStart >= 0) this.#logRun(log, runStart, sequence - runStart)
        runStart = -1
        continue
      }
      const length = this.#length[i]!
      const id = this.#id[i]!
      const size = 1 + varintSize(this.channel) + varintSize(id) + varintSize(length) + length
      if (p + size > end) {
        if (runStart >= 0) this.#logRun(log, runStart, sequence - runStart)
        return this.#keepRest(sequence, stop, size > capacity) || p > at ? p : -1
      }
      p = this.#writeWhole(bytes, p, i, id, length)
      if (runStart < 0) runStart = sequence
    }
    if (runStart >= 0) this.#logRun(log, runStart, sequence - runStart)
    this.#lost.shift()
    return p
  }

  /** The rest of a run waits for the next datagram. A message that fits none (the path got smaller) goes on as a fragment: true. */
  #keepRest(sequence: number, stop: number, tooLarge: boolean): boolean {
    if (!tooLarge) {
      this.#lost.replaceRun(sequence, stop - sequence)
      return false
    }
    const length = this.#length[sequence & this.#mask]!
    if (stop - sequence === 1) {
      this.#lost.replaceFragment(sequence, 0, length)
      return true
    }
    this.#lost.replaceRun(sequence + 1, stop - sequence - 1)
    this.#lost.pushFragment(sequence, 0, length)
    return true
  }

  #packLostFragment(bytes: Uint8Array, at: number, end: number, sequence: number, log: SentPackets): number {
    const i = sequence & this.#mask
    const offset = this.#lost.countOrOffset
    const length = this.#lost.length
    const acked = sequence < this.base || this.#state[i] === DONE
      || this.#acked?.get(sequence)?.covers(offset, offset + length) === true
    if (acked) {
      this.#lost.shift()
      return at
    }
    const id = this.#id[i]!
    const header = 1 + varintSize(this.channel) + varintSize(id) + varintSize(offset) + varintSize(this.#length[i]!) + 2
    const size = Math.min(length, end - at - header)
    if (size <= 0 || (size < length && size < REFRAGMENT_MIN)) return -1
    const p = this.#writeFragment(bytes, at, i, id, offset, size)
    log.addFrame(RECORD_FRAGMENT, this.channel, sequence | 0, offset, size)
    if (size === length) this.#lost.shift()
    else this.#lost.replaceFragment(sequence, offset + size, length - size)
    return p
  }

  #logRun(log: SentPackets, first: number, count: number): void {
    log.addFrame(RECORD_RUN, this.channel, first | 0, count, 0)
  }

  #finish(sequence: number): void {
    const i = sequence & this.#mask
    this.#state[i] = DONE
    if (this.#acked !== undefined && this.#acked.size > 0) this.#acked.delete(sequence)
    const length = this.#length[i]!
    this.bytes -= length
    this.released += length + MESSAGE_COST
    if (this.#block[i]! >= 0) this.#memory.release(this.#block[i]!)
    while (this.base < this.next && this.#state[this.base & this.#mask] === DONE) this.base++
    // Nothing in it is needed any more: the block is filled again from its start.
    if (this.base === this.head) this.#currentFill = 0
  }

  /** Frame records keep 32 bits of a sequence; the queue never holds more than 2^31 messages. */
  #sequenceOf(low: number): number {
    return this.base + ((low - this.base) | 0)
  }

  #grow(): void {
    const capacity = this.#mask < 0 ? FIRST_CAPACITY : 2 * (this.#mask + 1)
    const mask = capacity - 1
    const move = <T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T => {
      for (let sequence = this.base; sequence < this.head; sequence++) to[sequence & mask] = from[sequence & this.#mask]!
      return to
    }
    this.#block = move(this.#block, new Int32Array(capacity))
    this.#offset = move(this.#offset, new Int32Array(capacity))
    this.#length = move(this.#length, new Int32Array(capacity))
    this.#state = move(this.#state, new Uint8Array(capacity))
    this.#id = move(this.#id, new Float64Array(capacity))
    this.#mask = mask
  }
}
