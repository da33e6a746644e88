import type { Socket } from 'node:dgram'
import { ADDRESS_SIZE, encodeAddress, portOf } from '../core/base/address.ts'
import type { TransmitBatch } from '../core/endpoint/contract.ts'
import { AddressCache } from './address-cache.ts'
import type { Flight } from './udp-flight.ts'
import { usable, type Intake, type SocketHandlers, type UdpEngine, type UdpSocket } from './udp-socket.ts'
import type { UdpSystem } from './udp-system.ts'

/** Below this the kernel's own minimum is the better answer. */
const BUFFER_MIN = 64 * 1024

/** libuv reads at most 32 datagrams of a socket per turn: at 1437 bytes they are 46 KiB, so a turn is one batch. */
const SLAB_SIZE = 131_072

/** Sockets of `node:dgram`: one datagram a call, each in memory of its own. ECN and TTL per datagram are not to be had from Node. */
export function dgramEngine(system: UdpSystem): UdpEngine {
  return {
    slabSize: SLAB_SIZE,
    open: (host, port, only6, buffers) => DgramSocket.open(system, host, port, only6, buffers),
    mapsIPv4: () => system.mapsIPv4(),
  }
}

/** One socket of `node:dgram`, with its family's way to write addresses. */
export class DgramSocket implements UdpSocket {
  readonly family: 4 | 6
  readonly local: Uint8Array
  readonly port: number
  readonly receiveBuffer: number
  readonly sendBuffer: number
  readonly carriesTtl = false
  readonly features: readonly string[] = []
  readonly #addresses: AddressCache
  readonly #socket: Socket
  readonly #source = new Uint8Array(ADDRESS_SIZE)
  #bytes: Buffer = Buffer.alloc(0)
  #closed = false

  private constructor(socket: Socket, family: 4 | 6, local: Uint8Array, port: number, buffers: { receive: number; send: number }) {
    this.#socket = socket
    this.family = family
    this.local = local
    this.port = port
    this.#addresses = new AddressCache(family)
    setBuffer(buffers.receive, (size) => socket.setRecvBufferSize(size))
    setBuffer(buffers.send, (size) => socket.setSendBufferSize(size))
    this.receiveBuffer = usable(socket.getRecvBufferSize())
    this.sendBuffer = usable(socket.getSendBufferSize())
  }

  /** Binds to an IP literal; rejects with the system's own error. `only6` keeps `::` from taking IPv4 too. */
  static open(system: UdpSystem, host: string, port: number, only6: boolean, buffers: { receive: number; send: number }): Promise<DgramSocket> {
    return new Promise((resolve, reject) => {
      const family = host.includes(':') ? 6 : 4
      const socket = system.createSocket({
        type: family === 6 ? 'udp6' : 'udp4',
        ipv6Only: only6,
        // Addresses are literals. Node would ask getaddrinfo on a thread even for those: a tick, and the order, lost per datagram.
        lookup: (literal, _options, callback) => callback(null, literal, family),
      })
      socket.once('error', (error) => {
        socket.close()
        reject(error)
      })
      socket.bind({ address: host, port, exclusive: true }, () => {
        const bound = socket.address()
        const zone = bound.address.indexOf('%')
        const local = encodeAddress(zone < 0 ? bound.address : bound.address.slice(0, zone), bound.port)
        socket.removeAllListeners('error')
        if (local === undefined) {
          socket.close()
          reject(new Error(`the system reports an unreadable local address: ${bound.address}`))
        } else {
          resolve(new DgramSocket(socket, family, local, bound.port, buffers))
        }
      })
    })
  }

  listen({ bytes }: Intake, handlers: SocketHandlers): void {
    this.#bytes = bytes
    this.#socket.on('message', (message, from) => {
      if (this.#addresses.encode(from.address, from.port, this.#source)) handlers.message(message, this.#source)
      else handlers.unreadable()
    })
    this.#socket.on('error', handlers.error)
  }

  /** The kernel gets the bytes now or, when its buffer is full, later. */
  send(batch: TransmitBatch, row: number, flight: Flight): void {
    const address = row * ADDRESS_SIZE
    const port = portOf(batch.address, address)
    const host = this.#addresses.host(batch.address, address)
    const segmentSize = batch.segmentSize[row]!
    const end = batch.offset[row]! + batch.length[row]!
    for (let offset = batch.offset[row]!; offset < end; offset += segmentSize) {
      flight.pending++
      this.#socket.send(this.#bytes.subarray(offset, Math.min(offset + segmentSize, end)), port, host, flight.sent)
    }
  }

  flush(): void {
    // Each datagram was handed over at once.
  }

  encode(host: string, port: number, into: Uint8Array): boolean {
    return this.#addresses.encode(host, port, into)
  }

  unsent(): number {
    return this.#closed ? 0 : this.#socket.getSendQueueSize()
  }

  close(): Promise<void> {
    this.#closed = true
    return new Promise((resolve) => {
      // A late error of a closing socket concerns nobody, but without a listener it would end the process.
      this.#socket.removeAllListeners()
      this.#socket.on('error', () => undefined)
      this.#socket.close(() => resolve())
    })
  }
}

/** Asks for `wanted` bytes. Linux cuts a wish to rmem_max in silence; BSDs refuse one above their limit, so less is asked until one fits. */
function setBuffer(wanted: number, set: (size: number) => void): void {
  for (let size = wanted; size >= BUFFER_MIN; size = Math.floor(size / 2)) {
    try {
      set(size)
      return
    } catch {
      continue
    }
  }
}
