import { Arena } from '../core/base/arena.ts'
import { isIPv4 } from '../core/base/address.ts'
import type { LinkId } from '../core/base/domain.ts'
import { never, toInstant, toWallTime, type Instant, type Now } from '../core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../core/connection/config.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import type { EndpointAction, EndpointEvent, InviteRecord, MessageBatch, NoticeBatch, PeerRecord, ReleaseBatch, TransmitBatch } from '../core/endpoint/contract.ts'
import { Endpoint } from '../core/endpoint/endpoint.ts'
import { Pump, type PumpHost } from '../core/endpoint/pump.ts'
import type { PresenceKey } from '../core/session/presence.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler, Task } from './scheduler.ts'
import { SimBle, type SimAir } from './sim-ble.ts'
import { SimSpare } from './sim-spare.ts'
import { SimTcp, type SimTcpHost } from './sim-tcp.ts'
import { SimUdp } from './sim-udp.ts'

const TRANSMIT_SLAB = 65_536
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
  /** It listens for TCP at its addresses, and dials; with `shared-port` from there. */
  readonly tcp?: boolean | 'shared-port'
  /** Makes a driver of Bluetooth that is not of this floor: the one that ships, say, on radios in virtual time. */
  readonly carrier?: ((host: SimTcpHost, node: SimNode) => SimCarrier) | undefined
  /** It has a radio of this address, on this air. */
  readonly ble?: { readonly air: SimAir; readonly address: Uint8Array } | undefined
  readonly config?: Partial<CoreConfig>
  readonly memory?: number
  readonly peers?: readonly PeerRecord[]
  readonly invites?: readonly InviteRecord[]
  /** Drawn when absent; a node that restarts keeps it. */
  readonly resetKey?: Uint8Array
  readonly presence?: readonly PresenceKey[]
  /** Datagrams of one burst; 1 is a driver without GSO. */
  readonly segmentsMax?: number
  /** The driver cannot set DF, as Node's cannot: no path MTU is looked for. */
  readonly mayFragment?: boolean
  /** Microseconds until the driver gives a transmit slab back; 0 or absent = at once. */
  readonly sendTime?: () => number
  /** Equal datagrams in a row from one source come as one row with a segment size, as GRO delivers them. */
  readonly coalesce?: boolean
}

/** A driver of connections as a simulated node uses it. */
export interface SimCarrier {
  open(): void
  /** As SIGKILL. */
  stop(): void
  setAsleep(asleep: boolean): void
  dial(address: Uint8Array, token: number): void
  cancelDial(token: number): void
  confirm(link: LinkId): void
  closeLink(link: LinkId): void
  send(batch: TransmitBatch, done: () => void): number
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
  /** Microseconds by which the process comes later than its timer or its datagrams call for it, because others have the core. */
  lateness: (() => number) | undefined = undefined
  /** Milliseconds that this node's wall clock is off. */
  wallOffset = 0
  /** As a laptop with its lid closed: datagrams are lost, the timer fires late. */
  #asleep = false
  readonly #scheduler: Scheduler
  #timer: Task | undefined
  #timerAt: Instant = never
  readonly #udp: SimUdp
  readonly #tcp: SimTcp | undefined
  readonly #ble: SimBle | undefined
  readonly #carrier: SimCarrier | undefined
  readonly #spare: SimSpare
  #nextLink = 1
  /** What the network said while it slept. */
  readonly #missed: (() => void)[] = []

