import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Results } from '../../bench/harness/results.ts'

const main = fileURLToPath(new URL('../../bench/main.mjs', import.meta.url))

function bench(...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', timeout: 110_000 })
}

describe('npm run bench', { timeout: 120_000 }, () => {
  it('measures the chain through two real daemons and says what it found, on the terminal and as JSON', () => {
    const directory = mkdtempSync(join(tmpdir(), 'postern-bench-'))
    try {
      const file = join(directory, 'results.json')
      const { status, stdout, stderr } = bench('--quick', '--case', 'chain-100,ipc-hop,udp-hop,aead', '--json', file)
      expect(status, stderr).toBe(0)
      for (const column of ['message', 'packets/s', 'cores', 'p99', 'goal']) expect(stdout).toContain(column)
      expect(stdout).toContain('QUICK: not for quoting')
      expect(stderr).toMatch(/round 1\/1 {2}chain-100 · postern: [\d,]+ \/s/)
      const { results } = JSON.parse(readFileSync(file, 'utf8')) as Results
      const chain = results.find((result) => result.case === 'chain-100')!
      for (const metric of ['messagesPerSecond', 'packetsPerSecond', 'cores', 'p99Us', 'cpuNsPerMessage'] as const) expect(chain.figures[metric]?.median, metric).toBeGreaterThan(0)
      expect(chain.messageSize).toBe(100)
      expect(chain.processes.map(({ name }) => name)).toEqual(['app A', 'daemon A', 'daemon B', 'app B'])
      expect(results.filter(({ unmeasured }) => unmeasured !== undefined)).toEqual([])
      // Figures of a quick run are no figures: nothing is called reached.
      expect(results.flatMap(({ goals }) => goals)).toEqual([])
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('says a wrong command line in one sentence', () => {
    const { status, stderr } = bench('--case', 'chain-1000')
    expect(status).toBe(1)
    expect(stderr).toContain('There is no case chain-1000. There are: chain-100')
  })
})
