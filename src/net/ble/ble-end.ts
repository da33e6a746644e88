import { PosternError, type ErrorCode } from '../../core/base/errors.ts'
import type { BleLinkEnd } from '../../core/ble/link.ts'
import type { DialFailure } from '../../core/ble/radio.ts'
import type { BleCounter } from './ble-counters.ts'

/** Every way in which a link or a dial ends. lost: the radio says so · evicted: it made room · off: the adapter went · driver_closed: so did the driver */
export type BleEndReason = BleLinkEnd | DialFailure | 'lost' | 'evicted' | 'driver_closed'

interface EndKind {
  readonly state: 'closed' | 'failed'
  /** `undefined`: our own side wanted it, there is nothing to explain. */
  readonly code: ErrorCode | undefined
  /** Completes "The Bluetooth link with … ". */
  readonly what: string
}

const kinds: Readonly<Record<BleEndReason, EndKind>> = {
  local: { state: 'closed', code: undefined, what: 'was closed by this side' },
  bye: { state: 'closed', code: 'disconnected', what: 'was closed by the other side' },
  hello_timeout: { state: 'failed', code: 'timeout', what: 'was made, but nothing came over it' },
  credit_timeout: { state: 'failed', code: 'slow_reader', what: 'took nothing of what was queued' },
  confirm_timeout: { state: 'failed', code: 'timeout', what: 'carried no session in time' },
  stalled: { state: 'failed', code: 'timeout', what: 'is stuck in the adapter' },
  version: { state: 'failed', code: 'protocol', what: 'speaks another version' },
  hello: { state: 'failed', code: 'protocol', what: 'does not lead to a Postern node' },
  malformed: { state: 'failed', code: 'protocol', what: 'carried what is no part of a datagram' },
  flow: { state: 'failed', code: 'protocol', what: 'carried more than was allowed' },
  lost: { state: 'failed', code: 'disconnected', what: 'was lost' },
  evicted: { state: 'failed', code: 'limit', what: 'made room for a newer one before anybody was authenticated on it' },
  driver_closed: { state: 'closed', code: 'closed', what: 'was called off because the driver closes' },
  off: { state: 'failed', code: 'unreachable', what: 'has no adapter' },
  resting: { state: 'failed', code: 'unreachable', what: 'failed a moment ago, and rests' },
  timeout: { state: 'failed', code: 'timeout', what: 'was not answered in time' },
  refused: { state: 'failed', code: 'unreachable', what: 'could not be made' },
  cancelled: { state: 'failed', code: 'aborted', what: 'was called off' },
}

export function endState(reason: BleEndReason): 'closed' | 'failed' {
  return kinds[reason].state
}

export function endCounter(reason: BleEndReason): BleCounter {
  return `ble_end_${reason}`
}

/** For the host; `undefined` when there is nothing to explain. */
export function explainEnd(reason: BleEndReason, address: string, detail: string): PosternError | undefined {
  const { code, what } = kinds[reason]
  if (code === undefined) return undefined
  return new PosternError(code, `The Bluetooth link with ${address} ${what}${detail === '' ? '' : ` (${detail})`}.`, { details: { address, reason } })
}
