import type { Instant, Now } from '../base/time.ts'
import { MessageBatch, NoticeBatch, ReleaseBatch, TransmitBatch, type EndpointAction, type EndpointContract, type EndpointEvent } from './contract.ts'

/** Bytes of one transmit slab: several bursts of 64 full segments. */
export const SLAB_SIZE = 131_072
/** Slabs in the ring. With all of them on their way the pump stops polling transmits and goes on with the rest. */
export const SLAB_COUNT = 4
const ROWS_MAX = 128
const MESSAGES_MAX = 1024
const NOTICES_MAX = 256

/** What the pump hands things to: the daemon's router and drivers, or a simulated node. */
export interface PumpHost {
  /** A coherent look at both clocks, read when the pump begins. */
  now(): Now
  /** Rows are valid during the call. May call the endpoint. */
  onMessages(batch: MessageBatch): void
  onReleases(batch: ReleaseBatch): void
  onNotices(batch: NoticeBatch): void
  onEvent(event: EndpointEvent): void
  onAction(action: EndpointAction): void
  /** Takes the rows and says `done` when the slab is no longer needed: at once or later, but never from inside a send callback. */
  transmit(batch: TransmitBatch, done: () => void): void
  /** The one timer: call `handleTimeout` and pump at this moment; `pacing` asks for the best precision there is. */
  arm(deadline: Instant, pacing: boolean): void
  /** Call `run` soon, from a fresh turn: a slab came back while work was waiting for one. */
  wake(): void
  /** Everything that came of this turn was handed out: sockets may be written now. */
  flush(): void
}

/**
 * The loop around an endpoint (DESIGN §3): after any mutation, drain events, messages, releases, notices, actions and transmits until
 * nothing is left, then arm one timer. The daemon and the simulator run this same code.
 *
 * Events go first, so that a channel is told of before its first message; that it closed is told by the endpoint only after
 * its last one.
 */
export class Pump {
  readonly #endpoint: EndpointContract
  readonly #host: PumpHost
  readonly #messages = new MessageBatch(MESSAGES_MAX)
  readonly #releases = new ReleaseBatch(MESSAGES_MAX)
  readonly #notices = new NoticeBatch(NOTICES_MAX)
  readonly #free: TransmitBatch[] = []
  readonly #slabs: number[] = []
  #running = false
  #starved = false
  #again = false

  /** Takes its slabs from the endpoint's arena. */
  constructor(endpoint: EndpointContract, host: PumpHost, slabSize: number = SLAB_SIZE) {
    this.#endpoint = endpoint
    this.#host = host
    for (let i = 0; i < SLAB_COUNT; i++) {
      const base = endpoint.arena.allocate(slabSize)
      if (base < 0) throw new RangeError(`the arena of ${endpoint.arena.capacity} bytes has no room for ${SLAB_COUNT} slabs of ${slabSize}`)
      this.#slabs.push(base)
      const batch = new TransmitBatch(ROWS_MAX)
      batch.reset(base, slabSize)
      this.#free.push(batch)
    }
  }

  /** Drains everything. A call from inside one of the host's methods makes the running drain go round once more. */
  run(): void {
    if (this.#running) {
      this.#again = true
      return
    }
    this.#running = true
    try {
      this.#drain()
      while (this.#takeAgain()) this.#drain()
    } finally {
      this.#running = false
    }
    this.#host.flush()
    this.#host.arm(this.#endpoint.nextTimeout(), this.#endpoint.nextTimeoutIsPacing())
  }

  /** Gives the slabs back to the arena; the pump is of no use after it. */
  close(): void {
    for (const base of this.#slabs.splice(0)) this.#endpoint.arena.release(base)
    this.#free.length = 0
  }

  #takeAgain(): boolean {
    const again = this.#again
    this.#again = false
    return again
  }

  #drain(): void {
    const endpoint = this.#endpoint
    const host = this.#host
    const now = host.now()
    for (;;) {
      let progressed = false
      for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) {
        host.onEvent(event)
        progressed = true
      }
      while (endpoint.pollMessages(now, this.#messages) > 0) {
        host.onMessages(this.#messages)
        progressed = true
      }
      while (endpoint.pollReleases(this.#releases) > 0) {
        host.onReleases(this.#releases)
        progressed = true
      }
      while (endpoint.pollNotices(this.#notices) > 0) {
        host.onNotices(this.#notices)
        progressed = true
      }
      for (let action = endpoint.pollAction(); action !== undefined; action = endpoint.pollAction()) {
        host.onAction(action)
        progressed = true
      }
      if (this.#transmit(now)) progressed = true
      if (!progressed) return
    }
  }

  #transmit(now: Now): boolean {
    let any = false
    while (this.#free.length > 0) {
      const batch = this.#free[this.#free.length - 1]!
      batch.reset(batch.base, batch.size)
      if (this.#endpoint.pollTransmits(now, batch) === 0) break
      this.#free.pop()
      any = true
      let returned = false
      this.#host.transmit(batch, () => {
        if (returned) return
        returned = true
        this.#free.push(batch)
        if (!this.#starved) return
        this.#starved = false
        this.#host.wake()
      })
    }
    if (this.#free.length === 0) this.#starved = true
    return any
  }
}
