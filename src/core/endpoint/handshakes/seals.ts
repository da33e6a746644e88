import { Pieces } from '../../base/pieces.ts'
import { AeadBatch } from '../../crypto/aead-batch.ts'
import type { CryptoProvider } from '../../crypto/provider.ts'

/** Datagrams sealed by one call into the provider. */
const SEALS_MAX = 256
/** Datagrams of one burst at most. */
const BURST_MAX = 64
/** Bodies of messages that are copied while their datagrams are sealed: a full batch of the base size, of messages of 64 bytes. */
const PIECES_MAX = 4096

/** Datagrams that are written and wait to be sealed, all by one call. */
export class Seals {
  readonly batch: AeadBatch
  readonly #bytes: Uint8Array
  readonly #provider: CryptoProvider

  constructor(bytes: Uint8Array, provider: CryptoProvider) {
    this.batch = new AeadBatch(SEALS_MAX, new Pieces(bytes, PIECES_MAX))
    this.#bytes = bytes
    this.#provider = provider
  }

  /** Makes sure that another burst finds room. */
  makeRoom(): void {
    if (this.batch.count > SEALS_MAX - BURST_MAX) this.run()
  }

  run(): void {
    const { batch } = this
    if (batch.count === 0) return
    if (!this.#provider.gathers) batch.pieces.copy()
    this.#provider.sealBatch(this.#bytes, batch)
    batch.clear()
  }
}
