import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { decodeAddress, encodeAddress } from '../core/base/address.ts'

export interface ProbeHost {
  received(from: Uint8Array, bytes: Uint8Array): void
  /** The system does not send there. */
  refused(to: Uint8Array): void
}

/** A UDP socket for a handful of questions: by node:dgram, on a port that the system draws. */
export class ProbeSocket implements Disposable {
  readonly port: number
  readonly #socket: Socket
  #closed = false

  private constructor(socket: Socket, port: number) {
    this.#socket = socket
    this.port = port
  }

  /** Rejects with the system's error where there is no such address. */
  static async open(host: string, listener: ProbeHost): Promise<ProbeSocket> {
    const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', ipv6Only: host.includes(':') })
    const failed = once(socket, 'error')
    socket.bind(0, host)
    await Promise.race([once(socket, 'listening'), failed.then(([error]) => Promise.reject(error as Error))])
    failed.catch(() => undefined)
    socket.on('error', () => undefined)
    const probe = new ProbeSocket(socket, socket.address().port)
    socket.on('message', (bytes, from) => {
      const address = encodeAddress(from.address.replace(/%.*$/, ''), from.port)
      if (address !== undefined && !probe.#closed) listener.received(address, bytes)
    })
    probe.#refused = (to) => listener.refused(to)
    return probe
  }

  #refused: (to: Uint8Array) => void = () => undefined

  send(to: Uint8Array, bytes: Uint8Array): void {
    const { host, port } = decodeAddress(to)
    this.#socket.send(bytes, port, host, (error) => {
      if (error !== null && !this.#closed) this.#refused(to)
    })
  }

  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }
}
