/** The machine got another address or route: what the core makes of that word (handleNetworkChange). */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../../src/core/base/address.ts'
import { repeated } from '../../../support/bytes.ts'
import { HandPeer } from '../../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord } from '../../../support/lone-endpoint.ts'
import { SimWorld, type Player } from '../../../support/sim-world.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { SimProvider } from '../../../../src/sim/sim-provider.ts'

const SECOND = 1_000_000
const moved = encodeAddress('10.0.0.77', 7000)!

function pair(): { readonly world: SimWorld; readonly alice: Player; readonly bob: Player } {
  const world = new SimWorld(5)
  const [alice, bob] = [world.player('alice', 1, '10.0.0.1'), world.player('bob', 2, '10.0.0.2')]
  for (const [one, other] of [[alice, bob], [bob, alice]] as const) one.know(other)
  alice.connect(bob)
  expect(world.until(() => alice.stateOf(bob) === 'connected' && bob.stateOf(alice) === 'connected', 5)).toBeLessThan(5)
  // Nothing is said for a while: the next keep-alive is up to 20 s away.
  world.run(3)
  return { world, alice, bob }
}

const seenAt = (one: Player, other: Player): string => formatAddress(one.node.endpoint.peerStats(one.handleOf(other))!.paths.find(({ active }) => active)!.address)

describe('another address of this machine', () => {
  it('is known to the peer of an idle session within a second', () => {
    const { world, alice, bob } = pair()
    alice.node.move(moved)
    alice.node.act((endpoint, now) => endpoint.handleNetworkChange(now))
    expect(world.until(() => seenAt(bob, alice) === '10.0.0.77:7000', 5)).toBeLessThan(1)
    const channel = bob.open(alice)
    bob.send(channel, 'found')
    expect(world.until(() => alice.received.includes('found'), 5)).toBeLessThan(1)
    expect(alice.counter('network_changes')).toBe(1)
  })

  it('without a word about it, only when something is said next', () => {
    const { world, alice, bob } = pair()
    alice.node.move(moved)
    world.run(5)
    expect(seenAt(bob, alice)).toBe('10.0.0.1:7000')
  })

  it('costs a few datagrams, and as many again each time', () => {
    const { world, alice, bob } = pair()
    const before = alice.node.endpoint.counters()['datagrams_sent']!
    for (let i = 0; i < 3; i++) {
      alice.node.act((endpoint, now) => endpoint.handleNetworkChange(now))
      world.run(1)
    }
    const sent = alice.node.endpoint.counters()['datagrams_sent']! - before
    expect(sent).toBeGreaterThanOrEqual(3)
    expect(sent).toBeLessThanOrEqual(12)
    expect(alice.stateOf(bob)).toBe('connected')
  })
})

describe('a peer that nobody has found for long', () => {
  it('is looked for at once, and loudly, when the network is another', () => {
    const provider = new SimProvider(new SeededRandom(2))
    const peer = new HandPeer(provider, 9)
    const lone = new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)] })
    const run = (duration: number): number => {
      let sent = 0
      const until = lone.mono + duration
      while (lone.mono < until) sent += lone.advance(Math.max(lone.mono, Math.min(until, lone.endpoint.nextTimeout())) - lone.mono).length
      return sent
    }
    lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [address('192.0.2.7')], now: true }))
    // Quiet after 90 s, with pauses of 30, 60 and 120 s.
    run(150 * SECOND)
    expect(run(5 * SECOND)).toBe(0)
    lone.act((endpoint, now) => endpoint.handleNetworkChange(now))
    expect(run(0.01 * SECOND)).toBe(1)
    expect(run(20 * SECOND)).toBeGreaterThanOrEqual(3)
  })
})
