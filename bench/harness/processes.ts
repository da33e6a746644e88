import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { ProcessUse } from './case.ts'

/**
 * Nanoseconds of CPU that a process has used, all its threads together: the compiler and the collector of Node run beside its main
 * thread. Linux counts them exactly (`schedstat`); elsewhere `ps` tells hundredths of a second.
 */
export function cpuNs(pid: number): number {
  if (process.platform !== 'linux') return psCpuNs(pid)
  let total = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    } catch {
      // A thread that just ended: what it used is lost to this reading, as to the next.
    }
  }
  return total
}

export interface Memory {
  /** Bytes in RAM. */
  readonly resident: number
  /** … without what is mapped from files, which processes share; the same where the system does not tell. */
  readonly anonymous: number
}

export function memoryOf(pid: number): Memory {
  if (process.platform !== 'linux') {
    const resident = Number(ps(pid, 'rss')) * 1024
    return { resident, anonymous: resident }
  }
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN) * 1024
  return { resident: field('VmRSS'), anonymous: field('RssAnon') }
}

/** CPU of several processes between two moments. */
export class CpuWatch {
  readonly #pids: readonly (readonly [name: string, pid: number])[]
  readonly #before: readonly number[]
  readonly #since: number

  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = Object.entries(pids)
    this.#before = this.#pids.map(([, pid]) => cpuNs(pid))
    this.#since = performance.now()
  }

  /** @param units how much work was done meanwhile */
  read(units?: number): ProcessUse[] {
    const elapsedNs = (performance.now() - this.#since) * 1e6
    return this.#pids.map(([name, pid], i) => {
      const used = cpuNs(pid) - this.#before[i]!
      const use = { name, cores: used / elapsedNs, residentMiB: memoryOf(pid).resident / 2 ** 20 }
      return units === undefined || units === 0 ? use : { ...use, nsPerUnit: used / units }
    })
  }
}

export function totalCores(processes: readonly ProcessUse[]): number {
  return processes.reduce((sum, { cores }) => sum + cores, 0)
}

export function totalNsPerUnit(processes: readonly ProcessUse[]): number {
  return processes.reduce((sum, { nsPerUnit }) => sum + (nsPerUnit ?? 0), 0)
}

function ps(pid: number, column: string): string {
  return execFileSync('ps', ['-o', `${column}=`, '-p', String(pid)], { encoding: 'utf8' }).trim()
}

/** `[[dd-]hh:]mm:ss[.cc]` */
function psCpuNs(pid: number): number {
  const [clock = '', days = '0'] = ps(pid, 'time').split('-').reverse()
  const seconds = clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)
  return (Number(days) * 86_400 + seconds) * 1e9
}
