/**
 * STUN messages (RFC 8489), big-endian as all of STUN:
 *
 *   0 type u16: 00 M11…M7 C1 M6…M4 C0 M3…M0 | 2 length u16, of what follows the header | 4 magic cookie u32 | 8 transaction id 12 | 20 attributes
 *   an attribute: 0 type u16 | 2 length u16, without padding | 4 value | padding to a multiple of 4
 *
 * What the attributes mean is in `stun-attributes.ts`.
 */
import { assert } from '../base/assert.ts'
import { equalConstantTime } from '../base/bytes.ts'
import { crc32 } from '../base/crc32.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

/** RFC 8489 §5. */
export const STUN_MAGIC_COOKIE = 0x2112_a442
export const STUN_HEADER_SIZE = 20
export const TRANSACTION_ID_SIZE = 12
export const BINDING = 0x001

export const stunClasses = ['request', 'indication', 'success', 'error'] as const
/** Index is the class on the wire. */
export type StunClass = (typeof stunClasses)[number]

/** Types by name. Below 0x8000 an attribute must be understood, or the message is of no use (§14). */
export const stunAttribute = {
  mappedAddress: 0x0001, changeRequest: 0x0003, username: 0x0006, messageIntegrity: 0x0008, errorCode: 0x0009, unknownAttributes: 0x000a,
  realm: 0x0014, nonce: 0x0015, messageIntegritySha256: 0x001c, passwordAlgorithm: 0x001d, userhash: 0x001e, xorMappedAddress: 0x0020,
  padding: 0x0026, responsePort: 0x0027,
  passwordAlgorithms: 0x8002, alternateDomain: 0x8003, software: 0x8022, alternateServer: 0x8023, fingerprint: 0x8028, responseOrigin: 0x802b, otherAddress: 0x802c,
} as const

const OPTIONAL_FROM = 0x8000
/** [P] More than any message that means us well; the rest is not looked at. */
const ATTRIBUTES_MAX = 64
const FINGERPRINT_XOR = 0x5354_554e
const FINGERPRINT_SIZE = 8
const SHA1_SIZE = 20
/** §14.6: may be cut, to a multiple of 4 and no shorter than this. */
const SHA256_SIZE_MIN = 16
const SHA256_SIZE = 32

export interface StunAttribute {
  readonly type: number
  /** Where the attribute's own header begins, from the start of the message. */
  readonly at: number
  /** A view of the message, without padding. */
  readonly value: Uint8Array
}

export interface StunMessage {
  readonly kind: 'stun'
  readonly method: number
  readonly class: StunClass
  /** A view of the message, as is everything in it. */
  readonly transactionId: Uint8Array
  /** In order, at most 64; without those that stand behind an integrity attribute and that it does not cover (§14.5, §14.6). */
  readonly attributes: readonly StunAttribute[]
  readonly bytes: Uint8Array
}

export type StunFault = 'size' | 'type' | 'length' | 'magic' | 'attribute' | 'fingerprint'

/** Reads any bytes. What it returns are views of them. Neither integrity nor the fingerprint's value is checked here. */
export function decodeStun(bytes: Uint8Array, offset = 0, length: number = bytes.length - offset): StunMessage | { readonly kind: 'malformed'; readonly where: StunFault } {
  if (length < STUN_HEADER_SIZE) return malformed('size')
  const message = bytes.subarray(offset, offset + length)
  const type = read16(message, 0)
  if (type >= 0x4000) return malformed('type')
  const body = read16(message, 2)
  if (body % 4 !== 0 || STUN_HEADER_SIZE + body !== length) return malformed('length')
  if (read32(message, 4) !== STUN_MAGIC_COOKIE) return malformed('magic')
  const attributes = readAttributes(message)
  if (typeof attributes === 'string') return malformed(attributes)
  return {
    kind: 'stun',
    method: (type & 0x000f) | ((type & 0x00e0) >>> 1) | ((type & 0x3e00) >>> 2),
    class: stunClasses[((type & 0x0100) >>> 7) | ((type & 0x0010) >>> 4)]!,
    transactionId: message.subarray(8, STUN_HEADER_SIZE), attributes, bytes: message,
  }
}

function malformed(where: StunFault): { readonly kind: 'malformed'; readonly where: StunFault } {
  return { kind: 'malformed', where }
}

function readAttributes(message: Uint8Array): readonly StunAttribute[] | StunFault {
  const attributes: StunAttribute[] = []
  // What may still come: anything, or after an integrity attribute only the stronger one and the fingerprint.
  let behind: 'nothing' | 'sha1' | 'sha256' | 'fingerprint' = 'nothing'
  for (let at = STUN_HEADER_SIZE; at < message.length;) {
    if (behind === 'fingerprint') return 'fingerprint'
    if (at + 4 > message.length) return 'attribute'
    const type = read16(message, at)
    const length = read16(message, at + 2)
    const next = at + 4 + padded(length)
    if (next > message.length) return 'attribute'
    const covered = behind === 'nothing' || type === stunAttribute.fingerprint || (behind === 'sha1' && type === stunAttribute.messageIntegritySha256)
    if (covered && attributes.length < ATTRIBUTES_MAX) attributes.push({ type, at, value: message.subarray(at + 4, at + 4 + length) })
    if (type === stunAttribute.fingerprint) {
      if (length !== 4) return 'fingerprint'
      behind = 'fingerprint'
    } else if (type === stunAttribute.messageIntegritySha256) behind = 'sha256'
    else if (type === stunAttribute.messageIntegrity && behind === 'nothing') behind = 'sha1'
    at = next
  }
  return attributes
}

