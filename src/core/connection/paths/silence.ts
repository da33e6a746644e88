import { after, millisecond, never, second, type Duration, type Instant } from '../../base/time.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from '../state.ts'

/** Nothing acknowledged on the path in use for max(3 PTO, this): the others are challenged (WIRE.md §6). */
const DOUBT_TIME: Duration = 500 * millisecond
/** … and for max(3 PTO, this): another one that answered meanwhile takes over. The draft's 2 s are the time in all, dialing TCP included (decision 035). */
const BLACK_HOLE_TIME: Duration = second

/** Since when nothing shows that the path works. An address that never proved itself is silent from the start. */
export function silentSince(path: SessionPath): Instant {
  return path.validation.validated ? path.recovery.silentSince : path.openedAt
}

/** How long a path may be silent before others are asked. */
export function doubtTime(state: SessionState, path: SessionPath): Duration {
  return Math.max(3 * path.recovery.rtt.pto(state.limits.maxAckDelay), DOUBT_TIME)
}

/** When a path in use has been silent for so long that another one which answers takes over. */
export function leaveAt(state: SessionState, path: SessionPath): Instant {
  const since = silentSince(path)
  return since === never ? never : after(since, Math.max(BLACK_HOLE_TIME, 3 * path.recovery.rtt.pto(state.limits.maxAckDelay)))
}

/** Whether the others were asked because of the silence that still lasts, or the system refuses to send. */
export function inDoubt(path: SessionPath): boolean {
  const since = silentSince(path)
  return path.refusedAt !== never || (since !== never && path.doubtedSince === since)
}
