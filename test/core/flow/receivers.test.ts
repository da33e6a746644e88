/** The receiving halves of channels against plain models: what is handed over, in which order, for which credit. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../../src/core/base/arena.ts'
import { MESSAGE_COST } from '../../../src/core/base/domain.ts'
import { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import {
  RECEIVED, RECEIVED_BEFORE, RECEIVED_FLOW_CONTROL, RECEIVED_LIMIT, RECEIVED_NO_ROOM, RECEIVED_PROTOCOL, type Receiver, type ReceiveResult,
} from '../../../src/core/flow/receive.ts'
import { OrderedReceiver } from '../../../src/core/flow/receive-ordered.ts'
import { PARTIAL_TIME, UnreliableReceiver } from '../../../src/core/flow/receive-unreliable.ts'

const ROOM = 1 << 30
const LARGEST = 600

function byteOf(id: number, offset: number): number {
  return (id * 31 + offset * 7 + (offset >> 8)) & 255
}

/** A receiver, the slab that datagrams come in, and an app that looks at every byte. */
class Bench {
  readonly arena: Arena
  readonly memory: MemoryAccount
  readonly slab: number
  readonly used: number
  receiver!: Receiver
  readonly got: { readonly id: number; readonly length: number; readonly gap: boolean }[] = []
  /** Length by id, to name what was handed over. */
  readonly totals: readonly number[]

  constructor(totals: readonly number[], memory = 1 << 20) {
    this.totals = totals
    this.arena = new Arena(memory)
    this.memory = new MemoryAccount(this.arena)
    this.slab = this.arena.allocate(16_384)
    this.used = this.arena.used
  }

  readonly sink = {
    deliver: (offset: number, length: number, block: number, gap: boolean): void => {
      const bytes = this.arena.bytes.subarray(offset, offset + length)
      const id = this.totals.findIndex((total, candidate) => total === length && bytes.every((byte, i) => byte === byteOf(candidate, i)) && (length > 0 || !this.got.some((one) => one.id === candidate)))
      expect(id, 'the bytes of a message that was sent').toBeGreaterThanOrEqual(0)
      this.got.push({ id, length, gap })
      if (block >= 0) this.memory.release(block)
    },
  }