/** The first of its type: others mean nothing (§14). */
export function findAttribute(message: StunMessage, type: number): Uint8Array | undefined {
  return message.attributes.find((attribute) => attribute.type === type)?.value
}

/** Attributes that must be understood and are not known here. */
export function unknownRequired(message: StunMessage): readonly number[] {
  return message.attributes.filter(({ type }) => type < OPTIONAL_FROM && !knownTypes.has(type)).map(({ type }) => type)
}

const knownTypes: ReadonlySet<number> = new Set(Object.values(stunAttribute))

export type StunCheck = 'valid' | 'absent' | 'wrong'

/** FINGERPRINT (§14.7): that this is STUN, and whole. It proves nothing about who sent it. */
export function checkFingerprint({ attributes, bytes }: StunMessage): StunCheck {
  const last = attributes.at(-1)
  if (last?.type !== stunAttribute.fingerprint) return 'absent'
  return read32(last.value, 0) === fingerprintOf(bytes, last.at) ? 'valid' : 'wrong'
}

/** The stronger integrity attribute that is there, by `key` (a password as UTF-8, or a hash of it; §9). */
export function checkIntegrity(provider: Pick<CryptoProvider, 'hmac' | 'hmacSha1'>, message: StunMessage, key: Uint8Array): StunCheck {
  const strong = message.attributes.find(({ type }) => type === stunAttribute.messageIntegritySha256)
  if (strong !== undefined) {
    const { at, value } = strong
    if (value.length < SHA256_SIZE_MIN || value.length > SHA256_SIZE || value.length % 4 !== 0) return 'wrong'
    return equalConstantTime(value, provider.hmac(key, ...covered(message.bytes, at, value.length)).subarray(0, value.length)) ? 'valid' : 'wrong'
  }
  const weak = message.attributes.find(({ type }) => type === stunAttribute.messageIntegrity)
  if (weak === undefined) return 'absent'
  return equalConstantTime(weak.value, provider.hmacSha1(key, ...covered(message.bytes, weak.at, SHA1_SIZE))) ? 'valid' : 'wrong'
}

/** The message up to the attribute at `at`, with the length it has when that attribute is its last. */
function covered(message: Uint8Array, at: number, size: number): readonly [Uint8Array, Uint8Array] {
  const head = message.slice(0, 4)
  write16(head, 2, at + 4 + size - STUN_HEADER_SIZE)
  return [head, message.subarray(4, at)]
}

function fingerprintOf(message: Uint8Array, at: number): number {
  const whole = message.slice(0, at)
  write16(whole, 2, at + FINGERPRINT_SIZE - STUN_HEADER_SIZE)
  return (crc32(whole) ^ FINGERPRINT_XOR) >>> 0
}

export interface StunOptions {
  readonly method?: number
  readonly class: StunClass
  /** 12 bytes. */
  readonly transactionId: Uint8Array
  /** Type and value, in order; without integrity and fingerprint. */
  readonly attributes?: readonly (readonly [type: number, value: Uint8Array])[]
  /** Appended in the order in which they stand. */
  readonly integrity?: readonly { readonly algorithm: 'sha1' | 'sha256'; readonly key: Uint8Array }[]
  readonly fingerprint?: boolean
}

/** The message in a new array. Padding is zero. */
export function encodeStun(provider: Pick<CryptoProvider, 'hmac' | 'hmacSha1'>, options: StunOptions): Uint8Array {
  const { method = BINDING, class: kind, transactionId, attributes = [], integrity = [], fingerprint = false } = options
  assert(transactionId.length === TRANSACTION_ID_SIZE, 'a transaction id has 12 bytes')
  const classBits = stunClasses.indexOf(kind)
  const macs = integrity.map(({ algorithm }) => 4 + (algorithm === 'sha1' ? SHA1_SIZE : SHA256_SIZE))
  const size = [...attributes.map(([, value]) => 4 + padded(value.length)), ...macs, fingerprint ? FINGERPRINT_SIZE : 0].reduce((sum, part) => sum + part, STUN_HEADER_SIZE)
  assert(size - STUN_HEADER_SIZE <= 0xfffc, 'the length of a STUN message has 16 bits')
  const message = new Uint8Array(size)
  write16(message, 0, (method & 0x000f) | ((method & 0x0070) << 1) | ((method & 0x0f80) << 2) | ((classBits & 2) << 7) | ((classBits & 1) << 4))
  write16(message, 2, size - STUN_HEADER_SIZE)
  write32(message, 4, STUN_MAGIC_COOKIE)
  message.set(transactionId, 8)
  let at = STUN_HEADER_SIZE
  for (const [type, value] of attributes) at = append(message, at, type, value)
  for (const { algorithm, key } of integrity) {
    const strong = algorithm === 'sha256'
    const parts = covered(message, at, strong ? SHA256_SIZE : SHA1_SIZE)
    at = append(message, at, strong ? stunAttribute.messageIntegritySha256 : stunAttribute.messageIntegrity, strong ? provider.hmac(key, ...parts) : provider.hmacSha1(key, ...parts))
  }
  if (fingerprint) {
    const value = new Uint8Array(4)
    write32(value, 0, fingerprintOf(message, at))
    append(message, at, stunAttribute.fingerprint, value)
  }
  return message
}

function append(message: Uint8Array, at: number, type: number, value: Uint8Array): number {
  write16(message, at, type)
  write16(message, at + 2, value.length)
  message.set(value, at + 4)
  return at + 4 + padded(value.length)
}

function padded(length: number): number {
  return (length + 3) & ~3
}

function read16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}

function read32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

function write32(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at, value >>> 16)
  write16(bytes, at + 2, value & 0xffff)
}
