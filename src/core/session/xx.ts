/**
 * Noise XX (WIRE.md §3, suite 2): neither side names itself in clear. A is an ephemeral key and padding, B names the responder to who sent A, C the
 * initiator to the responder. The initiator looks at B before it sends C, so that whoever merely replays a friend's advertisement learns nothing of it.
 */
import { equalBytes, isAllZero } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { fragmentCount, FRAGMENTS_MAX, MESSAGE_A, MESSAGE_B, MESSAGE_C, type HandshakeFragment, type HandshakeMessage } from '../wire/handshake-fragment.ts'
import { decodeHandshakePayload, encodeHandshakePayload, LIMITS_DEFAULT, type HandshakePayload } from '../wire/handshake-payload.ts'
import { AnswerSlots, digestMatches, messageDigest } from './fragment-slots.ts'
import { handshakeDatagram } from './handshake-datagrams.ts'
import type { Identity } from './identity.ts'
import { mac1Key, verifyMac1 } from './macs.ts'
import { HandshakeState, type Role, type SplitKeys } from './noise.ts'
import { encodePrologue } from './prologue.ts'
import { isNoiseMessageSize, type Suite } from './suites.ts'

/** What an XX handshake of either side needs of its node. `x25519Of`: the form of a valid id, `undefined` for one that is not. */
export interface XxNode {
  readonly provider: CryptoProvider
  readonly identity: Identity
  x25519Of(id: Uint8Array): Uint8Array | undefined
}

/** noise: not authentic · payload: authentic and malformed · self: our own answer · id: an id that is not the static key's */
export type XxFault = 'incomplete' | 'duplicate' | 'mac1' | 'digest' | 'noise' | 'payload' | 'self' | 'id'

/** Who the other side is. */
export interface XxIdentified {
  readonly kind: 'identified'
  readonly payload: HandshakePayload
  readonly remoteIndex: number
}

function stateOf({ provider, identity }: XxNode, suite: Suite, role: Role): HandshakeState {
  return new HandshakeState(provider, {
    pattern: suite.pattern, protocolName: suite.name, role, prologue: encodePrologue({ suite, mode: 0, responderId: identity.id, sessionBinding: undefined }), ...identity.noise,
  })
}

/** Reads B or C: failures before the Noise message is authentic leave the handshake as it was (WIRE.md §3.11). */
function readAnswer(node: XxNode, suite: Suite, noise: HandshakeState, slots: AnswerSlots, macKey: Uint8Array, message: HandshakeMessage, fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): XxIdentified | XxFault {
  if (!verifyMac1(node.provider, bytes, offset, length, message, macKey)) return 'mac1'
  const whole = slots.add(fragment)
  if (whole === 'incomplete' || whole === 'duplicate') return whole
  if (whole === 'malformed' || !digestMatches(node.provider, whole, fragment.digest) || !isNoiseMessageSize(suite, message, whole.length)) return 'digest'
  const read = noise.readMessage(whole)
  if (read.kind === 'malformed') return 'noise'
  const remoteStatic = noise.remoteStatic!
  if (equalBytes(remoteStatic, node.identity.staticKeyPair.publicKey)) return 'self'
  const decoded = decodeHandshakePayload(read.payload, { message, senderIndex: fragment.senderIndex, defaults: LIMITS_DEFAULT })
  if (decoded.kind === 'malformed') return 'payload'
  const form = node.x25519Of(decoded.payload.id)
  if (form === undefined || !equalBytes(form, remoteStatic)) return 'id'
  return { kind: 'identified', payload: decoded.payload, remoteIndex: fragment.senderIndex }
}

function fragments(provider: CryptoProvider, suite: Suite, message: HandshakeMessage, noiseMessage: Uint8Array, count: number, senderIndex: number, receiverIndex: number, macKey: Uint8Array): Uint8Array[] {
  const digest = messageDigest(provider, noiseMessage)
  return Array.from({ length: count }, (_, number) => handshakeDatagram(provider, { suite: suite.number, message, number, count, senderIndex, receiverIndex, digest }, noiseMessage, macKey))
}

/** The initiator's side: A, the reading of B, and C for whom it turned out to be. */
export class XxInitiation {
  readonly localIndex: number
  readonly suite: Suite
  readonly #node: XxNode
  readonly #noise: HandshakeState
  readonly #message: Uint8Array
  readonly #macKey: Uint8Array
  readonly #answerMacKey: Uint8Array
  readonly #slots = new AnswerSlots()

