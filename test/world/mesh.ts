import { writeU32, readU32, toHex } from '../../src/core/base/bytes.ts'
import { encodeAddress } from '../../src/core/base/address.ts'
import { MESSAGE_COST, type ChannelHandle, type PeerHandle } from '../../src/core/base/domain.ts'
import { never } from '../../src/core/base/time.ts'
import type { PowerMode } from '../../src/core/base/power-mode.ts'
import { bleRadioLimits } from '../../src/core/ble/limits.ts'
import type { EndpointEvent, MessageBatch, PeerRecord } from '../../src/core/endpoint/contract.ts'
import type { PresenceKey } from '../../src/core/session/presence.ts'
import { perfectWire, SimNetwork } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import { SimNode, type SimApp } from '../../src/sim/sim-node.ts'
import { SimProvider } from '../../src/sim/sim-provider.ts'
import { TimedAir, type TimedRadio } from '../support/timed-air.ts'
import { TimedBle } from '../support/timed-ble.ts'
import { hold } from './failure.ts'

export const SECOND = 1_000_000
export const MINUTE: number = 60 * SECOND
/** Apps that want a peer ask for it again this often while it is away. */
const WISH_TIME = 30 * SECOND
const TALK_TIME = MINUTE
const PORT = 7000

/** A conversation with one friend: numbered messages, which must come in order. */
interface Talk {
  readonly channel: ChannelHandle
  sent: number
}

/** One node of a mesh: the shipping endpoint and Bluetooth driver, and an app that wishes to talk with every friend all the time. */
export class MeshNode implements SimApp {
  readonly index: number
  readonly id: Uint8Array
  readonly radio: TimedRadio
  readonly ble: TimedBle
  readonly node: SimNode
  /** What is said to each friend, by its id. */
  readonly #talks = new Map<string, Talk>()
  /** The number of the next message, by the channel on which it is to come. */
  readonly #heard = new Map<ChannelHandle, number>()
  readonly #mesh: Mesh
  /** Messages that came, in all. */
  received = 0
  /** Sessions that were up and ended, or lost their last path. */
  interrupted = 0
  readonly #up = new Set<PeerHandle>()

  constructor(mesh: Mesh, index: number, seed: Uint8Array, presence: PresenceKey, mode: PowerMode) {
    this.index = index
    this.#mesh = mesh
    this.radio = mesh.air.add()
    let ble: TimedBle | undefined
    this.node = new SimNode({
      scheduler: mesh.scheduler, network: mesh.network, provider: new SimProvider(mesh.random.fork()), seed, address: encodeAddress(`192.0.2.${index + 1}`, PORT)!,
      config: { tcpAfter: never }, memory: 2 << 20, peers: mesh.recordsFor(index), presence: [presence],
      carrier: (host, node) => ble = new TimedBle(host, node, this.radio, mode),
    })
    this.ble = ble!
    this.node.app = this
    this.id = this.node.endpoint.id
  }

  begin(): void {
    const { random, scheduler } = this.#mesh
    const wish = (): void => {
      for (const friend of this.#mesh.nodes) if (friend !== this) this.#wish(friend)
      scheduler.at(scheduler.now + WISH_TIME, wish)
    }
    const talk = (): void => {
      for (const friend of this.#mesh.nodes) if (friend !== this) this.#talk(friend)
      scheduler.at(scheduler.now + TALK_TIME, talk)
    }
    scheduler.at(scheduler.now + random.below(2 * SECOND), wish)
    scheduler.at(scheduler.now + random.below(TALK_TIME), talk)
  }

  stateWith(friend: MeshNode): string {
    const handle = this.#handleOf(friend)
    return handle === undefined ? 'unknown' : this.node.endpoint.peerStats(handle)!.state
  }

  #handleOf(friend: MeshNode): PeerHandle | undefined {
    return this.node.endpoint.findPeer(friend.id)
  }

  #wish(friend: MeshNode): void {
    if (this.stateWith(friend) === 'connected') return
    this.node.act((endpoint, now) => endpoint.connect(now, friend.id, { addresses: [], now: false }))
  }

