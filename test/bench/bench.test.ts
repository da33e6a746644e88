import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Results, SubjectResult } from '../../bench/harness/results.ts'

const main = fileURLToPath(new URL('../../bench/main.mjs', import.meta.url))

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function bench(...args: string[]): Ended {
  return benchWith({}, ...args)
}

function benchWith(env: Readonly<Record<string, string>>, ...args: string[]): Ended {
  return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', timeout: 110_000, env: { ...process.env, ...env } })
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

  it('compares with what is installed, and says how to install what is not', () => {
    const directory = mkdtempSync(join(tmpdir(), 'postern-bench-'))
    try {
      const file = join(directory, 'results.json')
      const charts = join(directory, 'charts')
      const { status, stdout, stderr } = benchWith({ POSTERN_BENCH_PACKAGES: directory }, '--quick', '--case', 'rtt,datagrams-100', '--json', file, '--charts', charts)
      expect(status, stderr).toBe(0)
      expect(stdout).toContain('hyperdht not installed; `npm ci --prefix bench` installs what the bench compares with')
      const { results } = JSON.parse(readFileSync(file, 'utf8')) as Results
      const figures = (name: string, subject: string): SubjectResult['figures'] => results.find((result) => result.case === name && result.subject === subject)!.figures
      for (const subject of ['Postern', 'node:tls 1.3', 'node:dgram']) expect(figures('rtt', subject).p99Us?.median, subject).toBeGreaterThan(0)
      for (const subject of ['Postern', 'Postern, one message a datagram', 'node:dgram']) expect(figures('datagrams-100', subject).cpuNsPerMessage?.median, subject).toBeGreaterThan(0)
      // More messages than datagrams, unless each is to have its own: acknowledgements of the other side do not count here.
      const perPacket = (subject: string): number => figures('datagrams-100', subject).messagesPerSecond!.median / figures('datagrams-100', subject).packetsPerSecond!.median
      expect(perPacket('Postern')).toBeGreaterThan(2)
      expect(perPacket('Postern, one message a datagram')).toBeLessThan(1.5)
      expect(results.filter(({ unmeasured }) => unmeasured?.failed === true)).toEqual([])
      expect(readFileSync(join(charts, 'results.md'), 'utf8')).toContain('![Round trip of 100 bytes, median](rtt-p50.svg)')
      expect(readFileSync(join(charts, 'rtt-p50.svg'), 'utf8')).toContain('>Postern</text>')
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('explains itself', () => {
    const { status, stdout } = bench('--help')
    expect(status).toBe(0)
    for (const said of ['--case', '--quick', '--charts', 'npm ci --prefix bench', 'npm run bench:check']) expect(stdout).toContain(said)
  })

  it('says a wrong command line in one sentence', () => {
    const { status, stderr } = bench('--case', 'chain-1000')
    expect(status).toBe(1)
    expect(stderr).toContain('There is no case chain-1000. There are: chain-100')
  })
})
