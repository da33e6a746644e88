import fc from 'fast-check'
import { expect, it } from 'vitest'
import { RangeSet } from '../../../src/core/flow/range-set.ts'

const SPAN = 64
const range = fc.tuple(fc.nat(SPAN - 1), fc.nat(20)).map(([lo, size]) => [lo, Math.min(SPAN, lo + size)] as const)

it('RangeSet is a set of numbers: what is new, members, cover, gaps, prefix and end against a Set', () => {
  fc.assert(fc.property(fc.array(range, { maxLength: 40 }), range, (adds, [lo, hi]) => {
    const ranges = new RangeSet()
    const model = new Set<number>()
    for (const [from, to] of adds) {
      const before = model.size
      for (let i = from; i < to; i++) model.add(i)
      expect(ranges.add(from, to)).toBe(model.size - before)
    }
    const members = Array.from({ length: SPAN + 1 }, (_, i) => model.has(i))
    expect(members.map((_, i) => ranges.has(i))).toEqual(members)
    expect(ranges.end).toBe(members.lastIndexOf(true) + 1)
    expect(ranges.prefix).toBe(members.indexOf(false))
    expect(ranges.count).toBe(members.filter((member, i) => member && !(members[i - 1] ?? false)).length)
    const missing: number[] = []
    ranges.gaps(lo, hi, (from, to) => {
      expect(to).toBeGreaterThan(from)
      for (let i = from; i < to; i++) missing.push(i)
    })
    const wanted = Array.from({ length: hi - lo }, (_, i) => lo + i).filter((i) => !model.has(i))
    expect(missing).toEqual(wanted)
    expect(ranges.covers(lo, hi)).toBe(wanted.length === 0)
  }), { numRuns: 300 })
})
