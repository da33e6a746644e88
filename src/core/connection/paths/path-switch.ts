import type { LinkKind, PathRule } from '../../base/domain.ts'
import { after, never, second, toWallTime, type Duration, type Instant, type Now } from '../../base/time.ts'
import type { CongestionController } from '../../flow/congestion.ts'
import { newController } from '../../flow/controllers.ts'
import { choosePath, ruleOf, type PathQuality } from '../../path/path-choice.ts'
import type { CloseCause } from '../../path/path-log.ts'
import { allows } from '../../path/path-policy.ts'
import { Remotes, sameHost } from '../../path/remotes.ts'
import { endDial } from '../dialing/dial.ts'
import { exposeKeys } from '../keys/key-slots.ts'
import { abandonFlight } from '../packets/loss.ts'
import { TRANSPORT_OVERHEAD } from '../packets/packet.ts'
import { qualityOf, viewOf, viewsOf } from './selection.ts'
import type { SessionPath } from './session-path.ts'
import { silentSince } from './silence.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** A connection that is not in use is kept for so long after another path took over: if that fails, it is there at once. */
const STANDBY_TIME: Duration = 60 * second
/** Of two by Bluetooth one is closed after this: a radio has few. */
export const EXTRA_TIME_BLE: Duration = 2 * second
/** A path that carried the traffic for so long before it fell silent does carry data: that it died says nothing of its probes (decision 019). */
const PROOF_TIME: Duration = 2 * second

/** Moves the traffic if another path should carry it; whether it did. Between two good UDP paths the peer's use decides (migration), not this. */
export function reconsider(state: SessionState, now: Now): boolean {
  const { active } = state
  const activeQuality = active === undefined ? undefined : qualityOf(state, now.mono, active)
  const paths: SessionPath[] = []
  const qualities: PathQuality[] = []
  for (const path of state.paths) {
    if (path === undefined || (path !== active && path.kind === active?.kind && !path.reliable && activeQuality?.standing === 'proven')) continue
    paths.push(path)
    qualities.push(path === active ? activeQuality! : qualityOf(state, now.mono, path))
  }
  const best = choosePath(qualities, state.policy)
  if (best < 0 || paths[best] === active) return false
  switchTo(state, now, paths[best]!, ruleOf(activeQuality, qualities[best]!, state.policy))
  return true
}

/**
 * Moves the traffic to a path. What is in flight on the old one is sent again at once if that is dead, or the peer `left` it, else when its own
 * probe time is over.
 */
export function switchTo(state: SessionState, now: Now, path: SessionPath, rule: PathRule, left = false): void {
  const from = state.active
  if (from === path) return
  const candidates = viewsOf(state, now.mono)
  const fromView = from === undefined ? undefined : viewOf(state, now.mono, from)
  const dead = rule === 'black_hole' || rule === 'refused'
  const useless = rule === 'black_hole' && from !== undefined && silentSince(from) < after(from.takenAt, PROOF_TIME)
  state.active = path
  path.takenAt = now.mono
  path.rule = rule
  if (from !== undefined) exposeKeys(state)
  state.migrateTo = undefined
  path.retireAt = never
  path.probing = false
  state.lastCarrier = path.kind === 'tcp'
  if (from !== undefined) leave(state, now, from, path, dead, useless)
  if (from !== undefined && left) abandonFlight(state, from)
  if (from !== undefined && !allows(state.policy, from.kind)) dropForbidden(state, now, from)
  if (path.reliable) rememberRemotes(state, now)
  // Shows the peer where we are, also when there is nothing to say: what it sends elsewhere may be lost, forbidden here, or slow.
  if (path.reliable || from?.reliable === true) state.pingWanted = true
  if (!path.reliable && from?.reliable === true) state.pathShows = Math.max(state.pathShows, 1)
  const rtt = path.recovery.rtt
  state.host.emit({ kind: 'path', peer: state.peer, from: from?.address, to: path.address, link: path.kind, rtt: rtt.hasSample ? rtt.smoothed : undefined, rule })
  state.host.noteDecision(state.peer, { kind: 'path', at: toWallTime(now.wall), rule, from: fromView, to: viewOf(state, now.mono, path), candidates })
  state.timers.clear(timer.keepAlive)
  if (state.unreachableSince === never) return
  // Back after all paths were gone: nobody need be dialed any more, and a rekey that was put off may go on.
  state.unreachableSince = never
  if (state.dial?.rekey === false && state.current !== undefined) endDial(state, now)
  state.keysChanged = true
  state.host.sessionChanged(now, state.peer, undefined)
}

