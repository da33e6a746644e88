import { ADDRESS_SIZE, isIPv4 } from '../base/address.ts'
import { fromUtf8, readU16, utf8, writeU16 } from '../base/bytes.ts'
import { varintSize, writeVarint, type ByteReader } from '../base/varint.ts'

/**
 * Frames (WIRE.md §5): the units inside a datagram. Frame = `type vi | fields`. Types below 0x40 are known or a protocol error,
 * types from 0x40 carry their length and can be skipped.
 */
export const FRAME_PADDING = 0x00
export const FRAME_PING = 0x01
export const FRAME_ACK = 0x02
export const FRAME_ACK_ECN = 0x03
export const FRAME_ACK_OTHER = 0x04
export const FRAME_ACK_OTHER_ECN = 0x05
export const FRAME_MAX_DATA = 0x06
export const FRAME_MAX_CHANNEL_DATA = 0x07
export const FRAME_BLOCKED = 0x08
export const FRAME_CHANNEL_BLOCKED = 0x09
export const FRAME_PATH_CHALLENGE = 0x0a
export const FRAME_PATH_RESPONSE = 0x0b
export const FRAME_OBSERVED_ADDRESS = 0x0c
/** A rekey inside the session: `handshake-frame.ts`. */
export const FRAME_HANDSHAKE = 0x0f
/** 0x10 … 0x13: bit 0 a length follows, bit 1 a fragment (offset and total follow). */
export const FRAME_MESSAGE = 0x10
export const MESSAGE_LENGTH = 1
export const MESSAGE_FRAGMENT = 2
export const FRAME_SKIP = 0x14
export const FRAME_CHANNEL_OPEN = 0x20
export const FRAME_CHANNEL_ACCEPT = 0x21
export const FRAME_CHANNEL_CLOSE = 0x22
export const FRAME_CLOSE = 0x3f
/** The first extension type: from here on a frame says its own length. */
export const FRAME_EXTENSION = 0x40

/** Types `0x40 + 31·k`, k ≥ 1, are sent now and then with random content, so that peers keep skipping what they do not know. */
export function isGrease(type: number): boolean {
  return type > FRAME_EXTENSION && (type - FRAME_EXTENSION) % 31 === 0
}

export const closeCodes = {
  done: 0, shutting_down: 1, idle: 2, protocol: 3, frame_encoding: 4, flow_control: 5, limit: 6, not_admitted: 7,
  revoked: 8, downgrade: 9, replaced: 10, key_limit: 11, policy: 12, internal: 13, busy: 14,
} as const
export type CloseReason = keyof typeof closeCodes

/** The word for a CLOSE code of a peer; an unknown one counts as `protocol`. */
export function closeReason(code: number): CloseReason {
  for (const [reason, value] of Object.entries(closeCodes)) {
    if (value === code) return reason as CloseReason
  }
  return 'protocol'
}

export const channelCodes = { done: 0, no_app: 1, refused: 2, app_gone: 3, limit: 4, protocol: 5, timeout: 6 } as const

/** Longest `reason` text in CLOSE frames, bytes of UTF-8; longer ones are cut by the sender. */
const REASON_MAX = 255
export const META_MAX = 256
const APP_PATTERN = /^[a-z0-9._/-]{1,64}$/

/** App names on the wire: 1 … 64 characters of `a-z0-9._/-`. */
export function isAppName(text: string): boolean {
  return APP_PATTERN.test(text)
}

export interface ChannelOpenFrame {
  readonly channel: number
  readonly mode: number
  readonly lane: number
  readonly weight: number
  readonly credit: number
  readonly app: string
  readonly meta: Uint8Array
}

/** Upper bound of the bytes of a CHANNEL_OPEN frame with this app name and meta. */
export function channelOpenSize(frame: ChannelOpenFrame): number {
  return 1 + varintSize(frame.channel) + 3 + varintSize(frame.credit) + 1 + frame.app.length + varintSize(frame.meta.length) + frame.meta.length
}

