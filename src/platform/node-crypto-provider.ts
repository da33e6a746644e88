/**
 * The provider of the shipped daemon, on node:crypto (OpenSSL). Every choice of call here was measured (Node 20.20 and 24.21,
 * one core): the comments name what the obvious call would have cost.
 */
import {
  createCipheriv, createDecipheriv, createHash, createHmac, createPrivateKey, createPublicKey, createSecretKey, diffieHellman,
  generateKeyPairSync, hash, randomFillSync, sign, verify, type JsonWebKey, type KeyObject,
} from 'node:crypto'
import { assert } from '../core/base/assert.ts'
import { isAllZero, wipe, writeU64 } from '../core/base/bytes.ts'
import type { AeadBatch, KeySlot } from '../core/crypto/aead-batch.ts'
import { idToX25519, validateId } from '../core/crypto/ed25519.ts'
import type { CryptoProvider, OperationCosts, X25519KeyPair, X25519PrivateKey, X25519PublicKey } from '../core/crypto/provider.ts'

export interface NodeCryptoProviderOptions {
  /** Microseconds per operation. Without it they are measured when first read, which takes about 10 ms. */
  readonly costs?: OperationCosts
}

const AEAD = 'chacha20-poly1305'
const TAG_SIZE = 16
const AEAD_OPTIONS = { authTagLength: TAG_SIZE } as const
const HASH_SIZE = 32
const HMAC_BLOCK_SIZE = 64
const KEY_SIZE = 32
const FIRST_SLOTS = 16
/** KeyObjects held at once: 600 bytes each, so sessions beyond the busiest five hundred hold 32 bytes a key; when full, all go and are made again (1 µs) as they are used. */
const KEY_OBJECTS_MAX = 1024
/** Longest input that is gathered for a one-shot hash; longer ones take the streaming calls. Above any handshake datagram. */
const GATHER_SIZE_MAX = 4096

export class NodeCryptoProvider implements CryptoProvider {
  readonly name: string = 'node:crypto'
  readonly gathers: boolean = false
  #costs: OperationCosts | undefined
  /** Transport keys by slot, one after the other. Bounded by the keypairs the core holds; storage doubles on demand. */
  #secrets = new Uint8Array(FIRST_SLOTS * KEY_SIZE)
  /** The same for OpenSSL: `'none'` for a key that was not used lately, `undefined` for a free slot. */
  readonly #keys: (KeyObject | 'none' | undefined)[] = []
  #keyObjects = 0
  readonly #freeSlots: KeySlot[] = []
  readonly #nonce = new Uint8Array(12)
  readonly #tag = new Uint8Array(TAG_SIZE)
  readonly #gather = new Uint8Array(HMAC_BLOCK_SIZE + GATHER_SIZE_MAX)
  readonly #outer = new Uint8Array(HMAC_BLOCK_SIZE + HASH_SIZE)

  constructor(options: NodeCryptoProviderOptions = {}) {
    this.#costs = options.costs
  }

  get costs(): OperationCosts {
    return this.#costs ??= measureCosts(this)
  }

  random(target: Uint8Array): Uint8Array {
    return randomFillSync(target)
  }

