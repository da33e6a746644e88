import { after, type Now } from '../../base/time.ts'
import { resting } from '../../flow/resting.ts'
import { freshController } from './path-switch.ts'
import { QUIET_TIME, type SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** A controller that saw no more than this go by knows nothing that a fresh one would not see within two round trips. */
const LEARNT_LEAST = 32_768

/**
 * What a quiet session gives back (decision 081): controllers that have learnt nothing, a kilobyte each. One that did learn stays: an app
 * that pauses for a minute goes on at the rate it had.
 */
export function park(state: SessionState): void {
  state.parked = true
  for (const path of state.paths) {
    if (path === undefined || path.reliable) continue
    const { recovery } = path
    if (recovery.inFlight === 0 && recovery.rate.delivered - recovery.restedAt < LEARNT_LEAST) recovery.controller = resting(recovery.controller.name)
  }
}

/** Something is to be sent, or was (an acknowledgement asks no controller), or the session lost its path. */
export function unpark(state: SessionState, now: Now): void {
  state.parked = false
  state.timers.set(timer.idle, after(now.mono, QUIET_TIME))
  for (const path of state.paths) {
    if (path === undefined || path.recovery.controller !== resting(path.recovery.controller.name)) continue
    path.recovery.controller = freshController(state, path.kind, path.size)
    path.recovery.restedAt = path.recovery.rate.delivered
  }
}
