import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * One hop of local IPC between two processes, through the built server and client with credit both ways: messages a second up (to
 * the daemon) and down, the round trip of one message, and beside them bare sockets that write the same frames in 64 KiB
 * pieces, which is the limit on this machine. Needs a built dist/.
 */
export interface IpcHopOptions {
  /** Bytes of a message. */
  readonly sizes: readonly number[]
  readonly seconds: number
  /** Interleaved repetitions; medians are reported. */
  readonly rounds: number
}

export interface IpcHopFigures {
  readonly way: Way
  readonly size: number
  readonly cores: number
  readonly messagesPerSecond: number
  readonly serverCpuNs: number
  readonly clientCpuNs: number
  /** Microseconds; `ping` only. */
  readonly p50Us: number | undefined
  readonly p99Us: number | undefined
}

type Way = (typeof ways)[number]

interface Reading {
  readonly received: number
  readonly cpuNs: number
  readonly at: number
  readonly turns: readonly number[]
}

const ways = ['up', 'down', 'ping', 'bare'] as const
const child = fileURLToPath(new URL('./ipc-hop-child.mjs', import.meta.url))

export async function run(options: Partial<IpcHopOptions> = {}): Promise<readonly IpcHopFigures[]> {
  const { sizes, seconds, rounds }: IpcHopOptions = { sizes: [100, 1024], seconds: 3, rounds: 3, ...options }
  const figures: IpcHopFigures[] = []
  for (let round = 0; round < rounds; round++) {
    for (const size of sizes) for (const way of ways) figures.push(await hop(way, size, seconds))
  }
  const medians = sizes.flatMap((size) => ways.map((way) => median(figures.filter((figure) => figure.way === way && figure.size === size))))
  for (const { way, size, messagesPerSecond, serverCpuNs, clientCpuNs, p50Us, p99Us } of medians) {
    const turns = p50Us === undefined || p99Us === undefined ? '' : `, p50 ${p50Us.toFixed(0)} µs, p99 ${p99Us.toFixed(0)} µs`
    console.log(`ipc hop, ${way}: ${size} B, ${Math.round(messagesPerSecond)}/s${turns}, CPU ns per message ${Math.round(serverCpuNs)} daemon, ${Math.round(clientCpuNs)} client, 2 processes`)
  }
  return medians
}

async function hop(way: Way, size: number, seconds: number): Promise<IpcHopFigures> {
  const directory = mkdtempSync(join(tmpdir(), 'pst-'))
  const args = [way, join(directory, 's'), String(size)]
  const server = fork(child, ['server', ...args])
  const children = [server]
  try {
    await answer(server)
    const client = fork(child, ['client', ...args])
    children.push(client)
    await answer(client)
    // The first part of a second is compilation, on both sides.
    await sleep(700)
    const before = await readBoth(server, client)
    await sleep(seconds * 1000)
    return difference(way, size, before, await readBoth(server, client))
  } finally {
    for (const process of children) process.kill()
    rmSync(directory, { recursive: true, force: true })
  }
}

function difference(way: Way, size: number, before: readonly [Reading, Reading], after: readonly [Reading, Reading]): IpcHopFigures {
  // Counted where messages arrive.
  const end = way === 'up' || way === 'bare' ? 0 : 1
  const count = after[end].received - before[end].received
  const turns = [...after[1].turns].sort((a, b) => a - b)
  return {
    way, size, cores: 2,
    messagesPerSecond: count / ((after[end].at - before[end].at) / 1000),
    serverCpuNs: (after[0].cpuNs - before[0].cpuNs) / count,
    clientCpuNs: (after[1].cpuNs - before[1].cpuNs) / count,
    p50Us: turns[turns.length >> 1],
    p99Us: turns[Math.floor(turns.length * 0.99)],
  }
}

async function readBoth(server: ChildProcess, client: ChildProcess): Promise<readonly [Reading, Reading]> {
  server.send({ read: true })
  client.send({ read: true })
  return Promise.all([answer<Reading>(server), answer<Reading>(client)])
}

async function answer<T>(process: ChildProcess): Promise<T> {
  const [message] = (await once(process, 'message')) as [T]
  return message
}

function median(figures: readonly IpcHopFigures[]): IpcHopFigures {
  const sorted = [...figures].sort((a, b) => a.messagesPerSecond - b.messagesPerSecond)
  return sorted[sorted.length >> 1]!
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
