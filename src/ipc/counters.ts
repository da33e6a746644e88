/** Everything the server counts: what it did, what it refused, and why connections ended. */
export const ipcCounterNames = [
  'ipc_clients_opened', 'ipc_clients_closed', 'ipc_clients_refused', 'ipc_clients_forbidden', 'ipc_clients_over_user', 'ipc_clients_lost', 'ipc_clients_resumed', 'ipc_requests', 'ipc_request_errors',
  'ipc_messages_in', 'ipc_messages_out', 'ipc_message_bytes_in', 'ipc_message_bytes_out',
  'ipc_ignored_kinds', 'ipc_ignored_closed_channel', 'ipc_ignored_repeats', 'ipc_notices_lost',
  'ipc_channel_no_credit', 'ipc_channel_protocol', 'ipc_channel_too_large',
  'ipc_end_protocol', 'ipc_end_hello_first', 'ipc_end_hello_timeout', 'ipc_end_auth', 'ipc_end_slow_reader', 'ipc_end_mid_frame', 'ipc_end_socket_error',
  'ipc_auth_failures', 'ipc_faults',
] as const

export type IpcCounterName = (typeof ipcCounterNames)[number]
