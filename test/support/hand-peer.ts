import { concat, readU32, readU64, writeU32, writeU64 } from '../../src/core/base/bytes.ts'
import { toWallTime } from '../../src/core/base/time.ts'
import { AeadBatch } from '../../src/core/crypto/aead-batch.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { Identity } from '../../src/core/session/identity.ts'
import { inviteProof, inviteTokenId } from '../../src/core/session/macs.ts'
import { HandshakeState, type SplitKeys } from '../../src/core/session/noise.ts'
import { stampOf } from '../../src/core/session/tai64n.ts'
import { decodeHandshakePayload, encodeHandshakePayload, LIMITS_DEFAULT, type HandshakePayload, type Limits } from '../../src/core/wire/handshake-payload.ts'
import { readHandFrames, type HandFrame } from './hand-frames.ts'

const IK = { initiatorPreMessage: [], responderPreMessage: ['s'], messages: [['e', 'es', 's', 'ss'], ['e', 'ee', 'se']] } as const
const NAME = 'Noise_IK_25519_ChaChaPoly_SHA256'
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

export function mac(provider: CryptoProvider, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  return provider.hmac(key, ...parts).slice(0, 16)
}

export interface PrologueChange extends Partial<Record<'version' | 'suite' | 'mode', number>> {
  /** Of the session that a rekey (mode 1) belongs to. */
  readonly binding?: Uint8Array
}

function prologue(responderId: Uint8Array, change: PrologueChange): Uint8Array {
  const bytes = new Uint8Array(74)
  bytes.set(ascii('Postern'))
  bytes.set([change.version ?? 1, change.suite ?? 1, change.mode ?? 0], 7)
  bytes.set(responderId, 10)
  bytes.set(change.binding ?? new Uint8Array(32), 42)
  return bytes
}

export interface InitiationOptions {
  readonly index?: number
  readonly wall?: number
  readonly stamp?: Uint8Array
  readonly sidSelf?: Uint8Array
  readonly sidPeer?: Uint8Array
  readonly token?: Uint8Array
  readonly invite?: HandshakePayload['invite']
  /** What the payload says, when it is not the id of this peer. */
  readonly id?: Uint8Array
  readonly limits?: Partial<Limits>
  /** Last word on the payload's bytes. */
  readonly edit?: (payload: Uint8Array) => Uint8Array
  readonly prologue?: PrologueChange
}

/** The pieces of a Noise message as datagrams (WIRE.md §3.4), with every field for the test to choose. */
export interface DatagramOptions {
  readonly count?: number
  readonly cookie?: Uint8Array
  readonly suite?: number
  readonly version?: number
  readonly part?: (part: number) => number
  readonly senderIndex?: number
  readonly receiverIndex?: number
  readonly digest?: Uint8Array
  /** Lengths of the pieces, when they are not cut as the specification says. */
  readonly cuts?: readonly number[]
}

/** One A made by hand. */
export class HandInitiation {
  readonly message: Uint8Array
  readonly index: number
  readonly sidSelf: Uint8Array
  readonly stamp: Uint8Array
  readonly noise: HandshakeState
  readonly #provider: CryptoProvider
  readonly #responderStatic: Uint8Array

  constructor(provider: CryptoProvider, identity: Identity, responderId: Uint8Array, options: InitiationOptions) {
    this.#provider = provider
    this.#responderStatic = provider.idToX25519(responderId)
    this.index = options.index ?? (readU32(provider.random(new Uint8Array(4)), 0) | 1) >>> 0
    this.stamp = options.stamp ?? stampOf(toWallTime(options.wall ?? 1_770_000_000_000))
    this.sidSelf = options.sidSelf ?? provider.random(new Uint8Array(8))
    this.noise = new HandshakeState(provider, {
      pattern: IK, protocolName: NAME, role: 'initiator', prologue: prologue(responderId, options.prologue ?? {}), s: identity.staticKeyPair, rs: this.#responderStatic,
    })
    const id = options.id ?? identity.id
    const token = options.token
    const invite = options.invite ?? (token === undefined ? undefined : { tokenId: inviteTokenId(provider, token), proof: inviteProof(provider, token, id, responderId, this.stamp) })
    const payload = encodeHandshakePayload({
      status: 0, suites: 2, caps: 0, index: this.index, sidSelf: this.sidSelf, sidPeer: options.sidPeer ?? new Uint8Array(8), tai64n: this.stamp,
      limits: { ...LIMITS_DEFAULT, ...options.limits }, invite, extensions: [], resetToken: provider.random(new Uint8Array(16)), id,
    }, 0)
    this.message = this.noise.writeMessage(options.edit?.(payload) ?? payload)!
  }