/** A Bluetooth connection stays as long as its driver has room for it: it costs next to nothing, and is there when the network dies. */
function retireTime(state: SessionState, now: Now, from: SessionPath, to: SessionPath): Instant {
  if (from.kind === 'ble') return to.kind === 'ble' && from.secondary ? after(now.mono, EXTRA_TIME_BLE) : never
  return after(now.mono, from.reliable ? STANDBY_TIME : 3 * from.recovery.rtt.pto(state.limits.maxAckDelay))
}

function leave(state: SessionState, now: Now, from: SessionPath, to: SessionPath, dead: boolean, useless: boolean): void {
  from.retireAt = retireTime(state, now, from, to)
  state.timers.setEarlier(timer.path, from.retireAt)
  if (from.kind === to.kind && sameHost(from.address, to.address) && !from.reliable) inherit(from, to, state)
  state.host.counters.add('paths_migrated')
  if (!dead) return
  abandonFlight(state, from)
  if (from.reliable) return
  const remotes = remotesOf(state)
  remotes.add(from.address, true)
  if (!useless) return
  const until = remotes.failed(now.mono, from.address)
  if (until === undefined) return
  state.host.counters.add('paths_quarantined')
  const untilWall = toWallTime(now.wall + (until - now.mono) / 1000)
  state.host.noteDecision(state.peer, { kind: 'quarantine', at: toWallTime(now.wall), transport: from.kind, address: from.address, until: untilWall })
}

/** What the policy forbids answers nothing from now on, and the peer is shown where we are: so it learns to leave it. */
export function dropForbidden(state: SessionState, now: Now, path: SessionPath): void {
  if (path.reliable) closeCarrier(state, now, path, 'policy')
  else forgetPath(state, path)
  state.pingWanted = true
}

export function freshController(state: SessionState, kind: LinkKind, size: number): CongestionController {
  return newController(state.host.config.congestion, kind, size + TRANSPORT_OVERHEAD, state.host.randomUnit() * 2 ** 32)
}

/** Only the port changed (a NAT rebinding): the wire is the same, so is what was learnt of it ([Q] §9.4). */
function inherit(from: SessionPath, to: SessionPath, state: SessionState): void {
  to.recovery.controller = from.recovery.controller
  from.recovery.controller = freshController(state, from.kind, from.size)
  // What is still in flight was counted by it, on either.
  to.recovery.rate = from.recovery.rate
  if (!to.recovery.rtt.hasSample) to.recovery.rtt.inherit(from.recovery.rtt)
}

export function remotesOf(state: SessionState): Remotes {
  return state.remotes ??= new Remotes()
}

/** While a connection carries the traffic, UDP is asked wherever the peer was, or may be. */
function rememberRemotes(state: SessionState, now: Now): void {
  const remotes = remotesOf(state)
  for (const address of state.host.addressesOf(state.peer)) remotes.add(address, false)
  for (const path of state.paths) if (path?.reliable === false) remotes.add(path.address, path.validation.validated)
  for (const path of state.paths) if (path?.validation.validated === true) remotes.trustHost(path.address)
  for (const address of state.candidates?.asked(now.mono, state.host.candidates.candidates, 'udp') ?? []) remotes.offer(address)
}

/** The path is no more; a connection is closed with it. */
export function forgetPath(state: SessionState, path: SessionPath): void {
  abandonFlight(state, path)
  state.paths[path.slot] = undefined
  if (state.migrateTo === path) state.migrateTo = undefined
  if (path.reliable) state.host.closeLink(path.link)
}

/** Closes a connection that carries nothing any more, and says why. */
export function closeCarrier(state: SessionState, now: Now, path: SessionPath, cause: CloseCause): void {
  forgetPath(state, path)
  if (cause === 'silent' && path.kind === 'tcp' && state.carriers.tcp !== undefined) state.carriers.tcp.severed = true
  state.host.counters.add('links_closed_unused')
  state.host.noteDecision(state.peer, { kind: 'close', at: toWallTime(now.wall), transport: path.kind, address: path.address, cause })
}
