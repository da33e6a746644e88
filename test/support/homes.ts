import { encodeAddress, formatAddress } from '../../src/core/base/address.ts'
import { minute, second } from '../../src/core/base/time.ts'
import type { CoreConfig } from '../../src/core/connection/config.ts'
import type { BirthdayView, MeetOptions } from '../../src/core/endpoint/contract.ts'
import { perfectWire } from '../../src/sim/network.ts'
import { SimRouter, simStunServer } from './sim-router.ts'
import { SimWorld, type Player } from './sim-world.ts'

export type HomeKind = 'full' | 'addr' | 'port' | 'sym'
const servers = [encodeAddress('192.0.2.1', 3478)!, encodeAddress('192.0.2.2', 3478)!]
export const outside = ['203.0.113.1', '198.51.100.1'] as const
export const introduced: MeetOptions = { patience: 60 * second, byHand: false }
export const byHand: MeetOptions = { patience: 15 * minute, byHand: true }

/** A datagram as the wire saw it, from outside of all routers. */
export interface Seen { readonly at: number; readonly from: string; readonly to: string; readonly size: number; readonly type: number }

/** Two nodes at home, each behind a router of its kind, which have asked two STUN servers where they are. Private addresses lead nowhere, but for TCP where that is wanted. */
export class Homes {
  readonly world: SimWorld
  readonly players: readonly [Player, Player]
  readonly seen: Seen[] = []

  constructor(seed: number, kinds: readonly [HomeKind, HomeKind], tcp = false, config: Partial<CoreConfig> = {}) {
    const world = this.world = new SimWorld(seed)
    world.network.setConditions({ ...perfectWire, delay: 10_000 })
    for (const server of servers) simStunServer(world, server)
    const swapped = seed % 2 === 1
    const homes = kinds.map((kind, i) => {
      const host = `10.${i + 1}.0.2`
      new SimRouter(world, {
        inside: encodeAddress(host, 0)!, outside: encodeAddress(outside[i]!, 0)!, mapping: kind === 'sym' ? 'address-and-port-dependent' : 'endpoint-independent',
        filtering: kind === 'full' ? 'endpoint-independent' : kind === 'addr' ? 'address-dependent' : 'address-and-port-dependent',
      })
      // Either may be the lower id.
      return world.player(`${i}`, swapped ? 2 - i : i + 1, host, config, tcp)
    })
    this.players = homes as [Player, Player]
    const inject = world.network.inject.bind(world.network)
    world.network.inject = (from, to, datagram) => {
      if (from[12] !== 10 && to[12] !== 10) this.seen.push({ at: world.scheduler.now, from: formatAddress(from), to: formatAddress(to), size: datagram.length, type: datagram[0]! })
      inject(from, to, datagram)
    }
    for (const { node } of homes) node.act((endpoint, now) => endpoint.stun.setServers(now, servers.map((address) => ({ name: formatAddress(address), address }))))
    world.run(1)
  }

  hard(i: 0 | 1): boolean {
    return this.players[i].node.endpoint.stun.mapping === 'dependent'
  }

  /** What the other one said of itself is known to this one from now on, and both are looked for. */
  meet(i: 0 | 1, options: MeetOptions): void {
    this.tell(i, options)
    const [self, other] = [this.players[i], this.players[1 - i]!]
    self.node.act((endpoint, now) => { endpoint.meet(now, self.handleOf(other), options) })
  }

  /** The same, and nobody is looked for but by plain dialing. */
  tell(i: 0 | 1, options: Pick<MeetOptions, 'byHand'>): void {
    const [self, other] = [this.players[i], this.players[1 - i]!]
    const addresses = other.node.endpoint.stun.addresses.map(({ address }) => address)
    self.node.act((endpoint, now) => {
      const peer = endpoint.addPeer(now, other.id, { name: undefined, addresses, invite: undefined })!
      endpoint.noteWhereabouts(peer, { hard: this.hard((1 - i) as 0 | 1), addresses }, options.byHand)
      endpoint.connect(now, other.id, { addresses, now: true })
    })
  }

  get met(): boolean {
    const [a, b] = this.players
    return a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected'
  }

  view(i: 0 | 1): BirthdayView | undefined {
    const player = this.players[i]
    return player.node.endpoint.peerWhy(player.node.now(), player.handleOf(this.players[1 - i]!))!.birthday
  }

  knocks(from: number): Seen[] {
    return this.seen.filter((seen) => seen.type === 0x65 && seen.from.startsWith(outside[from]!))
  }
}