  whole(id: number, now = 0): ReceiveResult {
    return this.receiver.whole(now, id, this.#put(id, 0, this.totals[id]!), this.totals[id]!, ROOM, this.sink)
  }

  fragment(id: number, at: number, length: number, now = 0): ReceiveResult {
    return this.receiver.fragment(now, id, this.#put(id, at, length), length, at, this.totals[id]!, ROOM, this.sink)
  }

  #put(id: number, at: number, length: number): number {
    for (let i = 0; i < length; i++) this.arena.bytes[this.slab + i] = byteOf(id, at + i)
    return this.slab
  }
}

/** Distinct lengths, so that a message is known by its bytes. */
const totals = fc.uniqueArray(fc.integer({ min: 1, max: LARGEST }), { minLength: 1, maxLength: 12 })
const part = fc.record({ do: fc.constant('part' as const), id: fc.nat(), at: fc.nat(LARGEST), length: fc.integer({ min: 1, max: LARGEST }) })
const whole = fc.record({ do: fc.constant('whole' as const), id: fc.nat() })
const skip = fc.record({ do: fc.constant('skip' as const), id: fc.nat() })
const consume = fc.record({ do: fc.constant('consume' as const), cost: fc.nat(2000) })
const hold = fc.record({ do: fc.constant('hold' as const), held: fc.boolean() })

describe('OrderedReceiver', () => {
  it('hands over every message once, in order, as soon as it is whole and there is credit; skipped ones are passed', () => {
    fc.assert(fc.property(totals, fc.array(fc.oneof({ weight: 4, arbitrary: part }, { weight: 2, arbitrary: whole }, skip, consume, hold), { maxLength: 150 }), fc.nat(3000), (lengths, steps, credit) => {
      const bench = new Bench(lengths)
      const receiver = new OrderedReceiver(bench.memory, credit, 1 << 20)
      bench.receiver = receiver
      const model = { credit, held: false, next: 0, state: lengths.map(() => ({ kind: 'open', bytes: new Set<number>() })), expected: [] as number[], seen: -1, passed: 0 }
      const drain = (): void => {
        for (; model.next < lengths.length; model.next++) {
          const { kind } = model.state[model.next]!
          if (kind === 'skipped') model.passed += lengths[model.next]! + MESSAGE_COST
          else if (kind === 'whole' && model.credit > 0 && !model.held) {
            model.credit -= lengths[model.next]! + MESSAGE_COST
            model.expected.push(model.next)
          } else return
        }
      }
      for (const each of steps) {
        if (each.do === 'consume') {
          receiver.credit += each.cost
          model.credit += each.cost
          receiver.resume(bench.sink)
        } else if (each.do === 'hold') {
          receiver.held = each.held
          model.held = each.held
          if (!each.held) receiver.resume(bench.sink)
        } else {
          const id = each.id % lengths.length
          const state = model.state[id]!
          const total = lengths[id]!
          const settled = state.kind !== 'open'
          model.seen = Math.max(model.seen, id)
          if (each.do === 'skip') {
            expect(receiver.skip(id, total, ROOM, bench.sink)).toBe(settled ? RECEIVED_BEFORE : RECEIVED)
            if (!settled) state.kind = 'skipped'
          } else {
            const at = each.do === 'whole' ? 0 : each.at % total
            const length = each.do === 'whole' ? total : Math.min(each.length, total - at)
            const result = each.do === 'whole' ? bench.whole(id) : bench.fragment(id, at, length)
            const before = state.bytes.size
            for (let i = at; i < at + length; i++) state.bytes.add(i)
            expect(result).toBe(settled || state.bytes.size === before ? RECEIVED_BEFORE : RECEIVED)
            if (!settled && state.bytes.size === total) state.kind = 'whole'
          }
        }
        drain()
        expect(bench.got.map(({ id }) => id)).toEqual(model.expected)
        expect([receiver.next, receiver.credit, receiver.delivered]).toEqual([model.next, model.credit, model.expected.length])
        expect(receiver.waiting).toBe(model.next < lengths.length && model.state[model.next]!.kind === 'whole')
      }
      // Each message is charged once, and 32 for each id that is missing before one that came.
      const known = model.state.map(({ kind, bytes }) => kind !== 'open' || bytes.size > 0)
      const missing = known.filter((one, id) => !one && id < model.seen).length
      expect(receiver.received).toBeGreaterThanOrEqual(lengths.reduce((sum, length, id) => sum + (known[id]! ? length + MESSAGE_COST : 0), 0))
      expect(missing >= 0 && receiver.takePassed() === model.passed && receiver.takePassed() === 0).toBe(true)
      receiver.clear()
      expect([bench.arena.used, bench.memory.used]).toEqual([bench.used, 0])
    }), { numRuns: 200 })
  })

  it('refuses what is beyond the credit or the ring, and two totals for one message; an arena without room is not the peer’s fault', () => {
    const bench = new Bench([100, 200, 300], 1 << 16)
    const receiver = new OrderedReceiver(bench.memory, 1000, 3200)
    bench.receiver = receiver
    expect(receiver.whole(0, 1, bench.slab, 100, 163, bench.sink)).toBe(RECEIVED_FLOW_CONTROL)
    expect(receiver.whole(0, 1, bench.slab, 100, 164, bench.sink)).toBe(RECEIVED)
    expect(receiver.whole(0, 500, bench.slab, 100, ROOM, bench.sink)).toBe(RECEIVED_LIMIT)
    expect(bench.fragment(2, 0, 10)).toBe(RECEIVED)
    expect(receiver.fragment(0, 2, bench.slab, 10, 20, 299, ROOM, bench.sink)).toBe(RECEIVED_PROTOCOL)
    expect(receiver.skip(2, 299, ROOM, bench.sink)).toBe(RECEIVED_PROTOCOL)
    const received = receiver.received
    expect(receiver.fragment(0, 3, bench.slab, 10, 0, 40_000, ROOM, bench.sink)).toBe(RECEIVED_NO_ROOM)
    expect(receiver.received).toBe(received)
  })

  it('sealed, keeps what is whole and in order and frees what lies behind a hole', () => {
    const bench = new Bench([10, 20, 30, 40, 50])
    const receiver = new OrderedReceiver(bench.memory, 0, 1 << 20)
    bench.receiver = receiver
    for (const id of [0, 1, 3]) bench.whole(id)
    bench.fragment(4, 0, 5)
    expect([receiver.seal(), receiver.waiting, receiver.finished(2)]).toEqual([2, true, false])
    receiver.credit = 1000
    receiver.resume(bench.sink)
    expect([bench.got.map(({ id }) => id), receiver.finished(2), bench.arena.used]).toEqual([[0, 1], true, bench.used])
  })
})

describe('UnreliableReceiver', () => {
  it('hands over at most once, on completion, and says when something before it was dropped', () => {
    fc.assert(fc.property(totals, fc.array(fc.oneof({ weight: 4, arbitrary: part }, skip, consume, hold, fc.record({ do: fc.constant('wait' as const), time: fc.nat(700_000) })), { maxLength: 150 }), fc.nat(3000), (lengths, steps, credit) => {
      const bench = new Bench(lengths)
      const receiver = new UnreliableReceiver(bench.memory, credit)
      bench.receiver = receiver
      const parts: { readonly id: number; readonly at: number; readonly bytes: Set<number> }[] = []
      const expected: { readonly id: number; readonly length: number; readonly gap: boolean }[] = []
      let [now, left, held, gap] = [0, credit, false, false]
      const forget = (id: number): boolean => {
        const i = parts.findIndex((one) => one.id === id)
        if (i >= 0) parts.splice(i, 1)
        return i >= 0
      }
      // The wire brings each fragment at most once: the replay window sees to that.
      const came = new Set<string>()
      for (const each of steps) {
        if (each.do === 'wait') {
          now += each.time
          while (parts[0] !== undefined && parts[0].at + PARTIAL_TIME <= now) gap = forget(parts[0].id)
          expect(receiver.expire(now)).toBe(parts[0] === undefined ? Infinity : parts[0].at + PARTIAL_TIME)
        } else if (each.do === 'consume') {
          receiver.credit += each.cost
          left += each.cost
        } else if (each.do === 'hold') {
          receiver.held = each.held
          held = each.held
        } else if (each.do === 'skip') {
          receiver.skip(each.id % lengths.length)
          if (forget(each.id % lengths.length)) gap = true
        } else {
          const id = each.id % lengths.length
          const length = lengths[id]!
          const half = Math.max(1, length >> 1)
          const at = each.at % 2 === 0 ? 0 : half
          const size = at === 0 ? half : length - half
          if (size === 0 || came.has(`${id} ${at}`)) continue
          came.add(`${id} ${at}`)
          let one = parts.find((candidate) => candidate.id === id)
          if (one === undefined) {
            if (parts.length === 4) {
              parts.shift()
              gap = true
            }
            one = { id, at: now, bytes: new Set() }
            parts.push(one)
          }
          bench.fragment(id, at, size, now)
          for (let i = at; i < at + size; i++) one.bytes.add(i)
          if (one.bytes.size < length) continue
          forget(id)
          if (left > 0 && !held) {
            expected.push({ id, length, gap })
            left -= length + MESSAGE_COST
            gap = false
          } else gap = true
        }
        expect(bench.got).toEqual(expected)
        expect(receiver.credit).toBe(left)
      }
      receiver.clear()
      expect([bench.arena.used, bench.memory.used, bench.memory.unbounded]).toEqual([bench.used, 0, 0])
    }), { numRuns: 200 })
  })

  it('a whole message without credit is dropped and counted, and the next one says so', () => {
    const bench = new Bench([10, 20, 30])
    const receiver = new UnreliableReceiver(bench.memory, 1)
    bench.receiver = receiver
    for (const id of [0, 1]) bench.whole(id)
    receiver.credit = 1
    bench.whole(2)
    expect([bench.got, receiver.droppedNoCredit, receiver.finished(99)]).toEqual([[{ id: 0, length: 10, gap: false }, { id: 2, length: 30, gap: true }], 1, true])
  })
})
