import { ADDRESS_SIZE, portOf } from '../core/base/address.ts'
import { assert } from '../core/base/assert.ts'
import { toBinaryString } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import { ReceiveBatch, type LinkId, type LinkInfo, type PathHint, type TransmitBatch } from '../core/endpoint/contract.ts'
import type { Driver, DriverHost, DriverLink } from './driver.ts'
import { dgramEngine } from './udp-dgram.ts'
import { Flights, type Flight } from './udp-flight.ts'
import { newUdpCounters, sendErrorCounter } from './udp-counters.ts'
import { codeOf, openSockets, type OpenedSocket, type UdpBinding } from './udp-open.ts'
import { hintReason, Refusals } from './udp-refusals.ts'
import { SEGMENTS_MAX, UDP_PAYLOAD_MAX, type UdpEngine, type UdpSocket } from './udp-socket.ts'
import { udpSystem, type UdpSystem } from './udp-system.ts'

export interface UdpOptions extends UdpBinding {
  /** Bytes of the receive slab, at least {@link SLAB_MIN}; larger means fewer flushes within one turn of the loop. */
  readonly slabSize?: number
  /** Rows of a receive batch. */
  readonly batchCapacity?: number
  /** Unsent bytes of a socket at which its link is `blocked`; it is `writable` again below a quarter. */
  readonly unsentMax?: number
  /** Datagrams leave with DF and are never cut on the way; Node cannot see to that by itself, sockets of the addon do. */
  readonly dontFragment?: boolean
  readonly system?: UdpSystem
  /** What opens the sockets; `node:dgram` when absent. */
  readonly engine?: UdpEngine
}

/** Any one datagram fits. */
export const SLAB_MIN = 65_536
const BATCH_CAPACITY = 128
/** Two of the pump's four slabs of 128 KiB: one slow socket is told of before it holds them all and stops the other links too. */
const UNSENT_MAX = 262_144
/** What a peer or the network can cause on a healthy socket. It concerns one earlier send, not the socket. */
const passingErrors = new Set(['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN', 'EHOSTDOWN', 'EMSGSIZE', 'ENOBUFS', 'ENOMEM', 'EAGAIN', 'EINTR', 'EPERM', 'EPROTO'])
/** What ICMP says is gathered for so long, since each word of it looks at every session; and so many destinations are told at once, the others when they are named again. */
const HINTS_MS = 20
const HINTS_MAX = 256
/** So many of them with no datagram between are no passing matter. */
const PASSING_ERRORS_MAX = 1000

interface OpenLink {
  readonly id: LinkId
  readonly info: LinkInfo
  readonly socket: UdpSocket
  blocked: boolean
  errorsInRow: number
  /** The shortest datagram that the system found too large since the host was told; Infinity: none. */
  tooLarge: number
  /** By destination: what ICMP said since the host was told. */
  readonly hints: Map<string, PathHint>
}

//  closed ──start──▶ opening ──▶ open ──close──▶ closing ──▶ closed
//    ▲                  │         │
//    └──── refused ─────┘         └──socket error──▶ failing ──▶ closed (start may be called again)
type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'opening'; readonly opened: Promise<void> }
  | { readonly kind: 'open'; readonly links: readonly OpenLink[] }
  | { readonly kind: 'closing'; readonly closed: Promise<void> }

/**
 * UDP: one socket for IPv4 and IPv6 where the machine allows it, else one of each. The engine decides how datagrams go in and
 * out of them: one by one through `node:dgram`, gathered into one batch per turn of the event loop, or as bursts through the addon.
 */
export class UdpDriver implements Driver {
  readonly kind = 'udp' as const
  readonly #host: DriverHost
  readonly #options: UdpOptions
  readonly #system: UdpSystem
  readonly #engine: UdpEngine
  readonly #counters = newUdpCounters()
  readonly #bytes: Buffer
  readonly #batch: ReceiveBatch
  readonly #unsentMax: number
  readonly #flights: Flights
  readonly #refusals = new Refusals()
  /** Offset of the receive slab in the arena, −1 while there is none. Held for the driver's life: acknowledgements that free memory must get in when memory is short. */
  #slab = -1
  #slabSize = 0
  #slabUsed = 0
  #port: number
  #state: State = { kind: 'closed' }
  #turnDue = false
  #hintTimer: NodeJS.Timeout | undefined
  readonly #turn = (): void => this.#onTurn()

