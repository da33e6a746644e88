import { equalAddress, isIPv4 } from '../base/address.ts'
import { addressClass, isRoutable } from '../base/address-class.ts'
import type { LinkId } from '../base/domain.ts'
import { after, millisecond, minute, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import type { MappingClass } from './nat-classes.ts'
import { failed, forgiven, mayAsk, newBreaker, type Breaker } from './breaker.ts'
import { jitter, scheduleFor, STUN_SCHEDULE_SHORT, type StunSchedule } from './schedule.ts'
import { StunTransactions, type StunOptionsOfTable, type StunOutcome } from './transactions.ts'

/** Servers that are kept; what more are named is not asked. */
export const STUN_SERVERS_MAX = 16

/** [P] A server that has not answered for so long is not waited for alone. */
const FAILOVER: Duration = 600 * millisecond
/** [P] With nobody answering, all are asked again after this, doubling: quiet until something changes. */
const QUIET_FIRST: Duration = 30 * second
const QUIET_MAX: Duration = 15 * minute
/** After so many rounds the pause is the longest. */
const ROUNDS_MAX = 16
/** [P] A new network brings its addresses one after the other. */
const SETTLE: Duration = 200 * millisecond

export const ipFamilies = [4, 6] as const
export type IpFamily = (typeof ipFamilies)[number]

export interface StunServer {
  /** As it was configured, for people. */
  readonly name: string
  /** 18 bytes. */
  readonly address: Uint8Array
}

export interface ReflexiveOptions extends StunOptionsOfTable {
  /** A socket from which this server can be reached; `undefined`: it is not asked. */
  readonly linkTo: (server: Uint8Array) => LinkId | undefined
  /** Of every question; by default the short one of UDP, by what is known of the server. */
  readonly schedule?: StunSchedule
  /** How often the address is looked at again while somebody relies on it; 0 = never. */
  readonly refresh: Duration
  /** Whether somebody relies on it now: the mapping is kept open. */
  readonly wanted: (now: Now) => boolean
  readonly changed: (family: IpFamily, address: Uint8Array | undefined, server: string) => void
  /** A server's answer that is believed, each time. */
  readonly answered?: (now: Now, server: Uint8Array, mapped: Uint8Array, other: Uint8Array | undefined) => void
}

/** Where a server sees our socket. */
export interface Reflexive {
  readonly family: IpFamily
  readonly address: Uint8Array
  readonly server: string
  /** 18 bytes, of the server. */
  readonly serverAddress: Uint8Array
  readonly at: Instant
}

export type StunServerState = 'unasked' | 'answers' | 'silent' | 'resting'

export interface StunServerView extends StunServer {
  readonly state: StunServerState
  readonly rtt: Duration | undefined
}

/** STUN on the node's own sockets: where servers see them (WIRE.md §1, §5). Nothing is asked before servers are named. */
export interface StunContract {
  /** Replaces the servers, best first, at most 16; with none, nothing is asked and nothing is known. */
  setServers(now: Now, servers: readonly StunServer[]): void
  /** Interfaces or routes changed: everything is asked anew. */
  networkChanged(now: Now): void
  /** Somebody relies on the addresses from now on: those older than the refresh time are asked for anew. */
  renew(now: Now): void
  /** Servers answer by TCP and not by UDP: dials need not wait for UDP before they try TCP. */
  set blocked(blocked: boolean)
  /** One of each family at most, IPv4 first. */
  readonly addresses: readonly Reflexive[]
  /** How the NAT before the IPv4 socket gives out ports, as far as two servers' answers show it. */
  readonly mapping: MappingClass
  /** An answer is waited for. */
  readonly asking: boolean
  servers(now: Now): readonly StunServerView[]
}

/** What an endpoint brings to it. */
export interface StunInputs {
  handleOpened(now: Now): void
  handleClosed(now: Now): void
  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void
  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[]): void
}

interface Tag {
  readonly family: IpFamily
  readonly server: Server
}

class Server {
  readonly name: string
  readonly address: Uint8Array
  readonly family: IpFamily
  breaker: Breaker = newBreaker
  answered = false
  rtt: Duration | undefined

  constructor({ name, address }: StunServer) {
    this.name = name
    this.address = address.slice()
    this.family = isIPv4(address) ? 4 : 6
  }
}

/**
 *     idle ──servers, socket, network──► asking ──answer──► known ──refresh──► asking
 *                                        │   ▲
 *                              nobody answers │ time, doubling, or a change
 *                                        ▼   │
 *                                        quiet
 */
type State =
  | { readonly kind: 'idle' }
  /** `waiting` servers have the question; that of place `next` gets it at `nextAt`, at the latest when one of them fails. */
  | { readonly kind: 'asking'; readonly next: number; readonly waiting: number; readonly nextAt: Instant; readonly rounds: number }
  | { readonly kind: 'known'; readonly refreshAt: Instant }
  | { readonly kind: 'quiet'; readonly until: Instant; readonly rounds: number }

