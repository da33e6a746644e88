import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeAddress, encodeAddress, equalAddress, formatAddress, isIPv4, parseAddress, portOf } from '../../../src/core/base/address.ts'
import { toHex } from '../../../src/core/base/bytes.ts'
import { bytes } from '../../support/bytes.ts'

describe('address in 18 bytes', () => {
  it('writes IPv4 mapped into IPv6, and the port little-endian', () => {
    const address = encodeAddress('192.0.2.1', 7000)!
    expect(toHex(address)).toBe('00000000000000000000ffffc0000201581b')
    expect([isIPv4(address), portOf(address), decodeAddress(address), formatAddress(address)]).toEqual([true, 7000, { host: '192.0.2.1', port: 7000 }, '192.0.2.1:7000'])
  })

  it('has one form per address', () => {
    expect(encodeAddress('::ffff:192.0.2.1', 1)).toEqual(encodeAddress('192.0.2.1', 1))
    expect(encodeAddress('2001:DB8::1', 1)).toEqual(encodeAddress('2001:db8:0:0:0:0:0:1', 1))
    expect(encodeAddress('64:ff9b::192.0.2.33', 1)).toEqual(encodeAddress('64:ff9b::c000:221', 1))
  })

  it('writes IPv6 as RFC 5952 §4 and §5 say', () => {
    const cases = [
      ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'], ['2001:0db8:0:0:0:0:2:1', '2001:db8::2:1'], ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
      ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], ['::', '::'], ['::1', '::1'], ['1::', '1::'], ['fe80::ABCD', 'fe80::abcd'],
    ] as const
    for (const [input, output] of cases) expect(decodeAddress(encodeAddress(input, 0)!).host).toBe(output)
  })

  it('goes there and back for any 18 bytes, and its text is one that node takes', () => {
    fc.assert(fc.property(bytes(18), (address) => {
      const { host } = decodeAddress(address)
      expect(isIPv6(host) || isIPv4(address)).toBe(true)
      expect(parseAddress(formatAddress(address))).toEqual(address)
    }), { numRuns: 500 })
  })

  it('takes the same IPv6 literals as node, except zones', () => {
    const group = fc.oneof(fc.constantFrom('0', '1', 'ffff', 'db8', '', '00000', 'g'), fc.nat({ max: 0xffff }).map((n) => n.toString(16)))
    const text = fc.array(group, { minLength: 1, maxLength: 10 }).map((groups) => groups.join(':'))
    const literal = fc.oneof(text, fc.tuple(text, fc.constantFrom(':1.2.3.4', '::1.2.3.4', ':1.2.3', ':1.2.3.256')).map(([head, tail]) => head + tail))
    fc.assert(fc.property(literal, (host) => (encodeAddress(host, 1) !== undefined) === (isIPv6(host) || /^\d+\.\d+\.\d+\.\d+$/.test(host))), { numRuns: 2000 })
  })

  it('refuses what is not an IP literal with a port', () => {
    for (const host of ['', 'localhost', '1.2.3', '1.2.3.4.5', '01.2.3.4', '256.0.0.1', '1.2.3.-4', 'fe80::1%eth0', ':::', '1:2:3:4:5:6:7:8:9', '1::2::3', ':1', '1:', '::1.2.3']) expect(encodeAddress(host, 1)).toBeUndefined()
    for (const port of [-1, 65_536, 1.5, Number.NaN]) expect(encodeAddress('1.2.3.4', port)).toBeUndefined()
    for (const text of ['1.2.3.4', '1.2.3.4:', '1.2.3.4:65536', '[1.2.3.4]:5', '::1:5', '[::1]', '[::1]5', ' 1.2.3.4:5']) expect(parseAddress(text)).toBeUndefined()
  })

  it('compares at offsets', () => {
    const one = encodeAddress('192.0.2.1', 7000)!
    const shifted = new Uint8Array(20)
    shifted.set(one, 2)
    expect(equalAddress(one, 0, shifted, 2)).toBe(true)
    shifted[19]! ^= 1
    expect(equalAddress(one, 0, shifted, 2)).toBe(false)
  })
})
