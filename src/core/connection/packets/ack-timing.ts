import type { LinkKind } from '../../base/domain.ts'
import { after, millisecond, type Duration, type Now } from '../../base/time.ts'
import { BLE_MAX_ACK_DELAY_MS } from '../../wire/handshake-payload.ts'
import type { Keys } from '../keys/keys.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Every second ack-eliciting packet is acknowledged at once (WIRE.md §6). */
const ACK_EVERY = 2
/** On Bluetooth datagrams are small, an ACK is a tenth of one, and both directions share the radio: every fourth (decision 126). */
const ACK_EVERY_BLE = 4

/**
 * How long an ACK may wait on a path of this kind. On Bluetooth each costs a turn of the radio. LIMITS say one number for all paths of a session,
 * which may begin on any of them, so both sides know this one by themselves (decision 109).
 */
export function ackDelayOn(kind: LinkKind | undefined, other: Duration): Duration {
  return kind === 'ble' ? Math.max(BLE_MAX_ACK_DELAY_MS * millisecond, other) : other
}

/** One packet arrived whole: whether and how soon it is to be acknowledged. */
export function noteReceived(now: Now, keys: Keys, number: number, newest: boolean, eliciting: boolean, atOnce: boolean): void {
  const inOrder = keys.acks.insert(number)
  if (newest) keys.largestAt = now.mono
  if (!eliciting) return
  keys.ackPending++
  if (!inOrder || atOnce) keys.ackNow = true
}

/** All datagrams of a batch were read. */
export function decideAcks(state: SessionState, now: Now): void {
  const { current, previous } = state
  if (current !== undefined) decideAck(state, now, current)
  if (previous !== undefined) decideAck(state, now, previous)
}

function decideAck(state: SessionState, now: Now, keys: Keys): void {
  if (keys.ackPending >= (state.active?.kind === 'ble' ? ACK_EVERY_BLE : ACK_EVERY)) keys.ackNow = true
  else if (keys.ackPending > 0 && !keys.ackNow) state.timers.setEarlier(timer.ack, after(now.mono, ackDelayOn(state.active?.kind, state.host.config.maxAckDelay)))
}

/** The `ack` timer: what waited has waited long enough. */
export function ackNow({ current, previous }: SessionState): void {
  if (current !== undefined && current.ackPending > 0) current.ackNow = true
  if (previous !== undefined && previous.ackPending > 0) previous.ackNow = true
}
