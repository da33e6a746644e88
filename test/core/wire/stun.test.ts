import fc from 'fast-check'
import { createHash, createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { equalBytes, fromUtf8, utf8 } from '../../../src/core/base/bytes.ts'
import {
  addressOf, decodeChangeRequest, decodeErrorCode, decodeResponsePort, decodeStunAddress, decodeUnknownAttributes, decodeXorAddress, encodeChangeRequest, encodeErrorCode,
  encodeResponsePort, encodeStunAddress, encodeUnknownAttributes, encodeXorAddress, mappedAddressOf,
} from '../../../src/core/wire/stun-attributes.ts'
import {
  checkFingerprint, checkIntegrity, decodeStun, encodeStun, findAttribute, stunAttribute, stunClasses, unknownRequired, type StunMessage, type StunOptions,
} from '../../../src/core/wire/stun.ts'
import { bytes, hex, mutations } from '../../support/bytes.ts'
import { node, providers } from '../../support/providers.ts'

// RFC 5769 §2.1–2.4, as printed: padding of blanks in the first three, of zeros in the last.
const head = '2112a442 b7e7a701bc34d686fa87dfae'
const request = hex(`00010058 ${head} 80220010 5354554e207465737420636c69656e74 00240004 6e0001ff 80290008 932ff9b151263b36
  00060009 6576746a3a68367659202020 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004 e57a3bcf`)
const responseFour = hex(`0101003c ${head} 8022000b 7465737420766563746f7220 00200008 0001a147e112a643
  00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96`)
const responseSix = hex(`01010048 ${head} 8022000b 7465737420766563746f7220 00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9
  00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c`)
const requestLongTerm = hex(`00010060 2112a442 78ad3433c6ad72c029da412e 00060012 e3839ee38388e383aae38383e382afe382b90000
  0015001c 662f2f3439396b3935346436 4f4c33346f4c394653547679 3634734100 14000b 6578616d706c652e6f726700 00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666`)
const password = utf8('VOkJxbRl1RmTxUk/WvJxBt')
const longTermKey = new Uint8Array(createHash('md5').update('\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9:example.org:TheMatrIX').digest())

function read(message: Uint8Array): StunMessage {
  const decoded = decodeStun(message)
  if (decoded.kind !== 'stun') throw new Error(`malformed: ${decoded.where}`)
  return decoded
}

function text(message: StunMessage, type: number): string | undefined {
  const value = findAttribute(message, type)
  return value === undefined ? undefined : fromUtf8(value)
}

describe.each(providers)('the vectors of RFC 5769 with %s', (_name, provider) => {
  it('§2.1 a request', () => {
    const message = read(request)
    expect([message.class, message.method, [...message.transactionId]]).toEqual(['request', 1, [...hex('b7e7a701bc34d686fa87dfae')]])
    expect([text(message, stunAttribute.software), text(message, stunAttribute.username)]).toEqual(['STUN test client', 'evtj:h6vY'])
    expect([checkFingerprint(message), checkIntegrity(provider, message, password)]).toEqual(['valid', 'valid'])
    // PRIORITY of ICE must be understood, and is not; ICE-CONTROLLED need not.
    expect(unknownRequired(message)).toEqual([0x0024])
  })

  it('§2.2 a response with IPv4', () => {
    const message = read(responseFour)
    expect([message.class, text(message, stunAttribute.software), formatAddress(mappedAddressOf(message)!)]).toEqual(['success', 'test vector', '192.0.2.1:32853'])
    expect([checkFingerprint(message), checkIntegrity(provider, message, password), unknownRequired(message)]).toEqual(['valid', 'valid', []])
  })

  it('§2.3 a response with IPv6', () => {
    const message = read(responseSix)
    expect(formatAddress(mappedAddressOf(message)!)).toBe('[2001:db8:1234:5678:11:2233:4455:6677]:32853')
    expect([checkFingerprint(message), checkIntegrity(provider, message, password)]).toEqual(['valid', 'valid'])
  })

  it('§2.4 a request with a long-term credential', () => {
    const message = read(requestLongTerm)
    expect([text(message, stunAttribute.username), text(message, stunAttribute.nonce), text(message, stunAttribute.realm)]).toEqual(['\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9', 'f//499k954d6OL34oL9FSTvy64sA', 'example.org'])
    expect([checkFingerprint(message), checkIntegrity(provider, message, longTermKey)]).toEqual(['absent', 'valid'])
    // The encoder writes the same bytes.
    const again = encodeStun(provider, {
      class: 'request', transactionId: message.transactionId, integrity: [{ algorithm: 'sha1', key: longTermKey }],
      attributes: [stunAttribute.username, stunAttribute.nonce, stunAttribute.realm].map((type) => [type, findAttribute(message, type)!] as const),
    })
    expect(again).toEqual(requestLongTerm)
  })

  it('a wrong key, and any changed bit before the integrity, are wrong', () => {
    expect(checkIntegrity(provider, read(request), utf8('wrong'))).toBe('wrong')
    for (let at = 0; at < requestLongTerm.length - 24; at++) {
      const changed = requestLongTerm.slice()
      changed[at]! ^= 1
      const message = decodeStun(changed)
      if (message.kind === 'stun') expect(checkIntegrity(provider, message, longTermKey), `byte ${at}`).not.toBe('valid')
    }
  })
})

describe('integrity and fingerprint', () => {
  const transactionId = hex('000102030405060708090a0b')
  const key = utf8('key')

  it('MESSAGE-INTEGRITY-SHA256 is the HMAC of RFC 8489 §14.6, and goes before the weaker one', () => {
    const message = encodeStun(node, { class: 'request', transactionId, attributes: [[stunAttribute.software, utf8('abc')]], integrity: [{ algorithm: 'sha256', key }] })
    const covered = Buffer.concat([hex('0001002c'), message.subarray(4, 28)])
    expect(Buffer.from(message.subarray(32))).toEqual(createHmac('sha256', key).update(covered).digest())
    const both = encodeStun(node, { class: 'request', transactionId, integrity: [{ algorithm: 'sha1', key: utf8('other') }, { algorithm: 'sha256', key }], fingerprint: true })
    expect([checkIntegrity(node, read(both), key), checkIntegrity(node, read(both), utf8('other')), checkFingerprint(read(both))]).toEqual(['valid', 'wrong', 'valid'])
  })

  it('MESSAGE-INTEGRITY-SHA256 may be cut to 16 bytes, not shorter', () => {
    const whole = encodeStun(node, { class: 'request', transactionId, integrity: [{ algorithm: 'sha256', key }] })
    for (const [size, verdict] of [[32, 'valid'], [28, 'wrong'], [12, 'wrong'], [0, 'wrong']] as const) {
      const cut = whole.slice(0, 24 + size)
      cut.set([0, 4 + size], 2)
      cut.set([0, size], 22)
      expect(checkIntegrity(node, read(cut), key), `${size} bytes`).toBe(verdict)
    }
    // One that was made for its length.
    const short = whole.slice(0, 40)
    short.set([0, 20], 2)
    short.set([0, 16], 22)
    const mac = createHmac('sha256', key).update(short.subarray(0, 20)).digest()
    short.set(mac.subarray(0, 16), 24)
    expect(checkIntegrity(node, read(short), key)).toBe('valid')
  })

  it('what stands behind an integrity attribute is not there', () => {
    const inner = encodeStun(node, { class: 'success', transactionId, integrity: [{ algorithm: 'sha1', key }] })
    const mapped = encodeXorAddress(encodeAddress('192.0.2.66', 1)!, transactionId)
    const appended = new Uint8Array(inner.length + 12)
    appended.set(inner)
    appended.set([0, 0x20, 0, 8, ...mapped], inner.length)
    appended.set([0, appended.length - 20], 2)
    expect(checkIntegrity(node, read(appended), key)).toBe('valid')
    expect(mappedAddressOf(read(appended))).toBeUndefined()
  })

  it('FINGERPRINT is the last attribute, and of 4 bytes', () => {
    const sealed = encodeStun(node, { class: 'request', transactionId, fingerprint: true })
    expect(checkFingerprint(read(sealed))).toBe('valid')
    const behind = new Uint8Array([...sealed, 0x80, 0x22, 0, 0])
    behind.set([0, 12], 2)
    expect(decodeStun(behind)).toEqual({ kind: 'malformed', where: 'fingerprint' })
    expect(decodeStun(hex('00010004 2112a442 000102030405060708090a0b 80280000'))).toEqual({ kind: 'malformed', where: 'fingerprint' })
  })
})

describe('attributes', () => {
  const addresses = fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535)).map(([host, port]) => encodeAddress(host, port)).filter((address) => address !== undefined)

  it('addresses come back as they were written, plain and xored', () => {
    fc.assert(fc.property(addresses, bytes(12), (address, id) => {
      expect(decodeStunAddress(encodeStunAddress(address))).toEqual(address)
      expect(decodeXorAddress(encodeXorAddress(address, id), id)).toEqual(address)
    }))
  })

  it('MAPPED-ADDRESS serves where the xored one is missing, OTHER-ADDRESS is read', () => {
    const [one, other] = [encodeAddress('192.0.2.1', 7)!, encodeAddress('2001:db8::2', 9)!]
    const message = read(encodeStun(node, { class: 'success', transactionId: new Uint8Array(12), attributes: [[stunAttribute.mappedAddress, encodeStunAddress(one)], [stunAttribute.otherAddress, encodeStunAddress(other)]] }))
    expect([mappedAddressOf(message), addressOf(message, stunAttribute.otherAddress), addressOf(message, stunAttribute.responseOrigin)]).toEqual([one, other, undefined])
  })

  it('errors, unknown attributes, change requests and response ports come back', () => {
    expect(decodeErrorCode(encodeErrorCode({ code: 420, reason: 'Unknown Attribute' }))).toEqual({ code: 420, reason: 'Unknown Attribute' })
    for (const wrong of ['', '0000', '00000214', '00000700', '00000364', '0000041480']) expect(decodeErrorCode(hex(wrong)), wrong).toBeUndefined()
    expect(decodeUnknownAttributes(encodeUnknownAttributes([3, 0x8022]))).toEqual([3, 0x8022])
    expect(decodeUnknownAttributes(Uint8Array.of(1))).toBeUndefined()
    for (const ip of [true, false]) for (const port of [true, false]) expect(decodeChangeRequest(encodeChangeRequest({ ip, port }))).toEqual({ ip, port })
    expect([encodeChangeRequest({ ip: true, port: false })[3], encodeChangeRequest({ ip: false, port: true })[3]]).toEqual([4, 2])
    expect([decodeResponsePort(encodeResponsePort(40_000)), decodeResponsePort(new Uint8Array(3))]).toEqual([40_000, undefined])
  })
})

