import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { expectedPath, isGuessed, matrixPicture, matrixSummary, matrixTable, pairOf, pairs } from './matrix.ts'
import { meet, type Meeting } from './meeting.ts'
import { whyNoFilters } from './namespaces.ts'

const why = whyNoFilters()
/** Longer than the second and the third copy of a dial; where nothing may come, enough to see that nothing does. */
const PATIENCE_MS = 30_000
/** Half of all guessed meetings take less than 5 s; one in a thousand takes longer than the fast part of a round. */
const GUESSED_MS = 90_000
const NOTHING_MS = 5000

describe.skipIf(why !== undefined)(`two homes behind routers meet by a two-way invite, while no server runs${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  const matrix = new Map<string, Meeting>()

  it.concurrent.each(pairs)('%s and %s', async (near, far) => {
    const expected = expectedPath(near, far)
    const meeting = await meet([near, far], expected === 'none' ? NOTHING_MS : isGuessed(near, far) ? GUESSED_MS : PATIENCE_MS)
    matrix.set(pairOf(near, far), meeting)
    expect(meeting.path).toBe(expected)
  })

  afterAll(() => {
    process.stdout.write(`\n${matrixTable(matrix)}\n\n${matrixSummary(matrix)}\n\n`)
    const directory = process.env['POSTERN_LAB_WRITE']
    // What ran is a part of the whole: docs keep what they have.
    if (directory === undefined || matrix.size < pairs.length) return
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'matrix.json'), `${JSON.stringify(Object.fromEntries(matrix), undefined, 1)}\n`)
    writeFileSync(join(directory, 'matrix.svg'), matrixPicture(matrix))
  })
})