  sha256(...parts: readonly Uint8Array[]): Uint8Array {
    if (parts.length === 1) return fromBinary(hash('sha256', parts[0]!, 'binary'))
    const length = sizeOf(parts)
    if (length > GATHER_SIZE_MAX) {
      const stream = createHash('sha256')
      for (const part of parts) stream.update(part)
      return plain(stream.digest())
    }
    copyInto(this.#gather, 0, parts)
    const digest = fromBinary(hash('sha256', this.#gather.subarray(0, length), 'binary'))
    this.#gather.fill(0, 0, length)
    return digest
  }

  /** RFC 2104 by two one-shot hashes: 1.5 µs, where createHmac takes 2.4 µs (Node 24: 9.4 µs). */
  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    const length = sizeOf(parts)
    if (length > GATHER_SIZE_MAX || key.length > HMAC_BLOCK_SIZE) {
      const stream = createHmac('sha256', key)
      for (const part of parts) stream.update(part)
      return plain(stream.digest())
    }
    const gather = this.#gather
    const outer = this.#outer
    for (let i = 0; i < key.length; i++) {
      gather[i] = key[i]! ^ 0x36
      outer[i] = key[i]! ^ 0x5c
    }
    gather.fill(0x36, key.length, HMAC_BLOCK_SIZE)
    outer.fill(0x5c, key.length, HMAC_BLOCK_SIZE)
    copyInto(gather, HMAC_BLOCK_SIZE, parts)
    const inner = hash('sha256', gather.subarray(0, HMAC_BLOCK_SIZE + length), 'binary')
    for (let i = 0; i < HASH_SIZE; i++) outer[HMAC_BLOCK_SIZE + i] = inner.charCodeAt(i)
    // The result may be a key. A string could not be overwritten, so this one call pays 0.4 µs for a Buffer.
    const result = plain(hash('sha256', outer, 'buffer'))
    gather.fill(0, 0, HMAC_BLOCK_SIZE + length)
    outer.fill(0)
    return result
  }

  hmacSha1(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    const stream = createHmac('sha1', key)
    for (const part of parts) stream.update(part)
    return plain(stream.digest())
  }

  sha512(data: Uint8Array): Uint8Array {
    return plain(hash('sha512', data, 'buffer'))
  }

  x25519Generate(): X25519KeyPair {
    const { privateKey, publicKey } = generatePair('x25519', PUBLIC_AS_JWK)
    return { privateKey: privateKey as unknown as X25519PrivateKey, publicKey: fromJwk(publicKey) }
  }

  x25519FromPrivate(secret: Uint8Array): X25519KeyPair {
    const privateKey = importPrivate('X25519', secret)
    return { privateKey: privateKey as unknown as X25519PrivateKey, publicKey: exportPublic(createPublicKey(privateKey)) }
  }

  x25519Import(publicKey: Uint8Array): X25519PublicKey {
    return importPublic('X25519', publicKey) as unknown as X25519PublicKey
  }

  x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined {
    try {
      const shared = plain(diffieHellman({ privateKey: privateKey as unknown as KeyObject, publicKey: publicKey as unknown as KeyObject }))
      return isAllZero(shared) ? undefined : shared
    } catch {
      // OpenSSL refuses an all-zero result itself (RFC 7748 §6.1); the check above does not rely on it.
      return undefined
    }
  }

  ed25519Public(seed: Uint8Array): Uint8Array {
    return exportPublic(createPublicKey(importPrivate('Ed25519', seed)))
  }

  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
    return plain(sign(null, message, importPrivate('Ed25519', seed)))
  }

  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    return verify(null, message, importPublic('Ed25519', publicKey), signature)
  }

  validateId(id: Uint8Array): boolean {
    return validateId(id)
  }

