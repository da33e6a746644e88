import { isIPv4 } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import type { LinkId } from '../base/domain.ts'
import { toInstant, type Now } from '../base/time.ts'
import type { MappingClass } from '../stun/nat-classes.ts'
import { OwnMapping } from '../stun/own-mapping.ts'
import type { StunCounter, StunOptionsOfTable } from '../stun/transactions.ts'
import { ReflexiveAddresses, type Reflexive, type StunContract, type StunInputs, type StunServer, type StunServerView } from '../stun/reflexive.ts'
import type { Node } from './node.ts'

/** Slot of STUN's deadline in the heap. */
export const STUN_SLOT = 1

/** STUN of an endpoint, on its own sockets and its own deadline. */
export class StunService implements StunContract, StunInputs {
  readonly #node: Node
  readonly #reflexive: ReflexiveAddresses
  readonly #mapping: OwnMapping

  constructor(node: Node) {
    this.#node = node
    const table: StunOptionsOfTable = {
      provider: node.provider, unit: () => node.randomUnit(), send: (link, to, datagram) => node.sendRaw(link, to, datagram), count: (name: StunCounter) => node.counters.add(name),
    }
    this.#mapping = new OwnMapping({ ...table, changed: (mapping) => node.push({ kind: 'nat-mapping', mapping }) })
    this.#reflexive = new ReflexiveAddresses({
      ...table,
      linkTo: (server) => linkTo(node, server), refresh: node.config.stunRefresh, wanted: (now) => node.roster.invites().some(({ uses, spentBy, expires }) => spentBy.length < uses && expires > now.wall),
      changed: (family, address, server) => {
        if (family === 4 && address === undefined) this.#mapping.forget()
        node.push({ kind: 'reflexive-address', family, address, server })
      },
      answered: (now, server, mapped, other) => this.#onAnswered(now, server, mapped, other),
    })
  }

  get addresses(): readonly Reflexive[] {
    return this.#reflexive.addresses
  }

  get mapping(): MappingClass {
    return this.#mapping.mapping
  }

  get asking(): boolean {
    return this.#reflexive.asking || this.#mapping.asking
  }

  servers(now: Now): readonly StunServerView[] {
    return this.#reflexive.servers(now)
  }

  set blocked(blocked: boolean) {
    this.#node.udpBlocked = blocked
  }

  setServers(now: Now, servers: readonly StunServer[]): void {
    this.#reflexive.setServers(now, this.#node.shuttingDown ? [] : servers)
    this.#schedule()
  }

  networkChanged(now: Now): void {
    this.#mapping.doubt()
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
    this.#mapping.doubt()
    this.#reflexive.handleClosed(now)
    this.#schedule()
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    const table = this.#mapping.waitsFor(bytes, offset) ? this.#mapping : this.#reflexive
    table.handleDatagram(now, link, from, bytes, offset, length)
    this.#schedule()
  }

  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[]): void {
    this.#reflexive.handleRefused(now, link, addresses)
    this.#mapping.handleRefused(link, addresses)
    this.#schedule()
  }

  handleTimeout(now: Now): void {
    this.#reflexive.handleTimeout(now)
    this.#mapping.handleTimeout(now)
    this.#schedule()
  }

  /** IPv6 has no NATs worth the question. */
  #onAnswered(now: Now, server: Uint8Array, mapped: Uint8Array, other: Uint8Array | undefined): void {
    const link = isIPv4(server) ? linkTo(this.#node, server) : undefined
    if (link === undefined) return
    const others = this.#reflexive.servers(now).filter(({ address, state }) => isIPv4(address) && state !== 'resting').map(({ address }) => address)
    this.#mapping.handleAnswer(now, { link, server, mapped, other: other !== undefined && isIPv4(other) ? other : undefined, others })
  }

  #schedule(): void {
    this.#node.deadlines.set(STUN_SLOT, toInstant(Math.min(this.#reflexive.nextTimeout(), this.#mapping.nextTimeout())))
  }
}

/** A socket bound to loopback reaches this machine only. */
function linkTo(node: Node, server: Uint8Array): LinkId | undefined {
  const outside = addressClass(server) !== 'loopback'
  return node.links.to(server).find((id) => !outside || addressClass(node.links.get(id)!.info.local) !== 'loopback')
}
