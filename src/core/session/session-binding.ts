import { compareBytes, utf8 } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

const LABEL = utf8('postern session')

export interface SessionSide {
  /** Peer id, 32 bytes. */
  readonly id: Uint8Array
  /** Session id drawn by this side, 8 bytes as on the wire. */
  readonly sid: Uint8Array
}

/**
 * `sb = H("postern session" || id_lo || id_hi || sid_lo || sid_hi)` (WIRE.md §2): 32 bytes, the same on both sides whoever
 * initiated, and different for every session of a pair. Exported to apps as channel binding.
 */
export function sessionBinding(provider: CryptoProvider, one: SessionSide, other: SessionSide): Uint8Array {
  const [low, high] = compareBytes(one.id, other.id) < 0 ? [one, other] : [other, one]
  return provider.sha256(LABEL, low.id, high.id, low.sid, high.sid)
}
