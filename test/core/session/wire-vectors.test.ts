/** The vectors of WIRE.md §11: the whole way from two seeds to a sealed datagram. */
import { describe, expect, it } from 'vitest'
import { compareBytes, concat, equalBytes, toHex } from '../../../src/core/base/bytes.ts'
import { AeadBatch } from '../../../src/core/crypto/aead-batch.ts'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { Identity } from '../../../src/core/session/identity.ts'
import { cookieKey, mac1Key, openCookie, resetToken, sealCookie, verifyMac1, verifyMac2, writeFragmentMacs } from '../../../src/core/session/macs.ts'
import { HandshakeState, type Role } from '../../../src/core/session/noise.ts'
import { encodePrologue } from '../../../src/core/session/prologue.ts'
import { suiteOf, type SuiteNumber } from '../../../src/core/session/suites.ts'
import { writeTransportHeader } from '../../../src/core/wire/datagram.ts'
import { MESSAGE_A, writeHandshakeFragment } from '../../../src/core/wire/handshake-fragment.ts'
import { decodePeerId } from '../../../src/core/wire/peer-id.ts'
import { hex, repeated } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'

const H_SUITE_1 = '694581379a920c188f5dbda0fa2ca7017d1969df9bed16f35101462a1c27d16f'
const H_SUITE_2 = '500bd0efebaf0f6e9c6dfc0ad1de70d4f8af988e6bd98b3f394f8254a77c7c12'

function statesOf(provider: CryptoProvider, number: SuiteNumber): Record<Role, HandshakeState> {
  const suite = suiteOf(number)!
  const [initiator, responder] = [new Identity(provider, repeated(1)), new Identity(provider, repeated(2))]
  const prologue = encodePrologue({ suite, mode: 0, responderId: responder.id, sessionBinding: undefined })
  const common = { pattern: suite.pattern, protocolName: suite.name, prologue }
  const rs = suite.family === 'IK' ? responder.staticKeyPair.publicKey : undefined
  return {
    initiator: new HandshakeState(provider, { ...common, role: 'initiator', s: initiator.staticKeyPair, e: provider.x25519FromPrivate(repeated(0x13)), rs }),
    responder: new HandshakeState(provider, { ...common, role: 'responder', s: responder.staticKeyPair, e: provider.x25519FromPrivate(repeated(0x14)) }),
  }
}

