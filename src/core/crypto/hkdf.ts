/** HKDF-SHA-256 (RFC 5869) over a provider's HMAC, and the form Noise uses of it. */
import { assert } from '../base/assert.ts'
import { wipe } from '../base/bytes.ts'
import type { CryptoProvider } from './provider.ts'

type Hmac = Pick<CryptoProvider, 'hmac'>

const HASH_SIZE = 32
const EMPTY = new Uint8Array(0)
const ONE = Uint8Array.of(1)
const TWO = Uint8Array.of(2)
const THREE = Uint8Array.of(3)

/** RFC 5869 §2.2: the pseudorandom key, 32 bytes. An empty salt is the same as 32 zero bytes. */
export function hkdfExtract(provider: Hmac, salt: Uint8Array, keyMaterial: Uint8Array): Uint8Array {
  return provider.hmac(salt, keyMaterial)
}

/** RFC 5869 §2.3: `length` bytes, at most 255 · 32. */
export function hkdfExpand(provider: Hmac, pseudorandomKey: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  assert(length >= 0 && length <= 255 * HASH_SIZE, 'HKDF gives at most 255 blocks')
  const output = new Uint8Array(length)
  const counter = new Uint8Array(1)
  let block: Uint8Array = EMPTY
  for (let offset = 0; offset < length; offset += HASH_SIZE) {
    counter[0] = offset / HASH_SIZE + 1
    const next = provider.hmac(pseudorandomKey, block, info, counter)
    wipe(block)
    block = next
    output.set(block.subarray(0, Math.min(HASH_SIZE, length - offset)), offset)
  }
  wipe(block)
  return output
}

/** HKDF(chaining_key, input_key_material, 2) of Noise rev 34 §4.3: two times 32 bytes. */
export function noiseHkdf2(provider: Hmac & Pick<CryptoProvider, 'noiseHkdf2'>, chainingKey: Uint8Array, keyMaterial: Uint8Array): [Uint8Array, Uint8Array] {
  if (provider.noiseHkdf2 !== undefined) return provider.noiseHkdf2(chainingKey, keyMaterial)
  const temporary = provider.hmac(chainingKey, keyMaterial)
  const first = provider.hmac(temporary, ONE)
  const second = provider.hmac(temporary, first, TWO)
  wipe(temporary)
  return [first, second]
}

/** HKDF(chaining_key, input_key_material, 3) of Noise rev 34 §4.3: three times 32 bytes. */
export function noiseHkdf3(provider: Hmac, chainingKey: Uint8Array, keyMaterial: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const temporary = provider.hmac(chainingKey, keyMaterial)
  const first = provider.hmac(temporary, ONE)
  const second = provider.hmac(temporary, first, TWO)
  const third = provider.hmac(temporary, second, THREE)
  wipe(temporary)
  return [first, second, third]
}
