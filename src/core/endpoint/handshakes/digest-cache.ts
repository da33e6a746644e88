import { toHex } from '../../base/bytes.ts'
import { fragmentBodySize, fragmentOverhead, MESSAGE_A, type HandshakeFragment } from '../../wire/handshake-fragment.ts'
import type { HalfOpen } from './half-open.ts'

const DIGESTS_MAX = 4096

/** A message A that was read whole: what a copy of one of its fragments must look like. */
export interface SeenInitiation {
  readonly suite: number
  readonly senderIndex: number
  readonly count: number
  /** Bytes of the Noise message. */
  readonly size: number
  /** While it waits for its confirmation. */
  half: HalfOpen | undefined
}

/**
 * Messages A that were answered, refused or stashed (WIRE.md §3.5, step 5): a replay costs a look-up, no DH. Others never
 * enter, or strangers could push these out. BOUNDED: the oldest goes.
 */
export class DigestCache {
  readonly #seen = new Map<string, SeenInitiation>()

  get size(): number {
    return this.#seen.size
  }

  find(digest: Uint8Array): SeenInitiation | undefined {
    return this.#seen.get(toHex(digest))
  }

  remember(digest: Uint8Array, seen: SeenInitiation): void {
    const key = toHex(digest)
    this.#seen.delete(key)
    this.#seen.set(key, seen)
    if (this.#seen.size <= DIGESTS_MAX) return
    const oldest = this.#seen.keys().next()
    if (oldest.done === false) this.#seen.delete(oldest.value)
  }

  /** The half-open entry of this digest is gone: copies are dropped from now on. */
  settle(digest: Uint8Array): void {
    const seen = this.find(digest)
    if (seen !== undefined) seen.half = undefined
  }
}

/** Whether a fragment whose datagram has `length` bytes is a copy of a fragment of `seen`. */
export function isCopyOf(seen: SeenInitiation, fragment: HandshakeFragment, length: number): boolean {
  return seen.suite === fragment.suite && seen.senderIndex === fragment.senderIndex && seen.count === fragment.count
    && length === fragmentBodySize(seen.size, fragment.number, seen.count) + fragmentOverhead(MESSAGE_A)
}
