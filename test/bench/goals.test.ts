import { describe, expect, it } from 'vitest'
import { drawCharts } from '../../bench/charts.ts'
import { judge, printGoals } from '../../bench/goals.ts'
import type { Figures } from '../../bench/harness/metrics.ts'
import { summarize, type SubjectResult } from '../../bench/harness/results.ts'

function result(name: string, subject: string, figures: Figures): SubjectResult {
  return summarize({ case: name, title: 't', subject, headline: 'messagesPerSecond', messageSize: 100 }, [], [{ figures }])
}

const ours = result('messages-100', 'Postern', { messagesPerSecond: 2_000_000 })
const udx = result('messages-100', 'secret-stream + udx', { messagesPerSecond: 100_000 })

describe('goals of a run', () => {
  it('are numbers, or multiples of what somebody else reached in the same run, and say how far one is', () => {
    const judged = judge([ours, udx, result('rtt', 'Postern', { p50Us: 50, p99Us: 300 }), result('rtt', 'secret-stream + udx', { p50Us: 100, p99Us: 100 })])
    expect(judged.map(({ wanted, share }) => [wanted, share])).toEqual([
      ['≥ 4,000,000 /s', 0.5], ['≥ 9 × secret-stream + udx = 900,000 /s', expect.closeTo(2.22, 2)],
      ['≤ 0.9 × secret-stream + udx = 90 µs', 1.8], ['≤ 0.9 × secret-stream + udx = 90 µs', expect.closeTo(0.3, 2)],
    ])
    expect(printGoals(judged)).toMatch(/at 50 % of it[^]*reached[^]*at 30 % of it/)
  })

  it('are not called missed where the other was not measured, nor named where Postern was not', () => {
    expect(printGoals(judge([ours]))).toContain('not measured here')
    expect(judge([udx])).toEqual([])
  })
})

describe('charts of a run', () => {
  it('have a bar for every subject, the best first, with what anybody may have called themselves', () => {
    const charts = drawCharts([udx, ours, result('messages-100', 'a <b> & "c"', { messagesPerSecond: 5 })], 'footer')
    expect(charts.map(({ file }) => file)).toEqual(['messages-100.svg'])
    const { svg } = charts[0]!
    expect(svg.match(/<rect class="(ours|peer)"/g)).toEqual(['<rect class="ours"', '<rect class="peer"', '<rect class="peer"'])
    expect(svg).toContain('a &lt;b&gt; &amp; &quot;c&quot;')
    expect(svg).toContain('2,000,000 /s')
    expect(svg.indexOf('>Postern<')).toBeLessThan(svg.indexOf('>secret-stream + udx<'))
  })

  it('need two to compare', () => {
    expect(drawCharts([ours], 'footer')).toEqual([])
  })
})
