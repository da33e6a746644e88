/**
 * What a peer id needs of Ed25519 (RFC 8032) beyond signing: whether it names exactly one key, and its X25519 form. OpenSSL
 * offers neither, so every provider uses these. Public values only: nothing here needs constant time.
 */
import { ed25519 } from '@noble/curves/ed25519.js'

const { Point } = ed25519

/**
 * `valid(id)` of WIRE.md §2, about 1 ms: run once per id and cache the answer. Refused are (1) y ≥ p, (2) bytes that are no
 * point, among them x = 0 with the sign bit, (3) points of small order and (4) points with a torsion part: A and A + T have the
 * same X25519 results, so they would be two ids of one key, and block lists could be dodged.
 */
export function validateId(id: Uint8Array): boolean {
  if (id.length !== 32) return false
  try {
    // Strict RFC 8032 §5.1.3 decoding (zip215 = false) is items 1 and 2.
    const point = Point.fromBytes(id, false)
    return !point.isSmallOrder() && point.isTorsionFree()
  } catch {
    return false
  }
}

/**
 * The X25519 form u = (1 + y) / (1 − y) mod p of a valid id (RFC 7748 §4.1): 32 bytes, canonical. The sign of x is lost: A and
 * −A have the same u, which is why an id travels in the handshake payload. Throws for ids that {@link validateId} refuses as
 * not being points: validity is the caller's proof.
 */
export function idToX25519(id: Uint8Array): Uint8Array {
  return ed25519.utils.toMontgomery(id)
}

/**
 * Verifies as OpenSSL does (RFC 8032 §5.1.7 without the cofactor): encode(S·B − k·A) must be R, bit for bit, and S below the
 * group order. noble's own `verify` multiplies by the cofactor and so accepts signatures that OpenSSL refuses; two providers
 * must not disagree. `challenge` is SHA-512(R ‖ A ‖ M).
 */
export function verifyWithoutCofactor(publicKey: Uint8Array, signature: Uint8Array, challenge: Uint8Array): boolean {
  if (signature.length !== 64) return false
  const scalar = littleEndian(signature.subarray(32))
  if (scalar >= Point.Fn.ORDER) return false
  try {
    const key = Point.fromBytes(publicKey, false)
    const k = Point.Fn.create(littleEndian(challenge))
    const expected = Point.BASE.multiplyUnsafe(scalar).subtract(key.multiplyUnsafe(k)).toBytes()
    return expected.every((byte, i) => byte === signature[i])
  } catch {
    return false
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!)
  return value
}
