/**
 * What an attacker on the path can do to a handshake (WIRE.md §9): flip, edit, splice, reflect, forge. Real cryptography. Every
 * datagram is accepted or counted under exactly one reason, and nothing bad is answered, remembered or thrown.
 */
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js'
import { describe, expect, it } from 'vitest'
import { concat, readU32, writeU32 } from '../../../src/core/base/bytes.ts'
import { NodeCryptoProvider } from '../../../src/platform/node-crypto-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { ping } from '../../support/hand-frames.ts'
import { cut, HandPeer, mac, type HandInitiation } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, UDP, type Sent } from '../../support/lone-endpoint.ts'

const PEER = address('192.0.2.7')
const COSTS = { x25519: 1, x25519Generate: 1, x25519Import: 1, hash: 0.01, validateId: 1 }
const provider = new NodeCryptoProvider({ costs: COSTS })
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

function setUp(change: Partial<ConstructorParameters<typeof LoneEndpoint>[0]> = {}): { lone: LoneEndpoint; peer: HandPeer } {
  const peer = new HandPeer(provider, 9)
  return { lone: new LoneEndpoint({ provider: new NodeCryptoProvider({ costs: COSTS }), seed: repeated(1), peers: [peerRecord(peer.id)], ...change }), peer }
}

/** Hands a datagram in; it must be dropped, counted once, unanswered. Returns the reason. */
function expectDropped(lone: LoneEndpoint, bytes: Uint8Array, from: Uint8Array = PEER, link = UDP): string {
  const before = lone.counters
  const sent = lone.receive({ from, bytes, link })
  const changed = Object.entries(lone.counters).filter(([name, value]) => name.startsWith('drop_') && value !== before[name])
  if (sent.length > 0 || changed.length !== 1 || changed[0]![1] !== before[changed[0]![0]]! + 1) throw new Error(`sent ${sent.length}, counted ${JSON.stringify(changed)}, datagram ${Buffer.from(bytes).toString('hex')}`)
  return changed[0]![0]
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice()
  copy[bit >> 3]! ^= 1 << (bit & 7)
  return copy
}

function tally(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}

/** mac1 of a fragment of A made right again after an edit. */
function withMac1(bytes: Uint8Array, responderId: Uint8Array): Uint8Array {
  const head = bytes.subarray(0, bytes.length - 32)
  return concat(head, mac(provider, provider.sha256(ascii('postern mac1'), provider.idToX25519(responderId)), head), new Uint8Array(16))
}

const bits = (from: number, to: number): number[] => Array.from({ length: 8 * (to - from) }, (_, i) => 8 * from + i)
const isB = ({ bytes }: Sent): boolean => bytes[0] === 0x60

function dialed(lone: LoneEndpoint, peer: HandPeer): Uint8Array {
  lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [PEER], now: true }))
  return lone.advance(0)[0]!.bytes
}

