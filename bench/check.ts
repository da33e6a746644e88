/**
 * `npm run bench:check`: the guard against regressions. CPU per unit of work of each hot case is measured as a multiple of what a
 * calibrator of the same moment costs: so a slower or busier machine does not look like slower code.
 */
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { defaultConfig } from '../src/daemon/config/config.ts'
import { chooseNative } from '../src/daemon/native.ts'
import { chain100 } from './chain.ts'
import { handshakeCore } from './handshake-core.ts'
import { ipcHop } from './ipc-hop.ts'
import type { BenchCase, Sample, Settings } from './harness/case.ts'
import type { MetricName } from './harness/metrics.ts'
import { commitOf } from './harness/results.ts'
import { killRunning } from './harness/running.ts'
import { buildLimit, runLimit } from './limit/limit.ts'
import { comparison } from './peers/cases.ts'
import { compare, readRatios, sayVerdict, setupOf, type Committed, type Ratio, type Setup, type Verdict } from './ratios.ts'

/** From dist-bench/bench. */
const root = fileURLToPath(new URL('../..', import.meta.url))
const build = { name: 'postern', main: fileURLToPath(new URL('../src/daemon/main.js', import.meta.url)) }

const ROUNDS = 3
/** Of a case that looks worse than committed, once. */
const ROUNDS_AGAIN = 2
/** No further round of all begins after this, and no second measurement after that: a busy machine takes longer for each. */
const ROUNDS_MS = 50_000
const ENOUGH_MS = 80_000
const CALIBRATE_MS = 120
/** Processes that want a core, for each core. */
const BUSY = 1.5
/** Share of the machine that others use. */
const DISTURBED = 0.25
/** No case takes so long. */
const HANG_MS = 60_000

interface Hot {
  readonly of: BenchCase
  readonly subject: string
  /** CPU, never time: that is what a neighbour changes least. */
  readonly metric: Extract<MetricName, `cpu${string}`>
}

function compared(name: string): BenchCase {
  const found = comparison.find((candidate) => candidate.name === name)
  if (found === undefined) throw new Error(`There is no case ${name}.`)
  return found
}

const hot: readonly Hot[] = [
  { of: compared('bulk'), subject: 'Postern', metric: 'cpuNsPerKiB' },
  { of: compared('messages-100'), subject: 'Postern', metric: 'cpuNsPerMessage' },
  { of: compared('messages-100'), subject: 'Postern, one message a datagram', metric: 'cpuNsPerMessage' },
  { of: compared('rtt'), subject: 'Postern', metric: 'cpuNsPerMessage' },
  { of: chain100, subject: 'postern', metric: 'cpuNsPerMessage' },
  { of: handshakeCore, subject: 'responder', metric: 'cpuUsPerHandshake' },
  { of: ipcHop, subject: 'to the daemon', metric: 'cpuNsPerMessage' },
]

const usage = `npm run bench:check -- [options]

Measures the hot cases for about a minute and compares CPU per unit of work, as a multiple of a calibrator, with bench/ratios.json.
Fails when one costs more than 35 % above it, also when measured a second time; where others used the machine all the while, 150 %.

  --update            writes what was measured to the file: after a change that is meant, or on a machine that stands for all
  --ratios <file>     another file than bench/ratios.json
  --case <name>,…     only these
  --quick             one short round: to see that it runs
  --help`

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: process.argv.slice(3), strict: true, allowPositionals: false,
    options: { update: { type: 'boolean' }, ratios: { type: 'string' }, case: { type: 'string' }, quick: { type: 'boolean' }, help: { type: 'boolean' } },
  })
  if (values.help === true) {
    console.log(usage)
    return
  }
  const quick = values.quick ?? false
  const file = values.ratios ?? join(root, 'bench', 'ratios.json')
  const chosen = hot.filter(({ of }) => values.case === undefined || values.case.split(',').includes(of.name))
  if (chosen.length === 0) throw new Error(`There is no such case. There are: ${[...new Set(hot.map(({ of }) => of.name))].join(', ')}`)
  const { setup, calibrate, why } = await calibrator()
  if (why !== undefined) console.log(`The calibrator is the one in JavaScript: ${why}.`)
  const name = setupOf(setup)
  const committed = readRatios(file)[name]
  introduce(name, committed, file)
  const busy = loadavg()[0]! / cpus().length
  if (busy > BUSY) console.log(`This machine is busy: ${busy.toFixed(1)} processes want each core. Ratios are less certain, and it takes longer.`)
  const verdicts = await judgeAll(chosen, committed, quick, calibrate)
  for (const verdict of verdicts) console.log(sayVerdict(verdict))
  if (values.update === true) {
    update(file, name, verdicts)
    return
  }
  const regressed = verdicts.filter((verdict) => verdict.regressed)
  if (regressed.length > 0) {
    console.log(`bench:check failed: ${regressed.map((verdict) => `${verdict.name} costs ${(100 * (verdict.worse ?? 0)).toFixed(0)} % more`).join('; ')}. If this is meant, commit the file after --update.`)
    process.exitCode = 1
  }
}

function introduce(name: string, committed: Committed | undefined, file: string): void {
  console.log(`bench:check: ${name}`)
  if (committed === undefined) console.log(`Nothing is committed for this setup in ${file}: nothing can fail. --update writes it.`)
  else if (committed.cpu !== cpuName()) console.log(`What is committed was measured on another processor (${committed.cpu}; here ${cpuName()}).`)
}

