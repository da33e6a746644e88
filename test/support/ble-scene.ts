import { expect } from 'vitest'
import { minute, type Duration } from '../../src/core/base/time.ts'
import type { CoreConfig } from '../../src/core/connection/config.ts'
import type { EndpointEvent } from '../../src/core/endpoint/contract.ts'
import { perfectWire } from '../../src/sim/network.ts'
import { SimAir, usualAir } from '../../src/sim/sim-ble.ts'
import { SimWorld, type Player } from './sim-world.ts'

type Of<Kind extends EndpointEvent['kind']> = Extract<EndpointEvent, { readonly kind: Kind }>
export const all = <Kind extends EndpointEvent['kind']>(player: Player, kind: Kind): Of<Kind>[] => player.events.filter((event): event is Of<Kind> => event.kind === kind)

/** Nodes in one room, each with a radio, and a network that can be cut. */
export class Scene {
  readonly world: SimWorld
  readonly air: SimAir
  readonly players: readonly Player[]
  cut = false

  constructor(seed: number, count = 2, config: Partial<CoreConfig> = {}) {
    this.world = new SimWorld(seed)
    this.air = new SimAir(this.world.scheduler, this.world.random.fork(), usualAir)
    this.world.network.route = () => ({ conditions: perfectWire, cut: this.cut })
    this.players = Array.from({ length: count }, (_, i) => this.world.player('abcdef'[i]!, i + 1, `10.0.0.${i + 1}`, { tcpAfter: Infinity, ...config }, false, this.air))
  }

  /** Everybody is told whose advertisement is heard by its hint alone. */
  listen(by: Player, of: Player): void {
    by.node.act((endpoint, now) => {
      const friend = endpoint.radio.findByHint(now, of.node.endpoint.radio.hint(of.node.now()))
      if (friend !== undefined) endpoint.handleNearby(now, friend, of.node.radio!.address)
    })
  }

  until(condition: () => boolean, limit = 20): number {
    return this.world.until(condition, limit)
  }
}

export const isConnected = (a: Player, b: Player): boolean => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected' && a.bindingOf(b) === b.bindingOf(a)

/** Friends who met by UDP once, and were switched off since; the network is gone. */
export function friends(seed: number): { readonly s: Scene; readonly a: Player; readonly b: Player } {
  const s = new Scene(seed)
  const [a, b] = s.players as [Player, Player]
  a.know(b)
  b.know(a)
  a.connect(b)
  expect(s.until(() => isConnected(a, b))).toBeLessThan(1)
  s.world.run(1)
  s.cut = true
  for (const player of [a, b]) player.restart()
  return { s, a, b }
}

export const dial = (by: Player, whom: Player): void => { by.node.act((endpoint, now) => endpoint.connect(now, whom.id, { addresses: [], now: true })) }
export const open = (player: Player, duration: Duration = 5 * minute): void => { player.node.act((endpoint, now) => { endpoint.radio.openPairing(now, duration) }) }
export const approach = (by: Player, whom: Player): boolean => by.node.act((endpoint, now) => endpoint.radio.dialStranger(now, whom.node.radio!.address))
export const codes = (player: Player): string[] => all(player, 'pairing').map(({ code }) => code)
export const accept = (player: Player, whom: Player): boolean => player.node.act((endpoint, now) => endpoint.radio.acceptPairing(now, player.handleOf(whom)))
