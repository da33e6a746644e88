/**
 * The payload of IK A and of every B and C (WIRE.md §3.3), 192 bytes; an A may use 256, 320, … 512.
 *
 *    0 fmt u8 = 1 | 1 status u8 | 2 suites u16 (bit n = suite n accepted now on this path kind) | 4 caps u32
 *    8 index u32 (= sender index of the header) | 12 zero u32
 *   16 sid_self 8 | 24 sid_peer 8 (0 = none)        session ids: random, compared as bytes, never counted with
 *   32 reset token 16 (for `index`)
 *   48 tai64n 12 (big-endian) | 60 zero u32
 *   64 id 32
 *   96 TLVs: type u8 | len u16 | value … to the end; type 0 = padding, the rest must be zero
 */
import { assert } from '../base/assert.ts'
import { isAllZero, readU16, readU32, writeU16, writeU32 } from '../base/bytes.ts'
import { ByteReader, writeVarint } from '../base/varint.ts'
import { MESSAGE_A, MESSAGE_B, type HandshakeMessage } from './handshake-fragment.ts'

export const PAYLOAD_SIZE = 192
const PAYLOAD_SIZE_MAX = 512
const PAYLOAD_SIZE_STEP = 64
const HEAD_SIZE = 96
const FORMAT = 1
const TLV_COUNT_MAX = 16
const TLV_HEADER_SIZE = 3
const TLV_PADDING = 0
const TLV_LIMITS = 1
const TLV_INVITE = 2
const TLV_EXTENSIONS = 3
/** A message's cost in flow control beyond its bytes (WIRE.md §5). */
const MESSAGE_COST = 32

/** `status` of a B. Anything but `ok` is an authenticated refusal: both sides wipe. */
export const handshakeStatus = { ok: 0, busy: 1, notAdmitted: 2, suiteRefused: 3 } as const

/** Bits of `caps`; unknown ones are ignored. */
export const capabilities = { servesRelay: 1, introduces: 2, tcpPunch: 4, birthdayPunch: 8, continuesAfterRestart: 16 } as const

/** What a side will take from the other in this session. They count only in a session's first handshake. */
export interface Limits {
  /** Bytes of cost in flight over all channels. */
  readonly maxData: number
  readonly maxChannelData: number
  readonly maxMessage: number
  readonly maxChannels: number
  readonly maxAckDelayMs: number
  readonly maxDatagram: number
  /** Seconds a session without any path is kept. */
  readonly idleKeepS: number
}

export const LIMITS_DEFAULT: Limits = {
  maxData: 8 * 1024 * 1024, maxChannelData: 2 * 1024 * 1024, maxMessage: 1024 * 1024, maxChannels: 256, maxAckDelayMs: 10, maxDatagram: 65_507, idleKeepS: 600,
}
/** Default of `maxAckDelayMs` where the handshake runs over Bluetooth. */
export const BLE_MAX_ACK_DELAY_MS = 50

/** Index + 1 is the limit's id on the wire. */
const limitNames = ['maxData', 'maxChannelData', 'maxMessage', 'maxChannels', 'maxAckDelayMs', 'maxDatagram', 'idleKeepS'] as const satisfies readonly (keyof Limits)[]

export interface InviteProof {
  /** 8 bytes: names the token without showing it. */
  readonly tokenId: Uint8Array
  /** 16 bytes. */
  readonly proof: Uint8Array
}

export interface HandshakePayload {
  readonly status: number
  readonly suites: number
  readonly caps: number
  readonly index: number
  /** 8 bytes, never all zero. */
  readonly sidSelf: Uint8Array
  /** 8 bytes, all zero for none. */
  readonly sidPeer: Uint8Array
  /** 16 bytes. */
  readonly resetToken: Uint8Array
  /** 12 bytes. */
  readonly tai64n: Uint8Array
  /** 32 bytes; whether it is valid and belongs to the Noise static is for the session to check. */
  readonly id: Uint8Array
  readonly limits: Limits
  readonly invite: InviteProof | undefined
  readonly extensions: readonly number[]
}

export type PayloadFault =
  | 'size' | 'format' | 'status' | 'index' | 'zero' | 'sid'
  | 'tlv-length' | 'tlv-count' | 'tlv-duplicate' | 'padding' | 'limits' | 'limits-order' | 'invite' | 'extensions'

