/** A critical message that is sent while a megabyte of bulk waits: on a link of 10 Mbit/s it arrives within two round trips and 20 ms. */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { after, never } from '../../../src/core/base/time.ts'
import {
  dropReasons, MESSAGE_COST, NOTICE_DELIVERED, type ChannelHandle, type EndpointEvent, type Lane, type LinkKind, type MessageBatch, type NoticeBatch, type Overflow,
} from '../../../src/core/endpoint/contract.ts'
import type { CoreConfig } from '../../../src/core/connection/config.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimNode, type SimApp } from '../../../src/sim/sim-node.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { SECOND, SimWorld } from '../../support/sim-world.ts'

const MILLISECOND = SECOND / 1000
/** 10 Mbit/s in bytes a microsecond. */
const RATE = 1.25
const QUEUED = 1 << 20
const BULK_SIZE = 16_384

class Host implements SimApp {
  readonly node: SimNode
  /** When each numbered message came. */
  readonly arrived: Map<number, number> = new Map()
  bulkReceived = 0
  /** What became of messages, by tag. */
  readonly fates: Map<number, string> = new Map()
  readonly #world: SimWorld

  constructor(world: SimWorld, seed: number, host: string, carrier: 'udp' | 'tcp', config: Partial<CoreConfig> = {}) {
    this.#world = world
    this.node = new SimNode({
      scheduler: world.scheduler, network: world.network, provider: new SimProvider(world.random.fork()), seed: new Uint8Array(32).fill(seed), address: encodeAddress(host, 7000)!,
      tcp: carrier === 'tcp', memory: 16 << 20, config: carrier === 'tcp' ? { ...config, tcpAfter: 0 } : config,
    })
    this.node.app = this
  }

  open(other: Host, lane: Lane, overflow: Overflow = 'block'): ChannelHandle {
    const channel = this.node.act((endpoint, now) => endpoint.openChannel(now, endpoint.findPeer(other.node.endpoint.id)!, {
      app: 'test', mode: 'reliable-ordered', lane, weight: 1, overflow, meta: new Uint8Array(0), credit: 1 << 20, consumer: 1,
    }))
    if (typeof channel === 'string') throw new Error(`no channel: ${channel}`)
    return channel
  }

  send(channel: ChannelHandle, bytes: Uint8Array, { tag = 0, ttlMs = Infinity }: { readonly tag?: number; readonly ttlMs?: number } = {}): void {
    const result = this.node.act((endpoint, now) => endpoint.send(now, channel, {
      bytes, offset: 0, length: bytes.length, lane: 255, tag, confirm: tag > 0, deadline: ttlMs === Infinity ? never : after(now.mono, ttlMs * MILLISECOND),
    }))
    expect(result).toBe('queued')
  }

  get carrier(): LinkKind | undefined {
    const { endpoint } = this.node
    return endpoint.peers().flatMap((peer) => endpoint.peerStats(peer)!.paths).find((path) => path.active)?.kind
  }

  onMessages(node: SimNode, batch: MessageBatch): void {
    const { bytes } = node.endpoint.arena
    for (let i = 0; i < batch.count; i++) {
      if (batch.length[i]! >= BULK_SIZE) this.bulkReceived += batch.length[i]!
      else this.arrived.set(new DataView(bytes.buffer, bytes.byteOffset + batch.offset[i]!).getUint32(0), this.#world.scheduler.now)
      node.endpoint.consume(node.now(), batch.channel[i] as ChannelHandle, batch.length[i]! + MESSAGE_COST)
    }
  }

  onNotices(_node: SimNode, batch: NoticeBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const fate = batch.what[i] === NOTICE_DELIVERED ? 'delivered' : dropReasons[batch.reason[i]!]!
      for (let tag = batch.firstTag[i]!; tag <= batch.lastTag[i]!; tag++) this.fates.set(tag, fate)
    }
  }

  onReleases(): void {
    // The test looks at the queue itself.
  }

  onEvent(node: SimNode, event: EndpointEvent): void {
    if (event.kind === 'channel-incoming') node.endpoint.acceptChannel(node.now(), event.channel, { credit: 1 << 20, consumer: 1, overflow: 'block' })
  }
}

