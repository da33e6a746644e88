import { uptime } from 'node:os'
import { second, toInstant, toWallTime, type Duration, type Instant, type Now, type WallTime } from '../core/base/time.ts'

/** What the clock reads; replaced in tests. */
export interface ClockSources {
  /** Monotonic microseconds. May stand still while the machine sleeps. */
  monotonic(): number
  /** Seconds since boot, sleep included. May be coarse and may be refused. */
  uptime(): number
  /** Unix milliseconds. */
  wall(): number
}

export const clockSources: ClockSources = {
  // The cheapest of Node's readings of the same clock (40 ns; hrtime() 46, hrtime.bigint() 49), in nanosecond resolution.
  monotonic: () => performance.now() * 1000,
  uptime,
  wall: () => Date.now(),
}

/** {@link ClockSources.uptime} costs 4.5 µs, so it is not read more often than this. */
const CHECK_EVERY: Duration = second
/** Uptime has steps of 10 ms on Linux and 1 s on macOS, where it also follows the wall clock's slewing: less than this is noise. */
const SLEEP_MIN: Duration = 2 * second

/**
 * Both clocks in one reading. `mono` is monotonic and counts sleep: Node's own clock (CLOCK_MONOTONIC on Linux,
 * mach_absolute_time on macOS) stands still in suspend, so after a night in a bag a session would look seconds old and its keys
 * fresh. Uptime goes on counting; when it ran ahead by {@link SLEEP_MIN} or more between two checks, the difference was sleep
 * and is added for good. Each check starts from the last one, so that slow drift between the two clocks is never taken for
 * sleep. Sleep shows within a second of the first reading after it.
 */
export class Clock {
  readonly #sources: ClockSources
  /** The one object that every reading returns. */
  readonly #now: { mono: Instant; wall: WallTime } = { mono: toInstant(0), wall: toWallTime(0) }
  #slept: Duration = 0
  #checkedAt: number
  #uptimeAtCheck: number

  constructor(sources: ClockSources = clockSources) {
    this.#sources = sources
    this.#checkedAt = sources.monotonic()
    this.#uptimeAtCheck = this.#readUptime()
  }

  /** Reads both clocks. The same object is returned every time and overwritten by the next call: copy what must live. */
  now(): Now {
    const monotonic = this.#sources.monotonic()
    if (monotonic - this.#checkedAt >= CHECK_EVERY) this.#check(monotonic)
    this.#now.mono = toInstant(monotonic + this.#slept)
    this.#now.wall = toWallTime(this.#sources.wall())
    return this.#now
  }

  /** Sleep found so far, in microseconds. */
  get slept(): Duration {
    return this.#slept
  }

  #check(monotonic: number): void {
    const uptimeNow = this.#readUptime()
    const ahead = (uptimeNow - this.#uptimeAtCheck) * second - (monotonic - this.#checkedAt)
    if (ahead >= SLEEP_MIN) this.#slept += ahead
    this.#checkedAt = monotonic
    this.#uptimeAtCheck = uptimeNow
  }

  /** NaN where the system refuses (a sandbox without /proc): then no sleep is ever found, as every comparison with NaN is false. */
  #readUptime(): number {
    try {
      return this.#sources.uptime()
    } catch {
      return NaN
    }
  }
}
