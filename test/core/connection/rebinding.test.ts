/** A NAT forgets an idle session, and gives the next datagram another port: nobody tells either side. */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { never } from '../../../src/core/base/time.ts'
import { fittedKeepAlive } from '../../../src/core/connection/keep-alive.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimNat } from '../../support/sim-nat.ts'
import { SimWorld, type Player } from '../../support/sim-world.ts'

interface Two {
  readonly world: SimWorld
  /** Behind the NAT, if there is one. */
  readonly inner: Player
  readonly outer: Player
}

/** @param delay one way, in microseconds */
function pair(delay: number, prepare: (world: SimWorld) => void = () => undefined): Two {
  const world = new SimWorld(5)
  world.network.setConditions({ ...perfectWire, delay })
  prepare(world)
  const [inner, outer] = [world.player('inner', 1, '10.0.0.1'), world.player('outer', 2, '198.51.100.2')]
  for (const [one, other] of [[inner, outer], [outer, inner]] as const) one.know(other)
  inner.connect(outer)
  expect(world.until(() => inner.stateOf(outer) === 'connected' && outer.stateOf(inner) === 'connected', 5)).toBeLessThan(5)
  world.run(3)
  return { world, inner, outer }
}

/** @param lifetime of what the NAT remembers, in seconds */
function home(lifetime: number, delay = 5000): Two & { readonly nat: SimNat } {
  let nat: SimNat | undefined
  const two = pair(delay, ({ network, scheduler }) => {
    nat = new SimNat(network, scheduler, { inside: encodeAddress('10.0.0.1', 7000)!, outside: encodeAddress('192.0.2.1', 40_000)!, lifetime, filtering: 'address-and-port-dependent' })
  })
  return { ...two, nat: nat! }
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
    expect(seenAt(outer, inner)).toBe('192.0.2.1:40000')
    // The keep-alive of 20 s comes too late for this NAT.
    expect(world.until(() => nat.mappings === 2, 40)).toBeLessThan(25)
    expect(world.until(() => seenAt(outer, inner) === '192.0.2.1:40001', 5)).toBeLessThan(0.5)
    world.run(2)
    expect([inner.stateOf(outer), outer.stateOf(inner)]).toEqual(['connected', 'connected'])
    bothWays(all)
  })

  it('again and again', () => {
    const all = home(10)
    const { world, nat, inner, outer } = all
    world.run(300)
    expect(nat.mappings).toBeGreaterThan(10)
    // What is never acknowledged would end in a peer that counts as unreachable, and in dials.
    const states = [inner, outer].flatMap(({ name, events }) => events.flatMap((event) => (event.kind === 'peer' ? [name + ' ' + event.state] : [])))
    expect(states).toEqual(['inner dialing', 'inner connected', 'outer connected'])
    world.until(() => seenAt(outer, inner) === formatAddress(nat.seen!), 60)
    bothWays(all)
  })

  it('is found out when the keep-alive is lost too: what repeats it shows the way as well', () => {
    const all = home(15)
    const { world, nat, inner, outer } = all
    // All that leaves by the new port for 300 ms: the keep-alive, and the first of what repeats it.
    const wire = world.network.wire(encodeAddress('192.0.2.1', 40_001)!, outer.address)
    wire.cut = true
    expect(world.until(() => nat.mappings === 2, 40)).toBeLessThan(25)
    world.run(0.3)
    wire.cut = false
    expect(world.until(() => seenAt(outer, inner) === '192.0.2.1:40001', 5)).toBeLessThan(3)
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
    expect(world.until(() => seenAt(outer, inner) !== '192.0.2.1:40000', 5)).toBeLessThan(0.34)
    expect(nat.mappings).toBe(2)
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
    const mapped = nat.mappings
    expect(mapped).toBeLessThanOrEqual(2)
    world.run(300)
    expect(nat.mappings).toBe(mapped)
    inner.node.endpoint.node.keepAliveMax = never
    world.run(60)
    expect(nat.mappings).toBeGreaterThan(mapped)
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
