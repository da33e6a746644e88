import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ADDRESS_SIZE, decodeAddress, encodeAddress } from '../../src/core/base/address.ts'
import { AddressCache } from '../../src/net/address-cache.ts'
import { parseKernelDrops } from '../../src/net/kernel-drops.ts'

const host = fc.oneof(fc.ipV4(), fc.ipV6())
const port = fc.integer({ min: 0, max: 65_535 })

describe('AddressCache', () => {
  it('says what the parser says, however often and in whatever order', () => {
    const six = new AddressCache(6)
    const four = new AddressCache(4)
    const into = new Uint8Array(ADDRESS_SIZE)
    fc.assert(fc.property(fc.array(fc.tuple(host, port), { maxLength: 50 }), (addresses) => {
      for (const [text, number] of [...addresses, ...addresses]) {
        const expected = encodeAddress(text, number)
        // fast-check writes forms that the parser refuses on purpose (a leading zero).
        expect(six.encode(text, number, into)).toBe(expected !== undefined)
        if (expected === undefined || expected[0] === 0xfe) continue
        expect(into).toEqual(expected)
        const plain = decodeAddress(expected).host
        const mapped = plain.includes(':') ? plain : `::ffff:${plain}`
        expect(six.host(expected, 0)).toBe(mapped)
        expect(four.host(expected, 0)).toBe(plain)
        expect(encodeAddress(mapped, number)).toEqual(expected)
      }
    }), { numRuns: 300 })
  })

  it('reads at an offset and keeps the port out of the text', () => {
    const cache = new AddressCache(4)
    const rows = new Uint8Array(3 * ADDRESS_SIZE)
    rows.set(encodeAddress('192.0.2.1', 7)!, ADDRESS_SIZE)
    rows.set(encodeAddress('192.0.2.1', 8)!, 2 * ADDRESS_SIZE)
    expect(cache.host(rows, ADDRESS_SIZE)).toBe('192.0.2.1')
    expect(cache.host(rows, 2 * ADDRESS_SIZE)).toBe('192.0.2.1')
  })

  it('refuses what is no literal', () => {
    const cache = new AddressCache(6)
    for (const text of ['', 'localhost', '1.2.3', '1.2.3.4.5', '::g', '%eth0']) expect(cache.encode(text, 1, new Uint8Array(ADDRESS_SIZE)), text).toBe(false)
  })
})

describe('parseKernelDrops', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  497: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 42
  498: 00000000:1F91 0100007F:1F90 07 00000000:00000000 00:00000000 00000000     0        0 12346 2 0000000000000000 7
`
  const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1037: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0000000000000000 1001
 1038: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0000000000000000 3
`
  it('finds the row by the local address and port', () => {
    expect(parseKernelDrops(table, encodeAddress('127.0.0.1', 8080)!, 4)).toBe(42)
    expect(parseKernelDrops(table, encodeAddress('0.0.0.0', 8081)!, 4)).toBe(7)
    expect(parseKernelDrops(table6, encodeAddress('::', 8080)!, 6)).toBe(1001)
    expect(parseKernelDrops(table6, encodeAddress('::1', 8080)!, 6)).toBe(3)
  })
  it('knows when there is none', () => {
    expect(parseKernelDrops(table, encodeAddress('127.0.0.1', 8081)!, 4)).toBeUndefined()
    expect(parseKernelDrops('', encodeAddress('::', 8080)!, 6)).toBeUndefined()
  })
})
