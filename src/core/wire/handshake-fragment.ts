/**
 * HANDSHAKE datagrams (WIRE.md §3.4): a Noise message in one to four pieces.
 *
 *    0 0x60 | 1 version | 2 suite u8 | 3 part u8: bits 0-1 message (0 A, 1 B, 2 C), 2-3 fragment number, 4-5 fragments − 1, 6-7 zero
 *    4 sender index u32 | 8 receiver index u32 (A: 0; B: the initiator's; C: the responder's)
 *   12 digest 8 = SHA-256(whole Noise message)[0..8]
 *   20 body: piece of the Noise message, at least 64 bytes
 *      mac1 16 | mac2 16 (A only)
 *
 * Number and count instead of offset and length: no overlap can be expressed, and reassembly is a table of four slots.
 */
import { assert } from '../base/assert.ts'
import { readU32, writeU32 } from '../base/bytes.ts'
import { HANDSHAKE_SIZE_MAX, TYPE_HANDSHAKE, WIRE_VERSION } from './datagram.ts'

export const MESSAGE_A = 0
export const MESSAGE_B = 1
export const MESSAGE_C = 2
/** Which of a handshake's messages: A and C are the initiator's, B the responder's. */
export type HandshakeMessage = typeof MESSAGE_A | typeof MESSAGE_B | typeof MESSAGE_C

export const FRAGMENT_HEADER_SIZE = 20
export const FRAGMENT_BODY_MIN = 64
export const FRAGMENTS_MAX = 4
/** Largest Noise message: the A of suite 3 with 512 bytes of payload is 1808. */
export const NOISE_MESSAGE_MAX = 2048
export const MAC_SIZE = 16
export const DIGEST_SIZE = 8

export interface FragmentHeader {
  readonly suite: number
  readonly message: HandshakeMessage
  /** 0 … count − 1. */
  readonly number: number
  /** 1 … 4. */
  readonly count: number
  readonly senderIndex: number
  readonly receiverIndex: number
  /** 8 bytes. */
  readonly digest: Uint8Array
}

/** Digest, body and macs are views of the datagram. */
export interface HandshakeFragment extends FragmentHeader {
  readonly kind: 'handshake'
  readonly body: Uint8Array
  readonly mac1: Uint8Array
  /** Of A only; all zero without a cookie. */
  readonly mac2: Uint8Array | undefined
}

export type FragmentFault = 'size' | 'type' | 'version' | 'part' | 'index'

/** Bytes around the body of one fragment: 52 in A, 36 in B and C. */
export function fragmentOverhead(message: HandshakeMessage): number {
  return FRAGMENT_HEADER_SIZE + (message === MESSAGE_A ? 2 : 1) * MAC_SIZE
}

/** The fewest fragments in which a Noise message of `size` bytes fits datagrams of `datagramMax`; `undefined` when four do not. */
export function fragmentCount(message: HandshakeMessage, size: number, datagramMax: number = HANDSHAKE_SIZE_MAX): number | undefined {
  const count = Math.max(1, Math.ceil(size / (datagramMax - fragmentOverhead(message))))
  return datagramMax > fragmentOverhead(message) && count <= FRAGMENTS_MAX ? count : undefined
}

/** Bytes of piece `number` of `count` of a Noise message of `size` bytes: all pieces but the last are equally long. */
export function fragmentBodySize(size: number, number: number, count: number): number {
  const piece = Math.ceil(size / count)
  return Math.max(0, Math.min(piece, size - number * piece))
}

/** Piece `number` of `count` of a Noise message, as a view. */
export function fragmentBody(noiseMessage: Uint8Array, number: number, count: number): Uint8Array {
  const size = Math.ceil(noiseMessage.length / count)
  return noiseMessage.subarray(number * size, (number + 1) * size)
}

/** Writes header and body at `offset` and returns the offset behind them, where mac1 (and in A mac2) belongs. */
export function writeHandshakeFragment(bytes: Uint8Array, offset: number, header: FragmentHeader, body: Uint8Array): number {
  assert(header.number < header.count && header.count <= FRAGMENTS_MAX, 'fragment number is below count, count at most 4')
  assert(header.digest.length === DIGEST_SIZE && body.length >= FRAGMENT_BODY_MIN, 'digest of 8 bytes, body of at least 64')
  bytes[offset] = TYPE_HANDSHAKE
  bytes[offset + 1] = WIRE_VERSION
  bytes[offset + 2] = header.suite
  bytes[offset + 3] = header.message | (header.number << 2) | ((header.count - 1) << 4)
  writeU32(bytes, offset + 4, header.senderIndex)
  writeU32(bytes, offset + 8, header.receiverIndex)
  bytes.set(header.digest, offset + 12)
  bytes.set(body, offset + FRAGMENT_HEADER_SIZE)
  return offset + FRAGMENT_HEADER_SIZE + body.length
}

/**
 * Step 1 of WIRE.md §3.5: length, version and part well-formed, zero bits zero, indexes as the message demands. Suites are
 * not judged here, because an A of an unknown suite may earn a HINT.
 */
export function decodeHandshakeFragment(bytes: Uint8Array, offset: number, length: number): HandshakeFragment | { readonly kind: 'malformed'; readonly where: FragmentFault } {
  if (length < FRAGMENT_HEADER_SIZE + FRAGMENT_BODY_MIN + MAC_SIZE || length > HANDSHAKE_SIZE_MAX) return { kind: 'malformed', where: 'size' }
  if (bytes[offset] !== TYPE_HANDSHAKE) return { kind: 'malformed', where: 'type' }
  if (bytes[offset + 1] !== WIRE_VERSION) return { kind: 'malformed', where: 'version' }
  const part = bytes[offset + 3]!
  const message = messageOf(part & 3)
  const number = (part >>> 2) & 3
  const count = ((part >>> 4) & 3) + 1
  if (message === undefined || number >= count || part >= 0x40) return { kind: 'malformed', where: 'part' }
  const end = offset + length
  const bodyEnd = end - (message === MESSAGE_A ? 2 : 1) * MAC_SIZE
  if (bodyEnd - offset - FRAGMENT_HEADER_SIZE < FRAGMENT_BODY_MIN) return { kind: 'malformed', where: 'size' }
  const senderIndex = readU32(bytes, offset + 4)
  const receiverIndex = readU32(bytes, offset + 8)
  // Index 0 is nobody's: only A has a receiver index of 0, because it knows none yet.
  if (senderIndex === 0 || (receiverIndex === 0) !== (message === MESSAGE_A)) return { kind: 'malformed', where: 'index' }
  return {
    kind: 'handshake',
    suite: bytes[offset + 2]!,
    message,
    number,
    count,
    senderIndex,
    receiverIndex,
    digest: bytes.subarray(offset + 12, offset + 20),
    body: bytes.subarray(offset + FRAGMENT_HEADER_SIZE, bodyEnd),
    mac1: bytes.subarray(bodyEnd, bodyEnd + MAC_SIZE),
    mac2: message === MESSAGE_A ? bytes.subarray(bodyEnd + MAC_SIZE, end) : undefined,
  }
}

function messageOf(value: number): HandshakeMessage | undefined {
  return value === MESSAGE_A || value === MESSAGE_B || value === MESSAGE_C ? value : undefined
}
