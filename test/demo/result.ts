import type { BleResult } from './ble.ts'
import type { CutResult } from './cut.ts'
import type { Roll } from './dice.ts'
import type { Percentiles } from './figures.ts'
import type { DirectionCounts } from './lossy-proxy.ts'
import type { PlayerFigures } from './messages.ts'

export interface ChannelResult {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly doubled: number
  readonly late: number
  readonly rttP50Ms: number
  readonly rttP99Ms: number
}

export interface DemoResult {
  readonly ok: boolean
  readonly problems: readonly string[]
  readonly seed: number
  readonly seconds: number
  readonly rolls: { readonly asked: number; readonly verified: number; readonly host: number; readonly guest: number; readonly draws: number }
  readonly reliable: ChannelResult
  readonly unreliable: ChannelResult
  readonly network: { readonly datagrams: number; readonly lost: number; readonly overtaken: number }
  readonly postern: { readonly packetsLost: number; readonly framesSentAgain: number }
  /** `undefined` when UDP was left as it is. */
  readonly cut: CutResult | undefined
  /** `undefined` without `--ble`. */
  readonly ble: (BleResult & { readonly paths: Readonly<Record<string, PathResult>> }) | undefined
}

/** Round trips by one kind of path. */
export interface PathResult {
  readonly reliable: Percentiles
  readonly unreliable: Percentiles
}

export interface Sides<T> {
  readonly host: T
  readonly guest: T
}

export interface DemoObservations {
  readonly seed: number
  readonly rounds: number
  readonly seconds: number
  /** Each side's verified rolls, by round. */
  readonly rolls: Sides<readonly Roll[]>
  readonly figures: Sides<PlayerFigures>
  readonly network: readonly DirectionCounts[]
  readonly counters: Sides<Readonly<Record<string, number>>>
  readonly cut: CutResult | undefined
  readonly ble: BleResult | undefined
}

/** Judges what was seen: `ok` only if both sides verified every roll alike and no reliable message was lost, doubled or out of order. */
export function judge(seen: DemoObservations): DemoResult {
  const { host, guest } = seen.figures
  const reliable = channelResult(seen.figures, 'messages')
  const unreliable = channelResult(seen.figures, 'updates')
  const rolls = seen.rolls.host.filter((roll, round) => roll.join() === seen.rolls.guest[round]?.join())
  const problems: string[] = []
  const demand = (holds: boolean, otherwise: string): void => {
    if (!holds) problems.push(otherwise)
  }
  demand(rolls.length === seen.rounds && seen.rolls.host.length === seen.rounds && seen.rolls.guest.length === seen.rounds, `${rolls.length} of ${seen.rounds} rolls were verified by both`)
  demand(reliable.lost === 0, `${reliable.lost} reliable messages were lost`)
  demand(reliable.doubled === 0, `${reliable.doubled} reliable messages came twice`)
  demand(reliable.late === 0, `${reliable.late} reliable messages were out of order`)
  demand(host.sentMessages === guest.expectedMessages && guest.sentMessages === host.expectedMessages, 'the two sides count their messages differently')
  demand(unreliable.doubled === 0, `${unreliable.doubled} updates came twice`)
  demand(unreliable.received > 0, 'no update came')
  if (seen.cut !== undefined) {
    demand(seen.cut.toTcpMs !== undefined, 'the session did not go over to TCP when UDP was cut')
    demand(seen.cut.backMs !== undefined, 'the session did not come back to UDP')
  }
  const paths = Object.fromEntries(['ble', 'udp'].map((kind) => [kind, pathResult(seen.figures, kind)]))
  if (seen.ble !== undefined) demandUpgrade(seen.ble, paths, demand)
  demand(host.ended === 'done' && guest.ended === 'done', `the channel ended as ${host.ended} and ${guest.ended}`)
  return {
    ok: problems.length === 0, problems, seed: seen.seed, seconds: tenths(seen.seconds),
    rolls: {
      asked: seen.rounds, verified: rolls.length, host: rolls.filter(([a, b]) => a > b).length, guest: rolls.filter(([a, b]) => b > a).length,
      draws: rolls.filter(([a, b]) => a === b).length,
    },
    reliable, unreliable,
    network: {
      datagrams: sum(seen.network.map((way) => way.received)), lost: sum(seen.network.map((way) => way.lost)), overtaken: sum(seen.network.map((way) => way.overtaken)),
    },
    postern: { packetsLost: counted(seen, 'packets_lost'), framesSentAgain: counted(seen, 'frames_retransmitted') },
    cut: seen.cut, ble: seen.ble === undefined ? undefined : { ...seen.ble, paths },
  }
}

/** By Bluetooth alone first, then by UDP, and on each of them there was a game. */
function demandUpgrade(ble: BleResult, paths: Readonly<Record<string, PathResult>>, demand: (holds: boolean, otherwise: string) => void): void {
  demand(ble.healedAtRound !== undefined, 'the network never came back')
  demand(ble.datagramsBefore === 0, `${ble.datagramsBefore ?? 'nobody knows how many'} datagrams of UDP came in while there was no network`)
  demand(ble.toUdpMs !== undefined, 'the session did not go over to UDP when the network came back')
  for (const [kind, name] of [['ble', 'Bluetooth'], ['udp', 'UDP']] as const) demand((paths[kind]?.reliable.count ?? 0) > 0, `no round trip of the game was by ${name}`)
}

/** Of both sides together; percentiles are the worse side's. */
function pathResult({ host, guest }: Sides<PlayerFigures>, kind: string): PathResult {
  const worse = (what: 'messages' | 'updates'): Percentiles => {
    const both = [host.byPath[kind]?.[what], guest.byPath[kind]?.[what]].filter((side) => side !== undefined)
    return {
      count: sum(both.map(({ count }) => count)), p50Ms: tenths(Math.max(0, ...both.map(({ p50Ms }) => p50Ms))), p99Ms: tenths(Math.max(0, ...both.map(({ p99Ms }) => p99Ms))),
    }
  }
  return { reliable: worse('messages'), unreliable: worse('updates') }
}

/** Both directions together; percentiles are the worse side's. */
function channelResult({ host, guest }: Sides<PlayerFigures>, what: 'messages' | 'updates'): ChannelResult {
  const sent = what === 'messages' ? host.sentMessages + guest.sentMessages : host.sentUpdates + guest.sentUpdates
  const rtts = what === 'messages' ? [host.messageRtt, guest.messageRtt] : [host.updateRtt, guest.updateRtt]
  const received = host[what].distinct + guest[what].distinct
  return {
    sent, received, lost: sent - received, doubled: host[what].doubled + guest[what].doubled, late: host[what].late + guest[what].late,
    rttP50Ms: tenths(Math.max(...rtts.map((rtt) => rtt.p50Ms))), rttP99Ms: tenths(Math.max(...rtts.map((rtt) => rtt.p99Ms))),
  }
}

function counted({ counters }: DemoObservations, name: string): number {
  return (counters.host[name] ?? 0) + (counters.guest[name] ?? 0)
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
