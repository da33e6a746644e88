import { after, millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import { switchTo } from './paths.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** Nothing acknowledged on the path in use for max(3 PTO, this): the others are challenged (WIRE.md §6). */
const DOUBT_TIME: Duration = 500 * millisecond
/** … and for max(3 PTO, this): a validated other one takes over. */
const BLACK_HOLE_TIME: Duration = 2 * second
/** How often it is looked whether one has answered by then. */
const LOOK_TIME: Duration = 100 * millisecond

/**
 * Liveness is judged on the data path. Sets when the path in use is next to be looked at: while data is outstanding and
 * nothing is acknowledged, or while it has yet to prove itself.
 */
export function nextLivenessCheck(state: SessionState): void {
  const active = state.active
  const since = active === undefined ? never : silentSince(active)
  if (active === undefined || since === never) {
    state.timers.clear(timer.liveness)
    return
  }
  const goneAt = after(since, state.host.config.pathGoneAfter)
  let next = goneAt
  if (hasOthers(state, active)) next = active.doubtedSince === since ? active.lookAt : after(since, doubtTime(state, active))
  state.timers.set(timer.liveness, next < goneAt ? next : goneAt)
}

/** Challenges the others, moves to one of them, or finds (`'gone'`) that there is no path left. */
export function checkLiveness(state: SessionState, now: Now): 'alive' | 'gone' {
  const active = state.active
  if (active === undefined) return 'alive'
  const since = silentSince(active)
  if (since === never) return 'alive'
  if (now.mono >= after(since, state.host.config.pathGoneAfter)) return 'gone'
  if (now.mono < after(since, doubtTime(state, active))) return 'alive'
  if (active.doubtedSince !== since) {
    active.doubtedSince = since
    for (const path of state.paths) if (path !== undefined && path !== active && !path.validation.pending) path.validation.begin()
  }
  const leaveAt = after(since, Math.max(BLACK_HOLE_TIME, 3 * active.recovery.rtt.pto(state.limits.maxAckDelay)))
  if (now.mono >= leaveAt) {
    const other = state.paths.find((path) => path !== active && path?.validation.sound === true)
    if (other !== undefined) {
      switchTo(state, now, other, 'black_hole')
      return 'alive'
    }
  }
  active.lookAt = toInstant(Math.max(leaveAt, now.mono + LOOK_TIME))
  return 'alive'
}

/** Since when nothing shows that the path works. An address that never proved itself is silent from the start. */
function silentSince(path: SessionPath): Instant {
  return path.validation.validated ? path.recovery.silentSince : path.openedAt
}

function doubtTime(state: SessionState, active: SessionPath): Duration {
  return Math.max(3 * active.recovery.rtt.pto(state.limits.maxAckDelay), DOUBT_TIME)
}

function hasOthers(state: SessionState, active: SessionPath): boolean {
  for (const path of state.paths) if (path !== undefined && path !== active) return true
  return false
}
