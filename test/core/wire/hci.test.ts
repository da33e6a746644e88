import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat } from '../../../src/core/base/bytes.ts'
import { addressBytes, addressText, encodeAcl, encodeHciCommand, encodeHciEvent, H4Reader, packetType } from '../../../src/core/wire/hci.ts'

const anyPacket = fc.oneof(
  fc.tuple(fc.nat(0xffff), fc.uint8Array({ maxLength: 255 })).map(([code, parameters]) => encodeHciCommand(code, parameters)),
  fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 255 })).map(([code, parameters]) => encodeHciEvent(code, parameters)),
  fc.tuple(fc.nat(0xeff), fc.nat(3), fc.uint8Array({ maxLength: 600 })).map(([handle, flag, data]) => encodeAcl(handle, flag, data)),
)

function read(chunks: readonly Uint8Array[]): { readonly packets: Uint8Array[]; readonly isWhole: boolean } {
  const packets: Uint8Array[] = []
  const reader = new H4Reader((packet) => packets.push(packet))
  let isWhole = true
  for (const chunk of chunks) isWhole = reader.push(chunk) && isWhole
  return { packets, isWhole }
}

describe('H4', () => {
  test('packets come out of a stream as they went in, however it is cut', () => {
    fc.assert(fc.property(fc.array(anyPacket, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 40 }), (packets, cuts) => {
      const bytes = concat(...packets)
      const chunks: Uint8Array[] = []
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const next = at + cuts[i % cuts.length]!
        chunks.push(bytes.subarray(at, next))
        at = next
      }
      expect(read(chunks)).toEqual({ packets, isWhole: true })
    }))
  })

  test('a stream out of step is refused for good, and any bytes are taken without a throw', () => {
    expect(read([Uint8Array.of(0x77), encodeHciCommand(0x0c03)])).toEqual({ packets: [], isWhole: false })
    expect(read([Uint8Array.of(packetType.acl, 0, 0, 0xff, 0xff)])).toEqual({ packets: [], isWhole: false })
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (chunks) => void read(chunks)))
  })
})

test('an address is written backwards', () => {
  expect(addressText(Uint8Array.of(1, 2, 3, 4, 5, 0xab))).toBe('ab:05:04:03:02:01')
  expect(addressBytes('AB:05:04:03:02:01')).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 0xab))
  for (const wrong of ['', 'ab:05:04:03:02', 'ab:05:04:03:02:01:00', 'ab05:04:03:02:01', 'zz:05:04:03:02:01']) expect(addressBytes(wrong)).toBeUndefined()
})
