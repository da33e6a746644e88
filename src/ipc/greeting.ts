import { PosternError } from '../core/base/errors.ts'
import { CLIENT_CHANNELS_MAX, IPC_PROTOCOL, JSON_BODY_MAX, OPEN_REQUESTS_MAX } from '../core/wire/ipc/ipc.ts'
import type { IpcRequestFrame, JsonRpcId } from '../core/wire/ipc/ipc-json.ts'
import { millisecond, type Duration } from '../core/base/time.ts'
import type { HelloRequest, HelloResult, IpcScope, ResumedChannel } from '../core/wire/ipc/ipc-methods.ts'
import { parseParams } from '../core/wire/ipc/ipc-params.ts'
import type { IpcGreeting } from './handler.ts'

/** What the first frame of a client comes to. */
export type GreetingStep =
  | { readonly kind: 'welcome'; readonly id: JsonRpcId; readonly hello: HelloRequest }
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
  return { kind: 'welcome', id: frame.id, hello: parsed.request }
}

export function wrongKey(): PosternError {
  return new PosternError('auth', 'The key is not valid.', { hint: 'It may have been revoked: postern keys list' })
}

/** What of the answer to hello is the connection's own. */
export interface Welcome {
  readonly scopes: readonly IpcScope[]
  readonly messageMax: number
  /** `undefined`: this client cannot resume. */
  readonly resume: string | undefined
  readonly linger: Duration
  /** `undefined`: it is new. */
  readonly channels: readonly ResumedChannel[] | undefined
}

/** The answer to hello. A version above ours is answered with ours: the client decides. */
export function helloResult(greeting: IpcGreeting, welcome: Welcome): HelloResult {
  const { daemon, peerId, instance } = greeting
  const { scopes, messageMax, resume, linger, channels } = welcome
  const limits = { message: messageMax, channels: CLIENT_CHANNELS_MAX, json: JSON_BODY_MAX, open: OPEN_REQUESTS_MAX }
  return {
    protocol: IPC_PROTOCOL, daemon, peerId, instance, scopes, limits, ...(resume === undefined ? {} : { resume, lingerMs: linger / millisecond }),
    resumed: channels !== undefined, channels: channels ?? [],
  }
}
