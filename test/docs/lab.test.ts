/** Figures of docs/nat.md are those that the lab wrote. */
import { describe, expect, it } from 'vitest'
import { expectedPath, pairOf, pairs } from '../lab/matrix.ts'
import type { Meeting } from '../lab/meeting.ts'
import { findingsPage, marksOf, type Finding } from '../lab/report.ts'
import { readText } from './support.ts'

const page = readText('docs/nat.md')
const json = (name: string): unknown => JSON.parse(readText(`docs/lab/${name}.json`))
const findings = (name: string): readonly Finding[] => json(name) as readonly Finding[]

describe('the figures of the lab', () => {
  it.each(['roaming', 'paths'])('%s: the page has the table of what was written', (name) => {
    const [begin, end] = marksOf(name)
    expect(page.slice(page.indexOf(begin) + begin.length, page.indexOf(end)).trim()).toBe(findingsPage(findings(name)))
  })

  it('roaming and paths: of what was said on a reliable channel nothing was lost or doubled', () => {
    for (const { scenario, messages } of [...findings('roaming'), ...findings('paths')]) {
      if (messages !== undefined) expect([messages.lost, messages.wrong], scenario).toEqual([0, 0])
    }
  })

  it('matrix: every pair met as it must', () => {
    const matrix = json('matrix') as Readonly<Record<string, Meeting>>
    expect(Object.fromEntries(pairs.map(([near, far]) => [pairOf(near, far), matrix[pairOf(near, far)]?.path]))).toEqual(Object.fromEntries(pairs.map(([near, far]) => [pairOf(near, far), expectedPath(near, far)])))
  })
})
