import { dropReason, MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import type { Pieces } from '../base/pieces.ts'
import type { Instant } from '../base/time.ts'
import { varintSize, writeVarint } from '../base/varint.ts'
import { FRAME_MESSAGE, FRAME_SKIP, MESSAGE_FRAGMENT, MESSAGE_LENGTH } from '../wire/frame.ts'
import { LostRing } from './lost-ring.ts'
import { RangeSet } from './range-set.ts'
import { CANCELLED, DONE, SendRing, WAITING, type SendOwner } from './send-ring.ts'
import { RECORD_FRAGMENT, RECORD_RUN, RECORD_SKIP, type SentPackets } from './sent-packets.ts'

/** A reliable message is cut to fill a datagram only when at least this much of it fits: a header and a reassembly cost more than less. */
const FRAGMENT_MIN = 256
/** A retransmitted fragment is cut further only when at least this much fits. */
const REFRAGMENT_MIN = 32

/** What a delivery mode means to the sender. */
export interface SendTraits {
  /** What is lost is sent again, until it is late: modes 0, 1, 3. */
  readonly repeats: boolean
  /** Under flow control: modes 0, 1. */
  readonly charged: boolean
  /** A newer message makes older ones worthless: mode 3. */
  readonly latest: boolean
}

/** What the queues of one channel (one per lane in use) share: ids and cost count over all of them. */
export class SendCount {
  /** Wire id of the next message to be begun = number of messages begun. */
  nextId = 0
  /** Cost charged to flow control, ever. */
  charged = 0
  /** No message gets this id or a greater one for now: the receiver's window of ids. */
  idLimit: number = Infinity
}

/**
 * The messages of one channel in one direction and lane, from `send` until they are acknowledged (modes that repeat) or handed to
 * a datagram (the others; a message whose sender wants to hear of it stays until its datagram is acknowledged or lost). Messages are
 * numbered by `sequence` in order of `send`; the wire id is given when the first byte goes.
 */
export class SendQueue extends SendRing {
  readonly channel: number
  readonly count: SendCount
  /** Cost charged by the last {@link packNew}. */
  chargedNow = 0
  /** Messages acknowledged. */
  delivered = 0
  readonly #traits: SendTraits
  /** Added to the kind of frame records, so that they find this queue among those of the channel. */
  readonly #mark: number
  /** Acked byte ranges of messages in more than one fragment. */
  #acked: Map<number, RangeSet> | undefined
  readonly #lost = new LostRing()
  /** Cancelled messages whose SKIP is to be sent. */
  #skips: LostRing | undefined
  #fragmentBegan = false

  constructor(channel: number, traits: SendTraits, count: SendCount, mark: number, lane: number, memory: MemoryAccount, owner: SendOwner) {
    super(lane, memory, owner)
    this.channel = channel
    this.count = count
    this.#traits = traits
    this.#mark = mark
  }

  /** Whether some message may have a deadline. */
  get hasTimed(): boolean {
    return this.timed
  }

  get hasLost(): boolean {
    return !this.#lost.empty || this.#skips?.empty === false
  }

  /** Id of the oldest message that is begun and not done; Infinity for none. */
  get oldestId(): number {
    return this.base < this.next || this.nextOffset > 0 ? this.id[this.base & this.mask]! : Infinity
  }

  /**
   * Writes MESSAGE frames of messages not sent before into `[at, end)`, as many as fit and as `allowance` (flow-control cost
   * left, ignored where there is none) permits, at most `limit` bytes of them. Messages that are late are dropped on the way.
   * Returns the offset behind the last.
   * @param capacity room for frames in an empty datagram: what decides whether a message must be cut
   */
  packNew(out: Pieces, at: number, end: number, capacity: number, allowance: number, limit: number, log: SentPackets, now: Instant): number {
    const { repeats, charged: flow, latest } = this.#traits
    const count = this.count
    let p = at
    let runStart = -1
    let charged = 0
    const stop = Math.min(end, at + limit)
    while ((this.unsent > 0 || this.nextOffset > 0) && p < stop) {
      if (this.nextOffset === 0 && this.state[this.next & this.mask] !== WAITING) this.pullUp()
      const i = this.next & this.mask
      if (this.timed && this.deadline[i]! <= now) {
        if (this.nextOffset === 0) this.dropUnsent(this.next, dropReason.deadline)
        else this.#cancel(this.next, dropReason.deadline)
        continue
      }
      const length = this.length[i]!
      const cost = length + MESSAGE_COST
      if (this.nextOffset === 0) {
        if ((flow && charged + cost > allowance) || count.nextId >= count.idLimit) break
        const header = 1 + varintSize(this.channel) + varintSize(count.nextId) + varintSize(length)
        if (p + header + length <= end) {
          p = this.#writeWhole(out, p, i, count.nextId, length)
          charged += cost
          this.id[i] = count.nextId++
          this.unsent--
          if (latest) this.#supersedeSent()
          if (repeats || this.confirmed(i)) {
            if (runStart < 0) runStart = this.next
            this.next++
          } else {
            this.next++
            this.settle(this.next - 1)
          }
          continue
        }
        if (header + length <= capacity && (!flow || end - p < header + 16 + FRAGMENT_MIN)) break
      }
      const before = this.next
      const behind = this.#packFragment(out, p, end, i, log, runStart)
      if (behind === p) break
      runStart = -1
      if (this.#fragmentBegan) charged += cost
      if (this.next > before && !repeats && !this.confirmed(i)) this.settle(before)
      p = behind
    }
    this.#logOpenRun(log, runStart)
    this.chargedNow = flow ? charged : 0
    count.charged += this.chargedNow
    // A begun message that turned out to be late became one.
    return this.#skips === undefined ? p : this.#packSkips(out.bytes, p, end, this.#skips, log)
  }

  /** Writes frames that were lost once more, and SKIPs of what was given up, as many as fit. `capacity` as in {@link packNew}. */
  packLost(out: Pieces, at: number, end: number, capacity: number, log: SentPackets, now: Instant): number {
    let p = at
    while (!this.#lost.empty) {
      const sequence = this.#sequenceOf(this.#lost.sequence)
      const behind = this.#lost.isRun
        ? this.#packLostRun(out, p, end, capacity, sequence, log, now)
        : this.#packLostFragment(out, p, end, sequence, log, now)
      if (behind < 0) break
      p = behind
    }
    return this.#skips === undefined ? p : this.#packSkips(out.bytes, p, end, this.#skips, log)
  }

  onAckedRun(sequenceLow: number, count: number): void {
    const first = this.#sequenceOf(sequenceLow)
    for (let sequence = Math.max(first, this.base); sequence < first + count; sequence++) this.#onAcked(sequence)
  }

  onAckedFragment(sequenceLow: number, offset: number, length: number): void {
    const sequence = this.#sequenceOf(sequenceLow)
    if (sequence < this.base || this.state[sequence & this.mask] === DONE) return
    const total = this.length[sequence & this.mask]!
    this.#acked ??= new Map()
    let ranges = this.#acked.get(sequence)
    if (ranges === undefined) {
      ranges = new RangeSet()
      this.#acked.set(sequence, ranges)
    }
    ranges.add(offset, offset + length)
    if (ranges.prefix >= total) this.#onAcked(sequence)
  }

  onAckedSkip(sequenceLow: number): void {
    const sequence = this.#sequenceOf(sequenceLow)
    if (sequence >= this.base && this.state[sequence & this.mask] === CANCELLED) this.settle(sequence)
  }

  onLostRun(sequenceLow: number, count: number): void {
    if (this.#traits.repeats && !this.#traits.latest) {
      this.#lost.pushRun(sequenceLow, count)
      return
    }
    const first = this.#sequenceOf(sequenceLow)
    for (let sequence = Math.max(first, this.base); sequence < first + count; sequence++) {
      if (!this.#lostForGood(sequence)) this.#lost.pushRun(sequence, 1)
    }
  }

  onLostFragment(sequenceLow: number, offset: number, length: number): void {
    const sequence = this.#sequenceOf(sequenceLow)
    if (sequence < this.base || !this.#lostForGood(sequence)) this.#lost.pushFragment(sequenceLow, offset, length)
  }

  onLostSkip(sequenceLow: number): void {
    const sequence = this.#sequenceOf(sequenceLow)
    if (sequence >= this.base && this.state[sequence & this.mask] === CANCELLED) this.#skips?.pushRun(sequenceLow, 1)
  }

  /** Drops every unsent message but the newest, which takes their place (mode 3). */
  supersede(): void {
    while (this.unsent > 1) this.dropOldest(dropReason.superseded)
  }

  /** Drops what is late and waits: unsent, begun, or to be sent again. Returns the earliest deadline of the rest, Infinity for none. */
  expire(now: Instant): number {
    if (!this.timed) return Infinity
    let earliest = Infinity
    if (this.nextOffset > 0) {
      const deadline = this.deadline[this.next & this.mask]!
      if (deadline <= now) this.#cancel(this.next, dropReason.deadline)
      else earliest = deadline
    }
    for (let sequence = this.nextOffset > 0 ? this.next + 1 : this.next; sequence < this.head; sequence++) {
      if (this.state[sequence & this.mask] !== WAITING) continue
      const deadline = this.deadline[sequence & this.mask]!
      if (deadline <= now) this.dropUnsent(sequence, dropReason.deadline)
      else if (deadline < earliest) earliest = deadline
    }
    for (let k = 0; k < this.#lost.size; k++) {
      const first = this.#sequenceOf(this.#lost.sequenceAt(k))
      const stop = first + this.#lost.countAt(k)
      for (let sequence = Math.max(first, this.base); sequence < stop; sequence++) {
        if (!this.#mayRepeat(sequence, now)) continue
        earliest = Math.min(earliest, this.deadline[sequence & this.mask]!)
      }
    }
    return earliest
  }

  /** Drops everything: the channel or the session ended. Its cost counts as released. */
  clear(reason: number): void {
    while (this.unsent > 0) this.dropOldest(reason)
    if (this.nextOffset > 0) this.next++
    this.nextOffset = 0
    for (let sequence = this.base; sequence < this.next; sequence++) {
      const i = sequence & this.mask
      if (this.state[i] === WAITING) this.tellDropped(i, reason)
      if (this.state[i] !== DONE) this.settle(sequence)
    }
    this.#acked = undefined
    this.trim()
  }

  override trim(): void {
    super.trim()
    if (this.messages > 0) return
    this.#lost.clear()
    this.#skips = undefined
  }

  protected override settle(sequence: number): void {
    if (this.#acked !== undefined && this.#acked.size > 0) this.#acked.delete(sequence)
    super.settle(sequence)
  }

  #onAcked(sequence: number): void {
    const i = sequence & this.mask
    if (this.state[i] === DONE) return
    // One that was cancelled has got its verdict.
    if (this.state[i] === WAITING) {
      this.delivered++
      if (this.confirmed(i)) this.tellDelivered(i)
    }
    this.settle(sequence)
  }

  /** Whether nothing of this message goes again because its mode forbids; its sender is told then. */
  #lostForGood(sequence: number): boolean {
    const i = sequence & this.mask
    if (this.state[i] !== WAITING) return true
    if (!this.#traits.repeats) this.#giveUp(sequence, dropReason.none)
    else if (this.#traits.latest && this.id[i] !== this.count.nextId - 1) this.#giveUp(sequence, dropReason.superseded)
    else return false
    return true
  }

  /** Whether this message is to be sent again; one that is not any more is given up here. */
  #mayRepeat(sequence: number, now: Instant): boolean {
    const i = sequence & this.mask
    if (sequence < this.base || this.state[i] !== WAITING) return false
    if (this.#traits.latest && this.id[i] !== this.count.nextId - 1) this.#giveUp(sequence, dropReason.superseded)
    else if (this.timed && this.deadline[i]! <= now) this.#cancel(sequence, dropReason.deadline)
    else return true
    return false
  }

  /** A begun message will not be completed, and the receiver would wait for it: SKIP. */
  #cancel(sequence: number, reason: number): void {
    const i = sequence & this.mask
    if (!this.#traits.repeats || (this.#traits.latest && this.id[i] !== this.count.nextId - 1)) {
      this.#giveUp(sequence, reason)
      return
    }
    this.tellDropped(i, reason)
    this.free(i)
    this.state[i] = CANCELLED
    this.#acked?.delete(sequence)
    this.#skips ??= new LostRing()
    this.#skips.pushRun(sequence, 1)
    this.#leaveBegun(sequence)
  }

  #giveUp(sequence: number, reason: number): void {
    this.tellDropped(sequence & this.mask, reason)
    this.#leaveBegun(sequence)
    this.settle(sequence)
  }

  /** The message was being cut: the next one takes its turn. */
  #leaveBegun(sequence: number): void {
    if (sequence !== this.next) return
    this.nextOffset = 0
    this.next++
  }

  /** Mode 3: a newer message begins, so older ones are not repeated. Who asked what became of his still hears it. */
  #supersedeSent(): void {
    for (let sequence = this.base; sequence < this.next; sequence++) {
      const i = sequence & this.mask
      if (this.state[i] === CANCELLED || (this.state[i] === WAITING && !this.confirmed(i))) this.settle(sequence)
    }
  }

  #writeWhole(out: Pieces, at: number, i: number, id: number, length: number): number {
    const { bytes } = out
    bytes[at] = FRAME_MESSAGE | MESSAGE_LENGTH
    let p = writeVarint(bytes, at + 1, this.channel)
    p = writeVarint(bytes, p, id)
    p = writeVarint(bytes, p, length)
    out.put(p, this.offset[i]!, length)
    return p + length
  }

  #packFragment(out: Pieces, at: number, end: number, i: number, log: SentPackets, runStart: number): number {
    const length = this.length[i]!
    this.#fragmentBegan = this.nextOffset === 0
    const id = this.#fragmentBegan ? this.count.nextId : this.id[i]!
    const header = 1 + varintSize(this.channel) + varintSize(id) + varintSize(this.nextOffset) + varintSize(length) + 2
    const left = length - this.nextOffset
    const size = Math.min(left, end - at - header)
    if (size <= 0 || (size < left && size < REFRAGMENT_MIN)) return at
    this.#logOpenRun(log, runStart)
    if (this.#fragmentBegan) {
      this.id[i] = this.count.nextId++
      this.unsent--
      if (this.#traits.latest) this.#supersedeSent()
    }
    const p = this.#writeFragment(out, at, i, id, this.nextOffset, size)
    if (this.#traits.repeats || this.confirmed(i)) log.addFrame(RECORD_FRAGMENT | this.#mark, this.channel, this.next | 0, this.nextOffset, size)
    this.nextOffset += size
    if (this.nextOffset === length) {
      this.nextOffset = 0
      this.next++
    }
    return p
  }

  #writeFragment(out: Pieces, at: number, i: number, id: number, offset: number, size: number): number {
    const { bytes } = out
    bytes[at] = FRAME_MESSAGE | MESSAGE_LENGTH | MESSAGE_FRAGMENT
    let p = writeVarint(bytes, at + 1, this.channel)
    p = writeVarint(bytes, p, id)
    p = writeVarint(bytes, p, offset)
    p = writeVarint(bytes, p, this.length[i]!)
    p = writeVarint(bytes, p, size)
    out.put(p, this.offset[i]! + offset, size)
    return p + size
  }

  #packSkips(bytes: Uint8Array, at: number, end: number, skips: LostRing, log: SentPackets): number {
    let p = at
    while (!skips.empty) {
      const sequence = this.#sequenceOf(skips.sequence)
      const i = sequence & this.mask
      if (sequence >= this.base && this.state[i] === CANCELLED) {
        const id = this.id[i]!
        const total = this.length[i]!
        if (p + 1 + varintSize(this.channel) + varintSize(id) + varintSize(total) > end) return p
        bytes[p] = FRAME_SKIP
        p = writeVarint(bytes, writeVarint(bytes, writeVarint(bytes, p + 1, this.channel), id), total)
        log.addFrame(RECORD_SKIP | this.#mark, this.channel, sequence | 0, total, 0)
      }
      skips.shift()
    }
    return p
  }

  /** Returns −1 when the datagram is full, else the offset behind what was written. */
  #packLostRun(out: Pieces, at: number, end: number, capacity: number, first: number, log: SentPackets, now: Instant): number {
    let p = at
    let sequence = first
    const stop = first + this.#lost.countOrOffset
    let runStart = -1
    for (; sequence < stop; sequence++) {
      if (!this.#mayRepeat(sequence, now)) {
        if (runStart >= 0) this.#logRun(log, runStart, sequence - runStart)
        runStart = -1
        continue
      }
      const i = sequence & this.mask
      const length = this.length[i]!
      const id = this.id[i]!
      const size = 1 + varintSize(this.channel) + varintSize(id) + varintSize(length) + length
      if (p + size > end) {
        if (runStart >= 0) this.#logRun(log, runStart, sequence - runStart)
        return this.#keepRest(sequence, stop, size > capacity) || p > at ? p : -1
      }
      p = this.#writeWhole(out, p, i, id, length)
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
    const length = this.length[sequence & this.mask]!
    if (stop - sequence === 1) {
      this.#lost.replaceFragment(sequence, 0, length)
      return true
    }
    this.#lost.replaceRun(sequence + 1, stop - sequence - 1)
    this.#lost.pushFragment(sequence, 0, length)
    return true
  }

  #packLostFragment(out: Pieces, at: number, end: number, sequence: number, log: SentPackets, now: Instant): number {
    const i = sequence & this.mask
    const offset = this.#lost.countOrOffset
    const length = this.#lost.length
    if (!this.#mayRepeat(sequence, now) || this.#acked?.get(sequence)?.covers(offset, offset + length) === true) {
      this.#lost.shift()
      return at
    }
    const id = this.id[i]!
    const header = 1 + varintSize(this.channel) + varintSize(id) + varintSize(offset) + varintSize(this.length[i]!) + 2
    const size = Math.min(length, end - at - header)
    if (size <= 0 || (size < length && size < REFRAGMENT_MIN)) return -1
    const p = this.#writeFragment(out, at, i, id, offset, size)
    log.addFrame(RECORD_FRAGMENT | this.#mark, this.channel, sequence | 0, offset, size)
    if (size === length) this.#lost.shift()
    else this.#lost.replaceFragment(sequence, offset + size, length - size)
    return p
  }

  #logOpenRun(log: SentPackets, runStart: number): void {
    if (runStart >= 0) this.#logRun(log, runStart, this.next - runStart)
  }

  #logRun(log: SentPackets, first: number, count: number): void {
    log.addFrame(RECORD_RUN | this.#mark, this.channel, first | 0, count, 0)
  }

  /** Frame records keep 32 bits of a sequence; the queue never holds more than 2^31 messages. */
  #sequenceOf(low: number): number {
    return this.base + ((low - this.base) | 0)
  }
}
