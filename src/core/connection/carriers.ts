import { addressClass } from '../base/address-class.ts'
import type { LinkId } from '../base/domain.ts'
import { after, millisecond, second, type Duration, type Now } from '../base/time.ts'
import type { DialCause, RefusalReason } from '../path/attempts.ts'
import { allows, tierOf } from '../path/path-policy.ts'
import { cancelDials, dialTcp, mayDialTcp, mayServe, overdueAt, restDials, takeDial } from './carrier-dials.ts'
import { addCarrierTarget } from './dial.ts'
import { addPath } from './paths.ts'
import { candidatesOf } from './peer-candidates.ts'
import { CARRIER_DIALS_MAX, PAUSE_FIRST } from './pending-dials.ts'
import { inDoubt } from './silence.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** Of more addresses than may be dialed at once, the others have their turn after this. */
const ROUND_TIME: Duration = 2 * second

/** [P] While both sides dial each other, a refused dial is repeated after 150 to 350 ms, so often in each attempt of 5 s. */
const AGAIN_MIN: Duration = 150 * millisecond
const AGAIN_SPREAD: Duration = 200 * millisecond
const AGAIN_MAX = 8

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
  const address = takeDial(state, now, token, reason)
  if (address === undefined) return
  state.host.counters.add('links_dial_failed')
  // Also while a live session is being dialed, as after a RESET: what fails at once would be dialed again at once, for ever.
  if (state.carriers?.pending.length === 0 && isLive(state)) restDials(state, now.mono)
  if (reason === 'refused') dialAgainSoon(state, now, address)
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
  state.timers.setEarlier(timer.carrier, after(now.mono, AGAIN_MIN + host.randomUnit() * AGAIN_SPREAD))
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
  else dialTcp(state, now, cause, addressesToDial(state, now))
}

function reasonToDial(state: SessionState): DialCause | undefined {
  const { active, policy } = state
  if (active === undefined || !mayDialTcp(state)) return undefined
  if (!active.reliable && (!allows(policy, active.kind) || tierOf(policy, 'tcp') < tierOf(policy, active.kind))) return 'policy'
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

/** The `carrier` timer: a campaign tries TCP beside UDP, and dials that nobody answered are called off. */
export function onCarrierTimer(state: SessionState, now: Now): void {
  const { dial, carriers } = state
  const waited = carriers !== undefined && carriers.pending.length > 0
  cancelDials(state, now, 'late')
  if (dial?.rekey === false && dial.initiation !== undefined && !dial.suspended) {
    if (dial.again.length > 0) dialTcp(state, now, 'unanswered', dial.again.splice(0))
    const addresses = mixed([...dial.addresses, ...candidatesOf(state, now, 'tcp')])
    if (dial.carrierTurns < addresses.length && now.mono >= dial.carrierAt) {
      dialTcp(state, now, 'unanswered', addresses)
      dial.carrierTurns += CARRIER_DIALS_MAX
      dial.carrierAt = after(now.mono, ROUND_TIME)
    }
    if (dial.carrierTurns < addresses.length) state.timers.setEarlier(timer.carrier, dial.carrierAt)
  } else if (waited && carriers.pending.length === 0) {
    restDials(state, now.mono)
  }
  for (const { until } of state.carriers?.pending ?? []) state.timers.setEarlier(timer.carrier, until)
}
