/** What a quiet session gives back, and has again when it is needed (decision 081). */
import { describe, expect, it } from 'vitest'
import type { SessionState } from '../../../../src/core/connection/state.ts'
import { ModelBased } from '../../../../src/core/flow/model-based.ts'
import { resting } from '../../../../src/core/flow/resting.ts'
import { BulkWorld, linkOf, type BulkPlayer } from '../../../support/bulk.ts'

function stateOf(player: BulkPlayer): SessionState {
  return player.node.endpoint.node.sessions.find((session) => session !== undefined)!.state
}

/** A flood that ended so long ago that the session rests. */
function quietWorld(congestion: 'model' | 'cubic' = 'model'): BulkWorld {
  const world = new BulkWorld(1, linkOf(20, 40, 2), congestion)
  world.run(3)
  world.sender.pause()
  world.run(8)
  return world
}

describe('a session that is quiet', () => {
  it('has no controller of its own where that had learnt nothing, and keeps one that had', () => {
    const { sender, receiver } = quietWorld()
    expect([stateOf(sender).parked, stateOf(receiver).parked]).toEqual([true, true])
    expect(stateOf(sender).active!.recovery.controller).toBeInstanceOf(ModelBased)
    expect(stateOf(receiver).active!.recovery.controller).toBe(resting('model-based'))
  })

  it('says what it said of its controller before', () => {
    for (const congestion of ['model', 'cubic'] as const) {
      const { sender, receiver } = quietWorld(congestion)
      expect([receiver.pathTo(sender).congestion, receiver.pathTo(sender).congestionWindow]).toEqual([congestion === 'model' ? 'model-based' : 'cubic', 12_000])
    }
  })

  it('has one again with the first burst, and rests anew', () => {
    const world = quietWorld()
    const { sender, receiver } = world
    receiver.node.act(() => receiver.node.endpoint.ping(receiver.node.now(), receiver.handleOf(sender)))
    expect([stateOf(receiver).parked, stateOf(receiver).active!.recovery.controller instanceof ModelBased]).toEqual([false, true])
    world.run(1)
    expect(receiver.node.endpoint.node.sessions.find((session) => session !== undefined)!.reachable).toBe(true)
    world.run(10)
    expect(stateOf(receiver).active!.recovery.controller).toBe(resting('model-based'))
  })

  it('goes on at the rate it had, and nothing is lost or doubled', () => {
    const world = quietWorld()
    world.sender.resume()
    expect(world.goodput(1)).toBeGreaterThan(12)
    world.sender.pause()
    world.run(10)
    expect([world.receiver.receivedBytes, world.receiver.misplaced]).toEqual([world.sender.sentBytes, 0])
  })

  it('has no tables of channels while it has no channel', () => {
    const world = quietWorld()
    const state = stateOf(world.sender)
    expect([state.channels.size, state.shares.size]).toEqual([1, 1])
    const channel = [...state.channels.values()][0]!
    world.sender.node.act(() => { world.sender.node.endpoint.closeChannel(world.sender.node.now(), channel.handle, { abort: true, code: 0, reason: '' }) })
    world.run(5)
    const others = new BulkWorld(2, linkOf(20, 40, 2), 'model')
    expect([state.channels.size, state.shares.size, stateOf(others.sender).channels.size]).toEqual([0, 0, 1])
    expect(state.channels).not.toBe(stateOf(others.sender).channels)
  })
})
