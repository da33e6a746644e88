import type { Server } from 'node:net'
import { assert } from '../core/base/assert.ts'
import type { Counters } from '../core/base/counters.ts'
import type { LinkId, LinkInfo, TransmitBatch } from '../core/endpoint/contract.ts'
import type { ConnectionDriver, ConnectionHost, DialOptions, DialResult, DriverLink } from './driver.ts'
import type { TcpConnection } from './tcp-connection.ts'
import { refuse, TcpConnections } from './tcp-connections.ts'
import { newTcpCounters, type TcpCounter } from './tcp-counters.ts'
import { explainEnd } from './tcp-end.ts'
import { RECORD_LENGTH_MAX } from './tcp-framing.ts'
import { tcpLimits, type TcpLimits } from './tcp-limits.ts'
import { openListeners, portOfServer, type TcpBinding } from './tcp-listen.ts'
import { ScratchPool } from './tcp-outbox.ts'
import { TcpReceiver } from './tcp-receiver.ts'
import { checkRow, TcpSender } from './tcp-sender.ts'
import { tcpSystem, type TcpSystem } from './tcp-system.ts'

export interface TcpOptions extends TcpBinding {
  /** Bytes of the receive slab, at least one largest record; larger means fewer flushes within one turn of the loop. */
  readonly slabSize?: number
  /** Rows of a receive batch. */
  readonly batchCapacity?: number
  /** Unsent bytes of a connection at which its link is `blocked`; it is `writable` again below a quarter. See also {@link OVERSHOOT}. */
  readonly unsentMax?: number
  readonly limits?: Partial<TcpLimits>
  readonly system?: TcpSystem
}

/**
 * A host hears of `blocked` a turn later, and may have sent on meanwhile: up to so many times `unsentMax` is taken. What comes
 * beyond is dropped and counted (`tcp_overflow_datagrams`), so that no connection holds more memory, whatever the host does.
 */
export const OVERSHOOT = 3

/** Node reads up to 64 KiB of a socket at once: a slab takes two such reads. */
const SLAB_SIZE = 131_072
/** As many datagrams of 128 bytes as one read holds. */
const BATCH_CAPACITY = 512
/** WIRE.md §6: what may be unacknowledged on a TCP path. */
const UNSENT_MAX = 65_536
/** One slab of the pump with its record headers is one write. */
const SCRATCH_SIZE = 147_456

//  closed ──start──▶ opening ──▶ open ──close──▶ closing ──▶ closed
//    ▲                  │
//    └──── refused ─────┘
type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'opening'; readonly opened: Promise<void> }
  | { readonly kind: 'open'; readonly servers: readonly Server[] }
  | { readonly kind: 'closing'; readonly closed: Promise<void> }

/**
 * TCP on `node:net` (WIRE.md §7): every connection on which both prefaces were exchanged is a link. What arrived on all of them in one
 * turn of the event loop is handed over as one batch; of a transmit batch each connection gets its rows in one write. A link that
 * fails is not opened again from here: dialing is the host's business.
 */
export class TcpDriver implements ConnectionDriver {
  readonly kind = 'tcp' as const
  readonly #host: ConnectionHost
  readonly #options: TcpOptions
  readonly #system: TcpSystem
  readonly #unsentMax: number
  readonly #counters: Counters<TcpCounter> = newTcpCounters()
  readonly #connections: TcpConnections
  readonly #receiver: TcpReceiver
  readonly #sender: TcpSender
  #port: number
  #state: State = { kind: 'closed' }
  /** Connections to look after in the next turn. */
  #attention: TcpConnection[] = []
  #dones: (() => void)[] = []
  #turnDue = false
  /** Number of the transmit batch at hand. */
  #sending = 0
  #onIdle: (() => void) | undefined
  readonly #turn = (): void => this.#onTurn()