type Malformed = { readonly kind: 'malformed'; readonly where: PayloadFault }

export interface DecodeContext {
  readonly message: HandshakeMessage
  /** Of the datagram or frame that carried the message: the payload must repeat it, which binds it to the transcript. */
  readonly senderIndex: number
  /** What a limit is when the peer does not name it. */
  readonly defaults: Limits
}

/** Whether limits fit together: a message of the largest size must fit a channel's window, and that the session's. */
export function limitsFit(limits: Limits): boolean {
  return limits.maxChannelData >= limits.maxMessage + MESSAGE_COST && limits.maxData >= limits.maxChannelData
}

/** The payload as bytes: 192, and for an A with many extensions the next of 256, 320, … 512. What does not fit is our own mistake. */
export function encodeHandshakePayload(payload: HandshakePayload, message: HandshakeMessage): Uint8Array {
  assert(payload.sidSelf.length === 8 && payload.sidPeer.length === 8 && payload.resetToken.length === 16, 'session ids have 8 bytes, reset tokens 16')
  assert(payload.tai64n.length === 12 && payload.id.length === 32 && limitsFit(payload.limits), 'stamp, id and limits are well-formed')
  const scratch = new Uint8Array(PAYLOAD_SIZE_MAX + 8)
  scratch[0] = FORMAT
  scratch[1] = payload.status
  writeU16(scratch, 2, payload.suites)
  writeU32(scratch, 4, payload.caps)
  writeU32(scratch, 8, payload.index)
  scratch.set(payload.sidSelf, 16)
  scratch.set(payload.sidPeer, 24)
  scratch.set(payload.resetToken, 32)
  scratch.set(payload.tai64n, 48)
  scratch.set(payload.id, 64)
  const end = writeTlvs(scratch, payload)
  const size = message === MESSAGE_A ? Math.max(PAYLOAD_SIZE, Math.ceil(end / PAYLOAD_SIZE_STEP) * PAYLOAD_SIZE_STEP) : PAYLOAD_SIZE
  assert(end <= size && size <= PAYLOAD_SIZE_MAX, 'the payload fits')
  return scratch.slice(0, size)
}

function writeTlvs(scratch: Uint8Array, payload: HandshakePayload): number {
  let at = writeTlv(scratch, HEAD_SIZE, TLV_LIMITS, (start) => {
    let end = start
    limitNames.forEach((name, i) => { end = writeVarint(scratch, writeVarint(scratch, end, i + 1), payload.limits[name]) })
    return end
  })
  const invite = payload.invite
  if (invite !== undefined) {
    at = writeTlv(scratch, at, TLV_INVITE, (start) => {
      scratch.set(invite.tokenId, start)
      scratch.set(invite.proof, start + 8)
      return start + 24
    })
  }
  if (payload.extensions.length === 0) return at
  return writeTlv(scratch, at, TLV_EXTENSIONS, (start) => {
    let end = start
    for (const extension of payload.extensions) {
      assert(end <= PAYLOAD_SIZE_MAX, 'the payload fits')
      end = writeVarint(scratch, end, extension)
    }
    return end
  })
}

function writeTlv(scratch: Uint8Array, at: number, type: number, writeValue: (start: number) => number): number {
  const start = at + TLV_HEADER_SIZE
  const end = writeValue(start)
  scratch[at] = type
  writeU16(scratch, at + 1, end - start)
  return end
}

/** Reads any bytes. The fields are copies. Every rule whose breach aborts the handshake has its name in {@link PayloadFault}. */
export function decodeHandshakePayload(bytes: Uint8Array, context: DecodeContext): { readonly kind: 'payload'; readonly payload: HandshakePayload } | Malformed {
  const fault = headFault(bytes, context)
  if (fault !== undefined) return malformed(fault)
  const tlvs = decodeTlvs(bytes, context.defaults)
  if (tlvs.kind === 'malformed') return tlvs
  return {
    kind: 'payload',
    payload: {
      status: bytes[1]!,
      suites: readU16(bytes, 2),
      caps: readU32(bytes, 4),
      index: readU32(bytes, 8),
      sidSelf: bytes.slice(16, 24),
      sidPeer: bytes.slice(24, 32),
      resetToken: bytes.slice(32, 48),
      tai64n: bytes.slice(48, 60),
      id: bytes.slice(64, 96),
      limits: tlvs.limits,
      invite: tlvs.invite,
      extensions: tlvs.extensions,
    },
  }
}

