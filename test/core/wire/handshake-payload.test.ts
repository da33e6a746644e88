import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, toHex } from '../../../src/core/base/bytes.ts'
import { MESSAGE_A, MESSAGE_B, MESSAGE_C, type HandshakeMessage } from '../../../src/core/wire/handshake-fragment.ts'
import {
  BLE_MAX_ACK_DELAY_MS, decodeHandshakePayload, encodeHandshakePayload, LIMITS_DEFAULT, limitsFit, PAYLOAD_SIZE, type HandshakePayload, type Limits, type PayloadFault,
} from '../../../src/core/wire/handshake-payload.ts'
import { bytes, hex, mutations, repeated } from '../../support/bytes.ts'

const sample: HandshakePayload = {
  status: 0, suites: 0x000a, caps: 3, index: 0x0102_0304, sidSelf: repeated(0x51, 8), sidPeer: repeated(0x52, 8), resetToken: repeated(0x53, 16),
  tai64n: repeated(0x54, 12), id: repeated(0x55), limits: LIMITS_DEFAULT, invite: undefined, extensions: [],
}

function decode(input: Uint8Array, message: HandshakeMessage = MESSAGE_A, senderIndex = 0x0102_0304, defaults: Limits = LIMITS_DEFAULT): ReturnType<typeof decodeHandshakePayload> {
  return decodeHandshakePayload(input, { message, senderIndex, defaults })
}

/** A payload whose TLV part is `tlvs`, padded with zeros. */
function withTlvs(tlvs: Uint8Array, size = PAYLOAD_SIZE): Uint8Array {
  const payload = new Uint8Array(size)
  payload.set(encodeHandshakePayload(sample, MESSAGE_A).subarray(0, 96))
  payload.set(tlvs, 96)
  return payload
}

const fault = (where: PayloadFault): object => ({ kind: 'malformed', where })
const varint = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 100_000 }))

