import { describe, expect, it } from 'vitest'
import type { DeliveryMode, Overflow } from '../../../src/core/base/domain.ts'
import { MessageRun } from '../../../src/core/base/message-run.ts'
import { never } from '../../../src/core/base/time.ts'
import type { ChannelHandle, SendResult } from '../../../src/core/endpoint/contract.ts'
import { SimWorld, type Player } from '../../support/sim-world.ts'

/** Messages of these lengths, each beginning with its number, with a gap before each. */
function runOf(first: number, lengths: readonly number[]): MessageRun {
  const run = new MessageRun(lengths.length)
  run.begin(new Uint8Array(lengths.reduce((sum, length) => sum + length + 3, 0)))
  let at = 3
  for (const [i, length] of lengths.entries()) {
    run.bytes[at] = first + i
    run.add(at, length, first + i)
    at += length + 3
  }
  return run
}

interface Setup {
  readonly world: SimWorld
  readonly channel: ChannelHandle
  readonly received: number[]
  readonly run: (first: number, lengths: readonly number[]) => number
  readonly one: (tag: number, length?: number) => SendResult
  readonly alice: Player
}

function connected(overflow: Overflow, mode: DeliveryMode, config: ConstructorParameters<typeof Player>[4] = {}): Setup {
  const world = new SimWorld(1)
  const alice = world.player('alice', 1, '10.0.0.1', config)
  const bob = world.player('bob', 2, '10.0.0.2', config)
  alice.know(bob)
  bob.know(alice)
  alice.connect(bob)
  world.until(() => alice.stateOf(bob) === 'connected' && bob.stateOf(alice) === 'connected', 5)
  const received: number[] = []
  const app = bob.node.app!
  bob.node.app = {
    onMessages: (node, batch) => {
      for (let i = 0; i < batch.count; i++) received.push(node.endpoint.arena.bytes[batch.offset[i]!]!)
      app.onMessages(node, batch)
    },
    onReleases: () => undefined, onNotices: () => undefined, onEvent: (node, event) => { app.onEvent(node, event) },
  }
  const channel = alice.node.act((endpoint, now) => endpoint.openChannel(now, alice.handleOf(bob), {
    app: 'test', mode, lane: 'normal', weight: 1, overflow, meta: new Uint8Array(0), credit: 1 << 20, consumer: 1,
  }))
  if (typeof channel === 'string') throw new Error(`no channel: ${channel}`)
  world.run(0.5)
  return {
    world, channel, received, alice,
    run: (first, lengths) => alice.node.act((endpoint) => endpoint.sendRun(channel, runOf(first, lengths))),
    one: (tag, length = 4) => alice.node.act((endpoint, now) => endpoint.send(now, channel, { bytes: new Uint8Array(length).fill(tag), offset: 0, length, lane: 255, tag, confirm: false, deadline: never })),
  }
}

const ten = Array.from({ length: 10 }, (_, i) => 4 + i)

describe('a run of messages for a channel', () => {
  it.each([['block', 'reliable-ordered'], ['drop-oldest', 'unreliable'], ['drop-lowest-lane', 'reliable-unordered']] as const)('goes as its messages would, in order (%s, %s)', (overflow, mode) => {
    const { world, received, run, one } = connected(overflow, mode)
    expect(run(1, ten)).toBe(10)
    expect(one(11)).toBe('queued')
    expect(run(12, ten)).toBe(10)
    world.run(1)
    expect(received).toEqual(Array.from({ length: 21 }, (_, i) => i + 1))
  })

  it('ends where the channel has its share, and the next message hears what its policy says', () => {
    for (const [overflow, verdict] of [['block', 'blocked'], ['drop-newest', 'dropped']] as const) {
      const { world, received, run, one, alice } = connected(overflow, 'reliable-ordered', { queueMessages: 16 })
      alice.node.act((endpoint, now) => { endpoint.handleLink(now, alice.node.link, 'blocked') })
      expect(run(1, [5, 5, 5])).toBe(3)
      expect(run(4, ten)).toBe(5)
      expect(run(9, ten)).toBe(0)
      expect(one(9)).toBe(verdict)
      alice.node.act((endpoint, now) => { endpoint.handleLink(now, alice.node.link, 'writable') })
      world.run(1)
      expect(received).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
      expect(run(9, ten)).toBe(8)
    }
  })

  it('is left to be decided one by one when a message is too large, the bytes have no room, or the channel takes only the latest or is closed', () => {
    const large = connected('block', 'reliable-ordered', { maxMessage: 1000, maxChannelData: 2000, queueBytes: 3000 })
    expect(large.run(1, [10, 1001])).toBe(0)
    expect(large.one(1, 1001)).toBe('too-large')
    expect(large.run(1, [900, 601])).toBe(0)
    expect(large.run(1, [900, 500])).toBe(2)
    const latest = connected('block', 'latest')
    expect(latest.run(1, ten)).toBe(0)
    expect(latest.one(1)).toBe('queued')
    const closed = connected('block', 'reliable-ordered')
    closed.alice.node.act((endpoint, now) => { endpoint.closeChannel(now, closed.channel, { abort: true, code: 0, reason: '' }) })
    closed.world.run(1)
    expect(closed.run(1, ten)).toBe(0)
    expect(closed.one(1)).toBe('closed')
  })
})
