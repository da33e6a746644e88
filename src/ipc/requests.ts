import { PosternError } from '../core/base/errors.ts'
import { utf8 } from '../core/base/bytes.ts'
import { JSON_BODY_MAX, OPEN_REQUESTS_MAX } from '../core/wire/ipc/ipc.ts'
import { toIpcError } from '../core/wire/ipc/ipc-errors.ts'
import { encodeError, encodeResult, type JsonObject, type JsonRpcId } from '../core/wire/ipc/ipc-json.ts'
import { laterMethods, type ChannelAcceptResult, type ChannelOpenResult, type IpcCall, type IpcRequest, type IpcResult } from '../core/wire/ipc/ipc-methods.ts'
import { isIpcCall, parseParams } from '../core/wire/ipc/ipc-params.ts'
import type { ChannelRow, ChannelTable } from './channel-table.ts'
import type { IpcCounterName } from './counters.ts'
import type { IpcClient, IpcHandler } from './handler.ts'
import { missingScope } from './scopes.ts'

/** What the requests of one client need of its session. */
export interface RequestContext {
  readonly client: IpcClient
  readonly handler: IpcHandler
  readonly channels: ChannelTable
  /** What stands for the connection the client has now; `undefined`: answers do not reach it. */
  readonly connection: () => object | undefined
  /** Queues a JSON text. */
  readonly write: (text: Uint8Array) => void
  /** The answer to open went out: kept messages may follow. */
  readonly announce: (row: ChannelRow) => void
  readonly count: (name: IpcCounterName) => void
}

/**
 * The requests of one client: checks method, parameters, scope and channel, calls the handler, writes the answer when it
 * comes, in whatever order. At most 64 without an answer; one more is answered `limit`.
 */
export class ClientRequests {
  readonly #context: RequestContext
  #open = 0

  constructor(context: RequestContext) {
    this.#context = context
  }

  get open(): number {
    return this.#open
  }

  /** Answers or begins one request. Nothing is thrown. */
  handle(id: JsonRpcId, method: string, params: JsonObject): void {
    this.#context.count('ipc_requests')
    if (this.#open >= OPEN_REQUESTS_MAX) {
      this.refuse(id, new PosternError('limit', `At most ${OPEN_REQUESTS_MAX} requests may wait for an answer.`, {
        hint: 'Wait for an answer before the next request.', details: { limit: 'open', max: OPEN_REQUESTS_MAX },
      }))
    } else if (method === 'hello') {
      this.refuse(id, new PosternError('request', 'hello was said already.'))
    } else if (!isIpcCall(method)) {
      const message = laterMethods.has(method) ? `${method} comes with a later version of the daemon.` : 'There is no such method.'
      this.refuse(id, new PosternError('method', message, { details: { method } }))
    } else {
      this.#check(id, method, params)
    }
  }

  /** The connection by which they came is gone: nobody waits for their answers. */
  forget(): void {
    this.#open = 0
  }

