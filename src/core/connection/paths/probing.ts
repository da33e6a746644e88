import type { LinkId } from '../../base/domain.ts'
import { never, second, type Duration, type Now } from '../../base/time.ts'
import { allows } from '../../path/path-policy.ts'
import { sameHost } from '../../path/remotes.ts'
import { remotesOf } from './path-switch.ts'
import { addPath, findPath } from './paths.ts'
import { isFallback } from './selection.ts'
import type { SessionPath } from './session-path.ts'
import { inDoubt } from './silence.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** A connection over which something was sent this lately carries traffic. */
const BUSY_TIME: Duration = 30 * second

/** Arms the `probe` timer while a better kind of path may come back, at once when traffic begins again. */
export function scheduleProbing(state: SessionState, now: Now): void {
  if (!mayProbe(state) || state.remotes === undefined) {
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

/** Whether UDP is asked for elsewhere: it could carry what a connection carries now, or what the address in use does not. */
function mayProbe(state: SessionState): boolean {
  const { active, policy } = state
  return isFallback(state) || (active !== undefined && inDoubt(active) && allows(policy, 'udp'))
}

/** The peer asks us at an address of its own, or of a host that it has a proven path on, while a connection carries the traffic: that way may work again, so it is asked at once. */
export function onPeerProbes(state: SessionState, path: SessionPath): void {
  if (path.reliable || path.validation.wanted || path.validation.pending || !isFallback(state)) return
  const known = state.remotes?.find(path.address)?.proven === true || state.paths.some((other) => other?.validation.validated === true && sameHost(other.address, path.address))
  if (!known) return
  path.validation.grantProbe()
  path.validation.begin(true)
}

/** The `probe` timer: UDP is asked wherever the peer was or may be. One small challenge each, not repeated: the next one comes soon enough. */
export function onProbeTimer(state: SessionState, now: Now): void {
  if (!mayProbe(state)) return
  for (const { address, proven } of remotesOf(state).due(now.mono, isBusy(state, now))) {
    const link = state.host.linksTo(address)[0]
    if (link !== undefined) probeAt(state, now, link, address, proven)
  }
}

/** One small challenge over this link. `proven`: the peer answered there before; else the network there is asked by few. */
export function probeAt(state: SessionState, now: Now, link: LinkId, address: Uint8Array, proven: boolean): void {
  if (!proven && !state.host.mayProbe(now, address)) return
  const known = findPath(state, link, address, 0)
  // What is asked with more than a probe, as the path in use when it is in doubt, is not asked besides.
  if (known?.validation.pending === true && !known.probing) return
  const path = known ?? addPath(state, now, link, address, 0)
  if (path === undefined) return
  if (known === undefined) path.probing = true
  path.validation.grantProbe()
  path.validation.begin(true)
}
