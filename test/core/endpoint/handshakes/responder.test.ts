/** The responder's side (WIRE.md §3.5, §3.7, §3.8): copies, replays, stamps, and that nothing in A is acted on before confirmation. */
import { describe, expect, it } from 'vitest'
import { readU32 } from '../../../../src/core/base/bytes.ts'
import { toWallTime } from '../../../../src/core/base/time.ts'
import type { X25519KeyPair } from '../../../../src/core/crypto/provider.ts'
import { Identity } from '../../../../src/core/session/identity.ts'
import { stampOf } from '../../../../src/core/session/tai64n.ts'
import { NodeCryptoProvider } from '../../../../src/platform/node-crypto-provider.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { SimProvider } from '../../../../src/sim/sim-provider.ts'
import { repeated } from '../../../support/bytes.ts'
import { ping } from '../../../support/hand-frames.ts'
import { HandPeer, type HandSession } from '../../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type LoneOptions, type Sent } from '../../../support/lone-endpoint.ts'

const PEER = address('192.0.2.7')
const SECOND = 1_000_000

class CountingProvider extends SimProvider {
  exchanges = 0

  override x25519(...keys: Parameters<SimProvider['x25519']>): Uint8Array | undefined {
    this.exchanges++
    return super.x25519(...keys)
  }
}

function setUp(change: Partial<LoneOptions> = {}): { lone: LoneEndpoint; peer: HandPeer; provider: CountingProvider } {
  const provider = new CountingProvider(new SeededRandom(1))
  const peer = new HandPeer(new SimProvider(new SeededRandom(2)), 9)
  return { lone: new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)], ...change }), peer, provider }
}

const isB = ({ bytes }: Sent): boolean => bytes[0] === 0x60 && (bytes[3]! & 3) === 1

/** A whole handshake by hand; the session is confirmed. */
function join(lone: LoneEndpoint, peer: HandPeer, options: Parameters<HandPeer['dial']>[1] = {}, from = PEER): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall, ...options })
  const [b] = lone.receive({ from, bytes: initiation.datagram() })
  const session = initiation.finish(b!.bytes)
  lone.receive({ from, bytes: session.seal(ping) })
  return session
}

/** The last value written for the peer. */
function stored(lone: LoneEndpoint): ReturnType<typeof peerRecord> | undefined {
  const values = lone.events.flatMap((event) => event.kind === 'persist' && event.value?.kind === 'peer' ? [event.value.record] : [])
  return values.at(-1)
}

describe('copies of one A', () => {
  it('are answered with the same B from memory, at most 4 times per source and 64 times in all, without a DH', () => {
    const { lone, peer, provider } = setUp()
    const bytes = peer.dial(lone.endpoint.id).datagram()
    const [b] = lone.receive({ from: PEER, bytes })
    const exchanges = provider.exchanges
    for (let copy = 2; copy <= 6; copy++) {
      const before = lone.drops
      const answers = lone.receive({ from: PEER, bytes })
      expect(answers).toEqual(copy <= 4 ? [b] : [])
      expect(lone.drops - before).toBe(copy <= 4 ? 0 : 1)
    }
    let answered = 4
    for (let host = 1; host <= 40; host++) {
      const from = address(`198.51.100.${host}`)
      for (let copy = 0; copy < 2; copy++) {
        for (const answer of lone.receive({ from, bytes })) {
          answered++
          expect([answer.to, answer.bytes]).toEqual([from, b!.bytes])
        }
      }
    }
    expect([answered, provider.exchanges - exchanges, lone.endpoint.tables()['halfOpen']]).toEqual([64, 0, 1])
    expect(lone.counters['drop_replayed_handshake']).toBe(2 + 80 - 60)
  })

  it('that differ in suite, sender index or count are dropped, also with a right mac1', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id)
    lone.receive({ from: PEER, bytes: initiation.datagram() })
    const other = [initiation.datagram({ senderIndex: 77 }), ...initiation.datagrams({ count: 2 }), ...initiation.datagrams({ count: 3 })]
    for (const bytes of other) {
      const before = lone.counters['drop_replayed_handshake']!
      expect([lone.receive({ from: PEER, bytes }), lone.counters['drop_replayed_handshake']! - before]).toEqual([[], 1])
    }
  })

  it('are dropped after the confirmation, and after the 10 s of a half-open handshake', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id)
    const [b] = lone.receive({ from: PEER, bytes: initiation.datagram() })
    const session = initiation.finish(b!.bytes)
    lone.advance(10 * SECOND - 1)
    expect(lone.endpoint.tables()['halfOpen']).toBe(1)
    lone.advance(1)
    expect([lone.endpoint.tables()['halfOpen'], lone.endpoint.tables()['indexes']]).toEqual([0, 0])
    expect(lone.receive({ from: PEER, bytes: initiation.datagram() })).toEqual([])
    expect(lone.receive({ from: PEER, bytes: session.seal(ping) })).toEqual([])
    expect([lone.counters['drop_replayed_handshake'], lone.counters['drop_unknown_index'], lone.events]).toEqual([1, 1, []])
  })
})

