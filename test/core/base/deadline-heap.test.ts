import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DeadlineHeap } from '../../../src/core/base/deadline-heap.ts'
import { never, toInstant } from '../../../src/core/base/time.ts'

describe('DeadlineHeap', () => {
  it('is a sorted table: any sequence of set, move, clear and expiry', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), slot: fc.nat({ max: 70 }), at: fc.nat({ max: 40 }) }),
      fc.record({ kind: fc.constant('clear' as const), slot: fc.nat({ max: 70 }), at: fc.constant(0) }),
      fc.record({ kind: fc.constant('expire' as const), slot: fc.constant(0), at: fc.nat({ max: 40 }) }),
    )
    fc.assert(fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const heap = new DeadlineHeap(4)
      const model = new Map<number, number>()
      for (const { kind, slot, at } of steps) {
        if (kind === 'set') {
          heap.set(slot, toInstant(at))
          model.set(slot, at)
        } else if (kind === 'clear') {
          heap.clear(slot)
          model.delete(slot)
        } else {
          expire(heap, model, at)
        }
        expect(heap.size).toBe(model.size)
        expect(heap.next()).toBe(model.size === 0 ? never : Math.min(...model.values()))
        expect(heap.deadline(slot)).toBe(model.get(slot) ?? never)
      }
      expire(heap, model, 1000)
      expect(heap.size).toBe(0)
    }))
  })

  it('has nothing due before its time', () => {
    const heap = new DeadlineHeap()
    expect([heap.due(toInstant(5)), heap.next(), heap.deadline(99)]).toEqual([-1, never, never])
    heap.set(3, toInstant(10))
    expect([heap.due(toInstant(9)), heap.due(toInstant(10))]).toEqual([-1, 3])
    heap.set(3, never)
    expect([heap.due(toInstant(10)), heap.size]).toEqual([-1, 0])
  })
})

/** Whatever is due comes out in order of time, and all of it. */
function expire(heap: DeadlineHeap, model: Map<number, number>, now: number): void {
  let last = -Infinity
  for (;;) {
    const slot = heap.due(toInstant(now))
    if (slot < 0) break
    const deadline = model.get(slot)
    expect(deadline).toBe(heap.deadline(slot))
    expect(deadline).toBeGreaterThanOrEqual(last)
    last = deadline!
    heap.clear(slot)
    model.delete(slot)
  }
  for (const deadline of model.values()) expect(deadline).toBeGreaterThan(now)
}
