/**
 * The handshake inside a session (WIRE.md §3.11): Noise IK in mode 1, whose prologue names the session. It comes through the
 * session's own datagrams, so it needs no macs, cookies or stamps; statics and session ids must be the live ones.
 */
import { equalBytes } from '../base/bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { MESSAGE_A, MESSAGE_B } from '../wire/handshake-fragment.ts'
import { decodeHandshakePayload, encodeHandshakePayload, handshakeStatus, LIMITS_DEFAULT, type HandshakePayload } from '../wire/handshake-payload.ts'
import type { Identity } from './identity.ts'
import { HandshakeState, type SplitKeys } from './noise.ts'
import { encodePrologue } from './prologue.ts'
import { sessionBinding } from './session-binding.ts'
import { isNoiseMessageSize, type Suite } from './suites.ts'

/** A live session as its rekey sees it. */
export interface RekeySession {
  readonly provider: CryptoProvider
  readonly identity: Identity
  readonly suite: Suite
  readonly peerId: Uint8Array
  readonly peerStatic: Uint8Array
  readonly sidSelf: Uint8Array
  readonly sidPeer: Uint8Array
}

/** Both sids are taken from the session. */
export type RekeyPayload = Omit<HandshakePayload, 'id' | 'sidSelf' | 'sidPeer'>

export interface RekeyResult {
  readonly keys: SplitKeys
  readonly payload: HandshakePayload
}

/** `noise`: not authentic, or not of this session; `refused`: authentic, and a no or a contradiction. */
export type RekeyFault = 'noise' | 'refused'

/** The initiator's side: message A, and the reading of B. */
export class RekeyInitiation {
  readonly localIndex: number
  readonly suite: Suite
  readonly message: Uint8Array
  readonly #session: RekeySession
  readonly #noise: HandshakeState

  constructor(session: RekeySession, payload: RekeyPayload) {
    this.localIndex = payload.index
    this.suite = session.suite
    this.#session = session
    this.#noise = handshake(session, 'initiator')
    // The peer's static was validated: no DH with it can be all zero.
    this.message = this.#noise.writeMessage(encode(session, payload, MESSAGE_A))!
  }

  /** On `noise` the attempt goes on as it was; on `refused` it is over. */
  readResponse(message: Uint8Array, senderIndex: number): RekeyResult | RekeyFault {
    if (!isNoiseMessageSize(this.suite, MESSAGE_B, message.length)) return 'noise'
    const read = this.#noise.readMessage(message)
    if (read.kind === 'malformed') return 'noise'
    const payload = checked(this.#session, read.payload, MESSAGE_B, senderIndex)
    return payload === undefined ? 'refused' : { keys: this.#noise.split(), payload }
  }

  wipe(): void {
    this.#noise.wipe()
  }
}

/** Reads A and writes B. Nothing is kept of a fault. */
export function answerRekey(session: RekeySession, payload: RekeyPayload, message: Uint8Array, senderIndex: number): (RekeyResult & { readonly message: Uint8Array }) | RekeyFault {
  if (!isNoiseMessageSize(session.suite, MESSAGE_A, message.length)) return 'noise'
  const noise = handshake(session, 'responder')
  const answer = readAndWrite(noise, session, payload, message, senderIndex)
  if (typeof answer === 'string') noise.wipe()
  return answer
}

function readAndWrite(noise: HandshakeState, session: RekeySession, payload: RekeyPayload, message: Uint8Array, senderIndex: number): (RekeyResult & { readonly message: Uint8Array }) | RekeyFault {
  const staged = noise.readStatic(message)
  if (staged.kind === 'malformed' || !equalBytes(staged.remoteStatic, session.peerStatic)) return 'noise'
  const read = noise.readRest()
  if (read.kind === 'malformed') return 'noise'
  const theirs = checked(session, read.payload, MESSAGE_A, senderIndex)
  if (theirs === undefined) return 'refused'
  const response = noise.writeMessage(encode(session, payload, MESSAGE_B))
  return response === undefined ? 'noise' : { message: response, keys: noise.split(), payload: theirs }
}

function handshake(session: RekeySession, role: 'initiator' | 'responder'): HandshakeState {
  const { provider, identity, suite, peerId, sidSelf, sidPeer } = session
  const binding = sessionBinding(provider, { id: identity.id, sid: sidSelf }, { id: peerId, sid: sidPeer })
  const initiator = role === 'initiator'
  return new HandshakeState(provider, {
    pattern: suite.pattern, protocolName: suite.name, role, ...identity.noise,
    prologue: encodePrologue({ suite, mode: 1, responderId: initiator ? peerId : identity.id, sessionBinding: binding }),
    ...(initiator ? { rs: session.peerStatic } : {}),
  })
}

function encode(session: RekeySession, payload: RekeyPayload, message: typeof MESSAGE_A | typeof MESSAGE_B): Uint8Array {
  return encodeHandshakePayload({ ...payload, id: session.identity.id, sidSelf: session.sidSelf, sidPeer: session.sidPeer }, message)
}

/** The payload if it speaks of this very session. */
function checked(session: RekeySession, plain: Uint8Array, message: typeof MESSAGE_A | typeof MESSAGE_B, senderIndex: number): HandshakePayload | undefined {
  const decoded = decodeHandshakePayload(plain, { message, senderIndex, defaults: LIMITS_DEFAULT })
  if (decoded.kind === 'malformed') return undefined
  const { payload } = decoded
  const live = equalBytes(payload.id, session.peerId) && equalBytes(payload.sidSelf, session.sidPeer) && equalBytes(payload.sidPeer, session.sidSelf)
  return live && payload.status === handshakeStatus.ok ? payload : undefined
}
