import { ADDRESS_SIZE, equalAddress } from '../../base/address.ts'
import { isReliable, type LinkId } from '../../base/domain.ts'
import { after, millisecond, never, second, toInstant, toWallTime, type Duration, type Instant, type Now } from '../../base/time.ts'
import type { Initiation } from '../../session/initiation.ts'
import { allows, tierOf, type PathPolicy } from '../../path/path-policy.ts'
import { cancelDials, mayDialBle, mayDialTcp } from './carrier-dials.ts'
import { Dial, type DialTarget } from './dial-campaign.ts'
import { callScout, endScout, isDoor, openDoors, SCOUTED_MAX, ttlTo } from './doors.ts'
import type { Keys } from '../keys/keys.ts'
import type { SessionState } from '../state.ts'
import { carrierKinds } from './pending-dials.ts'
import { timer } from '../timers.ts'

/** WIRE.md §3.7: the same message A goes out at these times of an attempt, ± 10 %. */
const COPY_TIMES: readonly Duration[] = [0, 500 * millisecond, 1500 * millisecond, 3500 * millisecond]
const COPY_JITTER = 0.1
/** [WG] RekeyTimeoutJitterMaxMs. */
const ATTEMPT_JITTER: Duration = 334 * millisecond
/** Addresses of one dial; more are a stranger's wish and cut, the first ones asked for count. */
export const TARGETS_MAX = 16
/** Copies of A to an address that never answered; after them one per attempt. */
const COPIES_WITHOUT_ANSWER = 5
/** After a COOKIE the same A goes again at once, at most this often per address. */
const COOKIE_RESEND: Duration = second
/** WIRE.md §3.10: handshakes because of a RESET are at least this far apart. */
const RESET_PAUSE: Duration = 5 * second
/** Other addresses of a handshake that are kept as paths to try. */
const OTHERS_MAX = 4
/** Where TCP is not dialed at all, Bluetooth waits so long for UDP. */
const ANSWER_TIME: Duration = second
/** A dial that gave way to the peer's own waits this long for it (WIRE.md §3.9). */
const SUSPEND_TIME: Duration = 10 * second

/** Starts or refreshes the campaign: new targets and demand make it loud again. Returns whether there is anywhere to go. */
export function beginDial(state: SessionState, now: Now, addresses: readonly Uint8Array[], rekey: boolean, meeting = false): boolean {
  let dial = state.dial
  if (dial === undefined || (dial.rekey && !rekey)) {
    if (dial !== undefined) endDial(state, now)
    dial = new Dial(now.mono, rekey, !rekey && state.early)
    state.dial = dial
  }
  if (meeting) beginMeeting(state, now, dial)
  const wanted = addresses.slice(0, TARGETS_MAX)
  noteAddresses(dial, wanted)
  addTargets(state, now, dial, wanted)
  callScout(state, dial)
  if (dial.targets.length === 0 && (rekey || ((dial.addresses.length === 0 || !mayDialTcp(state)) && !mayDialBle(state)))) {
    endDial(state, now)
    return false
  }
  if (dial.quiet > 0) {
    dial.quiet = 0
    dial.startedAt = now.mono
    // Something has changed: what was asked in vain before says little of now.
    for (const target of dial.targets) target.copies = 0
    dropAttempt(state, dial)
  }
  if (dial.initiation === undefined && !dial.suspended) state.timers.set(timer.dial, now.mono)
  return true
}

/** Who was refused before the peer dialed too may be let in now. */
function beginMeeting(state: SessionState, now: Now, dial: Dial): void {
  dial.meeting = true
  dial.tcpAgain = 0
  dial.carrierTurns = 0
  dial.carrierAt = now.mono
  if (dial.initiation !== undefined && mayDialTcp(state)) state.timers.setEarlier(timer.carrier, after(now.mono, carrierDelay(state)))
}

