import { equalBytes, toBinaryString } from '../base/bytes.ts'
import type { Instant } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { COOKIE_SIZE, decodeCookieDatagram, HANDSHAKE_SIZE_MAX } from '../wire/datagram.ts'
import { fragmentCount, FRAGMENTS_MAX, MAC_SIZE, MESSAGE_A, MESSAGE_B, type HandshakeFragment } from '../wire/handshake-fragment.ts'
import { decodeHandshakePayload, encodeHandshakePayload, LIMITS_DEFAULT, type HandshakePayload } from '../wire/handshake-payload.ts'
import type { CookieJar } from './cookie-jar.ts'
import { AnswerSlots, digestMatches, messageDigest } from './fragment-slots.ts'
import { handshakeDatagram } from './handshake-datagrams.ts'
import type { Identity } from './identity.ts'
import { cookieKey, mac1Key, openCookie, verifyMac1 } from './macs.ts'
import { HandshakeState, type SplitKeys } from './noise.ts'
import { encodePrologue } from './prologue.ts'
import { isNoiseMessageSize, type Suite } from './suites.ts'

/** Fragments per address whose mac1 a COOKIE may answer. */
const RECENT_MACS = 16
/** Addresses one attempt keeps macs for; a dial has at most 16. */
const ADDRESSES_MAX = 16

export interface InitiationOptions {
  readonly provider: CryptoProvider
  readonly identity: Identity
  readonly suite: Suite
  readonly responderId: Uint8Array
  readonly responderStatic: Uint8Array
  readonly payload: Omit<HandshakePayload, 'id'>
  readonly cookies: CookieJar
}

export type ResponseResult =
  | { readonly kind: 'accepted'; readonly keys: SplitKeys; readonly payload: HandshakePayload; readonly remoteIndex: number }
  /** Authenticated, but a refusal or a contradiction: the attempt is over. */
  | { readonly kind: 'refused'; readonly status: number }
  | { readonly kind: 'incomplete' | 'duplicate' | 'mac1' | 'digest' | 'noise' }

/** The initiator's side of one attempt: message A, its datagrams per address, and the reading of B. */
export class Initiation {
  readonly kind = 'initiation'
  readonly localIndex: number
  readonly stamp: Uint8Array
  readonly suite: Suite
  readonly #provider: CryptoProvider
  readonly #noise: HandshakeState
  readonly #message: Uint8Array
  readonly #digest: Uint8Array
  readonly #macKey: Uint8Array
  readonly #responderStatic: Uint8Array
  readonly #responseMacKey: Uint8Array
  readonly #responderId: Uint8Array
  readonly #cookies: CookieJar
  readonly #recentMacs = new Map<string, Uint8Array[]>()
  readonly #responses = new AnswerSlots()

  constructor(options: InitiationOptions) {
    const { provider, identity, suite, payload } = options
    this.#provider = provider
    this.suite = suite
    this.localIndex = payload.index
    this.stamp = payload.tai64n
    this.#responderId = options.responderId
    this.#responderStatic = options.responderStatic
    this.#cookies = options.cookies
    this.#noise = new HandshakeState(provider, {
      pattern: suite.pattern, protocolName: suite.name, role: 'initiator',
      prologue: encodePrologue({ suite, mode: 0, responderId: options.responderId, sessionBinding: undefined }),
      ...identity.noise, rs: options.responderStatic,
    })
    const message = this.#noise.writeMessage(encodeHandshakePayload({ ...payload, id: identity.id }, MESSAGE_A))
    // The responder's static was validated: no DH with it can be all zero.
    this.#message = message!
    this.#digest = messageDigest(provider, this.#message)
    this.#macKey = mac1Key(provider, options.responderStatic)
    this.#responseMacKey = mac1Key(provider, this.#noise.getHandshakeHash())
  }

  /** The datagrams that carry A to `address` (18 bytes), with a cookie of that address if we hold one. */
  datagrams(now: Instant, address: Uint8Array, datagramMax: number): Uint8Array[] {
    const key = toBinaryString(address)
    const cookie = this.#cookies.get(now, this.#responderId, address)
    const count = fragmentCount(MESSAGE_A, this.#message.length, Math.min(datagramMax, HANDSHAKE_SIZE_MAX)) ?? FRAGMENTS_MAX
    const datagrams: Uint8Array[] = []
    for (let number = 0; number < count; number++) {
      const header = { suite: this.suite.number, message: MESSAGE_A, number, count, senderIndex: this.localIndex, receiverIndex: 0, digest: this.#digest } as const
      const datagram = handshakeDatagram(this.#provider, header, this.#message, this.#macKey, cookie)
      this.#rememberMac(key, datagram.slice(datagram.length - 2 * MAC_SIZE, datagram.length - MAC_SIZE))
      datagrams.push(datagram)
    }
    return datagrams
  }

  /** Takes a COOKIE from `address`: whether it opened with the mac1 of a fragment sent there, so that A may go again with it. */
  acceptCookie(now: Instant, address: Uint8Array, bytes: Uint8Array, offset: number): boolean {
    const datagram = decodeCookieDatagram(bytes, offset, COOKIE_SIZE)
    if (datagram.kind === 'malformed') return false
    const boxKey = cookieKey(this.#provider, this.#responderStatic)
    for (const mac1 of this.#recentMacs.get(toBinaryString(address)) ?? []) {
      const cookie = openCookie(this.#provider, boxKey, datagram.nonce, mac1, datagram.box)
      if (cookie === undefined) continue
      this.#cookies.put(now, this.#responderId, address, cookie)
      return true
    }
    return false
  }

  /** Reads a fragment of B. Failures leave the attempt as it was: any observer can make a mac1 of B (WIRE.md §3.11). */
  readResponse(fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): ResponseResult {
    if (!verifyMac1(this.#provider, bytes, offset, length, MESSAGE_B, this.#responseMacKey)) return { kind: 'mac1' }
    const message = this.#responses.add(fragment)
    if (message === 'incomplete' || message === 'duplicate') return { kind: message }
    if (message === 'malformed' || !digestMatches(this.#provider, message, fragment.digest) || !isNoiseMessageSize(this.suite, MESSAGE_B, message.length)) return { kind: 'digest' }
    const read = this.#noise.readMessage(message)
    if (read.kind === 'malformed') return { kind: 'noise' }
    const decoded = decodeHandshakePayload(read.payload, { message: MESSAGE_B, senderIndex: fragment.senderIndex, defaults: LIMITS_DEFAULT })
    // B is authentic from here on: whatever it says is the responder's word, and the attempt ends with it.
    if (decoded.kind === 'malformed' || !equalBytes(decoded.payload.id, this.#responderId)) return { kind: 'refused', status: -1 }
    if (decoded.payload.status !== 0) return { kind: 'refused', status: decoded.payload.status }
    return { kind: 'accepted', keys: this.#noise.split(), payload: decoded.payload, remoteIndex: fragment.senderIndex }
  }

  /** The attempt is over. */
  wipe(): void {
    this.#noise.wipe()
  }

  #rememberMac(key: string, mac1: Uint8Array): void {
    let macs = this.#recentMacs.get(key)
    if (macs === undefined) {
      macs = []
      this.#recentMacs.set(key, macs)
      forgetOldest(this.#recentMacs)
    }
    // Without a new cookie the datagram, and so its mac1, is the same each time.
    if (macs.some((known) => equalBytes(known, mac1))) return
    if (macs.length === RECENT_MACS) macs.shift()
    macs.push(mac1)
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  if (map.size <= ADDRESSES_MAX) return
  const oldest = map.keys().next()
  if (oldest.done === false) map.delete(oldest.value)
}
