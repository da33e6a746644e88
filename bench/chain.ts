import { sleep, type BenchCase, type DaemonBuild, type Goal, type ProfileTarget, type Sample, type Settings, type Subject, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { BenchDaemon, growth, pair, type DaemonOptions } from './harness/daemon.ts'
import type { Figures } from './harness/metrics.ts'
import { probeArguments } from './harness/probe-client.ts'
import { CpuWatch, totalNsPerUnit, warmedUp, type Use } from './harness/processes.ts'
import { Histogram } from './harness/stats.ts'
import type { AppReading, ChainApp, Role } from './chain-app.ts'

/**
 * The whole chain, four processes: app → IPC → daemon → UDP → daemon → IPC → app, over the built client and two real daemons.
 */

/** Compilation and slow start, in all four. */
const WARM_UP_MS = 1500
const WARM_UP_CPU_MS = 900
const COUNTED = ['packets_lost', 'frames_retransmitted', 'probes_sent', 'sends_blocked', 'udp_kernel_drops', 'drop_no_room'] as const

/** Where the daemons run, and how they are set. */
export interface Places {
  readonly a: Pick<DaemonOptions, 'prefix' | 'address' | 'set' | 'preload'>
  readonly b: Pick<DaemonOptions, 'prefix' | 'address' | 'set' | 'preload'>
}

/** Four processes with a channel through them. */
export class Chain implements AsyncDisposable {
  readonly a: BenchDaemon
  readonly b: BenchDaemon
  readonly appA: Child<ChainApp>
  readonly appB: Child<ChainApp>
  readonly #directory: string

  private constructor(directory: string, a: BenchDaemon, b: BenchDaemon, appA: Child<ChainApp>, appB: Child<ChainApp>) {
    this.#directory = directory
    this.a = a
    this.b = b
    this.appA = appA
    this.appB = appB
  }

  /** @param places the machines of the two daemons; both on this one when left out */
  static async open(tools: Tools, build: DaemonBuild, size: number, roles: { readonly a: Role; readonly b: Role }, places?: Places): Promise<Chain> {
    const { directory } = tools
    const probe = tools.profiler !== undefined
    const [a, b] = await Promise.all([BenchDaemon.start({ name: 'a', build, directory, probe, ...places?.a }), BenchDaemon.start({ name: 'b', build, directory, probe, ...places?.b })])
    const app = (name: string): Child<ChainApp> => new Child(new URL('./chain-app.js', import.meta.url), { execArgv: probe ? probeArguments(`${directory}/${name}`) : [] })
    const chain = new Chain(directory, a, b, app('app-a'), app('app-b'))
    try {
      await pair(a, b)
      await chain.appB.ask('start', { path: b.ready.socket, role: roles.b, size, peer: '' })
      await chain.appA.ask('start', { path: a.ready.socket, role: roles.a, size, peer: b.ready.peerId })
      return chain
    } catch (error) {
      await chain[Symbol.asyncDispose]()
      throw error
    }
  }

  get pids(): Record<string, number> {
    return { 'app A': this.appA.pid, 'daemon A': this.a.pid, 'daemon B': this.b.pid, 'app B': this.appB.pid }
  }

  get probes(): ProfileTarget[] {
    return [
      { name: 'daemon A', probe: this.a.probe }, { name: 'daemon B', probe: this.b.probe },
      { name: 'app A', probe: `${this.#directory}/app-a` }, { name: 'app B', probe: `${this.#directory}/app-b` },
    ]
  }

  /** Counters of both daemons together. */
  async counters(): Promise<Record<string, number>> {
    const sum: Record<string, number> = {}
    for (const counters of await Promise.all([this.a.counters(), this.b.counters()])) {
      for (const [name, value] of Object.entries(counters)) sum[name] = (sum[name] ?? 0) + value
    }
    return sum
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.appA[Symbol.asyncDispose](), this.appB[Symbol.asyncDispose]()])
    await Promise.all([this.a[Symbol.asyncDispose](), this.b[Symbol.asyncDispose]()])
  }
}

export const chain100: BenchCase = {
  name: 'chain-100', title: 'reliable messages, app → app through both daemons, as fast as they go; p50 and p99 are one way under that load',
  headline: 'messagesPerSecond', messageSize: 100,
  subjects: (settings) => [
    ...pouring(settings, 100, [{ metric: 'messagesPerSecond', atLeast: 200_000 }]),
    ...settings.builds.slice(0, 1).map((build): Subject => ({ name: oneEach(build.name), measure: (tools) => pour(tools, build, 100, small) })),
  ],
}

/** Only of the checkout: what makes datagrams small is built with it. */
const small: Places = { a: { preload: new URL('./small-datagrams.js', import.meta.url).href }, b: { preload: new URL('./small-datagrams.js', import.meta.url).href } }

export function oneEach(build: string): string {
  return `${build}, one message a datagram`
}

