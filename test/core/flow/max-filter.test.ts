import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MaxFilter } from '../../../src/core/flow/max-filter.ts'

it('holds the greatest value of this period and the one before', () => {
  fc.assert(fc.property(fc.array(fc.oneof(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.constant('advance' as const)), { maxLength: 200 }), (steps) => {
    const filter = new MaxFilter()
    const periods: number[][] = [[], []]
    for (const step of steps) {
      if (step === 'advance') {
        filter.advance()
        periods.push([])
      } else {
        filter.update(step)
        periods.at(-1)!.push(step)
      }
      expect(filter.value).toBe(Math.max(0, ...periods.at(-1)!, ...periods.at(-2)!))
    }
    filter.reset(5)
    expect(filter.value).toBe(5)
    filter.advance()
    filter.advance()
    expect(filter.value).toBe(0)
  }))
})
