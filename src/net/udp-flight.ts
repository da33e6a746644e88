/**
 * One lent transmit slab on its way: counts the sends that the kernel has not taken yet. Flights and their callbacks are
 * reused, since a closure per datagram would be garbage per datagram.
 */
export class Flight {
  /** Sends outstanding, plus one while `send` is still handing them over. */
  pending = 0
  sentDatagrams = 0
  sentBytes = 0
  done: () => void = nothing
  /** Given to the socket with every datagram. */
  readonly sent: (error: Error | null, bytes: number) => void
  /** A row that was sent as a whole, as far as the system took it. */
  readonly land: (datagrams: number, bytes: number) => void

  constructor(failed: (error: Error) => void, landed: (flight: Flight) => void) {
    this.sent = (error, bytes) => {
      if (error === null) {
        this.sentDatagrams++
        this.sentBytes += bytes
      } else {
        failed(error)
      }
      if (--this.pending === 0) landed(this)
    }
    this.land = (datagrams, bytes) => {
      this.sentDatagrams += datagrams
      this.sentBytes += bytes
      if (--this.pending === 0) landed(this)
    }
  }
}

/**
 * The flights of one driver. Their number is bounded by the pump's ring of slabs, as each holds one; nothing here says no.
 * A flight that has landed is told to its owner from the event loop, never from inside the completion of a send.
 */
export class Flights {
  readonly #idle: Flight[] = []
  #flying = new Set<Flight>()
  #landed: Flight[] = []
  #telling: Flight[] = []
  readonly #failed: (error: Error) => void
  readonly #wake: () => void
  readonly #count: (datagrams: number, bytes: number) => void

  constructor(hooks: { failed: (error: Error) => void; wake: () => void; count: (datagrams: number, bytes: number) => void }) {
    this.#failed = hooks.failed
    this.#wake = hooks.wake
    this.#count = hooks.count
  }

  get flying(): number {
    return this.#flying.size
  }

  /** A flight with one send pending: the caller's own, ended by {@link release}. */
  take(done: () => void): Flight {
    const flight = this.#idle.pop() ?? this.#make()
    flight.pending = 1
    flight.sentDatagrams = 0
    flight.sentBytes = 0
    flight.done = done
    this.#flying.add(flight)
    return flight
  }

  release(flight: Flight): void {
    if (--flight.pending === 0) this.#land(flight)
  }

  /** Calls `done` of all that have landed. Each may take a new flight. */
  tell(): void {
    if (this.#landed.length === 0) return
    const landed = this.#landed
    this.#landed = this.#telling
    this.#telling = landed
    for (const flight of landed) {
      const { done } = flight
      this.#count(flight.sentDatagrams, flight.sentBytes)
      flight.done = nothing
      this.#idle.push(flight)
      done()
    }
    landed.length = 0
  }

  /** Lands what never will: the sockets are closed and the kernel looks at no buffer any more. Late callbacks find flights that are not reused. */
  abandon(): void {
    for (const flight of this.#flying) {
      const substitute = this.#make()
      substitute.done = flight.done
      substitute.sentDatagrams = flight.sentDatagrams
      substitute.sentBytes = flight.sentBytes
      this.#landed.push(substitute)
      flight.pending = Infinity
    }
    this.#flying = new Set()
    this.#wake()
  }

  #make(): Flight {
    return new Flight(this.#failed, (landed) => this.#land(landed))
  }

  #land(flight: Flight): void {
    this.#flying.delete(flight)
    this.#landed.push(flight)
    this.#wake()
  }
}

function nothing(): void {
  // A flight that carries nothing has nobody to tell.
}
