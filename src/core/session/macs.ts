/**
 * Everything keyed that is not Noise: mac1 and mac2, cookies, hints, invite proofs and reset tokens (WIRE.md §3.3, §3.4, §3.6,
 * §3.10). All are HMAC-SHA-256 under a label, cut to 16 bytes, and compared in constant time.
 */
import { assert } from '../base/assert.ts'
import { equalConstantTime, utf8, wipe, writeU32, writeU64 } from '../base/bytes.ts'
import type { LinkKind } from '../base/domain.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { FRAGMENT_HEADER_SIZE, MAC_SIZE, MESSAGE_A, type HandshakeMessage } from '../wire/handshake-fragment.ts'

const MAC1_LABEL = utf8('postern mac1')
const COOKIE_LABEL = utf8('postern cookie')
const HINT_LABEL = utf8('postern hint')
const INVITE_ID_LABEL = utf8('postern invite id')
const INVITE_LABEL = utf8('postern invite')
const REPLY_LABEL = utf8('postern reply')
const RESET_LABEL = utf8('postern reset')
const KNOCK_LABEL = utf8('postern knock')
const ZERO_NONCE = new Uint8Array(12)
const NO_DATA = new Uint8Array(0)

/** K of mac1, COOKIE and HINT for an XX towards a stranger: nobody's key (WIRE.md §3.4). */
export const OPEN_KEY: Uint8Array = new Uint8Array(32)

/** The 16-byte mac of `parts` under `key`. */
export function computeMac(provider: CryptoProvider, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  return provider.hmac(key, ...parts).slice(0, MAC_SIZE)
}

export function verifyMac(provider: CryptoProvider, key: Uint8Array, mac: Uint8Array, ...parts: readonly Uint8Array[]): boolean {
  return equalConstantTime(computeMac(provider, key, ...parts), mac)
}

/**
 * Key of mac1 from K: for A the responder's X25519 static (IK) or presence key (XX), for B and C the handshake hash after the
 * message before. Worth keeping where K is: one hash.
 *
 * @param binding of A of XX: what it is good for, and for nothing else (`session/xx-binding.ts`)
 */
export function mac1Key(provider: CryptoProvider, k: Uint8Array, binding?: Uint8Array): Uint8Array {
  return binding === undefined ? provider.sha256(MAC1_LABEL, k) : provider.sha256(MAC1_LABEL, k, binding)
}

/**
 * Appends the macs of a fragment that begins at `start` and whose body ends at `bodyEnd`, and returns the end of the datagram:
 * mac1 over all before it, and in A mac2 under the cookie, zeros without one.
 */
export function writeFragmentMacs(provider: CryptoProvider, bytes: Uint8Array, start: number, bodyEnd: number, message: HandshakeMessage, key: Uint8Array, cookie?: Uint8Array): number {
  bytes.set(computeMac(provider, key, bytes.subarray(start, bodyEnd)), bodyEnd)
  const mac2 = bodyEnd + MAC_SIZE
  if (message !== MESSAGE_A) return mac2
  if (cookie === undefined) bytes.fill(0, mac2, mac2 + MAC_SIZE)
  else bytes.set(computeMac(provider, cookie, bytes.subarray(start, mac2)), mac2)
  return mac2 + MAC_SIZE
}

/** Whether mac1 of the well-formed fragment at `start` verifies under `key` ({@link mac1Key}). */
export function verifyMac1(provider: CryptoProvider, bytes: Uint8Array, start: number, length: number, message: HandshakeMessage, key: Uint8Array): boolean {
  const end = start + length - (message === MESSAGE_A ? MAC_SIZE : 0)
  const mac1 = end - MAC_SIZE
  assert(mac1 >= start + FRAGMENT_HEADER_SIZE, 'the fragment is well-formed')
  return verifyMac(provider, key, bytes.subarray(mac1, end), bytes.subarray(start, mac1))
}

/** Whether mac2 of the well-formed fragment of A at `start` verifies under `cookie`. */
export function verifyMac2(provider: CryptoProvider, bytes: Uint8Array, start: number, length: number, cookie: Uint8Array): boolean {
  const mac2 = start + length - MAC_SIZE
  assert(mac2 >= start + FRAGMENT_HEADER_SIZE, 'the fragment is well-formed')
  return verifyMac(provider, cookie, bytes.subarray(mac2, mac2 + MAC_SIZE), bytes.subarray(start, mac2))
}

/** Path kinds as numbers under the cookie's hash. They never leave the node: a cookie is opaque to its holder. */
const kindNumbers: Readonly<Record<LinkKind, number>> = { udp: 0, tcp: 1, ble: 2, relay: 3, turn: 4 }

