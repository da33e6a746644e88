/** What a node answers to XX, one datagram at a time, and by whom it may be begun: over Bluetooth, and over UDP where that is allowed. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readU32 } from '../../../../src/core/base/bytes.ts'
import { encodeBleAddress } from '../../../../src/core/base/ble-address.ts'
import { minute, toWallTime, type Duration } from '../../../../src/core/base/time.ts'
import type { LinkId } from '../../../../src/core/endpoint/contract.ts'
import { Identity } from '../../../../src/core/session/identity.ts'
import { OPEN_KEY } from '../../../../src/core/session/macs.ts'
import type { PresenceKey } from '../../../../src/core/session/presence.ts'
import { stampOf } from '../../../../src/core/session/tai64n.ts'
import { repeated } from '../../../support/bytes.ts'
import { ping } from '../../../support/hand-frames.ts'
import { HandPeer, type HandSession } from '../../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, UDP, type LoneOptions, type Sent } from '../../../support/lone-endpoint.ts'
import { node as provider } from '../../../support/providers.ts'
import { HOUR, XxGuest as Guest } from '../../../support/xx-guest.ts'

const FROM = address('192.0.2.7')
const BLE = 2 as LinkId
const RADIO = encodeBleAddress('random', repeated(7, 6))
const SECOND = 1_000_000
/** What the side that was dialed said in its HELLO. */
const NONCE = repeated(0x4e, 8)

function setUp(change: Partial<LoneOptions> = {}): { readonly lone: LoneEndpoint; readonly key: PresenceKey } {
  const lone = new LoneEndpoint({ provider, seed: repeated(1), ...change })
  lone.endpoint.handleLink(lone.now, BLE, 'opened', { kind: 'ble', local: encodeBleAddress('random', repeated(1, 6)), remote: RADIO, dialed: false, datagramMax: 1200, datagramSize: 484, single: true, segmentsMax: 1, nonce: NONCE })
  lone.endpoint.radio.hint(lone.now)
  lone.drain()
  const stored = lone.events.find((event) => event.kind === 'persist' && event.key === 'node/presence')
  if (stored?.kind !== 'persist' || stored.value?.kind !== 'presence') throw new Error('no presence key was kept')
  return { lone, key: stored.value.keys[0]! }
}

const viaUdp = (bytes: Uint8Array) => ({ from: FROM, bytes }) as const
const viaRadio = (bytes: Uint8Array) => ({ from: RADIO, bytes, link: BLE }) as const
const frames = (sent: readonly Sent[], session: HandSession): unknown[] => sent.flatMap(({ bytes }) => session.open(bytes)?.frames ?? [])

describe('who may begin', () => {
  it('over Bluetooth: who knows the key; over UDP nobody, unless it is allowed', () => {
    for (const [acceptXx, link, known, answered] of [
      ['ble', 'ble', true, true], ['ble', 'ble', false, false], ['ble', 'udp', true, false], ['ble', 'udp', false, false],
      ['all', 'udp', true, true], ['all', 'udp', false, false], ['open', 'udp', false, true], ['open', 'ble', false, true],
    ] as const) {
      const { lone, key } = setUp({ config: { acceptXx } })
      const guest = new Guest(9, known ? key.key : OPEN_KEY, link === 'ble' ? NONCE : HOUR)
      const sent = lone.receive((link === 'ble' ? viaRadio : viaUdp)(guest.A))
      expect([acceptXx, link, known, sent.map(({ bytes }) => bytes.length)]).toEqual([acceptXx, link, known, answered ? [324] : []])
      expect(lone.counters['drop_mac1']).toBe(answered ? 0 : 1)
    }
  })

  it('anybody while a window is open, and nobody after it', () => {
    const { lone } = setUp()
    const open = (duration: Duration): void => { lone.endpoint.radio.openPairing(lone.now, duration) }
    open(minute)
    expect(lone.receive(viaRadio(new Guest(9, OPEN_KEY, NONCE).A))).toHaveLength(1)
    lone.advance(minute)
    expect(lone.receive(viaRadio(new Guest(9, OPEN_KEY, NONCE).A))).toHaveLength(0)
    open(100 * minute)
    lone.advance(10 * minute)
    expect(lone.endpoint.radio.pairingOpen(lone.now)).toBe(false)
    open(minute)
    lone.endpoint.radio.closePairing(lone.now)
    expect(lone.receive(viaRadio(new Guest(9, OPEN_KEY, NONCE).A))).toHaveLength(0)
  })

  it('also by the key before, not by one before that', () => {
    const { lone, key } = setUp({ config: { ble: true, acceptXx: 'all' }, peers: [peerRecord(new Identity(provider, repeated(5)).id), peerRecord(new Identity(provider, repeated(6)).id)] })
    const works = (): boolean => lone.receive(viaUdp(new Guest(9, key.key).A)).length > 0
    expect(works()).toBe(true)
    for (const [seed, still] of [[5, true], [6, false]] as const) {
      lone.endpoint.removePeer(lone.now, new Identity(provider, repeated(seed)).id)
      lone.drain()
      expect([seed, works()]).toEqual([seed, still])
    }
  })
})

