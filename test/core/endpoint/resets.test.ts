/** RESET (WIRE.md §3.10): who is told that keys are not known, how often, and that it is a hint and never a kill. */
import { describe, expect, it } from 'vitest'
import { readU32, writeU32 } from '../../../src/core/base/bytes.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { ack, close, message, open, ping } from '../../support/hand-frames.ts'
import { HandPeer, mac, type HandSession } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type LoneOptions, type Sent } from '../../support/lone-endpoint.ts'
import { SECOND, SimWorld } from '../../support/sim-world.ts'

const PEER = address('192.0.2.7')
const MINUTE = 60 * SECOND
const isReset = ({ bytes }: Sent): boolean => bytes[0] === 0x63
const isA = ({ bytes }: Sent): boolean => bytes[0] === 0x60 && (bytes[3]! & 3) === 0

function setUp(change: Partial<LoneOptions> = {}): { lone: LoneEndpoint; peer: HandPeer; provider: SimProvider } {
  const provider = new SimProvider(new SeededRandom(1))
  // The higher id: of keys that come within 15 s those of our own handshake are used.
  const self = new HandPeer(provider, 1)
  const peer = [9, 10, 11, 12, 13, 14].map((seed) => new HandPeer(new SimProvider(new SeededRandom(2)), seed)).find(({ id }) => Buffer.compare(id, self.id) > 0)!
  return { lone: new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)], config: { keepAlive: 0 }, ...change }), peer, provider }
}

function join(lone: LoneEndpoint, peer: HandPeer): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
  const session = initiation.finish(lone.receive({ from: PEER, bytes: initiation.datagram() })[0]!.bytes)
  lone.receive({ from: PEER, bytes: session.seal(ping) })
  return session
}

/** A transport datagram of the least size under an index that names nothing. */
function stray(index: number, length = 45): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes[0] = 0x62
  writeU32(bytes, 1, index)
  return bytes
}

function reset(provider: SimProvider, index: number, token?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(24)
  bytes.set([0x63, 1])
  writeU32(bytes, 4, index)
  bytes.set(token ?? provider.random(new Uint8Array(16)), 8)
  return bytes
}

/** The token of an index under the key that every lone endpoint has. */
function tokenOf(provider: SimProvider, index: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32(bytes, 0, index)
  return mac(provider, new Uint8Array(32).fill(0x77), new TextEncoder().encode('postern reset'), bytes)
}

describe('an index that is not known', () => {
  it('is answered in the first ten minutes after a start, with its token, and with fewer bytes than came', () => {
    const { lone, provider } = setUp({ age: 0 })
    const sent = lone.receive({ from: PEER, bytes: stray(0x0102_0304) })
    expect(sent).toEqual([{ link: 1, to: PEER, bytes: reset(provider, 0x0102_0304, tokenOf(provider, 0x0102_0304)), local: 0, ttl: 0 }])
    expect(lone.receive({ from: PEER, bytes: stray(5, 44) })).toEqual([])
    lone.advance(10 * MINUTE - 1)
    expect(lone.receive({ from: PEER, bytes: stray(5) }).filter(isReset)).toHaveLength(1)
    lone.advance(2 * SECOND)
    for (let i = 0; i < 1000; i++) expect(lone.receive({ from: PEER, bytes: stray(1000 + i) })).toEqual([])
    expect([lone.counters['resets_sent'], lone.counters['drop_unknown_index']]).toEqual([2, 1002])
  })

  it('later only if it was ours in the last ten minutes', () => {
    const { lone, peer } = setUp()
    const session = join(lone, peer)
    lone.receive({ from: PEER, bytes: session.seal(close(0)) })
    lone.advance(10 * MINUTE - 1)
    const [sent] = lone.receive({ from: PEER, bytes: session.seal(ping) })
    expect([sent!.bytes[0], readU32(sent!.bytes, 4), sent!.bytes.slice(8)]).toEqual([0x63, session.remoteIndex, session.remote.resetToken])
    lone.advance(SECOND)
    expect(lone.receive({ from: PEER, bytes: session.seal(ping) })).toEqual([])
  })

  it('once a second to each source, a hundred times a second in all; never to a RESET', () => {
    const { lone, provider } = setUp({ age: 0 })
    let sent = 0
    for (let ms = 0; ms < 3000; ms++) {
      sent += lone.receive({ from: PEER, bytes: stray(1 + ms) }).filter(isReset).length
      lone.advance(1000)
    }
    expect(sent).toBe(3)
    lone.advance(SECOND)
    const perSecond = [0, 0, 0]
    const perSource = new Map<string, number>()
    for (let s = 0; s < 3; s++) {
      for (let i = 0; i < 500; i++) {
        const from = address(`198.51.100.${i % 250}`)
        for (const { to } of lone.receive({ from, bytes: stray(1 + i) }, { from, bytes: reset(provider, 1 + i) })) {
          perSecond[s]!++
          perSource.set(`${s} ${to.join()}`, (perSource.get(`${s} ${to.join()}`) ?? 0) + 1)
        }
      }
      lone.advance(SECOND)
    }
    expect([perSecond, Math.max(...perSource.values())]).toEqual([[100, 100, 100], 1])
  })
})

