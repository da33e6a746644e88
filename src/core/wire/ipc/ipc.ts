/**
 * Frames of the local IPC (WIRE.md §8). One byte stream per direction, cut into
 *
 *     0 len u32 | 4 kind u8 | 5 body                 len = 1 + length of body
 *
 * Kind 0 is JSON-RPC text, 1 a message, 2 credit, 3 a notice, 4 one message for many channels. Kinds from 0x80 on are for later versions and skipped.
 */
import { readU16, readU32, writeU16, writeU32 } from '../../base/bytes.ts'
import { dropReasons } from '../../base/domain.ts'

/** The version that `hello` names. */
export const IPC_PROTOCOL = 1

export const FRAME_HEADER_SIZE = 5
export const KIND_JSON = 0
export const KIND_MESSAGE = 1
export const KIND_CREDIT = 2
export const KIND_NOTICE = 3
export const KIND_MANY = 4
/** The first kind that a reader who does not know it skips; below it an unknown kind ends the connection. */
export const KIND_IGNORED_MIN = 0x80

/** Largest body before hello was answered, bytes. */
export const HELLO_BODY_MAX = 16_384
/** Largest JSON text, bytes. */
export const JSON_BODY_MAX = 262_144
/** Requests of one client without an answer. */
export const OPEN_REQUESTS_MAX = 64
/** Channels of one client, offered ones included. */
export const CLIENT_CHANNELS_MAX = 256
/** Delivery credit of a channel whose client named none, in cost. */
export const DELIVERY_CREDIT_DEFAULT = 262_144
/** Added to the length of every message in both credit accounts, so that floods of empty messages are bounded too. */
export const MESSAGE_COST = 32
/** `lane` of a message that goes by its channel's lane. */
export const LANE_OF_CHANNEL = 255

/** Bytes of a message's body before the app's bytes. */
export const MESSAGE_HEADER_SIZE = 16
export const CREDIT_BODY_SIZE = 8
export const NOTICE_BODY_SIZE = 16

/** Before the entries of one message for many channels, and each of these. */
export const MANY_HEADER_SIZE = 8
export const MANY_ENTRY_SIZE = 8

/** Flag of a client's message: tell me by notice what became of it. */
export const MESSAGE_CONFIRM = 1
/** Flag of a daemon's message: at least one message of this channel was dropped before it. */
export const MESSAGE_GAP = 1
/** Flag of a daemon's message: it may have been handed over before the connection was resumed. */
export const MESSAGE_REPEATED = 2

/**
 * The head of a message, either way (the two directions differ in the last two words):
 *
 *     client → daemon   0 channel u32 | 4 flags u8 | 5 lane u8 | 6 zero u16 | 8 tag u32    | 12 ttl u32 ms | 16 bytes
 *     daemon → client   0 channel u32 | 4 flags u8 | 5 lane u8 | 6 zero u16 | 8 handle u32 | 12 id u32     | 16 bytes
 *
 * One object is filled again and again ({@link decodeMessage}): copy what must live.
 */
export class MessageHead {
  channel = 0
  flags = 0
  lane: number = LANE_OF_CHANNEL
  /** `tag` from a client, `handle` from the daemon. */
  first = 0
  /** `ttl` from a client, `id` from the daemon. */
  second = 0
}

/** Fills `head` from the body at `offset`: `false` when it is too short to be a message. Reserved bits are not looked at. */
export function decodeMessage(bytes: Uint8Array, offset: number, length: number, head: MessageHead): boolean {
  if (length < MESSAGE_HEADER_SIZE) return false
  head.channel = readU32(bytes, offset)
  head.flags = bytes[offset + 4]!
  head.lane = bytes[offset + 5]!
  head.first = readU32(bytes, offset + 8)
  head.second = readU32(bytes, offset + 12)
  return true
}

/** Size of a whole frame around `length` bytes of an app. */
export function messageFrameSize(length: number): number {
  return FRAME_HEADER_SIZE + MESSAGE_HEADER_SIZE + length
}

/** Writes a message frame without the app's bytes, which belong at the offset that is returned. The caller has the room. */
export function encodeMessageHead(
  target: Uint8Array, at: number, length: number, channel: number, flags: number, lane: number, first: number, second: number,
): number {
  writeFrameHead(target, at, KIND_MESSAGE, MESSAGE_HEADER_SIZE + length)
  writeU32(target, at + 5, channel)
  target[at + 9] = flags
  target[at + 10] = lane
  writeU16(target, at + 11, 0)
  writeU32(target, at + 13, first)
  writeU32(target, at + 17, second)
  return at + FRAME_HEADER_SIZE + MESSAGE_HEADER_SIZE
}

/**
 * One message for many channels, client → daemon:
 *
 *     0 count u16 (1 … 256) | 2 flags u8 | 3 lane u8 | 4 ttl u32 ms | 8 count × (channel u32 | tag u32) | bytes
 */
export interface ManyHead {
  readonly count: number
  readonly flags: number
  readonly lane: number
  readonly ttlMs: number
  /** Where the app's bytes begin, in the body. */
  readonly start: number
}

