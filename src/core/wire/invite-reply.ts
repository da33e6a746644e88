/**
 * The answer to an invite that is carried back by hand (decision 094): who joins tells where it is, so that both can dial at the same
 * moment through the doors of their own routers. `postern:r1/` and, as base64url without padding (RFC 4648 §5),
 *
 *   id 32 | token id 8 | proof 16 | n u8 ≤ 16 (bit 7: hard, `invite-link.ts`) | n × (af u8 (4|6) | ip 4|16 | port u16)
 *
 * The proof is a mac under the token over everything else, so a reply is of somebody who holds the invite, and its addresses are theirs
 * to tell. It is no secret: it opens nothing to who reads it.
 */
import { assert } from '../base/assert.ts'
import { fromBase64url, toBase64url } from '../base/base64url.ts'
import { concat } from '../base/bytes.ts'
import { ByteReader } from '../base/varint.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { readWireAddresses, wireAddressSize, writeWireAddress } from './frame.ts'
import { INVITE_ADDRESSES_MAX } from './invite-link.ts'

const PREFIX = 'postern:r1/'
const ID_END = 40
const PROOF_SIZE = 16
/** Of the count of addresses: who writes is seen at another port by each destination. */
const HARD = 0x80
const HEAD_SIZE = ID_END + PROOF_SIZE + 1
const ADDRESS_WIRE_SIZE_MAX = 19
const SIZE_MAX = HEAD_SIZE + INVITE_ADDRESSES_MAX * ADDRESS_WIRE_SIZE_MAX

export interface InviteReply {
  /** Peer id of the one who joins, 32 bytes, valid. */
  readonly id: Uint8Array
  /** Which invite it answers, 8 bytes. */
  readonly tokenId: Uint8Array
  /** 16 bytes. */
  readonly proof: Uint8Array
  /** What the proof is over. */
  readonly content: Uint8Array
  /** At most 16, 18 bytes each. */
  readonly addresses: readonly Uint8Array[]
  /** Each destination sees another port of the one who joins. */
  readonly hard: boolean
}

/** `scheme`: not a reply; `version`: a reply of another version; `text`: not base64url; `end`: bytes behind the last address. */
export type InviteReplyFault = 'scheme' | 'version' | 'text' | 'size' | 'address-count' | 'address' | 'end' | 'id'

/** Whether the text wants to be a reply and not an invite: both are pasted into the same commands. */
export function looksLikeReply(text: string): boolean {
  return text.startsWith('postern:r')
}

/** @param prove the mac over what it is given, 16 bytes */
export function encodeInviteReply(reply: Pick<InviteReply, 'id' | 'tokenId' | 'addresses' | 'hard'>, prove: (content: Uint8Array) => Uint8Array): string {
  const { id, tokenId, addresses, hard } = reply
  assert(id.length === 32 && tokenId.length === 8, 'an id has 32 bytes, that of a token 8')
  assert(addresses.length <= INVITE_ADDRESSES_MAX, 'a reply holds at most 16 addresses')
  const tail = new Uint8Array(addresses.reduce((size, address) => size + wireAddressSize(address), 1))
  tail[0] = addresses.length | (hard ? HARD : 0)
  let at = 1
  for (const address of addresses) at = writeWireAddress(tail, at, address)
  const proof = prove(concat(id, tokenId, tail))
  return PREFIX + toBase64url(concat(id, tokenId, proof, tail))
}

/** Reads any text. The id is checked last: it costs about 1 ms. Whether the proof is right is for who has the token. */
export function decodeInviteReply(text: string, provider: Pick<CryptoProvider, 'validateId'>): { readonly kind: 'reply'; readonly reply: InviteReply } | { readonly kind: 'malformed'; readonly where: InviteReplyFault } {
  if (!looksLikeReply(text)) return { kind: 'malformed', where: 'scheme' }
  if (!text.startsWith(PREFIX)) return { kind: 'malformed', where: 'version' }
  if (text.length - PREFIX.length > Math.ceil(SIZE_MAX * 4 / 3)) return { kind: 'malformed', where: 'size' }
  const bytes = fromBase64url(text.slice(PREFIX.length))
  if (bytes === undefined) return { kind: 'malformed', where: 'text' }
  if (bytes.length < HEAD_SIZE) return { kind: 'malformed', where: 'size' }
  const count = bytes[HEAD_SIZE - 1]! & ~HARD
  if (count > INVITE_ADDRESSES_MAX) return { kind: 'malformed', where: 'address-count' }
  const reader = new ByteReader(bytes, HEAD_SIZE)
  const addresses = readWireAddresses(reader, count)
  if (addresses === undefined) return { kind: 'malformed', where: 'address' }
  if (reader.remaining > 0) return { kind: 'malformed', where: 'end' }
  const id = bytes.slice(0, 32)
  if (!provider.validateId(id)) return { kind: 'malformed', where: 'id' }
  const proof = bytes.slice(ID_END, ID_END + PROOF_SIZE)
  return { kind: 'reply', reply: { id, tokenId: bytes.slice(32, ID_END), proof, content: concat(bytes.subarray(0, ID_END), bytes.subarray(ID_END + PROOF_SIZE)), addresses, hard: (bytes[HEAD_SIZE - 1]! & HARD) !== 0 } }
}
