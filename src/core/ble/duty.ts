import { after, second, type Duration, type Instant } from '../base/time.ts'

/** How much a node spends on being found and on finding: `active` on mains or in somebody's hand, `saver` when the battery runs low. */
export const powerModes = ['active', 'background', 'saver'] as const
export type PowerMode = (typeof powerModes)[number]

/** `fast`: advertisements every 100 ms or so, and the receiver always on within a window. `slow`: every second, and a tenth of it. */
export type Pace = 'fast' | 'slow'

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
 * within a second. Then they look now and then. A slow advertiser is heard in any window of four seconds and more.
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