describe('replays', () => {
  it('of a confirmed A are refused by the digest, and after a restart by the stored stamp', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
    const [b] = lone.receive({ from: PEER, bytes: initiation.datagram() })
    lone.receive({ from: PEER, bytes: initiation.finish(b!.bytes).seal(ping) })
    expect(stored(lone)!.greatest).toEqual(initiation.stamp)
    lone.receive({ from: PEER, bytes: initiation.datagram() })
    expect(lone.counters['drop_replayed_handshake']).toBe(1)

    const { lone: restarted, provider } = setUp({ peers: [stored(lone)!] })
    expect(restarted.receive({ from: PEER, bytes: initiation.datagram() })).toEqual([])
    expect(restarted.counters['drop_stale_handshake']).toBe(1)
    const exchanges = provider.exchanges
    expect(restarted.receive({ from: PEER, bytes: initiation.datagram() })).toEqual([])
    expect([restarted.counters['drop_replayed_handshake'], provider.exchanges - exchanges]).toEqual([1, 0])
    // The next one of the same peer comes in.
    expect(restarted.receive({ from: PEER, bytes: peer.dial(lone.endpoint.id, { wall: lone.wall + 100 }).datagram() }).some(isB)).toBe(true)
  })

  it('of an older A of the same peer, never confirmed, are refused once a later one was', () => {
    const { lone, peer } = setUp()
    const old = peer.dial(lone.endpoint.id, { wall: lone.wall - 5000 })
    join(lone, peer)
    expect(lone.receive({ from: PEER, bytes: old.datagram() })).toEqual([])
    const equal = peer.dial(lone.endpoint.id, { stamp: stored(lone)!.greatest! })
    expect(lone.receive({ from: PEER, bytes: equal.datagram() })).toEqual([])
    expect(lone.counters['drop_stale_handshake']).toBe(2)
  })

  it('after a crash before the stamp was written cost one half-open handshake and nothing else', () => {
    const { lone, peer } = setUp()
    const initiation = peer.dial(lone.endpoint.id)
    lone.receive({ from: PEER, bytes: initiation.datagram() })
    const { lone: restarted } = setUp()
    expect(restarted.receive({ from: PEER, bytes: initiation.datagram() }).filter(isB)).toHaveLength(1)
    restarted.advance(11 * SECOND)
    expect([restarted.events, restarted.endpoint.tables()['halfOpen'], restarted.endpoint.tables()['sessions']]).toEqual([[], 0, 0])
  })

  it('a late confirmation cannot bring back a session that a newer one replaced', () => {
    const { lone, peer } = setUp()
    const first = peer.dial(lone.endpoint.id, { wall: lone.wall })
    const [b] = lone.receive({ from: PEER, bytes: first.datagram() })
    const late = first.finish(b!.bytes).seal(ping)
    // The peer crashed, came back from another port, and its new session is up.
    const session = join(lone, peer, { wall: lone.wall + 1000 }, address('192.0.2.7', 7001))
    const binding = (): Uint8Array | undefined => lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(peer.id)!))?.binding
    const live = binding()
    lone.receive({ from: PEER, bytes: late })
    expect([binding(), lone.counters['sessions_restarted'], lone.counters['drop_not_admitted']]).toEqual([live, 0, 1])
    expect(lone.receive({ from: address('192.0.2.7', 7001), bytes: session.seal(ping) }).length).toBeGreaterThan(0)
  })
})

