import { PosternError } from '../core/base/errors.ts'
import { LANE_OF_CHANNEL, MESSAGE_COST } from '../core/wire/ipc.ts'
import { ipcLanes, type IpcLane, type IpcMode } from '../core/wire/ipc-methods.ts'
import { firstOf, rejectAll, waitIn, type Waiter } from './waiting.ts'

export interface MessageOptions {
  /** Overrules the channel's lane. Not on ordered channels, where it could not change the order. */
  readonly lane?: IpcLane | undefined
  /** Not sent by then: dropped. */
  readonly ttlMs?: number | undefined
}

export interface SendOptions extends MessageOptions {
  readonly signal?: AbortSignal | undefined
}

/** `full`: no credit now, or others wait already. `closed`: the channel takes no more. */
export type SendResult = 'queued' | 'full' | 'closed'

/** Where messages go: the connection. */
export type WriteMessage = (lane: number, ttlMs: number, bytes: Uint8Array) => void

interface Sending extends Waiter<undefined> {
  /** `undefined`: waits for room only. */
  readonly message: { readonly bytes: Uint8Array; readonly lane: number; readonly ttlMs: number } | undefined
}

/** Sends of one channel that wait for credit; one more fails with `limit`: it is a program that does not wait for its sends. */
export const WAITING_SENDS_MAX = 256
const TTL_MAX = 0xffff_ffff
const done = Promise.resolve()

/**
 * The sending half of a channel. Credit comes from the daemon and is all that may be written, so nothing piles up here:
 * what has no credit waits with its sender.
 */
export class ChannelSender {
  readonly #mode: IpcMode
  readonly #write: WriteMessage
  readonly #waiting = new Set<Sending>()
  #maxMessage = 0
  #credit = 0
  #closed: PosternError | undefined

  constructor(mode: IpcMode, write: WriteMessage) {
    this.#mode = mode
    this.#write = write
  }

  get credit(): number {
    return this.#credit
  }

  get maxMessage(): number {
    return this.#maxMessage
  }

  start(sendCredit: number, maxMessage: number): void {
    this.#maxMessage = maxMessage
    this.grant(sendCredit)
  }

  /** The daemon has room for so much more: whoever waits goes first. */
  grant(add: number): void {
    this.#credit += add
    while (this.#credit > 0) {
      const first = firstOf(this.#waiting)
      if (first === undefined) return
      if (first.message !== undefined) this.#put(first.message.lane, first.message.ttlMs, first.message.bytes)
      first.resolve(undefined)
    }
  }

  trySend(bytes: Uint8Array, options: MessageOptions): SendResult {
    const lane = this.#laneFor(bytes, options)
    if (lane instanceof PosternError) throw lane
    if (this.#closed !== undefined) return 'closed'
    if (this.#credit <= 0 || this.#waiting.size > 0) return 'full'
    this.#put(lane, options.ttlMs ?? 0, bytes)
    return 'queued'
  }

  send(bytes: Uint8Array, options: SendOptions): Promise<void> {
    const lane = this.#laneFor(bytes, options)
    if (lane instanceof PosternError) return Promise.reject(lane)
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (this.#credit > 0 && this.#waiting.size === 0 && options.signal?.aborted !== true) {
      this.#put(lane, options.ttlMs ?? 0, bytes)
      return done
    }
    return this.#wait(options.signal, { bytes, lane, ttlMs: options.ttlMs ?? 0 })
  }

  writable(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    return this.#credit > 0 && this.#waiting.size === 0 ? done : this.#wait(signal, undefined)
  }

  /** No more can be sent; whoever waits gets the error. */
  close(error: PosternError): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    rejectAll(this.#waiting, error)
  }

  #wait(signal: AbortSignal | undefined, message: Sending['message']): Promise<void> {
    if (this.#waiting.size >= WAITING_SENDS_MAX) {
      return Promise.reject(new PosternError('limit', `${WAITING_SENDS_MAX} sends wait for room already.`, {
        hint: 'Await each send, or use trySend.', details: { limit: 'waiting sends', max: WAITING_SENDS_MAX },
      }))
    }
    return waitIn<undefined, Sending>(this.#waiting, signal, (waiter) => ({ ...waiter, message }))
  }

  #put(lane: number, ttlMs: number, bytes: Uint8Array): void {
    this.#credit -= bytes.length + MESSAGE_COST
    this.#write(lane, ttlMs, bytes)
  }

  /** The number of a message's lane, or an error for what no channel of this kind would ever take. */
  #laneFor(bytes: Uint8Array, options: MessageOptions): number | PosternError {
    if (bytes.length > this.#maxMessage && this.#maxMessage > 0) {
      return new PosternError('limit', `A message of ${bytes.length} bytes is larger than this channel's ${this.#maxMessage}.`, {
        details: { limit: 'message', max: this.#maxMessage },
      })
    }
    const { lane, ttlMs } = options
    if (ttlMs !== undefined && !(Number.isInteger(ttlMs) && ttlMs >= 0 && ttlMs <= TTL_MAX)) {
      return new PosternError('params', 'ttlMs is a whole number of milliseconds.', { details: { member: 'ttlMs' } })
    }
    if (lane === undefined) return LANE_OF_CHANNEL
    if (this.#mode === 'reliable-ordered') return new PosternError('params', 'On an ordered channel all messages go by the channel\'s lane.', { details: { member: 'lane' } })
    return ipcLanes.indexOf(lane)
  }
}
