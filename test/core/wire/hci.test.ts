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

  test('cut in two at every byte, and into single bytes, it is the same stream', () => {
    const packets = [encodeHciCommand(0x0c03), encodeHciEvent(0x0e, Uint8Array.of(1, 3, 12, 0)), encodeAcl(0x40, 2, new Uint8Array(300).fill(7)), encodeAcl(0x41, 1, new Uint8Array(0)), Uint8Array.of(3, 1, 0, 2, 9, 9), Uint8Array.of(5, 1, 0, 1, 0, 8)]
    const bytes = concat(...packets)
    for (let at = 0; at <= bytes.length; at++) expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual({ packets, isWhole: true })
    expect(read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual({ packets, isWhole: true })
  })

  test('garbage anywhere: what came before it is whole, nothing after it is taken for a packet', () => {
    fc.assert(fc.property(fc.array(anyPacket, { maxLength: 5 }), fc.integer({ min: 6, max: 255 }), fc.uint8Array({ maxLength: 50 }), fc.integer({ min: 1, max: 90 }), (packets, type, junk, step) => {
      const bytes = concat(...packets, Uint8Array.of(type), junk, encodeHciCommand(0x0c03))
      const chunks: Uint8Array[] = []
      for (let at = 0; at < bytes.length; at += step) chunks.push(bytes.subarray(at, at + step))
      expect(read(chunks)).toEqual({ packets, isWhole: false })
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