describe('before the confirmation', () => {
  it('nothing is stored, told or changed, whatever A says', () => {
    const { lone, peer } = setUp()
    const session = join(lone, peer)
    const before = [lone.events.length, lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(peer.id)!))] as const
    const stranger = address('203.0.113.9')
    for (let i = 1; i <= 6; i++) {
      const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall + i * 1000, limits: { maxData: 4 << 20 } })
      expect(lone.receive({ from: stranger, bytes: initiation.datagram() }).some(isB)).toBe(true)
    }
    lone.advance(1000)
    expect([lone.events.length, lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(peer.id)!))]).toEqual(before)
    expect(lone.receive({ from: PEER, bytes: session.seal(ping) }).length).toBeGreaterThan(0)
  })

  it('a thief of our static can forge A with a stamp of the far future, and locks nobody out', () => {
    const provider = new NodeCryptoProvider()
    const peer = new HandPeer(provider, 9)
    const lone = new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)] })
    const victim = new HandPeer(provider, 1)
    // `ss` is DH(peer's static, ours): who holds our private half computes it from the peer's public one.
    const stolen: X25519KeyPair = { privateKey: { stolen: true } as unknown as X25519KeyPair['privateKey'], publicKey: peer.identity.staticKeyPair.publicKey }
    const forging = new Proxy(provider, {
      get: (target, name): unknown => name !== 'x25519' ? (Reflect.get(target, name) as ((...args: unknown[]) => unknown) | undefined)?.bind(target)
        : (own: X25519KeyPair['privateKey'], other: never) => target.x25519(own === stolen.privateKey ? victim.identity.staticKeyPair.privateKey : own, own === stolen.privateKey ? target.x25519Import(stolen.publicKey) : other),
    })
    const forger = new HandPeer(forging, 9)
    Object.defineProperty(forger.identity, 'staticKeyPair', { value: stolen })
    const forged = forger.dial(lone.endpoint.id, { stamp: stampOf(toWallTime(9e12)) })
    expect(lone.receive({ from: PEER, bytes: forged.datagram() }).filter(isB)).toHaveLength(1)
    expect([lone.events, lone.endpoint.tables()['halfOpen']]).toEqual([[], 1])
    expect(stored(lone)).toBeUndefined()
    join(lone, peer)
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toMatchObject([{ state: 'connected' }])
    expect(stored(lone)!.greatest).toEqual(stampOf(toWallTime(lone.wall)))
  })

  it('half-open handshakes: one per source, 4 per peer id, and their keys and indexes go with them', () => {
    const { lone, peer } = setUp()
    const indexes: number[] = []
    for (let i = 0; i < 9; i++) {
      const [b] = lone.receive({ from: address('192.0.2.7', 8000 + i), bytes: peer.dial(lone.endpoint.id, { wall: lone.wall + i }).datagram() })
      indexes.push(readU32(b!.bytes, 4))
    }
    expect([lone.endpoint.tables()['halfOpen'], lone.endpoint.tables()['indexes']]).toEqual([4, 4])
    lone.receive({ from: address('192.0.2.7', 8008), bytes: peer.dial(lone.endpoint.id, { wall: lone.wall + 90 }).datagram() })
    expect([lone.endpoint.tables()['halfOpen'], lone.endpoint.tables()['indexes'], new Set(indexes).size]).toEqual([4, 4, 9])
  })
})

