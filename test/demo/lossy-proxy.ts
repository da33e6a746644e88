import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { TcpPassage } from './tcp-passage.ts'

export interface NetworkTraits {
  readonly seed: number
  /** Share of the datagrams that vanish, 0 … 1, each way. */
  readonly loss: number
  /** Share of the datagrams that are held back so long that others overtake them, 0 … 1, each way. */
  readonly reorder: number
  /** One way. */
  readonly delayMs: number
  /** Added to each datagram at random, up to this. */
  readonly jitterMs: number
  /** Added to a datagram that is held back, at least and at most. */
  readonly heldMs: readonly [number, number]
}

export interface DirectionCounts {
  received: number
  lost: number
  /** Sent on after a datagram that came later. */
  overtaken: number
  sent: number
}

const HOST = '127.0.0.1'
/** Datagrams on their way; beyond it they are lost, as in a router with a full queue. */
const FLYING_MAX = 10_000

/**
 * A bad network between two daemons on this machine: what comes to `front` leaves `back` for the daemon behind it, and the other way
 * round, so that either side sees only the proxy. Each direction decides by its own stream of the seed: the n-th datagram of a
 * direction meets the same fate in every run. Its UDP can be cut; connections to the same port number go through as they are.
 */
export class LossyProxy implements AsyncDisposable {
  readonly toBack: DirectionCounts = { received: 0, lost: 0, overtaken: 0, sent: 0 }
  readonly toFront: DirectionCounts = { received: 0, lost: 0, overtaken: 0, sent: 0 }
  readonly #front: Socket
  readonly #back: Socket
  readonly #tcp: TcpPassage
  readonly #timers = new Set<NodeJS.Timeout>()
  #cut = false
  /** Port of the daemon behind `back`. */
  #target = 0
  /** Port of whoever last wrote to `front`. */
  #caller = 0

  private constructor(front: Socket, back: Socket, tcp: TcpPassage, traits: NetworkTraits) {
    this.#front = front
    this.#back = back
    this.#tcp = tcp
    const inward = new Direction(traits, 1, this.toBack, this.#timers, (bytes) => this.#send(this.#back, bytes, this.#target))
    const outward = new Direction(traits, 2, this.toFront, this.#timers, (bytes) => this.#send(this.#front, bytes, this.#caller))
    front.on('message', (bytes: Buffer, from: RemoteInfo) => {
      this.#caller = from.port
      inward.take(bytes)
    })
    back.on('message', (bytes: Buffer) => outward.take(bytes))
  }

  static async open(traits: NetworkTraits): Promise<LossyProxy> {
    const front = createSocket('udp4')
    const back = createSocket('udp4')
    for (const socket of [front, back]) {
      socket.bind(0, HOST)
      await once(socket, 'listening')
      // A daemon that ends leaves a closed port behind; what is sent there then is lost, and that is all.
      socket.on('error', () => undefined)
    }
    return new LossyProxy(front, back, await TcpPassage.open(HOST, front.address().port), traits)
  }

  /** From now on no datagram comes through, as behind a firewall that somebody has just switched on; connections still do. */
  cutUdp(): void {
    this.#cut = true
  }

  healUdp(): void {
    this.#cut = false
  }

  /** From now on nothing comes through, neither datagrams nor connections: there is no network. */
  cutAll(): void {
    this.#cut = true
    this.#tcp.cut()
  }

  healAll(): void {
    this.#cut = false
    this.#tcp.heal()
  }

  /** `127.0.0.1:port`: what the daemon behind it advertises. */
  get address(): string {
    return `${HOST}:${this.#front.address().port}`
  }

  /** The daemon behind the proxy. */
  forwardTo(port: number): void {
    this.#target = port
    this.#tcp.forwardTo(port)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    await this.#tcp[Symbol.asyncDispose]()
    for (const socket of [this.#front, this.#back]) {
      const closed = once(socket, 'close')
      socket.close()
      await closed
    }
  }

  #send(socket: Socket, bytes: Uint8Array, port: number): void {
    if (port !== 0 && !this.#cut) socket.send(bytes, port, HOST, () => undefined)
  }
}

class Direction {
  readonly #traits: NetworkTraits
  readonly #random: () => number
  readonly #counts: DirectionCounts
  readonly #timers: Set<NodeJS.Timeout>
  readonly #send: (bytes: Uint8Array) => void
  #number = 0
  #highestSent = -1

  constructor(traits: NetworkTraits, stream: number, counts: DirectionCounts, timers: Set<NodeJS.Timeout>, send: (bytes: Uint8Array) => void) {
    this.#traits = traits
    this.#random = mulberry32(traits.seed * 2 + stream)
    this.#counts = counts
    this.#timers = timers
    this.#send = send
  }

  take(bytes: Uint8Array): void {
    const { loss, reorder, delayMs, jitterMs, heldMs } = this.#traits
    // All drawn for every datagram, so that one decision never shifts the next.
    const [lose, hold, jitter, held] = [this.#random(), this.#random(), this.#random(), this.#random()]
    const number = this.#number++
    this.#counts.received++
    if (lose < loss || this.#timers.size >= FLYING_MAX) {
      this.#counts.lost++
      return
    }
    const extra = hold < reorder ? heldMs[0] + held * (heldMs[1] - heldMs[0]) : 0
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#counts.sent++
      if (number < this.#highestSent) this.#counts.overtaken++
      else this.#highestSent = number
      this.#send(bytes)
    }, delayMs + jitter * jitterMs + extra)
    this.#timers.add(timer)
  }
}

/** A small generator, good enough to choose which datagrams to lose: public domain, by Tommy Ettinger. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
