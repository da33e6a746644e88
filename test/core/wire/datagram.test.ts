import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, toHex } from '../../../src/core/base/bytes.ts'
import {
  classify, COOKIE_SIZE, datagramKind, decodeCookieDatagram, decodeHintDatagram, decodeKnockDatagram, decodeResetDatagram, encodeCookieDatagram, encodeHintHead, encodeKnockHead, encodeResetDatagram,
  HINT_SIZE, HINT_SUITE_UNKNOWN, readTransportCounter, readTransportIndex, RESET_SIZE, TRANSPORT_HEADER_SIZE, writeTransportHeader,
} from '../../../src/core/wire/datagram.ts'
import { bytes, hex, mutations, repeated } from '../../support/bytes.ts'

const u32 = fc.nat({ max: 0xffff_ffff })
const u16 = fc.nat({ max: 0xffff })

/** A datagram of `length` with the given first bytes, placed at an offset among other bytes. */
function kindOf(first: readonly number[], length: number, at = 5): number {
  const slab = new Uint8Array(at + length + 5).fill(0x77)
  slab.fill(0, at, at + length)
  slab.set(first.slice(0, length), at)
  return classify(slab, at, length)
}

describe('classify (WIRE.md §1)', () => {
  it('keeps the size rules to the byte', () => {
    const ranges = [
      [[0x60, 1], 100, 1200, datagramKind.handshake], [[0x61, 1], 56, 56, datagramKind.cookie], [[0x62], 45, 65_507, datagramKind.transport],
      [[0x63, 1], 24, 24, datagramKind.reset], [[0x64, 1], 28, 28, datagramKind.hint], [[0x65, 1], 28, 28, datagramKind.knock],
    ] as const
    for (const [first, min, max, kind] of ranges) {
      expect([kindOf(first, min - 1), kindOf(first, min), kindOf(first, max), kindOf(first, max + 1)]).toEqual([datagramKind.dropSize, kind, kind, datagramKind.dropSize])
    }
  })

  it('drops unknown versions of everything but TRANSPORT, whose index names keys that know theirs', () => {
    for (const [type, length] of [[0x60, 100], [0x61, 56], [0x63, 24], [0x64, 28], [0x65, 28]] as const) {
      for (const version of [0, 2, 255]) expect(kindOf([type, version], length)).toBe(datagramKind.dropVersion)
    }
    expect(kindOf([0x62, 99], 45)).toBe(datagramKind.transport)
  })

  it('drops every first byte that is nobody’s', () => {
    for (let first = 0; first < 256; first++) {
      const ours = first <= 3 || (first >= 0x40 && first <= 0x4f) || (first >= 0x60 && first <= 0x65)
      expect(kindOf([first, 1], 100) === datagramKind.dropType).toBe(!ours)
    }
    expect(kindOf([], 0)).toBe(datagramKind.dropSize)
  })

  it('lets STUN through only if header length, alignment and magic cookie are right', () => {
    const magic = [0x21, 0x12, 0xa4, 0x42]
    expect(kindOf([0, 1, 0, 0, ...magic], 20)).toBe(datagramKind.stun)
    expect(kindOf([1, 1, 1, 4, ...magic], 280)).toBe(datagramKind.stun)
    expect(kindOf([0, 1, 0, 0, ...magic], 19)).toBe(datagramKind.dropSize)
    expect(kindOf([0, 1, 0, 8, ...magic], 20)).toBe(datagramKind.dropFormat)
    expect(kindOf([0, 1, 0, 3, ...magic], 23)).toBe(datagramKind.dropFormat)
    expect(kindOf([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43], 20)).toBe(datagramKind.dropFormat)
  })

  it('lets ChannelData through if what it announces is there, padded or not', () => {
    expect(kindOf([0x40, 0, 0, 5], 9)).toBe(datagramKind.turnChannel)
    expect(kindOf([0x4f, 255, 0, 5], 12)).toBe(datagramKind.turnChannel)
    expect(kindOf([0x40, 0, 0, 5], 8)).toBe(datagramKind.dropFormat)
    expect(kindOf([0x40, 0, 0], 3)).toBe(datagramKind.dropSize)
  })

  it('takes any bytes', () => {
    fc.assert(fc.property(bytes(0, 300), (input) => {
      const kind = classify(input, 0, input.length)
      expect(kind).toBeGreaterThanOrEqual(0)
      expect(kind).toBeLessThanOrEqual(datagramKind.knock)
    }))
  })
})

describe('TRANSPORT header (WIRE.md §4)', () => {
  it('goes there and back at any offset', () => {
    fc.assert(fc.property(u32, fc.maxSafeNat(), fc.nat({ max: 7 }), (index, counter, at) => {
      const slab = new Uint8Array(32)
      writeTransportHeader(slab, at, index, counter)
      expect([slab[at], readTransportIndex(slab, at), readTransportCounter(slab, at)]).toEqual([0x62, index, counter])
      expect(slab.subarray(at + TRANSPORT_HEADER_SIZE).every((byte) => byte === 0)).toBe(true)
    }))
  })

  it('has the bytes of WIRE.md §11, and refuses counters a double cannot hold', () => {
    const slab = new Uint8Array(13)
    writeTransportHeader(slab, 0, 0x0a0b_0c0d, 7)
    expect(toHex(slab)).toBe('620d0c0b0a0700000000000000')
    expect(readTransportCounter(hex('6200000000 ffffffffffff1f00'), 0)).toBe(Number.MAX_SAFE_INTEGER)
    expect(readTransportCounter(hex('6200000000 0000000000002000'), 0)).toBe(-1)
    expect(readTransportCounter(hex('6200000000 ffffffffffffffff'), 0)).toBe(-1)
  })
})

