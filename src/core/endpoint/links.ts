import { isIPv4 } from '../base/address.ts'
import { isBleAddress } from '../base/ble-address.ts'
import type { Counters } from '../base/counters.ts'
import { isReliable, type LinkId, type LinkKind, type PeerHandle } from '../base/domain.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { Connection } from '../connection/connection.ts'
import type { CounterName, LinkFacts } from '../connection/host.ts'
import type { CarrierKind } from '../connection/dialing/pending-dials.ts'
import type { EndpointAction, LinkInfo, LinkUse } from './contract.ts'

/** Actions that wait to be polled. The pump drains them after every call, so this many in one call is a bug elsewhere. */
const ACTIONS_MAX = 1 << 16
/** WIRE.md §7: messages A on a connection before a session is authenticated on it. */
const INITIATIONS_MAX = 4
/** Datagrams that authenticate nothing, in a row: of a connection that no session has used, and of one that a session uses (keys wear out). */
const FAULTS_MAX_STRANGER = 4
const FAULTS_MAX = 64

export class Link implements LinkFacts {
  readonly id: LinkId
  readonly info: LinkInfo
  readonly kind: LinkKind
  readonly reliable: boolean
  readonly dialed: boolean
  readonly datagramMax: number
  readonly datagramSize: number | undefined
  readonly segmentsMax: number
  readonly dontFragment: boolean
  readonly setsTtl: boolean
  /** Its driver takes one datagram, and says when it takes the next. */
  readonly single: boolean
  /** A socket of one round of guessing, which nothing goes through but its own. */
  readonly spare: boolean
  blocked = false
  /** The session that this connection is a path of. One connection carries one session (WIRE.md §7). */
  owner: Connection | undefined
  /** Whose dial it answers. */
  dialer: Connection | undefined
  initiations = 0
  faults = 0
  confirmed = false
  closing = false

  constructor(id: LinkId, info: LinkInfo) {
    this.id = id
    this.info = info
    this.kind = info.kind
    this.reliable = isReliable(info.kind)
    this.dialed = info.dialed === true
    this.datagramMax = info.datagramMax
    this.datagramSize = info.datagramSize
    this.single = info.single === true
    this.segmentsMax = info.segmentsMax
    this.dontFragment = info.dontFragment === true
    this.setsTtl = info.setsTtl === true
    this.spare = info.spare === true
  }
}

/** The open links of a node: sockets and connections, whose connections they are, and what their drivers are to do. */
export class Links {
  readonly #links = new Map<LinkId, Link>()
  readonly #actions = new BoundedQueue<EndpointAction>(ACTIONS_MAX)
  /** Sessions whose dials were not answered, by token. Bounded by what each session may dial at once. */
  readonly #dials = new Map<number, Connection>()
  /** Connections whose session ended: closed, unless the peer's next session came over them. */
  readonly #orphans: Link[] = []
  /** Dials of addresses, by token: nobody is expected there. BOUNDED: a driver takes few at once, and answers each. */
  readonly #strangers = new Map<number, Uint8Array>()
  readonly #counters: Counters<CounterName>
  #token = 0
  #singles = 0

  constructor(counters: Counters<CounterName>) {
    this.#counters = counters
  }

  get(id: LinkId): Link | undefined {
    return this.#links.get(id)
  }

  open(id: LinkId, info: LinkInfo): Link {
    const link = new Link(id, info)
    this.#links.set(id, link)
    if (link.single) this.#singles++
    return link
  }

  delete(id: LinkId): Link | undefined {
    const link = this.#links.get(id)
    this.#links.delete(id)
    if (link?.single === true) this.#singles--
    return link
  }

