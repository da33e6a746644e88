/**
 * Simultaneous opens (WIRE.md §3.9): whatever the network does to two dials that meet, one session comes of them, both sides
 * give it the same name, and both can send. A failing seed is printed and replays alone.
 */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimWorld, SECOND, type Player } from '../../support/sim-world.ts'

interface Crossing { readonly world: SimWorld; readonly a: Player; readonly b: Player; readonly loss: number }

/** Two players that know each other on a wire of its own kind. */
function setUp(seed: number, lossMax: number): Crossing {
  const world = new SimWorld(seed)
  const { random } = world
  const loss = random.chance(0.3) ? 0 : random.unit() * lossMax
  const delay = random.exponential(60_000)
  world.network.setConditions({
    ...perfectWire, delay, jitter: random.chance(0.5) ? random.unit() * 3 * delay : 0, loss, duplicate: random.chance(0.5) ? random.unit() * 0.5 : 0,
    reorder: random.unit() * 0.2, reorderDelay: random.unit() * SECOND,
  })
  // Either may be the lower id.
  const [one, other] = random.chance(0.5) ? [1, 2] : [2, 1]
  const config = random.chance(0.3) ? { admitStrangers: true } : {}
  const a = world.player('a', one, '192.0.2.1', config)
  const b = world.player('b', other, '192.0.2.2', config)
  if (config.admitStrangers !== true || random.chance(0.5)) {
    a.know(b)
    b.know(a)
  }
  return { world, a, b, loss }
}

/** Both see the other connected in a session of one name. */
function agreed({ a, b }: Crossing): boolean {
  return a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected' && a.bindingOf(b) === b.bindingOf(a)
}

/** Seconds after which both agree, and after which messages came both ways. */
function settle(crossing: Crossing, tag: string): { readonly agreed: number; readonly talked: number } {
  const { world, a, b } = crossing
  const agreedAfter = world.until(() => agreed(crossing), 100)
  if (agreedAfter === Infinity) return { agreed: Infinity, talked: Infinity }
  const send = (from: Player, to: Player): string => from.send(from.open(to), `${tag} ${from.name}`)
  const sent = [send(a, b), send(b, a)]
  const talked = world.until(() => a.received.includes(`${tag} b`) && b.received.includes(`${tag} a`), 60)
  return { agreed: agreedAfter, talked: sent.every((result) => result === 'queued') ? talked : Infinity }
}

const sessions = (player: Player): number => player.counter('sessions_opened') - player.counter('sessions_closed')

function meet({ world, a, b }: Crossing): void {
  const { random, scheduler } = world
  const apart = random.chance(0.3) ? 0 : random.exponential(random.chance(0.5) ? 100_000 : SECOND)
  scheduler.at(scheduler.now, () => { a.connect(b) })
  scheduler.at(scheduler.now + apart, () => { if (a.stateOf(b) !== 'connected' || b.stateOf(a) !== 'connected') b.connect(a) })
}

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1]!
}

