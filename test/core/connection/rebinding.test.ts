/** A NAT forgets an idle session, and gives the next datagram another port: nobody tells either side. */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { never } from '../../../src/core/base/time.ts'
import { fittedKeepAlive } from '../../../src/core/connection/paths/keep-alive.ts'
import { Nat } from '../../../src/sim/nat.ts'
import { NatNetwork } from '../../../src/sim/nat-network.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SECOND, SimWorld, type Player } from '../../support/sim-world.ts'

type MakeNetwork = ConstructorParameters<typeof SimWorld>[2]

interface Two {
  readonly world: SimWorld
  /** Behind the NAT, if there is one. */
  readonly inner: Player
  readonly outer: Player
}

/** @param delay one way, in microseconds */
function pair(delay: number, makeNetwork?: MakeNetwork): Two {
  const world = new SimWorld(5, false, makeNetwork)
  world.network.setConditions({ ...perfectWire, delay })
  const [inner, outer] = [world.player('inner', 1, '10.0.0.1'), world.player('outer', 2, '198.51.100.2')]
  for (const [one, other] of [[inner, outer], [outer, inner]] as const) one.know(other)
  inner.connect(outer)
  expect(world.until(() => inner.stateOf(outer) === 'connected' && outer.stateOf(inner) === 'connected', 5)).toBeLessThan(5)
  world.run(3)
  return { world, inner, outer }
}

const outside = (port: number): Uint8Array => encodeAddress('192.0.2.1', port)!
/** The first port that the NAT gives out; each further mapping has the next one. */
const FIRST = 50_000

/** @param lifetime of what the NAT remembers, in seconds */
function home(lifetime: number, delay = 5000): Two & { readonly nat: Nat } {
  const nat = new Nat({ mapping: 'endpoint-independent', filtering: 'address-and-port-dependent', lifetime: lifetime * SECOND, refreshedBy: 'outgoing' }, outside(0))
  const two = pair(delay, (scheduler, random) => {
    const network = new NatNetwork(scheduler, random)
    network.home([encodeAddress('10.0.0.1', 7000)!], nat)
    return network
  })
  return { ...two, nat }
}

const seenAt = (one: Player, other: Player): string | undefined => {
  const path = one.node.endpoint.peerStats(one.handleOf(other))!.paths.find(({ active }) => active)
  return path === undefined ? undefined : formatAddress(path.address)
}

function bothWays({ world, inner, outer }: Two): void {
  const [there, back] = [inner.open(outer), outer.open(inner)]
  inner.send(there, 'from inside')
  outer.send(back, 'from outside')
  expect(world.until(() => outer.received.includes('from inside') && inner.received.includes('from outside'), 5)).toBeLessThan(1)
}

