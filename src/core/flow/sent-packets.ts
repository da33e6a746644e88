import { assert } from '../base/assert.ts'
import { toInstant, type Instant } from '../base/time.ts'
import { RateColumns } from './rate-columns.ts'

/** Packets of one session that may be tracked at once; beyond it nothing ack-eliciting is sent until acks come. Below the replay window. */
export const TRACKED_MAX = 4096
/** Mere ACKs go on beyond that, up to here: then the caller must let the oldest packet in flight go ({@link SentPackets.full}). */
const SLOTS_MAX = 2 * TRACKED_MAX
const FIRST_CAPACITY = 32
const FIRST_FRAMES = 64

/** What a packet slot is. NONE: sent, but not ack-eliciting or not tracked. */
export const PACKET_NONE = 0
/** In flight. */
export const PACKET_SENT = 1
export const PACKET_ACKED = 2
export const PACKET_LOST = 3
/** A counter that was left out on purpose: an ACK of it is an optimistic ack ([Q] §21.4). */
export const PACKET_SKIPPED = 4
/** In flight like SENT, but what it carried was put up for sending again by a probe timeout: losing it now changes only the window. */
export const PACKET_PROBED = 5

/** Frame records: what to do when the packet is acked or lost. `ref` is a channel id, `a` and `b` as noted. */
export const RECORD_RUN = 1 // whole messages: sequence, a = count
export const RECORD_FRAGMENT = 2 // part of one: sequence, a = offset, b = length
export const RECORD_OPEN = 3
export const RECORD_ACCEPT = 4
export const RECORD_CLOSE = 5
export const RECORD_MAX_CHANNEL_DATA = 6
export const RECORD_MAX_DATA = 7
export const RECORD_BLOCKED = 8
export const RECORD_CHANNEL_BLOCKED = 9
export const RECORD_OBSERVED = 10 // ref = path
export const RECORD_SKIP = 11 // sequence, a = total
export const RECORD_CANDIDATES = 13 // ref = generation
export const RECORD_PRESENCE = 14
export const RECORD_PAIR = 15 // ref = op
export const RECORD_HANDSHAKE = 12 // ref = outgoing rekey message, a = offset
/** Above these bits of a RUN, FRAGMENT or SKIP stands which queue of its channel it is of: channels may have one per lane. */
export const RECORD_MARK_SHIFT = 8
export const RECORD_KIND_MASK: number = (1 << RECORD_MARK_SHIFT) - 1

const STRIDE = 5

// One empty array of each kind for all sessions: an idle one holds nine of them.
const NO_DOUBLES = new Float64Array(0)
const NO_INTS = new Int32Array(0)
const NO_SHORTS = new Uint16Array(0)
const NO_BYTES = new Uint8Array(0)

/**
 * Sent packets of one session in order of sending, over all its keypairs and paths, in typed-array rings: packet order n of
 * keypair k has counter n − k.orderBase. Each packet owns a run of frame records. Storage doubles on demand up to
 * {@link TRACKED_MAX}; when full, {@link room} says no and the caller waits for acks. `reset` gives the storage back.
 */
export class SentPackets {
  /** Oldest order still tracked. */
  base = 0
  /** Order of the next packet. */
  next = 0
  /** Nothing below it is in flight: where loss detection begins to look. */
  firstSent = 0
  /** What delivery rates need of each packet. */
  readonly rate: RateColumns = new RateColumns()
  #mask = -1
  #time: Float64Array = NO_DOUBLES
  #size: Int32Array = NO_INTS
  #state: Uint8Array = NO_BYTES
  #path: Uint8Array = NO_BYTES
  #pathSequence: Int32Array = NO_INTS
  #ackLargest: Float64Array = NO_DOUBLES
  #frameStart: Int32Array = NO_INTS
  #frameCount: Uint16Array = NO_SHORTS
  #frames: Int32Array = NO_INTS
  #frameMask = -1
  #frameNext = 0
  #frameBase = 0

  /** Whether one more packet can be tracked. */
  get room(): boolean {
    return this.next - this.base < TRACKED_MAX
  }

  get tracked(): number {
    return this.next - this.base
  }

  /** Whether not even a packet that elicits no ACK finds a slot. */
  get full(): boolean {
    return this.next - this.base >= SLOTS_MAX
  }

  /** Position of the next frame record: give it to {@link push} as `frameStart`. */
  get frameMark(): number {
    return this.#frameNext
  }

