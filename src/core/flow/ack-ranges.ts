import { varintSize, writeVarint } from '../base/varint.ts'

/** Ranges kept of what was received under one keypair (WIRE.md §6); beyond it the oldest is forgotten. */
export const ACK_RANGES_KEPT = 256
/** Ranges one ACK frame says. */
export const ACK_RANGES_SENT = 64

/**
 * Packet numbers received under one keypair, as inclusive ranges, oldest first: what the next ACK frame says. BOUNDED: at
 * {@link ACK_RANGES_KEPT} ranges the oldest goes, its packets count as not received (the sender sends their frames again).
 */
export class AckRanges {
  #bounds = new Float64Array(4)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** The greatest number received; −1 when there is none. */
  get largest(): number {
    return this.#count === 0 ? -1 : this.#bounds[2 * this.#count - 1]!
  }

  /** Adds a number that the replay window says is new. Returns whether it came in order: directly behind the greatest. */
  insert(number: number): boolean {
    const bounds = this.#bounds
    const n = this.#count
    if (n > 0 && number === bounds[2 * n - 1]! + 1) {
      bounds[2 * n - 1] = number
      return true
    }
    if (n === 0) {
      bounds[0] = number
      bounds[1] = number
      this.#count = 1
      return number === 0
    }
    this.#insertSlow(number)
    return false
  }

  /** Forgets everything up to and including `number`: the peer knows that we have it. */
  retire(number: number): void {
    const bounds = this.#bounds
    let gone = 0
    while (gone < this.#count && bounds[2 * gone + 1]! <= number) gone++
    // The newest range stays, so that `largest` never goes back.
    if (gone === this.#count) gone--
    if (gone > 0) {
      bounds.copyWithin(0, 2 * gone, 2 * this.#count)
      this.#count -= gone
    }
    if (this.#count > 0 && bounds[0]! <= number && number < bounds[1]!) bounds[0] = number + 1
  }

  /**
   * Writes `largest · delay · n · first · n × (gap, len)` ([Q] §19.3), newest ranges first, as many as fit before `end`.
   * Returns the offset behind it, or `at` when not even the first range fits.
   */
  write(bytes: Uint8Array, at: number, end: number, delay: number): number {
    const bounds = this.#bounds
    let i = this.#count - 1
    const largest = bounds[2 * i + 1]!
    const first = largest - bounds[2 * i]!
    const head = varintSize(largest) + varintSize(delay) + 1 + varintSize(first)
    if (at + head > end) return at
    let p = writeVarint(bytes, at, largest)
    p = writeVarint(bytes, p, delay)
    const countAt = p++
    p = writeVarint(bytes, p, first)
    let written = 0
    let smallest = bounds[2 * i]!
    for (i--; i >= 0 && written < ACK_RANGES_SENT - 1; i--) {
      const gap = smallest - bounds[2 * i + 1]! - 2
      const length = bounds[2 * i + 1]! - bounds[2 * i]!
      if (p + varintSize(gap) + varintSize(length) > end) break
      p = writeVarint(bytes, p, gap)
      p = writeVarint(bytes, p, length)
      smallest = bounds[2 * i]!
      written++
    }
    // At most 63, so the count is always one byte.
    bytes[countAt] = written
    return p
  }

  #insertSlow(number: number): void {
    const bounds = this.#bounds
    let i = this.#count - 1
    while (i >= 0 && bounds[2 * i]! > number) i--
    // Range i begins at or before `number`, range i + 1 after it.
    if (i >= 0 && number <= bounds[2 * i + 1]!) return
    const joinsLeft = i >= 0 && bounds[2 * i + 1]! === number - 1
    const joinsRight = i + 1 < this.#count && bounds[2 * i + 2]! === number + 1
    if (joinsLeft && joinsRight) {
      bounds[2 * i + 1] = bounds[2 * i + 3]!
      bounds.copyWithin(2 * i + 2, 2 * i + 4, 2 * this.#count)
      this.#count--
    } else if (joinsLeft) {
      bounds[2 * i + 1] = number
    } else if (joinsRight) {
      bounds[2 * i + 2] = number
    } else {
      this.#insertRange(i + 1, number)
    }
  }

  #insertRange(position: number, number: number): void {
    if (this.#count === ACK_RANGES_KEPT) {
      if (position === 0) return
      this.#bounds.copyWithin(0, 2, 2 * this.#count)
      this.#count--
      position--
    }
    if (2 * this.#count === this.#bounds.length) {
      const grown = new Float64Array(Math.min(2 * this.#bounds.length, 2 * ACK_RANGES_KEPT))
      grown.set(this.#bounds)
      this.#bounds = grown
    }
    this.#bounds.copyWithin(2 * position + 2, 2 * position, 2 * this.#count)
    this.#bounds[2 * position] = number
    this.#bounds[2 * position + 1] = number
    this.#count++
  }
}