describe('a RESET that comes', () => {
  it('without the token of the keys in use is dropped, whatever else is right', () => {
    const { lone, peer, provider } = setUp()
    const session = join(lone, peer)
    // Our peer's token for its index stands in its A: made by hand, it is random.
    const token = lone.endpoint.node.index.findByRemote(session.localIndex)!.keys.remoteResetToken
    const almost = token.slice()
    almost[15]! ^= 1
    for (const bytes of [reset(provider, session.localIndex), reset(provider, session.localIndex, almost), reset(provider, session.localIndex ^ 1, token), reset(provider, session.remoteIndex, session.remote.resetToken), reset(provider, 0, token)]) {
      expect(lone.receive({ from: PEER, bytes })).toEqual([])
    }
    const versioned = reset(provider, session.localIndex, token)
    versioned[3] = 1
    expect(lone.receive({ from: PEER, bytes: versioned })).toEqual([])
    expect([lone.counters['drop_reset'], lone.counters['resets_received'], lone.endpoint.tables()['indexes']]).toEqual([6, 0, 1])
  })

  it('with it, from anywhere, a thousand times: the session goes on as it was, and there is one handshake in 5 s', () => {
    const { lone, peer, provider } = setUp()
    let session = join(lone, peer)
    const channel = 1
    lone.receive({ from: PEER, bytes: session.seal([...open(channel), ...message(channel, 0, [7])]) })
    lone.drain()
    const binding = (): Uint8Array | undefined => lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(peer.id)!))?.binding
    const live = binding()
    const thief = address('203.0.113.5')
    const stolen = reset(provider, session.localIndex, lone.endpoint.node.index.findByRemote(session.localIndex)!.keys.remoteResetToken)
    const indexes = new Set<number>()
    let answered: Sent | undefined
    for (let i = 0; i < 1000; i++) {
      for (const one of [...lone.receive({ from: thief, bytes: stolen }), ...lone.advance(0)].filter(isA)) {
        expect(one.to).toEqual(PEER)
        indexes.add(readU32(one.bytes, 4))
        answered ??= one
      }
    }
    expect([indexes.size, lone.counters['resets_received'], lone.counters['drop_reset']]).toEqual([1, 1, 999])
    // Keys, session and channel are as they were.
    expect(lone.receive({ from: PEER, bytes: session.seal(ping) }).some(({ bytes }) => session.open(bytes) !== undefined)).toBe(true)
    // The peer has the session: the handshake continues it, and the token is of no keys in use any more.
    const answer = peer.answer(answered!.bytes, { sidSelf: peerSid(lone) })
    lone.receive({ from: PEER, bytes: answer.datagram })
    session = answer.session
    expect([lone.counters['handshakes_completed'], lone.counters['sessions_restarted'], binding()]).toEqual([2, 0, live])
    for (let s = 0; s < 8; s++) {
      lone.advance(SECOND)
      lone.receive({ from: PEER, bytes: session.seal(ping) }, { from: thief, bytes: stolen })
    }
    expect([lone.counters['resets_received'], lone.counters['handshakes_completed'], lone.events.some(({ kind }) => kind === 'channel-closed')]).toEqual([1, 2, false])
  })

  it('true ones, from a peer that goes on forgetting, cost one handshake in 5 s', () => {
    const { lone, peer, provider } = setUp()
    let session = join(lone, peer)
    let handshakes = 0
    for (let ms = 0; ms < 20_000; ms += 100) {
      const sent: Sent[] = []
      const token = lone.endpoint.node.index.findByRemote(session.localIndex)!.keys.remoteResetToken
      const [a] = [...lone.receive({ from: PEER, bytes: reset(provider, session.localIndex, token) }), ...lone.advance(0)].filter(isA)
      if (a !== undefined) {
        handshakes++
        const answer = peer.answer(a.bytes, { sidSelf: peerSid(lone), resetToken: repeated(1 + handshakes, 16) })
        session = answer.session
        sent.push(...lone.receive({ from: PEER, bytes: answer.datagram }))
      }
      sent.push(...lone.advance(100_000), ...lone.receive({ from: PEER, bytes: session.seal(ping) }))
      // A live peer acknowledges what it gets.
      const counters = sent.flatMap(({ bytes }) => session.open(bytes)?.counter ?? [])
      lone.receive({ from: PEER, bytes: session.seal(counters.flatMap((counter) => ack(counter))) })
    }
    expect([handshakes, lone.counters['sessions_restarted']]).toEqual([4, 0])
  })
})

