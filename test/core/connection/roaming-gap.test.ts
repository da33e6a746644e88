/** A machine that is at another address from one moment to the next, in virtual time: how long two that talk hear nothing of each other. */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { perfectWire, type WireConditions } from '../../../src/sim/network.ts'
import { TalkWorld } from '../../support/talk-world.ts'

const wire = (rttMs: number): WireConditions => ({ ...perfectWire, delay: rttMs * 500 })
const PAUSE_MS = 10

describe('a peer that moved', () => {
  for (const rttMs of [0.2, 20, 40, 80, 200]) {
    it(`is answered at its new place after a round trip and a tenth of a second, or two and a quarter round trips where they are long: ${rttMs} ms`, () => {
      const world = new TalkWorld(1, wire(rttMs))
      world.talk(3, 100, true)
      const from = world.near.node.now().mono
      world.near.node.move(encodeAddress('10.0.9.9', 7000)!)
      world.near.node.act((endpoint, now) => { endpoint.handleNetworkChange(now) })
      world.talk(3, 100, true)
      world.run(1)
      const gap = Math.max(world.near.silence(from), world.far.silence(from)) / 1000
      expect(gap).toBeLessThan(rttMs + Math.max(100, 1.25 * rttMs) + 2 * PAUSE_MS)
      expect([world.far.heardAt.length, world.near.heardAt.length]).toEqual([world.near.sent, world.far.sent])
      expect([world.far.wrong, world.near.wrong]).toEqual([0, 0])
    })
  }
})
