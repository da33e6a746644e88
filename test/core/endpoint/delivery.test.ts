import { describe, expect, it } from 'vitest'
import { dropReason, dropReasons, type DeliveryMode, type Overflow } from '../../../src/core/base/domain.ts'
import { never, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { NOTICE_DELIVERED, type ChannelHandle, type EndpointEvent, type MessageBatch, type NoticeBatch } from '../../../src/core/endpoint/contract.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import type { SimNode } from '../../../src/sim/sim-node.ts'
import { SECOND, SimWorld, type Player } from '../../support/sim-world.ts'

const MILLISECOND = SECOND / 1000

interface Sent {
  readonly length?: number
  readonly lane?: number
  readonly ttlMs?: number
  readonly confirm?: boolean
}

/** A player that numbers its messages, remembers every notice, and may stop reading. */
class Sender {
  readonly player: Player
  readonly fates: Map<number, string[]> = new Map()
  readonly log: string[] = []
  readonly received: number[] = []
  reads = true
  #tag = 1
  readonly #events: (node: SimNode, event: EndpointEvent) => void

  constructor(player: Player) {
    this.player = player
    this.#events = player.onEvent.bind(player)
    player.node.app = {
      onMessages: (node, batch) => this.#onMessages(node, batch),
      onReleases: () => undefined,
      onNotices: (_node, batch) => this.#onNotices(batch),
      onEvent: (node, event) => {
        if (event.kind === 'channel-closed') this.log.push('closed')
        this.#events(node, event)
      },
    }
  }

  open(other: Sender, mode: DeliveryMode, overflow: Overflow = 'block', credit = 1 << 20): ChannelHandle {
    const channel = this.player.node.act((endpoint, now) => endpoint.openChannel(now, this.player.handleOf(other.player), {
      app: 'test', mode, lane: 'normal', weight: 1, overflow, meta: new Uint8Array(0), credit, consumer: 1,
    }))
    if (typeof channel === 'string') throw new Error(`no channel: ${channel}`)
    return channel
  }

  /** Returns the tag, and leaves what came of it to {@link fates}. */
  send(channel: ChannelHandle, { length = 20, lane = 255, ttlMs, confirm = true }: Sent = {}): { readonly tag: number; readonly result: string } {
    const tag = this.#tag++
    const bytes = new Uint8Array(Math.max(4, length))
    new DataView(bytes.buffer).setUint32(0, tag)
    const result = this.player.node.act((endpoint, now) => {
      const deadline: Instant = ttlMs === undefined ? never : toInstant(now.mono + ttlMs * MILLISECOND)
      return endpoint.send(now, channel, { bytes, offset: 0, length: bytes.length, lane, tag, confirm, deadline })
    })
    return { tag, result }
  }

  fate(tag: number): string | undefined {
    const fates = this.fates.get(tag) ?? []
    expect(fates.length, `notices of ${tag}`).toBeLessThanOrEqual(1)
    return fates[0]
  }

  #onMessages(node: SimNode, batch: MessageBatch): void {
    const { bytes } = node.endpoint.arena
    for (let i = 0; i < batch.count; i++) {
      this.received.push(new DataView(bytes.buffer, bytes.byteOffset + batch.offset[i]!).getUint32(0))
      if (this.reads) node.endpoint.consume(node.now(), batch.channel[i] as ChannelHandle, batch.length[i]! + 32)
    }
  }

  #onNotices(batch: NoticeBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const fate = batch.what[i] === NOTICE_DELIVERED ? 'delivered' : dropReasons[batch.reason[i]!]!
      this.log.push(`${fate} ${batch.firstTag[i]}-${batch.lastTag[i]}`)
      for (let tag = batch.firstTag[i]!; tag <= batch.lastTag[i]!; tag++) this.fates.set(tag, [...(this.fates.get(tag) ?? []), fate])
    }
  }
}