describe.each(providers)('WIRE.md §11 with %s', (_name, provider) => {
  const initiator = new Identity(provider, repeated(1))
  const responder = new Identity(provider, repeated(2))

  it('ids, their text and their X25519 form', () => {
    expect(toHex(initiator.id)).toBe('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c')
    expect(initiator.text).toBe('rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa')
    expect(toHex(initiator.staticKeyPair.publicKey)).toBe('1b1b58dd50ea14b60da17b790cd02754d970c9bab864ebb3c0f3016fe51d3f57')
    expect(toHex(responder.id)).toBe('8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394')
    expect(responder.text).toBe('qe4xodvipulv6vvdkrtmgtd6ztfy3curwtxdpis56yhvxd6jwoka')
    expect(toHex(responder.staticKeyPair.publicKey)).toBe('60346e7c911a5f6ba154129174cafe75b294ac3bbd5549632f48cec6266f8410')
    for (const identity of [initiator, responder]) {
      expect(provider.idToX25519(identity.id)).toEqual(identity.staticKeyPair.publicKey)
      expect(decodePeerId(identity.text)).toEqual(identity.id)
    }
    expect(compareBytes(responder.id, initiator.id)).toBeLessThan(0)
  })

  it('suite 1: transcript, keys, header, macs, COOKIE and TRANSPORT', () => {
    const states = statesOf(provider, 1)
    const a = states.initiator.writeMessage(repeated(0xa1, 192))!
    expect(a).toHaveLength(288)
    expect(states.responder.readMessage(a)).toMatchObject({ kind: 'message' })
    const b = states.responder.writeMessage(repeated(0xb1, 192))!
    expect(b).toHaveLength(240)
    expect(states.initiator.readMessage(b)).toMatchObject({ kind: 'message' })
    const keys = states.initiator.split()
    expect(states.responder.split()).toEqual(keys)
    expect([toHex(keys.h), toHex(keys.initiatorKey.subarray(0, 8)), toHex(keys.responderKey.subarray(0, 8))]).toEqual([H_SUITE_1, 'eb11bce631f4daaf', '539afbf7abd35524'])

    const datagram = new Uint8Array(340)
    const k = responder.staticKeyPair.publicKey
    const key = mac1Key(provider, k)
    const digest = provider.sha256(a).subarray(0, 8)
    const bodyEnd = writeHandshakeFragment(datagram, 0, { suite: 1, message: MESSAGE_A, number: 0, count: 1, senderIndex: 0x0102_0304, receiverIndex: 0, digest }, a)
    expect(writeFragmentMacs(provider, datagram, 0, bodyEnd, MESSAGE_A, key, repeated(0xcc, 16))).toBe(340)
    const mac1 = datagram.subarray(308, 324)
    expect([toHex(datagram.subarray(0, 20)), toHex(mac1), toHex(datagram.subarray(324))]).toEqual(
      ['60010100040302010000000040b4d92a7fa17dc7', 'b90357e8acc12e24328e2c333ed506bb', '740b1b14eb1e60803d44c6a2f380fdad'])
    expect([verifyMac1(provider, datagram, 0, 340, MESSAGE_A, key), verifyMac2(provider, datagram, 0, 340, repeated(0xcc, 16))]).toEqual([true, true])

    const box = sealCookie(provider, cookieKey(provider, k), repeated(0xdd, 16), mac1, repeated(0xcc, 16))
    expect(toHex(box)).toBe('2efa717da37188d12970f2a7ee152bd43ed10c4d320190d80ebe4465153c7156')
    expect(openCookie(provider, cookieKey(provider, k), repeated(0xdd, 16), mac1, box)).toEqual(repeated(0xcc, 16))

    expect(toHex(sealTransport(provider, keys.initiatorKey))).toBe('620d0c0b0a0700000000000000e2e1cbeb68f479da51980d43125c3c7eaa8eb33ad183cb99f2bdebe5ebf91036')
  })

  it('suite 2: transcript and keys', () => {
    const { initiator: i, responder: r } = statesOf(provider, 2)
    const a = i.writeMessage(new Uint8Array(256))!
    r.readMessage(a)
    const b = r.writeMessage(repeated(0xb1, 192))!
    i.readMessage(b)
    const c = i.writeMessage(repeated(0xc1, 192))!
    r.readMessage(c)
    const keys = i.split()
    expect([a.length, b.length, c.length]).toEqual([288, 288, 256])
    expect([toHex(keys.h), toHex(keys.initiatorKey.subarray(0, 8)), toHex(keys.responderKey.subarray(0, 8))]).toEqual([H_SUITE_2, 'e09d66beeddbde62', '2713540f7135b65f'])
  })

  it('RESET token', () => {
    expect(toHex(resetToken(provider, repeated(0x77), 0x0102_0304))).toBe('0c2a4071b6c6fee2621ee14b776e4f95')
  })
})

/** PING and 15 bytes of padding under counter 7, to index 0x0a0b0c0d. */
function sealTransport(provider: CryptoProvider, key: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(45)
  writeTransportHeader(datagram, 0, 0x0a0b_0c0d, 7)
  datagram[13] = 1
  const slot = provider.addKey(key)
  const batch = new AeadBatch(1)
  batch.push(slot, 7, 13, 16)
  provider.sealBatch(datagram, batch)
  const opened = datagram.slice()
  provider.openBatch(opened, batch)
  provider.removeKey(slot)
  expect(equalBytes(opened.subarray(13, 29), concat(hex('01'), new Uint8Array(15)))).toBe(true)
  return datagram
}
