import { toHex } from '../../src/core/base/bytes.ts'
import type { AeadBatch, KeySlot } from '../../src/core/crypto/aead-batch.ts'
import type { CryptoProvider, OperationCosts, X25519KeyPair, X25519PrivateKey, X25519PublicKey } from '../../src/core/crypto/provider.ts'
import type { SeededRandom } from '../../src/sim/random.ts'
import { hold } from './failure.ts'

/** What was sealed under which key, over all nodes and lives of a world: no key ever sees a nonce twice. */
export class NonceBook {
  /** Transport keys by their bytes: the greatest counter sealed. Counters only go up, so that is enough. */
  readonly #greatest = new Map<string, number>()
  readonly #single = new Set<string>()
  sealed = 0

  counter(key: string, counter: number): void {
    const before = this.#greatest.get(key) ?? -1
    hold(counter > before, () => `nonce ${counter} is used again under one key (${before} was the greatest)`)
    this.#greatest.set(key, counter)
    this.sealed++
  }

  single(key: Uint8Array, nonce: Uint8Array): void {
    const name = `${toHex(key)}.${toHex(nonce)}`
    hold(!this.#single.has(name), () => 'a handshake key and nonce seal a second time')
    this.#single.add(name)
  }
}

/** The provider of one node, real or simulated, watched: nonces, the life of key slots, and randomness from the world's seed. */
export class WatchedProvider implements CryptoProvider {
  readonly name: string
  readonly gathers: boolean
  readonly costs: OperationCosts
  readonly #inner: CryptoProvider
  readonly #random: SeededRandom
  readonly #book: NonceBook
  readonly #keys = new Map<KeySlot, string>()

  constructor(inner: CryptoProvider, costs: OperationCosts, random: SeededRandom, book: NonceBook) {
    this.name = inner.name
    this.gathers = inner.gathers
    this.costs = costs
    this.#inner = inner
    this.#random = random
    this.#book = book
  }

  /** Transport keys it holds. */
  get live(): number {
    return this.#keys.size
  }

  random(target: Uint8Array): Uint8Array {
    return this.#random.fill(target)
  }

  sha256(...parts: readonly Uint8Array[]): Uint8Array {
    return this.#inner.sha256(...parts)
  }

  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    return this.#inner.hmac(key, ...parts)
  }

  hmacSha1(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
    return this.#inner.hmacSha1(key, ...parts)
  }

  sha512(data: Uint8Array): Uint8Array {
    return this.#inner.sha512(data)
  }

  x25519Generate(): X25519KeyPair {
    return this.#inner.x25519FromPrivate(this.#random.fill(new Uint8Array(32)))
  }

  x25519FromPrivate(secret: Uint8Array): X25519KeyPair {
    return this.#inner.x25519FromPrivate(secret)
  }

  x25519Import(publicKey: Uint8Array): X25519PublicKey {
    return this.#inner.x25519Import(publicKey)
  }

  x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined {
    return this.#inner.x25519(privateKey, publicKey)
  }

  ed25519Public(seed: Uint8Array): Uint8Array {
    return this.#inner.ed25519Public(seed)
  }

  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
    return this.#inner.ed25519Sign(seed, message)
  }

  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    return this.#inner.ed25519Verify(publicKey, message, signature)
  }

  validateId(id: Uint8Array): boolean {
    return this.#inner.validateId(id)
  }

  idToX25519(id: Uint8Array): Uint8Array {
    return this.#inner.idToX25519(id)
  }

  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    this.#book.single(key, nonce)
    return this.#inner.seal(key, nonce, associated, plaintext)
  }

  open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    return this.#inner.open(key, nonce, associated, sealed)
  }

  addKey(key: Uint8Array): KeySlot {
    const name = toHex(key)
    const slot = this.#inner.addKey(key)
    hold(!this.#keys.has(slot), () => `key slot ${slot} is given out twice`)
    this.#keys.set(slot, name)
    return slot
  }

  removeKey(slot: KeySlot): void {
    hold(this.#keys.delete(slot), () => `key slot ${slot} is removed twice`)
    this.#inner.removeKey(slot)
  }

  sealBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) this.#book.counter(this.#keyOf(batch.key[i]!), batch.counter[i]!)
    this.#inner.sealBatch(bytes, batch)
  }

  openBatch(bytes: Uint8Array, batch: AeadBatch): void {
    for (let i = 0; i < batch.count; i++) this.#keyOf(batch.key[i]!)
    this.#inner.openBatch(bytes, batch)
  }

  #keyOf(slot: KeySlot): string {
    const key = this.#keys.get(slot)
    hold(key !== undefined, () => `key slot ${slot} is used after it was removed`)
    return key
  }
}
