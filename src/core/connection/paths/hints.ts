import { ADDRESS_SIZE, isIPv4 } from '../../base/address.ts'
import { toBinaryString } from '../../base/bytes.ts'
import type { LinkId } from '../../base/domain.ts'
import { after, second, toWallTime, type Duration, type Now } from '../../base/time.ts'
import { DATAGRAM_OVERHEAD } from '../../flow/mtu-discovery.ts'
import type { PathHint } from '../../path/attempts.ts'
import { hurryCarriers } from '../dialing/dial.ts'
import { noteSizeHint } from './mtu.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from '../state.ts'

/** Anybody can send ICMP: a path is asked because of it at most this often, … */
const ASK_PAUSE: Duration = second
/** … and its size searched anew. */
const SIZE_PAUSE: Duration = 10 * second
/** IP and UDP around a datagram. */
const HEADERS_IPV4 = 28
const HEADERS_IPV6 = 48

/**
 * A router or a host said of a datagram to one of these addresses that it went no further. Nobody vouches for that, so nothing ends and nothing moves: the paths of
 * the session are asked at once, where silence would have had them asked half a second later; a size in use that is too large by what was said is
 * searched from the base; and a dial tries connections without waiting. Whether it concerned the session.
 */
export function followHints(state: SessionState, now: Now, link: LinkId, hints: ReadonlyMap<string, PathHint>): boolean {
  let concerned = false
  for (const path of state.paths) {
    const hint = path === undefined || path.link !== link ? undefined : hints.get(toBinaryString(path.address))
    if (path === undefined || hint === undefined) continue
    concerned = true
    if (hint.largest > 0) onSize(state, now, path, hint.largest)
    else onUnreachable(state, now, path)
  }
  let dialed = false
  for (const target of state.dial?.targets ?? []) {
    const hint = target.reliable || target.link !== link ? undefined : hints.get(toBinaryString(target.address))
    if (hint === undefined || hint.largest > 0) continue
    dialed = true
    state.host.tried(state.peer)?.ended(toWallTime(now.wall), 'udp', target.address, hint.reason)
  }
  if (dialed) hurryCarriers(state, now)
  return concerned || dialed
}

function onUnreachable(state: SessionState, now: Now, path: SessionPath): void {
  if (state.phase !== 'open' || now.mono < path.hintAt) return
  path.hintAt = after(now.mono, ASK_PAUSE)
  state.host.counters.add('hints_followed')
  for (const other of state.paths) if (other?.validation.pending === false) other.validation.begin()
  if (path === state.active) state.remotes?.hurry(now.mono)
}

/** @param largest IP packet that passes, in bytes */
function onSize(state: SessionState, now: Now, path: SessionPath, largest: number): void {
  const fits = largest - (isIPv4(path.address.subarray(0, ADDRESS_SIZE)) ? HEADERS_IPV4 : HEADERS_IPV6)
  if (path.reliable || path.mtu.size + DATAGRAM_OVERHEAD <= fits || now.mono < path.sizeHintAt) return
  path.sizeHintAt = after(now.mono, SIZE_PAUSE)
  state.host.counters.add('hints_followed')
  noteSizeHint(state, path, now)
}
