import { getSystemErrorName } from 'node:util'
import { ADDRESS_SIZE, encodeAddress, portOf } from '../core/base/address.ts'
import { assert } from '../core/base/assert.ts'
import type { TransmitBatch } from '../core/endpoint/contract.ts'
import type { Flight } from './udp-flight.ts'
import { usable, type Intake, type SocketHandlers, type UdpEngine, type UdpSocket } from './udp-socket.ts'

/** What this needs of the addon (native/addon/src/udp-object.cc). `udpOpen` throws the system's error; all else is told by values. */
export interface UdpAddon {
  udpOpen(address: Uint8Array, family: number, features: number, receiveBuffer: number, sendBuffer: number, local: Uint8Array, facts: Int32Array): object
  udpStart(
    socket: object, callback: (event: number, value: number, extra: number) => void, arena: Uint8Array, slabOffset: number, slabSize: number,
    address: Uint8Array, offset: Int32Array, length: Int32Array, segmentSize: Int32Array, ecn: Uint8Array, local: Uint8Array, rows: Int32Array, addresses: Uint8Array, hints: Int32Array, hintAddresses: Uint8Array,
  ): void
  udpSend(socket: object, head: number, count: number): number
  udpClose(socket: object): void
}

/** `UdpFeature` of native/addon/src/udp-socket.h. */
export const udpFeature = { gso: 1, gro: 2, ecn: 4, dontFragment: 8, packetInfo: 32, icmp: 64 } as const
const ONLY_6 = 16
/** `UdpEvent` of the same. */
const event = { received: 0, writable: 1, error: 2, closed: 3, hinted: 4 } as const

/** Eight messages of 64 KiB: each is up to 64 datagrams of one source, coalesced by the kernel. */
const SLAB_SIZE = 524_288
/** A GRO message needs as much, whatever its datagrams are. */
const SLOT_SIZE = 65_536

/** `SendRow` of native/addon/src/udp-socket.h, as Int32 columns. */
const column = { offset: 0, left: 1, segmentSize: 2, flags: 3, sentDatagrams: 4, sentBytes: 5, failedDatagrams: 6, error: 7 } as const
const ROW_INTS = 8
/** `kHintInts` and `kHintsMax`. */
const HINT_INTS = 2
const HINTS_MAX = 16
const LOCAL_SHIFT = 17
const UNPINNED = 1 << 25
/**
 * Rows that wait for the kernel: more than the pump's four slabs of 128 rows hold. When all are taken, the row is lost and counted as
 * ENOBUFS, as it would be in the kernel.
 */
const ROWS_MAX = 1024

export interface NativeEngineOptions {
  /** Bits of {@link udpFeature} that may be used, where the kernel has them; all when absent. */
  readonly features?: number
}

/** Sockets of the addon: bursts in and out of the arena, one call each; nothing is fragmented on its way (decision 047). */
export function nativeEngine(addon: UdpAddon, { features = 111 }: NativeEngineOptions = {}): UdpEngine {
  return {
    slabSize: SLAB_SIZE,
    open: (host, port, only6, buffers) => new Promise((resolve) => resolve(new NativeSocket(addon, host, port, features | (only6 ? ONLY_6 : 0), buffers))),
    mapsIPv4: () => 'yes',
  }
}

class NativeSocket implements UdpSocket {
  readonly family: 4 | 6
  readonly local: Uint8Array = new Uint8Array(ADDRESS_SIZE)
  readonly port: number
  readonly receiveBuffer: number
  readonly sendBuffer: number
  readonly carriesTtl = true
  readonly features: readonly string[]
  readonly #addon: UdpAddon
  readonly #socket: object
  /** A ring; {@link #head} is the oldest row that the kernel has not taken as a whole. */
  readonly #rows: Int32Array = new Int32Array(ROWS_MAX * ROW_INTS)
  readonly #addresses: Uint8Array = new Uint8Array(ROWS_MAX * ADDRESS_SIZE)
  readonly #hints: Int32Array = new Int32Array(HINTS_MAX * HINT_INTS)
  readonly #hintAddresses: Uint8Array = new Uint8Array(HINTS_MAX * ADDRESS_SIZE)
  readonly #lengths: Int32Array = new Int32Array(ROWS_MAX)
  readonly #flights: (Flight | undefined)[] = new Array<Flight | undefined>(ROWS_MAX).fill(undefined)
  #head = 0
  #count = 0
  /** The kernel is full: `writable` follows. */
  #full = false
  #intake: Intake | undefined
  #handlers: SocketHandlers | undefined
  #closed: (() => void) | undefined

  /** Binds; throws the system's own error. */
  constructor(addon: UdpAddon, host: string, port: number, features: number, buffers: { readonly receive: number; readonly send: number }) {
    const address = encodeAddress(host, port)
    assert(address !== undefined, 'what a socket binds to is an IP literal')
    this.family = host.includes(':') ? 6 : 4
    const facts = new Int32Array(3)
    this.#addon = addon
    this.#socket = addon.udpOpen(address, this.family, features, buffers.receive, buffers.send, this.local, facts)
    this.port = portOf(this.local)
    this.receiveBuffer = usable(facts[0]!)
    this.sendBuffer = usable(facts[1]!)
    this.features = Object.entries(udpFeature).flatMap(([name, bit]) => ((facts[2]! & bit) !== 0 ? [name] : []))
  }