describe('handshake payload (WIRE.md §3.3)', () => {
  it('has its layout', () => {
    const text = toHex(encodeHandshakePayload({ ...sample, status: 2, invite: { tokenId: repeated(0x61, 8), proof: repeated(0x62, 16) }, extensions: [7, 300] }, MESSAGE_B))
    expect(text.slice(0, 192)).toBe(`01020a000300000004030201 00000000 ${'51'.repeat(8)}${'52'.repeat(8)}${'53'.repeat(16)}${'54'.repeat(12)} 00000000 ${'55'.repeat(32)}`.replaceAll(' ', ''))
    expect(text.slice(192, 192 + 62)).toBe('011c00 01 80800000 02 80200000 03 80100000 04 4100 05 0a 06 8000ffe3 07 4258'.replaceAll(' ', ''))
    expect(text.slice(192 + 62, 192 + 62 + 54)).toBe(`021800${'61'.repeat(8)}${'62'.repeat(16)}`)
    expect(text.slice(192 + 116)).toBe(`03030007412c${'00'.repeat(32)}`)
  })

  it('goes there and back in every message', () => {
    const limits = fc.tuple(varint, varint, varint, varint, varint, varint, varint).map(([a, b, c, maxChannels, maxAckDelayMs, maxDatagram, idleKeepS]) => {
      const maxMessage = Math.min(a, 2 ** 52)
      const maxChannelData = Math.min(maxMessage + 32 + b, 2 ** 53 - 2)
      return { maxData: Math.min(maxChannelData + c, 2 ** 53 - 1), maxChannelData, maxMessage, maxChannels, maxAckDelayMs, maxDatagram, idleKeepS }
    })
    const payloads = fc.record({
      status: fc.constant(0), suites: fc.nat({ max: 0xffff }), caps: fc.nat({ max: 0xffff_ffff }), index: fc.integer({ min: 1, max: 0xffff_ffff }),
      sidSelf: bytes(8).filter((sid) => sid.some((byte) => byte !== 0)), sidPeer: bytes(8), resetToken: bytes(16), tai64n: bytes(12), id: bytes(32), limits,
      invite: fc.option(fc.record({ tokenId: bytes(8), proof: bytes(16) }), { nil: undefined }), extensions: fc.array(fc.nat({ max: 60 }), { maxLength: 0 }),
    })
    fc.assert(fc.property(payloads, fc.constantFrom<HandshakeMessage>(MESSAGE_A, MESSAGE_B, MESSAGE_C), (payload, message) => {
      const encoded = encodeHandshakePayload(payload, message)
      expect(encoded).toHaveLength(PAYLOAD_SIZE)
      expect(decode(encoded, message, payload.index)).toEqual({ kind: 'payload', payload })
    }))
  })

  it('grows in steps of 64 bytes, in A only', () => {
    for (const [count, size] of [[0, 192], [62, 192], [63, 256], [126, 256], [127, 320], [382, 512]] as const) {
      const extensions = Array.from({ length: count }, (_, i) => i % 64)
      const encoded = encodeHandshakePayload({ ...sample, extensions }, MESSAGE_A)
      expect(encoded).toHaveLength(size)
      expect(decode(encoded)).toMatchObject({ kind: 'payload', payload: { extensions } })
      if (size > PAYLOAD_SIZE) {
        expect(() => encodeHandshakePayload({ ...sample, extensions }, MESSAGE_B)).toThrow('the payload fits')
        expect(decode(encoded, MESSAGE_B)).toEqual(fault('size'))
      }
    }
    expect(() => encodeHandshakePayload({ ...sample, extensions: new Array<number>(383).fill(1) }, MESSAGE_A)).toThrow('the payload fits')
    expect(() => encodeHandshakePayload({ ...sample, extensions: new Array<number>(600).fill(1) }, MESSAGE_A)).toThrow('the payload fits')
  })

  it('refuses every other size', () => {
    for (let size = 0; size <= 600; size++) {
      const right = size >= 192 && size <= 512 && size % 64 === 0
      expect(decode(withTlvs(new Uint8Array(0), Math.max(size, 192)).subarray(0, size)).kind).toBe(right ? 'payload' : 'malformed')
      expect(decode(withTlvs(new Uint8Array(0), Math.max(size, 192)).subarray(0, size), MESSAGE_C).kind).toBe(size === 192 ? 'payload' : 'malformed')
    }
  })

  it('refuses a wrong head', () => {
    const valid = encodeHandshakePayload(sample, MESSAGE_A)
    expect(decode(valid.with(0, 2))).toEqual(fault('format'))
    expect(decode(valid.with(1, 1))).toEqual(fault('status'))
    expect(decode(valid.with(1, 1), MESSAGE_C)).toEqual(fault('status'))
    expect(decode(valid.with(1, 9), MESSAGE_B)).toMatchObject({ kind: 'payload', payload: { status: 9 } })
    expect(decode(valid.with(8, 5))).toEqual(fault('index'))
    expect(decode(encodeHandshakePayload({ ...sample, index: 0 }, MESSAGE_A), MESSAGE_A, 0)).toEqual(fault('index'))
    for (const at of [12, 15, 60, 63]) expect(decode(valid.with(at, 1))).toEqual(fault('zero'))
    expect(decode(encodeHandshakePayload({ ...sample, sidSelf: new Uint8Array(8) }, MESSAGE_A))).toEqual(fault('sid'))
    expect(decode(encodeHandshakePayload({ ...sample, sidPeer: new Uint8Array(8), caps: 0xffff_ffff }, MESSAGE_A)).kind).toBe('payload')
  })

  it('refuses wrong TLVs', () => {
    const cases: readonly (readonly [string, PayloadFault | undefined])[] = [
      ['', undefined], ['c00000', undefined], ['ff0300aabbcc fe0100aa', undefined],
      ['c0ffff', 'tlv-length'], ['c06000', 'tlv-length'],
      ['c00000 c00000', 'tlv-duplicate'], ['020000', 'invite'], ['02190000000000000000000000000000000000000000000000000000', 'invite'],
      ['00000001', 'padding'], ['c00000 0000c0', 'padding'],
      ['030100 40', 'extensions'], ['030200 4025', undefined], ['030800 ffffffffffffffff', 'extensions'],
      ['010100 01', 'limits'], ['010300 018000', 'limits'], ['010200 0905', undefined], ['010400 0405 0406', 'limits'], ['010400 0905 0906', 'limits'], ['010200 0400', undefined],
    ]
    for (const [text, where] of cases) {
      if (where === undefined) expect(decode(withTlvs(hex(text))).kind, text).toBe('payload')
      else expect(decode(withTlvs(hex(text))), text).toEqual(fault(where))
    }
    // A type and half a length at the very end.
    expect(decode(withTlvs(concat(hex('c05b00'), new Uint8Array(91), hex('c100'))))).toEqual(fault('tlv-length'))
  })

  it('takes sixteen TLVs, not seventeen', () => {
    const tlvs = (count: number): Uint8Array => concat(...Array.from({ length: count }, (_, i) => Uint8Array.of(0x80 + i, 0, 0)))
    expect(decode(withTlvs(tlvs(16))).kind).toBe('payload')
    expect(decode(withTlvs(tlvs(17)))).toEqual(fault('tlv-count'))
  })

  it('wants room for a message in a channel and for a channel in the session, with defaults for what is not said', () => {
    expect([limitsFit(LIMITS_DEFAULT), limitsFit({ ...LIMITS_DEFAULT, maxMessage: LIMITS_DEFAULT.maxChannelData - 32 }), limitsFit({ ...LIMITS_DEFAULT, maxMessage: LIMITS_DEFAULT.maxChannelData - 31 })]).toEqual([true, true, false])
    expect(decode(withTlvs(hex('010500 03 80200000')))).toEqual(fault('limits-order'))
    expect(decode(withTlvs(hex('010500 01 801fffff')))).toEqual(fault('limits-order'))
    expect(decode(withTlvs(hex('010500 01 80200000')))).toMatchObject({ kind: 'payload', payload: { limits: { ...LIMITS_DEFAULT, maxData: 2 ** 21 } } })
    const ble = { ...LIMITS_DEFAULT, maxAckDelayMs: BLE_MAX_ACK_DELAY_MS }
    expect(decode(withTlvs(new Uint8Array(0)), MESSAGE_A, 0x0102_0304, ble)).toMatchObject({ payload: { limits: { maxAckDelayMs: 50 } } })
  })

  it('takes any bytes without throwing', () => {
    const valid = encodeHandshakePayload({ ...sample, invite: { tokenId: repeated(1, 8), proof: repeated(2, 16) }, extensions: [1, 2, 3] }, MESSAGE_A)
    fc.assert(fc.property(fc.oneof(bytes(0, 600), mutations(valid), bytes(96).map((tlvs) => withTlvs(tlvs))), fc.constantFrom<HandshakeMessage>(MESSAGE_A, MESSAGE_B), (input, message) => {
      expect(['payload', 'malformed']).toContain(decode(input, message).kind)
    }), { numRuns: 500 })
  })
})