  #talk(friend: MeshNode): void {
    const name = toHex(friend.id)
    if (this.stateWith(friend) !== 'connected') return
    let talk = this.#talks.get(name)
    if (talk === undefined) {
      const channel = this.node.act((endpoint, now) => endpoint.openChannel(now, this.#handleOf(friend)!, {
        app: 'mesh', mode: 'reliable-ordered', lane: 'normal', weight: 1, overflow: 'block', meta: new Uint8Array(0), credit: 1 << 20, consumer: 1,
      }))
      if (typeof channel === 'string') return
      talk = { channel, sent: 0 }
      this.#talks.set(name, talk)
    }
    const bytes = new Uint8Array(64)
    writeU32(bytes, 0, talk.sent)
    const { channel } = talk
    const result = this.node.act((endpoint, now) => endpoint.send(now, channel, { bytes, offset: 0, length: bytes.length, lane: 255, tag: 0, confirm: false, deadline: never }))
    if (result === 'queued') talk.sent++
  }

  onMessages(node: SimNode, batch: MessageBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const channel = batch.channel[i] as ChannelHandle
      const expected = this.#heard.get(channel)
      hold(expected !== undefined, () => `node ${this.index}: a message on a channel that nobody opened`)
      const number = readU32(node.endpoint.arena.bytes, batch.offset[i]!)
      hold(number === expected, () => `node ${this.index}: message ${number} came, ${expected} was expected`)
      this.#heard.set(channel, expected + 1)
      this.received++
      node.endpoint.consume(node.now(), channel, batch.length[i]! + MESSAGE_COST)
    }
  }

  onReleases(): void {
    // So little is said that nobody is ever blocked.
  }

  onEvent(node: SimNode, event: EndpointEvent): void {
    switch (event.kind) {
      case 'persist':
        this.ble.presenceChanged()
        return
      case 'channel-incoming':
        this.#heard.set(event.channel, 0)
        node.endpoint.acceptChannel(node.now(), event.channel, { credit: 1 << 20, consumer: 1, overflow: 'block' })
        return
      case 'peer':
        if (event.state === 'connected') this.#up.add(event.peer)
        else if (this.#up.delete(event.peer)) this.interrupted++
        return
      case 'channel-closed':
        this.#heard.delete(event.channel)
        for (const [name, talk] of this.#talks) if (talk.channel === event.channel) this.#talks.delete(name)
        return
      default:
    }
  }
}

/** What changed in a stretch of time, over all nodes. */
export interface MeshChanges {
  readonly opened: number
  readonly ended: number
  readonly dials: number
  readonly received: number
}

/** Nodes that are all friends, in one air and without any network. */
export class Mesh {
  readonly scheduler: Scheduler = new Scheduler()
  readonly random: SeededRandom
  readonly air: TimedAir
  readonly network: SimNetwork
  readonly nodes: readonly MeshNode[]
  readonly #ids: { readonly id: Uint8Array; readonly presence: PresenceKey }[] = []

  constructor(seed: number, count: number, mode: PowerMode = 'active') {
    this.random = new SeededRandom(seed)
    this.air = new TimedAir(this.scheduler, this.random.fork())
    this.network = new SimNetwork(this.scheduler, this.random.fork())
    this.network.route = () => ({ conditions: perfectWire, cut: true })
    const seeds = Array.from({ length: count }, () => this.random.fill(new Uint8Array(32)))
    for (const secret of seeds) {
      // Only the endpoint can tell the id of a secret.
      const provider = new SimProvider(new SeededRandom(1))
      this.#ids.push({ id: provider.ed25519Public(secret), presence: { epoch: 1, key: this.random.fill(new Uint8Array(32)) } })
    }
    this.nodes = seeds.map((secret, index) => new MeshNode(this, index, secret, this.#ids[index]!.presence, mode))
    for (const node of this.nodes) node.begin()
  }

  /** Who hears whom from now on. */
  setReach(reaches: (a: TimedRadio, b: TimedRadio) => boolean): void {
    this.air.reaches = reaches
    this.air.moved()
  }

  recordsFor(index: number): PeerRecord[] {
    return this.#ids.flatMap(({ id, presence }, other) => other === index ? [] : [{
      id, name: `node ${other}`, addresses: [], addedAt: this.scheduler.clock().wall, connectedAt: undefined, hadSession: true, greatest: undefined, lastSent: undefined, policy: undefined,
      presence: [presence], invite: undefined,
    }])
  }

  /** Runs for so long, and looks at what must hold at every moment. */
  run(duration: number): MeshChanges {
    const before = this.#counts()
    const until = this.scheduler.now + duration
    let steps = 0
    while (this.scheduler.step(until)) if (++steps % 64 === 0) this.#look()
    this.#look()
    const after = this.#counts()
    return { opened: after.opened - before.opened, ended: after.ended - before.ended, dials: after.dials - before.dials, received: after.received - before.received }
  }

  #counts(): MeshChanges {
    let [opened, ended, dials, received] = [0, 0, 0, 0]
    for (const { ble, received: came } of this.nodes) {
      const counters = ble.driver.stats()
      opened += counters['ble_opened']!
      ended += counters['ble_closed']! + counters['ble_failed']!
      dials += counters['ble_dials']!
      received += came
    }
    return { opened, ended, dials, received }
  }

  #look(): void {
    for (const node of this.nodes) {
      const links = node.ble.driver.links()
      const out = links.filter(({ info }) => info.dialed).length
      hold(out <= bleRadioLimits.outMax && links.length - out <= bleRadioLimits.inMax, () => `node ${node.index} has ${out} links that it dialed and ${links.length - out} others`)
      hold(node.ble.driver.nearby().length <= bleRadioLimits.sightingsMax, () => `node ${node.index} remembers more than it may`)
    }
  }

  connected(a: MeshNode, b: MeshNode): boolean {
    return a.stateWith(b) === 'connected' && b.stateWith(a) === 'connected'
  }

  get pairs(): readonly (readonly [MeshNode, MeshNode])[] {
    return this.nodes.flatMap((a) => this.nodes.slice(a.index + 1).map((b) => [a, b] as const))
  }

  /** Pairs that hear each other, have no session, and one of which could dial the other: both have a link to spare. */
  missing(): string[] {
    const room = new Map(this.nodes.map((node) => {
      const links = node.ble.driver.links()
      const out = links.filter(({ info }) => info.dialed).length
      return [node, { out: bleRadioLimits.outMax - out, in: bleRadioLimits.inMax - (links.length - out) }] as const
    }))
    return this.pairs.filter(([a, b]) => {
      if (this.connected(a, b) || !this.air.hears(a.radio, b.radio)) return false
      const [x, y] = [room.get(a)!, room.get(b)!]
      return (x.out > 0 && y.in > 0) || (y.out > 0 && x.in > 0)
    }).map(([a, b]) => `${a.index}–${b.index}`)
  }

  get linkCount(): number {
    return this.nodes.reduce((sum, { ble }) => sum + ble.driver.links().length, 0) / 2
  }

  get sessionCount(): number {
    return this.pairs.filter(([a, b]) => this.connected(a, b)).length
  }
}
