/**
 * An attacker beside the path (WIRE.md §6 and §9): it sees every datagram, and copies of it arrive first, from an address of its
 * own, or later, any number of times. It cannot seal. Paths must end at the true addresses, and nothing may be lost or doubled.
 */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimWorld, SECOND, type Player } from '../../support/sim-world.ts'

const FALSE = encodeAddress('203.0.113.66', 666)!

interface Race { readonly world: SimWorld; readonly a: Player; readonly b: Player }

function setUp(seed: number): Race {
  // What is copied is chosen by count: no search for a path MTU in between.
  const world = new SimWorld(seed, true)
  // Both orders of ids.
  const [one, other] = seed % 2 === 0 ? [1, 2] : [2, 1]
  const a = world.player('a', one, '192.0.2.1')
  const b = world.player('b', other, '192.0.2.2')
  a.know(b)
  b.know(a)
  for (const [from, to] of [[a, b], [b, a]] as const) world.network.wire(from.address, to.address).conditions = { ...perfectWire, delay: 20_000 }
  return { world, a, b }
}

type Kind = 'A' | 'B' | 'transport'
const kindOf = (datagram: Uint8Array): Kind | undefined => datagram[0] === 0x62 ? 'transport' : datagram[0] !== 0x60 ? undefined : (datagram[3]! & 3) === 0 ? 'A' : 'B'

/** Copies what `pick` chooses and puts it on the attacker's faster wire. */
function race({ world }: Race, pick: (kind: Kind, count: number, datagram: Uint8Array) => boolean, sources: readonly Uint8Array[] = [FALSE]): void {
  const counts = { A: 0, B: 0, transport: 0 }
  world.network.tap = (from, to, datagram) => {
    const kind = kindOf(datagram)
    if (kind !== undefined && !sources.some((source) => formatAddress(source) === formatAddress(from)) && pick(kind, counts[kind]++, datagram)) {
      for (const source of sources) world.network.inject(source, to, datagram.slice())
    }
    return true
  }
}

function activePath(player: Player, other: Player): string {
  const path = player.node.endpoint.peerStats(player.handleOf(other))!.paths.find(({ active }) => active)
  return path === undefined ? 'none' : `${formatAddress(path.address)} ${path.validated ? 'validated' : 'open'}`
}