  datagrams(options: DatagramOptions = {}): Uint8Array[] {
    return cut(this.#provider, this.message, 0, { senderIndex: this.index, receiverIndex: 0, ...options }, this.#responderStatic)
  }

  datagram(options: DatagramOptions = {}): Uint8Array {
    return this.datagrams(options)[0]!
  }

  /** Reads B in one datagram. */
  finish(datagram: Uint8Array): HandSession {
    return this.finishMessage(datagram.subarray(20, datagram.length - 16), readU32(datagram, 4))
  }

  /** Reads B as a rekey's frames bring it. */
  finishMessage(message: Uint8Array, senderIndex: number): HandSession {
    const read = this.noise.readMessage(message)
    if (read.kind === 'malformed') throw new Error(`B does not read: ${read.where}`)
    const decoded = decodeHandshakePayload(read.payload, { message: 1, senderIndex, defaults: LIMITS_DEFAULT })
    if (decoded.kind === 'malformed') throw new Error(`B has a malformed payload: ${decoded.where}`)
    const session = new HandSession(this.#provider, this.noise.split(), true, this.index, senderIndex, decoded.payload)
    session.plain = read.payload
    return session
  }
}

export function cut(provider: CryptoProvider, message: Uint8Array, kind: 0 | 1 | 2, options: DatagramOptions, macSecret: Uint8Array): Uint8Array[] {
  const count = options.cuts?.length ?? options.count ?? 1
  const size = Math.ceil(message.length / count)
  const macKey = provider.sha256(ascii('postern mac1'), macSecret)
  const digest = options.digest ?? provider.sha256(message).slice(0, 8)
  let at = 0
  return Array.from({ length: count }, (_, number) => {
    const length = options.cuts?.[number] ?? Math.min(size, message.length - at)
    const head = new Uint8Array(20)
    const part = kind | (number << 2) | ((count - 1) << 4)
    head.set([0x60, options.version ?? 1, options.suite ?? 1, options.part?.(part) ?? part])
    writeU32(head, 4, options.senderIndex!)
    writeU32(head, 8, options.receiverIndex!)
    head.set(digest, 12)
    const body = concat(head, message.subarray(at, at + length))
    at += length
    const withMac1 = concat(body, mac(provider, macKey, body))
    if (kind !== 0) return withMac1
    return concat(withMac1, options.cookie === undefined ? new Uint8Array(16) : mac(provider, options.cookie, withMac1))
  })
}

interface Answer {
  /** A's payload as it stood in the message, and decoded. */
  readonly plain: Uint8Array
  readonly payload: HandshakePayload
  readonly datagram: Uint8Array
  readonly session: HandSession
}

/** A peer made by hand: it can do everything a valid key allows, right or wrong. */
export class HandPeer {
  readonly identity: Identity
  readonly provider: CryptoProvider

  constructor(provider: CryptoProvider, seed: number) {
    this.provider = provider
    this.identity = new Identity(provider, new Uint8Array(32).fill(seed))
  }

  get id(): Uint8Array {
    return this.identity.id
  }

  dial(responderId: Uint8Array, options: InitiationOptions = {}): HandInitiation {
    return new HandInitiation(this.provider, this.identity, responderId, options)
  }

  /** Reads an A in one datagram and answers it. */
  answer(datagram: Uint8Array, change: Partial<HandshakePayload> = {}): Answer {
    const answer = this.answerMessage(datagram.subarray(20, datagram.length - 32), readU32(datagram, 4), change)
    return { ...answer, datagram: cut(this.provider, answer.message, 1, { senderIndex: answer.session.localIndex, receiverIndex: readU32(datagram, 4) }, answer.h)[0]! }
  }

  /** Reads a Noise message A, of a rekey with its prologue, and answers it. */
  answerMessage(a: Uint8Array, senderIndex: number, change: Partial<HandshakePayload> = {}, prologueChange: PrologueChange = {}): Omit<Answer, 'datagram'> & { readonly message: Uint8Array; readonly h: Uint8Array } {
    const provider = this.provider
    const noise = new HandshakeState(provider, { pattern: IK, protocolName: NAME, role: 'responder', prologue: prologue(this.id, prologueChange), s: this.identity.staticKeyPair })
    const read = noise.readMessage(a)
    if (read.kind === 'malformed') throw new Error(`A does not read: ${read.where}`)
    const decoded = decodeHandshakePayload(read.payload, { message: 0, senderIndex, defaults: LIMITS_DEFAULT })
    if (decoded.kind === 'malformed') throw new Error(`A has a malformed payload: ${decoded.where}`)
    const index = change.index ?? (readU32(provider.random(new Uint8Array(4)), 0) | 1) >>> 0
    const h = noise.getHandshakeHash()
    const message = noise.writeMessage(encodeHandshakePayload({
      status: 0, suites: 2, caps: 0, index, sidSelf: provider.random(new Uint8Array(8)), sidPeer: decoded.payload.sidSelf, tai64n: decoded.payload.tai64n,
      limits: LIMITS_DEFAULT, invite: undefined, extensions: [], resetToken: new Uint8Array(16), id: this.id, ...change,
    }, 1))!
    return { plain: read.payload, payload: decoded.payload, message, h, session: new HandSession(provider, noise.split(), false, index, senderIndex, decoded.payload) }
  }
}

/** Transport keys in the test's own hands. */
export class HandSession {
  readonly localIndex: number
  readonly remoteIndex: number
  /** What the other side said in its handshake message. */
  readonly remote: HandshakePayload
  /** That message's payload as it stood on the wire. */
  plain: Uint8Array = new Uint8Array(0)
  counter = 0
  readonly #provider: CryptoProvider
  readonly #seal: number
  readonly #open: number

  constructor(provider: CryptoProvider, keys: SplitKeys, initiator: boolean, localIndex: number, remoteIndex: number, remote: HandshakePayload) {
    this.#provider = provider
    this.#seal = provider.addKey(initiator ? keys.initiatorKey : keys.responderKey)
    this.#open = provider.addKey(initiator ? keys.responderKey : keys.initiatorKey)
    this.localIndex = localIndex
    this.remoteIndex = remoteIndex
    this.remote = remote
  }

  /** Seals these frames, padded to `size` bytes of plaintext at least. */
  seal(frames: readonly number[] | Uint8Array, counter: number = this.counter++, size = 16): Uint8Array {
    const plain = Math.max(size, frames.length)
    const datagram = new Uint8Array(13 + plain + 16)
    datagram[0] = 0x62
    writeU32(datagram, 1, this.remoteIndex)
    writeU64(datagram, 5, counter)
    datagram.set(frames, 13)
    const batch = new AeadBatch(1)
    batch.push(this.#seal, counter, 13, plain)
    this.#provider.sealBatch(datagram, batch)
    return datagram
  }

  /** The frames of a datagram for us, `undefined` when it is not. */
  open(datagram: Uint8Array): { readonly counter: number; readonly frames: HandFrame[] } | undefined {
    if (datagram[0] !== 0x62 || readU32(datagram, 1) !== this.localIndex) return undefined
    const copy = datagram.slice()
    const counter = readU64(copy, 5)
    const batch = new AeadBatch(1)
    batch.push(this.#open, counter, 13, copy.length - 29)
    this.#provider.openBatch(copy, batch)
    if (batch.length[0]! < 0) return undefined
    return { counter, frames: readHandFrames(copy.subarray(13, copy.length - 16)) }
  }
}
