import { Chain } from './chain.ts'
import { sleep, type BenchCase, type DaemonBuild, type Sample, type Tools } from './harness/case.ts'
import { CpuWatch, memoryOf } from './harness/processes.ts'

const SIZE = 100
const FLOW_MS = 4000
const STALL_MS = 30_000
const EVERY_MS = 250
/** Until every window and queue between the two apps is full. */
const FILL_MS = 3000

/** A receiver that takes no messages for a while, under a sender that sends whatever it may: what both daemons keep must stay bounded. */
export const stalledReader: BenchCase = {
  name: 'stalled-reader', title: 'the receiving app takes nothing for 30 s under full sending, then goes on', headline: 'growthMiB', messageSize: SIZE, once: true,
  subjects: ({ builds }) => builds.map((build) => ({ name: build.name, goals: [{ metric: 'growthMiB', atMost: 4 }, { metric: 'misplaced', atMost: 0 }], measure: (tools) => measure(tools, build) })),
}

async function measure(tools: Tools, build: DaemonBuild): Promise<Sample> {
  const { settings, progress } = tools
  const { flowMs, fillMs, stallMs } = settings.quick ? { flowMs: 1000, fillMs: 1000, stallMs: 2000 } : { flowMs: FLOW_MS, fillMs: FILL_MS, stallMs: STALL_MS }
  await using chain = await Chain.open(tools, build, SIZE, { a: 'send', b: 'receive' })
  const started = performance.now()
  const rows: (readonly number[])[] = []
  const look = async (durationMs: number): Promise<void> => {
    for (const until = performance.now() + durationMs; performance.now() < until;) {
      rows.push([(performance.now() - started) / 1000, memoryOf(chain.a.pid).resident, memoryOf(chain.b.pid).resident])
      await sleep(EVERY_MS)
    }
  }
  const watch = new CpuWatch(chain.pids)
  progress('flowing')
  await chain.appA.ask('go', { pauseMs: 0 })
  await look(flowMs)
  const flowing = await chain.appB.ask('read')
  await chain.appB.ask('stall')
  progress(`stalled for ${stallMs / 1000} s`)
  await look(fillMs)
  const filled = rows.length
  const sentFull = (await chain.appA.ask('read')).count
  await look(stallMs - fillMs)
  const stalled = rows.slice(filled)
  const sentStalled = (await chain.appA.ask('read')).count
  await chain.appB.ask('take')
  progress('flowing again')
  await look(flowMs)
  await chain.appA.ask('halt')
  const after = await drained(chain)
  const { processes, cores, others } = watch.read()
  const growthMiB = (column: number): number => (Math.max(...stalled.map((row) => row[column]!)) - stalled[0]![column]!) / 2 ** 20
  const [a, b] = [growthMiB(1), growthMiB(2)]
  return {
    figures: { growthMiB: Math.max(a, b), growthMiBA: a, growthMiBB: b, misplaced: after.misplaced + Math.abs(after.sent - after.received), cores, othersCores: others },
    processes,
    series: { columns: ['seconds', 'daemonAResident', 'daemonBResident'], rows },
    notes: [
      `${flowing.count} messages before, ${after.received} in all, ${sentStalled - sentFull} accepted from the sender after the first ${fillMs / 1000} s of the stall, in which queues and windows fill`,
      `resident before the stall / full / at its end / afterwards: A ${at(rows, flowMs, filled, 1)} MiB, B ${at(rows, flowMs, filled, 2)} MiB`,
    ],
  }
}

/** Everything that was queued has arrived, or will not. */
async function drained(chain: Chain): Promise<{ readonly sent: number; readonly received: number; readonly misplaced: number }> {
  for (let tries = 0; ; tries++) {
    const [{ count: sent }, { count: received, misplaced }] = await Promise.all([chain.appA.ask('read'), chain.appB.ask('read')])
    if (sent === received || tries > 50) return { sent, received, misplaced }
    await sleep(100)
  }
}

function at(rows: readonly (readonly number[])[], flowMs: number, filled: number, column: number): string {
  const before = Math.round(flowMs / EVERY_MS) - 1
  const again = rows.findIndex((row) => row[0]! > rows.at(-1)![0]! - flowMs / 1000)
  return [before, filled, again - 1, rows.length - 1].map((row) => (rows[Math.max(0, row)]![column]! / 2 ** 20).toFixed(0)).join(' / ')
}
