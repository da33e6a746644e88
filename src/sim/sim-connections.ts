import { ADDRESS_SIZE } from '../core/base/address.ts'
import type { LinkId } from '../core/base/domain.ts'
import type { LinkInfo, RefusalReason } from '../core/endpoint/contract.ts'
import type { SimNetwork } from './network.ts'
import type { StreamSide } from './stream.ts'

/** As the TCP driver reports them. */
const RECORD_MAX = 16_349
const SEGMENTS_MAX = 64
const FIRST_EPHEMERAL_PORT = 40_000
const EPHEMERAL_PORTS = 20_000

/** What becomes of connections, told as a driver tells it. */
export interface SimConnectionHost {
  nextLink(): LinkId
  opened(link: LinkId, info: LinkInfo): void
  changed(link: LinkId, state: 'blocked' | 'writable' | 'failed' | 'closed'): void
  dialFailed(token: number, reason: RefusalReason): void
  received(link: LinkId, from: Uint8Array, datagram: Uint8Array): void
}

/** The TCP driver of a simulated node: one listener at each of its addresses, dials, and connections as links. */
export class SimConnections {
  readonly #network: SimNetwork
  readonly #host: SimConnectionHost
  readonly #sides = new Map<LinkId, StreamSide>()
  readonly #dials = new Map<number, () => void>()
  #port = 0
  #asleep = false

  constructor(network: SimNetwork, host: SimConnectionHost) {
    this.#network = network
    this.#host = host
  }

  get size(): number {
    return this.#sides.size
  }

  listen(address: Uint8Array): void {
    this.#network.listen(address, (side) => { this.#open(side, undefined) })
  }

  dial(from: Uint8Array, to: Uint8Array, token: number): void {
    const local = from.slice(0, ADDRESS_SIZE)
    const port = FIRST_EPHEMERAL_PORT + this.#port++ % EPHEMERAL_PORTS
    local[ADDRESS_SIZE - 2] = port >> 8
    local[ADDRESS_SIZE - 1] = port & 255
    this.#dials.set(token, this.#network.connect(local, to, (side) => {
      this.#dials.delete(token)
      if (typeof side === 'string') this.#host.dialFailed(token, side)
      else this.#open(side, token)
    }))
  }

  cancel(token: number): void {
    const cancel = this.#dials.get(token)
    if (cancel === undefined) return
    cancel()
    this.#dials.delete(token)
    this.#host.dialFailed(token, 'failed')
  }

  #open(side: StreamSide, token: number | undefined): void {
    const { local, remote } = side
    side.asleep = this.#asleep
    const link = this.#host.nextLink()
    this.#sides.set(link, side)
    side.hooks = {
      record: (bytes) => { this.#host.received(link, remote, bytes) },
      blocked: (blocked) => { this.#host.changed(link, blocked ? 'blocked' : 'writable') },
      ended: (how) => { if (this.#sides.delete(link)) this.#host.changed(link, how) },
    }
    this.#host.opened(link, {
      kind: 'tcp', local, remote, dialed: token !== undefined, datagramMax: RECORD_MAX, segmentsMax: SEGMENTS_MAX, ...(token === undefined ? {} : { token }),
    })
  }

  send(link: LinkId, datagram: Uint8Array): void {
    this.#sides.get(link)?.send(datagram.slice())
  }

  /** What is queued still goes out; the owner hears `closed`. */
  close(link: LinkId): void {
    const side = this.#sides.get(link)
    if (side === undefined || !this.#sides.delete(link)) return
    side.hooks = undefined
    side.close()
    this.#host.changed(link, 'closed')
  }

  /** Their address is gone: nothing comes through any more, and nobody says so. */
  sever(host: Uint8Array): void {
    for (const side of this.#sides.values()) if (equalHost(side.local, host)) side.severed = true
  }

  /** This machine knows that its address is gone. */
  breakSevered(): void {
    for (const side of [...this.#sides.values()]) if (side.severed) side.fail()
  }

  reset(isPeer: (remote: Uint8Array) => boolean): void {
    for (const side of [...this.#sides.values()]) {
      if (!isPeer(side.remote)) continue
      side.peer.fail()
      side.fail()
    }
  }

  setAsleep(asleep: boolean): void {
    this.#asleep = asleep
    for (const side of this.#sides.values()) side.asleep = asleep
  }

  /** The process dies: its system resets what it had open. */
  stop(): void {
    for (const cancel of this.#dials.values()) cancel()
    for (const side of this.#sides.values()) side.reset()
    this.#sides.clear()
    this.#dials.clear()
  }
}

/** Whether two addresses differ in the port at most. */
export function equalHost(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ADDRESS_SIZE - 2; i++) if (a[i] !== b[i]) return false
  return true
}
