/** Addresses that are named while a session is on Bluetooth, or while a peer is being dialed: nobody waits for the next round of questions. */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { never } from '../../../src/core/base/time.ts'
import { ownCandidate } from '../../../src/core/path/candidates.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimAir, usualAir } from '../../../src/sim/sim-ble.ts'
import { SECOND, SimWorld, type Player } from '../../support/sim-world.ts'

class Scene {
  readonly world: SimWorld = new SimWorld(7)
  readonly a: Player
  readonly b: Player
  cut = false

  constructor() {
    const air = new SimAir(this.world.scheduler, this.world.random.fork(), usualAir)
    this.world.network.route = () => ({ conditions: perfectWire, cut: this.cut })
    this.a = this.world.player('a', 1, '192.168.1.1', { tcpAfter: never }, false, air)
    this.b = this.world.player('b', 2, '192.168.1.2', { tcpAfter: never }, false, air)
  }

  /** By id alone: nobody knows where the other is. */
  befriend(who: Player, other: Player, ...addresses: readonly Uint8Array[]): void {
    who.node.act((endpoint, now) => endpoint.addPeer(now, other.id, { name: undefined, addresses, invite: undefined }))
  }

  /** Paired in range of one another: neither knows an address of the other. */
  onBluetooth(): this {
    const { a, b, world } = this
    const compared = (player: Player): boolean => player.events.some(({ kind }) => kind === 'pairing')
    for (const player of [a, b]) player.node.act((endpoint, now) => endpoint.radio.openPairing(now, 60 * SECOND))
    a.node.act((endpoint, now) => endpoint.radio.dialStranger(now, b.node.radio!.address))
    expect(world.until(() => compared(a) && compared(b), 10)).toBeLessThan(5)
    for (const [player, other] of [[a, b], [b, a]] as const) player.node.act((endpoint, now) => endpoint.radio.acceptPairing(now, player.handleOf(other)))
    expect(world.until(() => a.kindTo(b) === 'ble' && b.kindTo(a) === 'ble', 20)).toBeLessThan(5)
    return this
  }

  untilUdp(): number {
    return this.world.until(() => this.a.kindTo(this.b) === 'udp' && this.b.kindTo(this.a) === 'udp', 60)
  }
}

describe('an address that is named', () => {
  it('takes a session on Bluetooth to UDP at once', () => {
    const scene = new Scene().onBluetooth()
    scene.world.run(120)
    expect(scene.a.kindTo(scene.b)).toBe('ble')
    scene.befriend(scene.a, scene.b, scene.b.address)
    expect(scene.untilUdp()).toBeLessThan(1)
  })

  it('does so when it was asked in vain for long before', () => {
    const scene = new Scene().onBluetooth()
    scene.cut = true
    scene.befriend(scene.a, scene.b, scene.b.address)
    scene.world.run(125)
    scene.cut = false
    scene.befriend(scene.a, scene.b, scene.b.address)
    expect(scene.untilUdp()).toBeLessThan(1)
  })

  it('is where a dial that runs goes too', () => {
    const scene = new Scene()
    const nowhere = encodeAddress('192.168.1.9', 7000)!
    scene.befriend(scene.b, scene.a)
    scene.a.node.act((endpoint, now) => endpoint.connect(now, scene.b.id, { addresses: [nowhere], now: true }))
    scene.world.run(1)
    expect(scene.a.stateOf(scene.b)).toBe('dialing')
    scene.befriend(scene.a, scene.b, scene.b.address)
    expect(scene.world.until(() => scene.a.stateOf(scene.b) === 'connected', 60)).toBeLessThan(1)
  })

  it('by the peer itself is asked as soon as this node is on the same network, not only when it was told', () => {
    const scene = new Scene().onBluetooth()
    scene.cut = true
    // A private address says nothing to who is in no such network.
    scene.b.node.act((endpoint, now) => endpoint.setLocalCandidates(now, [ownCandidate('host', scene.b.address)]))
    scene.world.run(60)
    scene.cut = false
    scene.world.run(60)
    expect(scene.a.kindTo(scene.b)).toBe('ble')
    scene.a.node.act((endpoint, now) => endpoint.setLocalCandidates(now, [ownCandidate('host', scene.a.address)]))
    expect(scene.untilUdp()).toBeLessThan(1)
  })
})