function expectTruth({ world, a, b }: Race, within: number, what: string): void {
  const truth = (): boolean => activePath(a, b) === `${formatAddress(b.address)} validated` && activePath(b, a) === `${formatAddress(a.address)} validated`
  expect(world.until(() => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected', 10), what).toBeLessThan(10)
  const after = world.until(truth, 30)
  if (!(after <= within)) throw new Error(`${what}: after ${after} s a uses ${activePath(a, b)}, b uses ${activePath(b, a)}`)
}

function talk({ world, a, b }: Race, count = 20): void {
  const channels = [a.open(b), b.open(a)] as const
  for (let n = 0; n < count; n++) {
    world.scheduler.at(world.scheduler.now + n * 50_000, () => {
      a.send(channels[0], `a ${n}`)
      b.send(channels[1], `b ${n}`)
    })
  }
  world.run(5 + count / 20)
  const expected = (name: string): string[] => Array.from({ length: count }, (_, n) => `${name} ${n}`)
  expect([b.received, a.received]).toEqual([expected('a'), expected('b')])
}

describe('copies of the handshake arrive first from a false address', () => {
  const cases: readonly (readonly [string, (kind: Kind, count: number) => boolean])[] = [
    ['A', (kind) => kind === 'A'],
    ['B', (kind) => kind === 'B'],
    ['the confirmation', (kind, count) => kind === 'transport' && count === 0],
    ['the first four datagrams each way', (kind, count) => kind === 'transport' && count < 8],
    ['A and B', (kind) => kind !== 'transport'],
    ['half of all for good', (_kind, count) => (Math.imul(count + 7, 0x9e37_79b1) & 0x10_0000) !== 0],
  ]

  it.each(cases)('%s', (what, pick) => {
    for (let seed = 1; seed <= 10; seed++) {
      const scene = setUp(seed)
      race(scene, pick)
      scene.a.connect(scene.b)
      expectTruth(scene, 4, `${what}, seed ${seed}`)
      talk(scene)
      expectTruth(scene, 0, `${what} after talk, seed ${seed}`)
      expect([scene.a.counter('sessions_opened'), scene.b.counter('sessions_opened')]).toEqual([1, 1])
    }
  })

  it.each(cases)('%s, when it is the answering side that speaks first', (what, pick) => {
    for (let seed = 1; seed <= 10; seed++) {
      const scene = setUp(seed)
      const { world, a, b } = scene
      race(scene, pick)
      a.connect(b)
      expect(world.until(() => b.stateOf(a) === 'connected', 10)).toBeLessThan(10)
      b.send(b.open(a), 'hello')
      expect(world.until(() => a.received.length === 1, 10), `${what}, seed ${seed}`).toBeLessThan(3)
      expectTruth(scene, 4, `${what}, seed ${seed}`)
    }
  })

  it('from twenty false addresses at once', () => {
    const sources = Array.from({ length: 20 }, (_, i) => encodeAddress('203.0.113.77', 1000 + i)!)
    for (let seed = 1; seed <= 5; seed++) {
      const scene = setUp(seed)
      race(scene, (kind, count) => kind !== 'transport' || count < 8, sources)
      scene.a.connect(scene.b)
      expectTruth(scene, 6, `seed ${seed}`)
      talk(scene)
      expect(scene.b.node.endpoint.peerStats(scene.b.handleOf(scene.a))!.paths.length).toBeLessThanOrEqual(8)
    }
  })

  it('who outruns every single datagram can keep two peers apart, as on the path, but not longer than it goes on', () => {
    for (let seed = 1; seed <= 4; seed++) {
      const scene = setUp(seed)
      race(scene, () => true)
      scene.a.connect(scene.b)
      scene.world.run(8)
      scene.world.network.tap = undefined
      expectTruth(scene, 20, `seed ${seed}`)
      talk(scene)
    }
  })

  it('the false address is sent no more bytes than came from it', () => {
    const scene = setUp(1)
    const { world, a } = scene
    let balance = 0
    race(scene, (_kind, count, datagram) => {
      if (count < 8) balance += datagram.length
      return count < 8
    })
    const tap = world.network.tap!
    world.network.tap = (from, to, datagram) => {
      if (formatAddress(to) === formatAddress(FALSE)) {
        balance -= datagram.length
        if (balance < 0) throw new Error('amplified')
      }
      return tap(from, to, datagram)
    }
    a.connect(scene.b)
    world.run(4)
    talk(scene)
  })

  it('neither the roster nor the store remembers the false address', () => {
    for (let seed = 1; seed <= 6; seed++) {
      const scene = setUp(seed)
      race(scene, (_kind, count) => count < 8)
      scene.a.connect(scene.b)
      scene.world.run(3)
      talk(scene)
      for (const player of [scene.a, scene.b]) {
        for (const value of player.disk.values()) if (value.kind === 'peer') expect(value.record.addresses.map((address) => formatAddress(address))).not.toContain(formatAddress(FALSE))
      }
    }
  })
})

describe('replays', () => {
  it('of every datagram, now and later, from its own and from false addresses, change nothing', () => {
    for (let seed = 1; seed <= 3; seed++) {
      const scene = setUp(seed)
      const { world, a, b } = scene
      const captured: { readonly from: Uint8Array; readonly to: Uint8Array; readonly datagram: Uint8Array }[] = []
      let replaying = true
      world.network.tap = (from, to, datagram) => {
        captured.push({ from, to, datagram: datagram.slice() })
        if (!replaying) return true
        for (const delay of [30_000, 200_000, 2 * SECOND]) {
          const source = world.random.chance(0.5) ? from : FALSE
          const copy = datagram.slice()
          world.scheduler.at(world.scheduler.now + delay, () => { world.network.inject(source, to, copy) })
        }
        return true
      }
      a.connect(b)
      world.run(1)
      talk(scene, 100)
      replaying = false
      world.run(3)
      const before = [a, b].map((player) => [player.events.length, player.node.endpoint.peerStats(player.handleOf(player === a ? b : a))!.paths.length, player.provider.live])
      const count = captured.length
      expect(count).toBeGreaterThan(200)
      for (const { from, to, datagram } of captured.slice(0, count)) {
        world.network.inject(from, to, datagram)
        world.network.inject(FALSE, to, datagram)
      }
      world.run(1)
      const after = [a, b].map((player) => [player.events.length, player.node.endpoint.peerStats(player.handleOf(player === a ? b : a))!.paths.length, player.provider.live])
      expect(after).toEqual(before)
      expect([a.received.length, b.received.length, activePath(a, b), activePath(b, a)]).toEqual([100, 100, `${formatAddress(b.address)} validated`, `${formatAddress(a.address)} validated`])
    }
  })
})
