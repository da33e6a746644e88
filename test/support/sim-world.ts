import { encodeAddress } from '../../src/core/base/address.ts'
import { encodeBleAddress } from '../../src/core/base/ble-address.ts'
import { toHex } from '../../src/core/base/bytes.ts'
import { never } from '../../src/core/base/time.ts'
import type { CoreConfig } from '../../src/core/connection/config.ts'
import type { ChannelHandle, EndpointEvent, InviteRecord, MessageBatch, PeerHandle, PeerRecord, PersistValue } from '../../src/core/endpoint/contract.ts'
import { SimNetwork } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import type { SimAir } from '../../src/sim/sim-ble.ts'
import { SimNode, type SimApp } from '../../src/sim/sim-node.ts'
import { SimProvider } from '../../src/sim/sim-provider.ts'

/** Counts the transport keys a provider holds, and finds one that is used, or removed, after it was removed. */
export class WatchedProvider extends SimProvider {
  live = 0
  readonly #slots = new Set<number>()

  override addKey(key: Uint8Array): number {
    const slot = super.addKey(key)
    this.#slots.add(slot)
    this.live = this.#slots.size
    return slot
  }

  override removeKey(slot: number): void {
    if (!this.#slots.delete(slot)) throw new Error(`key slot ${slot} is removed twice`)
    this.live = this.#slots.size
    super.removeKey(slot)
  }

  override sealBatch(bytes: Uint8Array, batch: Parameters<SimProvider['sealBatch']>[1]): void {
    this.#check(batch.key.subarray(0, batch.count))
    super.sealBatch(bytes, batch)
  }

  override openBatch(bytes: Uint8Array, batch: Parameters<SimProvider['openBatch']>[1]): void {
    this.#check(batch.key.subarray(0, batch.count))
    super.openBatch(bytes, batch)
  }

  #check(slots: Int32Array): void {
    for (const slot of slots) if (!this.#slots.has(slot)) throw new Error(`key slot ${slot} is used after it was removed`)
  }
}

export const SECOND = 1_000_000

/** A simulated node, its app that echoes nothing and remembers everything, and its disk. */
export class Player implements SimApp {
  readonly name: string
  readonly provider: WatchedProvider
  readonly events: EndpointEvent[] = []
  readonly received: string[] = []
  /** What `persist` events left behind: the disk. */
  readonly disk: Map<string, PersistValue> = new Map()
  node: SimNode
  readonly #world: SimWorld
  readonly #seed: Uint8Array
  readonly #config: Partial<CoreConfig>
  readonly #tcp: boolean | 'shared-port'
  readonly #ble: { readonly air: SimAir; readonly address: Uint8Array } | undefined
  /** As in the store: the same after a restart. */
  readonly #resetKey: Uint8Array

  constructor(world: SimWorld, name: string, seed: number, host: string, config: Partial<CoreConfig>, tcp: boolean | 'shared-port' = false, air?: SimAir) {
    this.name = name
    this.#world = world
    this.#seed = new Uint8Array(32).fill(seed)
    this.#config = config
    this.#tcp = tcp
    this.#ble = air === undefined ? undefined : { air, address: encodeBleAddress('random', new Uint8Array(6).fill(seed)) }
    this.provider = new WatchedProvider(world.random.fork())
    this.#resetKey = this.provider.random(new Uint8Array(32))
    this.node = this.#start(encodeAddress(host, 7000)!)
  }

  get id(): Uint8Array {
    return this.node.endpoint.id
  }

  get address(): Uint8Array {
    return this.node.address
  }

  #start(address: Uint8Array): SimNode {
    const values = [...this.disk.values()]
    const peers: PeerRecord[] = values.flatMap((value) => value.kind === 'peer' ? [value.record] : [])
    const invites: InviteRecord[] = values.flatMap((value) => value.kind === 'invite' ? [value.record] : [])
    const presence = values.flatMap((value) => value.kind === 'presence' ? value.keys : [])
    const node = new SimNode({
      scheduler: this.#world.scheduler, network: this.#world.network, provider: this.provider, seed: this.#seed, address, config: this.#config, tcp: this.#tcp, ble: this.#ble,
      memory: 2 << 20, peers, invites, presence, resetKey: this.#resetKey, mayFragment: this.#world.mayFragment,
    })
    node.app = this
    return node
  }

  stop(): void {
    this.node.stop()
  }

  /** SIGKILL and a new process on the same disk. */
  restart(): void {
    this.node.stop()
    this.node = this.#start(this.node.address)
  }