function pair(options: { readonly seed?: number; readonly config?: ConstructorParameters<typeof Player>[4]; readonly loss?: number } = {}): { world: SimWorld; alice: Sender; bob: Sender } {
  const world = new SimWorld(options.seed ?? 1)
  const alice = world.player('alice', 1, '10.0.0.1', options.config)
  const bob = world.player('bob', 2, '10.0.0.2', options.config)
  alice.know(bob)
  bob.know(alice)
  alice.connect(bob)
  expect(world.until(() => alice.stateOf(bob) === 'connected' && bob.stateOf(alice) === 'connected', 5)).toBeLessThan(5)
  if (options.loss !== undefined) {
    world.network.setConditions({ ...perfectWire, loss: options.loss, delay: 10 * MILLISECOND, jitter: 15 * MILLISECOND, duplicate: 0.05 })
  }
  return { world, alice: new Sender(alice), bob: new Sender(bob) }
}

/** Lets everything come through that was lost. */
function drain(world: SimWorld, done: () => boolean): void {
  expect(world.until(done, 60), 'all messages have a fate').toBeLessThan(60)
}

describe('modes between two nodes on a lossy network', () => {
  it('reliable-unordered: every message once, out of order', () => {
    const { world, alice, bob } = pair({ loss: 0.1 })
    const channel = alice.open(bob, 'reliable-unordered')
    const tags: number[] = []
    for (let n = 0; n < 300; n++) {
      tags.push(alice.send(channel, { length: n % 10 === 0 ? 5000 : 20 }).tag)
      world.run(0.002)
    }
    drain(world, () => alice.fates.size === 300)
    expect([...bob.received].sort((a, b) => a - b)).toEqual(tags)
    expect(bob.received, 'loss lets some overtake').not.toEqual(tags)
    expect(tags.map((tag) => alice.fate(tag))).toEqual(tags.map(() => 'delivered'))
  })

  it('latest: rising values, the newest last, each with one fate', () => {
    const { world, alice, bob } = pair({ loss: 0.2 })
    const channel = alice.open(bob, 'latest')
    const tags: number[] = []
    for (let n = 0; n < 300; n++) {
      tags.push(alice.send(channel, { length: n % 7 === 0 ? 4000 : 20 }).tag)
      if (n % 3 === 0) world.run(0.01)
    }
    drain(world, () => alice.fates.size === 300)
    expect(bob.received).toEqual([...new Set(bob.received)].sort((a, b) => a - b))
    expect(bob.received.at(-1)).toBe(tags.at(-1))
    const fates = tags.map((tag) => alice.fate(tag))
    expect(new Set(fates)).toEqual(new Set(['delivered', 'superseded']))
    expect(fates.at(-1)).toBe('delivered')
    // What was acknowledged and never seen came behind a newer one.
    expect(bob.received.length).toBeGreaterThan(20)
  })

  it('unreliable with confirm: delivered or lost, each told once', () => {
    const { world, alice, bob } = pair({ loss: 0.2 })
    const channel = alice.open(bob, 'unreliable')
    world.run(0.1)
    for (let n = 0; n < 300; n++) {
      alice.send(channel, { length: n % 7 === 0 ? 3000 : 20 })
      world.run(0.002)
    }
    drain(world, () => alice.fates.size === 300)
    const fates = [...alice.fates.keys()].map((tag) => alice.fate(tag))
    const lost = fates.filter((fate) => fate === 'none').length
    expect(new Set(fates)).toEqual(new Set(['delivered', 'none']))
    expect(lost).toBeGreaterThan(20)
    expect(new Set(bob.received).size).toBe(bob.received.length)
    expect(alice.player.counter('messages_lost')).toBe(lost)
  })

  it('reliable channels close in good order while SKIPs are on their way', () => {
    const { world, alice, bob } = pair({ loss: 0.3 })
    const channel = alice.open(bob, 'reliable-ordered')
    world.run(0.5)
    for (let n = 0; n < 50; n++) alice.send(channel, { length: 3000, ttlMs: 60 })
    world.run(0.3)
    alice.player.node.act((endpoint, now) => { endpoint.closeChannel(now, channel, { abort: false, code: 300, reason: '' }) })
    drain(world, () => alice.log.at(-1) === 'closed')
    expect(alice.fates.size).toBe(50)
    expect(alice.player.events.at(-1)).toMatchObject({ kind: 'channel-closed', code: 300, by: 'local' })
    expect(new Set([...alice.fates.keys()].map((tag) => alice.fate(tag))).has('deadline')).toBe(true)
  })
})

