/**
 * HandshakeState of the Noise protocol framework, revision 34, with 25519, ChaChaPoly and SHA256. Objects and methods carry the names of its §5;
 * reading the two side by side is the review. Three things differ: a read that fails leaves the state as it was (§3.11 of
 * WIRE.md: mac1 of B and C can be made by any observer, so a bad one must not cost the handshake), a first message can be read
 * in two stages, and what a peer can make fail is a value.
 */
import { assert, AssertionError } from '../base/assert.ts'
import { concat, wipe } from '../base/bytes.ts'
import type { CryptoProvider, X25519KeyPair, X25519PublicKey } from '../crypto/provider.ts'
import { SymmetricState, TAG_SIZE } from './noise-symmetric.ts'

/** Noise §7.1; `e1` and `ekem1` are those of Noise Hybrid Forward Secrecy. */
export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'e1' | 'ekem1'

export interface HandshakePattern {
  readonly initiatorPreMessage: readonly ('e' | 's')[]
  readonly responderPreMessage: readonly ('e' | 's')[]
  /** Tokens per message, the initiator's first. */
  readonly messages: readonly (readonly Token[])[]
}

export type Role = 'initiator' | 'responder'

/** Noise §3: no Noise message is longer. */
const MESSAGE_SIZE_MAX = 65_535
const DH_SIZE = 32
const EMPTY = new Uint8Array(0)

export interface HandshakeOptions {
  readonly pattern: HandshakePattern
  readonly protocolName: string
  readonly role: Role
  readonly prologue: Uint8Array
  /** Own static key pair. */
  readonly s?: X25519KeyPair | undefined
  /** Own ephemeral key pair: for pre-messages and published vectors. Otherwise it is generated when the pattern says so. */
  readonly e?: X25519KeyPair | undefined
  /** The other side's static public key, where the pattern has it known. */
  readonly rs?: Uint8Array | undefined
  /** `rs` as the provider holds it, when it was imported before. */
  readonly rsImported?: X25519PublicKey | undefined
  readonly re?: Uint8Array | undefined
  /** The DH of `s` and a remote static, where somebody remembers it; its result stays as it is. Computed when absent. */
  readonly agree?: ((rs: Uint8Array, imported: X25519PublicKey | undefined) => Uint8Array | undefined) | undefined
}

/** `length`: shorter than its tokens; `dh`: a public key of small order; `tag`: not authentic. */
export interface NoiseFailure { readonly kind: 'malformed'; readonly where: 'length' | 'dh' | 'tag' }
export type ReadResult = { readonly kind: 'message'; readonly payload: Uint8Array } | NoiseFailure
export type ReadStaticResult = { readonly kind: 'static'; readonly remoteStatic: Uint8Array } | NoiseFailure

export interface SplitKeys {
  /** Seals what the initiator sends. */
  readonly initiatorKey: Uint8Array
  /** Seals what the responder sends. */
  readonly responderKey: Uint8Array
  /** Handshake hash: equal on both sides, unique to this handshake. */
  readonly h: Uint8Array
}

interface RemoteKey {
  readonly bytes: Uint8Array
  imported: X25519PublicKey | undefined
}

/** What one message changes; it replaces the state only when the whole message was right. */
interface Attempt {
  readonly symmetric: SymmetricState
  rs: RemoteKey | undefined
  re: RemoteKey | undefined
}

/** A first message that was read as far as the static key. The bytes are the caller's view. */
interface StagedRead extends Attempt {
  readonly message: Uint8Array
  readonly position: number
  readonly tokensRead: number
}

/** Noise §5.3. One object is one handshake; `undefined` and failures leave it as it was before the call. */
export class HandshakeState {
  readonly role: Role
  readonly #provider: CryptoProvider
  readonly #pattern: HandshakePattern
  readonly #s: X25519KeyPair | undefined
  readonly #agree: HandshakeOptions['agree']
  #e: X25519KeyPair | undefined
  #current: Attempt
  #messageCount = 0
  #staged: StagedRead | undefined
  #wiped = false

