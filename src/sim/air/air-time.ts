import type { Scheduler } from '../scheduler.ts'

/** The clock and the timers of an air: real or virtual. */
export interface AirTime {
  /** Milliseconds of any origin, with a fraction. */
  now(): number
  /** Runs once, not before so many milliseconds; what is returned calls it off. */
  after(milliseconds: number, run: () => void): () => void
  /** Runs as soon as whoever is running now has returned, in the order in which it was asked for. */
  soon(run: () => void): void
}

/** Node's clock. Timers do not keep the process alive: what it lives for is the sockets. */
export function realAirTime(): AirTime {
  let queue: (() => void)[] = []
  const drain = (): void => {
    const due = queue
    queue = []
    for (const run of due) run()
  }
  return {
    now: () => performance.now(),
    after: (milliseconds, run) => {
      const timer = setTimeout(run, Math.ceil(milliseconds)).unref()
      return () => clearTimeout(timer)
    },
    soon: (run) => {
      if (queue.push(run) === 1) setImmediate(drain)
    },
  }
}

/** The clock of a simulated world. */
export function virtualAirTime(scheduler: Scheduler): AirTime {
  const after = (milliseconds: number, run: () => void): (() => void) => {
    const task = scheduler.at(scheduler.now + Math.max(0, milliseconds) * 1000, run)
    return () => scheduler.cancel(task)
  }
  return { now: () => scheduler.now / 1000, after, soon: (run) => void after(0, run) }
}
