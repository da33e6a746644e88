import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hour, minute, second, toInstant } from '../../../src/core/base/time.ts'
import { failed, forgiven, mayAsk, newBreaker, type Breaker } from '../../../src/core/stun/breaker.ts'
import { giveUpOffset, jitter, scheduleFor, sendOffset, STUN_SCHEDULE, STUN_SCHEDULE_SHORT } from '../../../src/core/stun/schedule.ts'

const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(seconds * second)

describe('the schedule of a request', () => {
  it('is that of RFC 8489 §6.2.1', () => {
    expect(Array.from({ length: 7 }, (_, send) => sendOffset(STUN_SCHEDULE, send, 1) / 1000)).toEqual([0, 500, 1500, 3500, 7500, 15_500, 31_500])
    expect(giveUpOffset(STUN_SCHEDULE, 1) / 1000).toBe(39_500)
    expect([sendOffset(STUN_SCHEDULE_SHORT, 2, 1), giveUpOffset(STUN_SCHEDULE_SHORT, 1)]).toEqual([1.5 * second, 3.5 * second])
  })

  it('is stretched by a tenth at most, and shortened by a known round trip', () => {
    fc.assert(fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (unit) => {
      expect(jitter(unit)).toBeGreaterThanOrEqual(0.9)
      expect(jitter(unit)).toBeLessThanOrEqual(1.1)
    }))
    expect([undefined, 1000, 100_000, second].map((rtt) => scheduleFor(STUN_SCHEDULE, rtt).rto)).toEqual([500_000, 250_000, 300_000, 500_000])
  })
})

describe('the circuit breaker', () => {
  it('opens at the second failure in a row, and longer each time, up to an hour', () => {
    let breaker: Breaker = newBreaker
    breaker = failed(breaker, at(0), 0.5)
    expect(mayAsk(breaker, at(0))).toBe(true)
    const rests: number[] = []
    for (let now = 0; rests.length < 9;) {
      breaker = failed(breaker, at(now), 0.5)
      expect(mayAsk(breaker, at(now))).toBe(false)
      if (breaker.kind !== 'resting') throw new Error('it rests')
      rests.push((breaker.until - at(now)) / minute)
      expect([mayAsk(breaker, toInstant(breaker.until - 1)), mayAsk(breaker, breaker.until)]).toEqual([false, true])
      now = breaker.until / second
    }
    expect(rests.map(Math.round)).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60])
    expect(60 * minute).toBe(hour)
  })

  it('lets everybody be asked once on another network', () => {
    let breaker = failed(failed(newBreaker, at(0), 0), at(0), 0)
    breaker = forgiven(breaker, at(1))
    expect(mayAsk(breaker, at(1))).toBe(true)
    expect(mayAsk(failed(breaker, at(1), 0), at(2))).toBe(false)
    expect(forgiven(newBreaker, at(1))).toBe(newBreaker)
  })
})
