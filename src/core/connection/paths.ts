import { ADDRESS_SIZE, equalAddress } from '../base/address.ts'
import type { LinkId, LinkKind, PathRule } from '../base/domain.ts'
import { after, millisecond, never, second, type Duration, type Now } from '../base/time.ts'
import type { CongestionController } from '../flow/congestion.ts'
import { newController } from '../flow/controllers.ts'
import { betterPath, type PathQuality } from '../path/path-choice.ts'
import { CHALLENGES_OPEN } from '../path/path-validation.ts'
import { endDial } from './dial.ts'
import { exposeKeys } from './key-slots.ts'
import { abandonFlight } from './loss.ts'
import { TRANSPORT_OVERHEAD } from './packet.ts'
import { SessionPath } from './session-path.ts'
import { PATHS_MAX, type SessionState } from './state.ts'
import { timer } from './timers.ts'

/** An old path that leaves its challenge unanswered for max(3 PTO, this) loses the traffic to a new one that answered. */
const MIGRATION_TIME: Duration = 300 * millisecond
/** A peer that keeps using another path than ours while ours is good is not looked into more often than this. */
const MIGRATION_PAUSE: Duration = second
/** Challenges that may be open in one session (WIRE.md §5). */
const CHALLENGES_MAX = 8
const RESPONSES_OWED_MAX = 4
/** [P] An OBSERVED_ADDRESS that comes sooner after the last one is ignored. */
const OBSERVATION_PAUSE: Duration = second
/** PATH_RESPONSEs of one session per second (WIRE.md §5). */
const RESPONSES_PER_SECOND = 16
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
  if (facts === undefined) return undefined
  const slot = freeSlot(state)
  if (slot < 0) return undefined
  const size = Math.min(state.host.config.baseSize, facts.datagramMax - TRANSPORT_OVERHEAD)
  const controller = freshController(state, facts.kind, size)
  const path = new SessionPath(slot, link, facts.kind, address.slice(offset, offset + ADDRESS_SIZE), size, facts.segmentsMax, controller, now.mono)
  state.paths[slot] = path
  return path
}

/** An address where the peer may be, though nothing came from there: it may be probed a little (WIRE.md §5, Candidates). */
export function addCandidate(state: SessionState, now: Now, link: LinkId, address: Uint8Array): void {
  if (findPath(state, link, address, 0) !== undefined) return
  addPath(state, now, link, address, 0)?.validation.grantProbes()
}

/** An empty slot, or that of an address that proved nothing: first one that had its chance, then the oldest. */
function freeSlot(state: SessionState): number {
  let victim: SessionPath | undefined
  for (let slot = 0; slot < PATHS_MAX; slot++) {
    const path = state.paths[slot]
    if (path === undefined) return slot
    if (path === state.active || path.validation.validated) continue
    const failed = path.validation.state === 'failed'
    const victimFailed = victim?.validation.state === 'failed'
    if (victim === undefined || (failed && !victimFailed) || (failed === victimFailed && path.openedAt < victim.openedAt)) victim = path
  }
  if (victim === undefined) return -1
  forgetPath(state, victim)
  return victim.slot
}

/** Whether one more challenge may be open: an answer to any of them validates its path. */
export function mayChallenge(state: SessionState, path: SessionPath): boolean {
  let open = Math.min(path.validation.open, CHALLENGES_OPEN - 1)
  for (const other of state.paths) if (other !== undefined && other !== path) open += other.validation.open
  return open < CHALLENGES_MAX
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
  if (!path.validation.respond(data)) return
  if (!before) {
    state.host.counters.add('paths_validated')
    state.host.pathValidated(state.peer, path.address)
  }
  if (state.active === undefined) switchTo(state, now, path, 'only')
  else if (!state.active.validation.validated) switchTo(state, now, path, 'preferred')
  else considerMigration(state, now)
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
  if (!active.validation.pending) active.validation.begin()
}

function considerMigration(state: SessionState, now: Now): void {
  const to = state.migrateTo
  const from = state.active
  if (to === undefined || from === undefined) return
  if (!to.validation.sound) return
  const patience = Math.max(3 * from.recovery.rtt.pto(state.limits.maxAckDelay), MIGRATION_TIME)
  const decideAt = from.validation.pending ? after(from.validation.challengedAt, patience) : never
  const silent = from.validation.unanswered || now.mono >= decideAt
  if (silent || betterPath(qualityOf(state, to), qualityOf(state, from))) {
    switchTo(state, now, to, silent ? 'migrated' : 'preferred')
  } else if (from.validation.pending) {
    state.timers.setEarlier(timer.path, decideAt)
  } else if (!from.validation.wanted) {
    // The old path answered: it stays, and the new one is known for later.
    state.migrateTo = undefined
  }
}

