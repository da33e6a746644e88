import { Counters } from '../core/base/counters.ts'

const names = [
  'tcp_accepted', 'tcp_accept_errors', 'tcp_dials', 'tcp_dials_refused', 'tcp_dials_failed', 'tcp_local_port_refused',
  'tcp_opened', 'tcp_confirmed', 'tcp_closed', 'tcp_failed',
  'tcp_received_datagrams', 'tcp_received_bytes', 'tcp_received_batches', 'tcp_unconfirmed_held', 'tcp_paused',
  'tcp_sent_datagrams', 'tcp_sent_bytes', 'tcp_writes', 'tcp_writes_waited', 'tcp_blocked', 'tcp_overflow_datagrams', 'tcp_unsent_lost_bytes',
  'tcp_end_local', 'tcp_end_peer_closed', 'tcp_end_undelivered', 'tcp_end_bad_preface', 'tcp_end_preface_timeout', 'tcp_end_before_preface',
  'tcp_end_confirm_timeout', 'tcp_end_bad_length', 'tcp_end_record_timeout', 'tcp_end_inside_record', 'tcp_end_slow_reader', 'tcp_end_evicted',
  'tcp_end_connect_timeout', 'tcp_end_cancelled', 'tcp_end_driver_closed', 'tcp_end_own_address', 'tcp_end_refused', 'tcp_end_unreachable', 'tcp_end_reset',
  'tcp_end_timed_out', 'tcp_end_no_resources', 'tcp_end_other',
] as const

export type TcpCounter = (typeof names)[number]

export function newTcpCounters(): Counters<TcpCounter> {
  return new Counters<TcpCounter>(names)
}
