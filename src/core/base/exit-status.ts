import type { ErrorCode } from './errors.ts'

/** Exit statuses as sysexits.h has them, so that service managers and scripts can tell causes apart. Anything else is 1. */
const statuses: Partial<Record<ErrorCode, number>> = {
  params: 64, method: 64, bad_peer_id: 64,
  state_corrupt: 65, state_version: 65,
  not_running: 69, unreachable: 69, timeout: 75, disconnected: 69, shutting_down: 69,
  internal: 70,
  port_in_use: 71, start: 71,
  unwritable: 73, disk: 74,
  already_running: 75, state_locked: 75,
  permission: 77, passphrase: 77, state_key: 77,
  config: 78,
}

export function exitStatus(code: ErrorCode): number {
  return statuses[code] ?? 1
}
