declare const instant: unique symbol
declare const wall: unique symbol

/** Monotonic microseconds that count sleep; a double, exact for 285 years. Differences are plain numbers of microseconds. */
export type Instant = number & { readonly [instant]: true }

/** Unix milliseconds. Only for timestamps and expiry: a jump is an input like any other. */
export type WallTime = number & { readonly [wall]: true }

/** Microseconds. */
export type Duration = number

/** Both clocks, read once per batch by the driver. The object may be reused: copy what must live. */
export interface Now {
  readonly mono: Instant
  readonly wall: WallTime
}

export const microsecond: Duration = 1
export const millisecond: Duration = 1_000
export const second: Duration = 1_000_000
export const minute: Duration = 60_000_000
export const hour: Duration = 3_600_000_000

/** Later than anything: the deadline of a timer that is not set. */
export const never: Instant = Infinity as Instant

/** Names a number of microseconds on the monotonic clock. */
export function toInstant(microseconds: number): Instant {
  return microseconds as Instant
}

/** Names a number of Unix milliseconds. */
export function toWallTime(unixMilliseconds: number): WallTime {
  return unixMilliseconds as WallTime
}

/** The instant `duration` microseconds after `from`. */
export function after(from: Instant, duration: Duration): Instant {
  return (from + duration) as Instant
}
