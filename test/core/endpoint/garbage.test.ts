/** Datagrams of every other kind: nothing is thrown, answered or kept, and each is counted under exactly one reason. */
import { describe, expect, it } from 'vitest'
import { concat, readU32, writeU32, writeU64 } from '../../../src/core/base/bytes.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { close, message, open, ping } from '../../support/hand-frames.ts'
import { HandPeer, type HandSession } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, UDP } from '../../support/lone-endpoint.ts'
import { WatchedProvider } from '../../support/sim-world.ts'

const PEER = address('192.0.2.7')

interface Scene { readonly lone: LoneEndpoint; readonly provider: WatchedProvider; readonly peer: HandPeer; readonly random: SeededRandom }

function setUp(seed = 1): Scene {
  const random = new SeededRandom(seed)
  const provider = new WatchedProvider(random.fork())
  const peer = new HandPeer(new SimProvider(random.fork()), 9)
  return { lone: new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)] }), provider, peer, random }
}

function join({ lone, peer }: Scene): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
  const [b] = lone.receive({ from: PEER, bytes: initiation.datagram() })
  const session = initiation.finish(b!.bytes)
  lone.receive({ from: PEER, bytes: session.seal(ping) })
  return session
}

/** The one reason under which a datagram was dropped. */
function reasonOf(lone: LoneEndpoint, bytes: Uint8Array, link: LinkId = UDP, from = PEER): string {
  const before = lone.counters
  const sent = lone.receive({ from, bytes, link })
  const changed = Object.entries(lone.counters).filter(([name, value]) => name.startsWith('drop_') && value !== before[name])
  if (sent.length > 0 || changed.length !== 1 || changed[0]![1] !== before[changed[0]![0]]! + 1) throw new Error(`sent ${sent.length}, counted ${JSON.stringify(changed)}, datagram ${Buffer.from(bytes.subarray(0, 60)).toString('hex')}`)
  return changed[0]![0]
}

function sized(first: readonly number[], size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes.set(first)
  return bytes
}

describe('every first byte and size', () => {
  it('is sorted by the table of WIRE.md §1', () => {
    const { lone } = setUp()
    const stun = [0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42]
    expect([
      new Uint8Array(0), sized([0x60, 1], 99), sized([0x60, 1], 1201), sized([0x61, 1], 55), sized([0x61, 1], 57), sized([0x62], 44), sized([0x63, 1], 23), sized([0x64, 1], 29), sized([0], 19), sized([0x40], 3),
    ].map((bytes) => reasonOf(lone, bytes))).toEqual(new Array<string>(10).fill('drop_bad_size'))
    expect([sized([0x60, 2], 340), sized([0x61, 0], 56), sized([0x63, 2], 24), sized([0x64, 7], 28)].map((bytes) => reasonOf(lone, bytes))).toEqual(new Array<string>(4).fill('drop_version'))
    expect([sized([0x63, 1], 24), sized([0x64, 1], 28), sized(stun, 28), sized([0x40, 0, 0, 4], 8)].map((bytes) => reasonOf(lone, bytes))).toEqual(['drop_reset', 'drop_hint', 'drop_stun', 'drop_turn'])
    expect([sized(stun, 29), sized([0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x43], 28), sized([0x4f, 0, 0, 9], 8)].map((bytes) => reasonOf(lone, bytes))).toEqual(new Array<string>(3).fill('drop_unknown_type'))
    for (let first = 0; first < 256; first++) {
      if (first <= 3 || (first >= 0x40 && first <= 0x4f) || (first >= 0x60 && first <= 0x65)) continue
      for (const size of [1, 20, 100, 1500]) expect(reasonOf(lone, sized([first], size))).toBe('drop_unknown_type')
    }
    expect([lone.endpoint.tables()['indexes'], lone.events]).toEqual([0, []])
  })

  it('from a link that is not open', () => {
    const { lone } = setUp()
    const session = join({ ...setUp(), lone, peer: new HandPeer(new SimProvider(new SeededRandom(3)), 9) })
    for (const bytes of [sized([0x60, 1], 340), sized([0x61, 1], 56), sized([0xff], 5)]) expect(reasonOf(lone, bytes, 55 as LinkId)).toBe('drop_link_unknown')
    // Authentic, but there is no path to it: it comes again over one that is open.
    expect(reasonOf(lone, session.seal(ping), 55 as LinkId)).toBe('drop_link_unknown')
  })
})

