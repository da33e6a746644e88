import { addressClass } from '../../base/address-class.ts'
import type { LinkId } from '../../base/domain.ts'
import { after, millisecond, second, type Duration, type Now } from '../../base/time.ts'
import type { DialCause, RefusalReason } from '../../path/attempts.ts'
import { allows, tierOf } from '../../path/path-policy.ts'
import { cancelDials, dialBle, dialCarriers, mayDial, mayDialBle, mayDialTcp, mayServe, overdueAt, restDials, resumeDials, takeDial } from './carrier-dials.ts'
import { addCarrierTarget, carrierDelay } from './dial.ts'
import { addPath } from '../paths/paths.ts'
import { candidatesOf } from '../paths/peer-candidates.ts'
import { CARRIER_DIALS_MAX, carrierKinds, PAUSE_FIRST, type CarrierKind } from './pending-dials.ts'
import type { SessionPath } from '../paths/session-path.ts'
import { inDoubt } from '../paths/silence.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Of more addresses than may be dialed at once, the others have their turn after this. */
const ROUND_TIME: Duration = 2 * second

/** [P] While both sides dial each other, a refused dial is repeated after 250 to 550 ms, so often in each attempt of 5 s; after 30 s three times as slowly. */
const AGAIN_MIN: Duration = 250 * millisecond
const AGAIN_SPREAD: Duration = 300 * millisecond
const AGAIN_MAX = 12
const AGAIN_DENSE: Duration = 30 * second
const AGAIN_SLOWER = 3

/**
 * Connections as paths of a session: when one is asked for, and what is done with it. A session that is being dialed sends its A over
 * it, one that has keys only asks its peer to answer on it (PATH_CHALLENGE): both, when the paths of a live session were lost.
 */
export function onLinkDialed(state: SessionState, now: Now, token: number, link: LinkId): void {
  const taken = takeDial(state, now, token, 'opened')
  if (taken === undefined) {
    state.host.closeLink(link)
    return
  }
  const { kind, address, cause } = taken
  const dials = state.carriers[kind]
  // One that is dialed for its kind alone, while another carries the traffic, has not proved by being open that it was worth it.
  if (dials !== undefined && cause !== 'better') dials.pause = PAUSE_FIRST
  const dialing = kind === 'tcp' ? addCarrierTarget(state, now, link, address) : identify(state, now, link)
  const path = state.phase === 'open' && state.current !== undefined ? addPath(state, now, link, address, 0) : undefined
  path?.validation.begin()
  if (!dialing && path === undefined) state.host.closeLink(link)
}

/** On Bluetooth nobody is named in clear: a session that has to be begun, or begun again, does it by XX. */
function identify(state: SessionState, now: Now, link: LinkId): boolean {
  const asks = state.phase === 'dialing' || state.current === undefined || state.active === undefined
  return asks && state.host.identifyLink(now, link, state.peer)
}

export function onLinkDialFailed(state: SessionState, now: Now, token: number, reason: RefusalReason): void {
  const taken = takeDial(state, now, token, reason)
  if (taken === undefined) return
  state.host.counters.add('links_dial_failed')
  // Also while a live session is being dialed, as after a RESET: what fails at once would be dialed again at once, for ever.
  if (state.carriers[taken.kind]?.pending.length === 0 && isLive(state)) restDials(state, taken.kind, now.mono)
  if (taken.kind === 'tcp' && reason === 'refused') dialAgainSoon(state, now, taken.address)
}

/**
 * A router that has not seen us go out yet may answer a SYN with a refusal, and one that hears a refusal shuts the door that our SYN opened. While the peer dials us
 * at the same time, another SYN soon meets a door that is open: the pause is random, so that two that began together do not miss each other for ever.
 */
function dialAgainSoon(state: SessionState, now: Now, address: Uint8Array): void {
  const { dial, host } = state
  if (dial?.meeting !== true || dial.quiet > 0 || dial.tcpAgain >= AGAIN_MAX) return
  dial.tcpAgain++
  dial.again.push(address)
  const pause = AGAIN_MIN + host.randomUnit() * AGAIN_SPREAD
  state.timers.setEarlier(timer.carrier, after(now.mono, now.mono - dial.startedAt < AGAIN_DENSE ? pause : AGAIN_SLOWER * pause))
}

function isLive(state: SessionState): boolean {
  return state.active !== undefined && state.current !== undefined
}

/** Dials connections for a live session that has a reason to. Called after every change; does nothing most of the time. */
export function updateCarriers(state: SessionState, now: Now): void {
  if (isLive(state)) for (const kind of carrierKinds) updateCarrier(state, now, kind)
}

