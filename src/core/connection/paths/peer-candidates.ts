import { after, never, second, type Duration, type Now } from '../../base/time.ts'
import { PeerCandidates } from '../../path/candidates.ts'
import type { CandidatesFrame } from '../../wire/candidates-frame.ts'
import { beginDial } from '../dialing/dial.ts'
import { remotesOf } from './path-switch.ts'
import { scheduleProbing } from './probing.ts'
import { isFallback } from './selection.ts'
import type { SessionState } from '../state.ts'

/** [P] Between two times that candidates of the peer hurry the questions where it answered before. */
const HURRY_PAUSE: Duration = 2 * second

/**
 * The peer told where it may be reached. While a connection carries the traffic each UDP address of it is asked whether it answers (five times,
 * then rarely: `core/path/remotes`); and when every path is lost it is dialed there too.
 */
export function onCandidates(state: SessionState, now: Now, { generation, candidates }: CandidatesFrame): void {
  if (state.restricted) return
  const known = (state.candidates ??= new PeerCandidates())
  if (!known.take(now.mono, generation, candidates)) return
  state.punch?.changed()
  const { counters } = state.host
  counters.add('candidates_received', candidates.length)
  const asked = candidatesOf(state, now)
  counters.add('candidates_refused', candidates.length - asked.length - candidatesOf(state, now, 'tcp').length)
  // The peer is elsewhere than it was: where it answered before is asked at once, too.
  hurryProven(state, now)
  offerCandidates(state, now)
}

/** However often it tells: its word costs questions to every port that it was ever seen at. */
function hurryProven(state: SessionState, now: Now): void {
  if (state.hurriedAt !== never && now.mono < after(state.hurriedAt, HURRY_PAUSE)) return
  state.hurriedAt = now.mono
  state.remotes?.hurry(now.mono, 'proven')
}

/** While a connection carries the traffic: where the peer says that it is may be asked now, also what could not be before this node was elsewhere. */
export function offerCandidates(state: SessionState, now: Now): void {
  if (!isFallback(state)) return
  const remotes = remotesOf(state)
  for (const address of candidatesOf(state, now)) remotes.offer(address)
  scheduleProbing(state, now)
}

/** The user, or somebody whom it trusts, named addresses of the peer: a dial that runs goes there as well, and a session on a connection asks there at once. */
export function onNamed(state: SessionState, now: Now, addresses: readonly Uint8Array[]): void {
  if (addresses.length === 0 || state.restricted) return
  if (state.dial?.rekey === false) beginDial(state, now, addresses, false)
  if (!isFallback(state)) return
  const remotes = remotesOf(state)
  for (const address of addresses) remotes.name(now.mono, address)
  scheduleProbing(state, now)
}

/** Where the peer says that it is, as far as it may be asked there; the best first. */
export function candidatesOf(state: SessionState, now: Now, by: 'udp' | 'tcp' = 'udp'): readonly Uint8Array[] {
  return state.candidates?.asked(now.mono, state.host.candidates.candidates, by) ?? []
}