describe('any bytes', () => {
  const options: fc.Arbitrary<StunOptions> = fc.record({
    method: fc.nat(0xfff), class: fc.constantFrom(...stunClasses), transactionId: bytes(12), fingerprint: fc.boolean(),
    attributes: fc.array(fc.tuple(fc.nat(0xffff).filter((type) => ![0x8028, 0x0008, 0x001c].includes(type)), bytes(0, 40)), { maxLength: 8 }),
    integrity: fc.constantFrom([], [{ algorithm: 'sha1' as const, key: utf8('k') }], [{ algorithm: 'sha256' as const, key: utf8('k') }], [{ algorithm: 'sha1' as const, key: utf8('k') }, { algorithm: 'sha256' as const, key: utf8('k') }]),
  })

  it('what is written is read', () => {
    fc.assert(fc.property(options, (written) => {
      const message = read(encodeStun(node, written))
      expect([message.class, message.method, message.transactionId]).toEqual([written.class, written.method, written.transactionId])
      expect(message.attributes.slice(0, written.attributes!.length).map(({ type, value }) => [type, value])).toEqual(written.attributes)
      expect(checkFingerprint(message)).toBe(written.fingerprint === true ? 'valid' : 'absent')
      expect(checkIntegrity(node, message, utf8('k'))).toBe(written.integrity!.length > 0 ? 'valid' : 'absent')
    }))
  })

  it('a changed message is read or malformed, never thrown at, and one bit breaks the fingerprint', () => {
    fc.assert(fc.property(options.chain((written) => {
      const whole = encodeStun(node, { ...written, fingerprint: true })
      return fc.tuple(fc.constant(whole), mutations(whole))
    }), ([whole, changed]) => {
      const message = decodeStun(changed)
      if (message.kind === 'malformed') return
      if (!equalBytes(whole, changed)) expect(checkFingerprint(message)).not.toBe('valid')
      checkIntegrity(node, message, utf8('k'))
      mappedAddressOf(message)
      unknownRequired(message)
      for (const { value } of message.attributes) for (const decode of [decodeErrorCode, decodeUnknownAttributes, decodeChangeRequest, decodeResponsePort, decodeStunAddress]) decode(value)
    }))
  })

  it('noise behind a good header', () => {
    fc.assert(fc.property(bytes(0, 400), (noise) => {
      const body = noise.subarray(0, noise.length & ~3)
      const message = new Uint8Array([0, 1, body.length >>> 8, body.length, 0x21, 0x12, 0xa4, 0x42, ...new Uint8Array(12), ...body])
      const decoded = decodeStun(message)
      if (decoded.kind === 'stun') expect(decoded.attributes.length).toBeLessThanOrEqual(64)
    }))
  })

  it('each fault of a header has its name', () => {
    const whole = encodeStun(node, { class: 'request', transactionId: new Uint8Array(12), fingerprint: true })
    expect(checkFingerprint(read(whole))).toBe('valid')
    expect(decodeStun(new Uint8Array([9, ...whole]), 1)).toMatchObject({ kind: 'stun', class: 'request' })
    expect(decodeStun(whole.subarray(0, 19))).toEqual({ kind: 'malformed', where: 'size' })
    expect(decodeStun(hex('40010000 2112a442 000102030405060708090a0b'))).toEqual({ kind: 'malformed', where: 'type' })
    expect(decodeStun(hex('00010004 2112a442 000102030405060708090a0b'))).toEqual({ kind: 'malformed', where: 'length' })
    expect(decodeStun(hex('00010000 2112a443 000102030405060708090a0b'))).toEqual({ kind: 'malformed', where: 'magic' })
    expect(decodeStun(hex('00010004 2112a442 000102030405060708090a0b 80220001'))).toEqual({ kind: 'malformed', where: 'attribute' })
  })
})