describe('latest without a reader', () => {
  it('keeps the newest value, says that others were dropped, and goes on with it', () => {
    const { world, alice, bob } = pair()
    bob.reads = false
    bob.player.onEvent = () => undefined
    const channel = alice.open(bob, 'latest')
    alice.send(channel)
    world.run(0.2)
    const before = bob.received.length
    // Credit of one message was used up: what follows waits, one at a time.
    const incoming = bob.player.events.find((event) => event.kind === 'channel-incoming')
    if (incoming?.kind !== 'channel-incoming') throw new Error('no channel came')
    bob.player.node.act((endpoint, now) => { endpoint.consume(now, incoming.channel, -(1 << 20)) })
    const tags: number[] = []
    for (let n = 0; n < 20; n++) {
      tags.push(alice.send(channel, { length: n === 10 ? 4000 : 20 }).tag)
      world.run(0.05)
    }
    expect(bob.received.length).toBe(before)
    bob.player.node.act((endpoint, now) => { endpoint.consume(now, incoming.channel, 2 << 20) })
    expect(bob.received.slice(before)).toEqual([tags.at(-1)])
    expect(bob.player.node.endpoint.channelStats(incoming.channel)!.dropped).toEqual({ 'no-credit': 19 })
  })
})

describe('deadlines', () => {
  it('are told in time while nothing can be sent', () => {
    const { world, alice, bob } = pair()
    const channel = alice.open(bob, 'reliable-ordered')
    alice.send(channel)
    world.run(0.5)
    world.network.wire(alice.player.address, bob.player.address).cut = true
    // The window fills, and the rest waits in the queue.
    for (let n = 0; n < 300; n++) alice.send(channel, { length: 1000 })
    const late = alice.send(channel, { ttlMs: 100 }).tag
    const later = alice.send(channel, { ttlMs: 200 }).tag
    world.run(0.09)
    expect(alice.fate(late)).toBeUndefined()
    world.run(0.02)
    expect([alice.fate(late), alice.fate(later)]).toEqual(['deadline', undefined])
    world.run(0.1)
    expect(alice.fate(later)).toBe('deadline')
  })

  it('that have passed already drop the message at once, and give its cost back', () => {
    const { world, alice, bob } = pair()
    const channel = alice.open(bob, 'unreliable')
    world.run(0.1)
    const { tag, result } = alice.send(channel, { ttlMs: 0 })
    expect([result, alice.fate(tag)]).toEqual(['dropped', 'deadline'])
    expect(alice.player.node.endpoint.channelStats(channel)).toMatchObject({ sent: 0, queued: 0, dropped: { deadline: 1 } })
  })

  it('under loss: what is late is skipped, the rest comes in order, and credit is not used up', () => {
    // A window that the skipped messages would fill many times over.
    const { world, alice, bob } = pair({ loss: 0.3, config: { maxData: 65_536, maxChannelData: 65_536, maxMessage: 16_384 } })
    const channel = alice.open(bob, 'reliable-ordered', 'block')
    world.run(1)
    let blocked = 0
    for (let n = 0; n < 300; n++) {
      if (alice.send(channel, { length: 3000, ttlMs: 50 }).result === 'blocked') blocked++
      world.run(0.02)
    }
    drain(world, () => alice.fates.size === 300 - blocked)
    // A verdict comes when a message is given up; its SKIP may still be on the way.
    world.run(2)
    const fates = [...alice.fates.keys()].map((tag) => alice.fate(tag))
    expect(fates.filter((fate) => fate === 'deadline').length).toBeGreaterThan(10)
    expect(bob.received).toEqual([...bob.received].sort((a, b) => a - b))
    for (const [tag] of alice.fates) if (alice.fate(tag) === 'delivered') expect(bob.received).toContain(tag)
    expect(alice.player.counter('close_flow_control') + bob.player.counter('close_flow_control')).toBe(0)
  })
})