  constructor(options: SimNodeOptions) {
    this.#scheduler = options.scheduler
    const { scheduler, network, segmentsMax, sendTime, coalesce } = options
    const addresses = [options.address, ...(options.secondAddress === undefined ? [] : [options.secondAddress])]
    const arena = new Arena(options.memory ?? 8 << 20)
    this.endpoint = new Endpoint({
      provider: options.provider, seed: options.seed, arena, config: { ...defaultConfig, ble: options.ble !== undefined || options.carrier !== undefined, ...options.config }, peers: options.peers ?? [],
      invites: options.invites ?? [], presence: options.presence ?? [], resetKey: options.resetKey ?? options.provider.random(new Uint8Array(32)), now: options.scheduler.clock(),
    })
    this.pump = new Pump(this.endpoint, this, TRANSMIT_SLAB)
    const late = (): number => this.lateness?.() ?? 0
    this.#udp = new SimUdp(this.#driverHost(arena), {
      scheduler, late, network, addresses, sendTime, dontFragment: options.mayFragment !== true, coalesce: coalesce === true, ...(segmentsMax === undefined ? {} : { segmentsMax }),
    })
    this.#tcp = options.tcp === true || options.tcp === 'shared-port' ? new SimTcp(this.#driverHost(arena), { scheduler, late, network, addresses, sharesPort: options.tcp === 'shared-port' }) : undefined
    this.#ble = options.ble === undefined ? undefined : new SimBle(this.#driverHost(arena), options.ble.air, options.ble.address)
    this.#carrier = options.carrier?.(this.#driverHost(arena), this)
    this.#spare = new SimSpare(this.#driverHost(arena), { scheduler, late, network })
    this.#udp.open()
    this.#ble?.open()
    this.#carrier?.open()
    this.#tcp?.open()
    this.pump.run()
  }

  get address(): Uint8Array {
    return this.#udp.addresses[0]!
  }

  get addresses(): readonly Uint8Array[] {
    return this.#udp.addresses
  }

  /** Open TCP connections. */
  get connections(): number {
    return this.#tcp?.size ?? 0
  }

  get radio(): SimBle | undefined {
    return this.#ble
  }

  /** Sockets that are open for a round of guessing, or were kept from one. */
  get spareSockets(): number {
    return this.#spare.size
  }

  get link(): LinkId {
    return this.#udp.link!
  }

  /** The system refuses larger datagrams, as EMSGSIZE says. */
  set interfaceMtu(bytes: number) {
    this.#udp.interfaceMtu = bytes
  }

  /** When the one timer fires next. */
  get timerAt(): Instant {
    return this.#timerAt
  }

  /** The node's own address of this family changes under it, as a NAT rebinding looks to its peers: it does not know. */
  move(address: Uint8Array): void {
    const at = Math.max(0, this.addresses.findIndex((own) => isIPv4(own) === isIPv4(address)))
    this.#udp.move(at, address)
    this.#tcp?.move(at, address)
  }

  /** The node changes networks and knows it: its socket is closed, another is opened at another address, connections break. */
  relink(address: Uint8Array): void {
    this.move(address)
    this.#udp.reopen()
    this.#tcp?.breakSevered()
  }

  /** Breaks every TCP connection to this machine, and both sides hear of it. */
  resetConnections(isPeer: (remote: Uint8Array) => boolean): void {
    this.#tcp?.reset(isPeer)
  }

  /** The socket takes nothing, or takes again. */
  setBlocked(blocked: boolean): void {
    if (blocked) this.#udp.hold()
    else this.#udp.release()
  }

  sleep(): void {
    this.#asleep = true
    this.#tcp?.setAsleep(true)
    this.#carrier?.setAsleep(true)
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
    this.#timer = undefined
  }

  /** Time has gone on meanwhile: whatever is due is done now. */
  awake(): void {
    this.#asleep = false
    this.#timerAt = never
    this.#tcp?.setAsleep(false)
    this.#carrier?.setAsleep(false)
    this.act((endpoint, now) => { endpoint.handleTimeout(now) })
    for (const missed of this.#missed.splice(0)) missed()
  }

  /** As SIGKILL: nothing more comes out of it or goes in. */
  stop(): void {
    this.stopped = true
    this.#udp.stop()
    this.#spare.stop()
    this.#tcp?.stop()
    this.#ble?.stop()
    this.#carrier?.stop()
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
        if (action.transport === 'ble' && this.#ble !== undefined) this.#ble.dial(action.address, action.token)
        else if (action.transport === 'ble' && this.#carrier !== undefined) this.#carrier.dial(action.address, action.token)
        else if (action.transport === 'tcp' && this.#tcp !== undefined) this.#tcp.dial(this.#udp.sourceFor(action.address), action.address, action.token)
        else this.endpoint.handleDialFailed(this.now(), action.token)
        return
      case 'cancel-dial': for (const driver of [this.#tcp, this.#ble, this.#carrier]) driver?.cancelDial(action.token); return
      case 'open-sockets': this.#spare.open(this.#udp.sourceFor(this.#udp.addresses[0]!), action.token, action.count); return
      case 'close-link':
        this.#spare.closeLink(action.link)
        this.#tcp?.closeLink(action.link)
        this.#ble?.closeLink(action.link)
        this.#carrier?.closeLink(action.link)
        return
      case 'confirm-link': this.#carrier?.confirm(action.link); return
      default: action satisfies never
    }
  }

  transmit(batch: TransmitBatch, done: () => void): void {
    const drivers = [this.#udp, this.#tcp, this.#ble, this.#carrier, this.#spare.size > 0 ? this.#spare : undefined].filter((driver) => driver !== undefined)
    let left = drivers.length
    const one = (): void => {
      left--
      if (left > 0) return
      this.slabsOut--
      done()
    }
    this.slabsOut++
    for (const driver of drivers) driver.send(batch, one)
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

  #driverHost(arena: Arena): SimTcpHost {
    return {
      arena,
      opened: (info, token) => {
        const link = this.#nextLink++ as LinkId
        // A driver has the link only once this returns: what is to be sent over it goes in a turn of its own.
        const open = (): void => { this.endpoint.handleLink(this.now(), link, 'opened', token === undefined ? info : { ...info, token }) }
        if (this.#asleep) this.#missed.push(open)
        else open()
        this.wake()
        return link
      },
      changed: (link, state) => { this.#hear((endpoint, now) => { endpoint.handleLink(now, link, state) }) },
      refused: (link, addresses) => { this.#hear((endpoint, now) => { endpoint.handleRefused(now, link, addresses) }) },
      tooLarge: (link, length) => { this.#hear((endpoint, now) => { endpoint.handleTooLarge(now, link, length) }) },
      dialFailed: (token, { code }) => {
        this.#hear((endpoint, now) => { endpoint.handleDialFailed(now, token, code === 'refused' ? 'refused' : code === 'timeout' ? 'no_answer' : 'failed') })
      },
      received: (batch) => { if (!this.#asleep) this.#hear((endpoint, now) => { endpoint.handleDatagrams(now, batch) }) },
    }
  }

  #late(at: number): Instant {
    return toInstant(at + (this.lateness?.() ?? 0))
  }

  /** Tells the endpoint what a driver said; later, if the machine sleeps. */
  #hear(tell: (endpoint: Endpoint, now: Now) => void): void {
    if (this.stopped) return
    if (this.#asleep) this.#missed.push(() => { this.#hear(tell) })
    else this.act(tell)
  }
}