  /** Writes an error answer. */
  refuse(id: JsonRpcId | null, error: PosternError): void {
    if (this.#context.connection() === undefined) return
    this.#context.count('ipc_request_errors')
    this.#context.write(utf8(encodeError(id, toIpcError(error))))
  }

  #check(id: JsonRpcId, method: IpcCall, params: JsonObject): void {
    const parsed = parseParams(method, params)
    if ('failure' in parsed) {
      this.refuse(id, parsed.failure)
      return
    }
    const { request } = parsed
    const scope = missingScope(this.#context.client.scopes, method, request)
    if (scope !== undefined) {
      this.refuse(id, new PosternError('scope', `${method} needs the scope ${scope}.`, { details: { scope } }))
      return
    }
    const row = this.#rowOf(request)
    if (row === null || (row !== undefined && !this.#enter(method, request, row))) {
      this.refuse(id, new PosternError('unknown_channel', 'There is no such channel, or it is not waiting to be accepted.'))
      return
    }
    this.#open++
    this.#dispatch(id, method, request, row)
  }

  #dispatch<M extends IpcCall>(id: JsonRpcId, method: M, request: IpcRequest<M>, row: ChannelRow | undefined): void {
    const { handler, client, connection } = this.#context
    const asked = connection()
    const ifAsked = (then: () => void): void => {
      if (connection() !== asked) return
      this.#open--
      then()
    }
    const failed = (error: unknown): void => {
      const coded = this.coded(error, method)
      ifAsked(() => this.#failed(id, method, row, coded))
    }
    let result: IpcResult<M> | Promise<IpcResult<M>>
    try {
      result = handler.methods[method](client, request, client.signal)
    } catch (error) {
      failed(error)
      return
    }
    if (!(result instanceof Promise)) {
      const value = result
      ifAsked(() => this.#succeeded(id, method, row, value))
      return
    }
    result.then((value) => ifAsked(() => this.#succeeded(id, method, row, value)), failed)
  }

  #succeeded(id: JsonRpcId, method: IpcCall, row: ChannelRow | undefined, result: object): void {
    if (!this.#channelLives(method, row, result)) {
      this.refuse(id, new PosternError('unknown_channel', 'The channel ended before it was open.'))
      return
    }
    const text = utf8(encodeResult(id, result))
    if (text.length > JSON_BODY_MAX) {
      this.refuse(id, new PosternError('limit', `The answer would be longer than ${JSON_BODY_MAX} bytes.`, { details: { limit: 'json', max: JSON_BODY_MAX } }))
      return
    }
    this.#context.write(text)
    this.#leave(method, row, result)
  }

  #failed(id: JsonRpcId, method: IpcCall, row: ChannelRow | undefined, error: PosternError): void {
    if (method === 'channel.accept' && row?.state === 'accepting') row.state = 'offered'
    this.refuse(id, error)
  }

  /** What the client may see of an exception: our own errors as they are; anything else is a mistake of ours, and reported. */
  coded(error: unknown, during: string): PosternError {
    if (error instanceof PosternError) return error
    this.#context.count('ipc_faults')
    this.#context.handler.onFault(error, during)
    return new PosternError('internal', 'The daemon made a mistake; its log says more.')
  }

  /** The channel a request names: `undefined` when it names none, `null` when there is no such channel. */
  #rowOf(request: object): ChannelRow | undefined | null {
    if (!('channel' in request) || typeof request.channel !== 'number') return undefined
    const row = this.#context.channels.get(request.channel)
    return row === undefined || row.state === 'opening' || row.end !== undefined ? null : row
  }

  /** Whether a request fits the state of its channel; accepting begins. */
  #enter(method: IpcCall, request: object, row: ChannelRow): boolean {
    if (method !== 'channel.accept' && method !== 'channel.reject') return true
    if (row.state !== 'offered') return false
    if (method === 'channel.reject') return true
    row.state = 'accepting'
    if ('deadlineMs' in request && typeof request.deadlineMs === 'number') row.deadlineMs = request.deadlineMs
    if ('credit' in request && typeof request.credit === 'number') {
      row.window = request.credit
      row.deliveryBalance = request.credit
    }
    return true
  }

  /** Whether the channel that an answer would open is still there: it may have ended while the answer was on its way. */
  #channelLives(method: IpcCall, row: ChannelRow | undefined, result: object): boolean {
    if (method !== 'channel.open' && method !== 'channel.accept') return true
    return this.#context.channels.get(row?.number ?? openedChannel(result)) !== undefined
  }

  /** What an answer changes in the client's accounts. */
  #leave(method: IpcCall, row: ChannelRow | undefined, result: object): void {
    const { channels, announce } = this.#context
    if (method === 'channel.reject' && row !== undefined) channels.remove(row.number)
    if (method !== 'channel.open' && method !== 'channel.accept') return
    const opened = row ?? channels.get(openedChannel(result))
    if (opened === undefined) return
    const { sendCredit, maxMessage } = result as ChannelAcceptResult
    opened.sendBalance = sendCredit
    opened.maxMessage = maxMessage
    if (opened.state === 'opening') announce(opened)
    opened.state = 'open'
  }
}

function openedChannel(result: object): number {
  return (result as ChannelOpenResult).channel
}
