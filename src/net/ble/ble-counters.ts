import { Counters } from '../../core/base/counters.ts'

const names = [
  'ble_adapter_changes', 'ble_advertisements', 'ble_dials', 'ble_dials_refused', 'ble_dials_failed', 'ble_opened', 'ble_refused', 'ble_confirmed', 'ble_closed', 'ble_failed',
  'ble_received_datagrams', 'ble_received_bytes', 'ble_received_batches', 'ble_received_values', 'ble_dropped_datagrams', 'ble_paused',
  'ble_dropped_hci', 'ble_dropped_l2cap', 'ble_dropped_att', 'ble_dropped_security', 'ble_dropped_signaling',
  'ble_sent_datagrams', 'ble_sent_bytes', 'ble_sent_values', 'ble_blocked', 'ble_overflow_datagrams', 'ble_unsent_lost_bytes',
  'ble_end_local', 'ble_end_bye', 'ble_end_hello_timeout', 'ble_end_credit_timeout', 'ble_end_confirm_timeout', 'ble_end_stalled', 'ble_end_version', 'ble_end_hello',
  'ble_end_malformed', 'ble_end_flow', 'ble_end_lost', 'ble_end_evicted', 'ble_end_cancelled', 'ble_end_driver_closed', 'ble_end_off', 'ble_end_resting', 'ble_end_timeout', 'ble_end_refused',
] as const

export type BleCounter = (typeof names)[number]

export function newBleCounters(): Counters<BleCounter> {
  return new Counters<BleCounter>(names)
}