describe('a recorded A', () => {
  const key: PresenceKey = { epoch: 1, key: repeated(0x5e) }
  /** A link as its driver opens it, with what this side said in its HELLO. */
  const connect = (lone: LoneEndpoint, link: LinkId, remote: Uint8Array, nonce: Uint8Array): void => {
    lone.endpoint.handleLink(lone.now, link, 'opened', { kind: 'ble', local: RADIO, remote, dialed: false, datagramMax: 1200, segmentsMax: 1, nonce })
  }

  it('is answered on its own Bluetooth link and on no other, nor after a restart: nobody knows a node again by it', () => {
    const nonces = fc.uniqueArray(fc.uint8Array({ minLength: 8, maxLength: 8 }), { minLength: 2, maxLength: 4, comparator: (a, b) => Buffer.compare(a, b) === 0 })
    fc.assert(fc.property(nonces, fc.boolean(), fc.nat(3), (said, window, restarts) => {
      // Of a friend, or of a stranger in a pairing window: the replay comes with the window open, too.
      const { A } = new Guest(9, window ? OPEN_KEY : key.key, said[0])
      for (let life = 0; life <= restarts; life++) {
        const lone = new LoneEndpoint({ provider, seed: repeated(1), presence: [key] })
        lone.endpoint.radio.openPairing(lone.now, minute)
        lone.drain()
        for (const [i, nonce] of said.entries()) {
          const [link, remote] = [(10 + i) as LinkId, encodeBleAddress('random', repeated(i, 6))]
          connect(lone, link, remote, nonce)
          expect([life, i, lone.receive({ from: remote, bytes: A, link }).length]).toEqual([life, i, i === 0 ? 1 : 0])
        }
        expect(lone.counters['drop_mac1']).toBe(said.length - 1)
      }
    }), { numRuns: 20 })
  })

  it('is good for an hour around its own where no link has a nonce, and two hours later for nothing', () => {
    const { A } = new Guest(9, key.key)
    for (const [hours, answered] of [[-2, 0], [-1, 1], [0, 1], [1, 1], [2, 0], [24, 0]] as const) {
      // Each time another process: the one that answered remembers.
      const lone = new LoneEndpoint({ provider, seed: repeated(1), presence: [key], config: { acceptXx: 'all' } })
      lone.wall += hours * 3_600_000
      expect([hours, lone.receive(viaUdp(A)).length]).toEqual([hours, answered])
      expect(lone.receive(viaUdp(A)).length).toBe(answered)
    }
  })

  it('by IK is not answered by Bluetooth, where nobody is asked by name', () => {
    const friend = new HandPeer(provider, 9)
    const { lone } = setUp({ peers: [peerRecord(friend.id)] })
    const A = friend.dial(lone.endpoint.id).datagram()
    expect(lone.receive(viaRadio(A))).toEqual([])
    expect(lone.counters['drop_suite']).toBe(1)
    expect(lone.receive(viaUdp(A))).toHaveLength(1)
  })

  it('nor does a datagram of a session that is over get a RESET there, whose token would be the same for ever', () => {
    const { lone } = setUp({ age: 0 })
    const old = Uint8Array.of(0x62, 1, 2, 3, 4, ...new Uint8Array(60))
    expect(lone.receive(viaRadio(old))).toEqual([])
    expect(lone.receive(viaUdp(old))).toHaveLength(1)
    expect(lone.counters['drop_unknown_index']).toBe(2)
  })
})

