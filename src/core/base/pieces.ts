/** Shorter ones are copied at once: a row of the table costs as much as they do. */
const SHORT = 16

/**
 * Copies within one memory that are put off, so that one call can do them all: the body of a message is copied into its datagram when
 * that is sealed, by whoever seals it (decision 067). Until then the source must stay as it is. In order of `to`, without overlap.
 * BOUNDED: without room in the table a copy is made at once.
 */
export class Pieces {
  readonly bytes: Uint8Array
  count = 0
  readonly to: Int32Array
  readonly from: Int32Array
  readonly length: Int32Array
  readonly #capacity: number

  constructor(bytes: Uint8Array, capacity: number) {
    this.bytes = bytes
    this.#capacity = capacity
    this.to = new Int32Array(capacity)
    this.from = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
  }

  put(to: number, from: number, length: number): void {
    if (length < SHORT || this.count === this.#capacity) {
      if (length > 0) this.bytes.copyWithin(to, from, from + length)
      return
    }
    const i = this.count++
    this.to[i] = to
    this.from[i] = from
    this.length[i] = length
  }

  /** Does what was put off. */
  copy(): void {
    for (let i = 0; i < this.count; i++) {
      const from = this.from[i]!
      this.bytes.copyWithin(this.to[i]!, from, from + this.length[i]!)
    }
    this.count = 0
  }
}