describe('each bit flipped', () => {
  it('of A: dropped, but for mac2 which nobody asked for', () => {
    const { lone, peer } = setUp()
    const a = peer.dial(lone.endpoint.id).datagram()
    const reasons = bits(0, 324).map((bit) => expectDropped(lone, flipped(a, bit)))
    expect(tally(reasons)).toMatchObject({ drop_mac1: expect.any(Number) as number, drop_version: 8 })
    expect([lone.endpoint.tables()['halfOpen'], lone.endpoint.tables()['reassembly'], lone.events]).toEqual([0, 0, []])
    expect(lone.receive({ from: PEER, bytes: flipped(a, 8 * 330) }).some(isB)).toBe(true)
  })

  it('of A with mac1 (and digest) made right again: suite, part, indexes, digest, every byte of the body', () => {
    const { lone, peer } = setUp({ config: { handshakeShare: 1 } })
    const initiation = peer.dial(lone.endpoint.id)
    const a = initiation.datagram()
    const parts = [8 * 3 + 4, 8 * 3 + 5]
    const header = bits(2, 20).filter((bit) => !parts.includes(bit)).map((bit) => expectDropped(lone, withMac1(flipped(a, bit), lone.endpoint.id)))
    // Two bits of `part` make it the first of several fragments: those wait for the others, 5 s.
    for (const bit of parts) expect(lone.receive({ from: PEER, bytes: withMac1(flipped(a, bit), lone.endpoint.id) })).toEqual([])
    expect(lone.endpoint.tables()['reassembly']).toBe(2)
    lone.advance(5_000_000)
    expect(lone.endpoint.tables()['reassembly']).toBe(0)
    expect(tally(header)).toMatchObject({ drop_suite: expect.any(Number) as number, drop_handshake_payload: 32, drop_malformed_handshake: expect.any(Number) as number })
    const body = bits(0, 288).filter((bit) => bit % 5 === 0).map((bit) => {
      lone.advance(6000)
      const message = flipped(initiation.message, bit)
      return expectDropped(lone, cut(provider, message, 0, { senderIndex: initiation.index, receiverIndex: 0 }, provider.idToX25519(lone.endpoint.id))[0]!)
    })
    // Another ephemeral gives another static, which nobody knows; all else fails its tag.
    expect(Object.keys(tally(body)).sort()).toEqual(['drop_handshake_noise'])
    expect([lone.endpoint.tables()['halfOpen'], lone.endpoint.tables()['digests'], lone.events]).toEqual([0, 0, []])
    expect(lone.receive({ from: PEER, bytes: a }).some(isB)).toBe(true)
  })

  it('of B, as it is and with mac1 and digest made right by somebody who saw A: the true one is still good', () => {
    const { lone, peer } = setUp()
    const a = dialed(lone, peer)
    const { datagram, session } = peer.answer(a)
    const plain = bits(1, 276).map((bit) => expectDropped(lone, flipped(datagram, bit)))
    expect(Object.keys(tally(plain)).sort()).toEqual(['drop_mac1', 'drop_malformed_handshake', 'drop_unknown_index', 'drop_version'])
    // h after A is public to whoever knows our peer's id: so is the key of mac1.
    const key = mac1KeyOf(a, peer)
    const message = datagram.slice(20, 260)
    for (const bit of bits(0, 240).filter((each) => each % 3 === 0)) {
      const forged = flipped(message, bit)
      const head = concat(datagram.subarray(0, 12), provider.sha256(forged).subarray(0, 8), forged)
      expect(expectDropped(lone, concat(head, mac(provider, key, head)))).toBe('drop_handshake_noise')
    }
    const [first] = lone.receive({ from: PEER, bytes: datagram })
    expect(session.open(first!.bytes)?.frames.length).toBeGreaterThan(0)
  })

  it('of the confirming datagram and of any other: dropped, and the session is as it was', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id)
    const b = lone.receive({ from: PEER, bytes: initiation.datagram() }).find(isB)!
    const session = initiation.finish(b.bytes)
    const confirm = session.seal(ping)
    const reasons = bits(1, confirm.length).map((bit) => expectDropped(lone, flipped(confirm, bit)))
    expect(tally(reasons)).toEqual({ drop_unknown_index: 32, drop_replay: 16, drop_authentication: 8 * (confirm.length - 5) - 16 })
    expect(lone.events).toEqual([])
    expect(lone.receive({ from: PEER, bytes: confirm }).length).toBeGreaterThan(0)
    const next = session.seal(ping)
    for (const bit of bits(1, next.length)) expectDropped(lone, flipped(next, bit))
    expect(lone.receive({ from: PEER, bytes: next }).length).toBeGreaterThan(0)
  })
})

/** Key of mac1 of B from public bytes alone: the transcript of A. */
function mac1KeyOf(a: Uint8Array, peer: HandPeer): Uint8Array {
  const name = new Uint8Array(32)
  name.set(ascii('Noise_IK_25519_ChaChaPoly_SHA256'))
  const prologue = concat(ascii('Postern'), Uint8Array.of(1, 1, 0), peer.id, new Uint8Array(32))
  let h = provider.sha256(name, prologue)
  for (const part of [provider.idToX25519(peer.id), a.subarray(20, 52), a.subarray(52, 100), a.subarray(100, 308)]) h = provider.sha256(h, part)
  return provider.sha256(ascii('postern mac1'), h)
}

