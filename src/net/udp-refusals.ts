import { ADDRESS_SIZE, equalAddress } from '../core/base/address.ts'
import type { LinkId } from '../core/endpoint/contract.ts'
import { codeOf } from './udp-open.ts'

/** What the system says when it does not let a datagram go to an address, or knows nobody there. Full buffers and sizes are not that. */
const refusals = new Set(['ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EPERM', 'EACCES', 'EADDRNOTAVAIL'])
/** Addresses told in one turn; the others are refused again when something is sent there again. */
const ADDRESSES_MAX = 256

interface Encoder {
  readonly id: LinkId
  encode(host: string, port: number, into: Uint8Array): boolean
}

/** Gathers the addresses to which the system refused to send, to be told in the next turn: once each. */
export class Refusals {
  readonly #found: { readonly link: LinkId; readonly address: Uint8Array }[] = []

  /** Whether there is something to tell. Node puts the address into the error of a send. */
  add(error: Error, links: readonly Encoder[]): boolean {
    if (!refusals.has(codeOf(error)) || this.#found.length >= ADDRESSES_MAX) return this.#found.length > 0
    const { address: host, port } = error as { readonly address?: unknown; readonly port?: unknown }
    if (typeof host !== 'string' || typeof port !== 'number') return this.#found.length > 0
    for (const link of links) {
      const address = new Uint8Array(ADDRESS_SIZE)
      if (!link.encode(host, port, address)) continue
      if (!this.#found.some((known) => known.link === link.id && equalAddress(known.address, 0, address, 0))) this.#found.push({ link: link.id, address })
    }
    return this.#found.length > 0
  }

  /** The same of a link whose system names the address in 18 bytes. */
  addTo(link: LinkId, code: string, bytes: Uint8Array, offset: number): boolean {
    if (refusals.has(code) && this.#found.length < ADDRESSES_MAX) {
      if (!this.#found.some((known) => known.link === link && equalAddress(known.address, 0, bytes, offset))) this.#found.push({ link, address: bytes.slice(offset, offset + ADDRESS_SIZE) })
    }
    return this.#found.length > 0
  }

  /** By link, and none is left here. */
  take(): ReadonlyMap<LinkId, readonly Uint8Array[]> {
    const byLink = new Map<LinkId, Uint8Array[]>()
    for (const { link, address } of this.#found.splice(0)) {
      const addresses = byLink.get(link)
      if (addresses === undefined) byLink.set(link, [address])
      else addresses.push(address)
    }
    return byLink
  }
}
