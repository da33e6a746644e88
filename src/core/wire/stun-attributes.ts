/**
 * The values of STUN's attributes (RFC 8489 §14, RFC 5780 §7). Each `decodeX` takes any bytes and answers `undefined` for what is none.
 *
 *   address: 0 zero u8 | 1 family u8 (1 IPv4, 2 IPv6) | 2 port u16 | 4 address 4 or 16; in XOR-MAPPED-ADDRESS port and address are
 *   xored with the magic cookie, IPv6 from its 5th byte on with the transaction id (§14.2)
 */
import { ADDRESS_SIZE, isIPv4, portOf } from '../base/address.ts'
import { fromUtf8, utf8, writeU16 } from '../base/bytes.ts'
import { findAttribute, stunAttribute, STUN_MAGIC_COOKIE, type StunMessage } from './stun.ts'

const FAMILY_IPV4 = 1
const FAMILY_IPV6 = 2
/** §14.8: fewer than 128 characters. */
const REASON_SIZE_MAX = 763
const CHANGE_IP = 4
const CHANGE_PORT = 2

/** An address in our 18 bytes (core/base/address) as the value of MAPPED-ADDRESS and its relatives. */
export function encodeStunAddress(address: Uint8Array): Uint8Array {
  const four = isIPv4(address)
  const port = portOf(address)
  const value = new Uint8Array(four ? 8 : 20)
  value[1] = four ? FAMILY_IPV4 : FAMILY_IPV6
  value[2] = port >>> 8
  value[3] = port
  value.set(address.subarray(four ? 12 : 0, 16), 4)
  return value
}

export function decodeStunAddress(value: Uint8Array): Uint8Array | undefined {
  const size = value[1] === FAMILY_IPV4 ? 4 : 16
  if (value.length !== 4 + size || (value[1] !== FAMILY_IPV4 && value[1] !== FAMILY_IPV6)) return undefined
  const address = new Uint8Array(ADDRESS_SIZE)
  if (size === 4) address[10] = address[11] = 0xff
  address.set(value.subarray(4), 16 - size)
  writeU16(address, 16, (value[2]! << 8) | value[3]!)
  return address
}

export function encodeXorAddress(address: Uint8Array, transactionId: Uint8Array): Uint8Array {
  return xor(encodeStunAddress(address), transactionId)
}

export function decodeXorAddress(value: Uint8Array, transactionId: Uint8Array): Uint8Array | undefined {
  return decodeStunAddress(xor(value, transactionId))
}

function xor(value: Uint8Array, transactionId: Uint8Array): Uint8Array {
  const result = value.slice()
  const mask = (i: number): number => (i < 4 ? (STUN_MAGIC_COOKIE >>> (24 - 8 * i)) & 0xff : transactionId[i - 4]!)
  for (let i = 2; i < result.length && i < 20; i++) result[i] = result[i]! ^ mask(i < 4 ? i - 2 : i - 4)
  return result
}

/** Where the server saw the request come from: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS from a server of RFC 3489 (§12). */
export function mappedAddressOf(message: StunMessage): Uint8Array | undefined {
  const xored = findAttribute(message, stunAttribute.xorMappedAddress)
  if (xored !== undefined) return decodeXorAddress(xored, message.transactionId)
  return addressOf(message, stunAttribute.mappedAddress)
}

/** OTHER-ADDRESS, RESPONSE-ORIGIN or ALTERNATE-SERVER. */
export function addressOf(message: StunMessage, type: number): Uint8Array | undefined {
  const value = findAttribute(message, type)
  return value === undefined ? undefined : decodeStunAddress(value)
}

export interface StunError {
  /** 300 … 699. */
  readonly code: number
  readonly reason: string
}

/** §14.8: 0 zero u16 | 2 class u8, its low 3 bits | 3 number u8 | 4 reason. */
export function encodeErrorCode({ code, reason }: StunError): Uint8Array {
  const text = utf8(reason)
  const value = new Uint8Array(4 + text.length)
  value[2] = Math.floor(code / 100)
  value[3] = code % 100
  value.set(text, 4)
  return value
}

export function decodeErrorCode(value: Uint8Array): StunError | undefined {
  if (value.length < 4 || value.length > 4 + REASON_SIZE_MAX) return undefined
  const hundreds = value[2]! & 7
  const reason = fromUtf8(value.subarray(4))
  return hundreds < 3 || hundreds > 6 || value[3]! > 99 || reason === undefined ? undefined : { code: hundreds * 100 + value[3]!, reason }
}

/** §14.9. */
export function encodeUnknownAttributes(types: readonly number[]): Uint8Array {
  return Uint8Array.from(types.flatMap((type) => [type >>> 8, type & 0xff]))
}

export function decodeUnknownAttributes(value: Uint8Array): readonly number[] | undefined {
  if (value.length % 2 !== 0) return undefined
  return Array.from({ length: value.length / 2 }, (_, i) => (value[2 * i]! << 8) | value[2 * i + 1]!)
}

export interface ChangeRequest {
  readonly ip: boolean
  readonly port: boolean
}

/** RFC 5780 §7.2. */
export function encodeChangeRequest({ ip, port }: ChangeRequest): Uint8Array {
  return Uint8Array.of(0, 0, 0, (ip ? CHANGE_IP : 0) | (port ? CHANGE_PORT : 0))
}

export function decodeChangeRequest(value: Uint8Array): ChangeRequest | undefined {
  return value.length === 4 ? { ip: (value[3]! & CHANGE_IP) !== 0, port: (value[3]! & CHANGE_PORT) !== 0 } : undefined
}

/** RFC 5780 §7.5: a port and two bytes of zero. */
export function encodeResponsePort(port: number): Uint8Array {
  return Uint8Array.of(port >>> 8, port, 0, 0)
}

export function decodeResponsePort(value: Uint8Array): number | undefined {
  return value.length === 4 || value.length === 2 ? (value[0]! << 8) | value[1]! : undefined
}
