import { PosternError } from '../core/base/errors.ts'
import { CLIENT_CHANNELS_MAX, IPC_PROTOCOL, JSON_BODY_MAX, OPEN_REQUESTS_MAX } from '../core/wire/ipc.ts'
import type { IpcRequestFrame, JsonRpcId } from '../core/wire/ipc-json.ts'
import type { HelloRequest, HelloResult } from '../core/wire/ipc-methods.ts'
import { parseParams } from '../core/wire/ipc-params.ts'
import type { IpcGreeting } from './handler.ts'

/** What the first frame of a client comes to. */
export type GreetingStep =
  | { readonly kind: 'welcome'; readonly id: JsonRpcId; readonly hello: HelloRequest }
  /** Answered after a while; the client may try again. */
  | { readonly kind: 'wrong-key'; readonly id: JsonRpcId }
  /** Answered, and the connection closes. */
  | { readonly kind: 'refused'; readonly id: JsonRpcId | null; readonly error: PosternError }

/** @param frame what the first frame says; `undefined` for one that is not JSON-RPC at all. */
export function readGreeting(frame: IpcRequestFrame | undefined): GreetingStep {
  if (frame?.kind === 'malformed') return { kind: 'refused', id: frame.id, error: new PosternError(frame.code, frame.where) }
  if (frame?.method !== 'hello') {
    return { kind: 'refused', id: frame?.id ?? null, error: new PosternError('hello_first', 'The first frame must be a hello request.') }
  }
  const parsed = parseParams('hello', frame.params)
  if ('failure' in parsed) return { kind: 'refused', id: frame.id, error: parsed.failure }
  // No key can be right before this version has any.
  return parsed.request.key === undefined ? { kind: 'welcome', id: frame.id, hello: parsed.request } : { kind: 'wrong-key', id: frame.id }
}

export function wrongKey(): PosternError {
  return new PosternError('auth', 'The key is not valid.', { hint: 'This version has no API keys: leave "key" out.' })
}

/** The answer to hello. A version above ours is answered with ours: the client decides. */
export function helloResult(greeting: IpcGreeting, messageMax: number): HelloResult {
  const { daemon, peerId, instance, scopes } = greeting
  const limits = { message: messageMax, channels: CLIENT_CHANNELS_MAX, json: JSON_BODY_MAX, open: OPEN_REQUESTS_MAX }
  return { protocol: IPC_PROTOCOL, daemon, peerId, instance, scopes, limits, resumed: false, channels: [] }
}
