import { writeU32 } from '../base/bytes.ts'
import { varintSize, writeVarint, type ByteReader } from '../base/varint.ts'
import { FRAME_HANDSHAKE } from './frame.ts'
import { MESSAGE_A, MESSAGE_B } from './handshake-fragment.ts'

/** WIRE.md §3.4: longest Noise message, inside a session as outside. */
const MESSAGE_SIZE_MAX = 2048
/** Smaller pieces than this are not cut off a message: the head around them has 16. */
const PIECE_SIZE_MIN = 64
/** Type, message, suite, both indexes. */
const FIXED_SIZE = 11

/**
 * HANDSHAKE, a rekey inside a session (WIRE.md §3.11):
 *
 *   0x0f | message u8 (0 A, 1 B) | suite u8 | sender index u32 | receiver index u32 (A: 0) | offset vi | total vi | length vi | bytes
 */
export interface HandshakeFrameHead {
  readonly message: typeof MESSAGE_A | typeof MESSAGE_B
  readonly suite: number
  readonly senderIndex: number
  readonly receiverIndex: number
}

export interface HandshakeFrame extends HandshakeFrameHead {
  readonly offset: number
  /** Bytes of the whole Noise message. */
  readonly total: number
  /** A view of what was read. */
  readonly bytes: Uint8Array
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. */
export function readHandshakeFrame(reader: ByteReader): HandshakeFrame | undefined {
  const message = reader.u8()
  const suite = reader.u8()
  const senderIndex = reader.u32()
  const receiverIndex = reader.u32()
  const offset = reader.varint()
  const total = reader.varint()
  const length = reader.varint()
  const bytes = reader.view(length)
  const wrongIndex = senderIndex === 0 || (message === MESSAGE_A) !== (receiverIndex === 0)
  if (reader.failed || (message !== MESSAGE_A && message !== MESSAGE_B) || wrongIndex || length === 0 || total > MESSAGE_SIZE_MAX || offset + length > total) {
    reader.failed = true
    return undefined
  }
  return { message, suite, senderIndex, receiverIndex, offset, total, bytes }
}

/** How much of a Noise message of `total` bytes, from `offset` on, a frame of at most `room` bytes holds; 0 when it is not worth its head. */
export function handshakePieceSize(room: number, total: number, offset: number): number {
  const rest = total - offset
  const length = Math.min(rest, room - FIXED_SIZE - varintSize(offset) - varintSize(total) - varintSize(rest))
  return length < Math.min(rest, PIECE_SIZE_MIN) ? 0 : length
}

/** Writes `length` bytes of the message from `offset` on, and returns the end of the frame. */
export function writeHandshakeFrame(bytes: Uint8Array, at: number, head: HandshakeFrameHead, noiseMessage: Uint8Array, offset: number, length: number): number {
  bytes[at] = FRAME_HANDSHAKE
  bytes[at + 1] = head.message
  bytes[at + 2] = head.suite
  writeU32(bytes, at + 3, head.senderIndex)
  writeU32(bytes, at + 7, head.receiverIndex)
  let p = writeVarint(bytes, at + FIXED_SIZE, offset)
  p = writeVarint(bytes, p, noiseMessage.length)
  p = writeVarint(bytes, p, length)
  bytes.set(noiseMessage.subarray(offset, offset + length), p)
  return p + length
}
