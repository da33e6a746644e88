import type { LinkId, LinkInfo, PathHint, ReceiveBatch, RefusalReason, TransmitBatch, EndpointAction, EndpointEvent, MessageBatch, NoticeBatch, ReleaseBatch } from '../core/endpoint/contract.ts'
import type { Endpoint } from '../core/endpoint/endpoint.ts'
import { Pump, type PumpHost } from '../core/endpoint/pump.ts'
import { never, toInstant, type Instant, type Now } from '../core/base/time.ts'
import type { PosternError } from '../core/base/errors.ts'
import type { LinkKind, LinkState } from '../core/base/domain.ts'
import type { ConnectionDriver, ConnectionHost, Driver } from '../net/driver.ts'
import { NetworkWatch, type NetlinkAddon } from '../net/network-watch.ts'
import type { SpareSockets } from '../net/spare-sockets.ts'
import type { Clock } from '../platform/clock.ts'
import { Timer } from '../platform/timer.ts'

/** Deadlines beyond this are "never" for a timer: some tables say "not before the end of numbers". */
const FAR: Instant = toInstant(1e300)

/** Where the endpoint's output goes; the router, in the daemon. */
export interface RuntimeSink {
  onMessages(batch: MessageBatch): void
  onReleases(batch: ReleaseBatch): void
  onNotices(batch: NoticeBatch): void
  onEvent(event: EndpointEvent): void
  /** The turn is over: write what was gathered. */
  flush(): void
  onLink(kind: LinkKind, state: LinkState, cause: PosternError | undefined): void
  /** A connection that the endpoint asked for was not to be had. */
  onDialFailed(cause: PosternError): void
}

/** The endpoint on real time and real drivers: one clock, one timer, one pump, and the drivers as its links. */
export class NodeRuntime implements PumpHost, ConnectionHost {
  readonly endpoint: Endpoint
  readonly pump: Pump
  readonly clock: Clock
  readonly #timer: Timer
  readonly #sink: RuntimeSink
  readonly #drivers: Driver[] = []
  readonly #dialers: ConnectionDriver[] = []
  #spare: SpareSockets | undefined
  /** Of the open links. */
  readonly #kinds = new Map<LinkId, LinkKind>()
  #network: NetworkWatch | undefined
  #nextLink = 1
  #scheduled = false
  #turnTime: Now
  #closed = false

