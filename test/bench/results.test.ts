import { describe, expect, it } from 'vitest'
import { summarize, type SubjectFacts } from '../../bench/harness/results.ts'
import { Histogram, spread } from '../../bench/harness/stats.ts'

const facts: SubjectFacts = { case: 'c', title: 't', subject: 's', headline: 'messagesPerSecond', messageSize: 100 }

describe('figures of several rounds', () => {
  it('are medians, with the smallest and the largest', () => {
    expect(spread([5, 1, 9])).toEqual({ median: 5, min: 1, max: 9 })
    expect(spread([4, 1, 2, 9])).toEqual({ median: 3, min: 1, max: 9 })
  })

  it('are held against goals by their median', () => {
    const samples = [10, 30, 20].map((messagesPerSecond) => ({ figures: { messagesPerSecond }, counts: { lost: 2 } }))
    const result = summarize(facts, [{ metric: 'messagesPerSecond', atLeast: 20 }, { metric: 'messagesPerSecond', atLeast: 21 }, { metric: 'messagesPerSecond', atMost: 19 }, { metric: 'p50Us', atMost: 1 }], samples)
    // What was not measured is not reached.
    expect(result.goals.map(({ reached }) => reached)).toEqual([true, false, false, false])
    expect(result.counts).toEqual({ lost: 6 })
  })
})

describe('a histogram of durations', () => {
  it('gives percentiles within a quarter of a per cent, and none of nothing', () => {
    const histogram = new Histogram()
    expect(histogram.percentile(0.5)).toBeUndefined()
    for (let us = 1; us <= 1000; us++) histogram.record(us * 1000)
    expect(histogram.percentile(0.5)! / 500_000).toBeCloseTo(1, 2)
    expect(histogram.percentile(0.99)! / 990_000).toBeCloseTo(1, 2)
    histogram.record(0)
    histogram.record(Infinity)
    expect(histogram.size).toBe(1002)
  })
})
