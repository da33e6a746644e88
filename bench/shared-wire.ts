import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Chain, type Places } from './chain.ts'
import { sleep, type BenchCase, type DaemonBuild, type Sample, type Tools } from './harness/case.ts'
import { CpuWatch } from './harness/processes.ts'
import { DELAY_MS, openWire, RATE_KBIT } from './impaired.ts'

const MESSAGE_SIZE = 65_536
/** The second flow comes so much later, and both have so long to find their shares. */
const LATER_MS = 3000
const SETTLE_MS = 3000
const PATIENCE = 5

/** Two pairs of daemons over one cable: which share of it each gets. */
export const sharedWire: BenchCase = {
  name: 'shared-wire', title: `two pairs of daemons over one wire of ${RATE_KBIT / 1000} Mbit/s and ${2 * DELAY_MS} ms, the second 3 s later; 1 is an equal share`,
  headline: 'fairness', messageSize: MESSAGE_SIZE, once: true,
  subjects: ({ builds }) => builds.flatMap((build) => [
    { name: build.name, measure: (tools: Tools) => share(tools, build, {}) },
    { name: `${build.name}, cubic`, measure: (tools: Tools) => share(tools, build, { 'transport.congestion': '"cubic"' }) },
  ]),
}

async function share(tools: Tools, build: DaemonBuild, set: Readonly<Record<string, string>>): Promise<Sample> {
  await using wire = await openWire(0)
  const [a, b] = wire.machines
  const places: Places = { a: { prefix: a.prefix, address: a.address, set }, b: { prefix: b.prefix, address: b.address, set } }
  const directory = join(tools.directory, 'second')
  mkdirSync(directory)
  const roles = { a: 'send', b: 'receive' } as const
  await using first = await Chain.open(tools, build, MESSAGE_SIZE, roles, places)
  await using second = await Chain.open({ ...tools, directory }, build, MESSAGE_SIZE, roles, places)
  await first.appA.ask('go', { pauseMs: 0 })
  await sleep(LATER_MS)
  await second.appA.ask('go', { pauseMs: 0 })
  await sleep(SETTLE_MS)
  tools.progress('measuring')
  const both = [first, second] as const
  const before = await Promise.all(both.map(({ appB }) => appB.ask('read')))
  const watch = new CpuWatch(Object.fromEntries(both.flatMap(({ pids }, i) => Object.entries(pids).map(([name, pid]) => [`${i + 1}: ${name}`, pid]))))
  await sleep(PATIENCE * tools.settings.seconds * 1000)
  const after = await Promise.all(both.map(({ appB }) => appB.ask('read')))
  const { processes, cores, others } = watch.read()
  const rates = after.map((reading, i) => ((reading.count - before[i]!.count) * MESSAGE_SIZE) / (reading.atMs - before[i]!.atMs) / 1000)
  await Promise.all(both.map(({ appA }) => appA.ask('halt')))
  const sum = rates[0]! + rates[1]!
  return {
    figures: { fairness: (sum * sum) / (2 * (rates[0]! ** 2 + rates[1]! ** 2)), megabytesPerSecond: sum, cores, othersCores: others },
    processes, notes: [`the first ${rates[0]!.toFixed(2)} MB/s, the second ${rates[1]!.toFixed(2)} MB/s`],
  }
}
