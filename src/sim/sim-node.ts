import { Arena } from '../core/base/arena.ts'
import { ADDRESS_SIZE, equalAddress, isIPv4 } from '../core/base/address.ts'
import type { LinkId } from '../core/base/domain.ts'
import { never, toInstant, toWallTime, type Instant, type Now } from '../core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../core/connection/config.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import { ReceiveBatch, type EndpointAction, type EndpointEvent, type InviteRecord, type MessageBatch, type NoticeBatch, type PeerRecord, type ReleaseBatch, type TransmitBatch } from '../core/endpoint/contract.ts'
import { Endpoint } from '../core/endpoint/endpoint.ts'
import { Pump, type PumpHost } from '../core/endpoint/pump.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler, Task } from './scheduler.ts'
import { equalHost, SimConnections } from './sim-connections.ts'

const RECEIVE_SLAB = 65_536
const TRANSMIT_SLAB = 65_536
const RECEIVE_ROWS = 64
const DATAGRAM_MAX = 65_507
/** As a driver with GSO reports it. */
const SEGMENTS_MAX = 64
/** Beyond this a deadline is no deadline. */
const FAR = 1e300

export interface SimNodeOptions {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly provider: CryptoProvider
  readonly seed: Uint8Array
  /** 18 bytes. */
  readonly address: Uint8Array
  /** Of another family, on the same socket: what goes to an address of its family leaves from there. */
  readonly secondAddress?: Uint8Array
  /** It listens for TCP at its addresses, and dials. */
  readonly tcp?: boolean
  readonly config?: Partial<CoreConfig>
  readonly memory?: number
  readonly peers?: readonly PeerRecord[]
  readonly invites?: readonly InviteRecord[]
  /** Drawn when absent; a node that restarts keeps it. */
  readonly resetKey?: Uint8Array
  /** Datagrams of one burst; 1 is a driver without GSO. */
  readonly segmentsMax?: number
  /** The driver cannot set DF, as Node's cannot: no path MTU is looked for. */
  readonly mayFragment?: boolean
  /** Microseconds until the driver gives a transmit slab back; 0 or absent = at once. */
  readonly sendTime?: () => number
  /** Equal datagrams in a row from one source come as one row with a segment size, as GRO delivers them. */
  readonly coalesce?: boolean
}

/** What the owner of a simulated node does with what comes out of it. */
export interface SimApp {
  onMessages(node: SimNode, batch: MessageBatch): void
  onReleases(node: SimNode, batch: ReleaseBatch): void
  onNotices?(node: SimNode, batch: NoticeBatch): void
  onEvent(node: SimNode, event: EndpointEvent): void
  /** Everything that came of this turn was handed out. */
  onTurn?(node: SimNode): void
}

/** A node in a simulated world: the shipping endpoint and pump, with a virtual clock and a virtual network as its drivers. */
export class SimNode implements PumpHost {
  readonly endpoint: Endpoint
  readonly pump: Pump
  app: SimApp | undefined
  /** Times the one timer has fired. */
  timeouts = 0
  /** Transmit slabs that are on their way. */
  slabsOut = 0
  stopped = false
  /** The system refuses larger datagrams, as EMSGSIZE says. */
  interfaceMtu: number = Infinity
  /** Microseconds by which the process comes later than its timer or its datagrams call for it, because others have the core. */
  lateness: (() => number) | undefined = undefined
  /** Milliseconds that this node's wall clock is off. */
  wallOffset = 0
  /** As a laptop with its lid closed: datagrams are lost, the timer fires late. */
  #asleep = false
  readonly #scheduler: Scheduler
  readonly #network: SimNetwork
  readonly #slab: number
  readonly #batch = new ReceiveBatch(RECEIVE_ROWS)
  readonly #segmentsMax: number
  readonly #sendTime: (() => number) | undefined
  readonly #coalesce: boolean
  readonly #mayFragment: boolean
  #fill = 0
  #flushing = false
  #timer: Task | undefined
  #timerAt: Instant = never
  readonly #connections: SimConnections | undefined
  #nextLink = 1
  #link!: LinkId
  readonly #addresses: Uint8Array[]
  /** What the network said while it slept. */
  readonly #missed: (() => void)[] = []
  /** Addresses that this turn's datagrams could not be sent to. */
  #refused: Uint8Array[] = []

