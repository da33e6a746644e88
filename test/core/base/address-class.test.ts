import { expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { addressClass, isRoutable, type AddressClass } from '../../../src/core/base/address-class.ts'

const table: Readonly<Record<AddressClass, readonly string[]>> = {
  'unspecified': ['0.0.0.0', '0.1.2.3', '240.0.0.1', '255.255.255.254', '::', '::2'],
  'loopback': ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1'],
  'link-local': ['169.254.1.1', 'fe80::1', 'febf::1'],
  'multicast': ['224.0.0.251', '239.255.255.255', 'ff02::fb'],
  'broadcast': ['255.255.255.255'],
  'private': ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.0.1', 'fd00::1', 'fc00::1'],
  'shared': ['100.64.0.1', '100.127.255.255'],
  'global': ['1.1.1.1', '11.0.0.1', '100.63.0.1', '100.128.0.1', '172.15.0.1', '172.32.0.1', '192.167.0.1', '169.253.0.1', '2001:db8::1', '2606:4700::1', 'fec0::1'],
}

it('names each range', () => {
  for (const [kind, hosts] of Object.entries(table)) for (const host of hosts) expect(addressClass(encodeAddress(host, 1)!), host).toBe(kind)
})

it('a peer may be where there is one host and a port', () => {
  expect(['1.1.1.1', '10.0.0.1', '100.64.0.1'].map((host) => isRoutable(encodeAddress(host, 1)!))).toEqual([true, true, true])
  expect(['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '169.254.0.1', 'fe80::1'].map((host) => isRoutable(encodeAddress(host, 1)!))).toEqual(new Array(6).fill(false))
  expect(isRoutable(encodeAddress('1.1.1.1', 0)!)).toBe(false)
})
