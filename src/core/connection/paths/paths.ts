import { ADDRESS_SIZE, equalAddress } from '../../base/address.ts'
import { isReliable, type LinkId, type LinkKind } from '../../base/domain.ts'
import { after, millisecond, never, second, toWallTime, type Duration, type Now } from '../../base/time.ts'
import { betterPath, ruleOf } from '../../path/path-choice.ts'
import { allows } from '../../path/path-policy.ts'
import { CHALLENGES_OPEN } from '../../path/path-validation.ts'
import { mayServe } from '../dialing/carrier-dials.ts'
import { newMtuDiscovery, sizeMaxOf } from './mtu.ts'
import { closeCarrier, EXTRA_TIME_BLE, forgetPath, freshController, reconsider, switchTo } from './path-switch.ts'
import { qualityOf, viewOf, viewsOf } from './selection.ts'
import { SessionPath } from './session-path.ts'
import { inDoubt } from './silence.ts'
import { PATHS_MAX, type SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/**
 * An old path that leaves two challenges unanswered for so many round trips, or longer where they vary, at least for this long, loses the traffic to a
 * new one that answered (decisions 103 and 136): a machine that changed its network is heard again after two round trips and a tenth of a second.
 */
const MIGRATION_TIME: Duration = 100 * millisecond
const MIGRATION_ROUND_TRIPS = 1.25
/** … but for the variation of round trips it is not waited longer than this. */
const VARIATION_TIME: Duration = 250 * millisecond
/** When the second of them goes: its answer comes in time too. */
const COPY_ROUND_TRIPS = 0.2
/** A peer that keeps using another path than ours while ours is good is not looked into more often than this. */
const MIGRATION_PAUSE: Duration = second
/** Challenges that may be open in one session (WIRE.md §5). */
const CHALLENGES_MAX = 8
const RESPONSES_OWED_MAX = 4
/** [P] An OBSERVED_ADDRESS that comes sooner after the last one is ignored. */
const OBSERVATION_PAUSE: Duration = second
/** PATH_RESPONSEs of one session per second (WIRE.md §5). */
const RESPONSES_PER_SECOND = 16
const CARRIERS_MAX = 2
/** Of two connections the one that neither side uses is kept this long: the other side may not have moved yet. */
const EXTRA_TIME: Duration = 10 * second

export function findPath(state: SessionState, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
  const active = state.active
  if (active?.link === link && equalAddress(active.address, 0, address, offset)) return active
  for (const path of state.paths) {
    if (path?.link === link && equalAddress(path.address, 0, address, offset)) return path
  }
  return undefined
}

/** A new, unvalidated path; `undefined` when the table is full of better ones or the link is gone. */
export function addPath(state: SessionState, now: Now, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
  const facts = state.host.link(link)
  if (facts === undefined || !allows(state.policy, facts.kind)) return undefined
  const slot = freeSlot(state)
  if (slot < 0) return undefined
  const mtu = newMtuDiscovery(state, facts, isReliable(facts.kind), now.mono)
  const controller = freshController(state, facts.kind, mtu.size)
  const path = new SessionPath(slot, link, facts, address.slice(offset, offset + ADDRESS_SIZE), mtu, sizeMaxOf(state, facts, mtu.size), state.lower, controller, now.mono)
  if (path.reliable) path.validation.liftBudget()
  state.paths[slot] = path
  if (path.reliable) limitCarriers(state, now, path.kind)
  return path
}

/** The same for the source of the datagram at hand, which is answered from the address that it came to. */
export function addHeardPath(state: SessionState, now: Now, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
  const path = addPath(state, now, link, address, offset)
  if (path !== undefined) path.local = path.heardAt = state.host.heardAt
  return path
}

/**
 * WIRE.md §7: two connections of a kind per peer; of more, one that carries nothing goes: that does not answer, that the higher id dialed,
 * that is older. Were age to come first, each side could close the one that the other keeps.
 */
function limitCarriers(state: SessionState, now: Now, kind: LinkKind): void {
  const carriers = state.paths.filter((path) => path?.kind === kind)
  if (carriers.length <= CARRIERS_MAX) return
  const worth = (path: SessionPath): number => (mayServe(path, state.active, now.mono) ? 2 : 0) + (path.secondary ? 0 : 1)
  const idle = carriers.filter((path) => path !== state.active).sort((a, b) => worth(a!) - worth(b!) || a!.openedAt - b!.openedAt)
  closeCarrier(state, now, idle[0]!, 'extra')
}

/** An address where the peer may be, though nothing came from there: it may be probed a little (WIRE.md §5, Candidates). */
export function addCandidate(state: SessionState, now: Now, link: LinkId, address: Uint8Array): void {
  if (findPath(state, link, address, 0) !== undefined) return
  addPath(state, now, link, address, 0)?.validation.grantProbes()
}

/** An empty slot, or that of an address that proved nothing: first one that had its chance, then the oldest. Else that of the UDP path whose proof is oldest. */
function freeSlot(state: SessionState): number {
  let victim: SessionPath | undefined
  let stale: SessionPath | undefined
  for (let slot = 0; slot < PATHS_MAX; slot++) {
    const path = state.paths[slot]
    if (path === undefined) return slot
    if (path === state.active) continue
    if (path.validation.validated) {
      if (!path.reliable && path !== state.migrateTo && (stale === undefined || path.provenAt < stale.provenAt)) stale = path
      continue
    }
    const failed = path.validation.state === 'failed'
    const victimFailed = victim?.validation.state === 'failed'
    if (victim === undefined || (failed && !victimFailed) || (failed === victimFailed && path.openedAt < victim.openedAt)) victim = path
  }
  victim ??= stale
  if (victim === undefined) return -1
  forgetPath(state, victim)
  return victim.slot
}

/**
 * Whether one more challenge may be open: an answer to any of them validates its path. Repetitions on paths that do not answer make
 * room for the first one on a path that may.
 */
export function mayChallenge(state: SessionState, path: SessionPath): boolean {
  let open = Math.min(path.validation.open, CHALLENGES_OPEN - 1)
  for (const other of state.paths) if (other !== undefined && other !== path) open += other.validation.open
  if (open < CHALLENGES_MAX) return true
  return path.validation.open === 0 && state.paths.some((other) => other !== undefined && other !== path && other.validation.yieldOldest())
}

export function onPathChallenge(state: SessionState, now: Now, path: SessionPath, data: Uint8Array): void {
  if (data.length !== 8) return
  refillResponses(state, now)
  if (path.responses.length >= RESPONSES_OWED_MAX || state.responseTokens < 1) {
    state.host.counters.add('challenges_ignored')
    return
  }
  state.responseTokens--
  path.responses.push(data.slice())
  // Without any path in use, the one by which the peer asks is the first that may become it: we ask back.
  if (state.active === undefined && path.validation.state === 'unknown' && !path.validation.wanted) path.validation.begin()
}

/** Whether a path that is not in use may still answer a challenge, of the peer's or of ours: a session without any other waits for that. */
export function isAsked(state: SessionState): boolean {
  return state.paths.some((path) => path !== undefined && (path.validation.wanted || path.validation.pending))
}

/** Response tokens come back with time, up to one second's worth. */
function refillResponses(state: SessionState, now: Now): void {
  const elapsed = (now.mono - state.responsesAt) / second
  state.responseTokens = Math.min(RESPONSES_PER_SECOND, state.responseTokens + elapsed * RESPONSES_PER_SECOND)
  state.responsesAt = now.mono
}

export function onPathResponse(state: SessionState, now: Now, path: SessionPath, data: Uint8Array): void {
  if (data.length !== 8) return
  const before = path.validation.validated
  const roundTrip = path.validation.respond(now.mono, data)
  if (roundTrip === undefined) return
  // Without it, a path that falls silent soon after the traffic moved there would be waited for as if it were a slow one.
  if (!path.recovery.rtt.hasSample) path.recovery.rtt.update(roundTrip, 0)
  path.refusedAt = never
  proved(state, now, path, !before)
  if (state.active === undefined) switchTo(state, now, path, 'only')
  else if (!state.active.validation.validated) switchTo(state, now, path, 'only')
  else {
    considerMigration(state, now)
    reconsider(state, now)
  }
}

/** The peer answered on this path, or the handshake proved it. */
export function proved(state: SessionState, now: Now, path: SessionPath, first: boolean): void {
  path.provenAt = now.mono
  if (path.reliable) {
    state.host.confirmLink(path.link)
    state.remotes?.trustHost(path.address)
    retireExtra(state, now, path.kind)
  } else {
    state.remotes?.answered(path.address)
  }
  if (!first) return
  noteAnswer(state, now, path.link, path.address)
  state.host.counters.add('paths_validated')
  if (path.dialable) state.host.pathValidated(state.peer, path.address)
}

/** The peer is where it was tried. */
export function noteAnswer(state: SessionState, now: Now, link: LinkId, address: Uint8Array): void {
  const facts = state.host.link(link)
  if (facts !== undefined && (!isReliable(facts.kind) || facts.dialed)) state.host.tried(state.peer)?.ended(toWallTime(now.wall), facts.kind, address, 'answered')
}

/** Both sides dialed: of two connections one is enough. */
function retireExtra(state: SessionState, now: Now, kind: LinkKind): void {
  const proven = state.paths.filter((path) => path?.kind === kind && path.validation.validated)
  if (proven.length < 2) return
  for (const path of proven) if (path!.secondary && path !== state.active) path!.retireAt = after(now.mono, kind === 'ble' ? EXTRA_TIME_BLE : EXTRA_TIME)
}

export function onObservedAddress(state: SessionState, now: Now, sequence: number, address: Uint8Array): void {
  if (sequence <= state.observedSeen) return
  state.observedSeen = sequence
  // Each is an event for the host: a peer that invents a new address with every frame is not listened to.
  if (state.observedAt !== never && now.mono < after(state.observedAt, OBSERVATION_PAUSE)) {
    state.host.counters.add('observations_ignored')
    return
  }
  state.observedAt = now.mono
  state.host.emit({ kind: 'observed-address', peer: state.peer, address })
}

/**
 * A datagram authenticated from `path`. If the peer uses another path than ours (the greatest counter so far, frames that are
 * not mere probes), both are challenged at once; traffic moves only when the new one answered and the old one did not
 * (WIRE.md §6, Migration: a copied datagram sent from elsewhere moves nothing).
 */
export function onPathUsed(state: SessionState, now: Now, path: SessionPath, newest: boolean): void {
  const active = state.active
  if (active === undefined) {
    if (path.validation.validated) switchTo(state, now, path, 'only')
    else if (!path.validation.pending) path.validation.begin()
    return
  }
  if (!newest || state.migrateTo === path) return
  if (path.validation.validated && state.migrationAt !== never && now.mono < state.migrationAt + MIGRATION_PAUSE) return
  state.migrateTo = path
  state.migrationAt = now.mono
  path.validation.begin()
  if (!active.validation.pending) active.validation.begin(false, COPY_ROUND_TRIPS * active.recovery.rtt.smoothed)
}

function considerMigration(state: SessionState, now: Now): void {
  const to = state.migrateTo
  const from = state.active
  if (to === undefined || from === undefined) return
  if (!to.validation.sound) return
  if (!allows(state.policy, to.kind)) return
  const patience = patienceWith(from)
  const decideAt = from.validation.pending ? after(from.validation.challengedAt, patience) : never
  const silent = from.validation.unanswered || now.mono >= decideAt
  const ours = qualityOf(state, now.mono, from)
  const theirs = qualityOf(state, now.mono, to)
  if (silent || betterPath(theirs, ours, state.policy)) {
    // One that has yet to answer is left because the peer left it: it may be of a better kind.
    switchTo(state, now, to, silent || ours.standing === 'asked' ? 'migrated' : ruleOf(ours, theirs, state.policy), true)
  } else if (from.validation.pending) {
    state.timers.setEarlier(timer.path, decideAt)
  } else if (!from.validation.wanted) {
    // The old path answered: it stays, and the new one is known for later.
    state.migrateTo = undefined
  }
}

/** How long a path that the peer seems to have left may take to answer. */
function patienceWith({ recovery: { rtt } }: SessionPath): Duration {
  return Math.max(MIGRATION_ROUND_TRIPS * rtt.smoothed, MIGRATION_TIME, Math.min(rtt.smoothed + 4 * rtt.variation, VARIATION_TIME))
}

/** The `path` timer: challenges are repeated or fail, old paths are forgotten, a migration is decided. */
export function onPathTimer(state: SessionState, now: Now): void {
  for (const path of state.paths) {
    if (path === undefined) continue
    if (path.validation.timeout() <= now.mono && path.validation.handleTimeout(now.mono)) onPathFailed(state, now, path)
    if (path.retireAt <= now.mono && path !== state.active && state.paths[path.slot] === path) retire(state, now, path)
  }
  considerMigration(state, now)
}

/** Its time as a fallback is over. A connection stays while the path in use is in doubt. */
function retire(state: SessionState, now: Now, path: SessionPath): void {
  const { active } = state
  if (!path.reliable) forgetPath(state, path)
  else if (active !== undefined && inDoubt(active)) path.retireAt = after(now.mono, EXTRA_TIME)
  else closeCarrier(state, now, path, active?.reliable === true ? 'extra' : 'unused')
}

function onPathFailed(state: SessionState, now: Now, path: SessionPath): void {
  state.host.counters.add('paths_failed')
  if (path === state.migrateTo) state.migrateTo = undefined
  // Probes go every two seconds as long as a connection carries the traffic: what they find is in the list of addresses.
  if (!path.probing) state.host.noteDecision(state.peer, { kind: 'silent', at: toWallTime(now.wall), transport: path.kind, address: path.address, count: 1 })
  if (path !== state.active && path.probing && !path.validation.validated) {
    forgetPath(state, path)
    return
  }
  if (path !== state.active && path.reliable) {
    closeCarrier(state, now, path, 'silent')
    return
  }
  if (path !== state.active || path.validation.validated) return
  // Somebody may have copied the handshake from a false address: the others are asked, and this one again, as far as its
  // bytes reach, until liveness gives it up (WIRE.md §6).
  for (const other of state.paths) if (other?.validation.pending === false) other.validation.begin()
}

/** The next moment at which {@link onPathTimer} has something to do. */
export function nextPathTimeout(state: SessionState, now: Now): void {
  // A probe of the path MTU that is due already waits for the window or the link, not for time.
  const probeAt = state.active?.mtu.timeout() ?? never
  if (probeAt > now.mono) state.timers.setEarlier(timer.path, probeAt)
  state.timers.setEarlier(timer.path, state.leaveBy)
  for (const path of state.paths) {
    if (path === undefined) continue
    state.timers.setEarlier(timer.path, path.validation.timeout())
    if (path !== state.active) state.timers.setEarlier(timer.path, path.retireAt)
  }
}

/** The link is closed or failed: its paths go with it. */
export function dropLink(state: SessionState, now: Now, link: LinkId): void {
  for (const path of state.paths) {
    if (path?.link !== link) continue
    forgetPath(state, path)
    if (state.active === path) losePath(state, now, path)
  }
}

function losePath(state: SessionState, now: Now, path: SessionPath): void {
  const from = viewOf(state, now.mono, path)
  state.active = undefined
  state.host.emit({ kind: 'path', peer: state.peer, from: path.address, to: undefined, link: path.kind, rtt: undefined, rule: 'closed' })
  state.host.noteDecision(state.peer, { kind: 'path', at: toWallTime(now.wall), rule: 'closed', from, to: undefined, candidates: viewsOf(state, now.mono) })
  if (reconsider(state, now)) return
  // One that was not asked lately is better than none: liveness judges it.
  const next = state.paths.find((candidate) => candidate?.validation.validated === true && candidate.refusedAt === never && allows(state.policy, candidate.kind))
  if (next !== undefined) switchTo(state, now, next, 'only')
}
