import { ADDRESS_SIZE, formatAddress } from '../../src/core/base/address.ts'
import { MESSAGE_COST, type ChannelHandle, type PeerHandle, type SendResult } from '../../src/core/base/domain.ts'
import { readU32, toHex, writeU32 } from '../../src/core/base/bytes.ts'
import { never, toInstant, type Now } from '../../src/core/base/time.ts'
import { anyPath, type PathPolicy } from '../../src/core/path/path-policy.ts'
import type { EndpointEvent, InviteRecord, MessageBatch, NoticeBatch, OutgoingMessage, PeerRecord, PersistValue, ReleaseBatch } from '../../src/core/endpoint/contract.ts'
import { channelCodes } from '../../src/core/wire/frame.ts'
import type { SeededRandom } from '../../src/sim/random.ts'
import { SimNode, type SimApp } from '../../src/sim/sim-node.ts'
import type { TimedRadio } from '../support/timed-air.ts'
import { TimedBle } from '../support/timed-ble.ts'
import type { Incarnation, Side } from './conversation.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import { hold } from './failure.ts'
import { coreOf } from './inspect.ts'
import { checkNode } from './invariants.ts'
import { ROAMER, type NodePlan } from './plan.ts'
import type { WatchedProvider } from './provider.ts'
import { addressOn } from './roads.ts'
import type { World } from './world.ts'

const RETRY_TIME = 500 * MILLISECOND
const TOUCH_TIME = 2 * SECOND
const LATER_TIME = 2 * SECOND

/** A machine of the world: a node on the shipping endpoint, its disk, and the apps on it. */
export class Machine implements SimApp {
  readonly index: number
  readonly world: World
  provider: WatchedProvider
  readonly plan: NodePlan
  readonly disk: Map<string, PersistValue> = new Map()
  readonly sides: Map<ChannelHandle, Side> = new Map()
  /** Channels that wait for a session. */
  readonly #opening = new Set<Side>()
  /** Channels that an app refused before it knew that they were over already. */
  readonly #refused = new Set<ChannelHandle>()
  node!: SimNode
  running = false
  /** Apps do not read, by fault. */
  stalled = false
  drained = false
  /** What its user wishes about paths, and since when. */
  policy: PathPolicy = anyPath
  policySince = 0
  readonly radio: TimedRadio | undefined
  ble: TimedBle | undefined
  /** When its address last changed. */
  movedAt: number = -Infinity
  /** Bytes of the arena that an endpoint without any session holds. */
  arenaAtStart = 0
  #life = 0
  #asleep = false
  /** When it last woke: what dialed it meanwhile was taken by its system, and is there now. */
  wokeAt: number = -Infinity
  readonly #addresses: Uint8Array[]
  #port = 7000
  readonly #seed: Uint8Array
  readonly #random: SeededRandom
  readonly #message: OutgoingMessage = { bytes: new Uint8Array(0), offset: 0, length: 0, lane: 255, tag: 0, confirm: false, deadline: never }

  constructor(world: World, index: number, plan: NodePlan, random: SeededRandom) {
    this.world = world
    this.index = index
    this.plan = plan
    this.provider = world.newProvider()
    this.#random = random
    this.#seed = random.fill(new Uint8Array(32))
    this.radio = world.air?.add()
    this.#addresses = world.plan.calm.map((_, road) => addressOn(road, index, 0, this.#port))
    this.start()
  }

  get id(): Uint8Array {
    return this.node.endpoint.id
  }

  get addresses(): readonly Uint8Array[] {
    return this.#addresses
  }

  get asleep(): boolean {
    return this.#asleep
  }

  // ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    const values = [...this.disk.values()]
    const peers: PeerRecord[] = values.flatMap((value) => value.kind === 'peer' ? [value.record] : [])
    const invites: InviteRecord[] = values.flatMap((value) => value.kind === 'invite' ? [value.record] : [])
    const presence = values.flatMap((value) => value.kind === 'presence' ? value.keys : [])
    const { radio } = this
    radio?.setState('on')
    const { config, memory, segmentsMax, coalesce, sendTime, tcp } = this.plan
    const [, secondAddress] = this.#addresses
    this.#life++
    this.running = true
    this.provider = this.world.newProvider()
    this.node = new SimNode({
      scheduler: this.world.scheduler, network: this.world.network, provider: this.provider, seed: this.#seed, address: this.#addresses[0]!, config, memory, tcp,
      peers, invites, presence, segmentsMax, coalesce, carrier: radio === undefined ? undefined : (host, node) => this.ble = new TimedBle(host, node, radio, 'active'),
      ...(secondAddress === undefined ? {} : { secondAddress }),
      ...(sendTime > 0 ? { sendTime: () => this.#random.below(sendTime) } : {}),
    })
    this.arenaAtStart = this.node.endpoint.arena.used
    this.node.app = this
    // As the daemon does: whom it had a session with is to learn of its new life.
    for (const peer of peers) if (peer.hadSession) this.#dial(peer.id)
    if (this.index === ROAMER) this.#keepInTouch()
  }

  #dial(id: Uint8Array): PeerHandle | undefined {
    return this.node.act((endpoint, now) => endpoint.connect(now, id, { addresses: [], now: true }))
  }

