import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { compare, readRatios, sayVerdict, setupOf, TOLERANCE, type Ratio, type RatiosFile } from '../../bench/ratios.ts'

const main = fileURLToPath(new URL('../../bench/main.mjs', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'postern-check-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function check(...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, [main, 'check', ...args], { encoding: 'utf8', timeout: 110_000 })
}

describe('ratios to the calibrator', () => {
  const committed = { hot: 10 }
  const calm = (...ratios: readonly number[]): Ratio[] => ratios.map((ratio) => ({ ratio, disturbed: false }))
  const disturbed = (...ratios: readonly number[]): Ratio[] => ratios.map((ratio) => ({ ratio, disturbed: true }))

  it('regress beyond the tolerance, by the cheapest round, and say by how much', () => {
    const verdict = compare('hot', calm(15, 14, 30), committed)
    expect(verdict).toMatchObject({ measured: 14, regressed: true })
    expect(sayVerdict(verdict)).toContain('+40 %, beyond +35 %: REGRESSED')
    expect(compare('hot', calm(10 * (1 + TOLERANCE) - 0.01), committed).regressed).toBe(false)
  })

  it('are forgiven when a second measurement finds nothing', () => {
    expect(compare('hot', calm(14, 15, 16, 11), committed)).toMatchObject({ measured: 11, regressed: false })
  })

  it('are judged by the rounds in which nobody else was at work; without such a round only what is beyond doubt fails', () => {
    expect(compare('hot', [...calm(14), ...disturbed(9)], committed)).toMatchObject({ measured: 14, regressed: true })
    const doubtful = compare('hot', disturbed(20, 24), committed)
    expect(doubtful.regressed).toBe(false)
    expect(sayVerdict(doubtful)).toContain('not judged')
    expect(compare('hot', disturbed(26), committed).regressed).toBe(true)
  })

  it('do not fail where nothing was committed, and say so; nor when far better', () => {
    const fresh = compare('new', calm(1), committed)
    expect(fresh.regressed).toBe(false)
    expect(sayVerdict(fresh)).toContain('nothing committed to compare with')
    expect(sayVerdict(compare('hot', calm(5), committed))).toContain('--update')
  })

  it('are kept apart by what does the work', () => {
    expect(setupOf({ calibrator: 'C', crypto: 'addon', node: '20.19.1' })).toBe('calibrator in C, addon, Node 20')
    expect(readRatios(join(directory, 'none.json'))).toEqual({})
  })
})

describe('npm run bench:check', { timeout: 120_000 }, () => {
  it('writes what it measures, and fails when that costs more than committed, naming the case', () => {
    const file = join(directory, 'ratios.json')
    const first = check('--quick', '--case', 'ipc-hop', '--ratios', file, '--update')
    expect(first.status, first.stderr).toBe(0)
    const [[setup, { ratios }]] = Object.entries(JSON.parse(readFileSync(file, 'utf8')) as RatiosFile) as [[string, RatiosFile[string]]]
    const cost = ratios['ipc-hop · to the daemon']!
    expect(cost).toBeGreaterThan(0)
    const commit = (value: number): void => writeFileSync(file, JSON.stringify({ [setup]: { date: '2026-01-01', commit: 'x', cpu: 'y', ratios: { 'ipc-hop · to the daemon': value } } }))
    commit(cost / 1000)
    const worse = check('--quick', '--case', 'ipc-hop', '--ratios', file)
    expect(worse.status).toBe(1)
    expect(worse.stdout).toContain('Measured once more: ipc-hop')
    expect(worse.stdout).toMatch(/bench:check failed: ipc-hop · to the daemon costs \d+ % more/)
    commit(cost * 1000)
    expect(check('--quick', '--case', 'ipc-hop', '--ratios', file).status).toBe(0)
  })

  it('explains itself, and says a wrong command line in one sentence', () => {
    expect(check('--help').stdout).toContain('bench/ratios.json')
    const { status, stderr } = check('--case', 'nothing')
    expect(status).toBe(1)
    expect(stderr).toContain('There is no such case. There are: bulk, messages-100')
  })
})