  constructor(host: ConnectionHost, options: TcpOptions) {
    assert((options.slabSize ?? SLAB_SIZE) >= RECORD_LENGTH_MAX, 'the receive slab holds the largest datagram')
    this.#host = host
    this.#options = options
    this.#system = options.system ?? tcpSystem
    this.#port = options.port
    this.#unsentMax = options.unsentMax ?? UNSENT_MAX
    const scratches = new ScratchPool(SCRATCH_SIZE)
    this.#sender = new TcpSender(host.arena, this.#counters, scratches, OVERSHOOT * this.#unsentMax)
    this.#receiver = new TcpReceiver(host, this.#counters, options.slabSize ?? SLAB_SIZE, options.batchCapacity ?? BATCH_CAPACITY)
    this.#connections = new TcpConnections({
      opened: (connection, info) => this.#onOpened(connection, info),
      record: (connection, source, offset, length) => this.#onRecord(connection, source, offset, length),
      attention: (connection) => this.#attend(connection),
      ended: () => this.#wake(),
    }, { system: this.#system, limits: { ...tcpLimits, ...options.limits }, counters: this.#counters, scratches })
  }

  /** The port listened on, 0 before the first start. A port that the system chose is kept for later starts of this driver. */
  get port(): number {
    return this.#port
  }

  /** Whether others can dial this node. */
  get listening(): boolean {
    return this.#state.kind === 'open' && this.#state.servers.length > 0
  }

