/**
 * Peer ids as text (WIRE.md §2): RFC 4648 base32 in lower case, without padding. 32 bytes are 51 characters of five bits and
 * one of one bit followed by four zero bits, so the 52nd is `a` or `q`. There is no checksum: whether the bytes are a valid
 * id is another question (`validateId`), which 15 of 16 typos fail.
 */
import { assert } from '../base/assert.ts'

export const PEER_ID_SIZE = 32
/** Characters of a peer id's text form. */
export const PEER_ID_TEXT_SIZE = 52

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

export type PeerIdInput =
  | { readonly kind: 'id'; readonly id: Uint8Array }
  /** `mixed-case` is a sign of copy damage; `end`: the last character carries bits that no id has. */
  | { readonly kind: 'malformed'; readonly where: 'length' | 'character' | 'mixed-case' | 'end' }

/** The text form of 32 bytes. */
export function encodePeerId(id: Uint8Array): string {
  assert(id.length === PEER_ID_SIZE, 'a peer id has 32 bytes')
  const codes = new Uint8Array(PEER_ID_TEXT_SIZE)
  let length = 0
  let bits = 0
  let bitCount = 0
  for (const byte of id) {
    bits = ((bits & 0x1f) << 8) | byte
    bitCount += 8
    while (bitCount >= 5) {
      bitCount -= 5
      codes[length++] = ALPHABET.charCodeAt((bits >>> bitCount) & 0x1f)
    }
  }
  codes[length] = ALPHABET.charCodeAt((bits << (5 - bitCount)) & 0x1f)
  // Made at once: a text put together character by character stays a chain of 1.3 KiB for as long as it is kept.
  return String.fromCharCode(...codes)
}

/** The 32 bytes of a text form as files, wire, IPC and API write it: lower case only. `undefined` for anything else. */
export function decodePeerId(text: string): Uint8Array | undefined {
  if (text.length !== PEER_ID_TEXT_SIZE) return undefined
  const id = new Uint8Array(PEER_ID_SIZE)
  let bits = 0
  let bitCount = 0
  let length = 0
  for (let i = 0; i < PEER_ID_TEXT_SIZE; i++) {
    const value = valueOf(text.charCodeAt(i))
    if (value < 0) return undefined
    bits = ((bits & 0xff) << 5) | value
    bitCount += 5
    if (bitCount >= 8) {
      bitCount -= 8
      id[length++] = bits >>> bitCount
    }
  }
  // Four bits are left over; anything but zero would be a second text of the same id.
  return (bits & 0x0f) === 0 ? id : undefined
}

/** What a human typed, pasted or scanned: all lower or all upper case (QR's alphanumeric mode is upper case). */
export function parsePeerIdInput(text: string): PeerIdInput {
  if (text.length !== PEER_ID_TEXT_SIZE) return { kind: 'malformed', where: 'length' }
  if (!/^[a-zA-Z2-7]*$/.test(text)) return { kind: 'malformed', where: 'character' }
  const lower = text.toLowerCase()
  if (text !== lower && text !== text.toUpperCase()) return { kind: 'malformed', where: 'mixed-case' }
  const id = decodePeerId(lower)
  return id === undefined ? { kind: 'malformed', where: 'end' } : { kind: 'id', id }
}

function valueOf(code: number): number {
  if (code >= 0x61 && code <= 0x7a) return code - 0x61
  if (code >= 0x32 && code <= 0x37) return code - 0x32 + 26
  return -1
}