function addTargets(state: SessionState, now: Now, dial: Dial, wanted: readonly Uint8Array[]): void {
  for (const address of wanted) {
    const target = addTarget(state, dial, address, wanted)
    // An attempt is under way: an address that was learnt just now need not wait for the next copy.
    if (target !== undefined && dial.initiation !== undefined && !dial.suspended) sendTo(state, now, dial.initiation, target)
  }
}

/** A socket was opened: addresses that could not be reached before may be now. */
export function onSocketOpened(state: SessionState, now: Now): void {
  if (state.dial !== undefined) addTargets(state, now, state.dial, state.dial.addresses)
  state.remotes?.hurry(now.mono)
}

/** The user's wish changed: A goes only where it may go now. */
export function applyToDial(state: SessionState, now: Now, policy: PathPolicy): void {
  const { dial } = state
  if (dial === undefined) return
  for (let i = dial.targets.length - 1; i >= 0; i--) {
    const { reliable, link } = dial.targets[i]!
    if (allows(policy, reliable ? 'tcp' : 'udp')) continue
    dial.targets.splice(i, 1)
    if (reliable && !state.paths.some((path) => path?.link === link)) state.host.closeLink(link)
  }
  cancelDials(state, now, 'all', carrierKinds.filter((kind) => !allows(policy, kind)))
  beginDial(state, now, dial.addresses, false)
  dial.carrierTurns = 0
  dial.carrierAt = now.mono
  dial.bleTried = false
  if (carrierDelay(state) === 0) hurryCarriers(state, now)
}

/** The newest wishes first; of 16, older ones make room. */
function noteAddresses(dial: Dial, wanted: readonly Uint8Array[]): void {
  const older = dial.addresses.filter((known) => !wanted.some((address) => equalAddress(known, 0, address, 0)))
  dial.addresses = [...wanted.map((address) => address.slice(0, ADDRESS_SIZE)), ...older].slice(0, TARGETS_MAX)
}

/** A connection that was dialed for this campaign is open: A goes over it. */
export function addCarrierTarget(state: SessionState, now: Now, link: LinkId, address: Uint8Array): boolean {
  const { dial } = state
  if (dial === undefined || dial.rekey) return false
  const target: DialTarget = { link, address: address.slice(0, ADDRESS_SIZE), reliable: true, copies: 0, copiesNow: 0, resentAt: never, door: false, scout: false }
  dial.targets.push(target)
  if (dial.initiation !== undefined && !dial.suspended) sendTo(state, now, dial.initiation, target)
  return true
}

/**
 * The peer was heard over this link from this address: A goes there as well.
 *
 * @param copies how many at most, without an answer
 */
export function dialThrough(state: SessionState, now: Now, link: LinkId, address: Uint8Array, copies: number = COPIES_WITHOUT_ANSWER): void {
  const { dial } = state
  if (dial === undefined || dial.rekey || !allows(state.policy, 'udp')) return
  if (dial.targets.some((target) => !target.reliable && target.link === link && equalAddress(target.address, 0, address, 0))) return
  const oldest = dial.targets.filter((target) => !target.reliable).length >= TARGETS_MAX ? dial.targets.findIndex((target) => !target.reliable) : -1
  if (oldest >= 0) dial.targets.splice(oldest, 1)
  const target: DialTarget = { link, address: address.slice(0, ADDRESS_SIZE), reliable: false, copies: COPIES_WITHOUT_ANSWER - copies, copiesNow: 0, resentAt: never, door: false, scout: dial.scout === link }
  dial.targets.push(target)
  if (dial.initiation !== undefined && !dial.suspended) sendTo(state, now, dial.initiation, target)
}

/** The scout is there: it asks at the addresses that the usual socket only opens a door to. */
export function onScoutOpened(state: SessionState, now: Now, link: LinkId): boolean {
  const { dial } = state
  if (dial?.early !== true || dial.scout !== undefined) return false
  dial.scout = link
  for (const { address } of dial.targets.filter(({ door }) => door).slice(0, SCOUTED_MAX)) dialThrough(state, now, link, address)
  return true
}

