import { after, millisecond, never, toInstant, toWallTime, type Duration, type Instant, type Now } from '../../base/time.ts'
import { mayDialBle, mayDialTcp } from '../dialing/carrier-dials.ts'
import { reconsider, remotesOf } from './path-switch.ts'
import type { SessionPath } from './session-path.ts'
import { doubtTime, leaveAt, silentSince } from './silence.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** How often it is looked whether another path has answered by the time the silent one is to be left. */
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
  if (hasOthers(state, active) || mayDialTcp(state) || mayDialBle(state)) next = active.doubtedSince === since ? active.lookAt : after(since, doubtTime(state, active))
  state.timers.set(timer.liveness, next < goneAt ? next : goneAt)
}

/** Challenges the others, moves to one of them, or finds (`'gone'`) that there is no path left. */
export function checkLiveness(state: SessionState, now: Now): 'alive' | 'gone' {
  const active = state.active
  if (active === undefined) return 'alive'
  const since = silentSince(active)
  if (since === never) return 'alive'
  if (now.mono >= after(since, state.host.config.pathGoneAfter)) return 'gone'
  if (active.doubtedSince !== since) {
    if (now.mono < after(since, doubtTime(state, active))) return 'alive'
    doubt(state, now.mono, active, since)
    state.host.noteDecision(state.peer, { kind: 'doubt', at: toWallTime(now.wall), transport: active.kind, address: active.address, count: 1 })
  }
  reconsider(state, now)
  active.lookAt = toInstant(Math.max(leaveAt(state, active), now.mono + LOOK_TIME))
  return 'alive'
}

/** All paths are asked at once, this one too: who answers from now on counts. Addresses that are no paths now are asked soon, and TCP is dialed. */
export function doubt(state: SessionState, now: Instant, active: SessionPath, since: Instant): void {
  active.doubtedSince = since
  active.lookAt = after(now, LOOK_TIME)
  for (const path of state.paths) {
    if (path === undefined) continue
    // What the route says is not heard: then from where the peer was last heard (decision 102).
    if (path.local === 0) path.local = path.heardAt
    if (!path.validation.pending) path.validation.begin()
  }
  const remotes = remotesOf(state)
  for (const address of state.host.addressesOf(state.peer)) remotes.add(address, false)
  remotes.hurry(now)
}

function hasOthers(state: SessionState, active: SessionPath): boolean {
  for (const path of state.paths) if (path !== undefined && path !== active) return true
  return false
}
