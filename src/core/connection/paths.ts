import { ADDRESS_SIZE, equalAddress } from '../base/address.ts'
import type { LinkId, PathRule } from '../base/domain.ts'
import { after, millisecond, never, second, toInstant, type Duration, type Now } from '../base/time.ts'
import { betterPath, type PathQuality } from '../path/path-choice.ts'
import { abandonFlight } from './acks.ts'
import { SessionPath } from './session-path.ts'
import { PATHS_MAX, type SessionState } from './state.ts'
import { timer } from './timers.ts'

/** An old path that leaves its challenge unanswered for max(3 PTO, this) loses the traffic to a new one that answered. */
const MIGRATION_TIME: Duration = 300 * millisecond
/** Nothing acknowledged on the path in use for max(3 PTO, this): the others are challenged. */
const DOUBT_TIME: Duration = 500 * millisecond
/** … and for max(3 PTO, this): a validated other one takes over. */
const BLACK_HOLE_TIME: Duration = 2 * second
const RESPONSES_OWED_MAX = 4
/** PATH_RESPONSEs of one session per second (WIRE.md §5). */
const RESPONSES_PER_SECOND = 16
/** Header and tag around the plaintext. */
export const TRANSPORT_OVERHEAD = 29

export function findPath(state: SessionState, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
  const active = state.active
  if (active?.link === link && equalAddress(active.address, 0, address, offset)) return active
  for (const path of state.paths) {
    if (path?.link === link && equalAddress(path.address, 0, address, offset)) return path
  }
  return undefined
}

/** A new, unvalidated path; `undefined` when the table is full of better ones or the link is gone. */
export function addPath(state: SessionState, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
  const facts = state.host.link(link)
  if (facts === undefined) return undefined
  const slot = freeSlot(state)
  if (slot < 0) {
    state.host.counters.add('drop_path_limit')
    return undefined
  }
  const size = Math.min(state.host.config.baseSize, facts.datagramMax - TRANSPORT_OVERHEAD)
  const path = new SessionPath(slot, link, facts.kind, address.slice(offset, offset + ADDRESS_SIZE), size, facts.segmentsMax, state.host.config.congestion(size + TRANSPORT_OVERHEAD))
  state.paths[slot] = path
  return path
}

function freeSlot(state: SessionState): number {
  for (let slot = 0; slot < PATHS_MAX; slot++) {
    if (state.paths[slot] === undefined) return slot
  }
  // An address that proved nothing and has nothing in flight makes room.
  const idle = state.paths.find((path) => path !== undefined && path !== state.active && !path.validation.validated && path.recovery.outstanding === 0)
  return idle?.slot ?? -1
}

export function onPathChallenge(state: SessionState, path: SessionPath, data: Uint8Array): void {
  if (data.length !== 8) return
  if (path.responses.length >= RESPONSES_OWED_MAX || state.responseTokens < 1) {
    state.host.counters.add('challenges_ignored')
    return
  }
  state.responseTokens--
  path.responses.push(data.slice())
}

/** Response tokens come back with time, up to one second's worth. */
export function refillResponses(state: SessionState, now: Now): void {
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
  else considerMigration(state, now)
}

export function onObservedAddress(state: SessionState, sequence: number, address: Uint8Array): void {
  if (sequence <= state.observedSeen) return
  state.observedSeen = sequence
  state.host.emit({ kind: 'observed-address', peer: state.peer, address })
}

/**
 * A datagram authenticated from `path`. If the peer uses another path than ours (the greatest counter so far, frames that are
 * not mere probes), both are challenged at once; traffic moves only when the new one answered and the old one did not
 * (WIRE.md §6, Migration: a copied datagram sent from elsewhere moves nothing).
 */
export function onPathUsed(state: SessionState, now: Now, path: SessionPath, newest: boolean): void {
  if (state.active === undefined) {
    if (path.validation.validated) switchTo(state, now, path, 'only')
    else if (!path.validation.pending) path.validation.begin()
    return
  }
  if (!newest || path === state.active || state.migrateTo === path) return
  state.migrateTo = path
  path.validation.begin()
  if (!state.active.validation.pending) state.active.validation.begin()
}