describe('an answer', () => {
  it('goes to copies of its A four times, to a replay never', () => {
    const { lone, key } = setUp()
    const { A } = new Guest(9, key.key, NONCE)
    const [B] = lone.receive(viaRadio(A))
    const copies = Array.from({ length: 3 }, () => lone.receive(viaRadio(A)))
    expect(copies.map((sent) => sent.map(({ bytes }) => bytes))).toEqual([[B!.bytes], [B!.bytes], [B!.bytes]])
    lone.advance(11 * SECOND)
    expect(lone.endpoint.tables()['xx']).toBe(0)
    // Another connection, since the first has had its messages A; that it has the same nonce does not happen.
    const again = 3 as LinkId
    lone.endpoint.handleLink(lone.now, again, 'opened', { kind: 'ble', local: RADIO, remote: RADIO, dialed: false, datagramMax: 1200, segmentsMax: 1, nonce: NONCE })
    expect(lone.receive({ from: RADIO, bytes: A, link: again })).toEqual([])
    expect(lone.counters['drop_replayed_handshake']).toBe(1)
  })

  it('four by Bluetooth and 64 in all; more are dropped, and a place is free again after 10 s', () => {
    const { lone, key } = setUp({ config: { acceptXx: 'all', handshakeShare: 1 } })
    let answered = 0
    for (let i = 0; i < 8; i++) {
      const link = (10 + i) as LinkId
      const remote = encodeBleAddress('random', repeated(i, 6))
      lone.endpoint.handleLink(lone.now, link, 'opened', { kind: 'ble', local: RADIO, remote, dialed: false, datagramMax: 1200, segmentsMax: 1 })
      answered += lone.receive({ from: remote, bytes: new Guest(9, key.key).A, link }).length
      lone.advance(0.1 * SECOND)
    }
    expect([answered, lone.counters['drop_handshake_queue']]).toEqual([4, 4])
    for (let i = 0; i < 70; i++) {
      answered += lone.receive({ from: address(`192.0.2.${i + 1}`), bytes: new Guest(9, key.key).A }).length
      lone.advance(0.05 * SECOND)
    }
    expect(answered).toBe(64)
    lone.advance(11 * SECOND)
    expect(lone.endpoint.tables()).toMatchObject({ xx: 0, indexes: 0, peers: 0 })
    expect(lone.receive(viaUdp(new Guest(9, key.key).A))).toHaveLength(1)
  })

  it('ends with its link: four that ask and hang up leave room for the one who comes next', () => {
    const { lone, key } = setUp({ config: { handshakeShare: 1 } })
    for (let i = 0; i < 40; i++) {
      const [link, remote] = [(10 + i) as LinkId, encodeBleAddress('random', repeated(i, 6))]
      lone.endpoint.handleLink(lone.now, link, 'opened', { kind: 'ble', local: RADIO, remote, dialed: false, datagramMax: 1200, segmentsMax: 1, nonce: NONCE })
      expect([i, lone.receive({ from: remote, bytes: new Guest(9, key.key, NONCE).A, link }).length]).toEqual([i, 1])
      expect(lone.endpoint.tables()).toMatchObject({ xx: 1, indexes: 1 })
      lone.endpoint.handleLink(lone.now, link, 'closed')
      expect(lone.endpoint.tables()).toMatchObject({ xx: 0, indexes: 0, peers: 0 })
      lone.advance(0.1 * SECOND)
    }
    expect(lone.counters['drop_handshake_queue']).toBe(0)
  })

  it('is settled by C: a friend is in a session, and hears at once', () => {
    const { lone, key } = setUp({ peers: [peerRecord(new Identity(provider, repeated(9)).id)] })
    const guest = new Guest(9, key.key, NONCE)
    const [B] = lone.receive(viaRadio(guest.A))
    const { C, session } = guest.confirm(B!.bytes)
    expect(frames(lone.receive(viaRadio(C)), session).length).toBeGreaterThan(0)
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toMatchObject([{ state: 'connected' }])
    // The radio takes one datagram, and the next when it says so.
    expect(lone.receive(viaRadio(session.seal(ping)))).toEqual([])
    lone.endpoint.handleLink(lone.now, BLE, 'writable')
    expect(frames(lone.drain(), session)).toContainEqual(expect.objectContaining({ type: 0x02 }))
    // C once more is nobody's.
    expect(lone.receive(viaRadio(C))).toEqual([])
    expect(lone.counters['drop_unknown_index']).toBe(1)
    expect(lone.endpoint.linkUse(BLE)).toBe('active')
  })

  it('is settled by C: who is nobody\'s friend hears CLOSE NOT_ADMITTED, and nothing is kept', () => {
    const { lone, key } = setUp()
    const guest = new Guest(9, key.key, NONCE)
    const [B] = lone.receive(viaRadio(guest.A))
    const { C, session } = guest.confirm(B!.bytes)
    expect(frames(lone.receive(viaRadio(C)), session)).toMatchObject([{ type: 0x3f, fields: [7, 0] }])
    expect(lone.endpoint.tables()).toMatchObject({ xx: 0, indexes: 0, peers: 0, sessions: 0 })
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toEqual([])
  })

  it('a pair that does not live here: CLOSE REPLACED', () => {
    const { lone, key } = setUp({ peers: [peerRecord(new Identity(provider, repeated(9)).id)] })
    const guest = new Guest(9, key.key, NONCE)
    const [B] = lone.receive(viaRadio(guest.A))
    const { C, session } = guest.confirm(B!.bytes, { sidPeer: repeated(0x77, 8) })
    expect(frames(lone.receive(viaRadio(C)), session)).toMatchObject([{ type: 0x3f, fields: [10, 0] }])
    expect(lone.counters['xx_replaced']).toBe(1)
    expect(lone.endpoint.tables()).toMatchObject({ xx: 0, indexes: 0, sessions: 0 })
  })

  it('a C that is stale, from another source, or of another handshake begins nothing', () => {
    const friend = new Identity(provider, repeated(9))
    const { lone, key } = setUp({ config: { acceptXx: 'all' }, peers: [peerRecord(friend.id, { greatest: stampOf(toWallTime(1_780_000_000_000)) })] })
    const stale = new Guest(9, key.key)
    const { C } = stale.confirm(lone.receive(viaUdp(stale.A))[0]!.bytes)
    lone.receive({ from: address('192.0.2.8'), bytes: C })
    expect(lone.counters['drop_unknown_index']).toBe(1)
    lone.receive({ from: FROM, bytes: C, link: UDP })
    expect(lone.counters['drop_stale_handshake']).toBe(1)
    const other = new Guest(9, key.key)
    const [B] = lone.receive(viaUdp(other.A))
    const spliced = C.slice()
    new DataView(spliced.buffer).setUint32(8, readU32(B!.bytes, 4), true)
    lone.receive(viaUdp(spliced))
    expect(lone.counters['drop_mac1']).toBe(1)
    expect(lone.endpoint.tables()).toMatchObject({ sessions: 0, xx: 1 })
    const { C: good } = other.confirm(B!.bytes, { tai64n: stampOf(toWallTime(1_790_000_000_000)) })
    lone.receive(viaUdp(good))
    expect(lone.endpoint.tables()).toMatchObject({ sessions: 1, xx: 0 })
  })

  it('takes any bytes where B and C are expected', () => {
    const { lone, key } = setUp({ config: { acceptXx: 'all' } })
    const guest = new Guest(9, key.key)
    const [B] = lone.receive(viaUdp(guest.A))
    for (let length = 100; length <= 400; length += 13) {
      const bytes = provider.random(new Uint8Array(length))
      bytes.set([0x60, 1, 2, 2])
      bytes.set(B!.bytes.subarray(4, 8), 8)
      expect(lone.receive(viaUdp(bytes))).toEqual([])
    }
    const { C } = guest.confirm(B!.bytes)
    expect(lone.receive(viaUdp(C))).toHaveLength(1)
  })
})