  /** The roster knows each other, addresses included. */
  know(other: Player): void {
    this.node.act((endpoint, now) => endpoint.addPeer(now, other.id, { name: other.name, addresses: [other.address], invite: undefined }))
  }

  /** The peer is in range of the radio, or no longer. */
  hears(other: Player, inRange = true): void {
    this.node.act((endpoint, now) => { endpoint.handleNearby(now, this.handleOf(other), inRange ? other.node.radio!.address : undefined) })
  }

  /** Kind of the path in use. */
  kindTo(other: Player): string | undefined {
    return this.node.endpoint.peerStats(this.handleOf(other))!.paths.find(({ active }) => active)?.kind
  }

  connect(other: Player): PeerHandle {
    return this.node.act((endpoint, now) => endpoint.connect(now, other.id, { addresses: [other.address], now: true }))!
  }

  handleOf(other: Player): PeerHandle {
    return this.node.endpoint.findPeer(other.id)!
  }

  stateOf(other: Player): string {
    const handle = this.node.endpoint.findPeer(other.id)
    return handle === undefined ? 'unknown' : this.node.endpoint.peerStats(handle)!.state
  }

  bindingOf(other: Player): string | undefined {
    const handle = this.node.endpoint.findPeer(other.id)
    const binding = handle === undefined ? undefined : this.node.endpoint.peerStats(handle)?.binding
    return binding === undefined ? undefined : toHex(binding)
  }

  open(other: Player, mode: 'reliable-ordered' | 'unreliable' = 'reliable-ordered'): ChannelHandle {
    const channel = this.node.act((endpoint, now) => endpoint.openChannel(now, this.handleOf(other), {
      app: 'test', mode, lane: 'normal', weight: 1, overflow: 'block', meta: new Uint8Array(0), credit: 1 << 20, consumer: 1,
    }))
    if (typeof channel === 'string') throw new Error(`no channel: ${channel}`)
    return channel
  }

  send(channel: ChannelHandle, text: string): string {
    const bytes = new TextEncoder().encode(text)
    return this.node.act((endpoint, now) => endpoint.send(now, channel, { bytes, offset: 0, length: bytes.length, lane: 255, tag: 0, confirm: false, deadline: never }))
  }

  counter(name: string): number {
    return this.node.endpoint.counters()[name]!
  }

  onMessages(node: SimNode, batch: MessageBatch): void {
    for (let i = 0; i < batch.count; i++) {
      this.received.push(new TextDecoder().decode(node.endpoint.arena.bytes.slice(batch.offset[i], batch.offset[i]! + batch.length[i]!)))
      node.endpoint.consume(node.now(), batch.channel[i] as ChannelHandle, batch.length[i]! + 32)
    }
  }

  onReleases(): void {
    // Nobody here is blocked.
  }

  onEvent(node: SimNode, event: EndpointEvent): void {
    this.events.push(event)
    if (event.kind === 'channel-incoming') node.endpoint.acceptChannel(node.now(), event.channel, { credit: 1 << 20, consumer: 1, overflow: 'block' })
    if (event.kind === 'persist') {
      if (event.value === undefined) this.disk.delete(event.key)
      else this.disk.set(event.key, event.value)
    }
  }
}

/** Virtual time and network from one seed, with a few players. */
export class SimWorld {
  readonly random: SeededRandom
  readonly scheduler: Scheduler = new Scheduler()
  readonly network: SimNetwork
  /** Links send without DF, as Node's sockets do: no path MTU is looked for. */
  readonly mayFragment: boolean
  readonly #players: Player[] = []

  constructor(seed: number, mayFragment = false, makeNetwork: (scheduler: Scheduler, random: SeededRandom) => SimNetwork = (scheduler, random) => new SimNetwork(scheduler, random)) {
    this.mayFragment = mayFragment
    this.random = new SeededRandom(seed)
    this.network = makeNetwork(this.scheduler, this.random.fork())
  }

  player(name: string, seed: number, host: string, config: Partial<CoreConfig> = {}, tcp: boolean | 'shared-port' = false, air?: SimAir): Player {
    const player = new Player(this, name, seed, host, config, tcp, air)
    this.#players.push(player)
    return player
  }

  run(seconds: number): void {
    this.scheduler.run(seconds * SECOND)
  }

  /** Runs until `condition`; returns the seconds it took, Infinity if it did not come within `limit`. */
  until(condition: () => boolean, limit: number): number {
    const start = this.scheduler.now
    while (!condition()) {
      if (!this.scheduler.step(start + limit * SECOND)) return condition() ? limit : Infinity
    }
    return (this.scheduler.now - start) / SECOND
  }
}
