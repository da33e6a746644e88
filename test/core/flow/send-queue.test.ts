/** A send queue against an array of messages and a receiver that keeps every byte that came. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../../src/core/base/arena.ts'
import { dropReason, MESSAGE_COST } from '../../../src/core/base/domain.ts'
import { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import { Pieces } from '../../../src/core/base/pieces.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { RECORD_RUN, SentPackets } from '../../../src/core/flow/sent-packets.ts'
import { SendCount, SendQueue } from '../../../src/core/flow/send-queue.ts'
import { toInstant } from '../../../src/core/base/time.ts'
import { FRAME_MESSAGE, MESSAGE_FRAGMENT } from '../../../src/core/wire/frame.ts'

const CHANNEL = 70
const LONGEST = 3000
const PACKET_MAX = 1152

/** Byte `offset` of message `id`. */
function byteOf(id: number, offset: number): number {
  return (id * 37 + offset * 11 + (offset >> 8)) & 255
}

/** Nobody here asks what became of a message: delivery-modes.test.ts does. */
function newQueue(channel: number, reliable: boolean, memory: MemoryAccount): SendQueue {
  const owner = { onMessageDelivered: () => undefined, onMessageDropped: () => undefined }
  return new SendQueue(channel, { repeats: reliable, charged: reliable, latest: false }, new SendCount(), 0, 2, memory, owner)
}

class Bench {
  readonly arena = new Arena(1 << 20)
  readonly out: Pieces = new Pieces(this.arena.bytes, 4)
  readonly memory = new MemoryAccount(this.arena)
  readonly slab = this.arena.allocate(4096)
  readonly held = this.arena.used
  readonly queue: SendQueue
  readonly log = new SentPackets()
  readonly lengths: number[] = []
  /** Per message, which bytes the peer has. Filled when a packet is acknowledged or merely arrives. */
  readonly has: boolean[][] = []
  readonly flying: { readonly order: number; readonly frames: readonly { readonly id: number; readonly offset: number; readonly length: number }[] }[] = []
  allowance = 0
  spent = 0
  readonly reliable: boolean

  constructor(reliable: boolean) {
    this.reliable = reliable
    this.queue = newQueue(CHANNEL, reliable, this.memory)
  }

  push(length: number): void {
    const id = this.lengths.length
    const bytes = Uint8Array.from({ length: length + 5 }, (_, i) => byteOf(id, i - 5))
    expect(this.queue.push(bytes, 5, length)).toBe(true)
    this.lengths.push(length)
    this.has.push(new Array<boolean>(Math.max(1, length)).fill(false))
  }

  /** One packet of at most `size` bytes: lost frames first, then new ones. */
  send(size: number, limit: number): void {
    const { queue, out, log } = this
    const at = this.slab
    const mark = log.frameMark
    let end = queue.packLost(out, at, at + size, size, log, toInstant(0))
    const before = queue.count.charged
    if (!queue.hasLost) {
      end = queue.packNew(out, end, at + size, size, this.allowance - this.spent, limit, log, toInstant(0))
      this.spent += queue.chargedNow
      expect(queue.count.charged - before).toBe(queue.chargedNow)
    }
    if (this.reliable) expect(this.spent).toBeLessThanOrEqual(this.allowance)
    expect(end).toBeLessThanOrEqual(at + size)
    out.copy()
    const frames = this.#read(at, end)
    log.push(toInstant(log.next), end - at, 0, 0, mark, -1, true)
    this.flying.push({ order: log.next - 1, frames })
  }

  #read(at: number, end: number): { readonly id: number; readonly offset: number; readonly length: number }[] {
    const reader = new ByteReader(this.arena.bytes, at, end)
    const frames = []
    while (reader.remaining > 0) {
      const type = reader.u8()
      expect([type & 0xfc, reader.varint()]).toEqual([FRAME_MESSAGE, CHANNEL])
      const fragment = (type & MESSAGE_FRAGMENT) !== 0
      const id = reader.varint()
      const offset = fragment ? reader.varint() : 0
      const total = reader.varint()
      const length = fragment ? reader.varint() : total
      expect(total).toBe(this.lengths[id])
      const body = reader.view(length)
      expect(reader.failed).toBe(false)
      for (let i = 0; i < length; i++) if (body[i] !== byteOf(id, offset + i)) expect.fail(`byte ${offset + i} of message ${id}`)
      frames.push({ id, offset, length })
    }
    return frames
  }

  settle(which: number, acked: boolean): void {
    const [packet] = this.flying.splice(which % this.flying.length, 1)
    const { log, queue } = this
    for (let k = 0; k < log.frameCount(packet!.order); k++) {
      const [kind, channel, sequence, a, b] = log.frames.subarray(log.frameAt(packet!.order, k))
      expect(channel).toBe(CHANNEL)
      const run = kind === RECORD_RUN
      if (run && acked) queue.onAckedRun(sequence!, a!)
      else if (run) queue.onLostRun(sequence!, a!)
      else if (acked) queue.onAckedFragment(sequence!, a!, b!)
      else queue.onLostFragment(sequence!, a!, b!)
    }
    if (!acked) return
    for (const { id, offset, length } of packet!.frames) this.has[id]!.fill(true, offset, Math.max(offset + length, 1))
  }

  /** What the model says of the queue. */
  check(): void {
    const open = this.lengths.filter((_, id) => !this.has[id]!.every((byte) => byte))
    expect(this.queue.bytes).toBe(open.reduce((sum, length) => sum + length, 0))
    const done = this.lengths.reduce((sum, length) => sum + length + MESSAGE_COST, 0) - open.reduce((sum, length) => sum + length + MESSAGE_COST, 0)
    expect(this.queue.released).toBe(done)
    const first = this.has.findIndex((bytes) => !bytes.every((byte) => byte))
    expect(this.queue.base).toBe(first < 0 ? this.lengths.length : first)
  }
}