  /** Initialize. Pre-message keys must be given as the pattern says. */
  constructor(provider: CryptoProvider, options: HandshakeOptions) {
    this.role = options.role
    this.#provider = provider
    this.#pattern = options.pattern
    this.#s = options.s
    this.#agree = options.agree
    this.#e = options.e
    const symmetric = SymmetricState.initializeSymmetric(provider, options.protocolName)
    symmetric.mixHash(options.prologue)
    this.#current = {
      symmetric,
      rs: options.rs === undefined ? undefined : { bytes: options.rs.slice(), imported: options.rsImported },
      re: options.re === undefined ? undefined : { bytes: options.re.slice(), imported: undefined },
    }
    for (const token of options.pattern.initiatorPreMessage) symmetric.mixHash(this.#preMessageKey(token, 'initiator'))
    for (const token of options.pattern.responderPreMessage) symmetric.mixHash(this.#preMessageKey(token, 'responder'))
  }

  /** The other side's static key, as soon as it is known and authenticated as far as the pattern does by then. A copy. */
  get remoteStatic(): Uint8Array | undefined {
    return this.#current.rs?.bytes.slice()
  }

  /** All messages of the pattern were written and read. */
  get finished(): boolean {
    return this.#messageCount === this.#pattern.messages.length
  }

  /** The transcript so far (`h`): after message A it keys mac1 of B, after B that of C. A copy. */
  getHandshakeHash(): Uint8Array {
    return this.#current.symmetric.getHandshakeHash()
  }

  /** The next message, `undefined` when the other side's ephemeral key is of small order (RFC 7748 §6.1). */
  writeMessage(payload: Uint8Array): Uint8Array | undefined {
    const tokens = this.#turn(this.role)
    const attempt = this.#attempt()
    const parts: Uint8Array[] = []
    for (const token of tokens) {
      const part = this.#writeToken(attempt, token)
      if (part === undefined) {
        attempt.symmetric.wipe()
        return undefined
      }
      parts.push(part)
    }
    const message = concat(...parts, attempt.symmetric.encryptAndHash(payload))
    assert(message.length <= MESSAGE_SIZE_MAX, 'a Noise message has at most 65535 bytes')
    this.#commit(attempt)
    return message
  }

  /** Reads a whole message. */
  readMessage(message: Uint8Array): ReadResult {
    const tokens = this.#turn(otherRole(this.role))
    return this.#readFrom({ ...this.#attempt(), message, position: 0, tokensRead: 0 }, tokens)
  }

  /**
   * First stage: reads up to and including the static key, so that a stranger can be dropped before the DH of `ss`. Nothing is
   * authenticated but that the sender knew our static key. {@link readRest} goes on with the same bytes, which must stay.
   */
  readStatic(message: Uint8Array): ReadStaticResult {
    const tokens = this.#turn(otherRole(this.role))
    const end = tokens.indexOf('s') + 1
    assert(end > 0, 'this message brings a static key')
    const attempt = this.#attempt()
    const read = this.#readTokens(attempt, tokens.slice(0, end), message, 0)
    if (typeof read !== 'number') {
      attempt.symmetric.wipe()
      return read
    }
    this.#dropStaged()
    this.#staged = { ...attempt, message, position: read, tokensRead: end }
    return { kind: 'static', remoteStatic: attempt.rs!.bytes.slice() }
  }

  /** Second stage. `rsImported` is the static key of the first stage as the provider holds it, when the peer is known. */
  readRest(rsImported?: X25519PublicKey): ReadResult {
    const staged = this.#staged
    assert(staged !== undefined, 'readStatic came before readRest')
    this.#staged = undefined
    if (rsImported !== undefined) staged.rs!.imported = rsImported
    return this.#readFrom(staged, this.#turn(otherRole(this.role)).slice(staged.tokensRead))
  }

  /** Split of a finished handshake. The state is wiped: this is its last call. */
  split(): SplitKeys {
    assert(this.finished && !this.#wiped, 'split comes once, after the last message')
    const [initiatorKey, responderKey] = this.#current.symmetric.split()
    const h = this.getHandshakeHash()
    this.wipe()
    return { initiatorKey, responderKey, h }
  }

  /** Overwrites the chaining key and forgets the ephemeral key. Nothing can be written or read afterwards. */
  wipe(): void {
    this.#current.symmetric.wipe()
    this.#dropStaged()
    this.#e = undefined
    this.#wiped = true
  }

  #attempt(): Attempt {
    return { symmetric: this.#current.symmetric.clone(), rs: this.#current.rs, re: this.#current.re }
  }

  #commit(attempt: Attempt): void {
    this.#current.symmetric.wipe()
    this.#current = { symmetric: attempt.symmetric, rs: attempt.rs, re: attempt.re }
    this.#messageCount++
  }

  #dropStaged(): void {
    this.#staged?.symmetric.wipe()
    this.#staged = undefined
  }

