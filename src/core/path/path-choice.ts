import type { LinkKind, PathRule } from '../base/domain.ts'
import { millisecond, type Duration } from '../base/time.ts'
import { allows, anyPath, tierOf, type PathPolicy } from './path-policy.ts'

/**
 * What is known of a path at this moment.
 * proven: it answered lately, and nothing speaks against it · asked: a challenge waits for its answer, or it never answered ·
 * silent: it does not answer · refused: the system does not send on it · quarantined: it answers probes but carries no data
 */
export type Standing = 'proven' | 'asked' | 'silent' | 'refused' | 'quarantined'

/** What the choice between two paths looks at. */
export interface PathQuality {
  readonly kind: LinkKind
  readonly standing: Standing
  /** `undefined` before the first sample. */
  readonly rtt: Duration | undefined
  /** Share of packets lost lately, 0 … 1. */
  readonly loss: number
  readonly active: boolean
  /** Of two connections between the same peers, both sides use the one that the lower id dialed: else each could use another. */
  readonly secondary?: boolean
}

/** A path of the same tier must be this much better before it takes over: flapping costs more than a few milliseconds. */
const STICKY_SHARE = 0.2
const STICKY_TIME: Duration = 5 * millisecond
/** Loss counts as so much longer a round trip: at 10 % a path looks twice as slow. */
const LOSS_WEIGHT = 10

/** Smaller is better; only within one tier. */
export function pathCost(path: PathQuality): number {
  const rtt = path.rtt ?? 333 * millisecond
  const cost = rtt * (1 + LOSS_WEIGHT * path.loss)
  return path.active ? cost : cost * (1 + STICKY_SHARE) + STICKY_TIME
}

/** Whether `a` should carry the traffic rather than `b`: one that works, of the better tier, primary, then the cheaper one. */
export function betterPath(a: PathQuality, b: PathQuality, policy: PathPolicy = anyPath): boolean {
  const usable = isUsable(a, policy)
  if (usable !== isUsable(b, policy)) return usable
  const difference = tierOf(policy, a.kind) - tierOf(policy, b.kind)
  if (difference !== 0) return difference < 0
  if (a.secondary !== b.secondary) return a.secondary !== true
  return pathCost(a) < pathCost(b)
}

/** Proven, and of a kind that the user lets be used. */
export function isUsable(path: PathQuality, policy: PathPolicy): boolean {
  return path.standing === 'proven' && allows(policy, path.kind)
}

/** Index of the path that should carry the traffic, −1 when none can. The active one stays unless another is usable and better. */
export function choosePath(paths: readonly PathQuality[], policy: PathPolicy): number {
  let best = paths.findIndex((path) => path.active)
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i]!
    if (path.active || !isUsable(path, policy)) continue
    if (best < 0 || betterPath(path, paths[best]!, policy)) best = i
  }
  return best
}

/** Why the traffic goes from one path to a better one. */
export function ruleOf(from: PathQuality | undefined, to: PathQuality, policy: PathPolicy): PathRule {
  if (from === undefined) return 'only'
  if (from.standing === 'refused') return 'refused'
  if (from.standing === 'silent' || from.standing === 'quarantined') return 'black_hole'
  if (!allows(policy, from.kind)) return 'policy'
  if (from.standing === 'proven' && tierOf(policy, to.kind) !== tierOf(policy, from.kind)) return policy.prefer === to.kind ? 'policy' : 'tier'
  return 'preferred'
}
