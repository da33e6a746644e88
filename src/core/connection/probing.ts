import { never, second, type Duration, type Now } from '../base/time.ts'
import { remotesOf } from './path-switch.ts'
import { addPath, findPath } from './paths.ts'
import { isFallback } from './selection.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** A connection over which something was sent this lately carries traffic. */
const BUSY_TIME: Duration = 30 * second

/** Arms the `probe` timer while a better kind of path may come back, at once when traffic begins again. */
export function scheduleProbing(state: SessionState, now: Now): void {
  if (!isFallback(state) || state.remotes === undefined) {
    state.timers.clear(timer.probe)
    return
  }
  const busy = isBusy(state, now)
  if (busy && !state.probedBusy) state.remotes.hurry(now.mono)
  state.probedBusy = busy
  const at = state.remotes.nextAt()
  if (at !== never) state.timers.setEarlier(timer.probe, at)
}

function isBusy(state: SessionState, now: Now): boolean {
  return state.queuedMessages > 0 || (state.active !== undefined && now.mono - state.active.lastSentAt < BUSY_TIME)
}

/** The `probe` timer: UDP is asked wherever the peer was or may be. One small challenge each, not repeated: the next one comes soon enough. */
export function onProbeTimer(state: SessionState, now: Now): void {
  if (!isFallback(state)) return
  for (const { address } of remotesOf(state).due(now.mono, isBusy(state, now))) {
    const link = state.host.linksTo(address)[0]
    if (link === undefined) continue
    const known = findPath(state, link, address, 0)
    if (known?.validation.pending === true) continue
    const path = known ?? addPath(state, now, link, address, 0)
    if (path === undefined) continue
    if (known === undefined) path.probing = true
    path.validation.grantProbe()
    path.validation.begin(true)
  }
}
