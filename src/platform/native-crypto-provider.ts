import { assert } from '../core/base/assert.ts'
import type { AeadBatch, KeySlot } from '../core/crypto/aead-batch.ts'
import type { X25519KeyPair, X25519PrivateKey, X25519PublicKey } from '../core/crypto/provider.ts'
import type { AddonAead, AddonCrypto, AddonHash, AddonX25519, AddonX25519Key } from './addon.ts'
import { NodeCryptoProvider, type NodeCryptoProviderOptions } from './node-crypto-provider.ts'

const KEY_SIZE = 32
const TAG_SIZE = 16
const HASH_SIZE = 32
/** Of SHA-256: where the input of an HMAC begins, behind its key. */
const BLOCK_SIZE = 64
/** Longer input is hashed by node:crypto. Above any handshake datagram. */
const HASH_INPUT_MAX = 4096
/** `AeadResult` of native/addon/src/aead.h. */
const DONE = 0
const NO_KEY = 2

/**
 * The Node provider with ChaCha20-Poly1305, X25519 and SHA-256 from the addon: the same OpenSSL without an object per datagram (decision
 * 046), without encodings of keys (decision 076) and without a Buffer or a text per digest (decision 080). Transport keys lie in the addon's memory and are overwritten when they are removed, and when the provider is collected.
 */
export class NativeCryptoProvider extends NodeCryptoProvider {
  override readonly name: string = 'native'
  override readonly gathers: boolean = true
  readonly #addon: AddonCrypto
  readonly #aead: AddonAead
  readonly #x25519: AddonX25519
  readonly #hash: AddonHash
  /** What is hashed, behind its key, and then the digest. Overwritten where it was secret. */
  readonly #scratch = new Uint8Array(BLOCK_SIZE + HASH_INPUT_MAX)

  /** Throws where this OpenSSL does not have the cipher, the curve or the digest. */
  constructor(addon: AddonCrypto, options: NodeCryptoProviderOptions = {}) {
    super(options)
    this.#addon = addon
    this.#aead = addon.aeadOpen()
    this.#x25519 = addon.x25519Open()
    this.#hash = addon.hashOpen(this.#scratch)
  }

  override sha256(...parts: readonly Uint8Array[]): Uint8Array {
    const length = this.#gather(0, parts)
    if (length < 0) return super.sha256(...parts)
    assert(this.#addon.hashSha256(this.#hash, length), 'OpenSSL hashes')
    return this.#take(length)
  }

  override hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    const length = key.length > BLOCK_SIZE ? -1 : this.#gather(BLOCK_SIZE, parts)
    if (length < 0) return super.hmac(key, ...parts)
    this.#scratch.set(key)
    assert(this.#addon.hashHmac(this.#hash, length, key.length), 'OpenSSL hashes')
    return this.#take(BLOCK_SIZE + length)
  }

  noiseHkdf2(chainingKey: Uint8Array, keyMaterial: Uint8Array): [Uint8Array, Uint8Array] {
    assert(chainingKey.length === HASH_SIZE, 'a chaining key has 32 bytes')
    const scratch = this.#scratch
    scratch.set(chainingKey)
    scratch.set(keyMaterial, BLOCK_SIZE)
    assert(this.#addon.hashHkdf2(this.#hash, keyMaterial.length), 'OpenSSL hashes')
    const second = scratch.slice(HASH_SIZE, 2 * HASH_SIZE)
    return [this.#take(BLOCK_SIZE + keyMaterial.length), second]
  }

  /** Puts `parts` into the scratch array from `start`; how long they are, −1 when there is no room. */
  #gather(start: number, parts: readonly Uint8Array[]): number {
    const scratch = this.#scratch
    let end = start
    for (const part of parts) {
      if (end + part.length > scratch.length) return -1
      scratch.set(part, end)
      end += part.length
    }
    return end - start
  }

  /** The digest; what it was made of is overwritten. */
  #take(used: number): Uint8Array {
    const digest = this.#scratch.slice(0, HASH_SIZE)
    this.#scratch.fill(0, 0, Math.max(used, BLOCK_SIZE))
    return digest
  }

  override x25519Generate(): X25519KeyPair {
    const publicKey = new Uint8Array(KEY_SIZE)
    return { privateKey: this.#addon.x25519Generate(this.#x25519, publicKey) as unknown as X25519PrivateKey, publicKey }
  }

  override x25519FromPrivate(secret: Uint8Array): X25519KeyPair {
    const publicKey = new Uint8Array(KEY_SIZE)
    return { privateKey: this.#addon.x25519FromPrivate(this.#x25519, secret, publicKey) as unknown as X25519PrivateKey, publicKey }
  }

  /** The bytes themselves: the addon has one OpenSSL key that is each peer in turn. */
  override x25519Import(publicKey: Uint8Array): X25519PublicKey {
    return publicKey.slice() as unknown as X25519PublicKey
  }

  override x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined {
    const shared = new Uint8Array(KEY_SIZE)
    return this.#addon.x25519Derive(this.#x25519, privateKey as unknown as AddonX25519Key, publicKey as unknown as Uint8Array, shared) ? shared : undefined
  }

  override seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    const sealed = new Uint8Array(plaintext.length + TAG_SIZE)
    assert(this.#addon.aeadSealOne(this.#aead, key, nonce, associated, plaintext, sealed), 'OpenSSL seals')
    return sealed
  }

  override open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < TAG_SIZE) return undefined
    const plaintext = new Uint8Array(sealed.length - TAG_SIZE)
    return this.#addon.aeadOpenOne(this.#aead, key, nonce, associated, sealed, plaintext) ? plaintext : undefined
  }

  override addKey(key: Uint8Array): KeySlot {
    assert(key.length === KEY_SIZE, 'a transport key has 32 bytes')
    const slot = this.#addon.aeadAddKey(this.#aead, key)
    assert(slot >= 0, 'there is memory for a transport key')
    return slot
  }

  override removeKey(slot: KeySlot): void {
    assert(this.#addon.aeadRemoveKey(this.#aead, slot), 'the key slot is in use')
  }

  override sealBatch(bytes: Uint8Array, { count, key, counter, offset, length, pieces, pieceEnd }: AeadBatch): void {
    check(this.#addon.aeadSealBatch(this.#aead, bytes, count, key, counter, offset, length, pieceEnd, pieces.to, pieces.from, pieces.length))
  }

  override openBatch(bytes: Uint8Array, { count, key, counter, offset, length }: AeadBatch): void {
    check(this.#addon.aeadOpenBatch(this.#aead, bytes, count, key, counter, offset, length))
  }
}

function check(result: number): void {
  assert(result !== NO_KEY, 'the key slot is in use')
  assert(result === DONE, 'the rows lie in the slab')
}