  listen(intake: Intake, handlers: SocketHandlers): void {
    this.#intake = intake
    this.#handlers = handlers
    const { batch, slab, slabSize, bytes } = intake
    // No more messages at once than the batch has rows.
    const slots = Math.min(batch.capacity, Math.floor(slabSize / SLOT_SIZE))
    this.#addon.udpStart(
      this.#socket, (kind, value, extra) => this.#on(kind, value, extra), bytes, slab, slots * SLOT_SIZE,
      batch.address, batch.offset, batch.length, batch.segmentSize, batch.ecn, batch.local, this.#rows, this.#addresses, this.#hints, this.#hintAddresses,
    )
  }

  send(batch: TransmitBatch, row: number, flight: Flight): void {
    flight.pending++
    if (this.#count === ROWS_MAX) this.flush()
    if (this.#count === ROWS_MAX || this.#closed !== undefined) {
      const size = batch.segmentSize[row]!
      this.#handlers?.sendFailed(this.#closed === undefined ? 'ENOBUFS' : 'ECANCELED', Math.ceil(batch.length[row]! / size), size, batch.address, row * ADDRESS_SIZE)
      flight.land(0, 0)
      return
    }
    const index = (this.#head + this.#count++) % ROWS_MAX
    const at = index * ROW_INTS
    const rows = this.#rows
    rows[at + column.offset] = batch.offset[row]!
    rows[at + column.left] = batch.length[row]!
    rows[at + column.segmentSize] = batch.segmentSize[row]!
    rows[at + column.flags] = (batch.ecn[row]! & 3) | (batch.ttl[row]! << 8) | (batch.local[row]! << LOCAL_SHIFT)
    rows[at + column.sentDatagrams] = 0
    rows[at + column.sentBytes] = 0
    rows[at + column.failedDatagrams] = 0
    rows[at + column.error] = 0
    const from = row * ADDRESS_SIZE
    const to = index * ADDRESS_SIZE
    for (let i = 0; i < ADDRESS_SIZE; i++) this.#addresses[to + i] = batch.address[from + i]!
    this.#lengths[index] = batch.length[row]!
    this.#flights[index] = flight
  }

  flush(): void {
    if (this.#count === 0 || this.#full || this.#closed !== undefined) return
    const done = this.#addon.udpSend(this.#socket, this.#head, this.#count)
    this.#full = done < this.#count
    for (let i = 0; i < done; i++) this.#land()
  }

  unsent(): number {
    let bytes = 0
    for (let i = 0; i < this.#count; i++) bytes += this.#rows[((this.#head + i) % ROWS_MAX) * ROW_INTS + column.left]!
    return bytes
  }

  /** Errors of this socket carry the 18 bytes. */
  encode(): boolean {
    return false
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve
      const started = this.#intake !== undefined
      this.#addon.udpClose(this.#socket)
      if (!started) resolve()
    })
  }

  #on(kind: number, value: number, extra: number): void {
    if (kind === event.closed) {
      while (this.#count > 0) this.#cancel()
      this.#closed?.()
      return
    }
    // What the host closed meanwhile says nothing more.
    if (this.#closed !== undefined) return
    if (kind === event.received) this.#received(value, extra)
    else if (kind === event.writable) this.#writable()
    else if (kind === event.hinted) this.#hinted(value)
    else this.#handlers?.error(systemError(value))
  }

  #received(rows: number, empty: number): void {
    const { batch, link } = this.#intake!
    batch.count = rows
    batch.link.fill(link, 0, rows)
    this.#handlers!.batch(empty)
  }

  #writable(): void {
    this.#full = false
    this.flush()
    this.#handlers!.drained()
  }

  #hinted(count: number): void {
    for (let i = 0; i < count && this.#closed === undefined; i++) {
      this.#handlers!.hinted(codeOfErrno(this.#hints[i * HINT_INTS]!), this.#hints[i * HINT_INTS + 1]!, this.#hintAddresses, i * ADDRESS_SIZE)
    }
  }

  #cancel(): void {
    const at = this.#head * ROW_INTS
    this.#rows[at + column.failedDatagrams]! += Math.ceil(this.#rows[at + column.left]! / this.#rows[at + column.segmentSize]!)
    this.#rows[at + column.error] = 0
    this.#land('ECANCELED')
  }

  /** The oldest row is done with. */
  #land(code?: string): void {
    const index = this.#head
    const at = index * ROW_INTS
    const rows = this.#rows
    this.#head = (index + 1) % ROWS_MAX
    this.#count--
    const failed = rows[at + column.failedDatagrams]!
    if (failed > 0) {
      // The segment is as long as the longest of them; a datagram alone may be shorter than its row's.
      const size = Math.min(rows[at + column.segmentSize]!, this.#lengths[index]!)
      this.#handlers!.sendFailed(code ?? codeOfErrno(rows[at + column.error]!), failed, size, this.#addresses, index * ADDRESS_SIZE)
    }
    if ((rows[at + column.flags]! & UNPINNED) !== 0) this.#handlers!.sourceGone()
    const flight = this.#flights[index]!
    this.#flights[index] = undefined
    flight.land(rows[at + column.sentDatagrams]!, rows[at + column.sentBytes]!)
  }
}

function codeOfErrno(errno: number): string {
  return errno < 0 ? getSystemErrorName(errno) : 'other'
}

function systemError(errno: number): NodeJS.ErrnoException {
  const code = codeOfErrno(errno)
  return Object.assign(new Error(`recvmsg ${code}`), { code, errno })
}