function qualityOf(state: SessionState, path: SessionPath): PathQuality {
  const { rtt, packetsLost, packetsSent } = path.recovery
  return {
    kind: path.kind, validated: path.validation.validated, rtt: rtt.hasSample ? rtt.smoothed : undefined,
    loss: packetsSent === 0 ? 0 : packetsLost / packetsSent, active: path === state.active,
  }
}

/** Moves the traffic to a path. What is in flight on the old one is sent again when its own probe time is over. */
export function switchTo(state: SessionState, now: Now, path: SessionPath, rule: PathRule): void {
  const from = state.active
  if (from === path) return
  state.active = path
  if (from !== undefined) exposeKeys(state)
  state.migrateTo = undefined
  path.retireAt = never
  if (from !== undefined) {
    from.retireAt = after(now.mono, 3 * from.recovery.rtt.pto(state.limits.maxAckDelay))
    state.timers.setEarlier(timer.path, from.retireAt)
    if (equalHost(from, path)) inherit(from, path, state)
    state.host.counters.add('paths_migrated')
  }
  const rtt = path.recovery.rtt
  state.host.emit({ kind: 'path', peer: state.peer, from: from?.address, to: path.address, link: path.kind, rtt: rtt.hasSample ? rtt.smoothed : undefined, rule })
  if (state.unreachableSince === never) return
  // Back after all paths were gone: nobody need be dialed any more, and a rekey that was put off may go on.
  state.unreachableSince = never
  if (state.dial?.rekey === false && state.current !== undefined) endDial(state)
  state.keysChanged = true
  state.host.sessionChanged(now, state.peer, undefined)
}

function freshController(state: SessionState, kind: LinkKind, size: number): CongestionController {
  return newController(state.host.config.congestion, kind, size + TRANSPORT_OVERHEAD, state.host.randomUnit() * 2 ** 32)
}

function equalHost(a: SessionPath, b: SessionPath): boolean {
  for (let i = 0; i < ADDRESS_SIZE - 2; i++) {
    if (a.address[i] !== b.address[i]) return false
  }
  return a.kind === b.kind
}

/** Only the port changed (a NAT rebinding): the wire is the same, so is what was learnt of it ([Q] §9.4). */
function inherit(from: SessionPath, to: SessionPath, state: SessionState): void {
  to.recovery.controller = from.recovery.controller
  from.recovery.controller = freshController(state, from.kind, from.size)
  // What is still in flight was counted by it, on either.
  to.recovery.rate = from.recovery.rate
  if (!to.recovery.rtt.hasSample) to.recovery.rtt.inherit(from.recovery.rtt)
}

/** The `path` timer: challenges are repeated or fail, old paths are forgotten, a migration is decided. */
export function onPathTimer(state: SessionState, now: Now): void {
  for (const path of state.paths) {
    if (path === undefined) continue
    if (path.validation.timeout() <= now.mono && path.validation.handleTimeout(now.mono)) onPathFailed(state, path)
    if (path.retireAt <= now.mono && path !== state.active) forgetPath(state, path)
  }
  considerMigration(state, now)
}

function onPathFailed(state: SessionState, path: SessionPath): void {
  state.host.counters.add('paths_failed')
  if (path === state.migrateTo) state.migrateTo = undefined
  if (path !== state.active || path.validation.validated) return
  // Somebody may have copied the handshake from a false address: the others are asked, and this one again, as far as its
  // bytes reach, until liveness gives it up (WIRE.md §6).
  for (const other of state.paths) if (other?.validation.pending === false) other.validation.begin()
}

/** The next moment at which {@link onPathTimer} has something to do. */
export function nextPathTimeout(state: SessionState): void {
  for (const path of state.paths) {
    if (path === undefined) continue
    state.timers.setEarlier(timer.path, path.validation.timeout())
    if (path !== state.active) state.timers.setEarlier(timer.path, path.retireAt)
  }
}

export function forgetPath(state: SessionState, path: SessionPath): void {
  abandonFlight(state, path)
  state.paths[path.slot] = undefined
  if (state.migrateTo === path) state.migrateTo = undefined
}

/** The link is closed or failed: its paths go with it. */
export function dropLink(state: SessionState, now: Now, link: LinkId): void {
  for (const path of state.paths) {
    if (path?.link !== link) continue
    forgetPath(state, path)
    if (state.active !== path) continue
    state.active = undefined
    state.host.emit({ kind: 'path', peer: state.peer, from: path.address, to: undefined, link: path.kind, rtt: undefined, rule: 'closed' })
    const next = state.paths.find((candidate) => candidate?.validation.validated === true)
    if (next !== undefined) switchTo(state, now, next, 'only')
  }
}