/** Somebody is there, and answers the scout, or dials it: a new attempt, from the usual socket, since the session shall be there. */
export function onScoutHeard(state: SessionState, now: Now): void {
  const { dial } = state
  if (dial?.scout === undefined) return
  openDoors(state, dial)
  if (dial.suspended) return
  dropAttempt(state, dial)
  onDialTimer(state, now)
}

/** The connection is gone, and what was sent over it with it. */
export function dropTarget(state: SessionState, link: LinkId): void {
  const targets = state.dial?.targets
  const at = targets?.findIndex((target) => target.reliable && target.link === link) ?? -1
  if (at >= 0) targets!.splice(at, 1)
}

/** Adds a target and returns it; of 16, one that is no longer `wanted` makes room. `undefined`: it is one, or cannot be reached. */
function addTarget(state: SessionState, dial: Dial, address: Uint8Array, wanted: readonly Uint8Array[]): DialTarget | undefined {
  const isTarget = (target: DialTarget, candidate: Uint8Array): boolean => equalAddress(target.address, 0, candidate, 0)
  const sockets = dial.targets.filter((target) => !target.reliable)
  if (sockets.some((target) => isTarget(target, address))) return undefined
  const { active } = state
  // New keys for a session on a connection: nobody listens at the far end's own port.
  const own = dial.rekey && active?.reliable === true && equalAddress(active.address, 0, address, 0)
  const link = own ? active.link : allows(state.policy, 'udp') ? state.host.linksTo(address)[0] : undefined
  if (link === undefined) return undefined
  if (sockets.length >= TARGETS_MAX) dial.targets.splice(dial.targets.findIndex((target) => !target.reliable && !wanted.some((candidate) => isTarget(target, candidate))), 1)
  const target: DialTarget = { link, address: address.slice(0, ADDRESS_SIZE), reliable: own, copies: 0, copiesNow: 0, resentAt: never, door: !own && dial.scoutToken === undefined && isDoor(state, dial, link, address), scout: false }
  dial.targets.push(target)
  return target
}

/**
 * The peer's own A came from there, and waits for ours: so ours goes where that one came from. It may not have been there, or not got in: a router
 * that has just let the other one out lets ours in. One copy, as long as the answer that the other A would have had.
 */
export function dialBack(state: SessionState, now: Now, link: LinkId, address: Uint8Array): void {
  const { dial } = state
  const kind = state.host.link(link)?.kind
  if (dial?.initiation === undefined || dial.rekey || dial.suspended || kind === undefined || !allows(state.policy, kind)) return
  const known = dial.targets.find((target) => target.link === link && equalAddress(target.address, 0, address, 0))
  if (known !== undefined) {
    known.door = false
    sendTo(state, now, dial.initiation, known)
  }
  else if (isReliable(kind)) addCarrierTarget(state, now, link, address)
  else if (kind === 'udp') dialThrough(state, now, link, address, 1)
}

/** The `dial` timer: the next copy, the next attempt, or the end of loudness. */
export function onDialTimer(state: SessionState, now: Now): void {
  const dial = state.dial
  if (dial === undefined) return
  if (dial.suspended) {
    dial.suspended = false
    dropAttempt(state, dial)
  }
  if (dial.initiation === undefined || dial.step >= COPY_TIMES.length) {
    beginAttempt(state, now, dial)
    return
  }
  sendCopies(state, now, dial, dial.initiation)
}