describe('who comes in', () => {
  it('strangers get silence, and cost no more than what their static shows', () => {
    const { lone, provider } = setUp()
    const stranger = new HandPeer(new SimProvider(new SeededRandom(3)), 33)
    const before = provider.exchanges
    expect(lone.receive({ from: PEER, bytes: stranger.dial(lone.endpoint.id).datagram() })).toEqual([])
    // `es` only: `ss` would already be a favour.
    expect([provider.exchanges - before, lone.counters['drop_not_admitted'], lone.endpoint.tables()['peers']]).toEqual([1, 1, 1])
  })

  it('who holds a token that is spent or has expired is told so, authentically and once per A; a stranger with a made-up one is not', () => {
    const token = repeated(5, 16)
    const guest = new HandPeer(new SimProvider(new SeededRandom(3)), 33)
    const other = new HandPeer(new SimProvider(new SeededRandom(4)), 34)
    const wall = 1_770_000_000_000
    for (const invite of [{ token, expires: toWallTime(wall + 1e6), name: undefined, spentBy: [other.id], uses: 1 }, { token, expires: toWallTime(wall - 1), name: undefined, spentBy: [], uses: 1 }]) {
      const { lone, provider } = setUp({ invites: [invite] })
      const initiation = guest.dial(lone.endpoint.id, { token, wall })
      const bytes = initiation.datagram()
      const sent = lone.receive({ from: PEER, bytes })
      expect(sent.filter(isB)).toHaveLength(1)
      expect(sent[0]!.bytes.length).toBeLessThanOrEqual(bytes.length)
      const session = initiation.finish(sent[0]!.bytes)
      expect(session.remote.status).toBe(2)
      // Nothing is behind the refusal: no entry, no key, no index, and copies of this A are not answered again.
      expect(lone.receive({ from: PEER, bytes }, { from: PEER, bytes: session.seal(ping) })).toEqual([])
      const tables = lone.endpoint.tables()
      expect([tables['halfOpen'], tables['indexes'], tables['peers'], tables['sessions'], lone.events, lone.counters['refusals_sent']]).toEqual([0, 0, 1, 0, [], 1])
      const exchanges = provider.exchanges
      // One DH: that of both statics is remembered.
      expect(lone.receive({ from: PEER, bytes: guest.dial(lone.endpoint.id, { token: repeated(6, 16), wall }).datagram() })).toEqual([])
      expect([provider.exchanges - exchanges, lone.counters['drop_not_admitted']]).toEqual([1, 1])
    }
  })

  it('a stranger who is welcome, and for whom there is no room, is told that we are busy', () => {
    const { lone } = setUp({ config: { admitStrangers: true } })
    const seeds = new SimProvider(new SeededRandom(5))
    const welcome = new HandPeer(seeds, 33).dial(lone.endpoint.id, { wall: lone.wall })
    const [b] = lone.receive({ from: PEER, bytes: welcome.datagram() })
    expect(welcome.finish(b!.bytes).remote.status).toBe(0)
    let known = 0
    while (lone.act((endpoint, now) => endpoint.node.roster.ensure(new Identity(seeds, seeds.random(new Uint8Array(32))).id, now.wall)) !== undefined) known++
    expect(known).toBe(16_384)
    const initiation = new HandPeer(seeds, 34).dial(lone.endpoint.id, { wall: lone.wall })
    const [refusal] = lone.receive({ from: address('192.0.2.8'), bytes: initiation.datagram() })
    expect(initiation.finish(refusal!.bytes).remote.status).toBe(1)
    expect([lone.endpoint.tables()['peers'], lone.counters['refusals_sent']]).toEqual([16_385, 1])
  })

  it('ourselves never', () => {
    const { lone } = setUp()
    const self = new HandPeer(new SimProvider(new SeededRandom(3)), 1)
    expect(lone.receive({ from: PEER, bytes: self.dial(lone.endpoint.id).datagram() })).toEqual([])
    expect([lone.counters['drop_self'], lone.act((endpoint, now) => endpoint.connect(now, endpoint.id, { addresses: [PEER], now: true }))]).toEqual([1, undefined])
  })

  it('a peer that is being dialed but is in no roster may answer with a dial of its own', () => {
    const { lone } = setUp()
    const other = new HandPeer(new SimProvider(new SeededRandom(3)), 33)
    lone.act((endpoint, now) => endpoint.connect(now, other.id, { addresses: [PEER], now: true }))
    lone.drain()
    lone.receive({ from: PEER, bytes: other.dial(lone.endpoint.id).datagram() })
    expect(lone.counters['drop_not_admitted']).toBe(0)
  })

  it('after the end of a session what was begun beside it cannot bring it back', () => {
    const { lone, peer } = setUp()
    join(lone, peer)
    const beside = peer.dial(lone.endpoint.id, { wall: lone.wall + 1000 })
    const b = lone.receive({ from: address('192.0.2.7', 8001), bytes: beside.datagram() }).find(isB)!
    lone.act((endpoint, now) => { endpoint.disconnect(now, endpoint.findPeer(peer.id)!) })
    lone.advance(10)
    lone.receive({ from: address('192.0.2.7', 8001), bytes: beside.finish(b.bytes).seal(ping) })
    expect([lone.endpoint.tables()['sessions'], lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(peer.id)!)?.state)]).toEqual([1, 'offline'])
  })
})
