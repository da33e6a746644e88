import type { RemoteInfo, Socket } from 'node:dgram'
import { encodeAddress } from '../core/base/address.ts'
import { AddressCache } from './address-cache.ts'
import type { UdpSystem } from './udp-system.ts'

/** RFC 768: 65,535 − 8 − the 20 bytes of an IPv4 header. (IPv6 allows 20 more; one limit for both.) */
export const UDP_PAYLOAD_MAX = 65_507

/** Below this the kernel's own minimum is the better answer. */
const BUFFER_MIN = 64 * 1024

export interface SocketHandlers {
  readonly message: (bytes: Uint8Array, from: RemoteInfo) => void
  readonly error: (error: NodeJS.ErrnoException) => void
}

/** One bound socket, with its family's way to write addresses. Policy (what an error means, batching) is the driver's. */
export class UdpSocket {
  readonly family: 4 | 6
  /** 18 bytes: what it is bound to, with the real port. */
  readonly local: Uint8Array
  readonly port: number
  readonly addresses: AddressCache
  /** Bytes of payload the kernel queues, see {@link usable}. */
  readonly receiveBuffer: number
  readonly sendBuffer: number
  readonly #socket: Socket
  #closed = false

  private constructor(socket: Socket, family: 4 | 6, local: Uint8Array, port: number, buffers: { receive: number; send: number }) {
    this.#socket = socket
    this.family = family
    this.local = local
    this.port = port
    this.addresses = new AddressCache(family)
    setBuffer(buffers.receive, (size) => socket.setRecvBufferSize(size))
    setBuffer(buffers.send, (size) => socket.setSendBufferSize(size))
    this.receiveBuffer = usable(socket.getRecvBufferSize())
    this.sendBuffer = usable(socket.getSendBufferSize())
  }

  /** Binds to an IP literal; rejects with the system's own error. `only6` keeps `::` from taking IPv4 too. */
  static open(system: UdpSystem, host: string, port: number, only6: boolean, buffers: { receive: number; send: number }): Promise<UdpSocket> {
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
          resolve(new UdpSocket(socket, family, local, bound.port, buffers))
        }
      })
    })
  }

  listen(handlers: SocketHandlers): void {
    this.#socket.on('message', handlers.message)
    this.#socket.on('error', handlers.error)
  }

  /** The kernel gets the bytes now or, when its buffer is full, later: they must stay until `sent` is called. */
  send(bytes: Uint8Array, port: number, host: string, sent: (error: Error | null, bytes: number) => void): void {
    this.#socket.send(bytes, port, host, sent)
  }

  /** Bytes taken that the kernel has not taken yet; 0 once closed. */
  unsent(): number {
    return this.#closed ? 0 : this.#socket.getSendQueueSize()
  }

  /** Resolves when the socket is closed; sends that were waiting end with ECANCELED in the same turn of the loop. */
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

/** Linux doubles what was asked, for its own bookkeeping, and reports the double (socket(7)): half of it is what payload may count on. */
function usable(reported: number): number {
  return process.platform === 'linux' ? Math.floor(reported / 2) : reported
}
