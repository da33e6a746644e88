import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compareBytes, concat, equalBytes, equalConstantTime, fromHex, fromUtf8, isAllZero, readU16, readU32, readU64, toHex, utf8, wipe, writeU16, writeU32, writeU64,
} from '../../../src/core/base/bytes.ts'
import { bytes } from '../../support/bytes.ts'

const offset = fc.nat({ max: 9 })

describe('integers, little-endian', () => {
  it('u16, u32 and u64 as DataView has them, at any offset', () => {
    fc.assert(fc.property(offset, fc.nat({ max: 0xffff }), fc.nat({ max: 0xffff_ffff }), fc.maxSafeNat(), (at, small, medium, large) => {
      const target = new Uint8Array(32)
      const view = new DataView(target.buffer)
      writeU16(target, at, small)
      expect([view.getUint16(at, true), readU16(target, at)]).toEqual([small, small])
      writeU32(target, at, medium)
      expect([view.getUint32(at, true), readU32(target, at)]).toEqual([medium, medium])
      writeU64(target, at, large)
      expect([view.getBigUint64(at, true), readU64(target, at)]).toEqual([BigInt(large), large])
    }))
  })

  it('write no byte beyond their size', () => {
    const target = new Uint8Array(10).fill(0xaa)
    writeU16(target, 1, 0)
    writeU32(target, 4, 0)
    expect(toHex(target)).toBe('aa0000aa00000000aaaa')
  })

  it('a u64 above 2^53 reads as a number that is not safe', () => {
    expect(Number.isSafeInteger(readU64(Uint8Array.of(0, 0, 0, 0, 0, 0, 0x20, 0), 0))).toBe(false)
    expect(readU64(new Uint8Array(8).fill(0xff), 0)).toBeGreaterThan(Number.MAX_SAFE_INTEGER)
  })
})

describe('text', () => {
  it('UTF-8 there and back, malformed refused', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => fromUtf8(utf8(text)) === text))
    for (const malformed of ['80', 'c080', 'eda080', 'f8888080', 'e282']) expect(fromUtf8(fromHex(malformed)!)).toBeUndefined()
  })

  it('hexadecimal there and back, anything else refused', () => {
    fc.assert(fc.property(bytes(0, 40), (input) => equalBytes(fromHex(toHex(input))!, input) && equalBytes(fromHex(toHex(input).toUpperCase())!, input)))
    for (const malformed of ['0', '0g', ' 00', '0x00']) expect(fromHex(malformed)).toBeUndefined()
  })
})

describe('comparison', () => {
  it('compareBytes is the order of hexadecimal text', () => {
    fc.assert(fc.property(bytes(0, 6), bytes(0, 6), (a, b) => {
      const [left, right] = [toHex(a), toHex(b)]
      return Math.sign(compareBytes(a, b)) === (left < right ? -1 : left > right ? 1 : 0)
    }))
  })

  it('equalConstantTime and equalBytes agree on equality', () => {
    fc.assert(fc.property(bytes(0, 4), bytes(0, 4), (a, b) => equalConstantTime(a, b) === equalBytes(a, b) && equalConstantTime(a, a.slice())))
    expect(equalConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0))).toBe(false)
  })

  it('isAllZero, concat and wipe', () => {
    expect([isAllZero(new Uint8Array(5)), isAllZero(Uint8Array.of(0, 0, 1)), isAllZero(new Uint8Array(0))]).toEqual([true, false, true])
    const parts = [Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3)]
    expect(concat(...parts)).toEqual(Uint8Array.of(1, 2, 3))
    wipe(...parts)
    expect(concat(...parts)).toEqual(new Uint8Array(3))
  })
})
