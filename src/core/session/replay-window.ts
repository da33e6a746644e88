/** Counters this far behind the greatest are still told apart (WIRE.md §4); older ones are refused. */
export const REPLAY_WINDOW_SIZE = 8192

const WORD_BITS = 32
/** One word more than the window needs, so that moving on clears whole words and never shifts (RFC 6479 §2). */
const WORD_COUNT = REPLAY_WINDOW_SIZE / WORD_BITS + 1
/** Held until a counter needs more: most sessions that are kept for long are idle and see few datagrams in the life of their keys. */
const FIRST_WORD_COUNT = 16

/**
 * Which datagram counters of one keypair were seen (RFC 6479): a ring of 257 words of 32 bits, about 1 KiB, from the 513th
 * counter on; before that, its first 16 words. Counters are whole
 * doubles in 0 … 2^53 − 1. {@link check} is a cheap filter before the open; only {@link mark}, after the tag verified, writes:
 * otherwise a forged datagram with a great counter would shut out the honest ones.
 */
export class ReplayWindow {
  #words = new Int32Array(FIRST_WORD_COUNT)
  #greatest = -1
  /** floor(greatest / 32), and where the ring holds that word. */
  #headWord = 0
  #headPosition = 0

  /** The greatest counter marked, −1 before the first. */
  get greatest(): number {
    return this.#greatest
  }

  /** Whether `counter` is new and not too old. Changes nothing. */
  check(counter: number): boolean {
    const behind = this.#greatest - counter
    if (behind < 0) return true
    if (behind >= REPLAY_WINDOW_SIZE) return false
    return (this.#words[this.#position(counter)]! & bitOf(counter)) === 0
  }

  /** Notes an authenticated counter; `false` when it is a replay or too old. */
  mark(counter: number): boolean {
    if (counter > this.#greatest) this.#advance(counter)
    else if (!this.check(counter)) return false
    this.#words[this.#position(counter)]! |= bitOf(counter)
    return true
  }

  #advance(counter: number): void {
    const word = Math.floor(counter / WORD_BITS)
    if (word >= this.#words.length && this.#words.length < WORD_COUNT) this.#grow()
    const steps = word - this.#headWord
    if (steps >= WORD_COUNT) {
      this.#words.fill(0)
      this.#headPosition = 0
    } else {
      for (let i = 0; i < steps; i++) {
        this.#headPosition = this.#headPosition + 1 === WORD_COUNT ? 0 : this.#headPosition + 1
        this.#words[this.#headPosition] = 0
      }
    }
    this.#headWord = word
    this.#greatest = counter
  }

  /** Until now every word stood at its own number: the ring has not come round yet. */
  #grow(): void {
    const grown = new Int32Array(WORD_COUNT)
    grown.set(this.#words)
    this.#words = grown
  }

  /** Counted back from the head instead of `word % 257`: a remainder of large doubles is a slow call. */
  #position(counter: number): number {
    const position = this.#headPosition - (this.#headWord - Math.floor(counter / WORD_BITS))
    return position < 0 ? position + WORD_COUNT : position
  }
}

/** `&` takes a double modulo 2^32 first, so the low five bits are right for every counter up to 2^53. */
function bitOf(counter: number): number {
  return 1 << (counter & (WORD_BITS - 1))
}