  constructor(host: DriverHost, options: UdpOptions) {
    assert(options.bind.length > 0, 'a UDP driver binds to at least one address')
    this.#system = options.system ?? udpSystem
    this.#engine = options.engine ?? dgramEngine(this.#system)
    assert((options.slabSize ?? this.#engine.slabSize) >= SLAB_MIN, 'the receive slab holds the largest datagram')
    this.#host = host
    this.#options = options
    this.#port = options.port
    this.#unsentMax = options.unsentMax ?? UNSENT_MAX
    const { buffer, byteOffset, length } = host.arena.bytes
    this.#bytes = Buffer.from(buffer, byteOffset, length)
    this.#batch = new ReceiveBatch(options.batchCapacity ?? BATCH_CAPACITY)
    this.#flights = new Flights({
      failed: (error) => this.#onSendError(error),
      wake: () => this.#wake(),
      count: (datagrams, bytes) => {
        this.#counters.add('udp_sent_datagrams', datagrams)
        this.#counters.add('udp_sent_bytes', bytes)
      },
    })
  }

  /** The bound port, 0 before the first start. A port that the system chose is kept for later starts of this driver. */
  get port(): number {
    return this.#port
  }

  async start(): Promise<void> {
    if (this.#state.kind === 'closing') await this.#state.closed
    if (this.#state.kind === 'open') return
    if (this.#state.kind !== 'opening') this.#state = { kind: 'opening', opened: this.#open() }
    await this.#state.opened
  }

  send(batch: TransmitBatch, done: () => void): number {
    checkBatch(batch, this.#bytes.length)
    const flight = this.#flights.take(done)
    let taken = 0
    if (this.#state.kind === 'open') {
      for (let row = 0; row < batch.count; row++) {
        const link = this.#find(this.#state.links, batch.link[row]!)
        if (link === undefined) continue
        this.#sendRow(link, batch, row, flight)
        taken++
      }
      for (const link of this.#state.links) {
        link.socket.flush()
        if (!link.blocked && link.socket.unsent() >= this.#unsentMax) this.#wake()
      }
    }
    this.#flights.release(flight)
    return taken
  }

  links(): readonly DriverLink[] {
    if (this.#state.kind !== 'open') return []
    return this.#state.links.map(({ id, info, socket }) => (
      { id, info, receiveBuffer: socket.receiveBuffer, sendBuffer: socket.sendBuffer, unsent: socket.unsent(), features: socket.features }
    ))
  }

  /** `udp_kernel_drops` is there only where the system tells: what came while the receive buffer was full. */
  stats(): Readonly<Record<string, number>> {
    const counted: Record<string, number> = this.#counters.snapshot()
    if (this.#state.kind !== 'open') return counted
    for (const { socket } of this.#state.links) {
      const drops = this.#system.kernelDrops(socket.local, socket.family)
      if (drops !== undefined) counted['udp_kernel_drops'] = (counted['udp_kernel_drops'] ?? 0) + drops
    }
    return counted
  }

  async close(): Promise<void> {
    // A loop, since a host may answer 'failed' with a new start while this waits.
    while (this.#state.kind !== 'closed') {
      if (this.#state.kind === 'opening') await this.#state.opened.catch(() => undefined)
      if (this.#state.kind === 'open') this.#shut(this.#state.links, 'closed', undefined)
      if (this.#state.kind === 'closing') await this.#state.closed
    }
    if (this.#slab < 0) return
    this.#host.arena.release(this.#slab)
    this.#slab = -1
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(): Promise<void> {
    let sockets: readonly OpenedSocket[] = []
    try {
      sockets = await openSockets({ ...this.#options, port: this.#port }, this.#engine)
      this.#takeSlab()
      this.#port = sockets[0]!.socket.port
      const links = sockets.map(({ socket, dualStack }): OpenLink => {
        const info: LinkInfo = { kind: 'udp', local: socket.local, dualStack, datagramMax: UDP_PAYLOAD_MAX, segmentsMax: SEGMENTS_MAX, dontFragment: this.#options.dontFragment === true || socket.features.includes('dontFragment'), setsTtl: socket.carriesTtl }
        return { id: this.#host.opened(info), info, socket, blocked: false, errorsInRow: 0, tooLarge: Infinity, hints: new Map() }
      })
      this.#state = { kind: 'open', links }
      for (const link of links) this.#listen(link)
    } catch (error) {
      await Promise.all(sockets.map(({ socket }) => socket.close()))
      this.#state = { kind: 'closed' }
      throw error
    }
  }

  #listen(link: OpenLink): void {
    link.socket.listen({ link: link.id, bytes: this.#bytes, slab: this.#slab, slabSize: this.#slabSize, batch: this.#batch }, {
      message: (bytes, from) => this.#onMessage(link, bytes, from),
      unreadable: () => this.#counters.add('udp_received_unreadable_source'),
      batch: (empty) => this.#onBatch(link, empty),
      error: (error) => this.#onError(link, error),
      sendFailed: (code, datagrams, size, address, offset) => {
        this.#counters.add(sendErrorCounter(code), datagrams)
        if (code === 'EMSGSIZE') {
          link.tooLarge = Math.min(link.tooLarge, size)
          this.#wake()
        }
        if (this.#refusals.addTo(link.id, code, address, offset)) this.#wake()
      },
      hinted: (code, largest, address, offset) => this.#onHint(link, code, largest, address.slice(offset, offset + ADDRESS_SIZE)),
      sourceGone: () => this.#counters.add('udp_source_gone'),
      drained: () => this.#wake(),
    })
  }

  #takeSlab(): void {
    if (this.#slab >= 0) return
    this.#slab = this.#host.arena.allocate(this.#options.slabSize ?? this.#engine.slabSize)
    if (this.#slab < 0) throw new PosternError('limit', 'There is no memory left for the UDP receive buffer.', { hint: 'Raise [limits] memory in postern.toml.' })
    this.#slabSize = this.#host.arena.sizeOf(this.#slab)
  }

  #find(links: readonly OpenLink[], id: number): OpenLink | undefined {
    for (const link of links) {
      if (link.id === id) return link
    }
    return undefined
  }

  #sendRow({ socket }: OpenLink, batch: TransmitBatch, row: number, flight: Flight): void {
    if (portOf(batch.address, row * ADDRESS_SIZE) === 0) {
      // A peer may claim such a candidate; Node would throw.
      this.#counters.add('udp_send_errors_einval')
      return
    }
    if (batch.ttl[row] !== 0 && !socket.carriesTtl) this.#counters.add('udp_ttl_ignored')
    socket.send(batch, row, flight)
  }

  #onMessage(link: OpenLink, bytes: Uint8Array, from: Uint8Array): void {
    link.errorsInRow = 0
    const { length } = bytes
    if (length === 0) {
      this.#counters.add('udp_received_empty')
      return
    }
    const batch = this.#batch
    if (batch.count === batch.capacity || this.#slabUsed + length > this.#slabSize) this.#flush()
    // The host may have closed this driver in that flush.
    if (this.#state.kind !== 'open') return
    const offset = this.#slab + this.#slabUsed
    // Node gives each datagram its own memory; this copy is the one that puts it where the core can see it.
    this.#bytes.set(bytes, offset)
    batch.push(link.id, from, offset, length)
    this.#slabUsed += length
    this.#wake()
  }

  /** Handed over at once: the socket fills the same rows and the same slab again when this returns. */
  #onBatch(link: OpenLink, empty: number): void {
    link.errorsInRow = 0
    if (empty > 0) this.#counters.add('udp_received_empty', empty)
    this.#flush()
  }

  #onSendError(error: Error): void {
    this.#counters.add(sendErrorCounter(codeOf(error)))
    if (this.#state.kind !== 'open') return
    const encoders = this.#state.links.map(({ id, socket }) => ({ id, encode: (host: string, port: number, into: Uint8Array): boolean => socket.encode(host, port, into) }))
    if (this.#refusals.add(error, encoders)) this.#wake()
  }

  #tellRefusals(): void {
    for (const { link, addresses, reason } of this.#refusals.take()) if (this.#state.kind === 'open') this.#host.refused(link, addresses, reason)
  }

  #onError(link: OpenLink, error: NodeJS.ErrnoException): void {
    this.#counters.add('udp_receive_errors')
    if (passingErrors.has(codeOf(error)) && ++link.errorsInRow < PASSING_ERRORS_MAX) return
    if (this.#state.kind !== 'open') return
    this.#counters.add('udp_failed')
    const cause = new PosternError('start', `The UDP socket failed (${codeOf(error)}).`, { hint: 'It is opened again by itself; if this repeats, look at the network interfaces.', cause: error })
    this.#shut(this.#state.links, 'failed', cause)
  }

  #wake(): void {
    if (this.#turnDue) return
    this.#turnDue = true
    setImmediate(this.#turn)
  }

  /** Runs in the loop's check phase: after the reads of this turn, outside every completion callback. */
  #onTurn(): void {
    this.#turnDue = false
    if (this.#state.kind === 'open') this.#tellWritability(this.#state.links)
    this.#flights.tell()
    this.#flush()
    this.#tellRefusals()
    if (this.#state.kind === 'open') this.#tellTooLarge(this.#state.links)
  }

  #onHint({ hints }: OpenLink, code: string, largest: number, address: Uint8Array): void {
    this.#counters.add('udp_icmp_errors')
    const reason = hintReason(code)
    if (reason === undefined || hints.size >= HINTS_MAX) return
    hints.set(toBinaryString(address), { address, reason, largest })
    this.#hintTimer ??= setTimeout(() => this.#tellHints(), HINTS_MS).unref()
  }

  #tellHints(): void {
    this.#hintTimer = undefined
    if (this.#state.kind !== 'open') return
    for (const { id, hints } of this.#state.links) {
      const told = [...hints.values()]
      hints.clear()
      if (told.length > 0 && this.#isOpen) this.#host.hinted?.(id, told)
    }
  }

  /** The host may have closed this driver in a call. */
  get #isOpen(): boolean {
    return this.#state.kind === 'open'
  }

  #tellTooLarge(links: readonly OpenLink[]): void {
    for (const link of links) {
      if (link.tooLarge === Infinity) continue
      const { tooLarge } = link
      link.tooLarge = Infinity
      if (this.#state.kind === 'open') this.#host.tooLarge(link.id, tooLarge)
    }
  }

  #tellWritability(links: readonly OpenLink[]): void {
    for (const link of links) {
      const unsent = link.socket.unsent()
      if (!link.blocked && unsent >= this.#unsentMax) {
        link.blocked = true
        this.#counters.add('udp_blocked')
        this.#host.changed(link.id, 'blocked', undefined)
      } else if (link.blocked && unsent < this.#unsentMax / 4) {
        link.blocked = false
        this.#host.changed(link.id, 'writable', undefined)
      }
    }
  }

  #flush(): void {
    const batch = this.#batch
    if (batch.count === 0) return
    this.#counters.add('udp_received_batches')
    for (let row = 0; row < batch.count; row++) {
      this.#counters.add('udp_received_datagrams', Math.ceil(batch.length[row]! / batch.segmentSize[row]!))
      this.#counters.add('udp_received_bytes', batch.length[row])
    }
    try {
      if (this.#state.kind === 'open') this.#host.received(batch)
    } finally {
      batch.count = 0
      this.#slabUsed = 0
    }
  }

  /** Closes the sockets, tells every `done` that is still owed, then the links' last state. */
  #shut(links: readonly OpenLink[], state: 'failed' | 'closed', cause: PosternError | undefined): void {
    const shut = async (): Promise<void> => {
      await Promise.all(links.map((link) => link.socket.close()))
      // Sends that waited end in the loop's close phase, which follows the check phase: two turns see them all.
      await nextTurn()
      await nextTurn()
      if (this.#flights.flying > 0) this.#flights.abandon()
      this.#flights.tell()
      this.#state = { kind: 'closed' }
      for (const link of links) this.#host.changed(link.id, state, cause)
    }
    clearTimeout(this.#hintTimer)
    this.#hintTimer = undefined
    this.#state = { kind: 'closing', closed: shut() }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}

/** A row that points outside its slab would send other people's bytes: our own bug, so it stops here, before anything is sent. */
function checkBatch(batch: TransmitBatch, arenaSize: number): void {
  assert(batch.count >= 0 && batch.count <= batch.capacity, 'transmit batch holds its rows')
  const end = batch.base + batch.size
  assert(batch.base >= 0 && end <= arenaSize, 'transmit slab lies in the arena')
  for (let row = 0; row < batch.count; row++) {
    const offset = batch.offset[row]!
    const length = batch.length[row]!
    const segmentSize = batch.segmentSize[row]!
    assert(length > 0 && offset >= batch.base && offset + length <= end, 'transmit row lies in its slab')
    assert(segmentSize > 0 && segmentSize <= UDP_PAYLOAD_MAX && length <= segmentSize * SEGMENTS_MAX, 'transmit row is a burst of whole datagrams')
  }
}