describe('prologue and splices', () => {
  it('another version, suite or mode in the prologue is another handshake', () => {
    const { lone, peer } = setUp()
    for (const prologue of [{ version: 2 }, { suite: 3 }, { mode: 1 }]) expect(expectDropped(lone, peer.dial(lone.endpoint.id, { prologue }).datagram())).toBe('drop_handshake_noise')
    expect(expectDropped(lone, peer.dial(lone.endpoint.id).datagram({ version: 2 }))).toBe('drop_version')
    expect(expectDropped(lone, peer.dial(lone.endpoint.id).datagram({ suite: 2 }))).toBe('drop_suite')
    expect(expectDropped(lone, peer.dial(lone.endpoint.id).datagram({ suite: 9 }))).toBe('drop_suite')
  })

  it('an A for somebody else is not ours, whatever mac1 says', () => {
    const { lone, peer } = setUp()
    const other = new HandPeer(provider, 22)
    const misled = peer.dial(other.id)
    expect(expectDropped(lone, misled.datagram())).toBe('drop_mac1')
    expect(expectDropped(lone, cut(provider, misled.message, 0, { senderIndex: 5, receiverIndex: 0 }, provider.idToX25519(lone.endpoint.id))[0]!)).toBe('drop_handshake_noise')
  })

  it('B of one handshake is no answer to another', () => {
    const { lone, peer } = setUp()
    const a = dialed(lone, peer)
    const { datagram } = peer.answer(a)
    const moved = datagram.slice()
    const again = ((): Uint8Array => {
      for (;;) {
        const fresh = lone.advance(1_000_000).find(({ bytes }) => readU32(bytes, 4) !== readU32(a, 4))
        if (fresh !== undefined) return fresh.bytes
      }
    })()
    writeU32(moved, 8, readU32(again, 4))
    expect([expectDropped(lone, datagram), expectDropped(lone, moved)]).toEqual(['drop_unknown_index', 'drop_mac1'])
  })

  it('a payload that contradicts its header or its own rules is refused', () => {
    const edits: ((payload: Uint8Array) => void)[] = [
      (p) => { p[0] = 2 }, (p) => { p[1] = 1 }, (p) => { p[8]! ^= 1 }, (p) => { p[12] = 1 }, (p) => { p.fill(0, 16, 24) }, (p) => { p[60] = 1 },
      (p) => { p[191] = 1 }, (p) => { p[97] = 200 }, (p) => { p.set([1, 2, 0, 3, 1, 1, 2, 0, 3, 1], 150) }, (p) => { p.set([1, 3, 0, 2, 0x40, 1], 96) },
    ]
    for (const edit of edits) {
      const { lone, peer } = setUp()
      const initiation = peer.dial(lone.endpoint.id, { edit: (payload) => { edit(payload); return payload } })
      expect(expectDropped(lone, initiation.datagram())).toBe('drop_handshake_payload')
    }
    for (const size of [256, 320, 448, 512]) {
      const { lone, peer } = setUp()
      const padded = (payload: Uint8Array): Uint8Array => concat(payload, new Uint8Array(size - payload.length))
      expect(lone.receive({ from: PEER, bytes: peer.dial(lone.endpoint.id, { edit: padded }).datagram() }).some(isB)).toBe(true)
    }
    for (const size of [128, 208, 576]) {
      const { lone, peer } = setUp()
      const resized = (payload: Uint8Array): Uint8Array => concat(payload, new Uint8Array(576)).slice(0, size)
      expect(expectDropped(lone, peer.dial(lone.endpoint.id, { edit: resized }).datagram())).toBe('drop_malformed_handshake')
    }
  })
})

