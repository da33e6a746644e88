import { describe, expect, it } from 'vitest'
import { addressClass, isRoutable } from '../../../src/core/base/address-class.ts'
import { ADDRESS_SIZE, encodeAddress, formatAddress, isIPv4 } from '../../../src/core/base/address.ts'
import { bleAddressKinds, decodeBleAddress, encodeBleAddress, isBleAddress } from '../../../src/core/base/ble-address.ts'

const device = Uint8Array.of(0xc0, 0xff, 0xee, 0, 0x12, 0x34)

describe('a Bluetooth address', () => {
  it.each(bleAddressKinds)('of kind %s has 18 bytes and is read back', (kind) => {
    const address = encodeBleAddress(kind, device)
    expect(address).toHaveLength(ADDRESS_SIZE)
    expect(decodeBleAddress(address)).toEqual({ kind, device })
    expect(formatAddress(address)).toBe('ble:c0:ff:ee:00:12:34')
  })

  it('is nobody\'s on any network, and no address of a network is one', () => {
    const address = encodeBleAddress('random', device)
    expect([isBleAddress(address), isIPv4(address), isRoutable(address), addressClass(address)]).toEqual([true, false, false, 'unspecified'])
    for (const host of ['192.0.2.1', '2001:db8::1', '::1', '0200::1', '100:0:0:1::1']) expect([host, isBleAddress(encodeAddress(host, 7000)!)]).toEqual([host, false])
  })
})
