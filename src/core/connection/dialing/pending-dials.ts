import { second, toInstant, type Duration, type Instant } from '../../base/time.ts'
import type { DialDecision } from '../../path/path-log.ts'

/** Kinds of path that are connections: each is dialed in its own way. */
export const carrierKinds = ['tcp', 'ble'] as const
export type CarrierKind = (typeof carrierKinds)[number]

/** Connections of one session that are dialed at the same time. */
export const CARRIER_DIALS_MAX = 4
/** First pause after dials of a live session that led nowhere. */
export const PAUSE_FIRST: Duration = 2 * second

interface PendingDial {
  readonly token: number
  readonly decision: DialDecision
  readonly until: Instant
}

/** Connections of one kind that a session has asked for. Bounded: {@link CARRIER_DIALS_MAX} at once, further addresses have their turn next time. */
export class CarrierDials {
  readonly pending: PendingDial[] = []
  /** Not again before then. */
  nextAt: Instant = toInstant(0)
  pause: Duration = PAUSE_FIRST
  /** Of the list of addresses, where the next round begins. */
  turn = 0
  /** A connection that was there fell silent: its address is dialed again, also while dials of others wait for their answer. */
  severed = false
}