interface Family {
  readonly family: IpFamily
  state: State
  known: Reflexive | undefined
  /** What is known was learned on another network, or nobody could confirm it: it does not outlive one more round without an answer. */
  doubt: boolean
}

/**
 * Keeps the node's reflexive addresses, one of each family: asks the configured servers in their order, the next one when one is slow,
 * lets those rest that fail, and is quiet when nobody answers. Asked once for each network; again only while somebody relies on it.
 */
export class ReflexiveAddresses {
  readonly #options: ReflexiveOptions
  readonly #table: StunTransactions<Tag>
  readonly #families: readonly Family[] = ipFamilies.map((family) => ({ family, state: { kind: 'idle' }, known: undefined, doubt: false }))
  #servers: readonly Server[] = []

  constructor(options: ReflexiveOptions) {
    this.#options = options
    this.#table = new StunTransactions(options)
  }

  /** Replaces the servers, best first; of one that stays, what is known stays too. */
  setServers(now: Now, servers: readonly StunServer[]): void {
    const kept = servers.slice(0, STUN_SERVERS_MAX)
    const before = this.#servers
    if (kept.length === before.length && kept.every((server, i) => same(before[i]!, server))) return
    this.#servers = kept.map((wanted) => before.find((server) => same(server, wanted)) ?? new Server(wanted))
    this.#table.cancel(() => true)
    for (const family of this.#families) if (family.state.kind !== 'known' || kept.length === 0) this.#begin(now, family, 0)
  }

  /** The network may be another: what was learned may not hold, and nobody's silence either. */
  networkChanged(now: Now): void {
    this.#table.cancel(() => true)
    for (const server of this.#servers) server.breaker = forgiven(server.breaker, now.mono)
    for (const family of this.#families) {
      family.doubt = true
      this.#begin(now, family, 0, after(now.mono, SETTLE))
    }
  }

  /** Somebody relies on the address from now on: what is older than it would be then is asked anew. */
  renew(now: Now): void {
    for (const family of this.#families) {
      const old = family.known !== undefined && now.mono >= after(family.known.at, this.#options.refresh)
      if (family.state.kind === 'known' && old) this.#begin(now, family, 0)
    }
  }

  /** A socket opened. Where it is the only one, there was nothing to ask from before. */
  handleOpened(now: Now): void {
    for (const family of this.#families) if (family.state.kind === 'idle' || family.state.kind === 'quiet') this.#begin(now, family, 0)
  }

  /** A socket is gone, and with it the mappings that were made for it. */
  handleClosed(now: Now): void {
    this.#table.cancel(() => true)
    for (const family of this.#families) {
      family.doubt = true
      if (family.state.kind !== 'idle') this.#begin(now, family, 0)
    }
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    this.#table.handleDatagram(link, from, bytes, offset, length, now)
    this.#settle(now)
  }

  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[]): void {
    if (this.#table.size === 0) return
    for (const address of addresses) this.#table.handleRefused(link, address)
    this.#settle(now)
  }

  /** The connection to this server ended: who was asked on it does not answer. */
  handleLost(now: Now, link: LinkId, address: Uint8Array): void {
    this.#table.handleRefused(link, address, 'silent')
    this.#settle(now)
  }

  /** What `linkTo` says may be something else than before. */
  review(now: Now): void {
    for (const family of this.#families) {
      const idle = family.state.kind === 'idle'
      if (idle !== this.#reaches(family.family)) continue
      this.#table.cancel((tag) => tag.family === family.family)
      this.#begin(now, family, 0)
    }
  }

  /** Servers whose answer is waited for. */
  get asked(): readonly Uint8Array[] {
    return this.#table.tags.map(({ server }) => server.address)
  }

  handleTimeout(now: Now): void {
    this.#table.handleTimeout(now)
    this.#settle(now)
    for (const family of this.#families) {
      const { state } = family
      if (state.kind === 'asking' && now.mono >= state.nextAt) this.#askNext(now, family)
      else if (state.kind === 'quiet' && now.mono >= state.until) this.#begin(now, family, state.rounds)
      else if (state.kind === 'known' && now.mono >= state.refreshAt) this.#refresh(now, family)
    }
    this.#settle(now)
  }

  nextTimeout(): Instant {
    const own = this.#families.map(({ state }) => state.kind === 'asking' ? state.nextAt : state.kind === 'quiet' ? state.until : state.kind === 'known' ? state.refreshAt : never)
    return toInstant(Math.min(this.#table.nextTimeout(), ...own))
  }

  /** What is known, IPv4 first. */
  get addresses(): readonly Reflexive[] {
    return this.#families.flatMap(({ known }) => known ?? [])
  }

  /** Whether an answer is still waited for. */
  get asking(): boolean {
    return this.#families.some(({ state }) => state.kind === 'asking')
  }

  servers(now: Now): readonly StunServerView[] {
    return this.#servers.map(({ name, address, breaker, answered, rtt }) => ({
      name, address, rtt, state: !mayAsk(breaker, now.mono) ? 'resting' : breaker.failures > 0 ? 'silent' : answered ? 'answers' : 'unasked',
    }))
  }

  #begin(now: Now, family: Family, rounds: number, at: Instant = now.mono): void {
    if (!this.#reaches(family.family)) {
      family.state = { kind: 'idle' }
      this.#learn(now, family, undefined, undefined)
      return
    }
    family.state = { kind: 'asking', next: 0, waiting: 0, nextAt: at, rounds }
    if (at <= now.mono) this.#askNext(now, family)
  }

  #reaches(family: IpFamily): boolean {
    return this.#servers.some((server) => server.family === family && this.#options.linkTo(server.address) !== undefined)
  }

  /** Nobody looks at the clock for this: a mapping that nobody relies on may close. */
  #refresh(now: Now, family: Family): void {
    if (this.#options.wanted(now)) this.#begin(now, family, 0)
    else family.state = { kind: 'known', refreshAt: after(now.mono, this.#options.refresh) }
  }

  /** Asks the next server that may be asked. With none left and no answer to come, the round is over. */
  #askNext(now: Now, family: Family): void {
    const { state } = family
    if (state.kind !== 'asking') return
    for (let place = state.next; place < this.#servers.length; place++) {
      const server = this.#servers[place]!
      const link = server.family === family.family && mayAsk(server.breaker, now.mono) ? this.#options.linkTo(server.address) : undefined
      if (link === undefined) continue
      const schedule = this.#options.schedule ?? scheduleFor(STUN_SCHEDULE_SHORT, server.rtt)
      if (!this.#table.ask(now, { link, to: server.address, schedule, tag: { family: family.family, server } })) break
      family.state = { ...state, next: place + 1, waiting: state.waiting + 1, nextAt: after(now.mono, FAILOVER * jitter(this.#options.unit())) }
      return
    }
    if (state.waiting > 0) family.state = { ...state, next: this.#servers.length, nextAt: never }
    else this.#beQuiet(now, family, state.rounds)
  }

  #beQuiet(now: Now, family: Family, rounds: number): void {
    const pause = Math.min(QUIET_MAX, QUIET_FIRST * 2 ** rounds) * jitter(this.#options.unit())
    family.state = { kind: 'quiet', until: after(now.mono, pause), rounds: Math.min(rounds + 1, ROUNDS_MAX) }
    if (family.doubt) this.#learn(now, family, undefined, undefined)
    family.doubt = true
  }

  #settle(now: Now): void {
    for (let outcome = this.#table.pollOutcome(); outcome !== undefined; outcome = this.#table.pollOutcome()) this.#on(now, outcome)
  }

  #on(now: Now, outcome: StunOutcome<Tag>): void {
    const { server, family: number } = outcome.tag
    const family = this.#families.find((candidate) => candidate.family === number)!
    if (outcome.kind === 'answered' && this.#believable(outcome.mapped, server)) {
      server.breaker = newBreaker
      server.answered = true
      server.rtt = outcome.rtt ?? server.rtt
      this.#table.cancel((tag) => tag.family === number)
      family.state = { kind: 'known', refreshAt: this.#options.refresh === 0 ? never : after(now.mono, this.#options.refresh * jitter(this.#options.unit())) }
      this.#learn(now, family, outcome.mapped, server)
      this.#options.answered?.(now, server.address, outcome.mapped, outcome.other)
      return
    }
    // That the system does not send says nothing of the server.
    if (outcome.kind !== 'unreachable') server.breaker = failed(server.breaker, now.mono, this.#options.unit())
    if (family.state.kind !== 'asking') return
    family.state = { ...family.state, waiting: family.state.waiting - 1 }
    this.#askNext(now, family)
  }

  /** A server is one voice: its word is a candidate, and not even that when nobody can be there. */
  #believable(mapped: Uint8Array, server: Server): boolean {
    return isRoutable(mapped) || (addressClass(mapped) === 'loopback' && addressClass(server.address) === 'loopback')
  }

  #learn(now: Now, family: Family, address: Uint8Array | undefined, server: Server | undefined): void {
    const before = family.known
    family.doubt = false
    family.known = address === undefined || server === undefined ? undefined : { family: family.family, address, server: server.name, serverAddress: server.address, at: now.mono }
    const unchanged = before !== undefined && address !== undefined ? equalAddress(before.address, 0, address, 0) : before === address
    if (!unchanged) this.#options.changed(family.family, address, server?.name ?? '')
  }
}

function same(a: StunServer, b: StunServer): boolean {
  return a.name === b.name && equalAddress(a.address, 0, b.address, 0)
}
