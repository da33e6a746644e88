import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { concat } from '../../../src/core/base/bytes.ts'
import { decodeInviteReply, encodeInviteReply } from '../../../src/core/wire/invite-reply.ts'
import { bytes, hex, repeated } from '../../support/bytes.ts'
import { node } from '../../support/providers.ts'

const ID = hex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c')
const anyId = { validateId: (): boolean => true }
const reply = { id: ID, tokenId: repeated(5, 8), addresses: [encodeAddress('192.0.2.1', 7000)!, encodeAddress('2001:db8::1', 443)!], hard: false }
const tail = hex('02 04 c0000201 581b 06 20010db8000000000000000000000001 bb01')

function textOf(content: Uint8Array): string {
  return `postern:r1/${Buffer.from(content).toString('base64url')}`
}

function prove(): Uint8Array {
  return repeated(9, 16)
}

describe('replies to invites (protocol.md §3.3)', () => {
  it('have their layout, and the proof is over all the rest', () => {
    let proven: Uint8Array | undefined
    const text = encodeInviteReply(reply, (content) => {
      proven = content
      return prove()
    })
    expect(text).toBe(textOf(concat(ID, reply.tokenId, prove(), tail)))
    expect(proven).toEqual(concat(ID, reply.tokenId, tail))
    expect(decodeInviteReply(text, node)).toEqual({ kind: 'reply', reply: { ...reply, proof: prove(), content: proven } })
  })

  it('say in the count whether who writes is hard to find', () => {
    const text = encodeInviteReply({ ...reply, hard: true }, prove)
    expect(text).toBe(textOf(concat(ID, reply.tokenId, prove(), hex('82'), tail.subarray(1))))
    expect(decodeInviteReply(text, node)).toMatchObject({ reply: { hard: true, addresses: reply.addresses } })
  })

  it('refuse exactly', () => {
    const head = concat(ID, reply.tokenId, prove())
    const text = encodeInviteReply({ ...reply, addresses: [] }, prove)
    const cases = [
      ['', 'scheme'], ['postern:1/AAAA', 'scheme'], ['postern:r2/AAAA', 'version'], ['postern:r', 'version'], ['postern:r1/', 'size'], [`${text}=`, 'text'], [` ${text}`, 'scheme'],
      [textOf(head), 'size'], [textOf(concat(head, hex('00 00'))), 'end'], [textOf(concat(head, hex('11'))), 'address-count'], [textOf(concat(head, hex('91'))), 'address-count'], [textOf(concat(head, hex('40'))), 'address-count'], [textOf(concat(head, hex('01'))), 'address'],
      [textOf(concat(head, hex('01 05 00000000 0000'))), 'address'], [`postern:r1/${'A'.repeat(600)}`, 'size'], [textOf(concat(new Uint8Array(32), head.subarray(32), hex('00'))), 'id'],
    ] as const
    for (const [input, where] of cases) expect(decodeInviteReply(input, node), input).toEqual({ kind: 'malformed', where })
  })

  it('take any text without throwing, and what they take they write back', () => {
    const text = encodeInviteReply(reply, prove)
    const near = fc.tuple(fc.nat({ max: text.length - 1 }), fc.string({ maxLength: 2, unit: 'binary' })).map(([at, patch]) => text.slice(0, at) + patch + text.slice(at + 1))
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), near, fc.base64String().map((body) => `postern:r1/${body}`), bytes(40, 400).map(textOf)), (input) => {
      const decoded = decodeInviteReply(input, anyId)
      if (decoded.kind === 'reply') expect(encodeInviteReply(decoded.reply, () => decoded.reply.proof)).toBe(input)
    }), { numRuns: 500 })
  })
})
