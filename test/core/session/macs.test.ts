import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { concat, utf8, writeU32 } from '../../../src/core/base/bytes.ts'
import type { LinkKind } from '../../../src/core/base/domain.ts'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import {
  computeCookie, computeHintMac, computeMac, computeRelayCookie, cookieKey, inviteProof, inviteTokenId, mac1Key, openCookie, OPEN_KEY, resetToken, sealCookie, verifyInviteProof,
  verifyMac, verifyMac1, verifyMac2, writeFragmentMacs,
} from '../../../src/core/session/macs.ts'
import { encodeHintHead } from '../../../src/core/wire/datagram.ts'
import { fragmentOverhead, MESSAGE_A, MESSAGE_B, MESSAGE_C, writeHandshakeFragment, type HandshakeMessage } from '../../../src/core/wire/handshake-fragment.ts'
import { bytes, hex, repeated } from '../../support/bytes.ts'
import { node, noble, providers } from '../../support/providers.ts'

const KEY = mac1Key(node, repeated(0x4b))
const COOKIE = repeated(0xc0, 16)

/** A fragment at offset 3 of a slab, with macs. */
function fragment(provider: CryptoProvider, message: HandshakeMessage, cookie?: Uint8Array): { readonly slab: Uint8Array; readonly length: number } {
  const slab = new Uint8Array(200).fill(0xff)
  const header = { suite: 1, message, number: 0, count: 1, senderIndex: 5, receiverIndex: message === MESSAGE_A ? 0 : 6, digest: repeated(1, 8) }
  const end = writeFragmentMacs(provider, slab, 3, writeHandshakeFragment(slab, 3, header, repeated(0xbb, 70)), message, KEY, cookie)
  return { slab, length: end - 3 }
}

describe.each(providers)('mac1 and mac2 with %s (WIRE.md §3.4)', (_name, provider) => {
  it('are HMAC over all before them', () => {
    const { slab, length } = fragment(provider, MESSAGE_A, COOKIE)
    expect(length).toBe(70 + fragmentOverhead(MESSAGE_A))
    expect(KEY).toEqual(provider.sha256(utf8('postern mac1'), repeated(0x4b)))
    expect(slab.slice(93, 109)).toEqual(provider.hmac(KEY, slab.slice(3, 93)).slice(0, 16))
    expect(slab.slice(109, 125)).toEqual(provider.hmac(COOKIE, slab.slice(3, 109)).slice(0, 16))
    expect(slab[125]).toBe(0xff)
  })

  it('verify, and any changed bit fails the one that covers it', () => {
    for (const message of [MESSAGE_A, MESSAGE_B, MESSAGE_C] as const) {
      const { slab, length } = fragment(provider, message, COOKIE)
      expect(verifyMac1(provider, slab, 3, length, message, KEY)).toBe(true)
      expect(verifyMac1(provider, slab, 3, length, message, mac1Key(provider, OPEN_KEY))).toBe(false)
      fc.assert(fc.property(fc.nat({ max: length * 8 - 1 }), (bit) => {
        const at = 3 + (bit >> 3)
        slab[at]! ^= 1 << (bit & 7)
        const behindMac1 = message === MESSAGE_A && at >= 3 + length - 16
        expect(verifyMac1(provider, slab, 3, length, message, KEY)).toBe(behindMac1)
        if (message === MESSAGE_A) expect(verifyMac2(provider, slab, 3, length, COOKIE)).toBe(false)
        slab[at]! ^= 1 << (bit & 7)
      }), { numRuns: 60 })
    }
  })

  it('mac2 is zero without a cookie, and does not verify then', () => {
    const { slab, length } = fragment(provider, MESSAGE_A)
    expect(slab.slice(3 + length - 16, 3 + length)).toEqual(new Uint8Array(16))
    expect(verifyMac2(provider, slab, 3, length, COOKIE)).toBe(false)
    expect(verifyMac1(provider, slab, 3, length, MESSAGE_A, KEY)).toBe(true)
  })
})

describe('verifyMac', () => {
  it('compares all sixteen bytes', () => {
    const mac = computeMac(node, KEY, repeated(1))
    expect([mac.length, verifyMac(node, KEY, mac, repeated(1)), verifyMac(node, KEY, mac.subarray(0, 15), repeated(1))]).toEqual([16, true, false])
    for (let i = 0; i < 16; i++) expect(verifyMac(node, KEY, mac.with(i, mac[i]! ^ 1), repeated(1))).toBe(false)
  })
})