describe('COOKIE, RESET and HINT (WIRE.md §3.6, §3.10)', () => {
  it('have their layouts', () => {
    expect(toHex(encodeCookieDatagram(0x0102_0304, repeated(0xdd, 16), repeated(0xee, 32)))).toBe(`6101000004030201${'dd'.repeat(16)}${'ee'.repeat(32)}`)
    expect(toHex(encodeResetDatagram(0x0102_0304, repeated(0xcc, 16)))).toBe(`6301000004030201${'cc'.repeat(16)}`)
    expect(toHex(encodeHintHead(HINT_SUITE_UNKNOWN, 0x0102_0304, 0x000a, 0x0002))).toBe('64010100040302010a000200')
  })

  it('go there and back, and classify as what they are', () => {
    fc.assert(fc.property(u32, bytes(16), bytes(32), u16, u16, (index, short, long, suites, versions) => {
      const cookie = encodeCookieDatagram(index, short, long)
      expect(decodeCookieDatagram(cookie, 0, COOKIE_SIZE)).toEqual({ kind: 'cookie', receiverIndex: index, nonce: short, box: long })
      expect(classify(cookie, 0, cookie.length)).toBe(datagramKind.cookie)
      const reset = encodeResetDatagram(index, short)
      expect(decodeResetDatagram(reset, 0, RESET_SIZE)).toEqual({ kind: 'reset', index, token: short })
      expect(classify(reset, 0, reset.length)).toBe(datagramKind.reset)
      const hint = new Uint8Array(HINT_SIZE)
      hint.set(encodeHintHead(HINT_SUITE_UNKNOWN, index, suites, versions))
      hint.set(short, 12)
      expect(decodeHintDatagram(hint, 0, HINT_SIZE)).toEqual({ kind: 'hint', code: 1, receiverIndex: index, suites, versions, mac: short })
      expect(classify(hint, 0, hint.length)).toBe(datagramKind.hint)
    }), { numRuns: 50 })
  })

  it('name the fault', () => {
    const cookie = encodeCookieDatagram(1, repeated(1, 16), repeated(2, 32))
    const changed = (at: number, value: number): Uint8Array => cookie.with(at, value)
    expect(decodeCookieDatagram(cookie, 0, 55)).toEqual({ kind: 'malformed', where: 'size' })
    expect(decodeCookieDatagram(changed(0, 0x63), 0, 56)).toEqual({ kind: 'malformed', where: 'type' })
    expect(decodeCookieDatagram(changed(1, 2), 0, 56)).toEqual({ kind: 'malformed', where: 'version' })
    expect(decodeCookieDatagram(changed(2, 1), 0, 56)).toEqual({ kind: 'malformed', where: 'zero' })
    expect(decodeCookieDatagram(changed(3, 1), 0, 56)).toEqual({ kind: 'malformed', where: 'zero' })
    const hint = new Uint8Array(HINT_SIZE)
    hint.set(encodeHintHead(9, 1, 2, 3))
    expect(decodeHintDatagram(hint, 0, HINT_SIZE)).toMatchObject({ kind: 'hint', code: 9 })
    expect(decodeHintDatagram(hint.with(3, 1), 0, HINT_SIZE)).toEqual({ kind: 'malformed', where: 'zero' })
    expect(decodeResetDatagram(encodeResetDatagram(1, repeated(1, 16)).with(2, 8), 0, RESET_SIZE)).toEqual({ kind: 'malformed', where: 'zero' })
  })

  it('take any bytes without throwing', () => {
    const reset = encodeResetDatagram(1, repeated(1, 16))
    fc.assert(fc.property(fc.oneof(bytes(0, 70), mutations(reset), mutations(encodeCookieDatagram(1, repeated(1, 16), repeated(2, 32)))), fc.nat({ max: 3 }), (input, at) => {
      const length = Math.max(0, input.length - at)
      for (const decode of [decodeCookieDatagram, decodeResetDatagram, decodeHintDatagram]) {
        expect(['cookie', 'reset', 'hint', 'malformed']).toContain(decode(input, at, length).kind)
      }
    }))
  })
})

describe('KNOCK', () => {
  const nonce = repeated(5, 8)

  it('has its layout, and says which side it is from', () => {
    expect(toHex(encodeKnockHead('hard', nonce))).toBe('650101000505050505050505')
    expect(toHex(encodeKnockHead('easy', nonce))).toBe('650100000505050505050505')
    const knock = concat(encodeKnockHead('hard', nonce), repeated(7, 16))
    expect(decodeKnockDatagram(knock, 0, knock.length)).toEqual({ kind: 'knock', from: 'hard', head: knock.subarray(0, 12), mac: repeated(7, 16) })
  })

  it('is refused with another size, version, side, or a byte that must be zero', () => {
    const knock = concat(encodeKnockHead('easy', nonce), repeated(7, 16))
    const changed = (at: number, value: number): Uint8Array => {
      const copy = knock.slice()
      copy[at] = value
      return copy
    }
    for (const [bytes, where] of [[knock.subarray(1), 'size'], [changed(0, 0x64), 'type'], [changed(1, 2), 'version'], [changed(2, 2), 'zero'], [changed(3, 1), 'zero']] as const) {
      expect(decodeKnockDatagram(bytes, 0, bytes.length)).toEqual({ kind: 'malformed', where })
    }
  })
})
