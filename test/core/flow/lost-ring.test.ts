import fc from 'fast-check'
import { expect, it } from 'vitest'
import { LostRing } from '../../../src/core/flow/lost-ring.ts'

type Entry = { readonly run: true; readonly sequence: number; readonly count: number } | { readonly run: false; readonly sequence: number; readonly offset: number; readonly length: number }

const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({ run: fc.constant(true as const), sequence: fc.integer(), count: fc.nat(1000) }),
  fc.record({ run: fc.constant(false as const), sequence: fc.integer(), offset: fc.nat(2 ** 20), length: fc.nat(2 ** 20) }),
)
const step = fc.oneof(fc.record({ do: fc.constant('push' as const), entry }), fc.record({ do: fc.constant('replace' as const), entry }), fc.constant({ do: 'shift' as const }))

it('LostRing is a queue whose head can be replaced', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const ring = new LostRing()
    const model: Entry[] = []
    for (const each of steps) {
      if (each.do === 'push') {
        if (each.entry.run) ring.pushRun(each.entry.sequence, each.entry.count)
        else ring.pushFragment(each.entry.sequence, each.entry.offset, each.entry.length)
        model.push(each.entry)
      } else if (model.length > 0 && each.do === 'shift') {
        ring.shift()
        model.shift()
      } else if (model.length > 0 && each.do === 'replace') {
        if (each.entry.run) ring.replaceRun(each.entry.sequence, each.entry.count)
        else ring.replaceFragment(each.entry.sequence, each.entry.offset, each.entry.length)
        model[0] = each.entry
      }
      const head = model[0]
      expect(ring.empty).toBe(head === undefined)
      if (head === undefined) continue
      expect([ring.isRun, ring.sequence, ring.countOrOffset]).toEqual([head.run, head.sequence, head.run ? head.count : head.offset])
      if (!head.run) expect(ring.length).toBe(head.length)
    }
    ring.clear()
    expect(ring.empty).toBe(true)
  }))
})