  addFrame(kind: number, ref: number, sequence: number, a: number, b: number): void {
    if (this.#frameNext - this.#frameBase > this.#frameMask) this.#growFrames()
    const at = (this.#frameNext++ & this.#frameMask) * STRIDE
    const frames = this.#frames
    frames[at] = kind
    frames[at + 1] = ref
    frames[at + 2] = sequence
    frames[at + 3] = a
    frames[at + 4] = b
  }

  /**
   * Records the packet with order `next`; its frames are those added since `frameMark`.
   * @param ackLargest the greatest number an ACK frame in it acknowledges, −1 for none
   * @param tracked whether it is ack-eliciting and counts as in flight
   */
  push(time: Instant, size: number, path: number, pathSequence: number, frameMark: number, ackLargest: number, tracked: boolean): void {
    if (this.next - this.base > this.#mask) this.#grow()
    const i = this.next++ & this.#mask
    this.#time[i] = time
    this.#size[i] = size
    this.#state[i] = tracked ? PACKET_SENT : PACKET_NONE
    this.#path[i] = path
    this.#pathSequence[i] = pathSequence
    this.#ackLargest[i] = ackLargest
    this.#frameStart[i] = frameMark | 0
    this.#frameCount[i] = this.#frameNext - frameMark
  }

  /**
   * Takes one order for a counter that is not sent. It stands before the packet in the making, whose frames begin at
   * `frameMark`, and owns none of them.
   */
  pushSkippedBefore(frameMark: number): void {
    if (this.next - this.base > this.#mask) this.#grow()
    const i = this.next++ & this.#mask
    this.#state[i] = PACKET_SKIPPED
    this.#size[i] = 0
    this.#ackLargest[i] = -1
    this.#frameStart[i] = frameMark | 0
    this.#frameCount[i] = 0
  }

  state(order: number): number {
    return this.#state[order & this.#mask]!
  }

  inFlight(order: number): boolean {
    const state = this.#state[order & this.#mask]
    return state === PACKET_SENT || state === PACKET_PROBED
  }

  setState(order: number, state: number): void {
    this.#state[order & this.#mask] = state
  }

  time(order: number): Instant {
    return toInstant(this.#time[order & this.#mask]!)
  }

  size(order: number): number {
    return this.#size[order & this.#mask]!
  }

  path(order: number): number {
    return this.#path[order & this.#mask]!
  }

  /** Send order on its own path, modulo 2^32. */
  pathSequence(order: number): number {
    return this.#pathSequence[order & this.#mask]!
  }

  ackLargest(order: number): number {
    return this.#ackLargest[order & this.#mask]!
  }

  frameCount(order: number): number {
    return this.#frameCount[order & this.#mask]!
  }

  /** Offset of frame record k of a packet in {@link frames}: kind, ref, sequence, a, b. */
  frameAt(order: number, k: number): number {
    return ((this.#frameStart[order & this.#mask]! + k) & this.#frameMask) * STRIDE
  }

  get frames(): Int32Array {
    return this.#frames
  }

  /** Moves `firstSent` over everything that is not in flight. */
  advanceFirstSent(): void {
    while (this.firstSent < this.next && !this.inFlight(this.firstSent)) this.firstSent++
  }

  /**
   * Forgets packets from the oldest on that are settled: acked, skipped, never tracked, or lost longer ago than `lostBefore`.
   * A lost one is kept a while, since its ack may still come and spares the retransmission.
   */
  advanceBase(lostBefore: Instant): void {
    const crowded = this.next - this.base > TRACKED_MAX / 2
    while (this.base < this.next) {
      const i = this.base & this.#mask
      const state = this.#state[i]
      if (state === PACKET_SENT || state === PACKET_PROBED) break
      if (state === PACKET_LOST && this.#time[i]! > lostBefore && !crowded) break
      this.#frameBase += this.#frameCount[i]!
      this.base++
    }
    if (this.firstSent < this.base) this.firstSent = this.base
  }

  /** Gives the storage back when nothing is tracked. */
  shrink(): void {
    if (this.base !== this.next || this.#mask < 0) return
    assert(this.#frameBase === this.#frameNext, 'frame records belong to packets')
    this.#mask = -1
    this.#time = NO_DOUBLES
    this.#size = NO_INTS
    this.#state = NO_BYTES
    this.#path = NO_BYTES
    this.#pathSequence = NO_INTS
    this.#ackLargest = NO_DOUBLES
    this.#frameStart = NO_INTS
    this.#frameCount = NO_SHORTS
    this.#frames = NO_INTS
    this.#frameMask = -1
    this.#frameNext = 0
    this.#frameBase = 0
    this.rate.release()
  }

  #grow(): void {
    const capacity = this.#mask < 0 ? FIRST_CAPACITY : 2 * (this.#mask + 1)
    assert(capacity <= SLOTS_MAX, 'tracked packets stay bounded')
    const mask = capacity - 1
    const move = <T extends Float64Array | Int32Array | Uint8Array | Uint16Array>(from: T, to: T): T => {
      for (let order = this.base; order < this.next; order++) to[order & mask] = from[order & this.#mask]!
      return to
    }
    this.#time = move(this.#time, new Float64Array(capacity))
    this.#size = move(this.#size, new Int32Array(capacity))
    this.#state = move(this.#state, new Uint8Array(capacity))
    this.#path = move(this.#path, new Uint8Array(capacity))
    this.#pathSequence = move(this.#pathSequence, new Int32Array(capacity))
    this.#ackLargest = move(this.#ackLargest, new Float64Array(capacity))
    this.#frameStart = move(this.#frameStart, new Int32Array(capacity))
    this.#frameCount = move(this.#frameCount, new Uint16Array(capacity))
    this.rate.grow(capacity, this.base, this.next)
    this.#mask = mask
  }

  #growFrames(): void {
    const capacity = this.#frameMask < 0 ? FIRST_FRAMES : 2 * (this.#frameMask + 1)
    const frames = new Int32Array(capacity * STRIDE)
    for (let k = this.#frameBase; k < this.#frameNext; k++) {
      const from = (k & this.#frameMask) * STRIDE
      frames.set(this.#frames.subarray(from, from + STRIDE), (k & (capacity - 1)) * STRIDE)
    }
    this.#frames = frames
    this.#frameMask = capacity - 1
  }
}
