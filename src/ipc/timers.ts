import { performance } from 'node:perf_hooks'
import { toInstant, type Instant } from '../core/base/time.ts'

/** Time as the server sees it, so that tests need not sleep. */
export interface IpcTimers {
  now(): Instant
  /** Calls back once, not before `instant`, unless the returned function was called. */
  at(instant: Instant, callback: () => void): () => void
  /** Calls back when the input at hand was read: answers to all of it go out in one write. */
  defer(callback: () => void): void
}

/** The machine's clock. Its timers do not keep the process alive: the sockets do. */
export const systemTimers: IpcTimers = {
  now: () => toInstant(performance.now() * 1000),
  at: (instant, callback) => {
    const timer = setTimeout(callback, Math.max(0, Math.ceil(instant / 1000 - performance.now())))
    timer.unref()
    return () => clearTimeout(timer)
  },
  defer: (callback) => {
    setImmediate(callback)
  },
}