/** The cookie of an address: `HMAC(secret, kind u8 || address 16 || port u16)[0..16]`; `address` is the 18-byte form at `offset`. */
export function computeCookie(provider: CryptoProvider, secret: Uint8Array, kind: LinkKind, address: Uint8Array, offset = 0): Uint8Array {
  return computeMac(provider, secret, Uint8Array.of(kindNumbers[kind]), address.subarray(offset, offset + 18))
}

/** The cookie of a flow through a peer relay: `HMAC(secret, kind || relay id 32 || flow u64)[0..16]`. */
export function computeRelayCookie(provider: CryptoProvider, secret: Uint8Array, relayId: Uint8Array, flow: number): Uint8Array {
  const flowBytes = new Uint8Array(8)
  writeU64(flowBytes, 0, flow)
  return computeMac(provider, secret, Uint8Array.of(kindNumbers.relay), relayId, flowBytes)
}

/** Key of COOKIE boxes from the K that mac1 of the fragment used. */
export function cookieKey(provider: CryptoProvider, k: Uint8Array): Uint8Array {
  return provider.sha256(COOKIE_LABEL, k)
}

/** The box of a COOKIE datagram, 32 bytes. `nonce` is 16 fresh random bytes: they make the box's key single-use. */
export function sealCookie(provider: CryptoProvider, key: Uint8Array, nonce: Uint8Array, mac1: Uint8Array, cookie: Uint8Array): Uint8Array {
  const boxKey = provider.hmac(key, nonce, mac1)
  const box = provider.seal(boxKey, ZERO_NONCE, NO_DATA, cookie)
  wipe(boxKey)
  return box
}

/** The cookie in a box, if it answers the fragment that had this `mac1`. */
export function openCookie(provider: CryptoProvider, key: Uint8Array, nonce: Uint8Array, mac1: Uint8Array, box: Uint8Array): Uint8Array | undefined {
  const boxKey = provider.hmac(key, nonce, mac1)
  const cookie = provider.open(boxKey, ZERO_NONCE, NO_DATA, box)
  wipe(boxKey)
  return cookie
}

/** The mac of a HINT: over its first 12 bytes and mac1 of the A that is answered. */
export function computeHintMac(provider: CryptoProvider, k: Uint8Array, head: Uint8Array, mac1: Uint8Array): Uint8Array {
  return computeMac(provider, provider.sha256(HINT_LABEL, k), head, mac1)
}

/** Names an invite's token without showing it: 8 bytes. */
export function inviteTokenId(provider: CryptoProvider, token: Uint8Array): Uint8Array {
  return provider.sha256(INVITE_ID_LABEL, token).slice(0, 8)
}

/** Shows that the initiator holds the token, for this pair and this stamp only: 16 bytes. */
export function inviteProof(provider: CryptoProvider, token: Uint8Array, initiatorId: Uint8Array, responderId: Uint8Array, stamp: Uint8Array): Uint8Array {
  return computeMac(provider, token, INVITE_LABEL, initiatorId, responderId, stamp)
}

export function verifyInviteProof(provider: CryptoProvider, token: Uint8Array, initiatorId: Uint8Array, responderId: Uint8Array, stamp: Uint8Array, proof: Uint8Array): boolean {
  return equalConstantTime(inviteProof(provider, token, initiatorId, responderId, stamp), proof)
}

/** Shows that who wrote a reply to the inviter holds the token: 16 bytes over the reply's content (core/wire/invite-reply). */
export function inviteReplyProof(provider: CryptoProvider, token: Uint8Array, inviterId: Uint8Array, content: Uint8Array): Uint8Array {
  return computeMac(provider, token, REPLY_LABEL, inviterId, content)
}

export function verifyInviteReply(provider: CryptoProvider, token: Uint8Array, inviterId: Uint8Array, content: Uint8Array, proof: Uint8Array): boolean {
  return equalConstantTime(inviteReplyProof(provider, token, inviterId, content), proof)
}

/**
 * Key of KNOCK: `HMAC(DH of both statics, "postern knock" || id_lo || id_hi)`. Only the two can make it, and both make the same.
 *
 * @param agreed the DH of both statics
 */
export function knockKey(provider: CryptoProvider, agreed: Uint8Array, lowerId: Uint8Array, higherId: Uint8Array): Uint8Array {
  return provider.hmac(agreed, KNOCK_LABEL, lowerId, higherId)
}

/** The token a RESET for `index` must carry: derived, so that a restarted node needs no table. 16 bytes. */
export function resetToken(provider: CryptoProvider, resetKey: Uint8Array, index: number): Uint8Array {
  const indexBytes = new Uint8Array(4)
  writeU32(indexBytes, 0, index)
  return computeMac(provider, resetKey, RESET_LABEL, indexBytes)
}
