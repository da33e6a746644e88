/**
 * Who we are and who they are (WIRE.md §2). One scalar serves Ed25519 and X25519: the Noise static is the X25519 form of the
 * identity key, so knowing a peer id is enough to dial it.
 */
import { assert } from '../base/assert.ts'
import { equalBytes, toBinaryString, wipe } from '../base/bytes.ts'
import type { CryptoProvider, X25519KeyPair, X25519PublicKey } from '../crypto/provider.ts'
import { encodePeerId } from '../wire/peer-id.ts'
import type { HandshakeOptions } from './noise.ts'

/** Secrets of {@link Identity.agree} that are kept; when full, the one made first goes. */
const AGREEMENTS_MAX = 1024

/** The own identity. It keeps no seed: whoever signs keeps that. */
export class Identity {
  /** Ed25519 public key, 32 bytes. */
  readonly id: Uint8Array
  /** The peer id as text, 52 characters. */
  readonly text: string
  /** The Noise static: private SHA-512(seed)[0..32], public the u form of the id. */
  readonly staticKeyPair: X25519KeyPair
  /** What a handshake needs of us. */
  readonly noise: Pick<HandshakeOptions, 's' | 'agree'>
  readonly #provider: CryptoProvider
  /** By the other's static key. BOUNDED by {@link AGREEMENTS_MAX}. */
  readonly #agreements = new Map<string, Uint8Array>()

  /** @param seed 32 bytes; read, not kept. */
  constructor(provider: CryptoProvider, seed: Uint8Array) {
    assert(seed.length === 32, 'an identity seed has 32 bytes')
    this.#provider = provider
    this.id = provider.ed25519Public(seed)
    this.text = encodePeerId(this.id)
    const expanded = provider.sha512(seed)
    this.staticKeyPair = provider.x25519FromPrivate(expanded.subarray(0, 32))
    wipe(expanded)
    assert(equalBytes(this.staticKeyPair.publicKey, provider.idToX25519(this.id)), 'both forms of the identity key agree')
    this.noise = { s: this.staticKeyPair, agree: (rs, imported) => this.agree(rs, imported) }
  }

  /**
   * The DH of both statics, which is the same in every handshake of the pair: remembered, it saves one DH of four ([WG]
   * precomputed_static_static). It is as secret as the static key beside it. The result is shared and stays as it is; `undefined` when it is
   * all zero.
   */
  agree(remoteStatic: Uint8Array, imported: X25519PublicKey | undefined): Uint8Array | undefined {
    const key = keyOf(remoteStatic)
    const known = this.#agreements.get(key)
    if (known !== undefined) return known
    const secret = this.#provider.x25519(this.staticKeyPair.privateKey, imported ?? this.#provider.x25519Import(remoteStatic))
    if (secret === undefined) return undefined
    if (this.#agreements.size === AGREEMENTS_MAX) this.#forgetOldest()
    this.#agreements.set(key, secret)
    return secret
  }

  #forgetOldest(): void {
    const oldest = this.#agreements.entries().next()
    if (oldest.done === true) return
    wipe(oldest.value[1])
    this.#agreements.delete(oldest.value[0])
  }
}

/** Validated ids remembered. */
const ID_CACHE_SIZE = 4096

/**
 * `valid(id)` and the X25519 form, remembered: validating costs about 1 ms. Bounded by `capacity`; when full, the id that was
 * asked for longest ago goes. Refused ids are remembered as well, so that repeating one costs a peer's packet and not our time.
 */
export class IdValidator {
  readonly #provider: CryptoProvider
  readonly #capacity: number
  /** By the id's bytes as a string; a Map keeps the order of insertion, so the first is the oldest. `undefined`: not valid. */
  readonly #cache = new Map<string, Uint8Array | undefined>()

  constructor(provider: CryptoProvider, capacity: number = ID_CACHE_SIZE) {
    this.#provider = provider
    this.#capacity = capacity
  }

  get size(): number {
    return this.#cache.size
  }

  /** Whether {@link x25519Of} will answer without computing: the caller accounts for the cost otherwise. */
  isCached(id: Uint8Array): boolean {
    return this.#cache.has(keyOf(id))
  }

  /** The X25519 form of a valid id, 32 shared bytes that nobody may change; `undefined` for an id that is not valid. */
  x25519Of(id: Uint8Array): Uint8Array | undefined {
    const key = keyOf(id)
    const cached = this.#cache.get(key)
    const known = cached !== undefined || this.#cache.has(key)
    const form = known ? cached : this.#compute(id)
    // Inserted anew, the entry becomes the youngest.
    this.#cache.delete(key)
    this.#cache.set(key, form)
    if (this.#cache.size > this.#capacity) {
      const oldest = this.#cache.keys().next()
      if (oldest.done === false) this.#cache.delete(oldest.value)
    }
    return form
  }

  #compute(id: Uint8Array): Uint8Array | undefined {
    return this.#provider.validateId(id) ? this.#provider.idToX25519(id) : undefined
  }
}

function keyOf(id: Uint8Array): string {
  return toBinaryString(id)
}