function considerMigration(state: SessionState, now: Now): void {
  const to = state.migrateTo
  const from = state.active
  if (to === undefined || from === undefined) return
  if (!to.validation.validated || to.validation.pending || to.validation.wanted) return
  const patience = Math.max(3 * from.recovery.rtt.pto(state.limits.maxAckDelay), MIGRATION_TIME)
  const silent = from.validation.unanswered || (from.validation.pending && now.mono >= after(from.validation.challengedAt, patience))
  if (silent || betterPath(qualityOf(state, to), qualityOf(state, from))) {
    switchTo(state, now, to, silent ? 'migrated' : 'preferred')
  } else if (from.validation.pending) {
    state.timers.setEarlier(timer.path, after(from.validation.challengedAt, patience))
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
  state.migrateTo = undefined
  path.retireAt = never
  if (from !== undefined) {
    from.retireAt = after(now.mono, 3 * from.recovery.rtt.pto(state.limits.maxAckDelay))
    state.timers.setEarlier(timer.path, from.retireAt)
    if (equalHost(from, path)) inherit(from, path, state)
    state.host.counters.add('paths_migrated')
  }
  state.unreachableSince = never
  const rtt = path.recovery.rtt
  state.host.emit({ kind: 'path', peer: state.peer, from: from?.address, to: path.address, link: path.kind, rtt: rtt.hasSample ? rtt.smoothed : undefined, rule })
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
  from.recovery.controller = state.host.config.congestion(from.size + TRANSPORT_OVERHEAD)
  if (to.recovery.rtt.hasSample || !from.recovery.rtt.hasSample) return
  to.recovery.rtt.smoothed = from.recovery.rtt.smoothed
  to.recovery.rtt.variation = from.recovery.rtt.variation
  to.recovery.rtt.latest = from.recovery.rtt.latest
}

/** The `path` timer: challenges are repeated or fail, old paths are forgotten, a migration is decided. */
export function onPathTimer(state: SessionState, now: Now): void {
  for (const path of state.paths) {
    if (path === undefined) continue
    if (path.validation.timeout() <= now.mono && path.validation.handleTimeout(now.mono)) {
      state.host.counters.add('paths_failed')
      if (path === state.migrateTo) state.migrateTo = undefined
    }
    if (path.retireAt <= now.mono && path !== state.active) forgetPath(state, path)
  }
  considerMigration(state, now)
}

/** The next moment at which {@link onPathTimer} has something to do. */
export function nextPathTimeout(state: SessionState): void {
  for (const path of state.paths) {
    if (path === undefined) continue
    state.timers.setEarlier(timer.path, path.validation.timeout())
    if (path !== state.active) state.timers.setEarlier(timer.path, path.retireAt)
  }
}

/** When the silence of the path in use is next to be looked at. */
export function nextLivenessCheck(state: SessionState): void {
  const active = state.active
  if (active === undefined || active.recovery.silentSince === never) {
    state.timers.clear(timer.liveness)
    return
  }
  const pto = active.recovery.rtt.pto(state.limits.maxAckDelay)
  const since = active.recovery.silentSince
  const others = state.paths.some((path) => path !== undefined && path !== active)
  const first = others ? Math.max(3 * pto, DOUBT_TIME) : state.host.config.pathGoneAfter
  state.timers.set(timer.liveness, after(since, Math.min(first, state.host.config.pathGoneAfter)))
}

/**
 * Liveness is judged on the data path: data outstanding and nothing acknowledged. Returns `'gone'` when the only path is
 * given up, else when to look again is set.
 */
export function checkLiveness(state: SessionState, now: Now): 'alive' | 'gone' {
  const active = state.active
  if (active === undefined || active.recovery.silentSince === never) return 'alive'
  const pto = active.recovery.rtt.pto(state.limits.maxAckDelay)
  const silence = now.mono - active.recovery.silentSince
  let other: SessionPath | undefined
  for (const path of state.paths) {
    if (path === undefined || path === active) continue
    if (silence >= Math.max(3 * pto, DOUBT_TIME) && !path.validation.pending) path.validation.begin()
    if (path.validation.validated && !path.validation.unanswered) other = path
  }
  if (silence >= Math.max(BLACK_HOLE_TIME, 3 * pto) && other !== undefined) {
    switchTo(state, now, other, 'black_hole')
    return 'alive'
  }
  if (silence >= state.host.config.pathGoneAfter) return 'gone'
  const next = silence >= DOUBT_TIME && other !== undefined ? BLACK_HOLE_TIME : state.host.config.pathGoneAfter
  state.timers.set(timer.liveness, toInstant(Math.max(active.recovery.silentSince + next, now.mono + 50 * millisecond)))
  return 'alive'
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
