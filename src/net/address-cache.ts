import { ADDRESS_SIZE, decodeAddress, encodeAddress, isIPv4 } from '../core/base/address.ts'
import { writeU16 } from '../core/base/bytes.ts'

const IP_SIZE = 16
const SLOTS = 256

/**
 * Addresses as `node:dgram` writes them ↔ the 16 bytes in descriptors. Parsing costs about a microsecond, a hit some tens of
 * nanoseconds. Direct-mapped, {@link SLOTS} entries each way: a collision evicts, so a flood from many sources costs the
 * parsing and no memory.
 */
export class AddressCache {
  readonly #family: 4 | 6
  readonly #texts: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined)
  readonly #textBytes = new Uint8Array(SLOTS * IP_SIZE)
  readonly #hosts: string[] = new Array<string>(SLOTS).fill('')
  readonly #hostBytes = new Uint8Array(SLOTS * IP_SIZE)
  /**
   * Interface of the last link-local source. The 18 bytes have no room for a zone, yet the kernel sends to fe80::/10 only with
   * one: right on every machine with one such network, and on others for the peer that spoke last.
   */
  #zone = ''

  /** @param family of the socket: IPv4 addresses are written `::ffff:a.b.c.d` for one of family 6. */
  constructor(family: 4 | 6) {
    this.#family = family
  }

  /** Writes the 18 bytes of `host` and `port` to the start of `into`; `false` when `host` is no IP literal. */
  encode(host: string, port: number, into: Uint8Array): boolean {
    let hash = 0
    for (let i = 0; i < host.length; i++) hash = Math.imul(hash, 31) + host.charCodeAt(i)
    const slot = (hash ^ (hash >>> 8)) & (SLOTS - 1)
    const bytes = this.#textBytes
    const at = slot * IP_SIZE
    if (this.#texts[slot] !== host) {
      const zone = host.indexOf('%')
      const address = encodeAddress(zone < 0 ? host : host.slice(0, zone), 0)
      if (address === undefined) return false
      if (zone >= 0) this.#zone = host.slice(zone)
      bytes.set(address.subarray(0, IP_SIZE), at)
      this.#texts[slot] = host
    }
    for (let i = 0; i < IP_SIZE; i++) into[i] = bytes[at + i]!
    writeU16(into, IP_SIZE, port)
    return true
  }

  /** The text that this socket's `send` takes for the 16 bytes of IP address at `offset`. */
  host(address: Uint8Array, offset: number): string {
    let hash = 0
    for (let i = 0; i < IP_SIZE; i++) hash = Math.imul(hash, 31) + address[offset + i]!
    const slot = (hash ^ (hash >>> 8)) & (SLOTS - 1)
    const bytes = this.#hostBytes
    const at = slot * IP_SIZE
    let same = this.#hosts[slot] !== ''
    for (let i = 0; same && i < IP_SIZE; i++) same = bytes[at + i] === address[offset + i]
    if (same) return this.#hosts[slot]!
    const host = this.#format(address, offset)
    // A link-local address is formatted anew each time, since its zone may change.
    if (isLinkLocal(address, offset)) return host + this.#zone
    for (let i = 0; i < IP_SIZE; i++) bytes[at + i] = address[offset + i]!
    this.#hosts[slot] = host
    return host
  }

  #format(address: Uint8Array, offset: number): string {
    const host = decodeAddress(address.subarray(offset, offset + ADDRESS_SIZE)).host
    return this.#family === 6 && isIPv4(address, offset) ? `::ffff:${host}` : host
  }
}

function isLinkLocal(address: Uint8Array, offset: number): boolean {
  return address[offset] === 0xfe && (address[offset + 1]! & 0xc0) === 0x80
}