describe('random, truncated and mutated datagrams', () => {
  it('120,000 of them do nothing at all', () => {
    const scene = setUp(2)
    const { lone, peer, random, provider } = scene
    const session = join(scene)
    lone.receive({ from: PEER, bytes: session.seal(concat(Uint8Array.from(open(lower(peer, lone) ? 0 : 1)), Uint8Array.from(ping))) })
    lone.advance(1000)
    const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall + 50 })
    const templates = [initiation.datagram(), ...initiation.datagrams({ count: 3 }), session.seal(ping, 5), session.seal(message(1, 0, [1, 2, 3]), 6), sized([0x61, 1], 56), sized([0x63, 1], 24), sized([0x64, 1], 28)]
    const before = { ...lone.endpoint.tables(), events: lone.events.length, live: provider.live }
    let received = lone.counters['datagrams_received']!
    let dropped = lone.drops
    for (let i = 0; i < 120_000; i++) {
      let bytes: Uint8Array
      if (i % 3 === 0) {
        bytes = random.fill(new Uint8Array(random.below(1400)))
        if (bytes.length > 1 && random.chance(0.5)) bytes.set([0x60 + random.below(5), 1])
      } else {
        const template = templates[random.below(templates.length)]!
        bytes = i % 3 === 1 ? template.slice(0, random.below(template.length)) : template.slice()
        for (let edits = i % 3 === 1 ? 0 : 1 + random.below(4); edits > 0; edits--) bytes[random.below(bytes.length)]! ^= 1 + random.below(255)
        // Edits that fall on the cookie, which nobody asked for, change nothing.
        if (i % 3 === 2 && bytes[0] === 0x60 && template.subarray(0, -16).every((byte, at) => bytes[at] === byte)) bytes[3]! ^= 0x80
      }
      const sent = lone.receive({ from: PEER, bytes })
      if (sent.some((datagram) => datagram.bytes.length > bytes.length)) throw new Error('amplified')
      received++
      dropped++
      if (lone.drops !== dropped || lone.counters['datagrams_received'] !== received) throw new Error(`${i}: received ${received}, dropped ${dropped}, counted ${lone.drops}, datagram ${Buffer.from(bytes).toString('hex')}`)
    }
    expect({ ...lone.endpoint.tables(), events: lone.events.length, live: provider.live }).toEqual(before)
    expect(lone.receive({ from: PEER, bytes: session.seal(ping, 7) }).length).toBeGreaterThan(0)
  })

  it('of 64,000 bytes, and many in one batch', () => {
    const { lone, random } = setUp(3)
    for (let i = 0; i < 50; i++) {
      const batch = Array.from({ length: 4 }, () => ({ from: PEER, bytes: concat(Uint8Array.of(0x62), random.fill(new Uint8Array(64_000))) }))
      expect(lone.receive(...batch)).toEqual([])
    }
    expect(lone.counters['drop_unknown_index']).toBe(200)
  })
})