  constructor(options: SimNodeOptions) {
    this.#scheduler = options.scheduler
    this.#network = options.network
    this.#addresses = [options.address, ...(options.secondAddress === undefined ? [] : [options.secondAddress])]
    this.#segmentsMax = options.segmentsMax ?? SEGMENTS_MAX
    this.#sendTime = options.sendTime
    this.#coalesce = options.coalesce === true
    this.#mayFragment = options.mayFragment === true
    const arena = new Arena(options.memory ?? 8 << 20)
    this.endpoint = new Endpoint({
      provider: options.provider, seed: options.seed, arena, config: { ...defaultConfig, ...options.config }, peers: options.peers ?? [],
      invites: options.invites ?? [], resetKey: options.resetKey ?? options.provider.random(new Uint8Array(32)), now: options.scheduler.clock(),
    })
    this.pump = new Pump(this.endpoint, this, TRANSMIT_SLAB)
    this.#slab = arena.allocate(RECEIVE_SLAB)
    this.#openLink()
    this.#connections = options.tcp === true ? new SimConnections(options.network, this.#connectionHost()) : undefined
    for (const address of this.#addresses) this.#bind(address)
    this.pump.run()
  }

  get address(): Uint8Array {
    return this.#addresses[0]!
  }

  get addresses(): readonly Uint8Array[] {
    return this.#addresses
  }

  /** Open TCP connections. */
  get connections(): number {
    return this.#connections?.size ?? 0
  }

  get link(): LinkId {
    return this.#link
  }

  /** When the one timer fires next. */
  get timerAt(): Instant {
    return this.#timerAt
  }

  /** The node's own address of this family changes under it, as a NAT rebinding looks to its peers: it does not know. */
  move(address: Uint8Array): void {
    const at = Math.max(0, this.#addresses.findIndex((own) => isIPv4(own) === isIPv4(address)))
    const before = this.#addresses[at]!
    this.#unbind(before)
    if (!equalHost(before, address)) this.#connections?.sever(before)
    this.#addresses[at] = address
    this.#bind(address)
  }

  /** The node changes networks and knows it: its socket is closed, another is opened at another address, connections break. */
  relink(address: Uint8Array): void {
    this.move(address)
    this.act((endpoint, now) => {
      endpoint.handleLink(now, this.#link, 'closed')
      this.#openLink()
    })
    this.#connections?.breakSevered()
  }

  /** Breaks every TCP connection to this machine, and both sides hear of it. */
  resetConnections(isPeer: (remote: Uint8Array) => boolean): void {
    this.#connections?.reset(isPeer)
  }

  /** The socket takes nothing, or takes again. */
  setBlocked(blocked: boolean): void {
    this.act((endpoint, now) => { endpoint.handleLink(now, this.#link, blocked ? 'blocked' : 'writable') })
  }

  sleep(): void {
    this.#asleep = true
    this.#connections?.setAsleep(true)
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
    this.#timer = undefined
  }

  /** Time has gone on meanwhile: whatever is due is done now. */
  awake(): void {
    this.#asleep = false
    this.#timerAt = never
    this.#connections?.setAsleep(false)
    this.act((endpoint, now) => { endpoint.handleTimeout(now) })
    for (const missed of this.#missed.splice(0)) missed()
  }

  /** As SIGKILL: nothing more comes out of it or goes in. */
  stop(): void {
    this.stopped = true
    for (const address of this.#addresses) this.#unbind(address)
    this.#connections?.stop()
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
  }

  /** Does something with the endpoint and drains what comes of it. */
  act<T>(action: (endpoint: Endpoint, now: Now) => T): T {
    const result = action(this.endpoint, this.now())
    this.pump.run()
    return result
  }

  now(): Now {
    const now = this.#scheduler.clock()
    return this.wallOffset === 0 ? now : { mono: now.mono, wall: toWallTime(now.wall + this.wallOffset) }
  }

  onMessages(batch: MessageBatch): void {
    this.app?.onMessages(this, batch)
  }

  onReleases(batch: ReleaseBatch): void {
    this.app?.onReleases(this, batch)
  }

  onNotices(batch: NoticeBatch): void {
    this.app?.onNotices?.(this, batch)
  }

  onEvent(event: EndpointEvent): void {
    this.app?.onEvent(this, event)
  }

  onAction(action: EndpointAction): void {
    switch (action.kind) {
      case 'dial':
        if (action.transport === 'tcp' && this.#connections !== undefined) this.#connections.dial(this.#sourceFor(action.address), action.address, action.token)
        else this.endpoint.handleDialFailed(this.now(), action.token)
        return
      case 'cancel-dial': this.#connections?.cancel(action.token); return
      case 'close-link': this.#connections?.close(action.link); return
      case 'confirm-link': return
      default: action satisfies never
    }
  }

  transmit(batch: TransmitBatch, done: () => void): void {
    const bytes = this.endpoint.arena.bytes
    for (let row = 0; row < batch.count; row++) {
      const to = batch.address.subarray(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
      const link = batch.link[row] as LinkId
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) {
        this.#send(link, to, bytes.subarray(offset, Math.min(offset + batch.segmentSize[row]!, end)))
      }
    }
    if (this.#refused.length > 0) this.#tellRefused()
    const time = this.#sendTime?.() ?? 0
    if (time === 0) {
      done()
      return
    }
    this.slabsOut++
    this.#scheduler.at(this.#scheduler.now + time, () => {
      this.slabsOut--
      done()
    })
  }

  arm(deadline: Instant): void {
    if (deadline === this.#timerAt || this.stopped || this.#asleep) return
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
    this.#timer = undefined
    this.#timerAt = deadline
    if (deadline > FAR) return
    this.#timer = this.#scheduler.at(this.#late(Math.max(deadline, this.#scheduler.now)), () => {
      this.#timer = undefined
      this.#timerAt = never
      this.timeouts++
      this.endpoint.handleTimeout(this.now())
      this.pump.run()
    })
  }

  wake(): void {
    this.#scheduler.at(this.#scheduler.now, () => { if (!this.stopped && !this.#asleep) this.pump.run() })
  }

  flush(): void {
    this.app?.onTurn?.(this)
  }

  #send(link: LinkId, to: Uint8Array, datagram: Uint8Array): void {
    if (link !== this.#link) {
      this.#connections?.send(link, datagram)
    } else if (datagram.length > this.interfaceMtu) {
      const { length } = datagram
      this.#soon((endpoint, now) => { endpoint.handleTooLarge(now, this.#link, length) })
    } else if (!this.#network.send(this.#sourceFor(to), to, datagram) && !this.#refused.some((address) => equalAddress(address, 0, to, 0))) {
      this.#refused.push(to.slice())
    }
  }

  #tellRefused(): void {
    const refused = this.#refused
    this.#refused = []
    this.#soon((endpoint, now) => { endpoint.handleRefused(now, this.#link, refused) })
  }

  #sourceFor(to: Uint8Array): Uint8Array {
    return this.#addresses.find((own) => isIPv4(own) === isIPv4(to)) ?? this.#addresses[0]!
  }

  #openLink(): void {
    this.#link = this.#nextLink++ as LinkId
    this.endpoint.handleLink(this.now(), this.#link, 'opened', { kind: 'udp', local: new Uint8Array(ADDRESS_SIZE), dualStack: true, datagramMax: DATAGRAM_MAX, segmentsMax: this.#segmentsMax, dontFragment: !this.#mayFragment })
  }

  #connectionHost(): ConstructorParameters<typeof SimConnections>[1] {
    return {
      nextLink: () => this.#nextLink++ as LinkId,
      opened: (link, info) => { this.#soon((endpoint, now) => { endpoint.handleLink(now, link, 'opened', info) }) },
      changed: (link, state) => { this.#soon((endpoint, now) => { endpoint.handleLink(now, link, state) }) },
      dialFailed: (token, reason) => { this.#soon((endpoint, now) => { endpoint.handleDialFailed(now, token, reason) }) },
      received: (link, from, datagram) => { this.#receive(link, from, datagram) },
    }
  }

  /** Tells the endpoint what the network said: from a turn of its own, as a driver does, and not while the machine sleeps. */
  #soon(tell: (endpoint: Endpoint, now: Now) => void): void {
    this.#scheduler.at(this.#scheduler.now, () => {
      if (this.stopped) return
      if (this.#asleep) this.#missed.push(() => { this.#soon(tell) })
      else this.act(tell)
    })
  }

  #bind(address: Uint8Array): void {
    this.#network.bind(address, (from, datagram) => { this.#receive(this.#link, from, datagram) })
    this.#connections?.listen(address)
  }

  #unbind(address: Uint8Array): void {
    this.#network.unbind(address)
    this.#network.unlisten(address)
  }

  /** Datagrams of one moment come in one batch, as they do from a socket. */
  #receive(link: LinkId, from: Uint8Array, datagram: Uint8Array): void {
    if (this.stopped || this.#asleep) return
    if (this.#batch.count === this.#batch.capacity || this.#fill + datagram.length > RECEIVE_SLAB) this.#flush()
    const offset = this.#slab + this.#fill
    this.endpoint.arena.bytes.set(datagram, offset)
    this.#fill += datagram.length
    if (!this.#coalesce || !this.#extend(link, from, datagram.length)) this.#batch.push(link, from, offset, datagram.length)
    if (this.#flushing) return
    this.#flushing = true
    this.#scheduler.at(this.#late(this.#scheduler.now), () => {
      this.#flushing = false
      if (!this.stopped && !this.#asleep) this.#flush()
    })
  }

  #late(at: number): Instant {
    return toInstant(at + (this.lateness?.() ?? 0))
  }

  /** Makes the datagram another segment of the last row, if it may be: all are equally long, only the last may be shorter. */
  #extend(link: LinkId, from: Uint8Array, length: number): boolean {
    const row = this.#batch.count - 1
    if (row < 0 || this.#batch.link[row] !== link || !equalAddress(this.#batch.address, row * ADDRESS_SIZE, from, 0)) return false
    const segment = this.#batch.segmentSize[row]!
    if (length > segment || this.#batch.length[row]! % segment !== 0) return false
    this.#batch.length[row]! += length
    return true
  }

  #flush(): void {
    if (this.#batch.count === 0) return
    this.endpoint.handleDatagrams(this.now(), this.#batch)
    this.pump.run()
    this.#batch.count = 0
    this.#fill = 0
  }
}
