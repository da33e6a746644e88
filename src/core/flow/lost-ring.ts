const STRIDE = 4
const FIRST_CAPACITY = 8
const EMPTY = new Int32Array(0)
const WHOLE_RUN = -1

/**
 * What a channel has to send again, oldest first: runs of whole messages (sequence, count) and fragments (sequence, offset,
 * length). Sequences are kept modulo 2^32. Bounded by the frame records of packets that were in flight; storage doubles on
 * demand and is given back by {@link clear}.
 */
export class LostRing {
  #ring: Int32Array = EMPTY
  #head = 0
  #tail = 0

  get empty(): boolean {
    return this.#head === this.#tail
  }

  pushRun(sequence: number, count: number): void {
    this.#push(sequence, count, WHOLE_RUN)
  }

  pushFragment(sequence: number, offset: number, length: number): void {
    this.#push(sequence, offset, length)
  }

  // ── the oldest entry; only when not empty ───────────────────────────────────────────────────────────────────────────────

  get isRun(): boolean {
    return this.#ring[this.#at() + 2] === WHOLE_RUN
  }

  get sequence(): number {
    return this.#ring[this.#at()]!
  }

  /** Messages of a run, or offset of a fragment. */
  get countOrOffset(): number {
    return this.#ring[this.#at() + 1]!
  }

  /** Of a fragment. */
  get length(): number {
    return this.#ring[this.#at() + 2]!
  }

  replaceRun(sequence: number, count: number): void {
    this.#write(this.#at(), sequence, count, WHOLE_RUN)
  }

  replaceFragment(sequence: number, offset: number, length: number): void {
    this.#write(this.#at(), sequence, offset, length)
  }

  shift(): void {
    this.#head++
  }

  // ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  get size(): number {
    return this.#tail - this.#head
  }

  /** Sequence of entry k, the oldest being 0; `countAt` messages from there on are meant, one of a fragment. */
  sequenceAt(k: number): number {
    return this.#ring[this.#at(k)]!
  }

  countAt(k: number): number {
    const at = this.#at(k)
    return this.#ring[at + 2] === WHOLE_RUN ? this.#ring[at + 1]! : 1
  }

  clear(): void {
    this.#ring = EMPTY
    this.#head = 0
    this.#tail = 0
  }

  #at(k = 0): number {
    return ((this.#head + k) & (this.#ring.length / STRIDE - 1)) * STRIDE
  }

  #write(at: number, sequence: number, a: number, b: number): void {
    this.#ring[at] = sequence
    this.#ring[at + 1] = a
    this.#ring[at + 2] = b
  }

  #push(sequence: number, a: number, b: number): void {
    const capacity = this.#ring.length / STRIDE
    if (this.#tail - this.#head === capacity) this.#grow(capacity)
    this.#write((this.#tail++ & (this.#ring.length / STRIDE - 1)) * STRIDE, sequence, a, b)
  }

  #grow(capacity: number): void {
    const grown = new Int32Array(Math.max(FIRST_CAPACITY, 2 * capacity) * STRIDE)
    const mask = grown.length / STRIDE - 1
    for (let n = this.#head; n < this.#tail; n++) {
      const from = (n & (capacity - 1)) * STRIDE
      grown.set(this.#ring.subarray(from, from + STRIDE), (n & mask) * STRIDE)
    }
    this.#ring = grown
  }
}
