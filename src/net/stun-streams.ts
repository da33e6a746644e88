import type { Socket } from 'node:net'
import { decodeAddress, formatAddress } from '../core/base/address.ts'
import { StunStream } from '../core/wire/stun-stream.ts'
import type { TcpSystem } from './tcp-system.ts'

export interface StunStreamsHost {
  /** A message from this server. */
  received(server: Uint8Array, message: Uint8Array): void
  /** The connection to this server could not be made, or is over. */
  lost(server: Uint8Array): void
}

export interface StunStreamsOptions {
  readonly system: TcpSystem
  /** The port that they leave from; `undefined`: any. */
  readonly localPort: number | undefined
}

/** Questions that wait for a connection; more are not sent, and time out. */
const WAITING_MAX = 4

interface Stream {
  readonly server: Uint8Array
  readonly socket: Socket
  readonly framing: StunStream
  /** `undefined` once it is connected. */
  waiting: Uint8Array[] | undefined
}

/**
 * STUN over TCP (RFC 8489 §6.2.2): one connection for each server that is asked, from the port that is listened on, so that it is this port's mapping that the
 * server sees, and that stays open in the routers on the way while the connection does. Calls its host from the event loop only.
 */
export class StunStreams {
  readonly #host: StunStreamsHost
  readonly #options: StunStreamsOptions
  /** By address. BOUNDED: as many as servers are asked. */
  readonly #streams = new Map<string, Stream>()

  constructor(host: StunStreamsHost, options: StunStreamsOptions) {
    this.#host = host
    this.#options = options
  }

  /** Connections that are open or being made. */
  get size(): number {
    return this.#streams.size
  }

  /** From which port this server is asked, while there is a connection. */
  localPort(server: Uint8Array): number | undefined {
    return this.#streams.get(formatAddress(server))?.socket.localPort
  }

  /** Asks over the connection that there is, or over a new one. */
  send(server: Uint8Array, message: Uint8Array): void {
    const stream = this.#streams.get(formatAddress(server)) ?? this.#open(server)
    if (stream.waiting === undefined) stream.socket.write(message)
    else if (stream.waiting.length < WAITING_MAX) stream.waiting.push(message)
  }

  /** Ends the connections to all other servers. */
  keep(which: (server: Uint8Array) => boolean): void {
    for (const stream of [...this.#streams.values()]) if (!which(stream.server)) this.#end(stream)
  }

  close(): void {
    this.keep(() => false)
  }

  #open(server: Uint8Array): Stream {
    const { host, port } = decodeAddress(server)
    const { localPort, system } = this.#options
    const socket = system.connect({ host, port, noDelay: true, autoSelectFamily: false, ...(localPort === undefined ? {} : { localPort }) })
    const stream: Stream = { server, socket, framing: new StunStream(), waiting: [] }
    this.#streams.set(formatAddress(server), stream)
    socket.once('connect', () => {
      for (const message of stream.waiting ?? []) socket.write(message)
      stream.waiting = undefined
    })
    socket.on('data', (bytes: Buffer) => this.#read(stream, bytes))
    for (const event of ['end', 'error', 'close']) socket.on(event, () => this.#lose(stream))
    return stream
  }

  #read(stream: Stream, bytes: Uint8Array): void {
    for (const message of stream.framing.feed(new Uint8Array(bytes))) {
      // The host may have had enough of it.
      if (this.#streams.get(formatAddress(stream.server)) !== stream) return
      if (message === 'malformed') this.#lose(stream)
      else this.#host.received(stream.server, message)
    }
  }

  #lose(stream: Stream): void {
    if (this.#end(stream)) this.#host.lost(stream.server)
  }

  /** By RST: the same two ports may be needed again at once, and what is still to come is for nobody. */
  #end(stream: Stream): boolean {
    const key = formatAddress(stream.server)
    if (this.#streams.get(key) !== stream) return false
    this.#streams.delete(key)
    if (stream.waiting === undefined && !stream.socket.destroyed) stream.socket.resetAndDestroy()
    else stream.socket.destroy()
    return true
  }
}
