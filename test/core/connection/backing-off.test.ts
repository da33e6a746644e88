/** A peer that is not to be reached: what an hour of it costs, and how soon it is looked for when something changes. */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { SimWorld, type Player } from '../../support/sim-world.ts'

interface Scene {
  readonly world: SimWorld
  readonly alice: Player
  readonly bob: Player
  /** Datagrams and TCP dials of alice since it was last asked. */
  readonly spent: () => { readonly datagrams: number; readonly dials: number }
}

function scene(): Scene {
  const world = new SimWorld(11)
  let [datagrams, dials] = [0, 0]
  const [alice, bob] = [world.player('alice', 1, '10.0.0.1', {}, true), world.player('bob', 2, '10.0.0.2', {}, true)]
  world.network.tap = (from) => {
    if (from.every((byte, i) => byte === alice.address[i])) datagrams++
    return true
  }
  const { network } = world
  const connect = network.connect.bind(network)
  network.connect = (from, to, answered) => {
    if (from.every((byte, i) => i >= 16 || byte === alice.address[i])) dials++
    return connect(from, to, answered)
  }
  const spent = (): { datagrams: number; dials: number } => {
    const since = { datagrams, dials }
    datagrams = dials = 0
    return since
  }
  for (const [one, other] of [[alice, bob], [bob, alice]] as const) one.know(other)
  return { world, alice, bob, spent }
}

function isQuiet({ world, spent }: Scene): void {
  world.run(90)
  const loud = spent()
  // Eighteen attempts, the first ones with copies, and TCP beside each.
  expect(loud.datagrams).toBeGreaterThanOrEqual(17)
  expect(loud.datagrams).toBeLessThanOrEqual(30)
  expect(loud.dials).toBeLessThanOrEqual(20)
  world.run(28.5 * 60)
  const half = spent()
  expect(half.datagrams).toBeGreaterThanOrEqual(3)
  expect(half.datagrams).toBeLessThanOrEqual(10)
  expect(half.dials).toBeLessThanOrEqual(10)
  world.run(30 * 60)
  const rest = spent()
  expect(rest.datagrams).toBeLessThanOrEqual(3)
  expect(rest.dials).toBeLessThanOrEqual(3)
}

describe('a peer that nobody answers for', () => {
  it('is dialed loudly for 90 s, then some times an hour', () => {
    const all = scene()
    const { alice, bob, world } = all
    bob.stop()
    alice.connect(bob)
    isQuiet(all)
    expect(alice.stateOf(bob)).toBe('unreachable')
    all.spent()
    alice.node.act((endpoint, now) => endpoint.handleNetworkChange(now))
    world.run(0.01)
    expect(all.spent().datagrams).toBe(1)
    world.run(1.2)
    expect(all.spent()).toEqual({ datagrams: 1, dials: 1 })
  })

  it('and that was there before is looked for in the same way, given up after ten minutes, and found at once when somebody wants it', () => {
    const all = scene()
    const { alice, bob, world } = all
    alice.connect(bob)
    expect(world.until(() => alice.stateOf(bob) === 'connected', 5)).toBeLessThan(5)
    const channel = alice.open(bob)
    bob.stop()
    // Something must be said for its silence to be noticed before the next keep-alive.
    alice.send(channel, 'are you there')
    expect(world.until(() => alice.stateOf(bob) !== 'connected', 60)).toBeLessThan(12)
    all.spent()
    isQuiet(all)
    expect(alice.stateOf(bob)).toBe('offline')
    expect(all.spent()).toEqual({ datagrams: 0, dials: 0 })
    bob.restart()
    alice.connect(bob)
    expect(world.until(() => alice.stateOf(bob) === 'connected', 5)).toBeLessThan(1)
  })

  it('costs no more when its network changes all the time', () => {
    const all = scene()
    const { alice, bob, world } = all
    bob.stop()
    alice.connect(bob)
    world.run(120)
    all.spent()
    // As the daemon tells it at most four times a second, for half a minute.
    for (let i = 0; i < 120; i++) {
      alice.node.act((endpoint, now) => endpoint.handleNetworkChange(now))
      world.run(0.25)
    }
    const { datagrams, dials } = all.spent()
    expect(datagrams).toBeLessThanOrEqual(30)
    expect(dials).toBeLessThanOrEqual(10)
  })

  it('that another address is learnt of is tried there at once', () => {
    const all = scene()
    const { alice, bob, world } = all
    alice.connect(bob)
    bob.node.move(encodeAddress('10.0.0.77', 7000)!)
    world.run(1800)
    expect(alice.stateOf(bob)).toBe('unreachable')
    alice.node.act((endpoint, now) => endpoint.addPeer(now, bob.id, { name: 'bob', addresses: [encodeAddress('10.0.0.77', 7000)!], invite: undefined }))
    alice.connect(bob)
    expect(world.until(() => alice.stateOf(bob) === 'connected', 5)).toBeLessThan(1)
  })
})
