import { addressClass } from '../base/address-class.ts'
import type { LinkId } from '../base/domain.ts'
import type { Now } from '../base/time.ts'
import type { StunCounter } from '../stun/transactions.ts'
import { ReflexiveAddresses, type Reflexive, type StunContract, type StunInputs, type StunServer, type StunServerView } from '../stun/reflexive.ts'
import type { Node } from './node.ts'

/** Slot of STUN's deadline in the heap. */
export const STUN_SLOT = 1

/** STUN of an endpoint, on its own sockets and its own deadline. */
export class StunService implements StunContract, StunInputs {
  readonly #node: Node
  readonly #reflexive: ReflexiveAddresses

  constructor(node: Node) {
    this.#node = node
    this.#reflexive = new ReflexiveAddresses({
      provider: node.provider, unit: () => node.randomUnit(), send: (link, to, datagram) => node.sendRaw(link, to, datagram), count: (name: StunCounter) => node.counters.add(name),
      linkTo: (server) => linkTo(node, server), refresh: node.config.stunRefresh, wanted: (now) => node.roster.invites().some(({ uses, spentBy, expires }) => spentBy.length < uses && expires > now.wall),
      changed: (family, address, server) => node.push({ kind: 'reflexive-address', family, address, server }),
    })
  }

  get addresses(): readonly Reflexive[] {
    return this.#reflexive.addresses
  }

  get asking(): boolean {
    return this.#reflexive.asking
  }

  servers(now: Now): readonly StunServerView[] {
    return this.#reflexive.servers(now)
  }

  setServers(now: Now, servers: readonly StunServer[]): void {
    this.#reflexive.setServers(now, this.#node.shuttingDown ? [] : servers)
    this.#schedule()
  }

  networkChanged(now: Now): void {
    this.#reflexive.networkChanged(now)
    this.#schedule()
  }

  renew(now: Now): void {
    this.#reflexive.renew(now)
    this.#schedule()
  }

  handleOpened(now: Now): void {
    this.#reflexive.handleOpened(now)
    this.#schedule()
  }

  handleClosed(now: Now): void {
    this.#reflexive.handleClosed(now)
    this.#schedule()
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    this.#reflexive.handleDatagram(now, link, from, bytes, offset, length)
    this.#schedule()
  }

  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[]): void {
    this.#reflexive.handleRefused(now, link, addresses)
    this.#schedule()
  }

  handleTimeout(now: Now): void {
    this.#reflexive.handleTimeout(now)
    this.#schedule()
  }

  #schedule(): void {
    this.#node.deadlines.set(STUN_SLOT, this.#reflexive.nextTimeout())
  }
}

/** A socket bound to loopback reaches this machine only. */
function linkTo(node: Node, server: Uint8Array): LinkId | undefined {
  const outside = addressClass(server) !== 'loopback'
  return node.links.to(server).find((id) => !outside || addressClass(node.links.get(id)!.info.local) !== 'loopback')
}