export function writeChannelOpen(bytes: Uint8Array, at: number, frame: ChannelOpenFrame): number {
  let p = at
  bytes[p++] = FRAME_CHANNEL_OPEN
  p = writeVarint(bytes, p, frame.channel)
  bytes[p++] = frame.mode
  bytes[p++] = frame.lane
  bytes[p++] = frame.weight
  p = writeVarint(bytes, p, frame.credit)
  bytes[p++] = frame.app.length
  bytes.set(utf8(frame.app), p)
  p = writeVarint(bytes, p + frame.app.length, frame.meta.length)
  bytes.set(frame.meta, p)
  return p + frame.meta.length
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. `meta` is a copy. */
export function readChannelOpen(reader: ByteReader): ChannelOpenFrame | undefined {
  const channel = reader.varint()
  const mode = reader.u8()
  const lane = reader.u8()
  const weight = reader.u8()
  const credit = reader.varint()
  const app = fromUtf8(reader.view(reader.u8()))
  const metaLength = reader.varint()
  const meta = metaLength > META_MAX ? undefined : reader.view(metaLength).slice()
  if (reader.failed || meta === undefined || app === undefined || !isAppName(app) || lane > 3 || weight === 0) {
    reader.failed = true
    return undefined
  }
  return { channel, mode, lane, weight, credit, app, meta }
}

export interface ChannelCloseFrame {
  readonly channel: number
  readonly abort: boolean
  readonly code: number
  /** Number of messages sent. */
  readonly final: number
  /** Sum of their costs, modes 0 and 1. */
  readonly cost: number
  readonly reason: string
}

export function channelCloseSize(frame: ChannelCloseFrame): number {
  return 1 + varintSize(frame.channel) + 1 + varintSize(frame.code) + varintSize(frame.final) + varintSize(frame.cost) + 1 + reasonBytes(frame.reason).length
}

export function writeChannelClose(bytes: Uint8Array, at: number, frame: ChannelCloseFrame): number {
  let p = at
  bytes[p++] = FRAME_CHANNEL_CLOSE
  p = writeVarint(bytes, p, frame.channel)
  bytes[p++] = frame.abort ? 1 : 0
  p = writeVarint(bytes, p, frame.code)
  p = writeVarint(bytes, p, frame.final)
  p = writeVarint(bytes, p, frame.cost)
  return writeReason(bytes, p, frame.reason)
}

export function readChannelClose(reader: ByteReader): ChannelCloseFrame | undefined {
  const channel = reader.varint()
  const flags = reader.u8()
  const code = reader.varint()
  const final = reader.varint()
  const cost = reader.varint()
  const reason = fromUtf8(reader.view(reader.u8()))
  if (reader.failed || reason === undefined) {
    reader.failed = true
    return undefined
  }
  return { channel, abort: (flags & 1) !== 0, code, final, cost, reason }
}

export function writeClose(bytes: Uint8Array, at: number, code: number, frameType: number, reason: string): number {
  bytes[at] = FRAME_CLOSE
  const p = writeVarint(bytes, at + 1, code)
  return writeReason(bytes, writeVarint(bytes, p, frameType), reason)
}

/** Wire form of an address: `af u8 (4|6) | ip 4|16 | port u16`; a v4-mapped address is always af 4. */
export function writeWireAddress(bytes: Uint8Array, at: number, address: Uint8Array, offset = 0): number {
  const four = isIPv4(address, offset)
  bytes[at] = four ? 4 : 6
  const ip = address.subarray(offset + (four ? 12 : 0), offset + 16)
  bytes.set(ip, at + 1)
  writeU16(bytes, at + 1 + ip.length, readU16(address, offset + 16))
  return at + 3 + ip.length
}

export function wireAddressSize(address: Uint8Array, offset = 0): number {
  return isIPv4(address, offset) ? 7 : 19
}

/** The 18-byte form, `undefined` for an unknown family or a v4-mapped address written as af 6. */
export function readWireAddress(reader: ByteReader): Uint8Array | undefined {
  const family = reader.u8()
  if (family !== 4 && family !== 6) {
    reader.failed = true
    return undefined
  }
  const ip = reader.view(family === 4 ? 4 : 16)
  const port = reader.u16()
  if (reader.failed) return undefined
  const address = new Uint8Array(ADDRESS_SIZE)
  if (family === 4) {
    address[10] = 0xff
    address[11] = 0xff
    address.set(ip, 12)
  } else {
    address.set(ip)
    if (isIPv4(address)) {
      reader.failed = true
      return undefined
    }
  }
  writeU16(address, 16, port)
  return address
}

/** So many of them behind one another; `undefined` when one is not. */
export function readWireAddresses(reader: ByteReader, count: number): Uint8Array[] | undefined {
  const addresses: Uint8Array[] = []
  for (let i = 0; i < count; i++) {
    const address = readWireAddress(reader)
    if (address === undefined) return undefined
    addresses.push(address)
  }
  return addresses
}

function writeReason(bytes: Uint8Array, at: number, reason: string): number {
  const text = reasonBytes(reason)
  bytes[at] = text.length
  bytes.set(text, at + 1)
  return at + 1 + text.length
}

function reasonBytes(reason: string): Uint8Array {
  const text = utf8(reason)
  if (text.length <= REASON_MAX) return text
  // Cut at a character's first byte, so that what arrives is still UTF-8.
  let end = REASON_MAX
  while (end > 0 && (text[end]! & 0xc0) === 0x80) end--
  return text.subarray(0, end)
}
