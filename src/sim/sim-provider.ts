import { equalBytes, readU32, writeU32 } from '../core/base/bytes.ts'
import type { AeadBatch, KeySlot } from '../core/crypto/aead-batch.ts'
import type { CryptoProvider, OperationCosts, X25519KeyPair, X25519PrivateKey, X25519PublicKey } from '../core/crypto/provider.ts'
import type { SeededRandom } from './random.ts'

const TAG_SIZE = 16
/** Fills the tag behind its checksum. */
const PAD = 0x5a

/** Costs of the node:crypto provider on a small machine, fixed so that worlds replay. */
const COSTS: OperationCosts = { x25519: 35, x25519Generate: 40, x25519Import: 40, hash: 2, validateId: 900 }

/** A hash of any number of parts to `length` bytes: fast, seeded by nothing, and of no cryptographic worth whatever. */
function mix(length: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let a = 0x9e37_79b9
  let b = 0x85eb_ca6b
  let c = 0xc2b2_ae35
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) {
      a = Math.imul(a ^ part[i]!, 0x0100_0193)
      b = Math.imul(b + (a >>> 7), 0x5bd1_e995) ^ (b >>> 13)
      c = (c + Math.imul(b ^ a, 0x27d4_eb2f)) | 0
    }
    // Where one part ends and the next begins counts, as it does for HMAC of a concatenation in the places that matter.
    c ^= part.length
  }
  const out = new Uint8Array(length)
  for (let i = 0; i < length; i += 4) {
    a = Math.imul(a ^ (c >>> 15), 0x2c1b_3c6d) + i
    b = Math.imul(b ^ (a >>> 12), 0x297a_2d39)
    c ^= b + (a << 5)
    const word = (a ^ b ^ c) >>> 0
    for (let k = 0; k < 4 && i + k < length; k++) out[i + k] = word >>> (8 * k)
  }
  return out
}

/**
 * Cryptography for simulated worlds: the shapes, sizes and failures of the real one at a fraction of its cost, with every
 * random byte from the world's seed. Keys are checksummed rather than secret, ciphertext is plaintext. Never for anything else.
 */
export class SimProvider implements CryptoProvider {
  readonly name = 'simulated'
  readonly gathers = false
  readonly costs: OperationCosts = COSTS
  readonly #random: SeededRandom
  readonly #keys: (Uint8Array | undefined)[] = []
  readonly #free: KeySlot[] = []

  constructor(random: SeededRandom) {
    this.#random = random
  }

  random(target: Uint8Array): Uint8Array {
    return this.#random.fill(target)
  }

  sha256(...parts: readonly Uint8Array[]): Uint8Array {
    return mix(32, ...parts)
  }

  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    return mix(32, key, ...parts)
  }

  hmacSha1(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    return mix(20, key, ...parts)
  }

  sha512(data: Uint8Array): Uint8Array {
    return mix(64, data)
  }

  x25519Generate(): X25519KeyPair {
    return this.x25519FromPrivate(this.#random.fill(new Uint8Array(32)))
  }

  x25519FromPrivate(secret: Uint8Array): X25519KeyPair {
    const publicKey = mix(32, Uint8Array.of(1), secret)
    return { privateKey: publicKey as unknown as X25519PrivateKey, publicKey }
  }

  x25519Import(publicKey: Uint8Array): X25519PublicKey {
    return publicKey.slice() as unknown as X25519PublicKey
  }

  /** Commutes as a Diffie-Hellman does: a hash of both public keys in order. */
  x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined {
    const own = privateKey as unknown as Uint8Array
    const other = publicKey as unknown as Uint8Array
    const ownFirst = own.some((byte, i) => byte !== other[i]) && (own.find((byte, i) => byte !== other[i])! < other.find((byte, i) => byte !== own[i])!)
    return ownFirst ? mix(32, own, other) : mix(32, other, own)
  }

  /** The id is the X25519 form itself, so the map is the identity. */
  ed25519Public(seed: Uint8Array): Uint8Array {
    return mix(32, Uint8Array.of(1), this.sha512(seed).subarray(0, 32))
  }

  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
    return mix(64, this.ed25519Public(seed), message)
  }

  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    return equalBytes(mix(64, publicKey, message), signature)
  }

  validateId(id: Uint8Array): boolean {
    return id.length === 32
  }

  idToX25519(id: Uint8Array): Uint8Array {
    return id.slice()
  }

  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    const sealed = new Uint8Array(plaintext.length + TAG_SIZE)
    sealed.set(plaintext)
    sealed.set(mix(TAG_SIZE, key, nonce, associated, plaintext), plaintext.length)
    return sealed
  }

  open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < TAG_SIZE) return undefined
    const plaintext = sealed.slice(0, sealed.length - TAG_SIZE)
    const tag = mix(TAG_SIZE, key, nonce, associated, plaintext)
    return equalBytes(tag, sealed.subarray(sealed.length - TAG_SIZE)) ? plaintext : undefined
  }

  addKey(key: Uint8Array): KeySlot {
    const slot = this.#free.pop() ?? this.#keys.length
    this.#keys[slot] = key.slice()
    return slot
  }

  removeKey(slot: KeySlot): void {
    this.#keys[slot] = undefined
    this.#free.push(slot)
  }

  sealBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const key = this.#keys[batch.key[i]!]!
      const counter = batch.counter[i]!
      const end = batch.offset[i]! + batch.length[i]!
      writeU32(bytes, end, this.#checksum(key, counter, bytes, batch.offset[i]!, end))
      bytes.fill(PAD, end + 4, end + TAG_SIZE)
    }
  }

  openBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const key = this.#keys[batch.key[i]!]
      const end = batch.offset[i]! + batch.length[i]!
      if (key === undefined || !isPadded(bytes, end + 4) || readU32(bytes, end) !== this.#checksum(key, batch.counter[i]!, bytes, batch.offset[i]!, end)) batch.length[i] = -1
    }
  }

  /** Every byte counts, so that a flipped bit is found as the real tag would find it. */
  #checksum(key: Uint8Array, counter: number, bytes: Uint8Array, from: number, to: number): number {
    let sum = readU32(key, 0) ^ (counter >>> 0) ^ Math.imul(Math.floor(counter / 0x1_0000_0000), 0x9e37_79b1)
    for (let i = from; i < to; i++) sum = Math.imul(sum ^ bytes[i]!, 0x0100_0193)
    return (sum ^ readU32(key, 4)) >>> 0
  }
}

/** The rest of a tag: a flipped bit of it must be found too. */
function isPadded(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < from + TAG_SIZE - 4; i++) if (bytes[i] !== PAD) return false
  return true
}
