import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'

/** The process that holds an instance lock, as it wrote itself down. Enough to know it again although pids are reused. */
export interface LockHolder {
  readonly pid: number
  /** When the process started, in words only this platform compares: Linux boot id and clock ticks, elsewhere what `ps` says. */
  readonly start: string
  /** When the lock was taken, ISO 8601, for people. */
  readonly since: string
}

/** Bound on the file a holder is read from. */
export const HOLDER_SIZE_MAX = 1024

export async function describeSelf(): Promise<LockHolder> {
  return { pid: process.pid, start: (await startOf(process.pid)) ?? 'unknown', since: new Date().toISOString() }
}

export function encodeHolder(holder: LockHolder): string {
  return `${JSON.stringify(holder)}\n`
}

/** `undefined` when the text is not what {@link encodeHolder} writes, for example half of it. */
export function decodeHolder(text: string): LockHolder | undefined {
  if (!text.endsWith('\n') || text.length > HOLDER_SIZE_MAX) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || !('pid' in value) || !('start' in value) || !('since' in value)) return undefined
  const { pid, start, since } = value
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0 || typeof start !== 'string' || typeof since !== 'string') return undefined
  return { pid, start, since }
}

/** Whether that very process still runs. A process that cannot be seen from here (another container) counts as gone. */
export async function isAlive(holder: LockHolder): Promise<boolean> {
  return (await startOf(holder.pid)) === holder.start
}

/** `undefined` when there is no such process. */
async function startOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return startFromPs(pid)
  try {
    const [stat, boot] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/sys/kernel/random/boot_id', 'utf8')])
    // proc(5): field 2 is the name in parentheses and may hold spaces; 3 is the state, 22 the start in ticks since boot.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const isDead = fields[0] === 'Z' || fields[0] === 'X'
    return isDead || fields[19] === undefined ? undefined : `${boot.trim()} ${fields[19]}`
  } catch {
    return undefined
  }
}

function startFromPs(pid: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    // LC_ALL: the same words in every language and for every user of this machine.
    execFile('ps', ['-o', 'lstart=', '-p', String(pid)], { env: { PATH: process.env['PATH'] ?? '/bin:/usr/bin', LC_ALL: 'C', TZ: 'UTC' }, timeout: 5_000 }, (error, stdout) => {
      const start = stdout.trim()
      resolve(error !== null || start === '' ? undefined : start)
    })
  })
}