function headFault(bytes: Uint8Array, context: DecodeContext): PayloadFault | undefined {
  const size = bytes.length
  const sizeMax = context.message === MESSAGE_A ? PAYLOAD_SIZE_MAX : PAYLOAD_SIZE
  if (size < PAYLOAD_SIZE || size > sizeMax || size % PAYLOAD_SIZE_STEP !== 0) return 'size'
  if (bytes[0] !== FORMAT) return 'format'
  // Only a responder refuses. An unknown code in B is a refusal too, so the value is not judged further.
  if (context.message !== MESSAGE_B && bytes[1] !== handshakeStatus.ok) return 'status'
  const index = readU32(bytes, 8)
  if (index === 0 || index !== context.senderIndex) return 'index'
  if (readU32(bytes, 12) !== 0 || readU32(bytes, 60) !== 0) return 'zero'
  // Zero means "none" in sid_peer, so nobody may be called zero.
  return isAllZero(bytes.subarray(16, 24)) ? 'sid' : undefined
}

interface Tlvs {
  readonly kind: 'tlvs'
  limits: Limits
  invite: InviteProof | undefined
  extensions: readonly number[]
}

function decodeTlvs(bytes: Uint8Array, defaults: Limits): Tlvs | Malformed {
  const tlvs: Tlvs = { kind: 'tlvs', limits: defaults, invite: undefined, extensions: [] }
  const seen = new Set<number>()
  let at = HEAD_SIZE
  while (at < bytes.length) {
    const type = bytes[at]!
    if (type === TLV_PADDING) return isAllZero(bytes.subarray(at)) ? tlvs : malformed('padding')
    const start = at + TLV_HEADER_SIZE
    if (start > bytes.length) return malformed('tlv-length')
    const end = start + readU16(bytes, at + 1)
    if (end > bytes.length) return malformed('tlv-length')
    if (seen.has(type)) return malformed('tlv-duplicate')
    seen.add(type)
    if (seen.size > TLV_COUNT_MAX) return malformed('tlv-count')
    const fault = decodeTlv(tlvs, type, bytes.subarray(start, end))
    if (fault !== undefined) return malformed(fault)
    at = end
  }
  return tlvs
}

/** Reads one TLV into `tlvs`; unknown types are skipped. */
function decodeTlv(tlvs: Tlvs, type: number, value: Uint8Array): PayloadFault | undefined {
  switch (type) {
    case TLV_LIMITS: {
      const limits = decodeLimits(value, tlvs.limits)
      if (limits === undefined) return 'limits'
      tlvs.limits = limits
      return limitsFit(limits) ? undefined : 'limits-order'
    }
    case TLV_INVITE:
      if (value.length !== 24) return 'invite'
      tlvs.invite = { tokenId: value.slice(0, 8), proof: value.slice(8) }
      return undefined
    case TLV_EXTENSIONS: {
      const reader = new ByteReader(value)
      const extensions: number[] = []
      while (reader.remaining > 0 && !reader.failed) extensions.push(reader.varint())
      tlvs.extensions = extensions
      return reader.failed ? 'extensions' : undefined
    }
    default:
      return undefined
  }
}

/** Pairs of id and value. Unknown ids are skipped; an id given twice would let two readers disagree, so it is refused. */
function decodeLimits(value: Uint8Array, defaults: Limits): Limits | undefined {
  const reader = new ByteReader(value)
  const limits: { -readonly [Name in keyof Limits]: number } = { ...defaults }
  const seen = new Set<number>()
  while (reader.remaining > 0) {
    const id = reader.varint()
    const limit = reader.varint()
    if (reader.failed || seen.has(id)) return undefined
    seen.add(id)
    const name = limitNames[id - 1]
    if (name !== undefined) limits[name] = limit
  }
  return limits
}

function malformed(where: PayloadFault): Malformed {
  return { kind: 'malformed', where }
}