  idToX25519(id: Uint8Array): Uint8Array {
    return idToX25519(id)
  }

  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    // A KeyObject first: it costs 1 µs here, a raw key costs 10 µs more per call on Node 24.
    const cipher = createCipheriv(AEAD, createSecretKey(key), nonce, AEAD_OPTIONS)
    if (associated.length > 0) cipher.setAAD(associated, { plaintextLength: plaintext.length })
    const sealed = new Uint8Array(plaintext.length + TAG_SIZE)
    sealed.set(cipher.update(plaintext))
    cipher.final()
    sealed.set(cipher.getAuthTag(), plaintext.length)
    return sealed
  }

  open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const length = sealed.length - TAG_SIZE
    if (length < 0) return undefined
    const decipher = createDecipheriv(AEAD, createSecretKey(key), nonce, AEAD_OPTIONS)
    if (associated.length > 0) decipher.setAAD(associated, { plaintextLength: length })
    decipher.setAuthTag(sealed.subarray(length))
    const plaintext = decipher.update(sealed.subarray(0, length))
    try {
      decipher.final()
    } catch {
      wipe(plaintext)
      return undefined
    }
    return plain(plaintext)
  }

  addKey(key: Uint8Array): KeySlot {
    assert(key.length === KEY_SIZE, 'a transport key has 32 bytes')
    const slot = this.#freeSlots.pop() ?? this.#keys.length
    if (this.#secrets.length < (slot + 1) * KEY_SIZE) this.#growSecrets()
    this.#secrets.set(key, slot * KEY_SIZE)
    this.#keys[slot] = 'none'
    return slot
  }

  /** JavaScript cannot overwrite a KeyObject: it is dropped, and OpenSSL clears its bytes when it is collected. */
  removeKey(slot: KeySlot): void {
    const key = this.#keys[slot]
    assert(key !== undefined, 'the key slot is in use')
    if (key !== 'none') this.#keyObjects--
    wipe(this.#secrets.subarray(slot * KEY_SIZE, (slot + 1) * KEY_SIZE))
    this.#keys[slot] = undefined
    this.#freeSlots.push(slot)
  }

  sealBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const offset = batch.offset[i]!
      const end = offset + batch.length[i]!
      writeU64(this.#nonce, 4, batch.counter[i]!)
      const cipher = createCipheriv(AEAD, this.#key(batch.key[i]!), this.#nonce, AEAD_OPTIONS)
      bytes.set(cipher.update(bytes.subarray(offset, end)), offset)
      cipher.final()
      bytes.set(cipher.getAuthTag(), end)
    }
  }

  openBatch(bytes: Uint8Array, batch: AeadBatch): void {
    const tag = this.#tag
    for (let i = 0; i < batch.count; i++) {
      const offset = batch.offset[i]!
      const end = offset + batch.length[i]!
      writeU64(this.#nonce, 4, batch.counter[i]!)
      for (let j = 0; j < TAG_SIZE; j++) tag[j] = bytes[end + j]!
      const decipher = createDecipheriv(AEAD, this.#key(batch.key[i]!), this.#nonce, AEAD_OPTIONS)
      decipher.setAuthTag(tag)
      const plaintext = decipher.update(bytes.subarray(offset, end))
      try {
        decipher.final()
      } catch {
        batch.length[i] = -1
        continue
      }
      bytes.set(plaintext, offset)
    }
  }

  #key(slot: KeySlot): KeyObject {
    const key = this.#keys[slot]
    assert(key !== undefined, 'the key slot is in use')
    return key === 'none' ? this.#makeKey(slot) : key
  }

  #makeKey(slot: KeySlot): KeyObject {
    if (this.#keyObjects === KEY_OBJECTS_MAX) {
      for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] !== undefined) this.#keys[i] = 'none'
      this.#keyObjects = 0
    }
    const key = createSecretKey(this.#secrets.subarray(slot * KEY_SIZE, (slot + 1) * KEY_SIZE))
    this.#keys[slot] = key
    this.#keyObjects++
    return key
  }

  #growSecrets(): void {
    const grown = new Uint8Array(2 * this.#secrets.length)
    grown.set(this.#secrets)
    wipe(this.#secrets)
    this.#secrets = grown
  }
}

/** A plain view: what leaves the provider is never a Buffer, whose `slice` would share memory. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
}

/** A digest through a Latin-1 string and this loop costs 0.5 µs, through a native Buffer 0.8 µs. For public digests only. */
function fromBinary(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

function sizeOf(parts: readonly Uint8Array[]): number {
  let size = 0
  for (const part of parts) size += part.length
  return size
}

function copyInto(target: Uint8Array, start: number, parts: readonly Uint8Array[]): void {
  let offset = start
  for (const part of parts) {
    target.set(part, offset)
    offset += part.length
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url')
}

/** JWK (RFC 8037): 4.4 µs, where DER takes 66–78 µs through OpenSSL's decoders. */
function importPublic(curve: 'X25519' | 'Ed25519', raw: Uint8Array): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: curve, x: base64url(raw) }, format: 'jwk' })
}