describe('two dials meet', () => {
  it('first contact: one session, never restarted, in 2000 interleavings', () => {
    const lossless: number[] = []
    const all: number[] = []
    for (let seed = 1; seed <= 2000; seed++) {
      const crossing = setUp(seed, 0.4)
      const { a, b, world } = crossing
      meet(crossing)
      const times = settle(crossing, 'x')
      const what = `seed ${seed}, loss ${crossing.loss.toFixed(2)}: ${JSON.stringify(times)}`
      expect(Number.isFinite(times.talked), what).toBe(true)
      expect([sessions(a), sessions(b), a.counter('sessions_restarted'), b.counter('sessions_restarted')], what).toEqual([1, 1, 0, 0])
      all.push(times.agreed)
      if (crossing.loss === 0) lossless.push(times.agreed)
      // Previous keys and half-open handshakes are gone; one keypair of two keys is left on each side.
      if (seed % 10 === 0) {
        world.network.setConditions(perfectWire)
        world.run(75)
        expect([agreed(crossing), a.provider.live, b.provider.live], what).toEqual([true, 2, 2])
      }
    }
    // Without loss nobody waits for a timer but for the stash of a second.
    expect(Math.max(...lossless)).toBeLessThan(3)
    expect(median(all)).toBeLessThan(0.7)
  })

  it('of which only one gets through, whichever: nobody waits', () => {
    for (const [one, other] of [[1, 2], [2, 1]] as const) {
      const world = new SimWorld(7)
      world.network.setConditions({ ...perfectWire, delay: 20_000 })
      const a = world.player('a', one, '192.0.2.1')
      const b = world.player('b', other, '192.0.2.2')
      a.know(b)
      // Where a was, nobody answers.
      const gone = encodeAddress('192.0.2.99', 7000)!
      b.node.act((endpoint, now) => endpoint.addPeer(now, a.id, { name: 'a', addresses: [gone], invite: undefined }))
      b.node.act((endpoint, now) => endpoint.connect(now, a.id, { addresses: [], now: true }))
      world.run(0.005)
      a.connect(b)
      // Two round trips, and what timers take: the lower id sends its own A back where the other came from.
      expect(world.until(() => agreed({ world, a, b, loss: 0 }), 30), `a is ${one < other ? 'lower' : 'higher'}`).toBeLessThan(0.15)
      expect([sessions(a), sessions(b)]).toEqual([1, 1])
    }
  })

  it('after restarts: the old session ends with peer_restarted, its channels too, and one new session comes', () => {
    for (let seed = 1; seed <= 600; seed++) {
      const crossing = setUp(seed, 0.3)
      const { a, b, world } = crossing
      const { random } = world
      a.know(b)
      b.know(a)
      a.connect(b)
      const before = settle(crossing, 'before')
      expect(Number.isFinite(before.talked), `seed ${seed}`).toBe(true)
      const binding = b.bindingOf(a)
      const both = random.chance(0.4)
      a.restart()
      if (both) b.restart()
      // Either side, or both, dials within a second; the survivor may not have noticed anything.
      const dialers = random.chance(0.4) ? [a, b] : random.chance(0.6) || !both ? [a] : [b]
      for (const dialer of dialers) world.scheduler.at(world.scheduler.now + random.unit() * SECOND, () => dialer.connect(dialer === a ? b : a))
      const after = settle(crossing, 'after')
      const what = `seed ${seed}, loss ${crossing.loss.toFixed(2)}, both ${both}: ${JSON.stringify(after)}`
      expect(Number.isFinite(after.talked), what).toBe(true)
      expect(b.bindingOf(a), what).not.toBe(binding)
      expect([sessions(a), sessions(b)], what).toEqual([1, 1])
      if (both) continue
      expect(b.counter('sessions_restarted'), what).toBe(1)
      expect(b.events, what).toContainEqual(expect.objectContaining({ kind: 'peer', state: 'connected', reason: 'peer_restarted' }))
      expect(b.events, what).toContainEqual(expect.objectContaining({ kind: 'channel-closed', reason: 'peer_restarted', by: 'session' }))
    }
  })

  it('a survivor that notices nothing finds out by its own dial, and a restarted peer by the other’s', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const crossing = setUp(seed, 0.2)
      const { a, b, world } = crossing
      a.know(b)
      b.know(a)
      a.connect(b)
      expect(Number.isFinite(settle(crossing, 'before').talked)).toBe(true)
      const channel = b.open(a)
      a.restart()
      // Nobody connects; b only has something to say. Its path falls silent, it dials, and the answer is another session's.
      b.send(channel, 'into the void')
      const noticed = world.until(() => b.counter('sessions_restarted') === 1, 60)
      expect(noticed, `seed ${seed}`).toBeLessThan(40)
      expect(Number.isFinite(settle(crossing, 'after').talked), `seed ${seed}`).toBe(true)
      expect([sessions(a), sessions(b)]).toEqual([1, 1])
    }
  })
})
