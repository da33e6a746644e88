import { Counters } from '../core/base/counters.ts'

const codes = ['EMSGSIZE', 'ENOBUFS', 'EAGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'ENETDOWN', 'EPERM', 'EACCES', 'EADDRNOTAVAIL', 'EINVAL', 'EAFNOSUPPORT', 'ECANCELED'] as const
type Code = Lowercase<(typeof codes)[number]> | 'other'

export type UdpCounter =
  | 'udp_sent_datagrams' | 'udp_sent_bytes' | 'udp_received_datagrams' | 'udp_received_bytes' | 'udp_received_batches'
  | 'udp_received_empty' | 'udp_received_unreadable_source' | 'udp_ttl_ignored' | 'udp_source_gone' | 'udp_icmp_errors' | 'udp_blocked' | 'udp_failed' | 'udp_receive_errors'
  | `udp_send_errors_${Code}`

const plain = [
  'udp_sent_datagrams', 'udp_sent_bytes', 'udp_received_datagrams', 'udp_received_bytes', 'udp_received_batches',
  'udp_received_empty', 'udp_received_unreadable_source', 'udp_ttl_ignored', 'udp_source_gone', 'udp_icmp_errors', 'udp_blocked', 'udp_failed', 'udp_receive_errors',
] as const

const byCode = new Map<string, UdpCounter>(codes.map((code) => [code, `udp_send_errors_${code.toLowerCase() as Lowercase<typeof code>}`]))

export function newUdpCounters(): Counters<UdpCounter> {
  return new Counters<UdpCounter>([...plain, ...byCode.values(), 'udp_send_errors_other'])
}

/** The counter of a failed send. The list of codes is fixed, so that no error can grow it. */
export function sendErrorCounter(code: string): UdpCounter {
  return byCode.get(code) ?? 'udp_send_errors_other'
}