  /** The tokens of the next message, which must be `sender`'s. */
  #turn(sender: Role): readonly Token[] {
    assert(!this.#wiped, 'a wiped handshake neither writes nor reads')
    const tokens = this.#pattern.messages[this.#messageCount]
    assert(tokens !== undefined && (this.#messageCount % 2 === 0) === (sender === 'initiator'), 'the next message is this side’s turn')
    return tokens
  }

  #preMessageKey(token: 'e' | 's', owner: Role): Uint8Array {
    const own = token === 's' ? this.#s : this.#e
    const remote = token === 's' ? this.#current.rs : this.#current.re
    const key = owner === this.role ? own?.publicKey : remote?.bytes
    assert(key !== undefined, `the pattern’s pre-message key ${token} is given`)
    return key
  }

  #writeToken(attempt: Attempt, token: Token): Uint8Array | undefined {
    switch (token) {
      case 'e': {
        this.#e ??= this.#provider.x25519Generate()
        attempt.symmetric.mixHash(this.#e.publicKey)
        return this.#e.publicKey
      }
      case 's': {
        assert(this.#s !== undefined, 'a pattern with s needs a static key')
        return attempt.symmetric.encryptAndHash(this.#s.publicKey)
      }
      default:
        return this.#mixDh(attempt, token) ? EMPTY : undefined
    }
  }

  #readFrom(staged: StagedRead, tokens: readonly Token[]): ReadResult {
    const read = this.#readTokens(staged, tokens, staged.message, staged.position)
    const payload = typeof read === 'number' ? staged.symmetric.decryptAndHash(staged.message.subarray(read)) : undefined
    if (payload === undefined) {
      staged.symmetric.wipe()
      return typeof read === 'number' ? { kind: 'malformed', where: 'tag' } : read
    }
    this.#commit(staged)
    return { kind: 'message', payload }
  }

  /** Where the payload (or the rest) begins. */
  #readTokens(attempt: Attempt, tokens: readonly Token[], message: Uint8Array, start: number): number | NoiseFailure {
    let position = start
    for (const token of tokens) {
      switch (token) {
        case 'e': {
          if (position + DH_SIZE > message.length) return { kind: 'malformed', where: 'length' }
          attempt.re = { bytes: message.slice(position, position + DH_SIZE), imported: undefined }
          attempt.symmetric.mixHash(attempt.re.bytes)
          position += DH_SIZE
          break
        }
        case 's': {
          const size = attempt.symmetric.hasKey() ? DH_SIZE + TAG_SIZE : DH_SIZE
          if (position + size > message.length) return { kind: 'malformed', where: 'length' }
          const bytes = attempt.symmetric.decryptAndHash(message.subarray(position, position + size))
          if (bytes === undefined) return { kind: 'malformed', where: 'tag' }
          attempt.rs = { bytes, imported: undefined }
          position += size
          break
        }
        default:
          if (!this.#mixDh(attempt, token)) return { kind: 'malformed', where: 'dh' }
      }
    }
    return position
  }

  /** Whether the shared secret was usable: `false` when it is all zero. */
  #mixDh(attempt: Attempt, token: Exclude<Token, 'e' | 's'>): boolean {
    const initiator = this.role === 'initiator'
    switch (token) {
      case 'ee': return this.#dh(attempt, this.#e, attempt.re)
      case 'es': return initiator ? this.#dh(attempt, this.#e, attempt.rs) : this.#dh(attempt, this.#s, attempt.re)
      case 'se': return initiator ? this.#dh(attempt, this.#s, attempt.re) : this.#dh(attempt, this.#e, attempt.rs)
      case 'ss': return this.#agree === undefined ? this.#dh(attempt, this.#s, attempt.rs) : this.#mixAgreed(attempt, this.#agree)
      case 'e1':
      case 'ekem1': throw new AssertionError(`token ${token} is not built yet`)
    }
  }

  #mixAgreed({ symmetric, rs }: Attempt, agree: NonNullable<HandshakeOptions['agree']>): boolean {
    assert(rs !== undefined, 'the static key of a DH token is known')
    const shared = agree(rs.bytes, rs.imported)
    if (shared !== undefined) symmetric.mixKey(shared)
    return shared !== undefined
  }

  #dh(attempt: Attempt, own: X25519KeyPair | undefined, remote: RemoteKey | undefined): boolean {
    assert(own !== undefined && remote !== undefined, 'both keys of a DH token are known')
    remote.imported ??= this.#provider.x25519Import(remote.bytes)
    const shared = this.#provider.x25519(own.privateKey, remote.imported)
    if (shared === undefined) return false
    attempt.symmetric.mixKey(shared)
    wipe(shared)
    return true
  }
}

function otherRole(role: Role): Role {
  return role === 'initiator' ? 'responder' : 'initiator'
}
