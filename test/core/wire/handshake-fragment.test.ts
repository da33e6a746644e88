import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../../src/core/base/bytes.ts'
import { classify, datagramKind } from '../../../src/core/wire/datagram.ts'
import {
  decodeHandshakeFragment, fragmentBody, fragmentCount, fragmentOverhead, MESSAGE_A, MESSAGE_B, MESSAGE_C, NOISE_MESSAGE_MAX, writeHandshakeFragment, type HandshakeMessage,
} from '../../../src/core/wire/handshake-fragment.ts'
import { bytes, hex, mutations, repeated } from '../../support/bytes.ts'

const messages = fc.constantFrom<HandshakeMessage>(MESSAGE_A, MESSAGE_B, MESSAGE_C)
const index = fc.integer({ min: 1, max: 0xffff_ffff })

function datagramOf(message: HandshakeMessage, number: number, count: number, body: Uint8Array, sender = 7): Uint8Array {
  const datagram = new Uint8Array(body.length + fragmentOverhead(message))
  const end = writeHandshakeFragment(datagram, 0, { suite: 1, message, number, count, senderIndex: sender, receiverIndex: message === MESSAGE_A ? 0 : 9, digest: repeated(0xd1, 8) }, body)
  datagram.fill(0x11, end, end + 16)
  if (message === MESSAGE_A) datagram.fill(0x22, end + 16)
  return datagram
}

describe('HANDSHAKE fragments (WIRE.md §3.4)', () => {
  it('has the header of WIRE.md §11', () => {
    const datagram = new Uint8Array(340)
    const end = writeHandshakeFragment(datagram, 0, { suite: 1, message: MESSAGE_A, number: 0, count: 1, senderIndex: 0x0102_0304, receiverIndex: 0, digest: hex('40b4d92a7fa17dc7') }, new Uint8Array(288))
    expect(datagram.subarray(0, 20)).toEqual(hex('60010100040302010000000040b4d92a7fa17dc7'))
    expect(end).toBe(308)
  })

  it('goes there and back', () => {
    fc.assert(fc.property(messages, fc.nat({ max: 255 }), fc.integer({ min: 1, max: 4 }), fc.nat({ max: 3 }), index, index, bytes(8), bytes(64, 1100), fc.nat({ max: 5 }), (message, suite, count, n, senderIndex, receiver, digest, body, at) => {
      const header = { suite, message, number: n % count, count, senderIndex, receiverIndex: message === MESSAGE_A ? 0 : receiver, digest }
      const slab = new Uint8Array(1300)
      const end = writeHandshakeFragment(slab, at, header, body)
      const length = end - at + fragmentOverhead(message) - 20
      slab.fill(0xaa, end, end + 16)
      expect(classify(slab, at, length)).toBe(datagramKind.handshake)
      expect(decodeHandshakeFragment(slab, at, length)).toEqual({
        kind: 'handshake', ...header, body, mac1: repeated(0xaa, 16), mac2: message === MESSAGE_A ? new Uint8Array(16) : undefined,
      })
    }))
  })

  it('splits as the tables of §3.4 say', () => {
    const table = [[288, MESSAGE_A, 1, 340], [240, MESSAGE_B, 1, 276], [256, MESSAGE_C, 1, 292], [1488, MESSAGE_A, 2, 796], [1344, MESSAGE_B, 2, 708], [1408, MESSAGE_A, 2, 756], [1392, MESSAGE_B, 2, 732]] as const
    for (const [size, message, count, onWire] of table) {
      expect(fragmentCount(message, size)).toBe(count)
      expect(fragmentBody(new Uint8Array(size), 0, count).length + fragmentOverhead(message)).toBe(onWire)
    }
    // The third attempt of suites 3 and 4 sends four pieces for paths with a small MTU.
    expect(fragmentBody(new Uint8Array(1488), 0, 4).length + 52).toBe(424)
  })

  it('fragments put together are the message, equally long but the last', () => {
    fc.assert(fc.property(bytes(260, NOISE_MESSAGE_MAX), fc.integer({ min: 1, max: 4 }), (message, count) => {
      const pieces = Array.from({ length: count }, (_, i) => fragmentBody(message, i, count))
      expect(concat(...pieces)).toEqual(message)
      for (const piece of pieces.slice(0, -1)) expect(piece.length).toBe(pieces[0]!.length)
      expect(pieces.at(-1)!.length).toBeLessThanOrEqual(pieces[0]!.length)
    }))
  })

  it('gives up on paths where four pieces do not do', () => {
    expect(fragmentCount(MESSAGE_A, NOISE_MESSAGE_MAX, 564)).toBe(4)
    expect(fragmentCount(MESSAGE_A, NOISE_MESSAGE_MAX, 563)).toBeUndefined()
    expect(fragmentCount(MESSAGE_A, 100, 52)).toBeUndefined()
  })

  it('names the fault', () => {
    const a = datagramOf(MESSAGE_A, 0, 1, new Uint8Array(64))
    const b = datagramOf(MESSAGE_B, 1, 2, new Uint8Array(64))
    const where = (datagram: Uint8Array, length = datagram.length): unknown => decodeHandshakeFragment(datagram, 0, length)
    expect(where(a)).toMatchObject({ kind: 'handshake', message: MESSAGE_A })
    expect(where(b)).toMatchObject({ kind: 'handshake', number: 1, count: 2 })
    expect(where(a, 115)).toEqual({ kind: 'malformed', where: 'size' })
    expect(where(b, 99)).toEqual({ kind: 'malformed', where: 'size' })
    expect(where(datagramOf(MESSAGE_B, 0, 1, new Uint8Array(1165)))).toEqual({ kind: 'malformed', where: 'size' })
    expect(where(b.with(0, 0x61))).toEqual({ kind: 'malformed', where: 'type' })
    expect(where(b.with(1, 0))).toEqual({ kind: 'malformed', where: 'version' })
    // Message 3; a number that is not below the count; bits 6 and 7.
    for (const part of [0b00_00_00_11, 0b00_00_01_01, 0b00_01_10_01, 0b01_00_00_01, 0b10_00_00_01]) expect(where(b.with(3, part))).toEqual({ kind: 'malformed', where: 'part' })
    expect(where(datagramOf(MESSAGE_A, 0, 1, new Uint8Array(64), 0))).toEqual({ kind: 'malformed', where: 'index' })
    expect(where(a.with(8, 1))).toEqual({ kind: 'malformed', where: 'index' })
    expect(where(b.with(8, 0))).toEqual({ kind: 'malformed', where: 'index' })
  })

  it('takes any bytes without throwing', () => {
    const valid = datagramOf(MESSAGE_A, 0, 1, new Uint8Array(288))
    fc.assert(fc.property(fc.oneof(bytes(0, 400), mutations(valid)), (input) => {
      expect(['handshake', 'malformed']).toContain(decodeHandshakeFragment(input, 0, input.length).kind)
    }))
  })
})
