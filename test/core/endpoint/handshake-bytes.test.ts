/** Messages A and B byte for byte against the layouts of WIRE.md §3.3, §3.4 and §4. */
import { describe, expect, it } from 'vitest'
import { concat, isAllZero, readU16, readU32, utf8 } from '../../../src/core/base/bytes.ts'
import { inviteProof, inviteTokenId, resetToken } from '../../../src/core/session/macs.ts'
import { stampOf } from '../../../src/core/session/tai64n.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import { HandPeer, mac } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord } from '../../support/lone-endpoint.ts'
import { ping } from '../../support/hand-frames.ts'
import { providers } from '../../support/providers.ts'
import { repeated } from '../../support/bytes.ts'

const PEER = address('192.0.2.7')

/** The LIMITS TLV of the defaults, typed in: type 1, length 25, pairs of id and value. */
const LIMITS = [1, 28, 0, 1, 0x80, 0x80, 0, 0, 2, 0x80, 0x20, 0, 0, 3, 0x80, 0x10, 0, 0, 4, 0x41, 0, 5, 10, 6, 0x80, 0, 0xff, 0xe3, 7, 0x42, 0x58]

function expectHead(plain: Uint8Array, expected: { index: number; sidPeer: Uint8Array; stamp: Uint8Array; id: Uint8Array; resetToken: Uint8Array }): void {
  expect(plain).toHaveLength(192)
  expect([plain[0], plain[1], readU16(plain, 2), readU32(plain, 4)]).toEqual([1, 0, 0b10, 8])
  expect([readU32(plain, 8), readU32(plain, 12)]).toEqual([expected.index, 0])
  expect(isAllZero(plain.subarray(16, 24))).toBe(false)
  expect(plain.subarray(24, 32)).toEqual(expected.sidPeer)
  expect(plain.subarray(32, 48)).toEqual(expected.resetToken)
  expect(plain.subarray(48, 60)).toEqual(expected.stamp)
  expect(readU32(plain, 60)).toBe(0)
  expect(plain.subarray(64, 96)).toEqual(expected.id)
  expect([...plain.subarray(96, 96 + LIMITS.length)]).toEqual(LIMITS)
}

describe.each(providers)('handshake bytes with %s', (_name, provider) => {
  it('A: header, digest, macs and payload; B is accepted and the first datagram follows at once', () => {
    const peer = new HandPeer(provider, 9)
    const token = repeated(5, 16)
    const lone = new LoneEndpoint({ provider, seed: repeated(1) })
    lone.act((endpoint, now) => {
      endpoint.addPeer(now, peer.id, { name: undefined, addresses: [PEER], invite: { token, expires: toWallTime(now.wall + 1000) } })
      return endpoint.connect(now, peer.id, { addresses: [], now: true })
    })
    const sent = lone.advance(0)
    expect(sent).toHaveLength(1)
    const a = sent[0]!.bytes
    expect([sent[0]!.to, a.length, ...a.subarray(0, 4)]).toEqual([PEER, 340, 0x60, 1, 1, 0])
    expect([readU32(a, 4) === 0, readU32(a, 8)]).toEqual([false, 0])
    expect(a.subarray(12, 20)).toEqual(provider.sha256(a.subarray(20, 308)).subarray(0, 8))
    expect(a.subarray(308, 324)).toEqual(mac(provider, provider.sha256(utf8('postern mac1'), provider.idToX25519(peer.id)), a.subarray(0, 308)))
    expect(isAllZero(a.subarray(324))).toBe(true)

    const { plain, payload, datagram, session } = peer.answer(a)
    const stamp = stampOf(lone.now.wall)
    expectHead(plain, { index: readU32(a, 4), sidPeer: new Uint8Array(8), stamp, id: lone.endpoint.id, resetToken: resetToken(provider, repeated(0x77), readU32(a, 4)) })
    const invite = plain.subarray(96 + LIMITS.length)
    expect(invite.subarray(0, 27)).toEqual(concat(Uint8Array.of(2, 24, 0), inviteTokenId(provider, token), inviteProof(provider, token, lone.endpoint.id, peer.id, stamp)))
    expect(isAllZero(invite.subarray(27))).toBe(true)

    lone.mono += 30_000
    const first = lone.receive({ from: PEER, bytes: datagram })
    expect(first.map(({ to }) => to)).toEqual([PEER])
    const opened = session.open(first[0]!.bytes)!
    expect(opened.counter).toBe(0)
    // PING makes it ack-eliciting; the challenge goes along although this address is already proven.
    expect(opened.frames.map(({ type }) => type)).toEqual([0x0a, 0x0c, 0x01])
    expect((first[0]!.bytes.length - 29) % 16).toBe(0)
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toMatchObject([{ state: 'dialing' }, { state: 'connected' }])
    expect(payload.sidSelf).toEqual(plain.subarray(16, 24))
  })

  it('B: header, digest, mac1 under h, payload; half-open until the first datagram under its keys', () => {
    const peer = new HandPeer(provider, 9)
    const lone = new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)] })
    const initiation = peer.dial(lone.endpoint.id)
    const sent = lone.receive({ from: PEER, bytes: initiation.datagram() })
    expect(sent).toHaveLength(1)
    const b = sent[0]!.bytes
    const h = initiation.noise.getHandshakeHash()
    expect([sent[0]!.to, b.length, ...b.subarray(0, 4)]).toEqual([PEER, 276, 0x60, 1, 1, 1])
    expect(readU32(b, 8)).toBe(initiation.index)
    expect(b.subarray(12, 20)).toEqual(provider.sha256(b.subarray(20, 260)).subarray(0, 8))
    expect(b.subarray(260)).toEqual(mac(provider, provider.sha256(utf8('postern mac1'), h), b.subarray(0, 260)))
    const session = initiation.finish(b)
    const index = readU32(b, 4)
    expectHead(session.plain, { index, sidPeer: initiation.sidSelf, stamp: stampOf(lone.now.wall), id: lone.endpoint.id, resetToken: resetToken(provider, repeated(0x77), index) })
    expect(isAllZero(session.plain.subarray(96 + LIMITS.length))).toBe(true)

    expect([lone.advance(1_000_000), lone.events]).toEqual([[], []])
    const answer = lone.receive({ from: PEER, bytes: session.seal(ping) })
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toMatchObject([{ state: 'connected' }])
    const { frames } = session.open(answer[0]!.bytes)!
    expect(frames[0]).toMatchObject({ type: 0x02, fields: [0, 0, 0, 0] })
    expect(frames.some(({ type }) => type === 0x0a)).toBe(true)
  })
})
