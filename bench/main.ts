/**
 * `npm run bench`: measures the speed and memory of the whole product on this machine and holds them against the goals. All
 * cases take turns over several rounds, medians and spreads are printed, everything is kept as JSON.
 */
import { mkdtempSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aead } from './aead.ts'
import { ble } from './ble.ts'
import { chain100, chain1k, chainBulk, chainRtt } from './chain.ts'
import { handshakeCore } from './handshake-core.ts'
import { handshakes } from './handshakes.ts'
import { idleCpu } from './idle-cpu.ts'
import { idleMemory } from './idle-memory.ts'
import { impaired } from './impaired.ts'
import { ipcHop } from './ipc-hop.ts'
import { sharedWire } from './shared-wire.ts'
import { stalledReader } from './stalled-reader.ts'
import { comparison } from './peers/cases.ts'
import { writeGoals, writePage } from './page.ts'
import { udpHop } from './udp-hop.ts'
import { judge, printGoals } from './goals.ts'
import type { BenchCase } from './harness/case.ts'
import { readOptions, usage, type BenchOptions } from './harness/options.ts'
import { CpuProfiler, printProfile } from './harness/profile.ts'
import { printReport } from './harness/report.ts'
import { commitOf, describeMachine, readResults, writeResults, type Results } from './harness/results.ts'
import { runCases } from './harness/run.ts'
import { killRunning } from './harness/running.ts'

/** Calibrators last: what one hop or one operation costs alone, to hold the chains against. */
const cases: readonly BenchCase[] = [chain100, chain1k, chainBulk, chainRtt, handshakes, idleMemory, idleCpu, stalledReader, ...comparison, ...impaired, sharedWire, ...ble, handshakeCore, ipcHop, udpHop, aead]

/** From dist-bench/bench. */
const root = fileURLToPath(new URL('../..', import.meta.url))
const chartsDirectory = join(root, 'docs', 'bench')
const performancePage = join(root, 'docs', 'performance.md')
const ownBuild = { name: 'postern', main: fileURLToPath(new URL('../src/daemon/main.js', import.meta.url)) }

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), ownBuild)
  if (options === undefined) {
    console.log(usage)
    return
  }
  if (options.list) {
    for (const { name, title } of cases) console.log(`${name.padEnd(16)} ${title}`)
    return
  }
  if (options.page !== undefined) {
    const results = readResults(options.page)
    writePages(results, results.command ?? 'npm run bench, with options that were not kept')
    return
  }
  const chosen = choose(options)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      killRunning()
      process.exit(130)
    })
  }
  const machine = describeMachine()
  const commit = commitOf(root)
  const date = new Date().toISOString()
  const profiler = options.profile === undefined ? undefined : new CpuProfiler(options.out ?? mkdtempSync(join(tmpdir(), 'postern-profile-')))
  const terminal = new Terminal()
  const results = await runCases(chosen, { settings: options.settings, profiler, progress: (text) => terminal.progress(text), say: (text) => terminal.say(text) })
  terminal.end()
  const { quick, rounds, seconds } = options.settings
  const whole = chosen.length === cases.length && !quick && profiler === undefined
  const report = printReport(results, machine, `Postern ${commit}, ${date.slice(0, 16).replace('T', ' ')} UTC, ${rounds} rounds of ${seconds} s${quick ? ', QUICK: not for quoting' : ''}`, quick ? '' : printGoals(judge(results)))
  for (const summary of profiler?.summaries ?? []) console.log(printProfile(summary))
  for (const text of profiler?.heaps ?? []) console.log(text)
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' ')
  const written = { date, commit, command, machine, settings: { ...options.settings, builds: options.settings.builds.map(({ name, main }) => ({ name, main: relative(root, main) })) }, results }
  if (options.json === '-') {
    console.error(report)
    console.log(JSON.stringify(written))
  } else {
    console.log(report)
    // What git ignores, unless everything was measured.
    const file = options.json ?? join(root, 'bench', 'results', `${date.slice(0, 10)}-${hostname()}${whole ? '' : '.local'}.json`)
    writeResults(file, written)
    console.log(`Written to ${file}`)
    const charts = options.charts ?? (whole ? chartsDirectory : undefined)
    if (charts !== undefined) {
      writePage(charts, written, command)
      console.log(`Charts and page in ${charts}`)
    }
    if (whole && options.charts === undefined) writeGoals(performancePage, written, command)
  }
  if (results.some(({ unmeasured }) => unmeasured?.failed === true)) process.exitCode = 1
}

/** All that is made of a run. */
function writePages(results: Omit<Results, 'schema'>, command: string): void {
  writePage(chartsDirectory, results, command)
  writeGoals(performancePage, results, command)
  console.log(`Written: ${performancePage}, ${chartsDirectory}`)
}

function choose({ cases: names }: BenchOptions): readonly BenchCase[] {
  if (names.length === 0) return cases
  for (const name of names) {
    if (!cases.some((candidate) => matches(candidate, name))) throw new Error(`There is no case ${name}. There are: ${cases.map((candidate) => candidate.name).join(', ')}`)
  }
  return cases.filter((candidate) => names.some((name) => matches(candidate, name)))
}

function matches({ name }: BenchCase, wanted: string): boolean {
  return wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted
}

/** Progress on standard error: one line that is replaced on a terminal; elsewhere only what stays. */
class Terminal {
  readonly #replaces = process.stderr.isTTY
  readonly #started = performance.now()

  progress(text: string): void {
    if (this.#replaces) process.stderr.write(`\r\x1b[2K${this.#clock()} ${text}`)
  }

  say(text: string): void {
    process.stderr.write(`${this.#replaces ? '\r\x1b[2K' : ''}${this.#clock()} ${text}\n`)
  }

  end(): void {
    if (this.#replaces) process.stderr.write('\r\x1b[2K')
  }

  #clock(): string {
    const seconds = Math.floor((performance.now() - this.#started) / 1000)
    return `[${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}]`
  }
}

main().catch((error: unknown) => {
  killRunning()
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
})
