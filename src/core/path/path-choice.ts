import type { LinkKind } from '../base/domain.ts'
import { millisecond, type Duration } from '../base/time.ts'

/** What the choice between two paths looks at. */
export interface PathQuality {
  readonly kind: LinkKind
  readonly validated: boolean
  /** `undefined` before the first sample. */
  readonly rtt: Duration | undefined
  /** Share of packets lost lately, 0 … 1. */
  readonly loss: number
  readonly active: boolean
}

/** Direct UDP before direct TCP before relays before Bluetooth (DESIGN §6). */
const TIER: Readonly<Record<LinkKind, number>> = { udp: 0, tcp: 1, relay: 2, turn: 2, ble: 3 }

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

/** Whether `a` should carry the traffic rather than `b`. Validated before not, then by tier, then by cost with stickiness. */
export function betterPath(a: PathQuality, b: PathQuality): boolean {
  if (a.validated !== b.validated) return a.validated
  if (TIER[a.kind] !== TIER[b.kind]) return TIER[a.kind] < TIER[b.kind]
  return pathCost(a) < pathCost(b)
}
