import type { AeadBatch, KeySlot } from './aead-batch.ts'

declare const privateKey: unique symbol
declare const publicKey: unique symbol

/** A provider's own form of an X25519 private key (KeyObject, EVP_PKEY, raw bytes). */
export interface X25519PrivateKey { readonly [privateKey]: true }

/** A provider's own form of an X25519 public key: importing costs more than a DH with some providers, so it is kept per peer. */
export interface X25519PublicKey { readonly [publicKey]: true }

export interface X25519KeyPair {
  readonly privateKey: X25519PrivateKey
  /** 32 bytes. */
  readonly publicKey: Uint8Array
}

/** What an operation costs, in microseconds: measured at start, fixed in simulated worlds. The core adds these up for CPU shares. */
export interface OperationCosts {
  readonly x25519: number
  readonly x25519Generate: number
  readonly x25519Import: number
  readonly hash: number
  readonly validateId: number
}

/**
 * All cryptography and all randomness of the core. Every function is synchronous and takes any bytes of the stated length;
 * lengths are the caller's proof. Results are new arrays. What a peer can make fail (a low-order point, a bad tag) is
 * `undefined` or −1, never an exception.
 */
export interface CryptoProvider {
  readonly name: string
  readonly costs: OperationCosts

  /** Fills `target` from a CSPRNG (a seeded stream in simulated worlds) and returns it. */
  random(target: Uint8Array): Uint8Array

  /** SHA-256 of the concatenation of `parts`: 32 bytes. */
  sha256(...parts: readonly Uint8Array[]): Uint8Array
  /** HMAC-SHA-256 (RFC 2104) of the concatenation of `parts`: 32 bytes. */
  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array
  /** HMAC-SHA-1 of the concatenation of `parts`: 20 bytes. For MESSAGE-INTEGRITY of STUN (RFC 8489 §14.5) and nothing else. */
  hmacSha1(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array
  /** `noiseHkdf2` of hkdf.ts in one call, where that is cheaper; the same bytes. */
  noiseHkdf2?(chainingKey: Uint8Array, keyMaterial: Uint8Array): [Uint8Array, Uint8Array]
  /** SHA-512 of `data`: 64 bytes. */
  sha512(data: Uint8Array): Uint8Array

  x25519Generate(): X25519KeyPair
  /** The key pair of 32 secret bytes, clamped as RFC 7748 §5 says. */
  x25519FromPrivate(secret: Uint8Array): X25519KeyPair
  x25519Import(publicKey: Uint8Array): X25519PublicKey
  /** The 32-byte shared secret; `undefined` when it is all zero (RFC 7748 §6.1). */
  x25519(privateKey: X25519PrivateKey, publicKey: X25519PublicKey): Uint8Array | undefined

  /** Ed25519 public key of a 32-byte seed (RFC 8032). */
  ed25519Public(seed: Uint8Array): Uint8Array
  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array
  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
  /** `valid(id)` of WIRE.md §2: canonical, on the curve, not of small order, torsion-free. Slow (≈ 1 ms): run once per id, cache the answer. */
  validateId(id: Uint8Array): boolean
  /** The X25519 form u = (1+y)/(1−y) of a valid id. */
  idToX25519(id: Uint8Array): Uint8Array

  /** ChaCha20-Poly1305 (RFC 8439) of one message: ciphertext and tag in a new array. */
  seal(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array
  /** The plaintext, `undefined` when the tag does not verify. */
  open(key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined

  /** Takes over a 32-byte transport key (the caller wipes its copy) until {@link removeKey}. */
  addKey(key: Uint8Array): KeySlot
  /** Forgets and overwrites a transport key; its slot may be given out again. */
  removeKey(slot: KeySlot): void
  /** Whether {@link sealBatch} looks at the batch's pieces; else they are copied before. */
  readonly gathers: boolean
  sealBatch(bytes: Uint8Array, batch: AeadBatch): void
  openBatch(bytes: Uint8Array, batch: AeadBatch): void
}
