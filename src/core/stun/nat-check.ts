import { ADDRESS_SIZE, equalAddress, portOf } from '../base/address.ts'
import { writeU16 } from '../base/bytes.ts'
import type { LinkId } from '../base/domain.ts'
import type { Duration, Instant, Now } from '../base/time.ts'
import { encodeChangeRequest } from '../wire/stun-attributes.ts'
import { stunAttribute } from '../wire/stun.ts'
import { filteringOf, mappingBySeveral, mappingOf, natWord, type FilteringClass, type MappingClass, type NatWord } from './nat-classes.ts'
import type { StunServer } from './reflexive.ts'
import { scheduleFor, STUN_SCHEDULE_SHORT } from './schedule.ts'
import { StunTransactions, type StunOptionsOfTable, type StunOutcome } from './transactions.ts'

/** Servers that are asked. */
const SERVERS_MAX = 16

export interface NatCheckOptions extends StunOptionsOfTable {
  readonly servers: readonly StunServer[]
  /** Two sockets that have sent nothing yet: what a NAT lets in depends on what went out. */
  readonly links: readonly [LinkId, LinkId]
  /** Addresses of this machine's interfaces with the port of the first socket, 18 bytes each. */
  readonly locals: readonly Uint8Array[]
}

export interface CheckedServer extends StunServer {
  readonly outcome: 'answered' | 'refused' | 'silent' | 'unreachable'
  readonly mapped: Uint8Array | undefined
  readonly rtt: Duration | undefined
  /** It speaks RFC 5780. */
  readonly behaviour: boolean
}

export interface NatCheckResult {
  readonly servers: readonly CheckedServer[]
  /** Where the first socket was seen. */
  readonly mapped: Uint8Array | undefined
  /** Its port outside is its port here. */
  readonly portKept: boolean | undefined
  readonly mapping: MappingClass
  readonly filtering: FilteringClass
  readonly word: NatWord
  /** Two sockets here reach each other by their outside addresses; `undefined`: not asked. */
  readonly hairpin: boolean | undefined
  /** The server that told filtering. */
  readonly by: string | undefined
}

type Step = 'second' | 'filter-both' | 'filter-port' | 'map-address' | 'map-both' | 'hairpin-first' | 'hairpin-second'
type Tag = { readonly kind: 'server'; readonly server: StunServer } | { readonly kind: Step }

interface Found {
  readonly server: StunServer
  readonly mapped: Uint8Array
  /** The server's other address and port. */
  readonly other: Uint8Array
  readonly rtt: Duration | undefined
}

/**
 * What kind of NAT is on the way, by RFC 5780, over two fresh sockets, sans-IO:
 *
 *     servers ──one of RFC 5780 answers──► filtering ──both known──► mapping, hairpin ──► done
 *        └──────────none does, all have ended──────────────────────► hairpin ──────────► done
 *
 * Filtering comes first: a datagram to the other address would let its answers in. All servers go on being asked meanwhile, for their round trips.
 */
export class NatCheck {
  readonly #options: NatCheckOptions
  readonly #table: StunTransactions<Tag>
  readonly #servers: readonly StunServer[]
  /** By address. */
  readonly #ended = new Map<StunServer, Exclude<StunOutcome<Tag>, { kind: 'returned' }>>()
  readonly #steps = new Map<Step, StunOutcome<Tag> | undefined>()
  #phase: 'servers' | 'filtering' | 'mapping' | 'done' = 'servers'
  #by: Found | undefined

  constructor(options: NatCheckOptions) {
    this.#options = options
    this.#servers = options.servers.slice(0, SERVERS_MAX)
    this.#table = new StunTransactions(options)
  }

