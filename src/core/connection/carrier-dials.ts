import { equalAddress } from '../base/address.ts'
import { after, millisecond, never, second, toWallTime, type Duration, type Instant, type Now } from '../base/time.ts'
import type { AttemptResult, DialCause } from '../path/attempts.ts'
import type { DialDecision } from '../path/path-log.ts'
import { allows } from '../path/path-policy.ts'
import { CARRIER_DIALS_MAX, CarrierDials, PAUSE_FIRST } from './pending-dials.ts'
import type { SessionPath } from './session-path.ts'
import { inDoubt } from './silence.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** A dial that its driver did not answer by then is called off. */
const DIAL_TIME: Duration = 6 * second
const PAUSE_MAX: Duration = 60 * second
/** A connection that leaves a challenge open for this and two round trips is not counted on any more: another one is dialed beside it. */
const OVERDUE_TIME: Duration = 100 * millisecond

/** Whether this session may use TCP at all. */
export function mayDialTcp(state: SessionState): boolean {
  return state.host.config.tcpAfter < never && allows(state.policy, 'tcp')
}

/** Dials TCP to some of the addresses; those that a connection leads to already, or soon, are left out. */
export function dialTcp(state: SessionState, now: Now, cause: DialCause, addresses: readonly Uint8Array[]): void {
  const dials = state.carriers ??= new CarrierDials()
  const wanted = addresses.filter((address) => !hasCarrier(state, now.mono, address))
  for (let i = 0; i < wanted.length && dials.pending.length < CARRIER_DIALS_MAX; i++) {
    const address = wanted[(dials.turn + i) % wanted.length]!
    if (dials.pending.some(({ decision }) => equalAddress(decision.address, 0, address, 0))) continue
    const decision: DialDecision = { kind: 'dial', at: toWallTime(now.wall), transport: 'tcp', address: address.slice(), cause, outcome: undefined }
    dials.pending.push({ token: state.host.dialLink(state.slot, state.peer, decision.address), decision, until: after(now.mono, DIAL_TIME) })
    state.host.noteDecision(state.peer, decision)
    state.host.trying(state.peer)?.tried(decision.at, 'tcp', decision.address, cause)
  }
  if (addresses.length > CARRIER_DIALS_MAX) dials.turn += CARRIER_DIALS_MAX
  state.timers.setEarlier(timer.carrier, after(now.mono, DIAL_TIME))
}

function hasCarrier(state: SessionState, now: Instant, address: Uint8Array): boolean {
  const leadsThere = (to: { readonly reliable: boolean; readonly address: Uint8Array }): boolean => to.reliable && equalAddress(to.address, 0, address, 0)
  return state.paths.some((path) => path !== undefined && leadsThere(path) && (mayServe(path, state.active, now) || (path === state.active && !inDoubt(path)))) ||
    state.dial?.targets.some(leadsThere) === true
}

/** Whether a connection beside the path in use may take over from it: it is there, and has not left a question open for long. */
export function mayServe(path: SessionPath, active: SessionPath | undefined, now: Instant): boolean {
  if (!path.reliable || path === active || path.validation.unanswered) return false
  return now < overdueAt(path)
}

/** When a connection that was asked should have answered. */
export function overdueAt(path: SessionPath): Instant {
  const { rtt } = path.recovery
  return path.validation.pending ? after(path.validation.challengedAt, OVERDUE_TIME + 2 * (rtt.hasSample ? rtt.smoothed : 333 * millisecond)) : never
}

/** The dial was answered: takes it off the list. `undefined`: nobody waited for it any more. */
export function takeDial(state: SessionState, now: Now, token: number, outcome: AttemptResult): Uint8Array | undefined {
  const dials = state.carriers
  const at = dials?.pending.findIndex((pending) => pending.token === token) ?? -1
  if (dials === undefined || at < 0) return undefined
  const [taken] = dials.pending.splice(at, 1)
  const { decision } = taken!
  decision.outcome = outcome
  state.host.tried(state.peer)?.ended(toWallTime(now.wall), 'tcp', decision.address, outcome)
  return decision.address
}

/** Dials of a live session rest for a while after they led nowhere. */
export function restDials(state: SessionState, now: Instant): void {
  const dials = state.carriers
  if (dials === undefined) return
  dials.nextAt = after(now, dials.pause)
  dials.pause = Math.min(2 * dials.pause, PAUSE_MAX)
}

/** The rest of {@link restDials} is over: what led nowhere may lead somewhere now. */
export function resumeDials(state: SessionState, now: Instant): void {
  if (state.carriers === undefined) return
  state.carriers.pause = PAUSE_FIRST
  state.carriers.nextAt = now
}

/** Calls off what runs: all of it, or only what has had its time. */
export function cancelDials(state: SessionState, now: Now, which: 'all' | 'late'): void {
  for (const pending of [...(state.carriers?.pending ?? [])]) {
    const late = pending.until <= now.mono
    if (!late && which === 'late') continue
    state.host.cancelDial(pending.token)
    takeDial(state, now, pending.token, late ? 'no_answer' : 'called_off')
  }
}
