import { never, type Instant } from '../../base/time.ts'
import type { PathQuality, Standing } from '../../path/path-choice.ts'
import type { PathView } from '../../path/path-log.ts'
import { allows } from '../../path/path-policy.ts'
import type { SessionPath } from './session-path.ts'
import { leaveAt } from './silence.ts'
import type { SessionState } from '../state.ts'

/** What speaks for or against a path now. */
export function standingOf(state: SessionState, now: Instant, path: SessionPath): Standing {
  if (path.refusedAt !== never) return 'refused'
  if (!path.reliable && state.remotes?.quarantined(now, path.address) === true) return 'quarantined'
  const { validation } = path
  if (path === state.active) {
    if (now >= leaveAt(state, path)) return 'silent'
    return validation.validated ? 'proven' : 'asked'
  }
  if (validation.unanswered) return 'silent'
  if (!validation.sound) return 'asked'
  // While the one in use is silent, only an answer since then counts: what silenced that one may have silenced this one too.
  const since = state.active?.doubtedSince ?? never
  return since !== never && path.provenAt < since ? 'asked' : 'proven'
}

export function qualityOf(state: SessionState, now: Instant, path: SessionPath): PathQuality {
  return { ...viewOf(state, now, path), active: path === state.active, secondary: path.secondary }
}

/** The same as data that may be kept. */
export function viewOf(state: SessionState, now: Instant, path: SessionPath): PathView {
  const { rtt, packetsLost, packetsSent } = path.recovery
  return {
    kind: path.kind, address: path.address, standing: standingOf(state, now, path), rtt: rtt.hasSample ? rtt.smoothed : undefined,
    loss: packetsSent === 0 ? 0 : packetsLost / packetsSent,
  }
}

export function viewsOf(state: SessionState, now: Instant): PathView[] {
  const views: PathView[] = []
  for (const path of state.paths) if (path !== undefined) views.push(viewOf(state, now, path))
  // Kept with decisions: without the room that pushing made.
  return views.slice()
}

/** Whether a better kind of path than the one in use could exist: UDP, while a connection carries the traffic. */
export function isFallback(state: SessionState): boolean {
  const { active, policy } = state
  // A stranger who compares a code is asked for nothing else.
  return active?.reliable === true && !state.restricted && policy.prefer !== active.kind && allows(policy, 'udp')
}
