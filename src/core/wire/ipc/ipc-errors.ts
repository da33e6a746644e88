import { errorCodes, PosternError, type ErrorCode } from '../../base/errors.ts'

export type IpcErrorCode = Extract<ErrorCode,
  | 'parse' | 'request' | 'method' | 'params' | 'internal'
  | 'hello_first' | 'auth' | 'scope' | 'limit' | 'bad_peer_id' | 'unknown_peer' | 'shutting_down'
  | 'unreachable' | 'timeout' | 'refused' | 'no_app' | 'app_taken' | 'unknown_channel' | 'downgrade' | 'policy'>

/** `error.code` of JSON-RPC for each `error.data.code` (WIRE.md §8.1). Clients match the text, the number is for JSON-RPC tools. */
export const ipcErrorNumbers: Readonly<Record<IpcErrorCode, number>> = {
  parse: -32700, request: -32600, method: -32601, params: -32602, internal: -32603,
  hello_first: -32000, auth: -32001, scope: -32002, limit: -32003, bad_peer_id: -32004, unknown_peer: -32005, shutting_down: -32006,
  unreachable: -32010, timeout: -32011, refused: -32012, no_app: -32013, app_taken: -32014, unknown_channel: -32015, downgrade: -32016, policy: -32017,
}

/** The `error` member of an answer. */
export interface IpcErrorObject {
  readonly code: number
  readonly message: string
  readonly data: { readonly code: string; readonly hint?: string } & Readonly<Record<string, unknown>>
}

/** The number of a code; a code without one of its own travels as `internal`, with its own text in `data.code`. */
export function ipcErrorNumber(code: ErrorCode): number {
  const known: Partial<Record<ErrorCode, number>> = ipcErrorNumbers
  return known[code] ?? ipcErrorNumbers.internal
}

/** What a client sees of an error: code, sentence, hint and details, never the cause. */
export function toIpcError(error: PosternError): IpcErrorObject {
  const hint = error.hint === undefined ? {} : { hint: error.hint }
  return { code: ipcErrorNumber(error.code), message: error.message, data: { ...error.details, ...hint, code: error.code } }
}

const known: ReadonlySet<string> = new Set(errorCodes)

/** Whether a text is one of our codes: another side may be newer. */
export function isErrorCode(code: string): code is ErrorCode {
  return known.has(code)
}

/** The error that an `error` member stands for. A code we do not know becomes `internal` and stands in `details.code`. */
export function fromIpcError(error: IpcErrorObject): PosternError {
  const { code, hint, ...details } = error.data
  const options = hint === undefined ? {} : { hint }
  if (isErrorCode(code)) return new PosternError(code, error.message, { ...options, details })
  return new PosternError('internal', error.message, { ...options, details: { ...details, code } })
}
