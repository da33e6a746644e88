import fc from 'fast-check'
import { crc32 as zlibCrc32 } from 'node:zlib'
import { expect, it } from 'vitest'
import { utf8 } from '../../../src/core/base/bytes.ts'
import { crc32 } from '../../../src/core/base/crc32.ts'

it('gives the check value of its catalogue entry, and that of parts', () => {
  expect(crc32(utf8('123456789'))).toBe(0xcbf4_3926)
  expect(crc32(utf8('xx123456789x'), 2, 11)).toBe(0xcbf4_3926)
  expect(crc32(new Uint8Array(0))).toBe(0)
})

// zlib.crc32 came with Node 20.15 and 22.2.
it.skipIf(typeof zlibCrc32 !== 'function')('is that of zlib for any bytes', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    expect(crc32(bytes)).toBe(zlibCrc32(bytes))
  }))
})
