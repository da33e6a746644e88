import { equalBytes } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { MESSAGE_A, MESSAGE_B } from '../wire/handshake-fragment.ts'
import { decodeHandshakePayload, encodeHandshakePayload, LIMITS_DEFAULT, type HandshakePayload } from '../wire/handshake-payload.ts'
import { handshakeDatagram } from './handshake-datagrams.ts'
import { messageDigest } from './fragment-slots.ts'
import type { Identity } from './identity.ts'
import { mac1Key } from './macs.ts'
import { HandshakeState, type SplitKeys } from './noise.ts'
import { encodePrologue } from './prologue.ts'
import type { Suite } from './suites.ts'

/** A message A that was read whole. Nothing in it may be acted on before the handshake is confirmed (WIRE.md §3.8). */
export interface ReadInitiation {
  readonly noise: HandshakeState
  readonly payload: HandshakePayload
  readonly remoteStatic: Uint8Array
  /** 0, or the status of the refusal that is its answer (WIRE.md §3.3). */
  readonly status: number
}

export type InitiationFault = 'noise' | 'payload' | 'self' | 'stranger' | 'id'

/** What a responder asks its tables while it reads A, cheapest question first. Nothing is changed by asking. */
export interface Admission {
  /** Before the DH of `ss`: false for a static that is neither known nor possibly invited. */
  admitStatic(remoteStatic: Uint8Array): boolean
  /**
   * Whether this payload's id may come in: 0, or the status of a refusal for who proved to know us. `undefined` for a stranger,
   * who gets no answer at all. Before an unknown id is validated, which costs a millisecond.
   */
  admitPayload(payload: HandshakePayload): number | undefined
  /** The X25519 form of a valid id, `undefined` for one that is not. */
  x25519Of(id: Uint8Array): Uint8Array | undefined
}

/** Reads A of an IK suite. On a fault everything secret of it is wiped. */
export function readInitiation(provider: CryptoProvider, identity: Identity, admission: Admission, suite: Suite, message: Uint8Array, senderIndex: number): ReadInitiation | InitiationFault {
  const noise = new HandshakeState(provider, {
    pattern: suite.pattern, protocolName: suite.name, role: 'responder',
    prologue: encodePrologue({ suite, mode: 0, responderId: identity.id, sessionBinding: undefined }), ...identity.noise,
  })
  const read = readAdmitted(noise, identity, admission, message, senderIndex)
  if (typeof read === 'string') noise.wipe()
  return read
}

function readAdmitted(noise: HandshakeState, identity: Identity, admission: Admission, message: Uint8Array, senderIndex: number): ReadInitiation | InitiationFault {
  const staged = noise.readStatic(message)
  if (staged.kind === 'malformed') return 'noise'
  if (equalBytes(staged.remoteStatic, identity.staticKeyPair.publicKey)) return 'self'
  if (!admission.admitStatic(staged.remoteStatic)) return 'stranger'
  const read = noise.readRest()
  if (read.kind === 'malformed') return 'noise'
  const decoded = decodeHandshakePayload(read.payload, { message: MESSAGE_A, senderIndex, defaults: LIMITS_DEFAULT })
  if (decoded.kind === 'malformed') return 'payload'
  const status = admission.admitPayload(decoded.payload)
  if (status === undefined) return 'stranger'
  // The id travels because the map loses the sign; it must be valid and be the Noise static, byte for byte (WIRE.md §2).
  const form = admission.x25519Of(decoded.payload.id)
  if (form === undefined || !equalBytes(form, staged.remoteStatic)) return 'id'
  return { noise, payload: decoded.payload, remoteStatic: staged.remoteStatic, status }
}

/** Message B, kept so that copies of A can be answered without computing anything. */
export interface Response {
  /** Fragment k answers fragment k of A. */
  readonly datagrams: readonly Uint8Array[]
  readonly keys: SplitKeys
}

/** Writes B. `undefined` when the initiator's ephemeral is of small order. The payload's status decides whether it is a refusal. */
export function writeResponse(
  provider: CryptoProvider, identity: Identity, suite: Suite, read: ReadInitiation, payload: Omit<HandshakePayload, 'id'>, senderIndex: number, count: number,
): Response | undefined {
  const macKey = mac1Key(provider, read.noise.getHandshakeHash())
  const message = read.noise.writeMessage(encodeHandshakePayload({ ...payload, id: identity.id }, MESSAGE_B))
  if (message === undefined) {
    read.noise.wipe()
    return undefined
  }
  const digest = messageDigest(provider, message)
  const datagrams: Uint8Array[] = []
  for (let number = 0; number < count; number++) {
    const header = { suite: suite.number, message: MESSAGE_B, number, count, senderIndex: payload.index, receiverIndex: senderIndex, digest } as const
    datagrams.push(handshakeDatagram(provider, header, message, macKey))
  }
  return { datagrams, keys: read.noise.split() }
}
