import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { concat, isAllZero } from '../../../src/core/base/bytes.ts'
import { decodeInviteLink, encodeInviteLink, type InviteLink } from '../../../src/core/wire/invite-link.ts'
import { bytes, hex, repeated } from '../../support/bytes.ts'
import { node } from '../../support/providers.ts'

const ID = hex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c')
const anyId = { validateId: (): boolean => true }
const link: InviteLink = {
  id: ID, token: repeated(7, 16), expires: 0x6543_2100, versions: 2, suites: 0x000a,
  addresses: [encodeAddress('192.0.2.1', 7000)!, encodeAddress('2001:db8::1', 443)!], hard: false,
}

function textOf(content: Uint8Array): string {
  return `postern:1/${Buffer.from(content).toString('base64url')}`
}
const head = concat(ID, repeated(7, 16), hex('00214365 0200 0a00'))

describe('invite links (WIRE.md §3.3)', () => {
  it('have their layout', () => {
    expect(encodeInviteLink(link)).toBe(textOf(concat(head, hex('02 04 c0000201 581b 06 20010db8000000000000000000000001 bb01'))))
    expect(decodeInviteLink(encodeInviteLink(link), node)).toEqual({ kind: 'invite', link })
  })

  it('say in a bit that is no suite whether the inviter is hard to find', () => {
    const text = encodeInviteLink({ ...link, hard: true, addresses: [] })
    expect(text).toBe(textOf(concat(ID, repeated(7, 16), hex('00214365 0200 0a80 00'))))
    expect(decodeInviteLink(text, node)).toMatchObject({ link: { hard: true, suites: 0x000a } })
  })

  it('go there and back', () => {
    const address = fc.tuple(fc.constantFrom('4', '6'), bytes(16), fc.nat({ max: 65_535 })).map(([family, ip, port]) =>
      concat(family === '4' || isAllZero(ip.subarray(0, 10)) ? concat(new Uint8Array(10), hex('ffff'), ip.subarray(12)) : ip, Uint8Array.of(port & 0xff, port >> 8)))
    const links = fc.record({
      id: bytes(32), token: bytes(16), expires: fc.nat({ max: 0xffff_ffff }), versions: fc.nat({ max: 0xffff }), suites: fc.nat({ max: 0x7fff }), hard: fc.boolean(), addresses: fc.array(address, { maxLength: 16 }),
    })
    fc.assert(fc.property(links, (input) => {
      expect(decodeInviteLink(encodeInviteLink(input), anyId)).toEqual({ kind: 'invite', link: input })
    }))
  })

  it('refuse exactly', () => {
    const text = encodeInviteLink({ ...link, addresses: [] })
    const cases = [
      ['', 'scheme'], ['https://example.org/', 'scheme'], [text.toUpperCase(), 'scheme'], [` ${text}`, 'scheme'], ['postern:2/AAAA', 'version'], ['postern:1', 'version'],
      ['postern:1/', 'size'], [`${text}=`, 'text'], [`${text} `, 'text'], [text.replace('postern:1/', 'postern:1/+'), 'text'], [`${text}A`, 'text'],
      [textOf(concat(head, hex('00 00'))), 'end'], [textOf(head), 'size'], [textOf(concat(head, hex('11'))), 'address-count'], [textOf(concat(head, hex('01'))), 'address'],
      [textOf(concat(head, hex('01 05 00000000 0000'))), 'address'], [textOf(concat(head, hex('01 04 000000 0000'))), 'address'],
      [textOf(concat(head, hex('01 06 00000000000000000000ffffc0000201 581b'))), 'address'], [`postern:1/${'A'.repeat(500)}`, 'size'],
      [textOf(concat(new Uint8Array(32), head.subarray(32), hex('00'))), 'id'],
    ] as const
    for (const [input, where] of cases) expect(decodeInviteLink(input, node), input).toEqual({ kind: 'malformed', where })
  })

  it('has one text: set bits behind the last byte are refused', () => {
    // 57 bytes are 76 characters without spare bits; one IPv4 address makes 64 bytes, 86 characters and four spare bits.
    const text = encodeInviteLink({ ...link, addresses: [link.addresses[0]!] })
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    let accepted = 0
    for (const last of alphabet) if (decodeInviteLink(text.slice(0, -1) + last, node).kind === 'invite') accepted++
    expect(accepted).toBe(4)
  })

  it('take any text without throwing, and what they take they write back', () => {
    const text = encodeInviteLink(link)
    const near = fc.tuple(fc.nat({ max: text.length - 1 }), fc.string({ minLength: 0, maxLength: 2, unit: 'binary' })).map(([at, patch]) => text.slice(0, at) + patch + text.slice(at + 1))
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), near, fc.base64String().map((body) => `postern:1/${body}`), bytes(40, 400).map(textOf)), (input) => {
      const decoded = decodeInviteLink(input, anyId)
      if (decoded.kind === 'invite') expect(encodeInviteLink(decoded.link)).toBe(input)
    }), { numRuns: 500 })
  })
})
