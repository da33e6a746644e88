import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GRANULARITY, INITIAL_RTT, RttEstimator } from '../../../src/core/flow/rtt.ts'

const MILLISECOND = 1000

describe('RttEstimator (RFC 9002 §5)', () => {
  it('starts with the initial value and takes the first sample as it is', () => {
    const rtt = new RttEstimator()
    expect([rtt.hasSample, rtt.estimate, rtt.pto(10 * MILLISECOND)]).toEqual([false, INITIAL_RTT, 2 * INITIAL_RTT + 10 * MILLISECOND])
    rtt.update(40 * MILLISECOND, 30 * MILLISECOND)
    expect([rtt.smoothed, rtt.variation, rtt.min, rtt.latest]).toEqual([40 * MILLISECOND, 20 * MILLISECOND, 40 * MILLISECOND, 40 * MILLISECOND])
    expect(rtt.pto(10 * MILLISECOND)).toBe((40 + 80 + 10) * MILLISECOND)
  })

  it('takes the peer’s delay off only as far as the minimum stays whole', () => {
    const rtt = new RttEstimator()
    rtt.update(40 * MILLISECOND, 0)
    rtt.update(50 * MILLISECOND, 20 * MILLISECOND)
    expect(rtt.smoothed).toBe(41.25 * MILLISECOND)
    const other = new RttEstimator()
    other.update(40 * MILLISECOND, 0)
    other.update(50 * MILLISECOND, 10 * MILLISECOND)
    expect(other.smoothed).toBe(40 * MILLISECOND)
  })

  it('follows RFC 9002 §5.3 for any samples, and stays within their range', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 5_000_000 }), fc.nat(25_000)), { minLength: 1, maxLength: 60 }), (samples) => {
      const rtt = new RttEstimator()
      let smoothed = 0
      let variation = 0
      let min = Infinity
      for (const [sample, delay] of samples) {
        rtt.update(sample, delay)
        min = Math.min(min, sample)
        const adjusted = sample >= min + delay ? sample - delay : sample
        if (smoothed === 0) [smoothed, variation] = [sample, sample / 2]
        else [variation, smoothed] = [(3 * variation + Math.abs(smoothed - adjusted)) / 4, (7 * smoothed + adjusted) / 8]
      }
      expect(rtt.smoothed).toBeCloseTo(smoothed, 3)
      expect(rtt.variation).toBeCloseTo(variation, 3)
      expect([rtt.min, rtt.latest]).toEqual([min, samples.at(-1)![0]])
      expect(rtt.smoothed).toBeGreaterThanOrEqual(min - 0.001)
      expect(rtt.lossDelay()).toBeGreaterThanOrEqual(GRANULARITY)
      rtt.forgetMin()
      expect(rtt.min).toBe(rtt.latest)
    }))
  })
})
