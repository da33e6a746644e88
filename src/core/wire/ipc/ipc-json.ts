/**
 * JSON-RPC 2.0 as the local IPC uses it (WIRE.md §8.1): one object per frame, UTF-8, no batches. A request carries an id, and
 * the daemon sends only answers and notifications.
 */
import { fromUtf8 } from '../../base/bytes.ts'
import type { IpcErrorObject } from './ipc-errors.ts'

export type JsonRpcId = number | string

/** Longer ids are refused: an id is echoed, so it would be a client's way to make our answers long. */
export const REQUEST_ID_MAX = 64

export type JsonObject = Readonly<Record<string, unknown>>

export type IpcRequestFrame =
  | { readonly kind: 'request'; readonly id: JsonRpcId; readonly method: string; readonly params: JsonObject }
  /** To be answered with this error; `id` is the request's where it could be read. */
  | { readonly kind: 'malformed'; readonly id: JsonRpcId | null; readonly code: 'parse' | 'request' | 'params'; readonly where: string }

/** What a client sent. Any bytes are allowed. */
export function decodeRequest(bytes: Uint8Array, offset: number, length: number): IpcRequestFrame {
  const value = parseJson(bytes, offset, length)
  if (value === undefined) return { kind: 'malformed', id: null, code: 'parse', where: 'The frame is not JSON in UTF-8.' }
  if (Array.isArray(value)) return { kind: 'malformed', id: null, code: 'request', where: 'Batches are not spoken here: one object per frame.' }
  if (!isObject(value)) return { kind: 'malformed', id: null, code: 'request', where: 'A request is an object.' }
  const id = value['id']
  if (!isId(id)) return { kind: 'malformed', id: null, code: 'request', where: `A request has an id: a whole number or a string of at most ${REQUEST_ID_MAX} characters.` }
  if (value['jsonrpc'] !== '2.0') return { kind: 'malformed', id, code: 'request', where: 'jsonrpc must be "2.0".' }
  const { method, params } = value
  if (typeof method !== 'string') return { kind: 'malformed', id, code: 'request', where: 'method must be a string.' }
  if (params === undefined) return { kind: 'request', id, method, params: {} }
  if (!isObject(params)) return { kind: 'malformed', id, code: 'params', where: 'params must be an object.' }
  return { kind: 'request', id, method, params }
}

export type IpcReplyFrame =
  | { readonly kind: 'result'; readonly id: JsonRpcId; readonly result: unknown }
  | { readonly kind: 'error'; readonly id: JsonRpcId | null; readonly error: IpcErrorObject }
  | { readonly kind: 'event'; readonly name: string; readonly params: JsonObject }
  | { readonly kind: 'malformed'; readonly where: string }

/** What the daemon sent. Any bytes are allowed. */
export function decodeReply(bytes: Uint8Array, offset: number, length: number): IpcReplyFrame {
  const value = parseJson(bytes, offset, length)
  if (!isObject(value)) return { kind: 'malformed', where: 'not a JSON object' }
  const { id, method, params, error } = value
  if (typeof method === 'string') return { kind: 'event', name: method, params: isObject(params) ? params : {} }
  if (error !== undefined) return decodeError(isId(id) ? id : null, error)
  if (!isId(id) || !('result' in value)) return { kind: 'malformed', where: 'neither answer nor event' }
  return { kind: 'result', id, result: value['result'] }
}

export function encodeRequest(id: JsonRpcId, method: string, params: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params })
}

export function encodeResult(id: JsonRpcId, result: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result })
}

export function encodeError(id: JsonRpcId | null, error: IpcErrorObject): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error })
}

export function encodeEvent(name: string, params: object): string {
  return JSON.stringify({ jsonrpc: '2.0', method: name, params })
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function decodeError(id: JsonRpcId | null, error: unknown): IpcReplyFrame {
  if (!isObject(error)) return { kind: 'malformed', where: 'error is not an object' }
  const { code, message, data } = error
  const { code: name, hint, ...details } = isObject(data) ? data : {}
  return {
    kind: 'error', id,
    error: {
      code: typeof code === 'number' ? code : 0,
      message: typeof message === 'string' ? message : 'The daemon gave no reason.',
      data: { ...details, code: typeof name === 'string' ? name : 'internal', ...(typeof hint === 'string' ? { hint } : {}) },
    },
  }
}

function isId(id: unknown): id is JsonRpcId {
  return typeof id === 'string' ? id.length <= REQUEST_ID_MAX : Number.isSafeInteger(id)
}

/** `undefined` for what is not JSON; JSON itself has no such value. */
function parseJson(bytes: Uint8Array, offset: number, length: number): unknown {
  const text = fromUtf8(bytes.subarray(offset, offset + length))
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** No members. */
export type Nothing = Readonly<Record<string, never>>
