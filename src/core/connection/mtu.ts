import { toWallTime, type Instant, type Now } from '../base/time.ts'
import { DATAGRAM_OVERHEAD, MtuDiscovery, type SizeChange } from '../flow/mtu-discovery.ts'
import type { MtuCause } from '../path/path-log.ts'
import type { LinkFacts } from './host.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from './state.ts'

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
  if (length > path.mtu.baseDatagram) apply(state, path, now, path.mtu.onAcked(now.mono, order, length), 'found')
}

/** A datagram is declared lost. True when it was a probe: that says nothing of congestion. */
export function noteSizeLost(state: SessionState, path: SessionPath, now: Now, order: number, length: number, sentAt: Instant): boolean {
  if (length <= path.mtu.baseDatagram) return false
  const probe = path.mtu.isProbe(order)
  const change = path.mtu.onLost(now.mono, order, length, sentAt)
  if (change === 'lowered') state.host.counters.add('mtu_black_holes')
  apply(state, path, now, change, 'black_hole')
  return probe
}

/** A driver could not send a datagram of this length over the link. */
export function noteTooLarge(state: SessionState, path: SessionPath, now: Now, length: number): void {
  if (!path.reliable) apply(state, path, now, path.mtu.onTooLarge(now.mono, length), 'too_large')
}

/** It is said that the size in use does not pass: searched from the base, which costs little when it is not true. */
export function noteSizeHint(state: SessionState, path: SessionPath, now: Now): void {
  if (path.size + DATAGRAM_OVERHEAD > path.mtu.baseDatagram) apply(state, path, now, path.mtu.restart(now.mono), 'too_large')
}

function apply(state: SessionState, path: SessionPath, now: Now, change: SizeChange, cause: MtuCause): void {
  if (change === 'same') return
  const from = path.size + DATAGRAM_OVERHEAD
  const to = path.mtu.size + DATAGRAM_OVERHEAD
  path.size = path.mtu.size
  path.recovery.controller.setDatagramSize(to)
  state.host.emit({ kind: 'path-mtu', peer: state.peer, address: path.address, from, to, cause })
  state.host.noteDecision(state.peer, { kind: 'mtu', at: toWallTime(now.wall), transport: path.kind, address: path.address, from, to, cause })
}
