import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodePeerId, encodePeerId, parsePeerIdInput } from '../../../src/core/wire/peer-id.ts'
import { bytes, hex } from '../../support/bytes.ts'

const ID = hex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c')
const TEXT = 'rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa'

describe('peer ids as text (WIRE.md §2, §11)', () => {
  it('the ids of the specification', () => {
    expect(encodePeerId(ID)).toBe(TEXT)
    expect(decodePeerId(TEXT)).toEqual(ID)
    const other = hex('8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394')
    expect(encodePeerId(other)).toBe('qe4xodvipulv6vvdkrtmgtd6ztfy3curwtxdpis56yhvxd6jwoka')
  })

  it('goes there and back, ends in a or q, and also in upper case for humans', () => {
    fc.assert(fc.property(bytes(32), (id) => {
      const text = encodePeerId(id)
      expect(text).toMatch(/^[a-z2-7]{51}[aq]$/)
      expect(decodePeerId(text)).toEqual(id)
      expect(parsePeerIdInput(text)).toEqual({ kind: 'id', id })
      expect(parsePeerIdInput(text.toUpperCase())).toEqual({ kind: 'id', id })
    }))
  })

  it('has one text per id: every other last character is refused', () => {
    for (const last of 'bcdefghijklmnoprstuvwxyz234567') {
      expect(decodePeerId(TEXT.slice(0, -1) + last)).toBeUndefined()
      expect(parsePeerIdInput(TEXT.slice(0, -1) + last)).toEqual({ kind: 'malformed', where: 'end' })
    }
  })

  it('says what is wrong with input', () => {
    const cases = [
      ['', 'length'], [TEXT.slice(1), 'length'], [`${TEXT}a`, 'length'], [` ${TEXT.slice(1)}`, 'character'], [`0${TEXT.slice(1)}`, 'character'],
      [`1${TEXT.slice(1)}`, 'character'], [`${TEXT.slice(0, -1)}=`, 'character'], [`ſ${TEXT.slice(1)}`, 'character'], [`R${TEXT.slice(1)}`, 'mixed-case'],
      [`r${TEXT.slice(1).toUpperCase()}`, 'mixed-case'],
    ] as const
    for (const [text, where] of cases) expect(parsePeerIdInput(text)).toEqual({ kind: 'malformed', where })
  })

  it('is lower case only in files, on the wire and in the API', () => {
    expect(decodePeerId(TEXT.toUpperCase())).toBeUndefined()
    expect(decodePeerId(`R${TEXT.slice(1)}`)).toBeUndefined()
  })

  it('takes any text without throwing, and what it takes it writes back', () => {
    const near = fc.tuple(fc.nat({ max: 51 }), fc.string({ minLength: 1, maxLength: 1, unit: 'binary' })).map(([at, character]) => TEXT.slice(0, at) + character + TEXT.slice(at + 1))
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), near), (text) => {
      const id = decodePeerId(text)
      parsePeerIdInput(text)
      if (id !== undefined) expect(encodePeerId(id)).toBe(text)
    }))
  })
})
