import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { concat } from '../../../src/core/base/bytes.ts'
import { decodeIntroduction, encodeIntroduction } from '../../../src/core/wire/introduction.ts'
import { META_MAX } from '../../../src/core/wire/frame.ts'
import { bytes, hex, repeated } from '../../support/bytes.ts'

const id = repeated(3, 32)
const addresses = [encodeAddress('192.0.2.1', 7000)!, encodeAddress('2001:db8::1', 443)!]

describe('introductions (protocol.md §6)', () => {
  it('have their layout', () => {
    const encoded = concat(hex('01 00'), id, hex('02 04 c0000201 581b 06 20010db8000000000000000000000001 bb01'))
    expect(encodeIntroduction({ answer: false, hard: false, id, addresses })).toEqual(encoded)
    expect(decodeIntroduction(encoded)).toEqual({ answer: false, hard: false, id, addresses })
    expect(encodeIntroduction({ answer: true, hard: true, id, addresses: [] })).toEqual(concat(hex('01 03'), id, hex('00')))
  })

  it('fit into the meta of a channel, whatever addresses there are', () => {
    const many = Array.from({ length: 16 }, (_, i) => encodeAddress(`2001:db8::${i + 1}`, 7000)!)
    const encoded = encodeIntroduction({ answer: false, hard: false, id, addresses: many })
    expect(encoded.length).toBeLessThanOrEqual(META_MAX)
    expect(decodeIntroduction(encoded)!.addresses).toEqual(many.slice(0, 11))
  })

  it('refuse everything else', () => {
    const head = concat(hex('01 00'), id)
    for (const input of [hex(''), head, concat(hex('02 00'), id, hex('00')), concat(head, hex('01')), concat(head, hex('00 00')), concat(head, hex('0c')), concat(head, hex('01 05 00000000 0000'))]) {
      expect(decodeIntroduction(input)).toBe(undefined)
    }
    fc.assert(fc.property(bytes(0, 300), (input) => {
      const read = decodeIntroduction(input)
      if (read !== undefined) expect(decodeIntroduction(encodeIntroduction(read))).toEqual(read)
    }))
  })
})
