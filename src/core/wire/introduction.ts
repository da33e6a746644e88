/**
 * What one peer says of another when it introduces them (decision 095). It is the `meta` of a channel that is opened for nothing else:
 *
 *   fmt u8 = 1 | flags u8 (bit 0: an answer, which asks for none; bit 1: hard) | id 32 | n u8 ≤ 11 | n × (af u8 (4|6) | ip 4|16 | port u16)
 *
 * Hard: each destination sees another port of the one that is told of (`invite-link.ts`). `id` is whom to tell on the way to the introducer, and who asks on the way from it.
 */
import { concat } from '../base/bytes.ts'
import { ByteReader } from '../base/varint.ts'
import { readWireAddresses, wireAddressSize, writeWireAddress } from './frame.ts'

/** To a peer that knows both: tell them where I am. */
export const INTRODUCE_APP = 'postern/introduce'
/** From it: a peer of yours would like to meet you, and is there. */
export const INTRODUCED_APP = 'postern/introduced'
/** As many as fit beside the rest into 256 bytes. */
export const INTRODUCTION_ADDRESSES_MAX = 11
const FORMAT = 1
const ANSWER = 1
const HARD = 2
const HEAD_SIZE = 35

export interface Introduction {
  /** Made because of another one: it is not answered again. */
  readonly answer: boolean
  /** Each destination sees another port of the one whose addresses these are. */
  readonly hard: boolean
  readonly id: Uint8Array
  /** 18 bytes each. */
  readonly addresses: readonly Uint8Array[]
}

/** Addresses beyond {@link INTRODUCTION_ADDRESSES_MAX} are left out. */
export function encodeIntroduction({ answer, hard, id, addresses }: Introduction): Uint8Array {
  const told = addresses.slice(0, INTRODUCTION_ADDRESSES_MAX)
  const bytes = new Uint8Array(told.reduce((size, address) => size + wireAddressSize(address), HEAD_SIZE))
  bytes.set(concat(Uint8Array.of(FORMAT, (answer ? ANSWER : 0) | (hard ? HARD : 0)), id, Uint8Array.of(told.length)))
  let at = HEAD_SIZE
  for (const address of told) at = writeWireAddress(bytes, at, address)
  return bytes
}

/** `undefined` for anything else, also of another format: bits of `flags` that are not known are ignored. */
export function decodeIntroduction(bytes: Uint8Array): Introduction | undefined {
  if (bytes.length < HEAD_SIZE || bytes[0] !== FORMAT) return undefined
  const count = bytes[HEAD_SIZE - 1]!
  if (count > INTRODUCTION_ADDRESSES_MAX) return undefined
  const reader = new ByteReader(bytes, HEAD_SIZE)
  const addresses = readWireAddresses(reader, count)
  if (addresses === undefined) return undefined
  return reader.remaining > 0 ? undefined : { answer: (bytes[1]! & ANSWER) !== 0, hard: (bytes[1]! & HARD) !== 0, id: bytes.slice(2, 34), addresses }
}
