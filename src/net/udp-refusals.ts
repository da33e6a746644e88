import { ADDRESS_SIZE, equalAddress } from '../core/base/address.ts'
import type { LinkId, RefusalReason } from '../core/endpoint/contract.ts'
import { codeOf } from './udp-open.ts'

/** What the system says when it does not let a datagram go to an address, or knows nobody there. Full buffers and sizes are not that. */
const reasons: ReadonlyMap<string, RefusalReason> = new Map<string, RefusalReason>([
  ['ECONNREFUSED', 'refused'], ['EPERM', 'forbidden'], ['EACCES', 'forbidden'],
  ['ENETUNREACH', 'unreachable'], ['EHOSTUNREACH', 'unreachable'], ['EHOSTDOWN', 'unreachable'], ['ENETDOWN', 'unreachable'], ['EADDRNOTAVAIL', 'unreachable'],
])
/** Addresses told in one turn; the others are refused again when something is sent there again. */
const ADDRESSES_MAX = 256

interface Encoder {
  readonly id: LinkId
  encode(host: string, port: number, into: Uint8Array): boolean
}

/** Addresses that the system refused for the same reason, on one link. */
export interface Refused {
  readonly link: LinkId
  readonly reason: RefusalReason
  readonly addresses: Uint8Array[]
}

/** Why a datagram went no further, as ICMP has it; `undefined`: none of what a session would do something about. */
export function hintReason(code: string): RefusalReason | undefined {
  return code === 'EMSGSIZE' ? 'failed' : reasons.get(code)
}

/** Gathers the addresses to which the system refused to send, to be told in the next turn: once each. */
export class Refusals {
  readonly #found: { readonly link: LinkId; readonly address: Uint8Array; readonly reason: RefusalReason }[] = []

  /** Whether there is something to tell. Node puts the address into the error of a send. */
  add(error: Error, links: readonly Encoder[]): boolean {
    const reason = reasons.get(codeOf(error))
    if (reason === undefined || this.#found.length >= ADDRESSES_MAX) return this.#found.length > 0
    const { address: host, port } = error as { readonly address?: unknown; readonly port?: unknown }
    if (typeof host !== 'string' || typeof port !== 'number') return this.#found.length > 0
    for (const link of links) {
      const address = new Uint8Array(ADDRESS_SIZE)
      if (!link.encode(host, port, address)) continue
      if (!this.#found.some((known) => known.link === link.id && equalAddress(known.address, 0, address, 0))) this.#found.push({ link: link.id, address, reason })
    }
    return this.#found.length > 0
  }

  /** The same of a link whose system names the address in 18 bytes. */
  addTo(link: LinkId, code: string, bytes: Uint8Array, offset: number): boolean {
    const reason = reasons.get(code)
    if (reason !== undefined && this.#found.length < ADDRESSES_MAX) {
      if (!this.#found.some((known) => known.link === link && equalAddress(known.address, 0, bytes, offset))) this.#found.push({ link, address: bytes.slice(offset, offset + ADDRESS_SIZE), reason })
    }
    return this.#found.length > 0
  }

  /** By link and reason, and none is left here. */
  take(): readonly Refused[] {
    const found: Refused[] = []
    for (const { link, address, reason } of this.#found.splice(0)) {
      const same = found.find((group) => group.link === link && group.reason === reason)
      if (same === undefined) found.push({ link, reason, addresses: [address] })
      else same.addresses.push(address)
    }
    return found
  }
}
