import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/core/base/bytes.ts'
import { ByteReader, VARINT_MAX, varintSize, writeVarint, writeVarint2 } from '../../../src/core/base/varint.ts'
import { bytes, hex } from '../../support/bytes.ts'

const edges = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, 2 ** 32 - 1, 2 ** 32, VARINT_MAX))

describe('varint (RFC 9000 §16)', () => {
  it('reads and writes the examples of RFC 9000 appendix A.1', () => {
    for (const [text, value] of [['9d7f3e7d', 494_878_333], ['7bbd', 15_293], ['25', 37]] as const) {
      expect(new ByteReader(hex(text)).varint()).toBe(value)
      const target = new Uint8Array(varintSize(value))
      expect(writeVarint(target, 0, value)).toBe(target.length)
      expect(toHex(target)).toBe(text)
    }
    // A longer form than needed is legal for values; and 151,288,809,941,952,652 is beyond what a double holds exactly.
    expect(new ByteReader(hex('4025')).varint()).toBe(37)
    const large = new ByteReader(hex('c2197c5eff14e88c'))
    expect([large.varint(), large.failed, large.position]).toEqual([0, true, 0])
  })

  it('goes there and back in the shortest form', () => {
    fc.assert(fc.property(edges, fc.nat({ max: 3 }), (value, at) => {
      const target = new Uint8Array(16).fill(0xee)
      const end = writeVarint(target, at, value)
      expect(end - at).toBe(varintSize(value))
      expect(target[end]).toBe(0xee)
      const reader = new ByteReader(target, at)
      expect([reader.varint(), reader.position, reader.failed]).toEqual([value, end, false])
    }))
  })

  it('reserves and patches two bytes', () => {
    fc.assert(fc.property(fc.nat({ max: 16_383 }), (value) => {
      const target = new Uint8Array(2)
      writeVarint2(target, 0, value)
      return new ByteReader(target).varint() === value
    }))
  })

  it('refuses 2^53 and more, takes 2^53 − 1', () => {
    expect(new ByteReader(hex('c01fffffffffffff')).varint()).toBe(VARINT_MAX)
    for (const text of ['c020000000000000', 'ffffffffffffffff']) {
      const reader = new ByteReader(hex(text))
      reader.varint()
      expect(reader.failed).toBe(true)
    }
  })
})

describe('ByteReader', () => {
  it('never throws, never reads past the end, and stays where a read failed', () => {
    const call = fc.oneof(
      fc.constantFrom('u8' as const, 'u16' as const, 'u32' as const, 'varint' as const).map((name) => ({ name, length: 0 })),
      fc.record({ name: fc.constantFrom('view' as const, 'skip' as const), length: fc.nat({ max: 30 }) }),
    )
    fc.assert(fc.property(bytes(0, 30), fc.array(call, { maxLength: 20 }), (input, calls) => {
      // A guard behind the end would be noticed if it were read.
      const padded = new Uint8Array(input.length + 16).fill(0xff)
      padded.set(input)
      const reader = new ByteReader(padded, 0, input.length)
      for (const { name, length } of calls) {
        const before = reader.position
        reader.failed = false
        if (name === 'view') reader.view(length)
        else if (name === 'skip') reader.skip(length)
        else reader[name]()
        expect(reader.position).toBeLessThanOrEqual(input.length)
        if (failed(reader)) expect(reader.position).toBe(before)
      }
    }))
  })

  it('reads a mixed structure and is reused', () => {
    const reader = new ByteReader(hex('01 0203 04050607 4025 aabb cc'))
    expect([reader.u8(), reader.u16(), reader.u32(), reader.varint(), toHex(reader.view(2)), reader.skip(1), reader.remaining]).toEqual([1, 0x0302, 0x07060504, 37, 'aabb', 11, 0])
    expect([reader.u8(), reader.failed]).toEqual([0, true])
    reader.reset(hex('ff05'), 1, 2)
    expect([reader.failed, reader.u8(), reader.remaining]).toEqual([false, 5, 0])
  })
})

/** Behind a call, so that the checker does not take the assignment before it for the answer. */
function failed(reader: ByteReader): boolean {
  return reader.failed
}
