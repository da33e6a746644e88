import { formatBleAddress, isBleAddress } from './ble-address.ts'
import { readU16, writeU16 } from './bytes.ts'

/**
 * A network address in 18 bytes, as it stands in descriptors: 16 bytes of IPv6 address (IPv4 as ::ffff:a.b.c.d), then the port
 * as u16. One form per address, so equal addresses are equal bytes.
 */
export const ADDRESS_SIZE = 18

/** An address as people and configuration files write it. `host` is an IP literal, never a name. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)

/** Whether the 18 bytes at `offset` hold an IPv4 address. */
export function isIPv4(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < 12; i++) {
    if (bytes[offset + i] !== MAPPED_PREFIX[i]) return false
  }
  return true
}

export function portOf(address: Uint8Array, offset = 0): number {
  return readU16(address, offset + 16)
}

export function equalAddress(a: Uint8Array, aOffset: number, b: Uint8Array, bOffset: number): boolean {
  for (let i = 0; i < ADDRESS_SIZE; i++) {
    if (a[aOffset + i] !== b[bOffset + i]) return false
  }
  return true
}

/** The 18 bytes of an IP literal and a port, `undefined` when either is not one. A zone (`%eth0`) is not an address and refused. */
export function encodeAddress(host: string, port: number): Uint8Array | undefined {
  if (!Number.isInteger(port) || port < 0 || port > 65535) return undefined
  const ip = host.includes(':') ? parseIPv6(host) : parseMapped(host)
  if (ip === undefined) return undefined
  const address = new Uint8Array(ADDRESS_SIZE)
  address.set(ip)
  writeU16(address, 16, port)
  return address
}

export function decodeAddress(bytes: Uint8Array, offset = 0): HostPort {
  const port = portOf(bytes, offset)
  if (isIPv4(bytes, offset)) {
    return { host: `${bytes[offset + 12]!}.${bytes[offset + 13]!}.${bytes[offset + 14]!}.${bytes[offset + 15]!}`, port }
  }
  return { host: formatIPv6(bytes, offset), port }
}

/** `192.0.2.1:7000`, `[2001:db8::1]:7000`, or `ble:c0:ff:ee:00:12:34`. */
export function formatAddress(bytes: Uint8Array, offset = 0): string {
  if (isBleAddress(bytes, offset)) return formatBleAddress(bytes, offset)
  const { host, port } = decodeAddress(bytes, offset)
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Reads what {@link formatAddress} writes of an IP address. */
export function parseAddress(text: string): Uint8Array | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const host = match[1] ?? match[2]!
  if (match[1] !== undefined && !host.includes(':')) return undefined
  return encodeAddress(host, Number(match[3]))
}

function parseIPv4(text: string): number[] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  const parts = match.slice(1).map(Number)
  // A leading zero is octal to some parsers and decimal to others: refused.
  const canonical = parts.every((part, i) => part <= 255 && String(part) === match[i + 1])
  return canonical ? parts : undefined
}

function parseMapped(text: string): number[] | undefined {
  const ip = parseIPv4(text)
  return ip === undefined ? undefined : [...MAPPED_PREFIX, ...ip]
}

function parseIPv6(text: string): number[] | undefined {
  let rest = text
  let tail: number[] = []
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)
  if (dotted !== null) {
    const ip = parseIPv4(dotted[2]!)
    if (ip === undefined) return undefined
    tail = ip
    rest = dotted[1]!.endsWith('::') ? dotted[1]! : dotted[1]!.slice(0, -1)
  }
  const halves = rest.split('::')
  if (halves.length > 2) return undefined
  const left = parseGroups(halves[0]!)
  const right = halves.length === 2 ? parseGroups(halves[1]!) : []
  if (left === undefined || right === undefined) return undefined
  const known = left.length + right.length + tail.length
  if (halves.length === 1 ? known !== 16 : known > 14) return undefined
  return [...left, ...new Array<number>(16 - known).fill(0), ...right, ...tail]
}

function parseGroups(text: string): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  for (const group of text.split(':')) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
    const value = parseInt(group, 16)
    bytes.push(value >>> 8, value & 0xff)
  }
  return bytes
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups as `::`, the first on a tie. */
function formatIPv6(bytes: Uint8Array, offset: number): string {
  const groups: number[] = []
  for (let i = 0; i < 8; i++) groups.push((bytes[offset + 2 * i]! << 8) | bytes[offset + 2 * i + 1]!)
  let bestStart = -1
  let bestLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > bestLength) {
      bestStart = i
      bestLength = length
    }
    i += length
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  if (bestStart < 0) return hex(groups)
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}`
}
