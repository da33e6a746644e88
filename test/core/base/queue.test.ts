import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BoundedQueue } from '../../../src/core/base/queue.ts'

describe('BoundedQueue', () => {
  it('is an array with a bound', () => {
    const step = fc.oneof({ weight: 6, arbitrary: fc.constant('push' as const) }, { weight: 4, arbitrary: fc.constant('shift' as const) }, { weight: 1, arbitrary: fc.constant('clear' as const) })
    fc.assert(fc.property(fc.integer({ min: 1, max: 60 }), fc.array(step, { maxLength: 200 }), (capacity, steps) => {
      const queue = new BoundedQueue<number>(capacity)
      let model: number[] = []
      steps.forEach((kind, value) => {
        if (kind === 'push') {
          expect(queue.push(value)).toBe(model.length < capacity)
          if (model.length < capacity) model.push(value)
        } else if (kind === 'shift') {
          expect(queue.shift()).toBe(model.shift())
        } else {
          queue.clear()
          model = []
        }
        expect([queue.size, queue.peek(), [...queue]]).toEqual([model.length, model[0], model])
      })
    }))
  })

  it('refuses when full and changes nothing', () => {
    const queue = new BoundedQueue<string>(1)
    expect([queue.push('a'), queue.push('b'), [...queue]]).toEqual([true, false, ['a']])
  })
})
