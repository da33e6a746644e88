import { concat, equalConstantTime } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { DIGEST_SIZE, NOISE_MESSAGE_MAX } from '../wire/handshake-fragment.ts'

/** The pieces of one Noise message, 1 … 4 slots. A slot filled is not overwritten: whoever comes first is right or spoils only his own digest. */
export class FragmentSlots {
  readonly digest: Uint8Array
  readonly #parts: (Uint8Array | undefined)[]

  constructor(digest: Uint8Array, count: number) {
    this.digest = digest.slice()
    this.#parts = new Array<Uint8Array | undefined>(count).fill(undefined)
  }

  get count(): number {
    return this.#parts.length
  }

  /** Keeps a copy of a piece. Returns the whole message once all pieces are there. */
  add(number: number, body: Uint8Array): Uint8Array | undefined {
    if (number >= this.#parts.length) return undefined
    this.#parts[number] ??= body.slice()
    if (this.#parts.some((part) => part === undefined)) return undefined
    const whole = concat(...(this.#parts as Uint8Array[]))
    return whole.length <= NOISE_MESSAGE_MAX ? whole : undefined
  }
}

/** The 8 bytes that name a Noise message in its fragments. */
export function messageDigest(provider: CryptoProvider, message: Uint8Array): Uint8Array {
  return provider.sha256(message).slice(0, DIGEST_SIZE)
}

export function digestMatches(provider: CryptoProvider, message: Uint8Array, digest: Uint8Array): boolean {
  return equalConstantTime(messageDigest(provider, message), digest)
}