  start(now: Now): void {
    for (const server of this.#servers) this.#table.ask(now, { link: this.#options.links[0], to: server.address, schedule: STUN_SCHEDULE_SHORT, tag: { kind: 'server', server } })
    this.#advance(now)
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array): void {
    this.#table.handleDatagram(link, from, bytes, 0, bytes.length, now)
    this.#advance(now)
  }

  handleRefused(now: Now, link: LinkId, address: Uint8Array): void {
    this.#table.handleRefused(link, address)
    this.#advance(now)
  }

  handleTimeout(now: Now): void {
    this.#table.handleTimeout(now)
    this.#advance(now)
  }

  nextTimeout(): Instant {
    return this.#table.nextTimeout()
  }

  get done(): boolean {
    return this.#phase === 'done'
  }

  /** What is known so far; final when it is done. */
  get result(): NatCheckResult {
    const servers = this.#servers.map((server): CheckedServer => {
      const outcome = this.#ended.get(server)
      const answer = outcome?.kind === 'answered' ? outcome : undefined
      return { ...server, outcome: outcome?.kind ?? 'silent', mapped: answer?.mapped, rtt: answer?.rtt, behaviour: answer !== undefined && isOther(answer.other, server.address) }
    })
    const mapped = this.#by?.mapped ?? servers.find((server) => server.mapped !== undefined)?.mapped
    const mapping = this.#mapping(mapped, servers)
    const filtering = this.#filtering()
    return {
      servers, mapped, mapping, filtering, word: natWord({ mapping, filtering }), hairpin: this.#hairpin(), by: this.#by?.server.name,
      portKept: mapped === undefined || this.#options.locals[0] === undefined ? undefined : portOf(mapped) === portOf(this.#options.locals[0]),
    }
  }

  #advance(now: Now): void {
    for (let outcome = this.#table.pollOutcome(); outcome !== undefined; outcome = this.#table.pollOutcome()) this.#note(outcome)
    if (this.#phase === 'servers') this.#afterServers(now)
    if (this.#phase === 'filtering' && this.#settled('filter-both', 'filter-port', 'second')) this.#map(now)
    if (this.#phase === 'mapping' && this.#table.size === 0) this.#phase = 'done'
  }

  #note(outcome: StunOutcome<Tag>): void {
    const { tag } = outcome
    if (tag.kind !== 'server') {
      this.#steps.set(tag.kind, outcome)
      return
    }
    if (outcome.kind === 'returned') return
    this.#ended.set(tag.server, outcome)
    if (outcome.kind !== 'answered' || this.#by !== undefined || !isOther(outcome.other, tag.server.address)) return
    this.#by = { server: tag.server, mapped: outcome.mapped, other: outcome.other!, rtt: outcome.rtt }
  }

  #afterServers(now: Now): void {
    const [first, second] = this.#options.links
    if (this.#by !== undefined) {
      this.#phase = 'filtering'
      const { server, other } = this.#by
      this.#ask(now, 'filter-both', first, server.address, { from: [other], change: { ip: true, port: true } })
      this.#ask(now, 'filter-port', first, server.address, { from: [withPort(server.address, portOf(other))], change: { ip: false, port: true } })
      this.#ask(now, 'second', second, server.address)
      return
    }
    if (this.#ended.size < this.#servers.length) return
    const answered = this.#servers.find((server) => this.#ended.get(server)?.kind === 'answered')
    this.#phase = answered === undefined ? 'done' : 'filtering'
    if (answered !== undefined) this.#ask(now, 'second', second, answered.address)
  }

  #map(now: Now): void {
    this.#phase = 'mapping'
    const [first, second] = this.#options.links
    if (this.#by !== undefined) {
      const { server, other } = this.#by
      this.#ask(now, 'map-address', first, withPort(other, portOf(server.address)))
      this.#ask(now, 'map-both', first, other)
    }
    const [ours, theirs] = [this.result.mapped, this.#mappedBy('second')]
    if (ours === undefined || theirs === undefined) return
    // Both ways, since a NAT may let in only whom was sent to.
    this.#ask(now, 'hairpin-first', first, theirs, { loop: true })
    this.#ask(now, 'hairpin-second', second, ours, { loop: true })
  }

  #ask(now: Now, step: Step, link: LinkId, to: Uint8Array, more: { readonly from?: readonly Uint8Array[]; readonly change?: { readonly ip: boolean; readonly port: boolean }; readonly loop?: boolean } = {}): void {
    this.#steps.set(step, undefined)
    this.#table.ask(now, {
      link, to, tag: { kind: step }, schedule: scheduleFor(STUN_SCHEDULE_SHORT, this.#by?.rtt),
      ...(more.from === undefined ? {} : { from: more.from }), ...(more.loop === undefined ? {} : { loop: more.loop }),
      ...(more.change === undefined ? {} : { attributes: [[stunAttribute.changeRequest, encodeChangeRequest(more.change)]] }),
    })
  }

  /** Whether none of these still waits. */
  #settled(...steps: readonly Step[]): boolean {
    return steps.every((step) => !this.#steps.has(step) || this.#steps.get(step) !== undefined)
  }

  #mappedBy(step: Step): Uint8Array | undefined {
    const outcome = this.#steps.get(step)
    return outcome?.kind === 'answered' ? outcome.mapped : undefined
  }

  #mapping(mapped: Uint8Array | undefined, servers: readonly CheckedServer[]): MappingClass {
    if (mapped === undefined) return 'unknown'
    if (this.#options.locals.some((local) => equalAddress(local, 0, mapped, 0))) return 'none'
    const told = this.#by === undefined ? 'unknown' : mappingOf(mapped, this.#mappedBy('map-address'), this.#mappedBy('map-both'))
    return told === 'unknown' ? mappingBySeveral(seenFromApart(servers)) : told
  }

  #filtering(): FilteringClass {
    const [both, port] = [this.#steps.get('filter-both'), this.#steps.get('filter-port')]
    // A server that refuses to answer from elsewhere says nothing of who would be let in.
    if (both === undefined || port === undefined || (both.kind !== 'answered' && both.kind !== 'silent')) return 'unknown'
    // Silence says something only of a server whose other address is there at all.
    if (both.kind === 'silent' && this.#mappedBy('map-both') === undefined) return 'unknown'
    return filteringOf(both.kind === 'answered', port.kind === 'answered')
  }

  #hairpin(): boolean | undefined {
    const [there, back] = [this.#steps.get('hairpin-first'), this.#steps.get('hairpin-second')]
    return there === undefined || back === undefined ? undefined : there.kind === 'returned' || back.kind === 'returned'
  }
}

/** OTHER-ADDRESS is of use only where both address and port are others. */
function isOther(other: Uint8Array | undefined, address: Uint8Array): boolean {
  return other !== undefined && portOf(other) !== portOf(address) && !equalAddress(withPort(other, 0), 0, withPort(address, 0), 0)
}

/** What servers at different addresses saw, one of each address. */
function seenFromApart(servers: readonly CheckedServer[]): readonly Uint8Array[] {
  const hosts = new Map(servers.filter(({ mapped }) => mapped !== undefined).map(({ address, mapped }) => [String(withPort(address, 0)), mapped!]))
  return [...hosts.values()]
}

function withPort(address: Uint8Array, port: number): Uint8Array {
  const changed = address.slice(0, ADDRESS_SIZE)
  writeU16(changed, 16, port)
  return changed
}
