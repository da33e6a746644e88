import { describe, expect, it } from 'vitest'
import { errorCodes } from '../../src/core/base/errors.ts'
import { exitStatus } from '../../src/core/base/exit-status.ts'
import { readText } from './support.ts'

/** Rows of the page's tables: the codes of the first cell, and all cells. */
const rows = readText('docs/errors.md').split('\n').filter((line) => line.startsWith('| `')).map((line) => {
  const cells = line.split('|').slice(1, -1).map((cell) => cell.trim())
  return { codes: [...cells[0]!.matchAll(/`([a-z_]+)`/g)].map((match) => match[1]!), cells }
})
const known: ReadonlySet<string> = new Set(errorCodes)

describe('docs/errors.md', () => {
  it('has every code of the code, and no other', () => {
    const documented = new Set(rows.flatMap(({ codes }) => codes))
    expect(errorCodes.filter((code) => !documented.has(code))).toEqual([])
    expect([...documented].filter((code) => !known.has(code))).toEqual([])
  })

  it('says of each what it means, what to do, and the exit status', () => {
    for (const code of errorCodes) {
      const full = rows.filter(({ codes, cells }) => codes.includes(code) && /^\d+$/.test(cells.at(-1)!))
      if (!['protocol', 'slow_reader'].includes(code)) expect([code, full.length > 0]).toEqual([code, true])
      for (const { cells } of full) expect([code, Number(cells.at(-1))]).toEqual([code, exitStatus(code)])
    }
    for (const { codes, cells } of rows) expect([codes, cells.every((cell) => cell !== '')]).toEqual([codes, true])
  })
})
