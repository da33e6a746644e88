import { join } from 'node:path'
import { sleep, type BenchCase, type Sample, type Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import { CpuWatch, totalNsPerUnit } from './harness/processes.ts'
import { Histogram } from './harness/stats.ts'
import type { IpcHopEnd, IpcWay } from './ipc-hop-child.ts'

const SIZE = 100
/** The first part of a second is compilation, on both sides. */
const WARM_UP_MS = 700
const ways: readonly (readonly [way: IpcWay, name: string])[] = [['up', 'to the daemon'], ['down', 'from the daemon'], ['ping', 'round trip'], ['bare', 'bare sockets']]

/**
 * One hop of local IPC between two processes, through the built server and client with credit both ways; beside them bare
 * sockets that write the same frames in 64 KiB pieces, which is the limit on this machine.
 */
export const ipcHop: BenchCase = {
  name: 'ipc-hop', title: 'messages over one hop of local IPC between two processes', headline: 'messagesPerSecond', messageSize: SIZE, once: true,
  subjects: () => ways.map(([way, name]) => ({ name, measure: (tools) => measure(tools, way) })),
}

async function measure({ settings, directory }: Tools, way: IpcWay): Promise<Sample> {
  await using daemon = newEnd()
  await using client = newEnd()
  const end = { way, path: join(directory, 's'), size: SIZE }
  await daemon.ask('listen', end)
  await client.ask('dial', end)
  await sleep(WARM_UP_MS)
  // Counted where messages arrive.
  const reader = way === 'up' || way === 'bare' ? daemon : client
  const before = await reader.ask('read')
  const watch = new CpuWatch({ daemon: daemon.pid, client: client.pid })
  await sleep(settings.seconds * 500)
  const after = await reader.ask('read')
  const count = after.received - before.received
  const { processes, cores, others } = watch.read(count)
  const turns = new Histogram(after.latency)
  const [p50, p99] = [turns.percentile(0.5), turns.percentile(0.99)]
  return {
    figures: {
      messagesPerSecond: count / ((after.atMs - before.atMs) / 1000), cores, othersCores: others, cpuNsPerMessage: totalNsPerUnit(processes),
      ...(p50 === undefined || p99 === undefined ? {} : { p50Us: p50 / 1000, p99Us: p99 / 1000 }),
    },
    processes,
  }
}

function newEnd(): Child<IpcHopEnd> {
  return new Child(new URL('./ipc-hop-child.js', import.meta.url))
}
