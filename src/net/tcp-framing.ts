import { readU16 } from '../core/base/bytes.ts'

/** WIRE.md §7: what the dialer writes first, and the acceptor after reading it: "PST", 1. */
export const TCP_PREFACE: Readonly<Uint8Array> = Uint8Array.of(0x50, 0x53, 0x54, 0x01)

/** WIRE.md §7: `len u16`. */
export const RECORD_HEADER_SIZE = 2
export const RECORD_LENGTH_MIN = 20
export const RECORD_LENGTH_MAX = 16_349

/** A record that spans several reads is gathered in a buffer that grows with what has arrived, not with what was announced. */
const PARTIAL_MIN = 512
const EMPTY = new Uint8Array(0)

/**
 * `preface`: it is complete. `record`: one is at `source`, `offset`, `length`, valid until the next call. `more`: everything fed was
 * used. `limit`: the rest may not be read yet. The bad ones are final.
 */
export type FramerStep = 'preface' | 'record' | 'more' | 'limit' | 'bad_preface' | 'bad_length'

/**
 * One direction of a Postern TCP stream (WIRE.md §7), as bytes in and records out:
 * ```
 * 50 53 54 01 | len u16 | datagram | len u16 | datagram …        20 ≤ len ≤ 16,349
 * ```
 * Feed what was read, then call {@link next} until it says `more`. It looks at lengths only, and throws at no input.
 */
export class TcpFramer {
  /** The record: a look into what was fed, or into the framer's own buffer. */
  source: Uint8Array = EMPTY
  offset = 0
  length = 0
  #input: Uint8Array = EMPTY
  #at = 0
  /** Bytes that may still be used. */
  #allowed: number
  #phase: 'preface' | 'records' | 'bad' = 'preface'
  /** The part that has arrived of the preface (counted only) or of a record with its header (kept in `#partial`). */
  #have = 0
  #partial: Uint8Array = EMPTY

  /** @param limit bytes of the stream that are used before {@link lift}. */
  constructor(limit: number = Infinity) {
    this.#allowed = limit
  }

  /** Bytes were fed and not used yet. */
  get pending(): boolean {
    return this.#at < this.#input.length
  }

  /** A record has begun to arrive. */
  get begun(): boolean {
    return this.#phase === 'records' && this.#have > 0
  }

  /** Length of the record that has begun; 0 while its header is not complete. */
  get expected(): number {
    return this.begun && this.#have >= RECORD_HEADER_SIZE ? readU16(this.#partial, 0) : 0
  }

  /** Memory of its own, for the parts of a record that were cut by reads. */
  get heldBytes(): number {
    return this.#partial.length
  }

  /** Looks at `bytes` until they are used: nothing must be pending. */
  feed(bytes: Uint8Array): void {
    this.#input = bytes
    this.#at = 0
  }

  /** There is no limit any more. */
  lift(): void {
    this.#allowed = Infinity
  }

  next(): FramerStep {
    switch (this.#phase) {
      case 'preface':
        return this.#readPreface()
      case 'records':
        return this.#have === 0 ? this.#readWhole() : this.#readPart()
      case 'bad':
        return 'bad_length'
    }
  }

  /** Forgets everything, for a stream that has ended. */
  drop(): void {
    this.#input = this.#partial = this.source = EMPTY
    this.#at = this.#have = 0
    this.#phase = 'bad'
  }

  /** End of what may be used of the input. */
  get #end(): number {
    return Math.min(this.#input.length, this.#at + this.#allowed)
  }

  #use(count: number): void {
    this.#at += count
    this.#allowed -= count
  }

  #readPreface(): FramerStep {
    const end = this.#end
    while (this.#have < TCP_PREFACE.length) {
      if (this.#at === end) return this.#starved()
      if (this.#input[this.#at] !== TCP_PREFACE[this.#have]) {
        this.drop()
        return 'bad_preface'
      }
      this.#use(1)
      this.#have++
    }
    this.#have = 0
    this.#phase = 'records'
    return 'preface'
  }

  /** The usual case: the record lies in what was fed, and is shown there. */
  #readWhole(): FramerStep {
    const left = this.#end - this.#at
    if (left < RECORD_HEADER_SIZE) return this.#readPart()
    const length = readU16(this.#input, this.#at)
    if (length < RECORD_LENGTH_MIN || length > RECORD_LENGTH_MAX) return this.#refuse()
    if (left < RECORD_HEADER_SIZE + length) return this.#readPart()
    this.source = this.#input
    this.offset = this.#at + RECORD_HEADER_SIZE
    this.length = length
    this.#use(RECORD_HEADER_SIZE + length)
    return 'record'
  }

  #readPart(): FramerStep {
    this.#gather(RECORD_HEADER_SIZE)
    if (this.#have < RECORD_HEADER_SIZE) return this.#starved()
    const length = readU16(this.#partial, 0)
    if (length < RECORD_LENGTH_MIN || length > RECORD_LENGTH_MAX) return this.#refuse()
    this.#gather(RECORD_HEADER_SIZE + length)
    if (this.#have < RECORD_HEADER_SIZE + length) return this.#starved()
    this.source = this.#partial
    this.offset = RECORD_HEADER_SIZE
    this.length = length
    this.#have = 0
    return 'record'
  }

  /** Copies input until `needed` bytes of the record are there. This copy is the price of a record cut by a read: one a read at most. */
  #gather(needed: number): void {
    const count = Math.min(needed - this.#have, this.#end - this.#at)
    if (count <= 0) return
    const filled = this.#have + count
    if (filled > this.#partial.length) {
      const larger = new Uint8Array(Math.min(RECORD_HEADER_SIZE + RECORD_LENGTH_MAX, Math.max(PARTIAL_MIN, 2 * filled)))
      larger.set(this.#partial.subarray(0, this.#have))
      this.#partial = larger
    }
    this.#partial.set(this.#input.subarray(this.#at, this.#at + count), this.#have)
    this.#have = filled
    this.#use(count)
  }

  #starved(): FramerStep {
    if (this.pending) return 'limit'
    this.#input = EMPTY
    this.#at = 0
    // A stream that rests between records holds no memory; in a busy one the buffer serves the next cut record.
    if (this.#have === 0) this.#partial = this.source = EMPTY
    return 'more'
  }

  #refuse(): FramerStep {
    this.drop()
    return 'bad_length'
  }
}
