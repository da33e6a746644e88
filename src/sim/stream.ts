import type { SeededRandom } from './random.ts'
import type { Scheduler, Task } from './scheduler.ts'

/** What a route does to one direction of a connection: of the conditions of a wire, those that a byte stream feels. */
export interface StreamRoute {
  readonly conditions: { readonly delay: number; readonly jitter: number; readonly loss: number; readonly rate: number }
  /** Nothing comes through, and nobody says so. */
  readonly cut: boolean
}

/** What an end of a connection is told, in order. */
export interface StreamHooks {
  /** One record; the bytes are the receiver's. */
  record(bytes: Uint8Array): void
  /** Unsent bytes reached the bound (more is still taken, but should wait), or fell below half of it again. */
  blocked(blocked: boolean): void
  /** The other side closed it in good order, or it broke: the last word. */
  ended(how: 'closed' | 'failed'): void
}

/** What the kernels of both sides hold: bytes here are neither blocked nor there. */
const SOCKET_BUFFER = 65_536
/** Beyond the socket's buffer, a driver that holds more than this says blocked. */
export const UNSENT_BLOCKED = 65_536
/** What a driver holds at most; records beyond are dropped, as datagrams may be. */
const UNSENT_MAX = 1 << 20
/** Length prefix of a record. */
const FRAMING = 2
/** RFC 6298: what a lost segment costs at least, and between repetitions at most. */
const RTO_MIN = 200_000
const RTO_MAX = 10_000_000
/** A side that takes nothing of what waits for it for so long is given up by the driver (WIRE.md §7). */
const STALL_TIME = 15_000_000

interface Waiting { readonly record: Uint8Array | 'end'; arrivesAt: number }

/** One end of a simulated TCP connection: reliable, in order, with finite buffers, and as silent about a dead route as the real one. */
export class StreamSide {
  readonly local: Uint8Array
  readonly remote: Uint8Array
  hooks: StreamHooks | undefined
  peer!: StreamSide
  /** `gone`: its machine is, or has forgotten it: what still arrives is answered with a reset. */
  state: 'open' | 'closing' | 'gone' = 'open'
  /** Its machine sleeps: nothing comes in or goes out, and nothing is lost by it. */
  asleep = false
  /** Its address is somebody else's now: nothing ever comes through again. */
  severed = false
  /** Records that found no room. */
  dropped = 0
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #route: () => StreamRoute
  readonly #queue: Waiting[] = []
  #bytes = 0
  #freeAt = 0
  #blocked = false
  #timer: Task | undefined
  #backoff = RTO_MIN
  #stalledSince = Infinity

  /** @param route the way from here to the other side, looked up anew for every record */
  constructor(local: Uint8Array, remote: Uint8Array, route: () => StreamRoute, scheduler: Scheduler, random: SeededRandom) {
    this.local = local
    this.remote = remote
    this.#route = route
    this.#scheduler = scheduler
    this.#random = random
  }

  /** Bytes that the socket's buffer has not taken yet. */
  get unsent(): number {
    return Math.max(0, this.#bytes - SOCKET_BUFFER)
  }

  /** Takes over the record; what does not fit is dropped. */
  send(record: Uint8Array): void {
    if (this.state !== 'open') return
    if (this.unsent + record.length > UNSENT_MAX) {
      this.dropped++
      return
    }
    this.#put(record, record.length + FRAMING)
    if (this.#blocked || this.unsent <= UNSENT_BLOCKED) return
    this.#blocked = true
    this.hooks?.blocked(true)
  }

  /** What was sent is still delivered, then the other side hears of it. */
  close(): void {
    if (this.state !== 'open') return
    this.#put('end', FRAMING)
    this.state = 'closing'
  }

  /** Breaks it off: the other side hears of it if a packet gets there. */
  reset(): void {
    if (this.state === 'gone') return
    this.forget()
    if (this.#passable) this.#scheduler.at(this.#scheduler.now + this.#route().conditions.delay, () => { this.peer.fail() })
  }

  /** As the machine's end: nothing is said. */
  forget(): void {
    this.state = 'gone'
    this.#queue.length = 0
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
  }

  /** The connection broke: its owner hears of it, once. */
  fail(): void {
    if (this.state === 'gone') return
    this.forget()
    this.hooks?.ended('failed')
  }

  get #passable(): boolean {
    return !this.#route().cut && !this.asleep && !this.peer.asleep && !this.severed && !this.peer.severed
  }

  #put(record: Waiting['record'], size: number): void {
    const { delay, jitter, rate, loss } = this.#route().conditions
    const now = this.#scheduler.now
    const departs = Math.max(this.#freeAt, now) + (rate > 0 ? size / rate : 0)
    this.#freeAt = departs
    // A lost segment is found by those behind it in a round trip, or by a timeout; all behind it wait.
    const repaired = this.#random.chance(loss) ? Math.max(2 * delay, RTO_MIN * this.#random.unit()) : 0
    const previous = this.#queue.at(-1)?.arrivesAt ?? 0
    this.#queue.push({ record, arrivesAt: Math.max(previous, departs + delay + this.#random.unit() * jitter + repaired) })
    this.#bytes += size
    if (this.#queue.length === 1) this.#wait(this.#queue[0]!.arrivesAt)
  }

  #wait(moment: number): void {
    this.#timer = this.#scheduler.at(moment, () => { this.#arrive() })
  }

  /** The first record reaches the other side, or is tried again later, as TCP does. */
  #arrive(): void {
    const first = this.#queue[0]
    if (first === undefined) return
    if (!this.#passable) {
      this.#retry()
      return
    }
    this.#backoff = RTO_MIN
    this.#stalledSince = Infinity
    if (this.peer.state === 'gone') {
      // Nobody there knows it: a reset comes back.
      this.#scheduler.at(this.#scheduler.now + this.#route().conditions.delay, () => { this.fail() })
      return
    }
    this.#queue.shift()
    this.#bytes -= first.record === 'end' ? FRAMING : first.record.length + FRAMING
    if (this.#queue.length > 0) this.#wait(this.#queue[0]!.arrivesAt)
    if (this.#blocked && this.unsent <= UNSENT_BLOCKED / 2) {
      this.#blocked = false
      this.hooks?.blocked(false)
    }
    if (first.record === 'end') this.#end()
    else this.peer.hooks?.record(first.record)
  }

  #end(): void {
    this.forget()
    if (this.peer.state === 'gone') return
    this.peer.forget()
    this.peer.hooks?.ended('closed')
  }

  #retry(): void {
    const now = this.#scheduler.now
    // Who sleeps does not look at the clock.
    this.#stalledSince = this.asleep ? Infinity : Math.min(this.#stalledSince, now)
    if (now - this.#stalledSince >= STALL_TIME) {
      this.fail()
      return
    }
    this.#wait(now + this.#backoff)
    this.#backoff = Math.min(2 * this.#backoff, RTO_MAX)
  }
}

/** Two ends, each with its way to the other. */
export function joinStream(near: StreamSide, far: StreamSide): void {
  near.peer = far
  far.peer = near
}
