import type { Socket } from 'node:net'
import { ADDRESS_SIZE, decodeAddress } from '../core/base/address.ts'
import { assert } from '../core/base/assert.ts'
import type { Counters } from '../core/base/counters.ts'
import type { LinkId, LinkInfo } from '../core/endpoint/contract.ts'
import type { DialResult } from './driver.ts'
import { encodeHost, TcpConnection, type TcpOwner } from './tcp-connection.ts'
import type { TcpCounter } from './tcp-counters.ts'
import { TcpDeadlines } from './tcp-deadlines.ts'
import { endCounter, type TcpEnd } from './tcp-end.ts'
import { HalfOpen, prefixOf } from './tcp-half-open.ts'
import type { TcpLimits } from './tcp-limits.ts'
import type { ScratchPool } from './tcp-outbox.ts'
import type { TcpSystem } from './tcp-system.ts'
import { codeOf } from './udp-open.ts'

/** What the driver makes of it; of these, `opened` and `record` reach the host at once. */
export interface ConnectionHooks {
  opened(connection: TcpConnection, info: LinkInfo): LinkId
  record: TcpOwner['record']
  attention: TcpOwner['attention']
  /** {@link TcpConnections.takeEnds} has something. */
  ended(): void
}

export interface ConnectionEnd {
  readonly connection: TcpConnection
  readonly end: TcpEnd
}

/** What a wished port that is taken says, also by our own listener where ports are not shared, or by a connection between the same two ports. */
const portRefused = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES', 'EPERM'])

/** Every connection of a driver from its socket's first moment to its last, and how many of which kind there may be. */
export class TcpConnections implements TcpOwner {
  readonly system: TcpSystem
  readonly limits: TcpLimits
  readonly counters: Counters<TcpCounter>
  readonly scratches: ScratchPool
  readonly record: TcpOwner['record']
  readonly attention: TcpOwner['attention']
  readonly #hooks: ConnectionHooks
  readonly #deadlines: TcpDeadlines
  /** By slot. Bounded by the half-open limits, `dialsMax`, and what the host confirmed and does not close. */
  readonly #connections: (TcpConnection | undefined)[] = []
  readonly #freeSlots: number[] = []
  /** Open links. */
  readonly #links = new Map<number, TcpConnection>()
  /** Dials that were not answered, by token. */
  readonly #dials = new Map<number, { readonly connection: TcpConnection; readonly localPort: number | undefined }>()
  /** Dialed and not confirmed, with or without a link: at most `dialsMax`. */
  readonly #dialed = new Set<TcpConnection>()
  readonly #halfOpen: HalfOpen<TcpConnection>
  #ends: ConnectionEnd[] = []

  constructor(hooks: ConnectionHooks, parts: { system: TcpSystem; limits: TcpLimits; counters: Counters<TcpCounter>; scratches: ScratchPool }) {
    this.#hooks = hooks
    this.record = hooks.record
    this.attention = hooks.attention
    this.system = parts.system
    this.limits = parts.limits
    this.counters = parts.counters
    this.scratches = parts.scratches
    this.#deadlines = new TcpDeadlines(parts.system, (slot, now) => this.#connections[slot]?.onDeadline(now))
    this.#halfOpen = new HalfOpen(parts.limits.unconfirmedMax, parts.limits.unconfirmedPrefixMax)
  }

  /** Of any state, their ends not yet taken included. */
  get count(): number {
    return this.#connections.length - this.#freeSlots.length + this.#ends.length
  }

  open(): Iterable<TcpConnection> {
    return this.#links.values()
  }

  find(link: number): TcpConnection | undefined {
    return this.#links.get(link)
  }

  accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket
    const remote = remoteAddress === undefined || remotePort === undefined ? undefined : encodeHost(remoteAddress, remotePort)
    this.counters.add('tcp_accepted')
    if (remote === undefined) {
      // Gone before we looked.
      this.counters.add('tcp_end_reset')
      refuse(socket)
      return
    }
    const connection = this.#add(socket, remote, undefined)
    this.#halfOpen.add(connection, prefixOf(remote))?.finish('evicted')
  }

  dial(address: Uint8Array, token: number, localPort: number | undefined): DialResult {
    assert(!this.#dials.has(token), 'no running dial has this token')
    if (this.#dialed.size >= this.limits.dialsMax) {
      this.counters.add('tcp_dials_refused')
      return 'full'
    }
    this.counters.add('tcp_dials')
    this.#dial(address.slice(0, ADDRESS_SIZE), token, localPort)
    return 'dialing'
  }

  cancel(token: number): void {
    this.#dials.get(token)?.connection.finish('cancelled')
  }

  confirm(link: number): void {
    const connection = this.#links.get(link)
    if (connection === undefined) return
    this.#halfOpen.delete(connection)
    this.#dialed.delete(connection)
    connection.confirm()
  }

  /** No rows from now on; the end is told when it came. */
  close(link: number): void {
    const connection = this.#links.get(link)
    if (connection === undefined) return
    this.#links.delete(link)
    connection.close()
  }

  /** Open links in order, all else at once. */
  closeAll(): void {
    for (const connection of [...this.#connections]) {
      if (connection === undefined || connection.isClosing) continue
      // One that is just being told of as opened has no number yet.
      if (connection.isOpen && connection.link !== undefined) this.close(connection.link)
      else connection.finish('driver_closed')
    }
  }

  takeEnds(): readonly ConnectionEnd[] {
    const ends = this.#ends
    this.#ends = []
    return ends
  }

  stop(): void {
    this.#deadlines.stop()
  }

  opened(connection: TcpConnection, info: LinkInfo): LinkId {
    this.counters.add('tcp_opened')
    if (connection.token !== undefined) this.#dials.delete(connection.token)
    const link = this.#hooks.opened(connection, info)
    // The host may have closed the driver in that call.
    if (connection.isOpen) this.#links.set(link, connection)
    return link
  }

  deadlineMoved(connection: TcpConnection): void {
    this.#deadlines.set(connection.slot, connection.deadline)
  }

  ended(connection: TcpConnection, end: TcpEnd): void {
    const { slot, link, token } = connection
    this.#deadlines.set(slot, connection.deadline)
    this.#connections[slot] = undefined
    this.#freeSlots.push(slot)
    this.#halfOpen.delete(connection)
    this.#dialed.delete(connection)
    if (link !== undefined) this.#links.delete(link)
    const dial = token === undefined ? undefined : this.#dials.get(token)
    if (dial !== undefined) this.#dials.delete(token!)
    if (dial?.localPort !== undefined && end.error !== undefined && portRefused.has(codeOf(end.error))) {
      this.counters.add('tcp_local_port_refused')
      this.#dial(connection.remote, token!, undefined)
      return
    }
    this.counters.add(endCounter(end.reason))
    this.#ends.push({ connection, end })
    this.#hooks.ended()
  }

  #dial(address: Uint8Array, token: number, localPort: number | undefined): void {
    const { host, port } = decodeAddress(address)
    const socket = this.system.connect({ host, port, noDelay: true, allowHalfOpen: true, autoSelectFamily: false, ...(localPort === undefined ? {} : { localPort }) })
    const connection = this.#add(socket, address, token)
    this.#dialed.add(connection)
    this.#dials.set(token, { connection, localPort })
  }

  #add(socket: Socket, remote: Uint8Array, token: number | undefined): TcpConnection {
    const slot = this.#freeSlots.pop() ?? this.#connections.length
    const connection = new TcpConnection(this, socket, { slot, remote, token })
    this.#connections[slot] = connection
    this.deadlineMoved(connection)
    return connection
  }
}

/** Closes a socket that nobody wants, whatever it has to say. */
export function refuse(socket: Socket): void {
  socket.on('error', () => undefined)
  socket.destroy()
}