export const chain1k: BenchCase = {
  name: 'chain-1k', title: 'reliable messages, app → app through both daemons, as fast as they go; p50 and p99 are one way under that load',
  headline: 'messagesPerSecond', messageSize: 1024,
  subjects: (settings) => pouring(settings, 1024, []),
}

export const chainBulk: BenchCase = {
  name: 'chain-bulk', title: 'reliable messages, app → app through both daemons, as fast as they go; p50 and p99 are one way under that load',
  headline: 'megabytesPerSecond', messageSize: 65_536,
  subjects: (settings) => pouring(settings, 65_536, [{ metric: 'megabytesPerSecond', atLeast: 50 }]),
}

export const chainRtt: BenchCase = {
  name: 'chain-rtt', title: 'round trip app → app → app through both daemons, one message at a time, nothing else going on',
  headline: 'p50Us', messageSize: 100,
  subjects: ({ builds }) => builds.flatMap((build): Subject[] => [
    { name: build.name, goals: [{ metric: 'p50Us', atMost: 350 }], measure: (tools) => roundTrips(tools, build, 0) },
    { name: `${build.name}, one every 16 ms`, measure: (tools) => roundTrips(tools, build, 16) },
  ]),
}

function pouring({ builds }: Settings, size: number, goals: readonly Goal[]): Subject[] {
  return builds.map((build) => ({ name: build.name, goals, measure: (tools) => pour(tools, build, size) }))
}

async function pour(tools: Tools, build: DaemonBuild, size: number, places?: Places): Promise<Sample> {
  await using chain = await Chain.open(tools, build, size, { a: 'send', b: 'receive' }, places)
  const measured = await measure(tools, chain, chain.appB, 0)
  const rate: Figures = size < 1024 ? {} : { megabytesPerSecond: (measured.perSecond * size) / 1e6 }
  return sampleOf(measured, rate)
}

async function roundTrips(tools: Tools, build: DaemonBuild, pauseMs: number): Promise<Sample> {
  await using chain = await Chain.open(tools, build, 100, { a: 'ping', b: 'echo' })
  return sampleOf(await measure(tools, chain, chain.appA, pauseMs), {})
}

interface Measured {
  readonly perSecond: number
  readonly end: AppReading
  readonly use: Use
  /** UDP datagrams sent by both daemons, per second. */
  readonly packetsPerSecond: number
  readonly counts: Readonly<Record<string, number>>
}

/** Starts the sender, lets everything warm up, and looks at the chain before and after the time to measure. `reader`: where messages end. */
async function measure({ settings, progress, profiler }: Tools, chain: Chain, reader: Child<ChainApp>, pauseMs: number): Promise<Measured> {
  await chain.appA.ask('go', { pauseMs })
  progress('warming up')
  if (settings.quick) await sleep(300)
  else await warmedUp({ 'daemon A': chain.a.pid, 'daemon B': chain.b.pid }, WARM_UP_MS, WARM_UP_CPU_MS)
  progress('measuring')
  let measured: Measured | undefined
  const work = async (): Promise<void> => {
    const before = await chain.counters()
    const begin = await reader.ask('read')
    const watch = new CpuWatch(chain.pids)
    await sleep(settings.seconds * 1000)
    const end = await reader.ask('read')
    const count = end.count - begin.count
    const seconds = (end.atMs - begin.atMs) / 1000
    const use = watch.read(count)
    const after = await chain.counters()
    const grown = growth(before, after)
    if (count === 0) throw new Error('No message arrived.')
    const counts = Object.fromEntries(COUNTED.filter((name) => grown[name] !== undefined).map((name) => [name, grown[name]!]))
    measured = { perSecond: count / seconds, end, use, packetsPerSecond: (grown['udp_sent_datagrams'] ?? 0) / seconds, counts }
  }
  if (profiler === undefined) await work()
  else await profiler.during(chain.probes, work)
  await chain.appA.ask('halt')
  if (measured === undefined) throw new Error('Nothing was measured.')
  if (measured.end.misplaced > 0) throw new Error(`${measured.end.misplaced} messages were lost, doubled or out of order.`)
  return measured
}

function sampleOf({ perSecond, end, use: { processes, cores, others }, packetsPerSecond, counts }: Measured, figures: Figures): Sample {
  const latency = new Histogram(end.latency)
  const us = (share: number): number => (latency.percentile(share) ?? NaN) / 1000
  return {
    figures: {
      messagesPerSecond: perSecond, packetsPerSecond, cores, othersCores: others, p50Us: us(0.5), p99Us: us(0.99), cpuNsPerMessage: totalNsPerUnit(processes),
      cpuNsPerPacket: totalNsPerUnit(processes.filter(({ name }) => name.startsWith('daemon'))) * perSecond / packetsPerSecond, ...figures,
    },
    processes, counts,
  }
}
