/** A host with several addresses: which of them datagrams leave from (decision 102). */
import { describe, expect, it } from 'vitest'
import { writeU32 } from '../../../src/core/base/bytes.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { challenge, ping, type HandFrame } from '../../support/hand-frames.ts'
import { HandPeer, type HandSession } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type LoneOptions, type Sent } from '../../support/lone-endpoint.ts'
import { SECOND } from '../../support/sim-world.ts'

const PEER = address('192.0.2.7')
const MOVED = address('192.0.2.8')
const from = (sent: readonly Sent[]): number[] => [...new Set(sent.map(({ local }) => local))]

function setUp(change: Partial<LoneOptions> = {}): { lone: LoneEndpoint; peer: HandPeer } {
  const provider = new SimProvider(new SeededRandom(1))
  const peer = new HandPeer(new SimProvider(new SeededRandom(2)), 9)
  return { lone: new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)], config: { keepAlive: 0 }, ...change }), peer }
}

/** A session that the peer opened at our address `local`. */
function join(lone: LoneEndpoint, peer: HandPeer, local: number): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
  const answer = lone.receive({ from: PEER, bytes: initiation.datagram(), local })
  expect(from(answer)).toEqual([local])
  const session = initiation.finish(answer[0]!.bytes)
  const first = lone.receive({ from: PEER, bytes: session.seal(ping), local })
  expect(from(first)).toEqual([local])
  heard.set(session, first.flatMap(({ bytes }) => session.open(bytes)?.frames ?? []))
  return session
}

/** What the endpoint wrote first. */
const heard = new Map<HandSession, readonly HandFrame[]>()

/** Its challenges. */
function asked(session: HandSession): Uint8Array[] {
  return (heard.get(session) ?? []).flatMap(({ type, bytes }) => (type === 0x0a ? [bytes] : []))
}

describe('of several addresses', () => {
  it('what is answered is answered from the one that was written to: a handshake, its session, and who is unknown', () => {
    const { lone, peer } = setUp({ age: 0 })
    join(lone, peer, 5)
    const stray = new Uint8Array(45)
    stray[0] = 0x62
    writeU32(stray, 1, 0x0102_0304)
    expect(from(lone.receive({ from: MOVED, bytes: stray, local: 7 }))).toEqual([7])
  })

  it('a path keeps the one that it began with, and each path has its own', () => {
    const { lone, peer } = setUp()
    const session = join(lone, peer, 5)
    lone.advance(SECOND)
    expect(from(lone.receive({ from: PEER, bytes: session.seal(ping), local: 6 }).filter(({ to }) => to[15] === 7))).toEqual([5])
    expect(from(lone.receive({ from: MOVED, bytes: session.seal(challenge()), local: 6 }).filter(({ to }) => to[15] === 8))).toEqual([6])
  })

  it('after a change of the network the route decides, and in doubt the one where the peer was last heard', () => {
    const { lone, peer } = setUp()
    const session = join(lone, peer, 5)
    lone.receive(...asked(session).map((bytes) => ({ from: PEER, bytes: session.seal([0x0b, ...bytes]), local: 5 })))
    lone.endpoint.handleNetworkChange(lone.now)
    expect(from(lone.drain())).toEqual([0])
    // It does not go back because something still comes in there.
    lone.receive({ from: PEER, bytes: session.seal(ping), local: 5 })
    expect(from(lone.receive({ from: PEER, bytes: session.seal(ping), local: 5 }))).not.toContain(5)
    // Nothing of what went out is acknowledged.
    const silent = lone.advance(8 * SECOND)
    expect(from(silent)).toContain(5)
    expect(silent.at(-1)!.local).toBe(5)
  })
})
