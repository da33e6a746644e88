import { Arena } from '../core/base/arena.ts'
import { ADDRESS_SIZE } from '../core/base/address.ts'
import type { LinkId } from '../core/base/domain.ts'
import { never, type Instant, type Now } from '../core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../core/connection/config.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import { ReceiveBatch, type EndpointEvent, type InviteRecord, type MessageBatch, type PeerRecord, type ReleaseBatch, type TransmitBatch } from '../core/endpoint/contract.ts'
import { Endpoint } from '../core/endpoint/endpoint.ts'
import { Pump, type PumpHost } from '../core/endpoint/pump.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler, Task } from './scheduler.ts'

const RECEIVE_SLAB = 65_536
const TRANSMIT_SLAB = 65_536
const LINK = 1 as LinkId

export interface SimNodeOptions {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly provider: CryptoProvider
  readonly seed: Uint8Array
  /** 18 bytes. */
  readonly address: Uint8Array
  readonly config?: Partial<CoreConfig>
  readonly memory?: number
  readonly peers?: readonly PeerRecord[]
  readonly invites?: readonly InviteRecord[]
}

/** What the owner of a simulated node does with what comes out of it. */
export interface SimApp {
  onMessages(node: SimNode, batch: MessageBatch): void
  onReleases(node: SimNode, batch: ReleaseBatch): void
  onEvent(node: SimNode, event: EndpointEvent): void
}

/** A node in a simulated world: the shipping endpoint and pump, with a virtual clock and a virtual network as its drivers. */
export class SimNode implements PumpHost {
  readonly endpoint: Endpoint
  readonly pump: Pump
  app: SimApp | undefined
  readonly #scheduler: Scheduler
  readonly #network: SimNetwork
  readonly #slab: number
  readonly #batch = new ReceiveBatch(64)
  #fill = 0
  #flushing = false
  #timer: Task | undefined
  #timerAt: Instant = never
  #address: Uint8Array
  stopped = false

  constructor(options: SimNodeOptions) {
    this.#scheduler = options.scheduler
    this.#network = options.network
    this.#address = options.address
    const arena = new Arena(options.memory ?? 8 << 20)
    this.endpoint = new Endpoint({
      provider: options.provider, seed: options.seed, arena, config: { ...defaultConfig, ...options.config }, peers: options.peers ?? [],
      invites: options.invites ?? [], resetKey: options.provider.random(new Uint8Array(32)), now: options.scheduler.clock(),
    })
    this.pump = new Pump(this.endpoint, this, TRANSMIT_SLAB)
    this.#slab = arena.allocate(RECEIVE_SLAB)
    this.endpoint.handleLink(this.now(), LINK, 'opened', { kind: 'udp', local: new Uint8Array(ADDRESS_SIZE), dualStack: true, datagramMax: 65_507, segmentsMax: 64 })
    this.#bind()
    this.pump.run()
  }

  get address(): Uint8Array {
    return this.#address
  }

  /** The node's own address changes under it, as a NAT rebinding or a new network looks to its peers. */
  move(address: Uint8Array): void {
    this.#network.unbind(this.#address)
    this.#address = address
    this.#bind()
  }

  /** As SIGKILL: nothing more comes out of it or goes in. */
  stop(): void {
    this.stopped = true
    this.#network.unbind(this.#address)
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
  }

  /** Does something with the endpoint and drains what comes of it. */
  act<T>(action: (endpoint: Endpoint, now: Now) => T): T {
    const result = action(this.endpoint, this.now())
    this.pump.run()
    return result
  }

  now(): Now {
    return this.#scheduler.clock()
  }

  onMessages(batch: MessageBatch): void {
    this.app?.onMessages(this, batch)
  }

  onReleases(batch: ReleaseBatch): void {
    this.app?.onReleases(this, batch)
  }

  onEvent(event: EndpointEvent): void {
    this.app?.onEvent(this, event)
  }

  onAction(): void {
    // No action exists for a node with one UDP link.
  }

  transmit(batch: TransmitBatch, done: () => void): void {
    const bytes = this.endpoint.arena.bytes
    for (let row = 0; row < batch.count; row++) {
      const to = batch.address.slice(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) {
        this.#network.send(this.#address, to, bytes.slice(offset, Math.min(offset + batch.segmentSize[row]!, end)))
      }
    }
    done()
  }

  arm(deadline: Instant): void {
    if (deadline === this.#timerAt || this.stopped) return
    if (this.#timer !== undefined) this.#scheduler.cancel(this.#timer)
    this.#timer = undefined
    this.#timerAt = deadline
    if (deadline === never || deadline > 1e300) return
    this.#timer = this.#scheduler.at(deadline, () => {
      this.#timer = undefined
      this.#timerAt = never
      this.endpoint.handleTimeout(this.now())
      this.pump.run()
    })
  }

  wake(): void {
    this.#scheduler.at(this.#scheduler.now, () => { if (!this.stopped) this.pump.run() })
  }

  flush(): void {
    // Nothing is buffered outside the endpoint.
  }

  #bind(): void {
    this.#network.bind(this.#address, (from, datagram) => this.#receive(from, datagram))
  }

  /** Datagrams of one moment come in one batch, as they do from a socket. */
  #receive(from: Uint8Array, datagram: Uint8Array): void {
    if (this.stopped) return
    if (this.#batch.count === this.#batch.capacity || this.#fill + datagram.length > RECEIVE_SLAB) this.#flush()
    const offset = this.#slab + this.#fill
    this.endpoint.arena.bytes.set(datagram, offset)
    this.#fill += datagram.length
    this.#batch.push(LINK, from, offset, datagram.length)
    if (this.#flushing) return
    this.#flushing = true
    this.#scheduler.at(this.#scheduler.now, () => {
      this.#flushing = false
      if (!this.stopped) this.#flush()
    })
  }

  #flush(): void {
    if (this.#batch.count === 0) return
    this.endpoint.handleDatagrams(this.now(), this.#batch)
    this.pump.run()
    this.#batch.count = 0
    this.#fill = 0
  }
}
