import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bleDatagramSize, byeCodes, decodeBleValue, encodeBye, encodeCredit, encodeHello, encodeSegment } from '../../../src/core/ble/values.ts'

test('any bytes are a value or malformed, and data stays within the value', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
    const value = decodeBleValue(bytes)
    if (value.kind !== 'data') return
    expect(value.bytes.length).toBeGreaterThan(0)
    expect(value.bytes.length).toBeLessThan(bytes.length)
    if (value.first) expect(value.bytes.length).toBeLessThanOrEqual(value.total)
    if (value.first && value.last) expect(value.bytes.length).toBe(value.total)
  }), { numRuns: 2000 })
})

test('a datagram is cut into segments that fill the value, the first with its length, the last marked', () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 1200 }), fc.integer({ min: 20, max: 514 }), fc.nat(100), (datagram, size, start) => {
    const whole: number[] = []
    for (let n = 0; whole.length < datagram.length; n++) {
      const bytes = encodeSegment(datagram, whole.length, start + n, size)
      expect(bytes.length).toBeLessThanOrEqual(size)
      const value = decodeBleValue(bytes)
      if (value.kind !== 'data') throw new Error(value.kind)
      expect(value.first).toBe(n === 0)
      expect(value.sequence).toBe((start + n) % 32)
      if (value.first) expect(value.total).toBe(datagram.length)
      whole.push(...value.bytes)
      expect(value.last).toBe(whole.length === datagram.length)
      if (!value.last) expect(bytes.length).toBe(size)
    }
    expect(Uint8Array.from(whole)).toEqual(datagram)
  }))
})

test('control values, byte for byte', () => {
  const nonce = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
  expect(encodeHello(1200, 16, nonce)).toEqual(Uint8Array.of(0x80, 1, 0xb0, 0x04, 16, 0, ...nonce))
  expect(decodeBleValue(encodeHello(1200, 16, nonce))).toEqual({ kind: 'hello', version: 1, datagramMax: 1200, credits: 16, nonce })
  expect(encodeCredit(0x1_2345)).toEqual(Uint8Array.of(0x81, 0x45, 0x23))
  expect(decodeBleValue(Uint8Array.of(0x81, 0x45, 0x23))).toEqual({ kind: 'credit', taken: 0x2345 })
  for (const [number, code] of byeCodes.entries()) {
    expect(encodeBye(code)).toEqual(Uint8Array.of(0x82, number))
    expect(decodeBleValue(encodeBye(code))).toEqual({ kind: 'bye', code })
  }
  expect(decodeBleValue(Uint8Array.of(0x82, 200))).toEqual({ kind: 'bye', code: 'other' })
  // Of another version only the number is known; of this one, all.
  for (const bytes of [[0x80, 2], [0x80, 2, 0, 4, 1, 0, 9, 9]]) expect(decodeBleValue(Uint8Array.from(bytes))).toMatchObject({ kind: 'hello', version: 2 })
  for (const size of [6, 13, 15]) expect(decodeBleValue(Uint8Array.of(0x80, 1, 0, 4, 1, 0, ...new Uint8Array(size - 6)))).toEqual({ kind: 'malformed', where: 'length' })
})

test('what is no value', () => {
  const wrong = (bytes: readonly number[]): unknown => decodeBleValue(Uint8Array.from(bytes))
  expect(wrong([])).toEqual({ kind: 'malformed', where: 'empty' })
  for (const type of [0x83, 0xff]) expect(wrong([type])).toEqual({ kind: 'malformed', where: 'type' })
  for (const bytes of [[0x00], [0x40, 1, 0], [0x80, 1], [0x81, 1], [0x82], [0x82, 0, 0]]) expect(wrong(bytes)).toEqual({ kind: 'malformed', where: 'length' })
  // More than the announced total, all of it though more should follow, or less though none does.
  for (const bytes of [[0x40, 1, 0, 7, 7], [0x40, 2, 0, 7, 7], [0x60, 3, 0, 7, 7], [0x60, 1, 0, 7, 7]]) expect(wrong(bytes)).toEqual({ kind: 'malformed', where: 'total' })
})

test('the size of datagrams: two segments, or one large one, and never less than 128', () => {
  expect([23, 69, 185, 247, 402, 403, 513, 517].map(bleDatagramSize)).toEqual([128, 128, 360, 484, 484, 397, 507, 511])
  for (let mtu = 69; mtu <= 517; mtu++) expect(Math.ceil((bleDatagramSize(mtu) + 2) / (mtu - 4))).toBeLessThanOrEqual(mtu < 403 ? 2 : 1)
})
