/**
 * Invite links (WIRE.md §3.3): `postern:1/` and, as base64url without padding (RFC 4648 §5),
 *
 *   id 32 | token 16 | expires u32 (Unix seconds) | versions u16 | suites u16 | n u8 ≤ 16 | n × (af u8 (4|6) | ip 4|16 | port u16)
 *
 * Bit 15 of `suites` says that the inviter is hard to find: each destination sees another port of it. No suite has that number, so readers of
 * earlier versions pass it over.
 *
 * A link is a secret: whoever holds it can join in the place of the one it was meant for.
 */
import { assert } from '../base/assert.ts'
import { readU16, readU32, writeU16, writeU32 } from '../base/bytes.ts'
import { fromBase64url, toBase64url } from '../base/base64url.ts'
import { ByteReader } from '../base/varint.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { readWireAddresses, wireAddressSize, writeWireAddress } from './frame.ts'

export const INVITE_TOKEN_SIZE = 16
export const INVITE_ADDRESSES_MAX = 16
const PREFIX = 'postern:1/'
const HARD = 0x8000
const HEAD_SIZE = 57
const ADDRESS_WIRE_SIZE_MAX = 19
const SIZE_MAX = HEAD_SIZE + INVITE_ADDRESSES_MAX * ADDRESS_WIRE_SIZE_MAX

export interface InviteLink {
  /** Peer id of the one who invites, 32 bytes, valid. */
  readonly id: Uint8Array
  /** 16 bytes. */
  readonly token: Uint8Array
  /** Unix seconds. Whether it has passed is the reader's to check. */
  readonly expires: number
  /** Bit n: wire version n. */
  readonly versions: number
  /** Bit n: suite n. */
  readonly suites: number
  /** At most 16, 18 bytes each. */
  readonly addresses: readonly Uint8Array[]
  /** Each destination sees another port of the one who invites. */
  readonly hard: boolean
}

/** `scheme`: not a Postern link; `version`: a link of another version; `text`: not base64url; `end`: bytes behind the last address. */
export type InviteLinkFault = 'scheme' | 'version' | 'text' | 'size' | 'address-count' | 'address' | 'end' | 'id'

export function encodeInviteLink(link: InviteLink): string {
  assert(link.id.length === 32 && link.token.length === INVITE_TOKEN_SIZE, 'an id has 32 bytes, a token 16')
  assert(link.addresses.length <= INVITE_ADDRESSES_MAX, 'a link holds at most 16 addresses')
  const bytes = new Uint8Array(link.addresses.reduce((size, address) => size + wireAddressSize(address), HEAD_SIZE))
  bytes.set(link.id)
  bytes.set(link.token, 32)
  writeU32(bytes, 48, link.expires)
  writeU16(bytes, 52, link.versions)
  writeU16(bytes, 54, (link.suites & ~HARD) | (link.hard ? HARD : 0))
  bytes[56] = link.addresses.length
  let at = HEAD_SIZE
  for (const address of link.addresses) at = writeWireAddress(bytes, at, address)
  return PREFIX + toBase64url(bytes)
}

/** Reads any text. The id is checked last: it costs about 1 ms. */
export function decodeInviteLink(text: string, provider: Pick<CryptoProvider, 'validateId'>): { readonly kind: 'invite'; readonly link: InviteLink } | { readonly kind: 'malformed'; readonly where: InviteLinkFault } {
  if (!text.startsWith('postern:')) return { kind: 'malformed', where: 'scheme' }
  if (!text.startsWith(PREFIX)) return { kind: 'malformed', where: 'version' }
  if (text.length - PREFIX.length > Math.ceil(SIZE_MAX * 4 / 3)) return { kind: 'malformed', where: 'size' }
  const bytes = fromBase64url(text.slice(PREFIX.length))
  if (bytes === undefined) return { kind: 'malformed', where: 'text' }
  if (bytes.length < HEAD_SIZE) return { kind: 'malformed', where: 'size' }
  const count = bytes[56]!
  if (count > INVITE_ADDRESSES_MAX) return { kind: 'malformed', where: 'address-count' }
  const reader = new ByteReader(bytes, HEAD_SIZE)
  const addresses = readWireAddresses(reader, count)
  if (addresses === undefined) return { kind: 'malformed', where: 'address' }
  if (reader.remaining > 0) return { kind: 'malformed', where: 'end' }
  const id = bytes.slice(0, 32)
  if (!provider.validateId(id)) return { kind: 'malformed', where: 'id' }
  return {
    kind: 'invite',
    link: { id, token: bytes.slice(32, 48), expires: readU32(bytes, 48), versions: readU16(bytes, 52), suites: readU16(bytes, 54) & ~HARD, addresses, hard: (readU16(bytes, 54) & HARD) !== 0 },
  }
}