describe('overflow', () => {
  /** A queue of ten messages towards a peer that cannot be reached. */
  function stuck(overflow: Overflow, mode: DeliveryMode = 'unreliable'): { world: SimWorld; alice: Sender; bob: Sender; channel: ChannelHandle } {
    const { world, alice, bob } = pair({ config: { queueMessages: 20 } })
    const channel = alice.open(bob, mode, overflow)
    world.run(0.2)
    alice.send(channel, { confirm: false })
    world.run(0.5)
    alice.player.node.act((endpoint, now) => { endpoint.handleLink(now, alice.player.node.link, 'blocked') })
    return { world, alice, bob, channel }
  }

  const unblock = (alice: Sender): void => alice.player.node.act((endpoint, now) => { endpoint.handleLink(now, alice.player.node.link, 'writable') })

  it('block: the sender waits', () => {
    const { alice, channel } = stuck('block')
    const results = Array.from({ length: 12 }, () => alice.send(channel).result)
    expect(results).toEqual([...Array<string>(10).fill('queued'), 'blocked', 'blocked'])
  })

  it('drop-oldest: the newest are sent', () => {
    const { world, alice, bob, channel } = stuck('drop-oldest')
    const tags = Array.from({ length: 25 }, () => alice.send(channel).tag)
    expect(tags.map((tag) => alice.fate(tag))).toEqual([...Array<string>(15).fill('drop-oldest'), ...Array<undefined>(10).fill(undefined)])
    unblock(alice)
    world.run(0.5)
    expect(bob.received.slice(1)).toEqual(tags.slice(15))
    expect(alice.player.counter('messages_dropped_oldest')).toBe(15)
  })

  it('drop-newest: the first are sent, and drops in a row are one notice', () => {
    const { world, alice, bob, channel } = stuck('drop-newest')
    const tags: number[] = []
    alice.player.node.act((endpoint, now) => {
      for (let tag = 100; tag < 125; tag++) {
        tags.push(tag)
        const bytes = new Uint8Array([0, 0, 0, tag])
        endpoint.send(now, channel, { bytes, offset: 0, length: 4, lane: 255, tag, confirm: false, deadline: never })
      }
    })
    expect(alice.log).toEqual(['drop-newest 110-124'])
    unblock(alice)
    world.run(0.5)
    expect(bob.received.slice(1)).toEqual(tags.slice(0, 10))
  })

  it('drop-lowest-lane: the lowest lane goes first, and never for a lower one', () => {
    const { world, alice, bob, channel } = stuck('drop-lowest-lane')
    const low = Array.from({ length: 5 }, () => alice.send(channel, { lane: 3 }).tag)
    const normal = Array.from({ length: 5 }, () => alice.send(channel).tag)
    const critical = Array.from({ length: 7 }, () => alice.send(channel, { lane: 0 }).tag)
    const lowAgain = alice.send(channel, { lane: 3 }).tag
    expect(low.map((tag) => alice.fate(tag))).toEqual(Array<string>(5).fill('lane'))
    expect(normal.map((tag) => alice.fate(tag))).toEqual(['lane', 'lane', undefined, undefined, undefined])
    expect(critical.map((tag) => alice.fate(tag))).toEqual(Array<undefined>(7).fill(undefined))
    expect(alice.fate(lowAgain)).toBe('lane')
    const { lanes } = alice.player.node.endpoint.channelStats(channel)!
    expect([lanes.critical.queued, lanes.normal.queued, lanes.low.queued]).toEqual([7, 3, 0])
    expect([lanes.low.dropped, lanes.normal.dropped]).toEqual([{ lane: 6 }, { lane: 2 }])
    unblock(alice)
    world.run(0.5)
    expect(bob.received.slice(1), 'critical ones go first').toEqual([...critical, ...normal.slice(2)])
  })

  it('on reliable channels drops only what was not begun, and the rest comes', () => {
    const { world, alice, bob, channel } = stuck('drop-oldest', 'reliable-ordered')
    const tags = Array.from({ length: 25 }, () => alice.send(channel).tag)
    unblock(alice)
    drain(world, () => alice.fates.size === 25)
    expect(bob.received.slice(1)).toEqual(tags.slice(15))
    expect(tags.slice(15).map((tag) => alice.fate(tag))).toEqual(Array<string>(10).fill('delivered'))
  })

  it('a value that is replaced makes room for the next: latest never blocks on itself', () => {
    const { world, alice, bob, channel } = stuck('block', 'latest')
    const tags = Array.from({ length: 50 }, () => alice.send(channel).tag)
    expect(tags.map((tag) => alice.fate(tag))).toEqual([...Array<string>(49).fill('superseded'), undefined])
    unblock(alice)
    world.run(0.5)
    expect(bob.received.at(-1)).toBe(tags.at(-1))
  })
})

