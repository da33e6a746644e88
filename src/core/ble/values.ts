import { readU16, writeU16 } from '../base/bytes.ts'

/**
 * One ATT value of a Bluetooth link (WIRE.md §7). The first byte decides:
 *
 *   0 F L n n n n n   data: F first, L last segment of a datagram, n = sequence mod 32; with F: total u16; then at least one byte
 *   0x80 HELLO        version u8 | datagram max u16 | credits u16 | nonce 8      both directions, before anything else
 *   0x81 CREDIT       taken u16                                        segments taken since HELLO, mod 2^16
 *   0x82 BYE          code u8
 */
export type BleValue =
  /** `bytes` is a view of the value. `total` is that of the datagram, 0 unless `first`. */
  | { readonly kind: 'data'; readonly first: boolean; readonly last: boolean; readonly sequence: number; readonly total: number; readonly bytes: Uint8Array }
  | { readonly kind: 'hello'; readonly version: number; readonly datagramMax: number; readonly credits: number; readonly nonce: Uint8Array }
  | { readonly kind: 'credit'; readonly taken: number }
  | { readonly kind: 'bye'; readonly code: ByeCode | 'other' }
  | { readonly kind: 'malformed'; readonly where: MalformedValue }

export type MalformedValue = 'empty' | 'type' | 'length' | 'total'

export const BLE_VERSION = 1
/** Sequence numbers are taken modulo this; so fewer segments than that are ever under way. */
export const SEQUENCES = 32
export const OUTSTANDING_MAX: number = SEQUENCES - 1
/** What a datagram on BLE may measure: what either side may say in its HELLO. */
export const BLE_DATAGRAM_MIN_MAX = 512
export const BLE_DATAGRAM_MAX = 1200
/** Header bytes of a datagram's first segment, and of the others. */
export const FIRST_HEADER_SIZE = 3
export const NEXT_HEADER_SIZE = 1
/** Random, of each link another: what the side that was dialed says binds the first message of XX to this link (decision 127). */
export const HELLO_NONCE_SIZE = 8
const HELLO_SIZE: number = 6 + HELLO_NONCE_SIZE
/** Opcode and handle in front of every ATT value. */
export const ATT_HEADER_SIZE = 3

/**
 * Why a side ends the link; in the order of their numbers.
 * done: of no more use · version: of HELLO · protocol: values that are none, more than credit allows · timeout: no HELLO, no credit, no session ·
 * busy: too many links here · replaced: the same two nodes have another link · stopping: this node goes away
 */
export const byeCodes = ['done', 'version', 'protocol', 'timeout', 'busy', 'replaced', 'stopping'] as const
export type ByeCode = (typeof byeCodes)[number]

const FIRST = 0x40
const LAST = 0x20
const HELLO = 0x80
const CREDIT = 0x81
const BYE = 0x82

export function decodeBleValue(value: Uint8Array): BleValue {
  const type = value[0]
  if (type === undefined) return { kind: 'malformed', where: 'empty' }
  if (type < 0x80) return decodeData(value)
  switch (type) {
    case HELLO:
      // What another version says after its number is its own affair.
      if (value[1] === BLE_VERSION ? value.length !== HELLO_SIZE : value.length < 2) return { kind: 'malformed', where: 'length' }
      if (value[1] !== BLE_VERSION) return { kind: 'hello', version: value[1]!, datagramMax: 0, credits: 0, nonce: new Uint8Array(0) }
      return { kind: 'hello', version: BLE_VERSION, datagramMax: readU16(value, 2), credits: readU16(value, 4), nonce: value.slice(6) }
    case CREDIT:
      return value.length === 3 ? { kind: 'credit', taken: readU16(value, 1) } : { kind: 'malformed', where: 'length' }
    case BYE:
      return value.length === 2 ? { kind: 'bye', code: byeCodes[value[1]!] ?? 'other' } : { kind: 'malformed', where: 'length' }
    default:
      return { kind: 'malformed', where: 'type' }
  }
}

function decodeData(value: Uint8Array): BleValue {
  const type = value[0]!
  const first = (type & FIRST) !== 0
  const last = (type & LAST) !== 0
  const header = first ? FIRST_HEADER_SIZE : NEXT_HEADER_SIZE
  if (value.length <= header) return { kind: 'malformed', where: 'length' }
  const total = first ? readU16(value, 1) : 0
  // The whole of a first segment lies within its datagram, and fills it exactly when it is the last one too.
  const body = value.length - header
  if (first && (last ? body !== total : body >= total)) return { kind: 'malformed', where: 'total' }
  return { kind: 'data', first, last, sequence: type & (SEQUENCES - 1), total, bytes: value.subarray(header) }
}

/** The segment of `datagram` that begins at `offset`, at most `sizeMax` bytes long. */
export function encodeSegment(datagram: Uint8Array, offset: number, sequence: number, sizeMax: number): Uint8Array {
  const first = offset === 0
  const header = first ? FIRST_HEADER_SIZE : NEXT_HEADER_SIZE
  const length = Math.min(sizeMax - header, datagram.length - offset)
  const value = new Uint8Array(header + length)
  value[0] = (first ? FIRST : 0) | (offset + length === datagram.length ? LAST : 0) | (sequence % SEQUENCES)
  if (first) writeU16(value, 1, datagram.length)
  value.set(datagram.subarray(offset, offset + length), header)
  return value
}

export function encodeHello(datagramMax: number, credits: number, nonce: Uint8Array): Uint8Array {
  const value = new Uint8Array(HELLO_SIZE)
  value[0] = HELLO
  value[1] = BLE_VERSION
  writeU16(value, 2, datagramMax)
  writeU16(value, 4, credits)
  value.set(nonce, 6)
  return value
}

export function encodeCredit(taken: number): Uint8Array {
  return Uint8Array.of(CREDIT, taken & 0xff, (taken >>> 8) & 0xff)
}

export function encodeBye(code: ByeCode): Uint8Array {
  return Uint8Array.of(BYE, byeCodes.indexOf(code))
}

/** From this many bytes in a segment on, a datagram is one: 10 ms of a link of 400 kbit/s, as two are of the common ones of 244. */
const ONE_SEGMENT_MIN = 400
const TWO_SEGMENTS_MAX = 484

/**
 * Largest datagram the core should make for a link with this MTU, so that an urgent one waits for two segments at most, and for no more time at a large MTU than
 * at a common one (decision 126): nothing overtakes a datagram that has begun. 128 holds the smallest that a session needs.
 */
export function bleDatagramSize(mtu: number): number {
  const segment = mtu - ATT_HEADER_SIZE
  if (segment >= ONE_SEGMENT_MIN) return segment - FIRST_HEADER_SIZE
  return Math.max(128, Math.min(TWO_SEGMENTS_MAX, 2 * segment - FIRST_HEADER_SIZE - NEXT_HEADER_SIZE))
}
