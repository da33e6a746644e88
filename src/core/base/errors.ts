/**
 * Every code that a client, the command line or a log can show, in one list: documented in docs/errors.md, stable for ever.
 * The client sees the code, the log sees the cause.
 */
export const errorCodes = [
  // JSON-RPC
  'parse', 'request', 'method', 'params', 'internal',
  // IPC (WIRE.md §8.1)
  'hello_first', 'auth', 'scope', 'limit', 'bad_peer_id', 'unknown_peer', 'shutting_down',
  'unreachable', 'timeout', 'refused', 'no_app', 'app_taken', 'unknown_channel', 'downgrade', 'policy',
  // IPC connection
  'protocol', 'slow_reader', 'credit', 'not_running', 'disconnected', 'aborted', 'closed', 'permission',
  // Daemon start-up
  'config', 'port_in_use', 'state_locked', 'state_corrupt', 'state_key', 'state_version', 'passphrase', 'unwritable', 'already_running', 'disk', 'start',
] as const

export type ErrorCode = (typeof errorCodes)[number]

/** What the machine, the user or another program refused: a stable code, one plain sentence, and what to do about it. */
export class PosternError extends Error {
  override readonly name = 'PosternError'
  readonly code: ErrorCode
  /** What the reader can do next, as a sentence or a command to type. */
  readonly hint: string | undefined
  /** Machine-readable details that belong to the code, for example which limit. */
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown; details?: Readonly<Record<string, unknown>> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.details = options.details
  }
}
