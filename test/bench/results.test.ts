import { describe, expect, it } from 'vitest'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { summarize, type Results, type SubjectFacts } from '../../bench/harness/results.ts'
import { writeGoals } from '../../bench/page.ts'
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

describe('the table of goals in a page', () => {
  const results: Omit<Results, 'schema'> = {
    date: '2026-01-02T03:04:05Z', commit: 'abc', settings: { rounds: 3, seconds: 2, patience: 0, quick: false, builds: [] },
    machine: { host: 'h', system: 'Linux', cpu: 'c', cores: 2, memoryGiB: 8, node: 'v20', openssl: '3', rmemMax: undefined, governor: undefined, loadBefore: 0 },
    results: [summarize({ ...facts, case: 'messages-100', subject: 'Postern' }, [], [{ figures: { messagesPerSecond: 5_000_000 } }]), { ...summarize({ ...facts, case: 'bulk', subject: 'Postern' }, [], []), unmeasured: { reason: 'no', failed: true } }],
  }

  it('is replaced, and what is written around it by hand stays', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-page-')), 'page.md')
    writeFileSync(file, 'before\n<!-- goals: written by npm run bench -->\nold\n<!-- end of goals -->\nafter\n')
    writeGoals(file, results, 'npm run bench -- --rounds 9')
    writeGoals(file, results, 'npm run bench -- --rounds 3')
    const text = readFileSync(file, 'utf8')
    expect(text).toMatch(/^before\n<!-- goals[^]*<!-- end of goals -->\nafter\n$/)
    expect([text.includes('old'), text.includes('--rounds 9'), text.includes('| 5,000,000 /s | ≥ 4,000,000 /s | 1.25 |'), text.includes('Not measured there: bulk · Postern')]).toEqual([false, false, true, true])
  })

  it('has its place, or the page is not touched', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-page-')), 'page.md')
    writeFileSync(file, 'nothing')
    expect(() => writeGoals(file, results, 'x')).toThrow('has no place for the goals')
    expect(readFileSync(file, 'utf8')).toBe('nothing')
  })
})