  async start(): Promise<void> {
    if (this.#state.kind === 'closing') await this.#state.closed
    if (this.#state.kind === 'open') return
    if (this.#state.kind !== 'opening') this.#state = { kind: 'opening', opened: this.#open() }
    await this.#state.opened
  }

  dial(address: Uint8Array, token: number, options: DialOptions = {}): DialResult {
    if (this.#state.kind !== 'open') return 'closed'
    const shared = this.#system.sharesPort && this.#state.servers.length > 0 ? this.#port : undefined
    return this.#connections.dial(address, token, options.localPort ?? shared)
  }

  cancelDial(token: number): void {
    this.#connections.cancel(token)
  }

  confirm(link: LinkId): void {
    this.#connections.confirm(link)
  }

  closeLink(link: LinkId): void {
    this.#connections.close(link)
  }

  pause(link: LinkId): void {
    this.#connections.find(link)?.pause()
  }

  resume(link: LinkId): void {
    this.#connections.find(link)?.resume()
  }

  send(batch: TransmitBatch, done: () => void): number {
    this.#checkBatch(batch)
    this.#sending++
    let taken = 0
    for (let row = 0; row < batch.count; row++) {
      const connection = this.#connections.find(batch.link[row]!)
      if (connection === undefined) continue
      taken++
      if (connection.sentIn === this.#sending) continue
      connection.sentIn = this.#sending
      this.#sender.send(connection, batch, row)
      if (!connection.blocked && connection.unsent >= this.#unsentMax) this.#attend(connection)
    }
    this.#dones.push(done)
    this.#wake()
    return taken
  }

  links(): readonly DriverLink[] {
    return [...this.#connections.open()].map(({ link, info, unsent }) => (
      { id: link!, info: info!, receiveBuffer: undefined, sendBuffer: undefined, unsent }
    ))
  }

  stats(): Readonly<Record<string, number>> {
    return this.#counters.snapshot()
  }

  /** Open links deliver what is queued and hear the other side's end first, for at most {@link TcpLimits.linger}. */
  async close(): Promise<void> {
    // A loop, since a host may answer an end with a new start while this waits.
    while (this.#state.kind !== 'closed') {
      if (this.#state.kind === 'opening') await this.#state.opened.catch(() => undefined)
      if (this.#state.kind === 'open') this.#state = { kind: 'closing', closed: this.#shut(this.#state.servers) }
      if (this.#state.kind === 'closing') await this.#state.closed
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(): Promise<void> {
    let servers: readonly Server[] = []
    try {
      servers = await openListeners({ port: this.#port, bind: this.#options.bind }, this.#system, {
        accept: (socket) => {
          if (this.#state.kind === 'open') this.#connections.accept(socket)
          else refuse(socket)
        },
        // A connection that the system could not give us (no descriptors left); the listener goes on.
        error: () => this.#counters.add('tcp_accept_errors'),
      })
      this.#receiver.open()
      if (servers[0] !== undefined) this.#port = portOfServer(servers[0])
      this.#state = { kind: 'open', servers }
    } catch (error) {
      await closeServers(servers)
      this.#state = { kind: 'closed' }
      throw error
    }
  }

  async #shut(servers: readonly Server[]): Promise<void> {
    const closed = closeServers(servers)
    this.#connections.closeAll()
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
      this.#wake()
    })
    await closed
    this.#connections.stop()
    this.#receiver.close()
    this.#state = { kind: 'closed' }
  }

  #onOpened(connection: TcpConnection, info: LinkInfo): LinkId {
    return connection.token === undefined ? this.#host.opened(info) : this.#host.opened(info, connection.token)
  }

  #onRecord(connection: TcpConnection, source: Uint8Array, offset: number, length: number): void {
    this.#receiver.add(connection.link!, connection.remote, source, offset, length)
    // At once, so that a host that pauses the link in it gets nothing more.
    if (this.#receiver.isFull) this.#receiver.flush()
    else this.#wake()
  }

  #attend(connection: TcpConnection): void {
    if (connection.attended) return
    connection.attended = true
    this.#attention.push(connection)
    this.#wake()
  }

  #wake(): void {
    if (this.#turnDue) return
    this.#turnDue = true
    setImmediate(this.#turn)
  }

  /** Runs in the loop's check phase: after the reads of this turn, outside every completion callback. */
  #onTurn(): void {
    this.#turnDue = false
    const attention = this.#attention
    this.#attention = []
    for (const connection of attention) {
      connection.attended = false
      connection.attend()
    }
    if (this.#state.kind === 'open') this.#receiver.flush()
    else this.#receiver.discard()
    this.#tellEnds()
    for (const connection of attention) this.#tellWritability(connection)
    this.#tellDones()
    if (this.#onIdle === undefined || this.#connections.count > 0 || this.#dones.length > 0) return
    this.#onIdle()
    this.#onIdle = undefined
  }

  /** After the datagrams that came before. */
  #tellEnds(): void {
    for (const { connection, end } of this.#connections.takeEnds()) {
      const { link, token, remote } = connection
      const cause = explainEnd(end, remote)
      if (link !== undefined) {
        this.#counters.add(end.state === 'closed' ? 'tcp_closed' : 'tcp_failed')
        this.#host.changed(link, end.state, cause)
      } else if (token !== undefined) {
        this.#counters.add('tcp_dials_failed')
        assert(cause !== undefined, 'a dial fails for a reason')
        this.#host.dialFailed(token, cause)
      }
    }
  }

  #tellWritability(connection: TcpConnection): void {
    if (!connection.isOpen) return
    const { unsent } = connection
    if (!connection.blocked && unsent >= this.#unsentMax) {
      connection.blocked = true
      this.#counters.add('tcp_blocked')
      this.#host.changed(connection.link!, 'blocked', undefined)
    } else if (connection.blocked && unsent < this.#unsentMax / 4) {
      connection.blocked = false
      this.#host.changed(connection.link!, 'writable', undefined)
    }
  }

  #tellDones(): void {
    const dones = this.#dones
    if (dones.length === 0) return
    this.#dones = []
    for (const done of dones) done()
  }

  /** Rows of other drivers are none of our business. */
  #checkBatch(batch: TransmitBatch): void {
    assert(batch.count >= 0 && batch.count <= batch.capacity, 'transmit batch holds its rows')
    assert(batch.base >= 0 && batch.base + batch.size <= this.#host.arena.capacity, 'transmit slab lies in the arena')
    for (let row = 0; row < batch.count; row++) {
      if (this.#connections.find(batch.link[row]!) !== undefined) checkRow(batch, row)
    }
  }
}

async function closeServers(servers: readonly Server[]): Promise<void> {
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))))
}
