import type { Now } from '../../base/time.ts'
import { resumeDials } from '../dialing/carrier-dials.ts'
import { beginDial } from '../dialing/dial.ts'
import { offerCandidates } from './peer-candidates.ts'
import type { SessionState } from '../state.ts'

/** One datagram and the two that repeat it. */
const SHOWS = 3

/**
 * This machine has other addresses or routes than before: pauses that were for want of a way are over, and all paths are asked at once.
 * The peer is shown that the path in use still is, wherever it leaves from now: to a question alone it would answer, and not follow.
 */
export function onNetworkChange(state: SessionState, now: Now): void {
  const { dial, active } = state
  if (dial !== undefined && dial.quiet > 0) beginDial(state, now, dial.addresses, dial.rekey)
  resumeDials(state, now.mono)
  state.remotes?.hurry(now.mono)
  offerCandidates(state, now)
  state.punch?.changed()
  if (state.phase !== 'open' || active === undefined) return
  for (const path of state.paths) {
    if (path === undefined) continue
    // Where it left from may be gone, or be on a way that is none any more.
    path.local = 0
    if (!path.validation.pending) path.validation.begin()
  }
  state.pingWanted = true
  state.pathShows = SHOWS
}
