/**
 * One UDP socket (WIRE.md §1): what the first byte means, and the header of every datagram that is ours. Nothing is parsed
 * before {@link classify}; the decoders rely on its size rules but check them again, because TCP, BLE and relays carry the
 * same datagrams.
 */
import { assert } from '../base/assert.ts'
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from '../base/bytes.ts'
import { STUN_HEADER_SIZE, STUN_MAGIC_COOKIE } from './stun.ts'

export const WIRE_VERSION = 1

export const TYPE_HANDSHAKE = 0x60
export const TYPE_COOKIE = 0x61
export const TYPE_TRANSPORT = 0x62
export const TYPE_RESET = 0x63
export const TYPE_HINT = 0x64
export const TYPE_KNOCK = 0x65

export const HANDSHAKE_SIZE_MIN = 100
/** UDP payload that fits the IPv6 minimum MTU: the base of every path (WIRE.md §6). */
export const HANDSHAKE_SIZE_MAX = 1200
export const COOKIE_SIZE = 56
export const RESET_SIZE = 24
export const HINT_SIZE = 28
export const KNOCK_SIZE = 28
/** Header, the least plaintext and the tag. */
export const TRANSPORT_SIZE_MIN = 45
export const DATAGRAM_SIZE_MAX = 65_507

export const TRANSPORT_HEADER_SIZE = 13
/** Header and tag: what sealing adds to a plaintext. */
export const TRANSPORT_OVERHEAD = 29

/** RFC 8656 §12.4. */
const CHANNEL_DATA_HEADER_SIZE = 4

/** What a datagram is, as small numbers for the hot path. Those whose names begin with `drop` are dropped and counted. */
export const datagramKind = {
  transport: 0, handshake: 1, cookie: 2, reset: 3, hint: 4, stun: 5, turnChannel: 6,
  /** First byte of no protocol here. */ dropType: 7,
  /** Shorter or longer than its type may be. */ dropSize: 8,
  /** A version we do not speak: never answered, an answer would be a downgrade oracle and a reflector. */ dropVersion: 9,
  /** STUN or ChannelData whose own length or magic is wrong. */ dropFormat: 10,
  knock: 11,
} as const
export type DatagramKind = (typeof datagramKind)[keyof typeof datagramKind]

/** Sorts a datagram by its first byte (RFC 7983, RFC 9443) and the size rules of WIRE.md §1. Takes any bytes, `length` ≥ 0. */
export function classify(bytes: Uint8Array, offset: number, length: number): DatagramKind {
  if (length === 0) return datagramKind.dropSize
  const first = bytes[offset]!
  switch (first) {
    case TYPE_TRANSPORT: return length >= TRANSPORT_SIZE_MIN && length <= DATAGRAM_SIZE_MAX ? datagramKind.transport : datagramKind.dropSize
    case TYPE_HANDSHAKE: return versioned(bytes, offset, length >= HANDSHAKE_SIZE_MIN && length <= HANDSHAKE_SIZE_MAX, datagramKind.handshake)
    case TYPE_COOKIE: return versioned(bytes, offset, length === COOKIE_SIZE, datagramKind.cookie)
    case TYPE_RESET: return versioned(bytes, offset, length === RESET_SIZE, datagramKind.reset)
    case TYPE_HINT: return versioned(bytes, offset, length === HINT_SIZE, datagramKind.hint)
    case TYPE_KNOCK: return versioned(bytes, offset, length === KNOCK_SIZE, datagramKind.knock)
    default:
      if (first <= 0x03) return classifyStun(bytes, offset, length)
      if (first >= 0x40 && first <= 0x4f) return classifyChannelData(bytes, offset, length)
      return datagramKind.dropType
  }
}

function versioned(bytes: Uint8Array, offset: number, sizeFits: boolean, kind: DatagramKind): DatagramKind {
  if (!sizeFits) return datagramKind.dropSize
  return bytes[offset + 1] === WIRE_VERSION ? kind : datagramKind.dropVersion
}

function classifyStun(bytes: Uint8Array, offset: number, length: number): DatagramKind {
  if (length < STUN_HEADER_SIZE) return datagramKind.dropSize
  const body = (bytes[offset + 2]! << 8) | bytes[offset + 3]!
  if (body % 4 !== 0 || length !== STUN_HEADER_SIZE + body) return datagramKind.dropFormat
  const magic = ((bytes[offset + 4]! << 24) | (bytes[offset + 5]! << 16) | (bytes[offset + 6]! << 8) | bytes[offset + 7]!) >>> 0
  return magic === STUN_MAGIC_COOKIE ? datagramKind.stun : datagramKind.dropFormat
}

