/** A path that carries less than before and does not say so, in virtual time: how long two that talk hear nothing of each other. */
import { describe, expect, it } from 'vitest'
import { perfectWire, type WireConditions } from '../../../src/sim/network.ts'
import { TalkWorld } from '../../support/talk-world.ts'

const wire = (mtu: number, rttMs: number): WireConditions => ({ ...perfectWire, delay: rttMs * 500, mtu })

/** One of the two always waits for a whole message: three round trips, the probe timeout, and the pause between two messages. */
const limitOf = (rttMs: number): number => 3 * rttMs + 100

describe('a path that shrinks without a word', () => {
  for (const both of [true, false]) {
    for (const size of [1400, 2600, 4000]) {
      for (const rttMs of [0.2, 20, 100]) {
        it(`is found within ${limitOf(rttMs)} ms of silence: ${both ? 'both ways' : 'one way'}, messages of ${size} bytes, round trips of ${rttMs} ms`, () => {
          const world = new TalkWorld(size, wire(1472, rttMs))
          world.talk(3, size, both)
          expect(world.sizes).toEqual([1437, 1437])
          const from = world.near.node.now().mono
          world.network.setConditions(wire(1300, rttMs))
          world.talk(4, size, both)
          world.run(2)
          expect(Math.max(world.far.silence(from), both ? world.near.silence(from) : 0) / 1000).toBeLessThan(limitOf(rttMs))
          expect([world.far.heardAt.length, world.near.heardAt.length]).toEqual([world.near.sent, world.far.sent])
          expect([world.far.wrong, world.near.wrong]).toEqual([0, 0])
          expect(world.sizes[0]).toBe(1181)
          expect(world.near.counter('mtu_black_holes')).toBe(1)
          // Three tries show that it is so; then a minute's rest.
          expect(world.near.counter('mtu_probes_sent')).toBeLessThanOrEqual(10)
        })
      }
    }
  }

  it('gets a lone message through while nobody knows: what is sent in a silence is of the base size', () => {
    const world = new TalkWorld(1, wire(1472, 20))
    world.talk(3, 1400, true)
    world.network.setConditions(wire(1300, 20))
    world.near.say(world.far, 1400)
    expect(world.until(() => world.far.heardAt.length === world.near.sent, 5)).toBeLessThan(0.2)
  })
})

describe('a silence that is not about the size', () => {
  it('costs a round trip or two at the base, once a minute at most', () => {
    const world = new TalkWorld(1, wire(1472, 20))
    world.talk(3, 1400, true)
    const found = (): number => world.near.events.filter((event) => event.kind === 'path-mtu' && event.cause === 'found').length
    for (let i = 0; i < 4; i++) {
      world.network.setConditions({ ...wire(1472, 20), loss: 1 })
      world.talk(0.1, 1400, true)
      world.network.setConditions(wire(1472, 20))
      world.talk(0.3, 1400, true)
      expect(world.sizes).toEqual([1437, 1437])
      world.talk(2, 1400, true)
    }
    expect(world.near.counter('mtu_black_holes')).toBe(1)
    expect(found()).toBe(2)
    world.run(2)
    expect([world.far.heardAt.length, world.near.heardAt.length]).toEqual([world.near.sent, world.far.sent])
  })

  it('changes no size where nothing comes back at all', () => {
    const world = new TalkWorld(1, wire(1472, 20))
    world.talk(3, 1400, true)
    world.network.setConditions({ ...wire(1472, 20), loss: 1 })
    world.talk(2, 1400, true)
    expect(world.sizes).toEqual([1437, 1437])
    expect(world.near.counter('mtu_black_holes')).toBe(0)
  })
})
