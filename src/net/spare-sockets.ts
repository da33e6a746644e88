import { ADDRESS_SIZE, portOf } from '../core/base/address.ts'
import { Counters } from '../core/base/counters.ts'
import { PosternError } from '../core/base/errors.ts'
import { ReceiveBatch, type LinkId, type TransmitBatch } from '../core/endpoint/contract.ts'
import type { ConnectionHost, Driver, DriverLink } from './driver.ts'
import { DgramSocket } from './udp-dgram.ts'
import { Flights } from './udp-flight.ts'
import { UDP_PAYLOAD_MAX } from './udp-socket.ts'
import { udpSystem, type UdpSystem } from './udp-system.ts'

/** What may be open at once, of all rounds: the sockets of one, and those that sessions kept from earlier ones. More are not opened. */
const SOCKETS_MAX = 512
const SLAB_SIZE = 131_072
const ROWS = 128
/** Of each; they carry small datagrams, and one of them perhaps a session. */
const BUFFER_SIZE = 262_144

export const spareCounterNames = ['spare_sockets_opened', 'spare_sockets_refused', 'spare_received_datagrams', 'spare_sent_datagrams', 'spare_send_errors'] as const

/**
 * UDP sockets on ports that the system draws, by `node:dgram`, for rounds of guessing (decision 098): opened one after the other, and each
 * closed by its number. They share one receive slab, which is taken with the first of them.
 */
export class SpareSockets implements Driver {
  readonly kind = 'udp' as const
  readonly #host: ConnectionHost
  readonly #local: string
  readonly #system: UdpSystem
  readonly #counters = new Counters(spareCounterNames)
  readonly #sockets = new Map<LinkId, DgramSocket>()
  /** Rounds whose sockets are being opened. */
  readonly #wanted = new Set<number>()
  readonly #batch = new ReceiveBatch(ROWS)
  readonly #bytes: Buffer
  readonly #flights: Flights
  readonly #work = new Set<Promise<void>>()
  #slab = -1
  #used = 0
  #turnDue = false
  #closed = false

  /** @param local the IPv4 address to bind to: routers before which this is of use speak nothing else */
  constructor(host: ConnectionHost, local: string, system: UdpSystem = udpSystem) {
    this.#host = host
    this.#local = local
    this.#system = system
    const { buffer, byteOffset, length } = host.arena.bytes
    this.#bytes = Buffer.from(buffer, byteOffset, length)
    this.#flights = new Flights({
      failed: () => this.#counters.add('spare_send_errors'), wake: () => this.#wake(), count: (datagrams) => this.#counters.add('spare_sent_datagrams', datagrams),
    })
  }

  /** Sockets that are open. */
  get size(): number {
    return this.#sockets.size
  }

  start(): Promise<void> {
    return Promise.resolve()
  }

  open(token: number, count: number): void {
    if (this.#closed) return
    this.#wanted.add(token)
    const work = this.#openAll(token, count).finally(() => {
      this.#wanted.delete(token)
      this.#work.delete(work)
    })
    this.#work.add(work)
  }

  /** What is not open yet is not opened. */
  cancel(token: number): void {
    this.#wanted.delete(token)
  }

  closeLink(link: LinkId): void {
    const socket = this.#sockets.get(link)
    if (socket === undefined) return
    this.#sockets.delete(link)
    this.#track(socket.close().then(() => this.#host.changed(link, 'closed', undefined)))
  }

  send(batch: TransmitBatch, done: () => void): number {
    const flight = this.#flights.take(done)
    let taken = 0
    for (let row = 0; row < batch.count; row++) {
      const socket = this.#sockets.get(batch.link[row] as LinkId)
      if (socket === undefined || portOf(batch.address, row * ADDRESS_SIZE) === 0) continue
      socket.send(batch, row, flight)
      taken++
    }
    this.#flights.release(flight)
    return taken
  }

  /** They are the round's own affair. */
  links(): readonly DriverLink[] {
    return []
  }

  stats(): Readonly<Record<string, number>> {
    return this.#counters.snapshot()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#wanted.clear()
    for (const link of [...this.#sockets.keys()]) this.closeLink(link)
    while (this.#work.size > 0) await Promise.all(this.#work)
    // Sends that waited end in the loop's close phase: two turns see them all.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => void setImmediate(resolve))
    if (this.#flights.flying > 0) this.#flights.abandon()
    this.#flights.tell()
    if (this.#slab >= 0) this.#host.arena.release(this.#slab)
    this.#slab = -1
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #openAll(token: number, count: number): Promise<void> {
    if (this.#slab < 0) this.#slab = this.#host.arena.allocate(SLAB_SIZE)
    for (let i = 0; i < count && this.#wanted.has(token); i++) {
      const socket = this.#slab < 0 || this.#sockets.size >= SOCKETS_MAX ? undefined
        : await DgramSocket.open(this.#system, this.#local, 0, false, { receive: BUFFER_SIZE, send: BUFFER_SIZE }).catch(() => undefined)
      if (socket === undefined) {
        // Too many files are open, or there is no such address: fewer sockets are better than none.
        this.#counters.add('spare_sockets_refused', count - i)
        return
      }
      if (!this.#wanted.has(token)) return socket.close()
      this.#take(socket, token)
    }
  }

  #take(socket: DgramSocket, token: number): void {
    this.#counters.add('spare_sockets_opened')
    const link = this.#host.opened({ kind: 'udp', local: socket.local, datagramMax: UDP_PAYLOAD_MAX, segmentsMax: 1, spare: true }, token)
    this.#sockets.set(link, socket)
    socket.listen({ link, bytes: this.#bytes, slab: this.#slab, slabSize: SLAB_SIZE, batch: this.#batch }, {
      message: (bytes, from) => this.#onMessage(link, bytes, from),
      unreadable: () => undefined,
      batch: () => undefined,
      error: (error) => this.#onError(link, error),
      sendFailed: () => this.#counters.add('spare_send_errors'),
      sourceGone: () => undefined,
      hinted: () => undefined,
      drained: () => undefined,
    })
  }

  #onMessage(link: LinkId, bytes: Uint8Array, from: Uint8Array): void {
    if (bytes.length === 0 || !this.#sockets.has(link)) return
    if (this.#batch.count === ROWS || this.#used + bytes.length > SLAB_SIZE) this.#flush()
    if (this.#closed) return
    const offset = this.#slab + this.#used
    this.#bytes.set(bytes, offset)
    this.#batch.push(link, from, offset, bytes.length)
    this.#used += bytes.length
    this.#wake()
  }

  /** An error of a receive says that the socket is of no use any more; what it carried finds another way. */
  #onError(link: LinkId, error: Error): void {
    const socket = this.#sockets.get(link)
    if (socket === undefined) return
    this.#sockets.delete(link)
    const cause = new PosternError('start', 'A UDP socket failed.', { cause: error })
    this.#track(socket.close().then(() => this.#host.changed(link, 'closed', cause)))
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#work.delete(tracked))
    this.#work.add(tracked)
  }

  #wake(): void {
    if (this.#turnDue) return
    this.#turnDue = true
    setImmediate(() => {
      this.#turnDue = false
      this.#flights.tell()
      this.#flush()
    })
  }

  #flush(): void {
    const batch = this.#batch
    if (batch.count === 0) return
    this.#counters.add('spare_received_datagrams', batch.count)
    try {
      if (!this.#closed) this.#host.received(batch)
    } finally {
      batch.count = 0
      this.#used = 0
    }
  }
}