function peerSid(lone: LoneEndpoint): Uint8Array {
  return lone.endpoint.node.sessions.find((session) => session !== undefined)!.state.sidPeer!
}

describe('a peer that was killed and started again', () => {
  it('is noticed one round trip after the next datagram; the new session is up two later', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new SimWorld(seed)
      const a = world.player('a', 1 + (seed % 2), '192.0.2.1', { keepAlive: 0 })
      const b = world.player('b', 2 - (seed % 2), '192.0.2.2', { keepAlive: 0 })
      a.know(b)
      b.know(a)
      world.network.setConditions({ ...perfectWire, delay: 20_000 })
      a.connect(b)
      expect(world.until(() => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected', 5)).toBeLessThan(5)
      const channel = a.open(b)
      a.send(channel, 'before')
      world.run(60)
      const binding = a.bindingOf(b)
      b.restart()
      // Nothing happens by itself: this node is told to dial nobody.
      world.run(20)
      expect([a.bindingOf(b), b.counter('resets_sent')]).toEqual([binding, 0])
      a.send(channel, 'after')
      expect(world.until(() => a.counter('resets_received') === 1, 5), `seed ${seed}`).toBeLessThan(0.041)
      expect(world.until(() => a.stateOf(b) === 'connected' && a.bindingOf(b) !== binding && a.bindingOf(b) === b.bindingOf(a), 5)).toBeLessThan(0.085)
      expect([a.counter('sessions_restarted'), b.counter('resets_sent'), a.events.filter(({ kind }) => kind === 'channel-closed').length]).toEqual([1, 1, 1])
    }
  })

  it('with another K_reset it is not believed, and noticed by silence', () => {
    const world = new SimWorld(3)
    const a = world.player('a', 1, '192.0.2.1', { keepAlive: 0 })
    const b = world.player('b', 2, '192.0.2.2', { keepAlive: 0 })
    a.know(b)
    b.know(a)
    a.connect(b)
    world.run(2)
    const channel = a.open(b)
    world.run(1)
    b.restart()
    b.node.endpoint.node.resetKey.fill(1)
    a.send(channel, 'after')
    world.run(5)
    expect([a.counter('resets_received'), a.counter('drop_reset') > 0, a.stateOf(b)]).toEqual([0, true, 'connected'])
    expect(world.until(() => a.counter('sessions_restarted') === 1, 20)).toBeLessThan(10)
  })
})
