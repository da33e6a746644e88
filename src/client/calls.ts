import { utf8 } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import { JSON_BODY_MAX, OPEN_REQUESTS_MAX } from '../core/wire/ipc/ipc.ts'
import { encodeRequest, type JsonObject, type JsonRpcId } from '../core/wire/ipc/ipc-json.ts'
import type { IpcMethod, IpcParams } from '../core/wire/ipc/ipc-methods.ts'
import { firstOf, onAbort, throwIfAborted } from './waiting.ts'

export interface CallOptions<T> {
  readonly signal?: AbortSignal | undefined
  /** Reads the result, while the frame is handled: what it sets up is there before the next frame. Throws when it is not one. */
  readonly take: (result: JsonObject) => T
  /** The call was called off, and yet the daemon did it: takes it back. */
  readonly undo?: (result: JsonObject) => void
}

interface Call {
  readonly method: IpcMethod
  readonly params: object
  readonly succeed: (result: unknown) => void
  readonly fail: (error: PosternError) => void
}

/** Calls that wait for one of the {@link OPEN_REQUESTS_MAX} places; one more fails with `limit`. */
const QUEUED_MAX = 1024

/** The requests of one connection: at most 64 with the daemon, the rest in order behind them. */
export class Calls {
  readonly #write: (text: Uint8Array) => void
  readonly #open = new Map<JsonRpcId, Call>()
  readonly #queued = new Set<Call>()
  #nextId = 1
  #closed: PosternError | undefined

  constructor(write: (text: Uint8Array) => void) {
    this.#write = write
  }

  async call<M extends IpcMethod, T>(method: M, params: IpcParams<M>, options: CallOptions<T>): Promise<T> {
    if (this.#closed !== undefined) throw this.#closed
    throwIfAborted(options.signal)
    if (this.#queued.size >= QUEUED_MAX) {
      throw new PosternError('limit', `${QUEUED_MAX} requests wait already.`, { hint: 'Await the answers.', details: { limit: 'requests', max: QUEUED_MAX } })
    }
    return await new Promise<T>((resolve, reject) => {
      let abandoned = false
      const call: Call = {
        method, params,
        succeed: (result) => {
          stop()
          try {
            const members = asObject(result)
            if (abandoned) options.undo?.(members)
            else resolve(options.take(members))
          } catch (error) {
            reject(error instanceof Error ? error : new PosternError('protocol', 'The daemon\'s answer cannot be read.', { cause: error }))
          }
        },
        fail: (error) => {
          stop()
          reject(error)
        },
      }
      const stop = onAbort(options.signal, (error) => {
        abandoned = true
        this.#queued.delete(call)
        reject(error)
      })
      this.#queued.add(call)
      this.#pump()
    })
  }

  answered(id: JsonRpcId, result: unknown): void {
    this.#finish(id)?.succeed(result)
  }

  failed(id: JsonRpcId, error: PosternError): void {
    this.#finish(id)?.fail(error)
  }

  /** Fails all calls, and every later one. */
  close(error: PosternError): void {
    this.#closed ??= error
    const calls = [...this.#open.values(), ...this.#queued]
    this.#open.clear()
    this.#queued.clear()
    for (const call of calls) call.fail(error)
  }

  #finish(id: JsonRpcId): Call | undefined {
    const call = this.#open.get(id)
    this.#open.delete(id)
    this.#pump()
    return call
  }

  #pump(): void {
    while (this.#open.size < OPEN_REQUESTS_MAX) {
      const call = firstOf(this.#queued)
      if (call === undefined) return
      this.#queued.delete(call)
      const id = this.#nextId++
      const text = utf8(encodeRequest(id, call.method, call.params))
      if (text.length > JSON_BODY_MAX) {
        call.fail(new PosternError('limit', `The request is longer than ${JSON_BODY_MAX} bytes.`, { details: { limit: 'json', max: JSON_BODY_MAX } }))
      } else {
        this.#open.set(id, call)
        this.#write(text)
      }
    }
  }
}

function asObject(result: unknown): JsonObject {
  if (typeof result !== 'object' || result === null) throw new PosternError('protocol', 'The daemon\'s answer is not an object.')
  return result as JsonObject
}
