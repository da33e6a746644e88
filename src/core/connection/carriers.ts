import type { LinkId } from '../base/domain.ts'
import { after, second, type Duration, type Now } from '../base/time.ts'
import type { DialCause, RefusalReason } from '../path/attempts.ts'
import { allows, tierOf } from '../path/path-policy.ts'
import { cancelDials, dialTcp, mayDialTcp, mayServe, overdueAt, restDials, takeDial } from './carrier-dials.ts'
import { addCarrierTarget } from './dial.ts'
import { addPath } from './paths.ts'
import { CARRIER_DIALS_MAX, PAUSE_FIRST } from './pending-dials.ts'
import { inDoubt } from './silence.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** Of more addresses than may be dialed at once, the others have their turn after this. */
const ROUND_TIME: Duration = 2 * second

/**
 * Connections as paths of a session: when one is asked for, and what is done with it. A session that is being dialed sends its A over
 * it, one that has keys only asks its peer to answer on it (PATH_CHALLENGE): both, when the paths of a live session were lost.
 */
export function onLinkDialed(state: SessionState, now: Now, token: number, link: LinkId): void {
  const address = takeDial(state, now, token, 'opened')
  if (address === undefined) {
    state.host.closeLink(link)
    return
  }
  if (state.carriers !== undefined) state.carriers.pause = PAUSE_FIRST
  const dialing = addCarrierTarget(state, now, link, address)
  const path = state.phase === 'open' && state.current !== undefined ? addPath(state, now, link, address, 0) : undefined
  path?.validation.begin()
  if (!dialing && path === undefined) state.host.closeLink(link)
}

export function onLinkDialFailed(state: SessionState, now: Now, token: number, reason: RefusalReason): void {
  if (takeDial(state, now, token, reason) === undefined) return
  state.host.counters.add('links_dial_failed')
  // Also while a live session is being dialed, as after a RESET: what fails at once would be dialed again at once, for ever.
  if (state.carriers?.pending.length === 0 && isLive(state)) restDials(state, now.mono)
}

function isLive(state: SessionState): boolean {
  return state.active !== undefined && state.current !== undefined
}

/** Dials TCP for a live session that has a reason to. Called after every change; does nothing most of the time. */
export function updateCarriers(state: SessionState, now: Now): void {
  const { active, carriers } = state
  if (active === undefined || !isLive(state) || (carriers !== undefined && carriers.pending.length > 0 && !carriers.severed)) return
  const cause = reasonToDial(state)
  if (cause === undefined) return
  if (carriers !== undefined) carriers.severed = false
  const standby = state.paths.find((path) => path?.validation.validated === true && mayServe(path, active, now.mono))
  if (standby !== undefined) {
    state.timers.setEarlier(timer.carrier, overdueAt(standby))
    return
  }
  if (carriers !== undefined && now.mono < carriers.nextAt) state.timers.setEarlier(timer.carrier, carriers.nextAt)
  else dialTcp(state, now, cause, addressesToDial(state))
}

function reasonToDial(state: SessionState): DialCause | undefined {
  const { active, policy } = state
  if (active === undefined || !mayDialTcp(state)) return undefined
  if (!active.reliable && (!allows(policy, active.kind) || tierOf(policy, 'tcp') < tierOf(policy, active.kind))) return 'policy'
  if (!inDoubt(active)) return undefined
  return active.refusedAt < Infinity ? 'refused' : 'doubt'
}

/** TCP is tried where UDP was: at the address in use first, then at the others that are known. */
function addressesToDial(state: SessionState): Uint8Array[] {
  const found: Uint8Array[] = []
  const add = (address: Uint8Array): void => {
    if (!found.some((known) => known.every((byte, i) => byte === address[i]))) found.push(address)
  }
  if (state.active?.dialable === true) add(state.active.address)
  for (const path of state.paths) if (path?.dialable === true) add(path.address)
  for (const address of state.host.addressesOf(state.peer)) add(address)
  for (const remote of state.remotes?.all ?? []) add(remote.address)
  return found
}

/** The `carrier` timer: a campaign tries TCP beside UDP, and dials that nobody answered are called off. */
export function onCarrierTimer(state: SessionState, now: Now): void {
  const { dial, carriers } = state
  const waited = carriers !== undefined && carriers.pending.length > 0
  cancelDials(state, now, 'late')
  if (dial?.rekey === false && dial.initiation !== undefined && !dial.suspended) {
    if (dial.carrierTurns < dial.addresses.length) dialTcp(state, now, 'unanswered', dial.addresses)
    dial.carrierTurns += CARRIER_DIALS_MAX
    if (dial.carrierTurns < dial.addresses.length) state.timers.setEarlier(timer.carrier, after(now.mono, ROUND_TIME))
  } else if (waited && carriers.pending.length === 0) {
    restDials(state, now.mono)
  }
  for (const { until } of state.carriers?.pending ?? []) state.timers.setEarlier(timer.carrier, until)
}
