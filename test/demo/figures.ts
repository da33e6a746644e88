/** What one side saw of one direction of a channel whose messages are numbered from 0 by the sender. */
export interface Received {
  readonly distinct: number
  readonly doubled: number
  /** Came after one with a higher number. */
  readonly late: number
}

/** Counts numbered messages. Memory is one bit a message; numbers beyond `NUMBERS_MAX` are a mistake of the sender. */
export class Numbers {
  readonly #seen = new Uint8Array(NUMBERS_MAX / 8)
  #distinct = 0
  #doubled = 0
  #late = 0
  #highest = -1

  note(number: number): void {
    if (!Number.isInteger(number) || number < 0 || number >= NUMBERS_MAX) throw new Error(`a message has the number ${number}`)
    const bit = 1 << (number & 7)
    if ((this.#seen[number >> 3]! & bit) !== 0) {
      this.#doubled++
      return
    }
    this.#seen[number >> 3]! |= bit
    this.#distinct++
    if (number < this.#highest) this.#late++
    else this.#highest = number
  }

  get received(): Received {
    return { distinct: this.#distinct, doubled: this.#doubled, late: this.#late }
  }
}

const NUMBERS_MAX = 1 << 20

export interface Percentiles {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Nearest rank; zeroes when nothing was measured. */
export function percentilesOf(samplesMs: readonly number[]): Percentiles {
  const sorted = [...samplesMs].sort((a, b) => a - b)
  const rank = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
  return { count: sorted.length, p50Ms: rank(0.5), p99Ms: rank(0.99) }
}
