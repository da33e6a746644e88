/**
 * The plain twin: every operation on @noble/*, nothing of the platform. It serves where there is no OpenSSL, checks the fast
 * providers byte for byte in tests, and is 5–20 × slower per packet (DESIGN §10).
 */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { ed25519, x25519 } from '@noble/curves/ed25519.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'
import { assert } from '../base/assert.ts'
import { isAllZero, wipe, writeU64 } from '../base/bytes.ts'
import type { AeadBatch, KeySlot } from './aead-batch.ts'
import { idToX25519, validateId, verifyWithoutCofactor } from './ed25519.ts'
import type { CryptoProvider, OperationCosts, X25519KeyPair, X25519PrivateKey, X25519PublicKey } from './provider.ts'

export interface NobleProviderOptions {
  /** Fills `target` from a CSPRNG, or from a seeded stream in a simulated world, and returns it. */
  readonly random: (target: Uint8Array) => Uint8Array
  /** Microseconds per operation; {@link NOBLE_COSTS} when absent, because the core cannot measure. */
  readonly costs?: OperationCosts
}

/** Microseconds, as measured with Node 20 on the machine this was written on: the order of magnitude is what matters. */
export const NOBLE_COSTS: OperationCosts = { x25519: 800, x25519Generate: 250, x25519Import: 1, hash: 4, validateId: 700 }

const TAG_SIZE = 16

export class NobleProvider implements CryptoProvider {
  readonly name = 'noble'
  readonly gathers = false
  readonly costs: OperationCosts
  readonly #random: (target: Uint8Array) => Uint8Array
  /** Transport keys by slot, `undefined` when free. Bounded by the keypairs the core holds. */
  readonly #keys: (Uint8Array | undefined)[] = []
  readonly #freeSlots: KeySlot[] = []
  readonly #nonce = new Uint8Array(12)

  constructor(options: NobleProviderOptions) {
    this.#random = options.random
    this.costs = options.costs ?? NOBLE_COSTS
  }

  random(target: Uint8Array): Uint8Array {
    return this.#random(target)
  }

  sha256(...parts: readonly Uint8Array[]): Uint8Array {
    const hash = sha256.create()
    for (const part of parts) hash.update(part)
    return hash.digest()
  }

  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    const mac = hmac.create(sha256, key)
    for (const part of parts) mac.update(part)
    return mac.digest()
  }

  hmacSha1(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    const mac = hmac.create(sha1, key)
    for (const part of parts) mac.update(part)
    return mac.digest()
  }

  sha512(data: Uint8Array): Uint8Array {
    return sha512(data)
  }

  x25519Generate(): X25519KeyPair {
    return this.x25519FromPrivate(this.random(new Uint8Array(32)))
  }

  x25519FromPrivate(secret: Uint8Array): X25519KeyPair {
    const raw = secret.slice()
    return { privateKey: raw as unknown as X25519PrivateKey, publicKey: x25519.getPublicKey(raw) }
  }

  x25519Import(publicKey: Uint8Array): X25519PublicKey {
    return publicKey.slice() as unknown as X25519PublicKey
  }

  x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined {
    try {
      const shared = x25519.getSharedSecret(privateKey as unknown as Uint8Array, publicKey as unknown as Uint8Array)
      return isAllZero(shared) ? undefined : shared
    } catch {
      // noble refuses points of small order itself; the check above does not rely on it.
      return undefined
    }
  }

  ed25519Public(seed: Uint8Array): Uint8Array {
    return ed25519.getPublicKey(seed)
  }

  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
    return ed25519.sign(message, seed)
  }

  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const challenge = sha512.create().update(signature.subarray(0, 32)).update(publicKey).update(message).digest()
    return verifyWithoutCofactor(publicKey, signature, challenge)
  }

  validateId(id: Uint8Array): boolean {
    return validateId(id)
  }

  idToX25519(id: Uint8Array): Uint8Array {
    return idToX25519(id)
  }

  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    return chacha20poly1305(key, nonce, associated).encrypt(plaintext)
  }

  open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < TAG_SIZE) return undefined
    try {
      return chacha20poly1305(key, nonce, associated).decrypt(sealed)
    } catch {
      return undefined
    }
  }

  addKey(key: Uint8Array): KeySlot {
    assert(key.length === 32, 'a transport key has 32 bytes')
    const slot = this.#freeSlots.pop() ?? this.#keys.length
    this.#keys[slot] = key.slice()
    return slot
  }

  removeKey(slot: KeySlot): void {
    wipe(this.#key(slot))
    this.#keys[slot] = undefined
    this.#freeSlots.push(slot)
  }

  sealBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const offset = batch.offset[i]!
      const length = batch.length[i]!
      writeU64(this.#nonce, 4, batch.counter[i]!)
      const sealed = chacha20poly1305(this.#key(batch.key[i]!), this.#nonce).encrypt(bytes.subarray(offset, offset + length))
      bytes.set(sealed, offset)
    }
  }

  openBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const offset = batch.offset[i]!
      const end = offset + batch.length[i]! + TAG_SIZE
      writeU64(this.#nonce, 4, batch.counter[i]!)
      const cipher = chacha20poly1305(this.#key(batch.key[i]!), this.#nonce)
      let plaintext: Uint8Array
      try {
        plaintext = cipher.decrypt(bytes.subarray(offset, end))
      } catch {
        batch.length[i] = -1
        continue
      }
      bytes.set(plaintext, offset)
    }
  }

  #key(slot: KeySlot): Uint8Array {
    const key = this.#keys[slot]
    assert(key !== undefined, 'the key slot is in use')
    return key
  }
}