describe('cookies (WIRE.md §3.6)', () => {
  const address = encodeAddress('192.0.2.1', 7000)!

  it('are of one secret, kind, address and port', () => {
    const cookie = computeCookie(node, repeated(1), 'udp', address)
    expect(cookie).toEqual(node.hmac(repeated(1), Uint8Array.of(0), address).slice(0, 16))
    expect(computeCookie(noble, repeated(1), 'udp', concat(hex('ffff'), address, hex('ff')), 2)).toEqual(cookie)
    const others = [
      computeCookie(node, repeated(2), 'udp', address), computeCookie(node, repeated(1), 'udp', encodeAddress('192.0.2.2', 7000)!),
      computeCookie(node, repeated(1), 'udp', encodeAddress('192.0.2.1', 7001)!), ...(['tcp', 'ble', 'relay', 'turn'] as const satisfies readonly LinkKind[]).map((kind) => computeCookie(node, repeated(1), kind, address)),
      computeRelayCookie(node, repeated(1), repeated(9), 4), computeRelayCookie(node, repeated(1), repeated(9), 6), computeRelayCookie(node, repeated(1), repeated(8), 4),
    ]
    expect(new Set([cookie, ...others].map((value) => value.join())).size).toBe(others.length + 1)
  })

  it('boxes go there and back, for the fragment they answer and no other', () => {
    fc.assert(fc.property(bytes(32), bytes(16), bytes(16), bytes(16), fc.nat({ max: 255 }), (k, nonce, mac1, cookie, bit) => {
      const key = cookieKey(node, k)
      const box = sealCookie(node, key, nonce, mac1, cookie)
      expect(box).toHaveLength(32)
      expect(sealCookie(noble, key, nonce, mac1, cookie)).toEqual(box)
      expect(openCookie(noble, key, nonce, mac1, box)).toEqual(cookie)
      const flip = (input: Uint8Array): Uint8Array => input.with((bit >> 3) % input.length, input[(bit >> 3) % input.length]! ^ (1 << (bit & 7)))
      expect(openCookie(node, key, nonce, mac1, flip(box))).toBeUndefined()
      expect(openCookie(node, key, nonce, flip(mac1), box)).toBeUndefined()
      expect(openCookie(node, key, flip(nonce), mac1, box)).toBeUndefined()
      expect(openCookie(node, cookieKey(node, flip(k)), nonce, mac1, box)).toBeUndefined()
      expect(openCookie(node, key, nonce, mac1, box.subarray(0, bit % 32))).toBeUndefined()
    }), { numRuns: 30 })
  })
})

describe('the other macs', () => {
  it('HINT covers its head and mac1 of A', () => {
    const head = encodeHintHead(1, 7, 2, 2)
    const mac = computeHintMac(node, repeated(3), head, repeated(4, 16))
    expect(mac).toEqual(node.hmac(node.sha256(utf8('postern hint'), repeated(3)), head, repeated(4, 16)).slice(0, 16))
  })

  it('an invite proof is of one token, pair and stamp', () => {
    const [token, initiator, responder, stamp] = [repeated(1, 16), repeated(2), repeated(3), repeated(4, 12)]
    expect(inviteTokenId(node, token)).toEqual(node.sha256(utf8('postern invite id'), token).slice(0, 8))
    const proof = inviteProof(node, token, initiator, responder, stamp)
    expect(proof).toEqual(node.hmac(token, utf8('postern invite'), initiator, responder, stamp).slice(0, 16))
    expect(verifyInviteProof(noble, token, initiator, responder, stamp, proof)).toBe(true)
    const wrong = [
      verifyInviteProof(node, repeated(9, 16), initiator, responder, stamp, proof), verifyInviteProof(node, token, responder, initiator, stamp, proof),
      verifyInviteProof(node, token, initiator, responder, repeated(5, 12), proof), verifyInviteProof(node, token, initiator, responder, stamp, proof.with(15, proof[15]! ^ 0x80)),
    ]
    expect(wrong).toEqual([false, false, false, false])
  })

  it('a reset token is of one index', () => {
    fc.assert(fc.property(bytes(32), fc.nat({ max: 0xffff_ffff }), (key, index) => {
      const indexBytes = new Uint8Array(4)
      writeU32(indexBytes, 0, index)
      expect(resetToken(node, key, index)).toEqual(noble.hmac(key, utf8('postern reset'), indexBytes).slice(0, 16))
    }), { numRuns: 20 })
  })
})
