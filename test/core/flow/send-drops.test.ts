/** A send queue from which unsent messages are dropped, by age and by deadline, against an array of those that wait. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../../src/core/base/arena.ts'
import { dropReason, dropReasons } from '../../../src/core/base/domain.ts'
import { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import { Pieces } from '../../../src/core/base/pieces.ts'
import { never, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { SentPackets } from '../../../src/core/flow/sent-packets.ts'
import { SendCount, SendQueue } from '../../../src/core/flow/send-queue.ts'
import { TELL_DROP } from '../../../src/core/flow/send-ring.ts'

const SIZE = 8
/** Room for two whole messages with their frames. */
const ROOM = 2 * (SIZE + 4)

interface Waiting { readonly number: number; readonly deadline: Instant }

class Bench {
  readonly arena = new Arena(1 << 20)
  readonly out: Pieces = new Pieces(this.arena.bytes, 4)
  readonly slab = this.arena.allocate(256)
  readonly queue: SendQueue
  readonly log = new SentPackets()
  readonly model: Waiting[] = []
  readonly modelDropped: string[] = []
  readonly dropped: string[] = []
  now = 0
  #pushed = 0
  #expectedId = 0

  constructor() {
    this.queue = new SendQueue(5, { repeats: true, charged: true, latest: false }, new SendCount(), 0, 2, new MemoryAccount(this.arena), {
      onMessageDelivered: () => undefined,
      onMessageDropped: (_lane, reason, tag) => { this.dropped.push(`${tag} ${dropReasons[reason]}`) },
    })
  }

  push(ttl: number): void {
    const number = ++this.#pushed
    const bytes = new Uint8Array(SIZE)
    new DataView(bytes.buffer).setUint32(0, number)
    const deadline = ttl === 0 ? never : toInstant(this.now + ttl)
    expect(this.queue.push(bytes, 0, SIZE, number, TELL_DROP, deadline, number)).toBe(true)
    this.model.push({ number, deadline })
  }

  dropOldest(): void {
    if (this.model.length === 0) return
    expect(this.queue.oldestOrder).toBe(this.model[0]!.number)
    this.queue.dropOldest(dropReason['drop-oldest'])
    this.modelDropped.push(`${this.model.shift()!.number} drop-oldest`)
  }

  expire(): void {
    const next = this.queue.expire(toInstant(this.now))
    for (const { number } of this.model.filter(({ deadline }) => deadline <= this.now)) this.modelDropped.push(`${number} deadline`)
    this.#keep(this.model.filter(({ deadline }) => deadline > this.now))
    expect(next).toBe(Math.min(Infinity, ...this.model.map(({ deadline }) => deadline)))
  }

  /** A datagram of two messages; what is late before them is dropped. */
  send(): void {
    const { queue, arena, out, log, slab } = this
    const mark = log.frameMark
    const end = queue.packNew(out, slab, slab + ROOM, ROOM, Infinity, Infinity, log, toInstant(this.now))
    out.copy()
    log.push(toInstant(log.next), end - slab, 0, 0, mark, -1, true)
    const reader = new ByteReader(arena.bytes, slab, end)
    while (reader.remaining > 0) {
      while (this.model.length > 0 && this.model[0]!.deadline <= this.now) this.modelDropped.push(`${this.model.shift()!.number} deadline`)
      reader.u8()
      expect([reader.varint(), reader.varint(), reader.varint()]).toEqual([5, this.#expectedId++, SIZE])
      const body = reader.view(SIZE)
      expect(new DataView(body.buffer, body.byteOffset).getUint32(0)).toBe(this.model.shift()?.number)
    }
    // The queue looks for room for one more, and drops what is late there too.
    while (this.model.length > 0 && this.model[0]!.deadline <= this.now && this.dropped.length > this.modelDropped.length) this.modelDropped.push(`${this.model.shift()!.number} deadline`)
  }

  /** Flow control lets nothing go: the oldest is made ready, and what is late before it dropped. */
  blocked(): void {
    const { queue, out, log, slab } = this
    expect(queue.packNew(out, slab, slab + ROOM, ROOM, 0, Infinity, log, toInstant(this.now))).toBe(slab)
    while (this.model.length > 0 && this.model[0]!.deadline <= this.now) this.modelDropped.push(`${this.model.shift()!.number} deadline`)
  }

  ackAll(): void {
    const { queue, log } = this
    for (let order = log.base; order < log.next; order++) {
      for (let k = 0; k < log.frameCount(order); k++) {
        const [, , sequence, count] = log.frames.subarray(log.frameAt(order, k))
        queue.onAckedRun(sequence!, count!)
      }
    }
    queue.trim()
  }

  check(): void {
    expect(this.queue.unsent).toBe(this.model.length)
    expect(this.dropped).toEqual(this.modelDropped)
  }

  #keep(rest: readonly Waiting[]): void {
    this.model.splice(0, this.model.length, ...rest)
  }
}

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), ttl: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('drop' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('send' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('blocked' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('time' as const), by: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('ack' as const) }) },
)

describe('a queue from which messages are dropped', () => {
  it('sends the others once each, in order, and says what was dropped', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const bench = new Bench()
      for (const action of steps) {
        if (action.kind === 'push') bench.push(action.ttl)
        else if (action.kind === 'drop') bench.dropOldest()
        else if (action.kind === 'send') bench.send()
        else if (action.kind === 'blocked') bench.blocked()
        else if (action.kind === 'time') bench.now += action.by
        else if (action.kind === 'expire') bench.expire()
        else bench.ackAll()
        bench.check()
      }
      while (bench.model.length > 0) {
        bench.send()
        bench.check()
      }
    }), { numRuns: 1500 })
  })

  it('what is pushed after the newest were late keeps its place', () => {
    const bench = new Bench()
    for (const ttl of [0, 0, 1]) bench.push(ttl)
    bench.dropOldest()
    bench.blocked()
    bench.now = 1
    bench.expire()
    bench.push(0)
    bench.push(0)
    bench.dropOldest()
    bench.send()
    bench.check()
  })
})
