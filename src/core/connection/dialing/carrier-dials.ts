import { equalAddress } from '../../base/address.ts'
import { after, millisecond, never, second, toWallTime, type Duration, type Instant, type Now } from '../../base/time.ts'
import type { AttemptResult, DialCause } from '../../path/attempts.ts'
import type { DialDecision } from '../../path/path-log.ts'
import { allows } from '../../path/path-policy.ts'
import { CARRIER_DIALS_MAX, carrierKinds, PAUSE_FIRST, type CarrierKind } from './pending-dials.ts'
import type { SessionPath } from '../paths/session-path.ts'
import { inDoubt } from '../paths/silence.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** A dial that its driver did not answer by then is called off. A radio may first have to hear the peer's next advertisement. */
const DIAL_TIME: Readonly<Record<CarrierKind, Duration>> = { tcp: 6 * second, ble: 10 * second }
const PAUSE_MAX: Duration = 60 * second
/** A connection that leaves a challenge open for this and two round trips is not counted on any more: another one is dialed beside it. */
const OVERDUE_TIME: Duration = 100 * millisecond

/** Whether this session may use TCP at all. */
export function mayDialTcp(state: SessionState): boolean {
  return state.host.config.tcpAfter < never && allows(state.policy, 'tcp')
}

/** Whether the peer is in range of the radio, and Bluetooth may be used. */
export function mayDialBle(state: SessionState): boolean {
  return state.host.config.ble && allows(state.policy, 'ble') && state.host.nearbyOf(state.peer) !== undefined
}

export function mayDial(state: SessionState, kind: CarrierKind): boolean {
  return kind === 'tcp' ? mayDialTcp(state) : mayDialBle(state)
}

/** Dials connections of one kind to some of the addresses; those that one leads to already, or soon, are left out. */
export function dialCarriers(state: SessionState, now: Now, kind: CarrierKind, cause: DialCause, addresses: readonly Uint8Array[]): void {
  const dials = state.carriersOf(kind)
  const wanted = addresses.filter((address) => !hasCarrier(state, now.mono, kind, address))
  for (let i = 0; i < wanted.length && dials.pending.length < CARRIER_DIALS_MAX; i++) {
    const address = wanted[(dials.turn + i) % wanted.length]!
    if (dials.pending.some(({ decision }) => equalAddress(decision.address, 0, address, 0))) continue
    const decision: DialDecision = { kind: 'dial', at: toWallTime(now.wall), transport: kind, address: address.slice(), cause, outcome: undefined }
    dials.pending.push({ token: state.host.dialLink(state.slot, state.peer, kind, decision.address), decision, until: after(now.mono, DIAL_TIME[kind]) })
    state.host.noteDecision(state.peer, decision)
    state.host.trying(state.peer)?.tried(decision.at, kind, decision.address, cause)
  }
  if (addresses.length > CARRIER_DIALS_MAX) dials.turn += CARRIER_DIALS_MAX
  state.timers.setEarlier(timer.carrier, after(now.mono, DIAL_TIME[kind]))
}

/** The peer in range is dialed by Bluetooth. */
export function dialBle(state: SessionState, now: Now, cause: DialCause): void {
  const address = state.host.nearbyOf(state.peer)
  if (address !== undefined && !state.host.identifying(state.peer)) dialCarriers(state, now, 'ble', cause, [address])
}

/** Whether a connection of this kind leads there. A peer's Bluetooth address is another one to each side, and changes: one connection is with the same peer. */
function hasCarrier(state: SessionState, now: Instant, kind: CarrierKind, address: Uint8Array): boolean {
  const leadsThere = (to: { readonly address: Uint8Array }): boolean => kind === 'ble' || equalAddress(to.address, 0, address, 0)
  return state.paths.some((path) => path?.kind === kind && leadsThere(path) && (mayServe(path, state.active, now) || (path === state.active && !inDoubt(path)))) ||
    (kind === 'tcp' && state.dial?.targets.some((target) => target.reliable && leadsThere(target)) === true)
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

/** The dial was answered: takes it off its list. `undefined`: nobody waited for it any more. */
export function takeDial(state: SessionState, now: Now, token: number, outcome: AttemptResult): { readonly kind: CarrierKind; readonly address: Uint8Array; readonly cause: DialCause } | undefined {
  for (const kind of carrierKinds) {
    const dials = state.carriers[kind]
    const at = dials?.pending.findIndex((pending) => pending.token === token) ?? -1
    if (dials === undefined || at < 0) continue
    const [taken] = dials.pending.splice(at, 1)
    const { decision } = taken!
    decision.outcome = outcome
    state.host.tried(state.peer)?.ended(toWallTime(now.wall), kind, decision.address, outcome)
    return { kind, address: decision.address, cause: decision.cause }
  }
  return undefined
}

/** Dials of a live session rest for a while after they led nowhere. */
export function restDials(state: SessionState, kind: CarrierKind, now: Instant): void {
  const dials = state.carriers[kind]
  if (dials === undefined) return
  dials.nextAt = after(now, dials.pause)
  dials.pause = Math.min(2 * dials.pause, PAUSE_MAX)
}

/** The rest of {@link restDials} is over: what led nowhere may lead somewhere now. */
export function resumeDials(state: SessionState, now: Instant, kinds: readonly CarrierKind[] = carrierKinds): void {
  for (const kind of kinds) {
    const dials = state.carriers[kind]
    if (dials === undefined) continue
    dials.pause = PAUSE_FIRST
    dials.nextAt = now
  }
}

/** Calls off what runs: all of it, or only what has had its time. */
export function cancelDials(state: SessionState, now: Now, which: 'all' | 'late', kinds: readonly CarrierKind[] = carrierKinds): void {
  for (const kind of kinds) {
    for (const pending of [...(state.carriers[kind]?.pending ?? [])]) {
      const late = pending.until <= now.mono
      if (!late && which === 'late') continue
      state.host.cancelDial(pending.token)
      takeDial(state, now, pending.token, late ? 'no_answer' : 'called_off')
    }
  }
}