/** RFC 8410 §7: a private key of the curve, up to its 32 bytes. */
const PKCS8_HEADS = { X25519: Buffer.from('302e020100300506032b656e04220420', 'hex'), Ed25519: Buffer.from('302e020100300506032b657004220420', 'hex') }

/** JWK: 23 µs, where PKCS #8 takes 300 µs. */
function importPrivate(curve: 'X25519' | 'Ed25519', secret: Uint8Array): KeyObject {
  if (readsPrivateAlone) return createPrivateKey({ key: { kty: 'OKP', crv: curve, x: '', d: base64url(secret) }, format: 'jwk' })
  const key = Buffer.concat([PKCS8_HEADS[curve], secret])
  try {
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
  } finally {
    wipe(key)
  }
}

/** Node up to 24 reads only `d` of a private OKP key and computes the public half; Node 26 wants both, and that they belong together. */
const readsPrivateAlone: boolean = ((): boolean => {
  try {
    createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', x: '', d: base64url(new Uint8Array(KEY_SIZE).fill(1)) }, format: 'jwk' })
    return true
  } catch {
    return false
  }
})()

/** 0.7 µs and the text, where exporting DER takes 58 µs. Never for a key of {@link generatePair}, see there. */
function exportPublic(key: KeyObject): Uint8Array {
  return fromJwk(key.export({ format: 'jwk' }))
}

/** A copy: a short Buffer lies in a pool shared with others. */
function fromJwk(key: JsonWebKey): Uint8Array {
  return new Uint8Array(Buffer.from(key.x!, 'base64url'))
}

const PUBLIC_AS_JWK = { publicKeyEncoding: { format: 'jwk' } } as const

/**
 * Lets the generating job write the public key itself. Exporting it afterwards hangs the process (Node 20.20, within some
 * thousand keys): `export` holds the key's mutex while it allocates, a collection in that moment destroys the finished job
 * of the same key, and the job's destructor (`~KeyPairGenConfig`) waits for that mutex, in the same thread, for ever. While
 * the job runs it cannot be collected, and all we do with the private key later is `diffieHellman`, which takes no mutex.
 * Node documents the `jwk` encoding, its types do not know it.
 */
const generatePair = generateKeyPairSync as unknown as (type: 'x25519', options: typeof PUBLIC_AS_JWK) => { readonly publicKey: JsonWebKey; readonly privateKey: KeyObject }

/** Median microseconds of each operation over a few runs, about 10 ms together; the first run of each only warms the engine up. */
function measureCosts(provider: NodeCryptoProvider): OperationCosts {
  const pair = provider.x25519Generate()
  const imported = provider.x25519Import(pair.publicKey)
  const id = provider.ed25519Public(new Uint8Array(32).fill(7))
  const input = new Uint8Array(340)
  return {
    x25519: medianMicroseconds(9, () => provider.x25519(pair.privateKey, imported)),
    x25519Generate: medianMicroseconds(9, () => provider.x25519Generate()),
    x25519Import: medianMicroseconds(25, () => provider.x25519Import(pair.publicKey)),
    hash: medianMicroseconds(99, () => provider.sha256(input)),
    validateId: medianMicroseconds(3, () => provider.validateId(id)),
  }
}

function medianMicroseconds(runs: number, operation: () => unknown): number {
  operation()
  const samples: number[] = []
  for (let i = 0; i < runs; i++) {
    const start = performance.now()
    operation()
    samples.push((performance.now() - start) * 1000)
  }
  samples.sort((a, b) => a - b)
  return samples[runs >> 1]!
}
