import { formatAddress } from '../core/base/address.ts'
import { PosternError, type ErrorCode } from '../core/base/errors.ts'
import type { TcpCounter } from './tcp-counters.ts'
import { codeOf } from './udp-open.ts'

interface EndKind {
  readonly counter: TcpCounter
  /** `closed` when somebody wanted it, `failed` for all else. */
  readonly state: 'closed' | 'failed'
  /** `undefined`: our own side wanted it, there is nothing to explain. */
  readonly code: ErrorCode | undefined
  /** Completes "The TCP connection to … ". */
  readonly what: string
}

/** Every way in which a connection or a dial can end. */
export type TcpEndReason =
  // By somebody's wish.
  | 'local' | 'peer_closed' | 'undelivered' | 'cancelled' | 'driver_closed'
  // By what the other side sent, or did not.
  | 'bad_preface' | 'preface_timeout' | 'before_preface' | 'confirm_timeout' | 'bad_length' | 'record_timeout' | 'inside_record' | 'slow_reader' | 'evicted'
  // By what the system says.
  | 'connect_timeout' | 'own_address' | 'refused' | 'unreachable' | 'reset' | 'timed_out' | 'no_resources' | 'other'

const kinds: Readonly<Record<TcpEndReason, EndKind>> = {
  local: { counter: 'tcp_end_local', state: 'closed', code: undefined, what: 'was closed by this side' },
  peer_closed: { counter: 'tcp_end_peer_closed', state: 'closed', code: 'disconnected', what: 'was closed by the other side' },
  undelivered: { counter: 'tcp_end_undelivered', state: 'closed', code: 'timeout', what: 'was closed before the other side took all that was queued' },
  bad_preface: { counter: 'tcp_end_bad_preface', state: 'failed', code: 'protocol', what: 'does not lead to a Postern node' },
  preface_timeout: { counter: 'tcp_end_preface_timeout', state: 'failed', code: 'timeout', what: 'was made, but nothing came over it' },
  before_preface: { counter: 'tcp_end_before_preface', state: 'failed', code: 'refused', what: 'was accepted and closed at once' },
  confirm_timeout: { counter: 'tcp_end_confirm_timeout', state: 'failed', code: 'timeout', what: 'carried no session in time' },
  bad_length: { counter: 'tcp_end_bad_length', state: 'failed', code: 'protocol', what: 'carried a record whose length is out of bounds' },
  record_timeout: { counter: 'tcp_end_record_timeout', state: 'failed', code: 'timeout', what: 'did not complete a record in time' },
  inside_record: { counter: 'tcp_end_inside_record', state: 'failed', code: 'disconnected', what: 'ended inside a record' },
  slow_reader: { counter: 'tcp_end_slow_reader', state: 'failed', code: 'slow_reader', what: 'took nothing of what was queued' },
  evicted: { counter: 'tcp_end_evicted', state: 'failed', code: 'limit', what: 'made room for a newer one before anybody was authenticated on it' },
  connect_timeout: { counter: 'tcp_end_connect_timeout', state: 'failed', code: 'timeout', what: 'was not answered in time' },
  cancelled: { counter: 'tcp_end_cancelled', state: 'failed', code: 'aborted', what: 'was called off' },
  driver_closed: { counter: 'tcp_end_driver_closed', state: 'closed', code: 'closed', what: 'was called off because the driver closes' },
  own_address: { counter: 'tcp_end_own_address', state: 'failed', code: 'refused', what: 'led back to itself' },
  refused: { counter: 'tcp_end_refused', state: 'failed', code: 'refused', what: 'was refused' },
  unreachable: { counter: 'tcp_end_unreachable', state: 'failed', code: 'unreachable', what: 'has no way to go' },
  reset: { counter: 'tcp_end_reset', state: 'failed', code: 'disconnected', what: 'was reset' },
  timed_out: { counter: 'tcp_end_timed_out', state: 'failed', code: 'timeout', what: 'timed out in the system' },
  no_resources: { counter: 'tcp_end_no_resources', state: 'failed', code: 'limit', what: 'found the system out of sockets or memory' },
  other: { counter: 'tcp_end_other', state: 'failed', code: 'disconnected', what: 'failed' },
}

const reasonByCode: ReadonlyMap<string, TcpEndReason> = new Map<string, TcpEndReason>([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'reset'], ['EPIPE', 'reset'], ['ECONNABORTED', 'reset'], ['ENOTCONN', 'reset'],
  ['ETIMEDOUT', 'timed_out'],
  ...['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EADDRNOTAVAIL', 'EADDRINUSE', 'EINVAL', 'EAFNOSUPPORT', 'EACCES', 'EPERM', 'ENETRESET'].map((code): [string, TcpEndReason] => [code, 'unreachable']),
  ...['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'].map((code): [string, TcpEndReason] => [code, 'no_resources']),
])

/** What an error of the system means for the connection it struck. */
export function reasonOf(error: Error): TcpEndReason {
  return reasonByCode.get(codeOf(error)) ?? 'other'
}

export interface TcpEnd {
  readonly state: 'closed' | 'failed'
  readonly reason: TcpEndReason
  readonly error: Error | undefined
}

/** @param wanted by this side: then it is `closed`, however it went. */
export function endOf(reason: TcpEndReason, error: Error | undefined, wanted: boolean): TcpEnd {
  return { state: wanted ? 'closed' : kinds[reason].state, reason, error }
}

export function endCounter(reason: TcpEndReason): TcpCounter {
  return kinds[reason].counter
}

/** For the host; `undefined` when there is nothing to explain. Made only for who is told: a flood of strangers costs no stack traces. */
export function explainEnd(end: TcpEnd, remote: Uint8Array): PosternError | undefined {
  const { code, what } = kinds[end.reason]
  if (code === undefined) return undefined
  const address = formatAddress(remote)
  const system = end.error === undefined ? '' : ` (${codeOf(end.error)})`
  return new PosternError(code, `The TCP connection with ${address} ${what}${system}.`, {
    details: { address, reason: end.reason }, ...(end.error === undefined ? {} : { cause: end.error }),
  })
}