describe('lanes of single messages', () => {
  it('reorder reliable-unordered channels, and are counted by channel, peer and node', () => {
    const { world, alice, bob } = pair()
    const channel = alice.open(bob, 'reliable-unordered')
    alice.send(channel)
    world.run(0.5)
    alice.player.node.act((endpoint, now) => { endpoint.handleLink(now, alice.player.node.link, 'blocked') })
    const low = Array.from({ length: 5 }, () => alice.send(channel, { lane: 3, length: 2000 }).tag)
    const critical = alice.send(channel, { lane: 0 }).tag
    alice.player.node.act((endpoint, now) => { endpoint.handleLink(now, alice.player.node.link, 'writable') })
    drain(world, () => alice.fates.size === 7)
    expect(bob.received.slice(1)).toEqual([critical, ...low])
    const { endpoint } = alice.player.node
    for (const lanes of [endpoint.channelStats(channel)!.lanes, endpoint.peerStats(alice.player.handleOf(bob.player))!.lanes!, endpoint.laneStats()]) {
      expect(Object.entries(lanes).map(([lane, { sent }]) => [lane, sent])).toEqual([['critical', 1], ['high', 0], ['normal', 1], ['low', 5]])
    }
  })
})

describe('notices', () => {
  it('come before the end of their channel, also when the session ends', () => {
    const { world, alice, bob } = pair()
    const channel = alice.open(bob, 'reliable-ordered')
    world.run(0.5)
    world.network.wire(alice.player.address, bob.player.address).cut = true
    const tags = [alice.send(channel).tag, alice.send(channel).tag]
    alice.player.node.act((endpoint, now) => { endpoint.disconnect(now, alice.player.handleOf(bob.player)) })
    expect(alice.log).toEqual([`peer-gone ${tags[0]}-${tags[1]}`, 'closed'])
    expect(alice.player.counter('messages_dropped_peer_gone')).toBe(2)
  })

  it('say channel-closed of what an abort threw away', () => {
    const { world, alice, bob } = pair()
    const channel = alice.open(bob, 'latest')
    world.run(0.5)
    alice.player.node.act((endpoint, now) => { endpoint.handleLink(now, alice.player.node.link, 'blocked') })
    const { tag } = alice.send(channel)
    alice.player.node.act((endpoint, now) => { endpoint.closeChannel(now, channel, { abort: true, code: 0, reason: '' }) })
    expect(alice.log).toEqual([`channel-closed ${tag}-${tag}`, 'closed'])
    expect(dropReasons[dropReason['channel-closed']]).toBe('channel-closed')
  })
})