describe('a NAT that forgets an idle session', () => {
  it('costs nothing but the next keep-alive: the peer follows it, though nobody has anything to say', () => {
    const all = home(15)
    const { world, nat, inner, outer } = all
    expect(seenAt(outer, inner)).toBe('192.0.2.1:50000')
    // The keep-alive of 20 s comes too late for this NAT.
    expect(world.until(() => nat.made === 2, 40)).toBeLessThan(25)
    expect(world.until(() => seenAt(outer, inner) === '192.0.2.1:50001', 5)).toBeLessThan(0.5)
    world.run(2)
    expect([inner.stateOf(outer), outer.stateOf(inner)]).toEqual(['connected', 'connected'])
    bothWays(all)
  })

  it('again and again', () => {
    const all = home(10)
    const { world, nat, inner, outer } = all
    world.run(300)
    expect(nat.made).toBeGreaterThan(10)
    // What is never acknowledged would end in a peer that counts as unreachable, and in dials.
    const states = [inner, outer].flatMap(({ name, events }) => events.flatMap((event) => (event.kind === 'peer' ? [name + ' ' + event.state] : [])))
    expect(states).toEqual(['inner dialing', 'inner connected', 'outer connected'])
    world.until(() => seenAt(outer, inner) === formatAddress(outside(FIRST + nat.made - 1)), 60)
    bothWays(all)
  })

  it('is found out when the keep-alive is lost too: what repeats it shows the way as well', () => {
    const all = home(15)
    const { world, nat, inner, outer } = all
    // All that leaves by the new port for 300 ms: the keep-alive, and the first of what repeats it.
    const wire = world.network.wire(outside(FIRST + 1), outer.address)
    wire.cut = true
    expect(world.until(() => nat.made === 2, 40)).toBeLessThan(25)
    world.run(0.3)
    wire.cut = false
    expect(world.until(() => seenAt(outer, inner) === '192.0.2.1:50001', 5)).toBeLessThan(3)
    bothWays(all)
  })

  it('while the other side speaks first, is over with the next datagram from inside', () => {
    const all = home(15)
    const { world, inner, outer } = all
    world.run(14)
    const channel = outer.open(inner)
    outer.send(channel, 'into the dark')
    expect(world.until(() => inner.received.includes('into the dark'), 30)).toBeLessThan(25)
    bothWays(all)
  })

  it('is noticed within a round trip and 300 ms when a ping is asked for', () => {
    const all = home(10, 20_000)
    const { world, nat, inner, outer } = all
    world.run(12)
    inner.node.act((endpoint, now) => endpoint.ping(now, inner.handleOf(outer)))
    expect(world.until(() => seenAt(outer, inner) !== '192.0.2.1:50000', 5)).toBeLessThan(0.34)
    expect(nat.made).toBe(2)
  })
})

describe('a machine that got another address, and knows it', () => {
  it.each([1, 10, 40, 80, 120])('is heard again after a round trip and 300 ms at most: %i ms each way', (ms) => {
    const { world, inner, outer } = pair(ms * 1000)
    const channel = outer.open(inner)
    // Until the round trip is known well.
    for (let i = 0; i < 40; i++) {
      outer.send(channel, 'before')
      world.run(0.1)
    }
    world.run(2)
    inner.received.length = 0
    inner.node.move(encodeAddress('203.0.113.9', 7000)!)
    const began = world.scheduler.now
    inner.node.act((endpoint, now) => endpoint.handleNetworkChange(now))
    for (let i = 0; i < 200; i++) world.scheduler.at(began + i * 5000, () => { outer.send(channel, `at ${i}`) })
    world.until(() => inner.received.includes('at 0'), 5)
    const gap = (world.scheduler.now - began) / 1000
    world.until(() => inner.received.includes('at 199'), 5)
    expect(inner.received).toEqual(Array.from({ length: 200 }, (_, i) => `at ${i}`))
    expect(gap).toBeLessThan(2 * ms + 301)
  })
})

describe('keep-alives that are fitted to a NAT', () => {
  it('keep its mapping, and go on as before where nothing is known', () => {
    const { world, nat, inner } = home(9)
    inner.node.endpoint.node.keepAliveMax = fittedKeepAlive(8_000_000)
    // Armed before: one more of the old ones.
    world.run(60)
    const mapped = nat.made
    expect(mapped).toBeLessThanOrEqual(2)
    world.run(300)
    expect(nat.made).toBe(mapped)
    inner.node.endpoint.node.keepAliveMax = never
    world.run(60)
    expect(nat.made).toBeGreaterThan(mapped)
  })

  it('are no shorter than 5 s, and never longer than configured', () => {
    expect(fittedKeepAlive(1_000_000)).toBe(5_000_000)
    const { world, inner } = home(600)
    inner.node.endpoint.node.keepAliveMax = fittedKeepAlive(1_000_000_000)
    const before = inner.node.endpoint.counters()['datagrams_sent']!
    world.run(100)
    // Acknowledgements of theirs go with some of them.
    expect(inner.node.endpoint.counters()['datagrams_sent']! - before).toBeGreaterThanOrEqual(4)
  })
})
