import { readU32 } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

const POOL = 512

/** Randomness of one node. One call into the provider fills a pool: jitter and indexes need few bytes, often. */
export class RandomPool {
  readonly #provider: CryptoProvider
  readonly #pool = new Uint8Array(POOL)
  #at = POOL

  constructor(provider: CryptoProvider) {
    this.#provider = provider
  }

  /** Used once: what was given out is wiped from the pool. */
  word(): number {
    if (this.#at + 4 > POOL) {
      this.#provider.random(this.#pool)
      this.#at = 0
    }
    const word = readU32(this.#pool, this.#at)
    this.#pool.fill(0, this.#at, this.#at + 4)
    this.#at += 4
    return word
  }

  bytes(length: number): Uint8Array {
    return this.#provider.random(new Uint8Array(length))
  }

  /** Session ids are random and never zero, which means "none". */
  sid(): Uint8Array {
    for (;;) {
      const sid = this.bytes(8)
      if (sid.some((byte) => byte !== 0)) return sid
    }
  }
}
