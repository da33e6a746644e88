import { assert } from '../core/base/assert.ts'
import type { AeadBatch, KeySlot } from '../core/crypto/aead-batch.ts'
import type { X25519KeyPair, X25519PrivateKey, X25519PublicKey } from '../core/crypto/provider.ts'
import type { AddonAead, AddonCrypto, AddonX25519, AddonX25519Key } from './addon.ts'
import { NodeCryptoProvider, type NodeCryptoProviderOptions } from './node-crypto-provider.ts'

const KEY_SIZE = 32
const TAG_SIZE = 16
/** `AeadResult` of native/addon/src/aead.h. */
const DONE = 0
const NO_KEY = 2

/**
 * The Node provider with ChaCha20-Poly1305 and X25519 from the addon: the same OpenSSL without an object per datagram (decision 046) and
 * without encodings of keys (decision 076). Transport
 * keys lie in the addon's memory and are overwritten when they are removed, and when the provider is collected.
 */
export class NativeCryptoProvider extends NodeCryptoProvider {
  override readonly name: string = 'native'
  readonly #addon: AddonCrypto
  readonly #aead: AddonAead
  readonly #x25519: AddonX25519

  /** Throws where this OpenSSL does not have the cipher or the curve. */
  constructor(addon: AddonCrypto, options: NodeCryptoProviderOptions = {}) {
    super(options)
    this.#addon = addon
    this.#aead = addon.aeadOpen()
    this.#x25519 = addon.x25519Open()
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

  override sealBatch(bytes: Uint8Array, { count, key, counter, offset, length }: AeadBatch): void {
    check(this.#addon.aeadSealBatch(this.#aead, bytes, count, key, counter, offset, length))
  }

  override openBatch(bytes: Uint8Array, { count, key, counter, offset, length }: AeadBatch): void {
    check(this.#addon.aeadOpenBatch(this.#aead, bytes, count, key, counter, offset, length))
  }
}

function check(result: number): void {
  assert(result !== NO_KEY, 'the key slot is in use')
  assert(result === DONE, 'the rows lie in the slab')
}
