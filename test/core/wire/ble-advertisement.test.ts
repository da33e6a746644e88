import fc from 'fast-check'
import { expect, test } from 'vitest'
import { concat } from '../../../src/core/base/bytes.ts'
import { ADVERTISEMENT_SIZE_MAX, decodeBleAdvertisement, encodeBleAdvertisement, uuidBytes } from '../../../src/core/wire/ble-advertisement.ts'

const service = uuidBytes('705f0001-8c2a-4d39-a2f0-6a5f1b0c9e01')
const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)

test('an advertisement is flags, the service and the hint, and fills its 31 bytes', () => {
  const data = encodeBleAdvertisement(service, hint)
  expect(data).toHaveLength(ADVERTISEMENT_SIZE_MAX)
  expect(Buffer.from(data).toString('hex')).toBe('02010611' + '07019e0c1b5f6af0a2394d2a8c01005f70' + '09ffffff010203040506')
  expect(decodeBleAdvertisement(service, data)).toEqual({ service: true, hint })
  expect(encodeBleAdvertisement(service, undefined)).toHaveLength(21)
  expect(decodeBleAdvertisement(service, encodeBleAdvertisement(service, undefined))).toEqual({ service: true, hint: undefined })
})

test('the hint is read from service data too, and from nobody else', () => {
  expect(decodeBleAdvertisement(service, concat(Uint8Array.of(23, 0x21), service, hint))).toEqual({ service: true, hint })
  expect(decodeBleAdvertisement(service, Uint8Array.of(9, 0xff, 0xff, 0xff, ...hint))).toEqual({ service: false, hint: undefined })
  expect(decodeBleAdvertisement(service, encodeBleAdvertisement(uuidBytes('6e400001-b5a3-f393-e0a9-e50e24dcca9e'), hint))).toEqual({ service: false, hint: undefined })
  const short = encodeBleAdvertisement(service, hint).slice(0, 27)
  expect(decodeBleAdvertisement(service, short)).toEqual({ service: true, hint: undefined })
})

test('any bytes are read without a throw, and a hint is six bytes of their own', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (data) => {
    const read = decodeBleAdvertisement(service, data)
    expect(read.hint).toBeUndefined()
    const behind = decodeBleAdvertisement(service, concat(encodeBleAdvertisement(service, hint), data))
    expect(behind.service).toBe(true)
    data.fill(0)
    expect(behind.hint).toHaveLength(6)
  }))
})
