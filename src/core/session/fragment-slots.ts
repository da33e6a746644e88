import { concat, equalBytes, equalConstantTime } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { DIGEST_SIZE, fragmentBodySize, NOISE_MESSAGE_MAX, type HandshakeFragment } from '../wire/handshake-fragment.ts'

/** The whole message, or why there is none: a slot was filled before, or the pieces do not make a message as WIRE.md §3.4 cuts it. */
export type SlotResult = Uint8Array | 'incomplete' | 'duplicate' | 'malformed'

/** The pieces of one Noise message, 1 … 4 slots. A slot filled is not overwritten: whoever comes first is right or spoils only his own digest. */
export class FragmentSlots {
  readonly digest: Uint8Array
  readonly #parts: (Uint8Array | undefined)[]
  #size = 0

  constructor(digest: Uint8Array, count: number) {
    this.digest = digest.slice()
    this.#parts = new Array<Uint8Array | undefined>(count).fill(undefined)
  }

  get count(): number {
    return this.#parts.length
  }

  /** Keeps a copy of a piece. After `'malformed'` the entry is of no use. */
  add(number: number, body: Uint8Array): SlotResult {
    const parts = this.#parts
    if (number >= parts.length) return 'malformed'
    if (parts[number] !== undefined) return 'duplicate'
    this.#size += body.length
    if (this.#size > NOISE_MESSAGE_MAX) return 'malformed'
    parts[number] = body.slice()
    if (parts.some((part) => part === undefined)) return 'incomplete'
    return this.#isCutEvenly() ? concat(...(parts as Uint8Array[])) : 'malformed'
  }

  /** Pieces of other lengths could be shorter than the pieces of B that answer them, and so amplify. */
  #isCutEvenly(): boolean {
    return this.#parts.every((part, number) => part!.length === fragmentBodySize(this.#size, number, this.#parts.length))
  }
}

/** The 8 bytes that name a Noise message in its fragments. */
export function messageDigest(provider: CryptoProvider, message: Uint8Array): Uint8Array {
  return provider.sha256(message).slice(0, DIGEST_SIZE)
}

export function digestMatches(provider: CryptoProvider, message: Uint8Array, digest: Uint8Array): boolean {
  return equalConstantTime(messageDigest(provider, message), digest)
}

/** Digests of an answer that may be in pieces at once. */
const ANSWERS_MAX = 4

/** Answers to one handshake in the making: any observer can make a fragment, so more than one digest may be under way. BOUNDED: the oldest goes. */
export class AnswerSlots {
  readonly #answers: FragmentSlots[] = []

  /** The whole message once its last piece came. */
  add({ digest, count, number, body }: HandshakeFragment): SlotResult {
    let slots = this.#answers.find((candidate) => equalBytes(candidate.digest, digest) && candidate.count === count)
    if (slots === undefined) {
      slots = new FragmentSlots(digest, count)
      if (this.#answers.length === ANSWERS_MAX) this.#answers.shift()
      this.#answers.push(slots)
    }
    const result = slots.add(number, body)
    if (result !== 'incomplete' && result !== 'duplicate') this.#answers.splice(this.#answers.indexOf(slots), 1)
    return result
  }
}