  /**
   * @param k presence key of whom is meant, or zeros for a stranger (WIRE.md §3.4)
   * @param binding `xxBinding` of the link: A is answered there and nowhere else
   */
  constructor(node: XxNode, suite: Suite, localIndex: number, k: Uint8Array, binding: Uint8Array) {
    this.#node = node
    this.suite = suite
    this.localIndex = localIndex
    this.#noise = stateOf(node, suite, 'initiator')
    // An ephemeral key and zeros: no DH that could fail.
    this.#message = this.#noise.writeMessage(new Uint8Array(suite.payloadSize[MESSAGE_A]!))!
    this.#macKey = mac1Key(node.provider, k, binding)
    this.#answerMacKey = mac1Key(node.provider, this.#noise.getHandshakeHash())
  }

  datagrams(datagramMax: number): Uint8Array[] {
    const count = fragmentCount(MESSAGE_A, this.#message.length, datagramMax) ?? FRAGMENTS_MAX
    return fragments(this.#node.provider, this.suite, MESSAGE_A, this.#message, count, this.localIndex, 0, this.#macKey)
  }

  readResponse(fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): XxIdentified | XxFault {
    return readAnswer(this.#node, this.suite, this.#noise, this.#slots, this.#answerMacKey, MESSAGE_B, fragment, bytes, offset, length)
  }

  /** C, and the keys. `undefined` when the responder's ephemeral is of small order. Nothing can be read or written afterwards. */
  confirm(payload: Omit<HandshakePayload, 'id'>, remoteIndex: number): { readonly datagrams: readonly Uint8Array[]; readonly keys: SplitKeys } | undefined {
    const { provider, identity } = this.#node
    const macKey = mac1Key(provider, this.#noise.getHandshakeHash())
    const message = this.#noise.writeMessage(encodeHandshakePayload({ ...payload, id: identity.id }, MESSAGE_C))
    if (message === undefined) return undefined
    return { datagrams: fragments(provider, this.suite, MESSAGE_C, message, 1, this.localIndex, remoteIndex, macKey), keys: this.#noise.split() }
  }

  wipe(): void {
    this.#noise.wipe()
  }
}

/** The responder's side: B for an A that is nobody's yet, and the reading of C. */
export class XxResponse {
  readonly localIndex: number
  readonly remoteIndex: number
  readonly suite: Suite
  /** B; fragment k answers fragment k of A. */
  readonly datagrams: readonly Uint8Array[]
  readonly #node: XxNode
  readonly #noise: HandshakeState
  readonly #answerMacKey: Uint8Array
  readonly #slots = new AnswerSlots()

  private constructor(node: XxNode, suite: Suite, noise: HandshakeState, localIndex: number, remoteIndex: number, datagrams: readonly Uint8Array[]) {
    this.#node = node
    this.suite = suite
    this.#noise = noise
    this.localIndex = localIndex
    this.remoteIndex = remoteIndex
    this.datagrams = datagrams
    this.#answerMacKey = mac1Key(node.provider, noise.getHandshakeHash())
  }

  /** Reads A and writes B in as many fragments. `undefined` for an A that is not an ephemeral key and zeros. */
  static to(node: XxNode, suite: Suite, message: Uint8Array, senderIndex: number, count: number, payload: Omit<HandshakePayload, 'id'>): XxResponse | undefined {
    const noise = stateOf(node, suite, 'responder')
    const read = noise.readMessage(message)
    const macKey = mac1Key(node.provider, noise.getHandshakeHash())
    const answer = read.kind === 'message' && isAllZero(read.payload) ? noise.writeMessage(encodeHandshakePayload({ ...payload, id: node.identity.id }, MESSAGE_B)) : undefined
    if (answer === undefined) {
      noise.wipe()
      return undefined
    }
    return new XxResponse(node, suite, noise, payload.index, senderIndex, fragments(node.provider, suite, MESSAGE_B, answer, count, payload.index, senderIndex, macKey))
  }

  readConfirmation(fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): XxIdentified | XxFault {
    return readAnswer(this.#node, this.suite, this.#noise, this.#slots, this.#answerMacKey, MESSAGE_C, fragment, bytes, offset, length)
  }

  split(): SplitKeys {
    return this.#noise.split()
  }

  wipe(): void {
    this.#noise.wipe()
  }
}