function beginAttempt(state: SessionState, now: Now, dial: Dial): void {
  dropAttempt(state, dial)
  const config = state.host.config
  if (dial.quiet === 0 && now.mono - dial.startedAt >= config.giveUpAfter) {
    dial.quiet = config.quietFirst
    openDoors(state, dial)
    state.host.dialGaveUp(now, state.peer)
    state.timers.set(timer.dial, after(now.mono, dial.quiet))
    return
  }
  dial.initiation = state.host.beginInitiation(now, state.peer)
  if (dial.initiation === undefined) {
    endDial(state, now)
    return
  }
  dial.attemptAt = now.mono
  dial.step = 0
  dial.carrierTurns = 0
  dial.carrierAt = now.mono
  dial.tcpAgain = 0
  dial.again = []
  dial.bleTried = false
  if (!dial.rekey) state.host.tried(state.peer)?.unanswered(toWallTime(now.wall), 'udp')
  for (const target of dial.targets) target.copiesNow = 0
  sendCopies(state, now, dial, dial.initiation)
  if (!dial.rekey && (mayDialTcp(state) || mayDialBle(state))) state.timers.setEarlier(timer.carrier, after(now.mono, carrierDelay(state)))
}

/** How long UDP may take to answer. Where it may not be used, has nowhere to go, or seems not to work, connections need not wait for it. */
export function carrierDelay(state: SessionState): Duration {
  const { policy, lastCarrier, host, dial } = state
  const hopeless = lastCarrier || host.udpBlocked || !allows(policy, 'udp') || carrierKinds.some((kind) => tierOf(policy, kind) < tierOf(policy, 'udp')) || dial?.targets.length === 0
  return hopeless ? 0 : mayDialTcp(state) ? host.config.tcpAfter : ANSWER_TIME
}

/** UDP to one of the addresses is refused by the system: connections are tried at once. */
export function hurryCarriers(state: SessionState, now: Now): void {
  if (state.dial?.rekey === false && state.dial.initiation !== undefined && (mayDialTcp(state) || mayDialBle(state))) state.timers.setEarlier(timer.carrier, now.mono)
}

function sendCopies(state: SessionState, now: Now, dial: Dial, initiation: Initiation): void {
  if (dial.early && dial.step > 0 && dial.scout === undefined) openDoors(state, dial)
  for (const target of dial.targets) {
    if (target.copiesNow > 0 && (target.reliable || target.copies >= COPIES_WITHOUT_ANSWER)) continue
    sendTo(state, now, initiation, target)
  }
  dial.step++
  if (dial.step < COPY_TIMES.length) {
    const jitter = 1 + COPY_JITTER * (2 * state.host.randomUnit() - 1)
    state.timers.set(timer.dial, toInstant(dial.attemptAt + COPY_TIMES[dial.step]! * jitter))
    return
  }
  const { attemptTime, quietMax } = state.host.config
  if (dial.quiet > 0) dial.quiet = Math.min(2 * dial.quiet, quietMax)
  const pause = Math.max(attemptTime, dial.quiet)
  state.timers.set(timer.dial, toInstant(dial.attemptAt + pause + state.host.randomUnit() * ATTEMPT_JITTER))
}

function sendTo(state: SessionState, now: Now, initiation: Initiation, target: DialTarget): void {
  // The socket may have been opened anew since.
  if (!target.reliable && !target.scout && state.host.link(target.link) === undefined) target.link = state.host.linksTo(target.address)[0] ?? target.link
  const facts = state.host.link(target.link)
  if (facts === undefined) return
  const ttl = state.dial === undefined ? 0 : ttlTo(now.mono, state.dial, target)
  if (state.dial?.rekey === false && !target.reliable && ttl === 0) state.host.trying(state.peer)?.tried(toWallTime(now.wall), facts.kind, target.address, 'dial')
  target.copies++
  target.copiesNow++
  for (const datagram of initiation.datagrams(now.mono, target.address, facts.datagramMax)) state.host.sendRaw(target.link, target.address, datagram, 0, ttl)
}

