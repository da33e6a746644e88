import { after, never, toWallTime, type Instant, type Now } from '../../base/time.ts'
import { DATAGRAM_OVERHEAD, MtuDiscovery } from '../../flow/mtu-discovery.ts'
import type { MtuCause } from '../../path/path-log.ts'
import type { LinkFacts } from '../host.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from '../state.ts'

/** Plaintext is padded to this at least (WIRE.md §4). */
const BLOCK = 16
/** A peer that says it takes less is not believed: WIRE.md §6 needs its base size ([Q] §18.2 has the same floor). */
const MAX_DATAGRAM_LEAST = 1200

/**
 * The search for the largest datagram of a new path. Off where the link may fragment, since what arrives then proves nothing, and
 * on a connection, which takes records of any size: there the size is chosen, not found.
 */
export function newMtuDiscovery(state: SessionState, facts: LinkFacts, reliable: boolean, now: Instant): MtuDiscovery {
  const { baseSize, reliableSize } = state.host.config
  const largest = Math.min(facts.datagramMax, Math.max(state.limits.maxDatagram, MAX_DATAGRAM_LEAST))
  const ceiling = largest - DATAGRAM_OVERHEAD
  if (facts.datagramSize !== undefined) return new MtuDiscovery({ base: Math.min(facts.datagramSize - DATAGRAM_OVERHEAD, ceiling) & -BLOCK, ceiling, enabled: false }, now)
  // Whole blocks of the cipher: WIRE.md §6.
  if (reliable) return new MtuDiscovery({ base: Math.min(reliableSize, ceiling & ~63), ceiling, enabled: false }, now)
  return new MtuDiscovery({ base: baseSize, ceiling, enabled: facts.dontFragment }, now)
}

/** Plaintext of the largest datagram: more than a usual one where the link takes that but is slow. */
export function sizeMaxOf(state: SessionState, facts: LinkFacts, size: number): number {
  if (facts.datagramSize === undefined) return size
  return Math.max(size, (Math.min(facts.datagramMax, Math.max(state.limits.maxDatagram, MAX_DATAGRAM_LEAST)) - DATAGRAM_OVERHEAD) & -BLOCK)
}

/** A datagram in flight on this path is acknowledged, be it after it was thought lost. */
export function noteSizeAcked(state: SessionState, path: SessionPath, now: Now, order: number, length: number): void {
  if (length <= path.mtu.baseDatagram) return
  const from = path.mtu.size
  if (path.mtu.onAcked(now.mono, order, length) === 'same') endDoubt(path)
  else apply(state, path, now, from, 'found')
}

/**
 * Nothing was acknowledged for a probe timeout. Whether the path is dead, full, or has become smaller than what is sent cannot be told yet, so what
 * goes from now on is of the base size, which passes in the last case (RFC 8899 §4.3); nobody is told of another size before something is acknowledged.
 */
export function doubtSize(state: SessionState, path: SessionPath, now: Instant): void {
  const { recovery } = path
  if (path.sizeDoubt !== undefined || path.size + DATAGRAM_OVERHEAD <= path.mtu.baseDatagram || path.mtu.state === 'off') return
  if (recovery.silentSince === never || now < after(recovery.silentSince, recovery.basePto(state.limits.maxAckDelay))) return
  path.sizeDoubt = { sequence: recovery.nextSequence, large: largeInFlight(state, path) }
  path.size = path.mtu.baseDatagram - DATAGRAM_OVERHEAD
}

function largeInFlight({ sent }: SessionState, path: SessionPath): number {
  let count = 0
  for (let order = sent.firstSent; order < sent.next; order++) if (sent.inFlight(order) && sent.path(order) === path.slot && sent.size(order) > path.mtu.baseDatagram) count++
  return count
}

/** Something was acknowledged on this path: if it is what went in the doubt, and nothing large from before it was, large datagrams vanish. */
export function settleDoubt(state: SessionState, path: SessionPath, now: Now): void {
  const doubt = path.sizeDoubt
  if (doubt === undefined || ((path.recovery.largestAcked - doubt.sequence) | 0) < 0) return
  const from = path.mtu.size
  endDoubt(path)
  if (path.mtu.onSilence(now.mono, doubt.large) === 'same') return
  state.host.counters.add('mtu_black_holes')
  apply(state, path, now, from, 'black_hole')
}

function endDoubt(path: SessionPath): void {
  path.sizeDoubt = undefined
  path.size = path.mtu.size
}

/** A datagram is declared lost. True when it was a probe: that says nothing of congestion. */
export function noteSizeLost(state: SessionState, path: SessionPath, now: Now, order: number, length: number, sentAt: Instant): boolean {
  if (length <= path.mtu.baseDatagram) return false
  const probe = path.mtu.isProbe(order)
  const from = path.mtu.size
  if (path.mtu.onLost(now.mono, order, length, sentAt) === 'lowered') {
    state.host.counters.add('mtu_black_holes')
    apply(state, path, now, from, 'black_hole')
  }
  return probe
}

/** A driver could not send a datagram of this length over the link. */
export function noteTooLarge(state: SessionState, path: SessionPath, now: Now, length: number): void {
  if (path.reliable) return
  const from = path.mtu.size
  path.mtu.onTooLarge(now.mono, length)
  apply(state, path, now, from, 'too_large')
}

/** It is said that the size in use does not pass: searched from the base, which costs little when it is not true. */
export function noteSizeHint(state: SessionState, path: SessionPath, now: Now): void {
  const from = path.mtu.size
  if (from + DATAGRAM_OVERHEAD <= path.mtu.baseDatagram) return
  path.mtu.restart(now.mono)
  apply(state, path, now, from, 'too_large')
}

/** @param before the size in use until now, in bytes of plaintext */
function apply(state: SessionState, path: SessionPath, now: Now, before: number, cause: MtuCause): void {
  if (path.mtu.size === before) return
  const from = before + DATAGRAM_OVERHEAD
  const to = path.mtu.size + DATAGRAM_OVERHEAD
  endDoubt(path)
  path.recovery.controller.setDatagramSize(to)
  state.host.emit({ kind: 'path-mtu', peer: state.peer, address: path.address, from, to, cause })
  state.host.noteDecision(state.peer, { kind: 'mtu', at: toWallTime(now.wall), transport: path.kind, address: path.address, from, to, cause })
}