function updateCarrier(state: SessionState, now: Now, kind: CarrierKind): void {
  const { active } = state
  const dials = state.carriers[kind]
  if (dials !== undefined && dials.pending.length > 0 && !dials.severed) return
  const cause = reasonToDial(state, kind)
  if (cause === undefined) return
  if (dials !== undefined) dials.severed = false
  const standby = state.paths.find((path) => path?.validation.validated === true && standsFor(path.kind, kind) && mayServe(path, active, now.mono))
  if (standby !== undefined) {
    state.timers.setEarlier(timer.carrier, overdueAt(standby))
    return
  }
  if (dials !== undefined && now.mono < dials.nextAt) {
    state.timers.setEarlier(timer.carrier, dials.nextAt)
    return
  }
  if (kind === 'ble') dialBle(state, now, cause)
  else dialCarriers(state, now, 'tcp', cause, addressesToDial(state, now))
  // The way in use is good: there is no haste.
  if (cause === 'better') restDials(state, kind, now.mono)
}

/** Whether a connection of one kind that is there makes it needless to dial one of the other: Bluetooth does not stand for TCP. */
function standsFor(there: string, wanted: CarrierKind): boolean {
  return there === wanted || there === 'tcp'
}

function reasonToDial(state: SessionState, kind: CarrierKind): DialCause | undefined {
  const { active, policy } = state
  if (active === undefined || !mayDial(state, kind)) return undefined
  const better = active.kind !== kind && tierOf(policy, kind) < tierOf(policy, active.kind)
  if ((active.kind !== kind && !allows(policy, active.kind)) || (better && policy.prefer === kind)) return 'policy'
  return reasonToDoubt(active) ?? (better ? 'better' : undefined)
}

function reasonToDoubt(active: SessionPath): DialCause | undefined {
  if (!inDoubt(active)) return undefined
  return active.refusedAt < Infinity ? 'refused' : 'doubt'
}

/** TCP is tried where UDP was: at the address in use first, then at the others that are known; then where the peer says that it listens by TCP. */
function addressesToDial(state: SessionState, now: Now): Uint8Array[] {
  const found: Uint8Array[] = []
  const add = (address: Uint8Array): void => {
    if (!found.some((known) => known.every((byte, i) => byte === address[i]))) found.push(address)
  }
  if (state.active?.dialable === true) add(state.active.address)
  for (const path of state.paths) if (path?.dialable === true) add(path.address)
  for (const address of state.host.addressesOf(state.peer)) add(address)
  for (const remote of state.remotes?.all ?? []) add(remote.address)
  for (const address of candidatesOf(state, now, 'tcp')) add(address)
  return found
}

/** Few are dialed at a time, and one in another's private network answers with silence: each of the public ones goes before one of those. */
function mixed(addresses: readonly Uint8Array[]): readonly Uint8Array[] {
  const isGlobal = (address: Uint8Array): boolean => addressClass(address) === 'global'
  const [near, far] = [addresses.filter((address) => !isGlobal(address)), addresses.filter(isGlobal)]
  return Array.from({ length: Math.max(near.length, far.length) }, (_, i) => [far[i], near[i]]).flat().filter((address) => address !== undefined)
}

/** The peer came into range of the radio, or left it. */
export function onNearby(state: SessionState, now: Now): void {
  resumeDials(state, now.mono, ['ble'])
  if (state.dial?.rekey !== false || !mayDialBle(state)) return
  state.dial.bleTried = false
  state.timers.setEarlier(timer.carrier, after(now.mono, carrierDelay(state)))
}

/** The `carrier` timer: a campaign tries connections beside UDP, and dials that nobody answered are called off. */
export function onCarrierTimer(state: SessionState, now: Now): void {
  const waited = carrierKinds.filter((kind) => (state.carriers[kind]?.pending.length ?? 0) > 0)
  cancelDials(state, now, 'late')
  if (!dialForCampaign(state, now)) for (const kind of waited) if (state.carriers[kind]?.pending.length === 0) restDials(state, kind, now.mono)
  for (const kind of carrierKinds) for (const { until } of state.carriers[kind]?.pending ?? []) state.timers.setEarlier(timer.carrier, until)
}

function dialForCampaign(state: SessionState, now: Now): boolean {
  const { dial } = state
  if (dial?.rekey !== false || dial.initiation === undefined || dial.suspended) return false
  if (mayDialTcp(state)) {
    if (dial.again.length > 0) dialCarriers(state, now, 'tcp', 'unanswered', dial.again.splice(0))
    const addresses = mixed([...dial.addresses, ...candidatesOf(state, now, 'tcp')])
    if (dial.carrierTurns < addresses.length && now.mono >= dial.carrierAt) {
      dialCarriers(state, now, 'tcp', 'unanswered', addresses)
      dial.carrierTurns += CARRIER_DIALS_MAX
      dial.carrierAt = after(now.mono, ROUND_TIME)
    }
    if (dial.carrierTurns < addresses.length) state.timers.setEarlier(timer.carrier, dial.carrierAt)
  }
  if (mayDialBle(state) && !dial.bleTried) dialBle(state, now, 'unanswered')
  dial.bleTried = true
  return true
}