/** A COOKIE came from `address`: A goes there once more, with it. */
export function onCookie(state: SessionState, now: Now, address: Uint8Array, bytes: Uint8Array, offset: number): boolean {
  const dial = state.dial
  // A connection proves its address by existing: nobody need send a COOKIE over it.
  const target = dial?.targets.find((candidate) => !candidate.reliable && equalAddress(candidate.address, 0, address, 0))
  if (dial?.initiation === undefined || target === undefined) return false
  if (!dial.initiation.acceptCookie(now.mono, target.address, bytes, offset)) return false
  target.copies = 0
  if (target.resentAt !== never && now.mono - target.resentAt < COOKIE_RESEND) return true
  target.resentAt = now.mono
  sendTo(state, now, dial.initiation, target)
  return true
}

/**
 * The peer says that it does not know these keys. Nothing ends: a handshake shows whether it still has the session. False when
 * they are not those we seal with (previous ones may be forgotten over there a moment earlier), when a handshake is under way,
 * or when one was begun for the same reason less than 5 s ago.
 */
export function onReset(state: SessionState, now: Now, keys: Keys): boolean {
  if (state.phase !== 'open' || keys !== state.current || state.active === undefined || state.dial !== undefined) return false
  if (state.resetAt !== never && now.mono < after(state.resetAt, RESET_PAUSE)) return false
  state.resetAt = now.mono
  return beginDial(state, now, [state.active.address], true)
}

/** The peer dials us at the same moment and its dial goes first: ours is silent, but a B to it is still good. */
export function suspendDial(state: SessionState, now: Now): void {
  if (state.dial === undefined) return
  state.dial.suspended = true
  state.timers.set(timer.dial, after(now.mono, SUSPEND_TIME))
}

/** Round trip of this attempt, when only one copy went to the address: else it is ambiguous (Karn). */
export function dialRtt(dial: Dial, now: Instant, link: LinkId, address: Uint8Array): Duration | undefined {
  const target = dial.targets.find((candidate) => candidate.link === link && equalAddress(candidate.address, 0, address, 0))
  // A may have gone over a connection long after the attempt began.
  return target?.copiesNow === 1 && !target.reliable ? now - dial.attemptAt : undefined
}

/** Whether this attempt was sent to one address only: its answer then validates that address (WIRE.md §6). */
export function dialedOnly(dial: Dial, address: Uint8Array): boolean {
  return dial.targets.every((target) => target.reliable || target.copiesNow === 0 || equalAddress(target.address, 0, address, 0))
}

/** Where else this attempt was sent: one of them may be the peer when `address` is only somebody who copied its answer. */
export function dialedOthers(dial: Dial, address: Uint8Array): readonly DialTarget[] {
  return dial.targets.filter((target) => !target.reliable && target.copiesNow > 0 && !equalAddress(target.address, 0, address, 0)).slice(0, OTHERS_MAX)
}

/** @param keep a connection that answered: the others that were dialed for this are closed */
export function endDial(state: SessionState, now: Now, keep?: LinkId): void {
  const dial = state.dial
  if (dial === undefined) return
  dropAttempt(state, dial)
  state.dial = undefined
  state.timers.clear(timer.dial)
  endScout(state, dial)
  if (dial.rekey) return
  cancelDials(state, now, 'all')
  for (const { link, reliable } of dial.targets) if (reliable && link !== keep && !state.paths.some((path) => path?.link === link)) state.host.closeLink(link)
}

/** The peer refused: loud tries would only annoy it. The next attempt comes after a pause, or on demand. */
export function quietDial(state: SessionState, now: Now): void {
  const dial = state.dial
  if (dial === undefined) return
  dropAttempt(state, dial)
  dial.suspended = false
  dial.quiet = Math.max(dial.quiet, state.host.config.quietFirst)
  state.timers.set(timer.dial, after(now.mono, dial.quiet))
}

function dropAttempt(state: SessionState, dial: Dial): void {
  if (dial.initiation === undefined) return
  dial.initiation.wipe()
  state.host.endInitiation(dial.initiation)
  dial.initiation = undefined
}