describe('the replay window', () => {
  it('takes each counter once, in any order within 8192, and nothing older or beyond 2^48', () => {
    const scene = setUp(4)
    const { lone } = scene
    const session = join(scene)
    const accept = (counter: number): boolean => {
      const before = lone.drops
      lone.receive({ from: PEER, bytes: session.seal(ping, counter) })
      return lone.drops === before
    }
    expect([accept(20_000), accept(20_000), accept(20_000 - 8191), accept(20_000 - 8192), accept(20_000 - 8191)]).toEqual([true, false, true, false, false])
    expect([accept(2 ** 48 - 1), accept(2 ** 48), accept(20_001)]).toEqual([true, false, false])
    expect(lone.counters['drop_replay']).toBe(5)
    // Counters that no double can tell apart: refused before the open.
    for (const counter of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const bytes = session.seal(ping, 1)
      new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(5, counter, true)
      expect(reasonOf(lone, bytes)).toBe('drop_replay')
    }
  })

  it('is not moved by what does not authenticate', () => {
    const scene = setUp(5)
    const { lone } = scene
    const session = join(scene)
    const forged = session.seal(ping, 3)
    writeU64(forged, 5, 2 ** 40)
    expect([reasonOf(lone, forged), lone.receive({ from: PEER, bytes: session.seal(ping, 3) }).length > 0]).toEqual(['drop_authentication', true])
  })

  it('a datagram of 2^64 − 1 sealed by a valid key is no counter −1', () => {
    const scene = setUp(6)
    const session = join(scene)
    const bytes = session.seal(ping, -1)
    bytes.fill(0xff, 5, 13)
    expect(reasonOf(scene.lone, bytes)).toBe('drop_replay')
  })
})

describe('indexes', () => {
  it('an unknown, pending or half-open one is not answered, a buried one with a RESET of half the size', () => {
    const scene = setUp(7)
    const { lone, peer } = scene
    const other = address('192.0.2.9')
    const session = join(scene)
    const unknown = session.seal(ping)
    writeU32(unknown, 1, session.remoteIndex ^ 1)
    expect(reasonOf(lone, unknown)).toBe('drop_unknown_index')
    const half = peer.dial(lone.endpoint.id, { wall: lone.wall + 100 })
    const b = lone.receive({ from: other, bytes: half.datagram() }).find(({ bytes }) => bytes[0] === 0x60)!
    const confirm = half.finish(b.bytes).seal(ping)
    confirm[20]! ^= 1
    expect(reasonOf(lone, confirm)).toBe('drop_authentication')
    lone.receive({ from: PEER, bytes: session.seal(close(0)) })
    const reset = lone.receive({ from: PEER, bytes: session.seal(ping) })
    expect([reset.map(({ bytes }) => [bytes[0], bytes.length, readU32(bytes, 4)]), lone.endpoint.tables()['sessions']]).toEqual([[[0x63, 24, session.remoteIndex]], 0])
    expect(reasonOf(lone, session.seal(ping))).toBe('drop_unknown_index')
    lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [other], now: true }))
    const [a] = lone.advance(0)
    const pending = session.seal(ping)
    pending.set(a!.bytes.subarray(4, 8), 1)
    expect(reasonOf(lone, pending)).toBe('drop_no_keys')
  })

  it('datagrams behind a CLOSE in one batch find no keys, however many they are', () => {
    for (const at of [0, 100, 254, 255]) {
      const scene = setUp(8)
      const { lone, provider } = scene
      const session = join(scene)
      const batch = Array.from({ length: 256 }, (_, i) => ({ from: PEER, bytes: session.seal(i === at ? close(0) : ping) }))
      const drops = lone.drops
      lone.receive(...batch)
      expect([lone.drops - drops, provider.live, lone.endpoint.tables()['sessions']]).toEqual([255 - at, 0, 0])
    }
  })

  it('a segment of 300 datagrams whose middle ends the session opens nothing under freed keys', () => {
    const scene = setUp(9)
    const { lone } = scene
    const session = join(scene)
    // More than the reader opens at once: what the first part did must be known to the second.
    const batches = [0, 1].map((half) => Array.from({ length: 150 }, (_, i) => session.seal(half === 0 && i === 149 ? close(0) : ping)))
    const whole = concat(...batches.flat())
    expect(whole.length).toBe(300 * 45)
    lone.receiveSegments(PEER, whole, 45)
    expect([lone.counters['drop_unknown_index']! + lone.counters['drop_wiped']!, lone.endpoint.tables()['sessions']]).toEqual([150, 0])
  })
})

function lower(peer: HandPeer, lone: LoneEndpoint): boolean {
  return Buffer.compare(peer.id, lone.endpoint.id) < 0
}
