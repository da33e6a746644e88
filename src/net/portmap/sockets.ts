import { createSocket, type Socket } from 'node:dgram'
import { decodeAddress, encodeAddress } from '../../core/base/address.ts'
import { PORT_MAP_CLIENT_PORT } from '../../core/wire/pcp.ts'
import type { DatagramWay } from '../../core/wire/port-map-io.ts'

/** RFC 6887 §14.1.1: where routers say that they began anew. Every host is in that group. */
const ALL_HOSTS = '224.0.0.1'
/** UDA 2.0 §1.3.2. */
const SEARCH_TTL = 2

export type DatagramSink = (way: DatagramWay, from: Uint8Array, bytes: Uint8Array) => void

/**
 * The sockets towards one router, bound to our address on the way to it: routers map for the address that asks. A socket that the system
 * refuses is one that hears nothing; mapping goes on without it.
 */
export class PortMapSockets {
  readonly #sockets = new Map<DatagramWay, Socket>()
  readonly #sink: DatagramSink
  readonly #host: string

  /** `local`: our address, 18 bytes. */
  constructor(local: Uint8Array, sink: DatagramSink) {
    this.#sink = sink
    this.#host = decodeAddress(local).host
    this.#open('mapping', 0, this.#host)
    this.#open('search', 0, this.#host)
    this.#open('announcement', PORT_MAP_CLIENT_PORT, ALL_HOSTS)
  }

  #open(way: DatagramWay, port: number, host: string): void {
    const socket = createSocket({ type: 'udp4', reuseAddr: way === 'announcement' })
    this.#sockets.set(way, socket)
    socket.on('error', () => this.#close(way))
    socket.on('message', (bytes, { address, port: from }) => {
      const source = encodeAddress(address, from)
      if (source !== undefined) this.#sink(way, source, bytes)
    })
    socket.bind({ port, address: host, exclusive: true }, () => {
      try {
        if (way === 'search') {
          socket.setMulticastInterface(this.#host)
          socket.setMulticastTTL(SEARCH_TTL)
        }
        if (way === 'announcement') socket.addMembership(ALL_HOSTS, this.#host)
      } catch {
        // Without multicast, routers are asked one by one and tell nothing of their own accord.
      }
    })
  }

  /** What cannot be sent is lost, as datagrams may be: the schedule behind it repeats it. */
  send(way: Exclude<DatagramWay, 'announcement'>, to: Uint8Array, bytes: Uint8Array): void {
    const { host, port } = decodeAddress(to)
    // One that failed is opened again by the next wish to use it.
    if (!this.#sockets.has(way)) this.#open(way, 0, this.#host)
    this.#sockets.get(way)?.send(bytes, port, host, () => undefined)
  }

  close(): void {
    for (const way of [...this.#sockets.keys()]) this.#close(way)
  }

  #close(way: DatagramWay): void {
    const socket = this.#sockets.get(way)
    this.#sockets.delete(way)
    if (socket === undefined) return
    try {
      socket.close()
    } catch {
      // It was closed by its own error.
    }
  }
}
