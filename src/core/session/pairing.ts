/**
 * Pairing by a short code (decision 112): two people compare eight digits. XX alone would not do for that: of two handshakes with a man in the middle he could
 * try keys until both give the same digits, since there are only a hundred million of them. So both sides draw a nonce, the responder commits to its own before
 * it has seen the initiator's, and shows it after: whoever stands between must fix both nonces before he knows the digits, and is found out in all
 * but one of a hundred million tries. As in Bluetooth's numeric comparison and in ZRTP.
 *
 *   R → I  commit = H("postern pair commit" | h | Nr)      I → R  Ni      R → I  Nr      digits = H("postern pair code" | h | Ni | Nr) mod 10^8
 *
 * `h` is the hash of the XX handshake: it binds both ids, which are in its payloads.
 */
import { equalConstantTime, utf8 } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

export const PAIR_NONCE_SIZE = 16
export const PAIR_COMMIT_SIZE = 32
const COMMIT_LABEL = utf8('postern pair commit')
const CODE_LABEL = utf8('postern pair code')
const CODES = 100_000_000

export function pairCommit(provider: CryptoProvider, h: Uint8Array, nonce: Uint8Array): Uint8Array {
  return provider.sha256(COMMIT_LABEL, h, nonce)
}

export function verifyPairCommit(provider: CryptoProvider, h: Uint8Array, nonce: Uint8Array, commit: Uint8Array): boolean {
  return equalConstantTime(pairCommit(provider, h, nonce), commit)
}

/** Eight digits, as both people see them. */
export function pairCode(provider: CryptoProvider, h: Uint8Array, initiatorNonce: Uint8Array, responderNonce: Uint8Array): string {
  const hash = provider.sha256(CODE_LABEL, h, initiatorNonce, responderNonce)
  // 48 bits of it: what the modulus favours is below 1 in 10^6.
  let number = 0
  for (let i = 0; i < 6; i++) number = number * 256 + hash[i]!
  return String(number % CODES).padStart(8, '0')
}