  /** A datagram was written for the link: one that takes them singly is blocked until its driver asks for the next. */
  wrote(id: LinkId): void {
    if (this.#singles === 0) return
    const link = this.#links.get(id)
    if (link?.single === true) link.blocked = true
  }

  /** What a connection is for; `undefined` for sockets. */
  useOf(id: LinkId): LinkUse | undefined {
    const link = this.#links.get(id)
    if (link?.reliable !== true || link.closing) return undefined
    if (!link.confirmed) return 'stranger'
    return link.owner?.state.active?.link === id ? 'active' : 'standby'
  }

  get hasSocket(): boolean {
    for (const link of this.#links.values()) if (link.kind === 'udp' && !link.spare) return true
    return false
  }

  /** Asks for sockets that are opened for one round of guessing: each comes with the token that is returned. */
  openSockets(count: number): number {
    const token = ++this.#token
    this.#actions.push({ kind: 'open-sockets', token, count })
    return token
  }

  /** Asks for one such socket for a dial. BOUNDED: one for each session that is being dialed. */
  openScout(connection: Connection): number {
    const token = this.openSockets(1)
    this.#dials.set(token, connection)
    return token
  }

  /** What was asked for and is not open yet is of no use any more. */
  cancelSockets(token: number): void {
    this.#actions.push({ kind: 'cancel-dial', token })
  }

  /** Closes such a socket. */
  endSpare(id: LinkId): void {
    const link = this.#links.get(id)
    if (link?.spare !== true || link.closing) return
    link.closing = true
    this.#actions.push({ kind: 'close-link', link: id })
  }

  /** Sockets that reach this address, but none that is spare. */
  to(address: Uint8Array): readonly LinkId[] {
    const found: LinkId[] = []
    if (isBleAddress(address)) return found
    const four = isIPv4(address)
    for (const link of this.#links.values()) {
      if (link.kind !== 'udp' || link.spare) continue
      // A socket bound to the v6 wildcard is dual stack unless its driver says it is v4 only, by a v4 local address.
      const localFour = isIPv4(link.info.local)
      if (localFour ? four : !four || link.info.dualStack === true) found.push(link.id)
    }
    return found
  }

  // ── dials ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Dials whoever is at this address. */
  dialAnybody(transport: CarrierKind, address: Uint8Array): void {
    const token = ++this.#token
    this.#counters.add('links_dialed')
    this.#strangers.set(token, address.slice())
    this.#actions.push({ kind: 'dial', transport, token, address: address.slice(), peer: undefined })
  }

  dial(connection: Connection, peer: PeerHandle, transport: CarrierKind, address: Uint8Array): number {
    const token = ++this.#token
    this.#dials.set(token, connection)
    this.#counters.add('links_dialed')
    this.#actions.push({ kind: 'dial', transport, token, address: address.slice(), peer })
    return token
  }

  cancel(token: number): void {
    if (this.#dials.delete(token)) this.#actions.push({ kind: 'cancel-dial', token })
  }

  /** The address of a dial of {@link dialAnybody}, once. */
  answeredAnybody(token: number): Uint8Array | undefined {
    const address = this.#strangers.get(token)
    this.#strangers.delete(token)
    return address
  }

  /** The session that waits for this dial; from now on nobody does. */
  answered(token: number): Connection | undefined {
    const connection = this.#dials.get(token)
    this.#dials.delete(token)
    return connection
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A datagram of this session authenticated on the link: whether it may be there. */
  claim(link: Link, connection: Connection): boolean {
    link.faults = 0
    if (link.owner === undefined) link.owner = connection
    return link.owner === connection
  }

  /** A handshake was done on the connection. */
  claimFor(id: LinkId, connection: Connection): void {
    const link = this.#links.get(id)
    if (link?.reliable === true) this.claim(link, connection)
  }

  confirm(id: LinkId): void {
    const link = this.#links.get(id)
    if (link?.reliable !== true || link.confirmed || link.closing) return
    link.confirmed = true
    this.#counters.add('links_confirmed')
    this.#actions.push({ kind: 'confirm-link', link: id })
  }

  end(id: LinkId): void {
    const link = this.#links.get(id)
    if (link?.spare === true) this.endSpare(id)
    if (link?.reliable !== true || link.closing) return
    link.closing = true
    this.#actions.push({ kind: 'close-link', link: id })
  }

  /** Whether one more A may be read from this connection; it is closed after too many. */
  mayInitiate(link: Link): boolean {
    if (!link.reliable || link.confirmed || ++link.initiations <= INITIATIONS_MAX) return true
    this.#drop(link)
    return false
  }

  /** A datagram from this link authenticated nothing. */
  fault(link: Link | undefined): void {
    if (link?.reliable === true && ++link.faults >= (link.confirmed ? FAULTS_MAX : FAULTS_MAX_STRANGER)) this.#drop(link)
  }

  #drop(link: Link): void {
    if (link.closing) return
    this.#counters.add('links_closed_faults')
    this.end(link.id)
  }

  /** The session is over. */
  release(connection: Connection): void {
    for (const link of this.#links.values()) {
      if (link.dialer === connection) link.dialer = undefined
      if (link.owner !== connection) continue
      link.owner = undefined
      this.#orphans.push(link)
    }
    for (const [token, dialer] of this.#dials) if (dialer === connection) this.cancel(token)
  }

  /** Everything that came of a call is decided when actions are polled: so are the connections that nobody took over. */
  pollAction(): EndpointAction | undefined {
    for (let link = this.#orphans.pop(); link !== undefined; link = this.#orphans.pop()) if (link.owner === undefined) this.end(link.id)
    return this.#actions.shift()
  }
}
