import { decodeAddress, equalAddress } from '../../core/base/address.ts'
import type { HttpUrl } from '../../core/wire/http-url.ts'
import type { SoapRequest } from '../../core/wire/igd.ts'
import type { DatagramWay, Gateway, HttpOutcome } from '../../core/wire/port-map-io.ts'
import { readGateway } from './gateway.ts'
import { askRouter } from './http.ts'
import { PortMapSockets } from './sockets.ts'

/** [P] How often the default route is looked at: reading it costs 0.1 ms. */
const WATCH_PAUSE_MS = 5000
/** [P] A router's own web server may be slow, not this slow. */
const HTTP_TIMEOUT_MS = 3000
/** Requests at a time. More are answered as broken: the mapper makes one after the other. */
const REQUESTS_MAX = 4

export interface PortMapDriverHost {
  /** The gateway at the start, and whenever it is another one. */
  gateway(gateway: Gateway | undefined): void
  received(way: DatagramWay, from: Uint8Array, bytes: Uint8Array): void
  answered(token: number, outcome: HttpOutcome): void
}

export interface PortMapDriverOptions {
  /** Where the gateway is read from; the system, if not given. */
  readonly readGateway?: () => Promise<Gateway | undefined>
  readonly watchPauseMs?: number
  readonly httpTimeoutMs?: number
}

/** Watches the default route, carries datagrams and requests to the router, and knows nothing of what they mean. Calls its host from the event loop only. */
export class PortMapDriver {
  readonly #host: PortMapDriverHost
  readonly #options: PortMapDriverOptions
  readonly #closing = new AbortController()
  #gateway: Gateway | undefined
  #sockets: PortMapSockets | undefined
  #requests = 0
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(host: PortMapDriverHost, options: PortMapDriverOptions = {}) {
    this.#host = host
    this.#options = options
  }

  start(): void {
    this.#timer ??= setInterval(() => this.look(), this.#options.watchPauseMs ?? WATCH_PAUSE_MS).unref()
    this.look()
  }

  /** Looks at the default route now. */
  look(): void {
    if (this.#looking || this.#closing.signal.aborted) return
    this.#looking = true
    void (this.#options.readGateway ?? readGateway)().then((found) => {
      this.#looking = false
      if (!this.#closing.signal.aborted && !equalGateway(this.#gateway, found)) this.#changed(found)
    })
  }

  #changed(gateway: Gateway | undefined): void {
    this.#sockets?.close()
    this.#sockets = undefined
    this.#gateway = gateway
    this.#host.gateway(gateway)
  }

  /** Opens the sockets when there is something to send: a network whose router is none of ours has none. */
  send(way: Exclude<DatagramWay, 'announcement'>, to: Uint8Array, bytes: Uint8Array): void {
    if (this.#gateway === undefined || this.#closing.signal.aborted) return
    this.#sockets ??= new PortMapSockets(this.#gateway.local, (from, source, datagram) => {
      if (!this.#closing.signal.aborted) this.#host.received(from, source, datagram)
    })
    this.#sockets.send(way, to, bytes)
  }

  /** Answered once, later, unless the driver closes before. */
  request(token: number, url: HttpUrl, soap: SoapRequest | undefined): void {
    const { signal } = this.#closing
    const answer = (outcome: HttpOutcome): void => {
      if (!signal.aborted) this.#host.answered(token, outcome)
    }
    if (this.#gateway === undefined || this.#requests >= REQUESTS_MAX) {
      setImmediate(answer, { kind: 'failed', reason: 'broken' })
      return
    }
    this.#requests++
    void askRouter({ url, soap, from: decodeAddress(this.#gateway.local).host, timeoutMs: this.#options.httpTimeoutMs ?? HTTP_TIMEOUT_MS, signal }).then((outcome) => {
      this.#requests--
      answer(outcome)
    })
  }

  /** Nothing is said to the host from here on. */
  close(): void {
    this.#closing.abort()
    clearInterval(this.#timer)
    this.#sockets?.close()
    this.#sockets = undefined
  }
}

function equalGateway(a: Gateway | undefined, b: Gateway | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return equalAddress(a.router, 0, b.router, 0) && equalAddress(a.local, 0, b.local, 0)
}