/** Over UDP the padding to 4 bytes is optional (RFC 8656 §12.5), so the datagram may be longer than the header says. */
function classifyChannelData(bytes: Uint8Array, offset: number, length: number): DatagramKind {
  if (length < CHANNEL_DATA_HEADER_SIZE) return datagramKind.dropSize
  const body = (bytes[offset + 2]! << 8) | bytes[offset + 3]!
  return CHANNEL_DATA_HEADER_SIZE + body <= length ? datagramKind.turnChannel : datagramKind.dropFormat
}

/*
 * TRANSPORT (WIRE.md §4): 0 0x62 | 1 receiver index u32 | 5 counter u64 | 13 ciphertext | tag 16
 */

export function writeTransportHeader(bytes: Uint8Array, offset: number, receiverIndex: number, counter: number): void {
  bytes[offset] = TYPE_TRANSPORT
  writeU32(bytes, offset + 1, receiverIndex)
  writeU64(bytes, offset + 5, counter)
}

export function readTransportIndex(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset + 1)
}

/** The packet number, −1 above 2^53 − 1: no honest keypair gets there (2^48), and a double could not tell it from its neighbours. */
export function readTransportCounter(bytes: Uint8Array, offset: number): number {
  const counter = readU64(bytes, offset + 5)
  return counter <= Number.MAX_SAFE_INTEGER ? counter : -1
}

/*
 * COOKIE, 56 bytes (WIRE.md §3.6):
 *   0 0x61 | 1 version | 2 zero u16 | 4 receiver index u32 (sender index of the A it answers) | 8 nonce 16 | 24 box 32
 */

export interface CookieDatagram {
  readonly kind: 'cookie'
  readonly receiverIndex: number
  readonly nonce: Uint8Array
  readonly box: Uint8Array
}

export function encodeCookieDatagram(receiverIndex: number, nonce: Uint8Array, box: Uint8Array): Uint8Array {
  assert(nonce.length === 16 && box.length === 32, 'a cookie has a nonce of 16 and a box of 32 bytes')
  const datagram = header(TYPE_COOKIE, COOKIE_SIZE)
  writeU32(datagram, 4, receiverIndex)
  datagram.set(nonce, 8)
  datagram.set(box, 24)
  return datagram
}

/** Nonce and box are views of `bytes`. */
export function decodeCookieDatagram(bytes: Uint8Array, offset: number, length: number): CookieDatagram | { readonly kind: 'malformed'; readonly where: HeaderFault } {
  const fault = headerFault(bytes, offset, length, TYPE_COOKIE, COOKIE_SIZE, 2)
  if (fault !== undefined) return { kind: 'malformed', where: fault }
  return {
    kind: 'cookie',
    receiverIndex: readU32(bytes, offset + 4),
    nonce: bytes.subarray(offset + 8, offset + 24),
    box: bytes.subarray(offset + 24, offset + 56),
  }
}

/*
 * RESET, 24 bytes (WIRE.md §3.10): 0 0x63 | 1 version | 2 zero u16 | 4 index u32 (the unknown one) | 8 token 16
 */

export interface ResetDatagram {
  readonly kind: 'reset'
  readonly index: number
  readonly token: Uint8Array
}

export function encodeResetDatagram(index: number, token: Uint8Array): Uint8Array {
  assert(token.length === 16, 'a reset token has 16 bytes')
  const datagram = header(TYPE_RESET, RESET_SIZE)
  writeU32(datagram, 4, index)
  datagram.set(token, 8)
  return datagram
}

/** The token is a view of `bytes`. */
export function decodeResetDatagram(bytes: Uint8Array, offset: number, length: number): ResetDatagram | { readonly kind: 'malformed'; readonly where: HeaderFault } {
  const fault = headerFault(bytes, offset, length, TYPE_RESET, RESET_SIZE, 2)
  if (fault !== undefined) return { kind: 'malformed', where: fault }
  return { kind: 'reset', index: readU32(bytes, offset + 4), token: bytes.subarray(offset + 8, offset + 24) }
}