function connected(carrier: 'udp' | 'tcp', rttMs: number, config: Partial<CoreConfig> = {}): { readonly world: SimWorld; readonly alice: Host; readonly bob: Host } {
  const world = new SimWorld(rttMs)
  const conditions = { ...perfectWire, delay: rttMs * MILLISECOND / 2, rate: RATE, queueBytes: 256 * 1024, mtu: 1472 }
  world.network.route = (_from, _to, kind) => ({ conditions, cut: kind !== carrier })
  const [alice, bob] = [new Host(world, 1, '10.0.0.1', carrier, config), new Host(world, 2, '10.0.0.2', carrier)]
  for (const [one, other] of [[alice, bob], [bob, alice]] as const) {
    one.node.act((endpoint, now) => endpoint.addPeer(now, other.node.endpoint.id, { name: undefined, addresses: [other.node.address], invite: undefined }))
  }
  alice.node.act((endpoint, now) => endpoint.connect(now, bob.node.endpoint.id, { addresses: [], now: true }))
  expect(world.until(() => alice.carrier === carrier && bob.carrier === carrier, 10)).toBeLessThan(10)
  return { world, alice, bob }
}

describe.each(['udp', 'tcp'] as const)('a critical message over %s', (carrier) => {
  it.each([5, 20, 40, 100])('round trip of %s ms: overtakes 1 MiB of bulk in the lowest lane', (rttMs) => {
    const { world, alice, bob } = connected(carrier, rttMs)
    const critical = alice.open(bob, 'critical')
    const low = alice.open(bob, 'low')
    const bulk = new Uint8Array(BULK_SIZE)
    const queued = (): number => alice.node.endpoint.channelStats(low)!.queuedBytes
    const refill = (): void => { while (queued() < QUEUED + BULK_SIZE) alice.send(low, bulk) }
    alice.send(critical, new Uint8Array(4).fill(255))
    expect(world.until(() => bob.arrived.size === 1, 5)).toBeLessThan(5)
    const waits: number[] = []
    refill()
    // From the first moment of the flood, when nobody knows the link, to when it is long known.
    for (let n = 0; n < 60; n++) {
      const bytes = new Uint8Array(4)
      new DataView(bytes.buffer).setUint32(0, n)
      const sentAt = world.scheduler.now
      expect(queued()).toBeGreaterThanOrEqual(QUEUED)
      alice.send(critical, bytes)
      world.until(() => bob.arrived.has(n), 5)
      waits.push((bob.arrived.get(n)! - sentAt) / MILLISECOND)
      refill()
      world.run(0.013)
      refill()
    }
    expect(alice.carrier).toBe(carrier)
    expect(Math.max(...waits)).toBeLessThanOrEqual(2 * rttMs + 20)
    // The bulk was not held back for it: most of the link is used.
    expect(bob.bulkReceived / (world.scheduler.now * RATE)).toBeGreaterThan(0.3)
  })
})

describe('a connection that nothing is lost on', () => {
  const numbered = (n: number): Uint8Array => {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, n)
    return bytes
  }

  it('drops what is late before its turn comes, and goes on', () => {
    const { world, alice, bob } = connected('tcp', 20)
    const low = alice.open(bob, 'low')
    for (let i = 0; i < QUEUED / BULK_SIZE; i++) alice.send(low, new Uint8Array(BULK_SIZE))
    // The megabyte before them takes 840 ms.
    for (let tag = 1; tag <= 10; tag++) alice.send(low, numbered(tag), { tag, ttlMs: 300 })
    for (let tag = 11; tag <= 20; tag++) alice.send(low, numbered(tag), { tag })
    world.run(0.35)
    expect([...alice.fates]).toEqual(Array.from({ length: 10 }, (_, i) => [i + 1, 'deadline']))
    world.run(2)
    expect([...bob.arrived.keys()]).toEqual(Array.from({ length: 10 }, (_, i) => i + 11))
    expect([...alice.fates].slice(10)).toEqual(Array.from({ length: 10 }, (_, i) => [i + 11, 'delivered']))
  })

  it('drops the oldest of a full queue, and says so', () => {
    const { world, alice, bob } = connected('tcp', 20, { queueMessages: 40 })
    const low = alice.open(bob, 'low', 'drop-oldest')
    alice.send(low, new Uint8Array(QUEUED))
    for (let tag = 1; tag <= 100; tag++) alice.send(low, numbered(tag), { tag })
    const dropped = [...alice.fates.keys()]
    expect(dropped.length).toBeGreaterThan(70)
    expect(dropped).toEqual(Array.from({ length: dropped.length }, (_, i) => i + 1))
    expect(new Set(alice.fates.values())).toEqual(new Set(['drop-oldest']))
    world.run(3)
    expect([...bob.arrived.keys()]).toEqual(Array.from({ length: 100 - dropped.length }, (_, i) => dropped.length + 1 + i))
    expect(alice.fates.size).toBe(100)
  })
})