  constructor(endpoint: Endpoint, clock: Clock, sink: RuntimeSink) {
    this.endpoint = endpoint
    this.clock = clock
    this.#turnTime = clock.now()
    this.#sink = sink
    this.pump = new Pump(endpoint, this)
    this.#timer = new Timer(clock, (now) => {
      endpoint.handleTimeout(now)
      this.pump.run()
    })
  }

  get arena(): Endpoint['arena'] {
    return this.endpoint.arena
  }

  get drivers(): readonly Driver[] {
    return this.#drivers
  }

  add(driver: Driver): void {
    this.#drivers.push(driver)
  }

  /**
   * The time for what comes in hundreds within one turn, messages of clients: read once, since a reading costs as much as queueing
   * one. The endpoint is drained at the end of the turn.
   */
  turnTime(): Now {
    this.schedule()
    return this.#turnTime
  }

  /** Tells the endpoint of other addresses and routes from now on. */
  watchNetwork(addon: NetlinkAddon | undefined, onChange: () => void): void {
    this.#network = new NetworkWatch({
      addon,
      onChange: () => {
        onChange()
        this.endpoint.handleNetworkChange(this.now())
        this.pump.run()
      },
    })
  }

  /** A driver of connections: it dials what the endpoint asks for. */
  addDialer(driver: ConnectionDriver): void {
    this.#drivers.push(driver)
    this.#dialers.push(driver)
  }

  /** What opens sockets for rounds of guessing; asked to send only while it has some. */
  addSpare(driver: SpareSockets): void {
    this.#spare = driver
  }

  get spare(): SpareSockets | undefined {
    return this.#spare
  }

  /** Drains the endpoint at the end of this turn: many calls of one turn cost one drain. */
  schedule(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    this.#turnTime = this.clock.now()
    queueMicrotask(() => {
      this.#scheduled = false
      if (!this.#closed) this.pump.run()
    })
  }

  // ── driver host ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  opened(info: LinkInfo, token?: number): LinkId {
    const link = this.#nextLink++ as LinkId
    this.#kinds.set(link, info.kind)
    this.endpoint.handleLink(this.now(), link, 'opened', token === undefined ? info : { ...info, token })
    this.schedule()
    return link
  }

  dialFailed(token: number, cause: PosternError): void {
    if (this.#closed) return
    this.#sink.onDialFailed(cause)
    this.endpoint.handleDialFailed(this.now(), token, reasonOf(cause))
    this.pump.run()
  }

  refused(link: LinkId, addresses: readonly Uint8Array[], reason: RefusalReason): void {
    if (this.#closed) return
    this.endpoint.handleRefused(this.now(), link, addresses, reason)
    this.pump.run()
  }

  hinted(link: LinkId, hints: readonly PathHint[]): void {
    if (this.#closed) return
    this.endpoint.handleHints(this.now(), link, hints)
    this.pump.run()
  }

  tooLarge(link: LinkId, length: number): void {
    if (this.#closed) return
    this.endpoint.handleTooLarge(this.now(), link, length)
    this.pump.run()
  }

  changed(link: LinkId, state: Exclude<LinkState, 'opened'>, cause: PosternError | undefined): void {
    if (this.#closed) return
    this.endpoint.handleLink(this.now(), link, state)
    this.#sink.onLink(this.#kinds.get(link) ?? 'udp', state, cause)
    if (state === 'closed' || state === 'failed') this.#kinds.delete(link)
    this.pump.run()
  }

  received(batch: ReceiveBatch): void {
    if (this.#closed) return
    this.endpoint.handleDatagrams(this.now(), batch)
    this.pump.run()
  }

  // ── pump host ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  now(): Now {
    return this.clock.now()
  }

  onMessages(batch: MessageBatch): void {
    this.#sink.onMessages(batch)
  }

  onReleases(batch: ReleaseBatch): void {
    this.#sink.onReleases(batch)
  }

  onNotices(batch: NoticeBatch): void {
    this.#sink.onNotices(batch)
  }

  onEvent(event: EndpointEvent): void {
    this.#sink.onEvent(event)
  }

  onAction(action: EndpointAction): void {
    switch (action.kind) {
      case 'dial': {
        const dialer = this.#dialers.find(({ kind }) => kind === action.transport)
        if (dialer?.dial(action.address, action.token) !== 'dialing') this.endpoint.handleDialFailed(this.now(), action.token, 'no_resources')
        return
      }
      case 'cancel-dial':
        for (const dialer of this.#dialers) dialer.cancelDial(action.token)
        this.#spare?.cancel(action.token)
        return
      case 'open-sockets':
        this.#spare?.open(action.token, action.count)
        return
      case 'confirm-link':
        for (const dialer of this.#dialers) dialer.confirm(action.link)
        return
      case 'close-link':
        for (const dialer of this.#dialers) dialer.closeLink(action.link)
        this.#spare?.closeLink(action.link)
        return
      default:
        action satisfies never
    }
  }

  /** Every driver takes the rows of its own links; the slab is free when the last one is done with it. */
  transmit(batch: TransmitBatch, done: () => void): void {
    const spare = this.#spare !== undefined && this.#spare.size > 0 ? this.#spare : undefined
    let left = this.#drivers.length + (spare === undefined ? 0 : 1)
    const one = (): void => {
      left--
      if (left === 0) done()
    }
    if (left === 0) done()
    for (const driver of this.#drivers) driver.send(batch, one)
    spare?.send(batch, one)
  }

  arm(deadline: Instant, pacing: boolean): void {
    if (!this.#closed) this.#timer.arm(deadline > FAR ? never : deadline, pacing)
  }

  wake(): void {
    setImmediate(() => {
      if (!this.#closed) this.pump.run()
    })
  }

  flush(): void {
    this.#sink.flush()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer.stop()
    this.#network?.close()
    for (const driver of this.#drivers) await driver.close()
    await this.#spare?.close()
    this.pump.close()
  }
}

/** What a driver says of a dial, in the core's words. */
function reasonOf({ code, cause }: PosternError): RefusalReason {
  switch (code) {
    case 'refused':
      return 'refused'
    case 'timeout':
      return 'no_answer'
    case 'unreachable': {
      const system = cause instanceof Error && 'code' in cause ? cause.code : undefined
      return system === 'EPERM' || system === 'EACCES' ? 'forbidden' : 'unreachable'
    }
    case 'protocol':
      return 'not_postern'
    case 'limit':
      return 'no_resources'
    default:
      return 'failed'
  }
}