  /** The one that moves about must dial: where it is, only it can tell the others. */
  #keepInTouch(): void {
    this.later(TOUCH_TIME, () => {
      for (const handle of this.node.endpoint.peers()) {
        const stats = this.node.endpoint.peerStats(handle)
        if (stats?.state === 'offline') this.#dial(stats.id)
      }
      this.#keepInTouch()
    })
  }

  /** SIGKILL: whatever its apps had under way is gone, its keys too. */
  kill(): void {
    this.node.stop()
    this.running = false
    const sides = new Set([...this.sides.values(), ...this.#opening])
    this.sides.clear()
    this.#opening.clear()
    this.#refused.clear()
    for (const side of sides) {
      side.broken = true
      side.state = 'closed'
      side.handle = undefined
      if (side.opener) this.world.onEnded(side)
    }
  }

  sleep(): void {
    this.#asleep = true
    this.node.sleep()
  }

  awake(): void {
    this.#asleep = false
    this.wokeAt = this.world.scheduler.now
    if (this.running) this.node.awake()
  }

  /** A NAT gives it another port on one of its roads; with `host` another address too. */
  rebind(host: boolean): void {
    this.node.move(this.#newAddress(this.#port % this.#addresses.length, host))
  }

  relink(): void {
    this.node.relink(this.#newAddress(this.#port % this.#addresses.length, true))
  }

  #newAddress(road: number, host: boolean): Uint8Array {
    this.#port++
    this.movedAt = this.world.scheduler.now
    this.#addresses[road] = addressOn(road, this.index, host ? this.#port % 200 : 0, this.#port)
    return this.#addresses[road]
  }

  /** Runs `act` after `delay`, in this life of the machine only, and not while it sleeps. */
  later(delay: number, act: () => void): void {
    const life = this.#life
    this.world.scheduler.at(this.world.scheduler.now + delay, () => {
      if (life !== this.#life || !this.running) return
      if (this.#asleep) this.later(100 * MILLISECOND, act)
      else act()
    })
  }

  know(other: Machine): void {
    this.node.act((endpoint, now) => endpoint.addPeer(now, other.id, { name: `machine ${other.index}`, addresses: other.addresses, invite: undefined }))
  }

  setPolicy(other: Machine, policy: PathPolicy): void {
    if (!this.running || this.#asleep) return
    this.policy = policy
    this.policySince = this.world.scheduler.now
    this.node.act((endpoint, now) => { endpoint.setPeerPolicy(now, other.id, policy) })
  }

  // ── its apps ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Opens the channel, as often as it takes to get a session. */
  open(incarnation: Incarnation): void {
    const side = incarnation.opener
    this.#opening.add(side)
    const { mode, lane, weight, opener, telling } = incarnation.conversation.plan
    const to = incarnation.acceptor.machine
    const peer = this.#dial(to.id)
    hold(peer !== undefined, () => 'a peer of the roster cannot be dialed')
    const meta = new Uint8Array(4)
    writeU32(meta, 0, incarnation.key)
    // The handle is noted before anything that comes of it is drained.
    const handle = this.node.act((endpoint, now) => {
      const channel = endpoint.openChannel(now, peer, { app: `app${opener.consumer}`, mode, lane, weight, overflow: telling?.overflow ?? 'block', meta, credit: opener.credit, consumer: opener.consumer })
      if (typeof channel !== 'string') {
        side.handle = channel
        this.sides.set(channel, side)
        this.#opening.delete(side)
      }
      return channel
    })
    if (typeof handle === 'string') this.later(RETRY_TIME, () => { this.open(incarnation) })
    else {
      this.speak(side)
      this.#watch(side)
    }
  }

  /** Says a burst now, the rest later. */
  speak(side: Side): void {
    if (side.blocked || (side.state !== 'opening' && side.state !== 'open')) return
    const said = this.node.act((endpoint, now): SendResult => {
      const message = this.#message
      for (let burst = side.speech.burst; burst > 0 && side.left > 0 && side.handle !== undefined; burst--) {
        const length = side.nextLength()
        message.bytes = side.outgoing.next(length)
        message.length = length
        this.#label(side, now)
        const result = endpoint.send(now, side.handle, message)
        hold(result !== 'too-large', () => `a message of ${length} bytes is too large`)
        side.blocked = result === 'blocked'
        // Taken, and dropped at once: what became of it is told like that of any other.
        if (result !== 'queued' && result !== 'dropped') return result
        side.outgoing.onQueued(length)
        this.world.totals.said++
      }
      return 'queued'
    })
    if (said === 'blocked') this.world.totals.blocked++
    else if (said === 'queued' && side.left > 0) this.later(side.speech.pause, () => { this.speak(side) })
  }

  /** What the plan says of the next message besides its bytes. */
  #label(side: Side, now: Now): void {
    const message = this.#message
    const { telling } = side.incarnation.conversation.plan
    const number = side.outgoing.sent.length
    const ttl = telling === undefined ? 0 : telling.ttlsMs[number % telling.ttlsMs.length]!
    message.confirm = telling !== undefined
    message.tag = telling === undefined ? 0 : number + 1
    message.lane = telling === undefined ? 255 : telling.lanes[number % telling.lanes.length]!
    message.deadline = ttl === 0 ? never : toInstant(now.mono + ttl * MILLISECOND)
  }

  /** Looks again and again whether this side is to close the channel by now. */
  #watch(side: Side): void {
    if (side.state !== 'opening' && side.state !== 'open') return
    if (this.#hasEnough(side)) this.close(side)
    else this.later(RETRY_TIME, () => { this.#watch(side) })
  }

  #hasEnough(side: Side): boolean {
    const { close } = side.incarnation.conversation.plan
    const { opener, acceptor } = side.incarnation
    if (close === 'said') return side.opener && side.left === 0
    if (side.opener !== (close === 'heard') || opener.state !== 'open' || acceptor.state !== 'open' || opener.left + acceptor.left > 0) return false
    return [opener, acceptor].every(({ outgoing }) => outgoing.through)
  }

  close(side: Side): void {
    side.state = 'closing'
    this.node.act((endpoint, now) => { endpoint.closeChannel(now, side.handle!, { abort: false, code: channelCodes.done, reason: 'done' }) })
  }

  abort(side: Side): void {
    side.broken = true
    this.node.act((endpoint, now) => { endpoint.closeChannel(now, side.handle!, { abort: true, code: channelCodes.app_gone, reason: 'gone' }) })
  }

  setStalled(stalled: boolean): void {
    this.stalled = stalled
    if (!stalled) for (const side of [...this.sides.values()]) this.read(side)
  }

  /** Takes everything that lies before the app. */
  read(side: Side): void {
    const stalled = this.stalled && side.incarnation.conversation.plan.heartbeat !== true
    if (side.handle === undefined || side.unread === 0 || stalled) return
    const cost = side.unread
    side.unread = 0
    this.node.act((endpoint, now) => { endpoint.consume(now, side.handle!, cost) })
  }

  // ── what comes out of the endpoint ──────────────────────────────────────────────────────────────────────────────────────

  onMessages(node: SimNode, batch: MessageBatch): void {
    const bytes = node.endpoint.arena.bytes
    for (let i = 0; i < batch.count; i++) {
      const side = this.sides.get(batch.channel[i] as ChannelHandle)
      hold(side !== undefined, () => `a message on channel ${batch.channel[i]}, which is not open`)
      side.incoming.onReceived(bytes, batch.offset[i]!, batch.length[i]!)
      if (side.incarnation.conversation.plan.heartbeat === true) this.world.onHeartbeat(side)
      this.world.totals.heard++
      this.world.note(side.incoming.number, side.incoming.received)
      if (side.unread === 0) this.later(this.world.healed ? 0 : side.reader.delay, () => { this.read(side) })
      side.unread += batch.length[i]! + MESSAGE_COST
    }
  }

  onReleases(_node: SimNode, batch: ReleaseBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const side = this.sides.get(batch.channel[i] as ChannelHandle)
      if (side !== undefined) side.outgoing.releasedCost += batch.cost[i]!
    }
  }

  onNotices(_node: SimNode, batch: NoticeBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const side = this.sides.get(batch.channel[i] as ChannelHandle)
      hold(side !== undefined, () => `a notice on channel ${batch.channel[i]}, which is not open`)
      side.outgoing.onNotice(batch.what[i]!, batch.reason[i]!, batch.firstTag[i]!, batch.lastTag[i]!)
    }
  }

  onEvent(node: SimNode, event: EndpointEvent): void {
    this.world.totals.events++
    if (event.kind !== 'persist' && event.kind !== 'writable') this.world.tell(`machine ${this.index}: ${JSON.stringify(event, readable)}`)
    switch (event.kind) {
      case 'persist':
        this.ble?.presenceChanged()
        if (event.value === undefined) this.disk.delete(event.key)
        else this.disk.set(event.key, event.value)
        return
      case 'channel-incoming': this.#onIncoming(node, event.channel, readU32(event.meta, 0))
        return
      case 'channel-open': {
        const side = this.sides.get(event.channel)
        if (side !== undefined) side.state = 'open'
        return
      }
      case 'writable': {
        const side = this.sides.get(event.channel)
        if (side === undefined) return
        side.blocked = false
        this.later(0, () => { this.speak(side) })
        return
      }
      case 'channel-closed': this.#onClosed(event.channel, event.code, event.by)
        return
      case 'path':
        this.world.totals[event.rule]++
        if (event.to !== undefined && event.link === 'tcp') this.world.totals.overTcp++
        if (event.to !== undefined && event.link === 'ble') this.world.totals.overBle++
        this.world.radioWatch?.onMove(this)
        this.world.watch?.onMove(this, event.rule, event.to)
        return
      case 'drained':
        this.drained = true
        return
      default:
    }
  }

  #onIncoming(node: SimNode, handle: ChannelHandle, key: number): void {
    const side = this.world.incarnation(key).acceptor
    hold(side.handle === undefined, () => `channel ${key} comes a second time`)
    side.handle = handle
    this.sides.set(handle, side)
    const { conversation } = side.incarnation
    const answer = conversation.opens++ === 0 ? conversation.plan.answer : 'accept'
    if (answer === 'silence') return
    if (answer === 'reject') {
      this.sides.delete(handle)
      side.state = 'closed'
      this.#refused.add(handle)
      node.endpoint.rejectChannel(node.now(), handle, channelCodes.no_app, 'not here')
      return
    }
    this.later(answer === 'later' ? LATER_TIME : 0, () => { this.#accept(side, handle) })
  }

  #accept(side: Side, handle: ChannelHandle): void {
    if (this.sides.get(handle) !== side) return
    side.state = 'open'
    const { credit, consumer } = side.reader
    const accepted = this.node.act((endpoint, now) => endpoint.acceptChannel(now, handle, { credit, consumer, overflow: side.incarnation.conversation.plan.telling?.overflow ?? 'block' }))
    hold(accepted, () => `channel ${side.incarnation.key} was not told to be over and cannot be accepted`)
    this.speak(side)
    this.#watch(side)
  }

  #onClosed(handle: ChannelHandle, code: number, by: 'peer' | 'local' | 'session'): void {
    const side = this.sides.get(handle)
    if (side === undefined && this.#refused.delete(handle)) return
    hold(side !== undefined, () => `channel ${handle} ends twice`)
    this.sides.delete(handle)
    side.clean = code === channelCodes.done && by !== 'session'
    // A reader that held up memory, or one of too many whose sessions were gone: it was told that it lost something.
    if (by === 'session' && (code === channelCodes.app_gone || code === channelCodes.limit)) side.broken = true
    side.outgoing.onSenderEnded()
    side.state = 'closed'
    side.handle = undefined
    hold(this.world.plan.patience === undefined || by !== 'session' || this.world.over, () => `channel ${side.incarnation.key} ends (${code}) although a path worked all the time`)
    if (side.opener) this.world.onEnded(side)
  }

  onTurn(node: SimNode): void {
    checkNode(this, coreOf(node.endpoint))
    this.world.radioWatch?.checkUnsent(this)
  }
}

/** Addresses as text, other bytes as hex. */
function readable(_name: string, value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value
  return value.length === ADDRESS_SIZE ? formatAddress(value) : toHex(value)
}
