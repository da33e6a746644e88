import { Pieces } from '../base/pieces.ts'

/** Of batches whose plaintexts stand in their rows. */
const NONE: Pieces = new Pieces(new Uint8Array(0), 0)

/** A transport key inside a provider: the number of its slot. Raw keys never leave the provider. */
export type KeySlot = number

/**
 * Rows for one call that seals or opens many datagrams in place (DESIGN §3: descriptors instead of objects). Row i is the
 * plaintext or ciphertext of `length[i]` bytes at `offset[i]`, followed by room for, or by, the 16-byte tag. The nonce is
 * `00000000 | counter u64 LE` (WIRE.md §4), the associated data empty. Rows may name different keys.
 */
export class AeadBatch {
  readonly capacity: number
  count = 0
  readonly key: Int32Array
  readonly counter: Float64Array
  readonly offset: Int32Array
  /** Bytes without the tag. `openBatch` sets −1 where the tag did not verify; the bytes are then unspecified. */
  readonly length: Int32Array
  /** Parts of the plaintexts that are still elsewhere in the memory: copied into their rows before, or while, these are sealed. */
  readonly pieces: Pieces
  /** Per row: one past its last piece; its first is the end of the row before. */
  readonly pieceEnd: Int32Array

  constructor(capacity: number, pieces: Pieces = NONE) {
    this.capacity = capacity
    this.pieces = pieces
    this.pieceEnd = new Int32Array(capacity)
    this.key = new Int32Array(capacity)
    this.counter = new Float64Array(capacity)
    this.offset = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
  }

  push(key: KeySlot, counter: number, offset: number, length: number): void {
    const i = this.count++
    this.key[i] = key
    this.counter[i] = counter
    this.offset[i] = offset
    this.length[i] = length
    this.pieceEnd[i] = this.pieces.count
  }

  clear(): void {
    this.count = 0
    this.pieces.count = 0
  }
}
