import type { PowerMode } from '../base/power-mode.ts'
import { after, millisecond, second, type Duration, type Instant } from '../base/time.ts'

/** `fast`: advertisements every 100 ms, and the receiver on for half of a window. `slow`: every second, and a fifth of it. */
export type Pace = 'fast' | 'slow'

/** What a pace means to a backend that may choose: milliseconds from one advertisement to the next, and the receiver's part of an open window. */
export const paceCosts: Readonly<Record<Pace, { readonly advertiseMs: number; readonly share: number }>> = {
  fast: { advertiseMs: 100, share: 0.5 },
  slow: { advertiseMs: 1000, share: 0.2 },
}

/** Listening for `window` out of every `period`; a window as long as its period never ends. */
export interface ScanDuty {
  readonly window: Duration
  readonly period: Duration
  readonly pace: Pace
}

export interface Duty {
  readonly scan: ScanDuty
  readonly advertise: Pace
}

/**
 * After a start, a change of mode, a lost network or a wish of the user, for {@link SEARCH_TIME}, both sides look hard: who comes into range is found
 * within a second. Then they look now and then. A slow advertiser is heard in every window, as the receiver is on for longer than a second at its beginning.
 */
const duties: Readonly<Record<PowerMode, { readonly searching: Duty; readonly calm: Duty }>> = {
  active: {
    searching: { scan: { window: 10 * second, period: 10 * second, pace: 'fast' }, advertise: 'fast' },
    calm: { scan: { window: 6 * second, period: 20 * second, pace: 'slow' }, advertise: 'slow' },
  },
  background: {
    searching: { scan: { window: 10 * second, period: 20 * second, pace: 'fast' }, advertise: 'fast' },
    calm: { scan: { window: 5 * second, period: 60 * second, pace: 'slow' }, advertise: 'slow' },
  },
  saver: {
    searching: { scan: { window: 5 * second, period: 30 * second, pace: 'slow' }, advertise: 'slow' },
    calm: { scan: { window: 4 * second, period: 300 * second, pace: 'slow' }, advertise: 'slow' },
  },
}

export const SEARCH_TIME: Duration = 30 * second

export function dutyOf(mode: PowerMode, searching: boolean): Duty {
  return duties[mode][searching ? 'searching' : 'calm']
}

/** Whether the window that began its first period at `from` is open, and when that changes. */
export function scanWindow({ window, period }: ScanDuty, from: Instant, now: Instant): { readonly open: boolean; readonly until: Instant } {
  const begun = after(from, Math.floor((now - from) / period) * period)
  const open = now < after(begun, window)
  return { open, until: after(begun, open && window < period ? window : period) }
}

/** What a duty costs, and what one has of it. */
export interface DutyCost {
  /** From one advertisement to the next. */
  readonly advertiseMs: number
  /** Share of the time that the receiver is on, 0 … 1. */
  readonly listens: number
  /** Who comes into range, and shows itself as often, is found within. */
  readonly found: Duration
}

export function dutyCost(mode: PowerMode, searching: boolean): DutyCost {
  const { scan, advertise } = dutyOf(mode, searching)
  // A window that never ends finds at the next advertisement; otherwise the worst is to come just when one has closed.
  const rest = scan.period - scan.window
  const heard = millisecond * (rest === 0 ? 2 : 1) * paceCosts[advertise].advertiseMs
  return { advertiseMs: paceCosts[advertise].advertiseMs, listens: (scan.window / scan.period) * paceCosts[scan.pace].share, found: rest + heard }
}
