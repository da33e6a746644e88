import { after, never, second, type Duration, type Instant } from '../base/time.ts'
import type { BleValue } from './values.ts'
import { SEQUENCES } from './values.ts'

type DataValue = Extract<BleValue, { kind: 'data' }>

/** WIRE.md §7: a datagram that has begun is complete after this. */
export const REASSEMBLY_TIMEOUT: Duration = 10 * second

/**
 * more: the datagram goes on · gap: segments are missing before this one, which begins or continues nothing · restarted: another one began, what was
 * there is lost · malformed: more bytes than announced, or fewer at its end
 */
export type SegmentFate = 'datagram' | 'more' | 'gap' | 'malformed'

/** Puts datagrams together again: one at a time, as the sender sends them one by one. It holds one buffer of the largest datagram and no more. */
export class Reassembly {
  readonly #sizeMax: number
  #buffer: Uint8Array | undefined
  /** Bytes of the datagram that is being put together; 0: none, and segments are passed over until one is a first. */
  #total = 0
  #filled = 0
  #expected = 0
  #deadline: Instant = never
  /** Segments taken since HELLO, with those that a gap swallowed. */
  taken = 0
  /** Datagrams of which a part was lost. */
  dropped = 0

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  get deadline(): Instant {
    return this.#deadline
  }

  /** The sequence whose turn it is. */
  get expected(): number {
    return this.#expected
  }

  /** Segments that this one would add to `taken`: 1 and those missing before it. */
  distance(sequence: number): number {
    return 1 + (sequence - this.#expected + SEQUENCES) % SEQUENCES
  }

  /** The whole datagram, as a copy, when this segment completes it. */
  take(now: Instant, segment: DataValue): Uint8Array | Exclude<SegmentFate, 'datagram'> {
    const distance = this.distance(segment.sequence)
    this.taken += distance
    this.#expected = (segment.sequence + 1) % SEQUENCES
    if (distance > 1) this.#drop()
    if (segment.first) {
      this.#drop()
      if (segment.total > this.#sizeMax) return 'malformed'
      if (segment.last) return new Uint8Array(segment.bytes)
      this.#buffer ??= new Uint8Array(this.#sizeMax)
      this.#total = segment.total
      this.#filled = 0
      this.#deadline = after(now, REASSEMBLY_TIMEOUT)
    } else if (this.#total === 0) {
      return 'gap'
    }
    const end = this.#filled + segment.bytes.length
    if (segment.last ? end !== this.#total : end >= this.#total) return this.#refuse()
    this.#buffer!.set(segment.bytes, this.#filled)
    this.#filled = end
    if (!segment.last) return 'more'
    const datagram = this.#buffer!.slice(0, end)
    this.#clear()
    return datagram
  }

  /** Gives up what is not complete in time. */
  handleTimeout(now: Instant): void {
    if (this.#deadline <= now) this.#drop()
  }

  #refuse(): 'malformed' {
    this.#drop()
    return 'malformed'
  }

  #drop(): void {
    if (this.#total > 0) this.dropped++
    this.#clear()
  }

  #clear(): void {
    this.#total = 0
    this.#filled = 0
    this.#deadline = never
  }
}