async function judgeAll(chosen: readonly Hot[], committed: Committed | undefined, quick: boolean, calibrate: () => Promise<number>): Promise<Verdict[]> {
  const settings: Settings = { rounds: quick ? 1 : ROUNDS, seconds: quick ? 0.4 : 1.2, patience: 0, quick, builds: [build] }
  const began = performance.now()
  const ratios = await measureAll(chosen, settings, () => performance.now() - began < ROUNDS_MS, calibrate)
  const judged = (entry: Hot): Verdict => compare(nameOf(entry), ratios.get(entry)!, committed?.ratios)
  const again = chosen.filter((entry) => judged(entry).regressed)
  if (again.length > 0) console.log(`Measured once more: ${again.map(nameOf).join('; ')}`)
  for (let round = 0; round < (quick ? 1 : ROUNDS_AGAIN); round++) {
    for (const entry of again) {
      if (performance.now() - began < ENOUGH_MS && judged(entry).regressed) ratios.get(entry)!.push(await ratioOf(entry, settings, calibrate))
    }
  }
  return chosen.map(judged)
}

/** Ratios of each case, a round of all after the other. */
async function measureAll(chosen: readonly Hot[], settings: Settings, goOn: () => boolean, calibrate: () => Promise<number>): Promise<Map<Hot, Ratio[]>> {
  const ratios = new Map<Hot, Ratio[]>(chosen.map((entry) => [entry, []]))
  for (let round = 0; round < settings.rounds && (round === 0 || goOn()); round++) {
    for (const entry of chosen) ratios.get(entry)!.push(await ratioOf(entry, settings, calibrate))
  }
  return ratios
}

async function ratioOf(entry: Hot, settings: Settings, calibrate: () => Promise<number>): Promise<Ratio> {
  const before = await calibrate()
  const { value, othersCores } = await measure(entry, settings)
  return { ratio: (2 * value) / (before + (await calibrate())), disturbed: othersCores > DISTURBED * cpus().length }
}

/** Nanoseconds of CPU per unit of work, and what others used meanwhile. */
async function measure({ of, subject: name, metric }: Hot, settings: Settings): Promise<{ readonly value: number; readonly othersCores: number }> {
  const subject = of.subjects(settings).find((candidate) => candidate.name === name)
  if (subject === undefined) throw new Error(`${of.name} has no subject ${name}.`)
  const directory = mkdtempSync(join(tmpdir(), 'pb-'))
  const watchdog = setTimeout(killRunning, HANG_MS)
  try {
    const { figures }: Sample = await subject.measure({ settings, directory, progress: () => undefined, profiler: undefined })
    const value = figures[metric]
    if (value === undefined || !(value > 0)) throw new Error(`${of.name} · ${name} gave no ${metric}.`)
    return { value: metric === 'cpuUsPerHandshake' ? value * 1000 : value, othersCores: figures.othersCores ?? 0 }
  } finally {
    clearTimeout(watchdog)
    rmSync(directory, { recursive: true, force: true })
  }
}

function nameOf({ of, subject }: Hot): string {
  return `${of.name} · ${subject}`
}

function update(file: string, setup: string, verdicts: readonly Verdict[]): void {
  const all = readRatios(file)
  const ratios = { ...all[setup]?.ratios, ...Object.fromEntries(verdicts.map(({ name, measured }) => [name, Number(measured.toPrecision(4))])) }
  const entry: Committed = { date: new Date().toISOString().slice(0, 10), commit: commitOf(root), cpu: cpuName(), ratios }
  writeFileSync(file, `${JSON.stringify({ ...all, [setup]: entry }, undefined, 2)}\n`)
  console.log(`Written to ${file}`)
}

function cpuName(): string {
  return cpus()[0]?.model.trim() ?? 'unknown'
}

interface Calibrator {
  readonly setup: Setup
  /** Nanoseconds of CPU of its unit of work, now. */
  readonly calibrate: () => Promise<number>
  /** Why it is not the one in C. */
  readonly why?: string
}

/** ChaCha20 and datagrams over the loopback in C; where that cannot be compiled, ChaCha20 in JavaScript. */
async function calibrator(): Promise<Calibrator> {
  const { status } = chooseNative(defaultConfig().native)
  const setup = { crypto: status.crypto, node: process.versions.node }
  const limit = buildLimit()
  if ('why' in limit) return { setup: { ...setup, calibrator: 'JavaScript' }, calibrate: () => Promise.resolve(calibrateHere()), why: limit.why }
  const calibrate = async (): Promise<number> => (await runLimit(limit.program, 'calibrate', String(CALIBRATE_MS)))['cpuNsPerUnit'] ?? NaN
  await calibrate()
  return { setup: { ...setup, calibrator: 'C' }, calibrate }
}

const block = new Uint32Array(16).fill(0x6b206574)

function calibrateHere(): number {
  const began = process.cpuUsage()
  let units = 0
  for (const until = performance.now() + CALIBRATE_MS; performance.now() < until; units++) for (let i = 0; i < 360; i++) doubleRound()
  const { user, system } = process.cpuUsage(began)
  return ((user + system) * 1000) / units
}

/** RFC 8439 §2.3 */
function doubleRound(): void {
  for (let i = 0; i < 4; i++) quarterRound(i, 4 + i, 8 + i, 12 + i)
  for (let i = 0; i < 4; i++) quarterRound(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4))
}

function quarterRound(a: number, b: number, c: number, d: number): void {
  for (const [one, two] of [[16, 12], [8, 7]] as const) {
    block[a] = block[a]! + block[b]!
    block[d] = rotate(block[d]! ^ block[a], one)
    block[c] = block[c]! + block[d]
    block[b] = rotate(block[b]! ^ block[c], two)
  }
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killRunning()
    process.exit(130)
  })
}
main().catch((error: unknown) => {
  killRunning()
  console.error(`bench:check: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
})
