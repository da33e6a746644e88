import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { sleep, type ProcessUse } from './case.ts'

const WARM_MAX = 3

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

/** What several processes used between two moments, and everything else on the machine beside them. */
export interface Use {
  readonly processes: readonly ProcessUse[]
  /** CPU of the processes together, in cores. */
  readonly cores: number
  /** Cores that everybody else used meanwhile: a figure measured beside a busy neighbour is not the machine's. `NaN` where it is not told. */
  readonly others: number
}

export class CpuWatch {
  readonly #pids: readonly (readonly [name: string, pid: number])[]
  readonly #before: readonly number[]
  readonly #machineBefore: number
  readonly #since: number

  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = Object.entries(pids)
    this.#before = this.#pids.map(([, pid]) => cpuNs(pid))
    this.#machineBefore = machineBusyNs()
    this.#since = performance.now()
  }

  /** @param units how much work was done meanwhile */
  read(units?: number): Use {
    const elapsedNs = (performance.now() - this.#since) * 1e6
    const machine = machineBusyNs() - this.#machineBefore
    const used = this.#pids.map(([, pid], i) => cpuNs(pid) - this.#before[i]!)
    const processes = this.#pids.map(([name, pid], i): ProcessUse => ({
      name, cores: used[i]! / elapsedNs, residentMiB: memoryOf(pid).resident / 2 ** 20, ...(units === undefined || units === 0 ? {} : { nsPerUnit: used[i]! / units }),
    }))
    const own = used.reduce((sum, ns) => sum + ns, 0)
    return { processes, cores: own / elapsedNs, others: Math.max(0, machine - own) / elapsedNs }
  }
}

export function totalNsPerUnit(processes: readonly ProcessUse[]): number {
  return processes.reduce((sum, { nsPerUnit }) => sum + (nsPerUnit ?? 0), 0)
}

/**
 * Resolves when each process has used so much CPU: the compiler of Node works by what was run, not by the clock, and on a busy machine
 * a second of the clock is little. Not before `leastMs`, and after {@link WARM_MAX} times that in any case.
 */
export async function warmedUp(pids: Readonly<Record<string, number>>, leastMs: number, cpuMs: number): Promise<void> {
  const began = performance.now()
  await sleep(leastMs)
  while (performance.now() - began < WARM_MAX * leastMs && Object.values(pids).some((pid) => cpuNs(pid) < cpuMs * 1e6)) await sleep(100)
}

/** CPU that the whole machine has used since it was started, in steps of 10 ms. */
function machineBusyNs(): number {
  if (process.platform !== 'linux') return NaN
  // user nice system idle iowait irq softirq steal …, in hundredths of a second.
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!.split(/\s+/).slice(1).map(Number)
  return (user! + nice! + system! + irq! + softirq!) * 1e7
}

/** Resolves when nobody used more than `cores` of the machine for a second, or after so many milliseconds. Whether it is quiet. */
export async function quietMachine(cores: number, patienceMs: number): Promise<boolean> {
  if (process.platform !== 'linux') return true
  for (const until = performance.now() + patienceMs; ;) {
    const before = machineBusyNs()
    const since = performance.now()
    await sleep(1000)
    if ((machineBusyNs() - before) / ((performance.now() - since) * 1e6) <= cores) return true
    if (performance.now() > until) return false
  }
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