describe('ids', () => {
  const torsion = ed25519.Point.fromHex(ED25519_TORSION_SUBGROUP[3]!)

  it('A + T, −A, a non-canonical y and somebody else’s id are not the id of this static', () => {
    const { peer } = setUp()
    const point = ed25519.Point.fromBytes(peer.id)
    const ids = { torsion: point.add(torsion).toBytes(), negative: point.negate().toBytes(), highY: repeated(0xff, 32), other: new HandPeer(provider, 44).id, small: ed25519.Point.fromHex(ED25519_TORSION_SUBGROUP[1]!).toBytes() }
    for (const [what, id] of Object.entries(ids)) {
      const { lone } = setUp()
      expect([what, expectDropped(lone, peer.dial(lone.endpoint.id, { id }).datagram())]).toEqual([what, 'drop_not_admitted'])
      // Where strangers are welcome, −A is an alias of oneself; the others are nobody.
      const { lone: open } = setUp({ config: { admitStrangers: true } })
      if (what === 'negative') {
        expect(open.receive({ from: PEER, bytes: peer.dial(open.endpoint.id, { id }).datagram() }).some(isB)).toBe(true)
      } else {
        expect([what, expectDropped(open, peer.dial(open.endpoint.id, { id }).datagram())]).toEqual([what, 'drop_handshake_payload'])
      }
      expect([open.endpoint.tables()['peers'], lone.endpoint.tables()['halfOpen']]).toEqual([1, 0])
    }
  })

  it('an alias that comes and goes does not unseat the peer with the same static', () => {
    const { lone, peer } = setUp({ config: { admitStrangers: true } })
    const alias = ed25519.Point.fromBytes(peer.id).negate().toBytes()
    const handle = lone.act((endpoint, now) => endpoint.connect(now, alias, { addresses: [], now: true }))
    expect([handle === undefined, lone.endpoint.tables()['peers']]).toEqual([false, 1])
    expect(lone.receive({ from: PEER, bytes: peer.dial(lone.endpoint.id).datagram() }).some(isB)).toBe(true)
    const { lone: strict } = setUp()
    strict.act((endpoint, now) => endpoint.connect(now, alias, { addresses: [], now: true }))
    expect(strict.receive({ from: PEER, bytes: peer.dial(strict.endpoint.id).datagram() }).some(isB)).toBe(true)
  })

  it('invalid ids are not dialed or put into the roster', () => {
    const { lone, peer } = setUp()
    for (const id of [ed25519.Point.fromBytes(peer.id).add(torsion).toBytes(), repeated(0xff, 32), new Uint8Array(32), lone.endpoint.id, ed25519.Point.fromBytes(lone.endpoint.id).negate().toBytes()]) {
      expect(lone.act((endpoint, now) => endpoint.connect(now, id, { addresses: [PEER], now: true }))).toBeUndefined()
      expect(lone.act((endpoint, now) => endpoint.addPeer(now, id, { name: undefined, addresses: [], invite: undefined }))).toBeUndefined()
    }
    expect([lone.endpoint.tables()['peers'], lone.events]).toEqual([1, []])
  })
})

describe('reflection', () => {
  it('a node that gets its own datagrams back drops them, as initiator and as responder', () => {
    const { lone, peer } = setUp()
    const a = dialed(lone, peer)
    expect(expectDropped(lone, a)).toBe('drop_mac1')
    const { datagram, session } = peer.answer(a)
    for (const { bytes } of lone.receive({ from: PEER, bytes: datagram })) expect(expectDropped(lone, bytes)).toBe('drop_unknown_index')
    for (const { bytes } of lone.receive({ from: PEER, bytes: session.seal(ping) })) expect(expectDropped(lone, bytes)).toBe('drop_unknown_index')

    const { lone: responder } = setUp()
    const initiation: HandInitiation = peer.dial(responder.endpoint.id)
    const sent = responder.receive({ from: PEER, bytes: initiation.datagram() })
    for (const { bytes } of sent) expect(expectDropped(responder, bytes)).toBe('drop_unknown_index')
    for (const { bytes } of responder.receive({ from: PEER, bytes: initiation.finish(sent[0]!.bytes).seal(ping) })) expect(expectDropped(responder, bytes)).toBe('drop_unknown_index')
  })

  it('sealed with the key of the other direction it is not authentic, also under our own index', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id)
    const b = lone.receive({ from: PEER, bytes: initiation.datagram() }).find(isB)!
    const session = initiation.finish(b.bytes)
    const sent = lone.receive({ from: PEER, bytes: session.seal(ping) }).filter(({ bytes }) => bytes[0] === 0x62)
    for (const { bytes } of sent) {
      const turned = bytes.slice()
      writeU32(turned, 1, session.remoteIndex)
      // Its counter 0 is used up; a later one fails the tag.
      turned[5] = 9
      expect(expectDropped(lone, turned)).toBe('drop_authentication')
    }
  })
})
