/** CipherState and SymmetricState of the Noise protocol framework, revision 34, §5.1 and §5.2, with ChaChaPoly and SHA256. */
import { utf8, wipe, writeU64 } from '../base/bytes.ts'
import { noiseHkdf2 } from '../crypto/hkdf.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

export const HASH_SIZE = 32
export const TAG_SIZE = 16
const EMPTY = new Uint8Array(0)

/** Noise §5.1: a key and its nonce. */
export class CipherState {
  readonly #provider: CryptoProvider
  #key: Uint8Array | undefined
  #nonce = 0
  readonly #nonceBytes = new Uint8Array(12)

  constructor(provider: CryptoProvider) {
    this.#provider = provider
  }

  initializeKey(key: Uint8Array): void {
    if (this.#key !== undefined) wipe(this.#key)
    this.#key = key
    this.#nonce = 0
  }

  hasKey(): boolean {
    return this.#key !== undefined
  }

  /** Without a key the plaintext itself. */
  encryptWithAd(associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    if (this.#key === undefined) return plaintext.slice()
    return this.#provider.seal(this.#key, this.#nextNonce(), associated, plaintext)
  }

  /** `undefined` when the tag does not verify; the nonce then stays. */
  decryptWithAd(associated: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    if (this.#key === undefined) return ciphertext.slice()
    const plaintext = this.#provider.open(this.#key, this.#nextNonce(), associated, ciphertext)
    if (plaintext === undefined) this.#nonce--
    return plaintext
  }

  clone(): CipherState {
    const copy = new CipherState(this.#provider)
    copy.#key = this.#key?.slice()
    copy.#nonce = this.#nonce
    return copy
  }

  wipe(): void {
    if (this.#key !== undefined) wipe(this.#key)
    this.#key = undefined
  }

  /** Noise §12.3: 32 zero bits and the counter, little-endian. */
  #nextNonce(): Uint8Array {
    writeU64(this.#nonceBytes, 4, this.#nonce++)
    return this.#nonceBytes
  }
}

/** Noise §5.2: chaining key, handshake hash and the cipher under them. */
export class SymmetricState {
  readonly #provider: CryptoProvider
  readonly #cipher: CipherState
  #chainingKey: Uint8Array
  #hash: Uint8Array

  private constructor(provider: CryptoProvider, cipher: CipherState, chainingKey: Uint8Array, hash: Uint8Array) {
    this.#provider = provider
    this.#cipher = cipher
    this.#chainingKey = chainingKey
    this.#hash = hash
  }

  /** InitializeSymmetric: a name of at most 32 bytes is padded with zeros, a longer one hashed. */
  static initializeSymmetric(provider: CryptoProvider, protocolName: string): SymmetricState {
    const name = utf8(protocolName)
    let hash: Uint8Array = new Uint8Array(HASH_SIZE)
    if (name.length <= HASH_SIZE) hash.set(name)
    else hash = provider.sha256(name)
    return new SymmetricState(provider, new CipherState(provider), hash.slice(), hash)
  }

  mixKey(keyMaterial: Uint8Array): void {
    const [chainingKey, key] = noiseHkdf2(this.#provider, this.#chainingKey, keyMaterial)
    wipe(this.#chainingKey)
    this.#chainingKey = chainingKey
    this.#cipher.initializeKey(key)
  }

  mixHash(data: Uint8Array): void {
    this.#hash = this.#provider.sha256(this.#hash, data)
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.#cipher.encryptWithAd(this.#hash, plaintext)
    this.mixHash(ciphertext)
    return ciphertext
  }

  /** `undefined` when the tag does not verify. */
  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext = this.#cipher.decryptWithAd(this.#hash, ciphertext)
    if (plaintext !== undefined) this.mixHash(ciphertext)
    return plaintext
  }

  hasKey(): boolean {
    return this.#cipher.hasKey()
  }

  /** A copy. */
  getHandshakeHash(): Uint8Array {
    return this.#hash.slice()
  }

  /** The initiator's and the responder's sending key, 32 bytes each. */
  split(): [Uint8Array, Uint8Array] {
    return noiseHkdf2(this.#provider, this.#chainingKey, EMPTY)
  }

  clone(): SymmetricState {
    return new SymmetricState(this.#provider, this.#cipher.clone(), this.#chainingKey.slice(), this.#hash)
  }

  wipe(): void {
    wipe(this.#chainingKey)
    this.#cipher.wipe()
  }
}