/*
 * HINT, 28 bytes (WIRE.md §3.6):
 *   0 0x64 | 1 version | 2 code u8 (1 suite unknown) | 3 zero u8 | 4 receiver index u32 | 8 suites u16 | 10 versions u16 | 12 mac 16
 */

/** The mac covers the bytes before it, and mac1 of the A that is answered. */
export const HINT_MAC_OFFSET = 12
export const HINT_SUITE_UNKNOWN = 1

export interface HintDatagram {
  readonly kind: 'hint'
  readonly code: number
  readonly receiverIndex: number
  /** Bit n: suite n is accepted. */
  readonly suites: number
  /** Bit n: wire version n is spoken. */
  readonly versions: number
  readonly mac: Uint8Array
}

/** The first 12 bytes of a HINT; the caller appends the mac over them. */
export function encodeHintHead(code: number, receiverIndex: number, suites: number, versions: number): Uint8Array {
  const head = header(TYPE_HINT, HINT_MAC_OFFSET)
  head[2] = code
  writeU32(head, 4, receiverIndex)
  writeU16(head, 8, suites)
  writeU16(head, 10, versions)
  return head
}

/** The mac is a view of `bytes`. */
export function decodeHintDatagram(bytes: Uint8Array, offset: number, length: number): HintDatagram | { readonly kind: 'malformed'; readonly where: HeaderFault } {
  const fault = headerFault(bytes, offset, length, TYPE_HINT, HINT_SIZE, 3)
  if (fault !== undefined) return { kind: 'malformed', where: fault }
  return {
    kind: 'hint',
    code: bytes[offset + 2]!,
    receiverIndex: readU32(bytes, offset + 4),
    suites: readU16(bytes, offset + 8),
    versions: readU16(bytes, offset + 10),
    mac: bytes.subarray(offset + HINT_MAC_OFFSET, offset + HINT_SIZE),
  }
}

/*
 * KNOCK, 28 bytes (decision 098): 0 0x65 | 1 version | 2 from u8 (0 the easy side, 1 the hard one) | 3 zero u8 | 4 nonce 8 | 12 mac 16
 */

/** The mac covers the bytes before it. */
export const KNOCK_MAC_OFFSET = 12

export interface KnockDatagram {
  readonly kind: 'knock'
  readonly from: 'easy' | 'hard'
  /** What the mac is over. */
  readonly head: Uint8Array
  readonly mac: Uint8Array
}

/** The first 12 bytes of a KNOCK; the caller appends the mac over them. */
export function encodeKnockHead(from: 'easy' | 'hard', nonce: Uint8Array): Uint8Array {
  assert(nonce.length === 8, 'a knock has a nonce of 8 bytes')
  const head = header(TYPE_KNOCK, KNOCK_MAC_OFFSET)
  head[2] = from === 'hard' ? 1 : 0
  head.set(nonce, 4)
  return head
}

/** Head and mac are views of `bytes`. */
export function decodeKnockDatagram(bytes: Uint8Array, offset: number, length: number): KnockDatagram | { readonly kind: 'malformed'; readonly where: HeaderFault } {
  const fault = headerFault(bytes, offset, length, TYPE_KNOCK, KNOCK_SIZE, 3)
  if (fault !== undefined) return { kind: 'malformed', where: fault }
  if (bytes[offset + 2]! > 1) return { kind: 'malformed', where: 'zero' }
  return {
    kind: 'knock', from: bytes[offset + 2] === 1 ? 'hard' : 'easy',
    head: bytes.subarray(offset, offset + KNOCK_MAC_OFFSET), mac: bytes.subarray(offset + KNOCK_MAC_OFFSET, offset + KNOCK_SIZE),
  }
}

export type HeaderFault = 'size' | 'type' | 'version' | 'zero'

function header(type: number, size: number): Uint8Array {
  const datagram = new Uint8Array(size)
  datagram[0] = type
  datagram[1] = WIRE_VERSION
  return datagram
}

/** What is wrong with a short fixed-size datagram whose bytes from `zeroFrom` up to offset 4 must be zero. */
function headerFault(bytes: Uint8Array, offset: number, length: number, type: number, size: number, zeroFrom: number): HeaderFault | undefined {
  if (length !== size) return 'size'
  if (bytes[offset] !== type) return 'type'
  if (bytes[offset + 1] !== WIRE_VERSION) return 'version'
  for (let i = zeroFrom; i < 4; i++) {
    if (bytes[offset + i] !== 0) return 'zero'
  }
  return undefined
}
