import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LaneScheduler, type LaneMember } from '../../../src/core/flow/lanes.ts'

const QUANTUM = 1152
const LANE_WEIGHTS = [64, 16, 4, 1]

interface Member extends LaneMember { readonly name: number; sent: number }

function member(name: number, lane: number, weight = 1): Member {
  return { name, lane, weight, deficit: 0, scheduled: false, sent: 0 }
}

/** Everyone always has more to send: `bytes` in frames of at most `frame`. */
function serve(scheduler: LaneScheduler<Member>, bytes: number, frame: number): void {
  for (let left = bytes; left > 0;) {
    const next = scheduler.next()!
    const size = Math.min(frame, scheduler.allowance(next))
    scheduler.spent(next, size)
    next.sent += size
    left -= size
  }
}

describe('LaneScheduler', () => {
  it('gives every lane its share of a full link: low gets 1 of 85 and never starves', () => {
    const scheduler = new LaneScheduler<Member>()
    const members = LANE_WEIGHTS.map((_, lane) => member(lane, lane))
    for (const each of members) scheduler.add(each)
    const rounds = 100
    serve(scheduler, 85 * QUANTUM * rounds, 400)
    for (const [lane, weight] of LANE_WEIGHTS.entries()) expect(members[lane]!.sent / QUANTUM / rounds).toBeCloseTo(weight, 0)
  })

  it('shares a lane by weight', () => {
    const scheduler = new LaneScheduler<Member>()
    const members = [1, 3, 16].map((weight, name) => member(name, 2, weight))
    for (const each of members) scheduler.add(each)
    serve(scheduler, 20 * QUANTUM * 200, QUANTUM)
    for (const { weight, sent } of members) expect(sent / QUANTUM / 200).toBeCloseTo(weight, 0)
  })

  it('takes turns of a datagram or so, however heavy: of two equal ones none waits for long, and heavy ones that left slow nobody down', () => {
    for (const weight of [1, 16, 255]) {
      const scheduler = new LaneScheduler<Member>()
      const members = [member(0, 1, weight), member(1, 1, weight), member(2, 1)]
      for (const each of members) scheduler.add(each)
      let waited = 0
      for (let i = 0; i < 10_000; i++) {
        const next = scheduler.next()!
        waited = next === members[0] ? 0 : waited + 360
        expect(waited).toBeLessThanOrEqual(4 * QUANTUM)
        scheduler.spent(next, 360)
        next.sent += 360
      }
      expect(members[0]!.sent / members[1]!.sent).toBeCloseTo(1, 1)
      expect(members[0]!.sent / members[2]!.sent / weight).toBeCloseTo(1, 0)
      scheduler.remove(members[0]!)
      scheduler.remove(members[1]!)
      const other = member(3, 1)
      scheduler.add(other)
      const [before, now] = [members[2]!.sent, other.sent]
      serve(scheduler, 100 * QUANTUM, 360)
      expect((members[2]!.sent - before) / (other.sent - now)).toBeCloseTo(1, 0)
    }
  })

  it('lets a critical message go before whatever low has queued, once its share allows', () => {
    const scheduler = new LaneScheduler<Member>()
    const [critical, low] = [member(0, 0), member(1, 3)]
    scheduler.add(low)
    serve(scheduler, 100 * QUANTUM, QUANTUM)
    scheduler.add(critical)
    expect(scheduler.next()).toBe(critical)
  })

  it('against a set: only members are chosen, none is lost, and each gets its turn', () => {
    const step = fc.record({ do: fc.constantFrom('add', 'remove', 'serve', 'serve', 'serve'), who: fc.nat(9), bytes: fc.integer({ min: 1, max: 3000 }) })
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 16 })), { minLength: 10, maxLength: 10 }), fc.array(step, { maxLength: 200 }), (kinds, steps) => {
      const scheduler = new LaneScheduler<Member>()
      const members = kinds.map(([lane, weight], name) => member(name, lane, weight))
      const model = new Set<Member>()
      for (const { do: what, who, bytes } of steps) {
        const each = members[who]!
        if (what === 'add') {
          scheduler.add(each)
          model.add(each)
        } else if (what === 'remove') {
          scheduler.remove(each)
          model.delete(each)
        } else {
          const next = scheduler.next()
          expect(next === undefined ? model.size === 0 : model.has(next)).toBe(true)
          if (next === undefined) continue
          expect(scheduler.allowance(next)).toBeGreaterThan(0)
          scheduler.spent(next, bytes)
        }
        expect(scheduler.empty).toBe(model.size === 0)
      }
      // With turns of one quantum, everybody in the set is served within one round of the heaviest weights.
      for (const each of model) each.sent = 0
      if (model.size > 0) serve(scheduler, 85 * 16 * 10 * QUANTUM, 64 * QUANTUM)
      for (const each of model) expect(each.sent).toBeGreaterThan(0)
    }), { numRuns: 100 })
  })
})