const length = fc.oneof(fc.nat(60), fc.nat(LONGEST), fc.constantFrom(0, 1, 63, 64, 1100, 1140))
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('push' as const), length }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('send' as const), size: fc.constantFrom(64, 300, PACKET_MAX, PACKET_MAX), limit: fc.constantFrom(200, 5000, 5000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat(), acked: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('credit' as const), cost: fc.nat(5000) }) },
)

describe('SendQueue', () => {
  it('reliable: every byte of every message comes, in spite of any loss and any packet sizes, and nothing is sent beyond the credit', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const bench = new Bench(true)
      for (const each of steps) {
        if (each.do === 'push') bench.push(each.length)
        else if (each.do === 'send') bench.send(each.size, each.limit)
        else if (each.do === 'credit') bench.allowance += each.cost
        else if (bench.flying.length > 0) bench.settle(each.which, each.acked)
        bench.check()
      }
      bench.allowance = Infinity
      for (let left = 1000; bench.queue.messages > 0 && left > 0; left--) {
        bench.send(PACKET_MAX, 5000)
        while (bench.flying.length > 0) bench.settle(0, true)
      }
      bench.check()
      expect([bench.queue.messages, bench.queue.hasLost, bench.queue.hasNew, bench.queue.count.nextId]).toEqual([0, false, false, bench.lengths.length])
      bench.queue.trim()
      expect([bench.arena.used, bench.memory.used]).toEqual([bench.held, 0])
    }), { numRuns: 150 })
  })

  it('unreliable: everything goes out once, in order, charged to nobody, and its memory with it', () => {
    fc.assert(fc.property(fc.array(length, { maxLength: 40 }), fc.constantFrom(300, PACKET_MAX), (lengths, size) => {
      const bench = new Bench(false)
      for (const each of lengths) bench.push(each)
      for (let left = 1000; bench.queue.hasNew && left > 0; left--) bench.send(size, 5000)
      const sent = bench.flying.flatMap(({ frames }) => frames)
      expect(sent.map(({ id }) => id)).toEqual(sent.map(({ id }) => id).sort((a, b) => a - b))
      expect(lengths.map((_, id) => sent.filter((frame) => frame.id === id).reduce((sum, frame) => sum + frame.length, 0))).toEqual(lengths)
      expect([bench.queue.messages, bench.queue.count.charged]).toEqual([0, 0])
      bench.queue.trim()
      expect(bench.arena.used).toBe(bench.held)
    }), { numRuns: 100 })
  })

  it('clear gives everything back, whatever state it is in, and counts it as released', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const bench = new Bench(true)
      bench.allowance = 20_000
      for (const each of steps) {
        if (each.do === 'push') bench.push(each.length)
        else if (each.do === 'send') bench.send(each.size, each.limit)
        else if (each.do === 'settle' && bench.flying.length > 0) bench.settle(each.which, each.acked)
      }
      bench.queue.clear(dropReason['channel-closed'])
      expect([bench.arena.used, bench.queue.bytes, bench.queue.messages]).toEqual([bench.held, 0, 0])
      expect(bench.queue.released).toBe(bench.lengths.reduce((sum, each) => sum + each + MESSAGE_COST, 0))
    }), { numRuns: 60 })
  })

  it('says no when the arena is full, and nothing has changed then', () => {
    const memory = new MemoryAccount(new Arena(1 << 16))
    const queue = newQueue(1, true, memory)
    const message = new Uint8Array(20_000)
    expect([queue.push(message, 0, 20_000), queue.push(message, 0, 20_000)]).toEqual([true, true])
    const before = [queue.messages, queue.bytes, memory.used]
    expect(queue.push(message, 0, 20_000)).toBe(false)
    expect([queue.messages, queue.bytes, memory.used]).toEqual(before)
  })
})
