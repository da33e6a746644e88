import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, pbkdf2, type CipherGCMTypes, type KeyObject } from 'node:crypto'
import { assert } from '../core/base/assert.ts'

/**
 * The few primitives all sealed files are made of, thin over node:crypto. Keys are KeyObjects: on Node 24 a raw key costs
 * 16–31 µs a call, a KeyObject 3–10 µs. Lengths are the caller's proof.
 */

export const NONCE_SIZE = 12
export const TAG_SIZE = 16

/** One AES-GCM message in pieces: ciphertext per piece, then the tag. */
export interface Sealer {
  update(plaintext: Uint8Array): Uint8Array
  final(): Uint8Array
}

/** AES-GCM (NIST SP 800-38D) with a 16-byte tag. `key` has 16, 24 or 32 bytes; files use 32. The pair (key, nonce) is used once. */
export function createSealer(key: KeyObject, nonce: Uint8Array, associated: Uint8Array): Sealer {
  const cipher = createCipheriv(algorithmOf(key), key, nonce, { authTagLength: TAG_SIZE })
  cipher.setAAD(associated)
  return {
    update: (plaintext) => plain(cipher.update(plaintext)),
    final: () => {
      // GCM is a stream: nothing is left to come out here.
      const rest = cipher.final()
      assert(rest.length === 0, 'GCM kept ciphertext back')
      return plain(cipher.getAuthTag())
    },
  }
}

/** The plaintext of one AES-GCM message, `undefined` when the tag does not verify: then no plaintext leaves this function. */
export function openSealed(key: KeyObject, nonce: Uint8Array, associated: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array | undefined {
  const decipher = createDecipheriv(algorithmOf(key), key, nonce, { authTagLength: TAG_SIZE })
  decipher.setAAD(associated)
  decipher.setAuthTag(tag)
  const plaintext = plain(decipher.update(ciphertext))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return undefined
  }
  return plaintext
}

function algorithmOf(key: KeyObject): CipherGCMTypes {
  const size = key.symmetricKeySize
  if (size === 32) return 'aes-256-gcm'
  if (size === 24) return 'aes-192-gcm'
  assert(size === 16, 'an AES key has 16, 24 or 32 bytes')
  return 'aes-128-gcm'
}

/** HKDF-SHA-256 (RFC 5869). Throws when `size` is above 8160. */
export function hkdf(secret: KeyObject, salt: Uint8Array, info: Uint8Array, size: number): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, info, size))
}

/** PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2) in a thread of the pool. Bounds on `iterations` are the caller's. */
export function pbkdf2Sha256(password: Uint8Array, salt: Uint8Array, iterations: number, size: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, size, 'sha256', (error, derived) => {
      if (error === null) resolve(plain(derived))
      else reject(error)
    })
  })
}

export function hmacSha256(key: KeyObject, data: Uint8Array): Uint8Array {
  return plain(createHmac('sha256', key).update(data).digest())
}

export function sha256(data: Uint8Array): Uint8Array {
  return plain(createHash('sha256').update(data).digest())
}

/** The same bytes as a Uint8Array: `slice` of a Buffer is a view, so a caller that copies and then wipes would wipe the copy. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
}