export function decodeMany(bytes: Uint8Array, offset: number, length: number): ManyHead | undefined {
  if (length < MANY_HEADER_SIZE) return undefined
  const count = readU16(bytes, offset)
  const start = MANY_HEADER_SIZE + MANY_ENTRY_SIZE * count
  if (count === 0 || count > CLIENT_CHANNELS_MAX || length < start) return undefined
  return { count, flags: bytes[offset + 2]!, lane: bytes[offset + 3]!, ttlMs: readU32(bytes, offset + 4), start }
}

export interface ManyEntry {
  readonly channel: number
  readonly tag: number
}

/** Size of a whole frame with one message of `length` bytes for `count` channels. */
export function manyFrameSize(count: number, length: number): number {
  return FRAME_HEADER_SIZE + MANY_HEADER_SIZE + MANY_ENTRY_SIZE * count + length
}

/** Writes the frame without the app's bytes, which belong at the offset that is returned. At most {@link CLIENT_CHANNELS_MAX} entries. */
export function encodeManyHead(target: Uint8Array, at: number, length: number, flags: number, lane: number, ttlMs: number, entries: readonly ManyEntry[]): number {
  writeFrameHead(target, at, KIND_MANY, manyFrameSize(entries.length, length) - FRAME_HEADER_SIZE)
  writeU16(target, at + 5, entries.length)
  target[at + 7] = flags
  target[at + 8] = lane
  writeU32(target, at + 9, ttlMs)
  let p = at + FRAME_HEADER_SIZE + MANY_HEADER_SIZE
  for (const { channel, tag } of entries) {
    writeU32(target, p, channel)
    writeU32(target, p + 4, tag)
    p += MANY_ENTRY_SIZE
  }
  return p
}

/** `0 len u32 | 4 kind u8`. */
export function writeFrameHead(target: Uint8Array, at: number, kind: number, bodyLength: number): void {
  writeU32(target, at, bodyLength + 1)
  target[at + 4] = kind
}

/** `0 channel u32 | 4 add u32`, in cost. Writes the whole frame, 13 bytes. */
export function encodeCredit(target: Uint8Array, at: number, channel: number, add: number): void {
  writeFrameHead(target, at, KIND_CREDIT, CREDIT_BODY_SIZE)
  writeU32(target, at + 5, channel)
  writeU32(target, at + 9, add)
}

export type DecodedCredit = { readonly kind: 'credit'; readonly channel: number; readonly add: number } | { readonly kind: 'malformed'; readonly where: string }

export function decodeCredit(bytes: Uint8Array, offset: number, length: number): DecodedCredit {
  if (length !== CREDIT_BODY_SIZE) return { kind: 'malformed', where: 'credit length' }
  return { kind: 'credit', channel: readU32(bytes, offset), add: readU32(bytes, offset + 4) }
}

export const noticeWhats = ['delivered', 'dropped'] as const
/** Index in {@link noticeReasons} is the number in the frame. */
export const noticeReasons: typeof dropReasons = dropReasons

/** What became of the messages with tags `firstTag` … `lastTag` of one channel. */
export interface Notice {
  readonly channel: number
  readonly what: (typeof noticeWhats)[number]
  readonly reason: (typeof noticeReasons)[number]
  readonly firstTag: number
  readonly lastTag: number
}

/**
 *     0 channel u32 | 4 what u8 (1 delivered, 2 dropped) | 5 reason u8 | 6 zero u16 | 8 first tag u32 | 12 last tag u32
 *
 * Writes the whole frame, 21 bytes.
 */
export function encodeNotice(target: Uint8Array, at: number, notice: Notice): void {
  writeNotice(target, at, notice.channel, noticeWhats.indexOf(notice.what) + 1, noticeReasons.indexOf(notice.reason), notice.firstTag, notice.lastTag)
}

/** As {@link encodeNotice}, from the numbers that stand in the frame. */
export function writeNotice(target: Uint8Array, at: number, channel: number, what: number, reason: number, firstTag: number, lastTag: number): void {
  writeFrameHead(target, at, KIND_NOTICE, NOTICE_BODY_SIZE)
  writeU32(target, at + 5, channel)
  target[at + 9] = what
  target[at + 10] = reason
  writeU16(target, at + 11, 0)
  writeU32(target, at + 13, firstTag)
  writeU32(target, at + 17, lastTag)
}

export type DecodedNotice = { readonly kind: 'notice'; readonly notice: Notice } | { readonly kind: 'malformed'; readonly where: string }

export function decodeNotice(bytes: Uint8Array, offset: number, length: number): DecodedNotice {
  if (length !== NOTICE_BODY_SIZE) return { kind: 'malformed', where: 'notice length' }
  const what = noticeWhats[bytes[offset + 4]! - 1]
  const reason = noticeReasons[bytes[offset + 5]!]
  if (what === undefined) return { kind: 'malformed', where: 'notice what' }
  if (reason === undefined || readU16(bytes, offset + 6) !== 0) return { kind: 'malformed', where: 'notice reason' }
  return { kind: 'notice', notice: { channel: readU32(bytes, offset), what, reason, firstTag: readU32(bytes, offset + 8), lastTag: readU32(bytes, offset + 12) } }
}
