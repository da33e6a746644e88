import { isIPv4, portOf } from './address.ts'
import { isBleAddress } from './ble-address.ts'

/** What an IP address is for (RFC 6890, RFC 4291): who may be there, and whether a stranger may send us there. */
export type AddressClass = 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'broadcast' | 'private' | 'shared' | 'global'

/** Of an address of 18 bytes. `private` is RFC 1918 and RFC 4193, `shared` the range between a home and its provider's NAT (RFC 6598). */
export function addressClass(address: Uint8Array): AddressClass {
  return isIPv4(address) ? classOfIPv4(address[12]!, address[13]!, address) : classOfIPv6(address)
}

function classOfIPv4(first: number, second: number, address: Uint8Array): AddressClass {
  if (first === 0) return 'unspecified'
  if (first === 127) return 'loopback'
  if (first === 169 && second === 254) return 'link-local'
  if (first >= 224 && first < 240) return 'multicast'
  if (first >= 240) return second === 255 && address[14] === 255 && address[15] === 255 && first === 255 ? 'broadcast' : 'unspecified'
  if (first === 10 || (first === 172 && (second & 0xf0) === 16) || (first === 192 && second === 168)) return 'private'
  if (first === 100 && (second & 0xc0) === 64) return 'shared'
  return 'global'
}

function classOfIPv6(address: Uint8Array): AddressClass {
  let prefix = 0
  for (let i = 0; i < 15; i++) prefix |= address[i]!
  if (prefix === 0) return address[15] === 1 ? 'loopback' : 'unspecified'
  // The discard prefix, in which Bluetooth devices are named: nobody is there.
  if (isBleAddress(address)) return 'unspecified'
  if (address[0] === 0xff) return 'multicast'
  if (address[0] === 0xfe && (address[1]! & 0xc0) === 0x80) return 'link-local'
  if ((address[0]! & 0xfe) === 0xfc) return 'private'
  return 'global'
}

/** Whether a host can be reached there at all by one that is not on the same link: an address of one host, and a port. */
export function isRoutable(address: Uint8Array): boolean {
  const kind = addressClass(address)
  return portOf(address) !== 0 && (kind === 'global' || kind === 'private' || kind === 'shared')
}
