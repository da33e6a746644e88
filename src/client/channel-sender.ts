import { PosternError } from '../core/base/errors.ts'
import { LANE_OF_CHANNEL, MESSAGE_CONFIRM, MESSAGE_COST, type Notice } from '../core/wire/ipc/ipc.ts'
import { ipcLanes, type IpcLane, type IpcMode } from '../core/wire/ipc/ipc-methods.ts'
import { RetainedMessages, RetainedView, tagAfter, tagDistance } from '../core/wire/ipc/ipc-retained.ts'
import { SentFates, type DroppedHandler, type MessageFate } from './message-fates.ts'
import { firstOf, rejectAll, waitIn, type Waiter } from './waiting.ts'

export interface MessageOptions {
  /** Overrules the channel's lane. Not on ordered channels, where it could not change the order. */
  readonly lane?: IpcLane | undefined
  /** Not sent by then: dropped. */
  readonly ttlMs?: number | undefined
  /** Called once with what became of the message, at the latest when the channel ends. */
  readonly onFate?: ((fate: MessageFate) => void) | undefined
}

export interface SendOptions extends MessageOptions {
  readonly signal?: AbortSignal | undefined
}

/** `full`: no credit now, or others wait already. `closed`: the channel takes no more. */
export type SendResult = 'queued' | 'full' | 'closed'

/** Where messages go: the connection. */
export type WriteMessage = (flags: number, lane: number, ttlMs: number, tag: number, bytes: Uint8Array, offset: number, length: number) => void

interface Sending extends Waiter<undefined> {
  /** `undefined`: waits for room only. */
  readonly message: { readonly bytes: Uint8Array; readonly lane: number; readonly options: MessageOptions } | undefined
}

/** Sends of one channel that wait for credit; one more fails with `limit`: it is a program that does not wait for its sends. */
export const WAITING_SENDS_MAX = 256
/** Messages of one channel whose fate somebody waits for; one more fails with `limit`. The daemon's queue is shorter, so it is what lies in sockets besides. */
export const FATES_MAX = 65_536
const TTL_MAX = 0xffff_ffff
const done = Promise.resolve()

/**
 * The sending half of a channel. Credit comes from the daemon and is all that may be written, so nothing piles up here:
 * what has no credit waits with its sender. On a reliable channel what was written is held, in a copy, until credit shows that the
 * daemon took it over: at most the credit of the channel and one message.
 */
export class ChannelSender {
  readonly #mode: IpcMode
  readonly #write: WriteMessage
  readonly #waiting = new Set<Sending>()
  readonly #retained: RetainedMessages | undefined
  readonly #view = new RetainedView()
  readonly #fates = new SentFates()
  #nextTag = 1
  #maxMessage = 0
  /** Credit the daemon gave at first: what is not credit now was taken over by it, or is on its way. */
  #window = 0
  #credit = 0
  /** Without a connection: messages are held, not written. */
  #suspended = false
  #closed: PosternError | undefined

  constructor(mode: IpcMode, write: WriteMessage) {
    this.#mode = mode
    this.#write = write
    this.#retained = mode.startsWith('reliable') ? new RetainedMessages() : undefined
  }

  get credit(): number {
    return this.#credit
  }

  get maxMessage(): number {
    return this.#maxMessage
  }

  start(sendCredit: number, maxMessage: number): void {
    this.#maxMessage = maxMessage
    this.#window = sendCredit
    this.#credit = sendCredit
    this.#serve()
  }

  /** The connection was lost. */
  suspend(): void {
    this.#suspended = true
  }

  /** There is one again: what the daemon did not take over before goes first. */
  resume(acceptedTag: number, sendCredit: number): void {
    const retained = this.#retained
    if (retained !== undefined) {
      const missing = acceptedTag === 0 ? retained.count : tagDistance(acceptedTag, this.#nextTag) - 1
      retained.drop(Math.max(0, retained.count - missing))
      retained.rewind(0)
      retained.expectForeignCredit(Math.max(0, this.#window - sendCredit))
    } else {
      this.#fates.lost(acceptedTag)
    }
    this.#credit = sendCredit
    this.#suspended = false
    this.#serve()
  }

  /** The daemon has room for so much more: whoever waits goes first. */
  grant(add: number): void {
    this.#credit += add
    this.#retained?.credit(add)
    this.#serve()
  }

  /** Uses credit: for what has to be written again, then for whoever waits. */
  #serve(): void {
    const retained = this.#retained
    const view = this.#view
    while (retained !== undefined && !this.#suspended && this.#credit > 0) {
      const tag = tagAfter(this.#nextTag, -retained.unsent)
      if (!retained.next(view)) break
      this.#credit -= view.length + MESSAGE_COST
      this.#write(view.flags, view.lane, view.word, tag, view.bytes, view.offset, view.length)
    }
    while (this.#ready) {
      const first = firstOf(this.#waiting)
      if (first === undefined) return
      if (first.message !== undefined) this.#put(first.message.lane, first.message.options, first.message.bytes)
      first.resolve(undefined)
    }
  }

  /** Throws for what this channel would never take. */
  check(bytes: Uint8Array, options: MessageOptions): void {
    const lane = this.#laneFor(bytes, options)
    if (lane instanceof PosternError) throw lane
  }

  trySend(bytes: Uint8Array, options: MessageOptions): SendResult {
    const lane = this.#laneFor(bytes, options)
    if (lane instanceof PosternError) throw lane
    if (this.#closed !== undefined) return 'closed'
    if (!this.#ready || this.#waiting.size > 0) return 'full'
    this.#put(lane, options, bytes)
    return 'queued'
  }

  send(bytes: Uint8Array, options: SendOptions): Promise<void> {
    const lane = this.#laneFor(bytes, options)
    if (lane instanceof PosternError) return Promise.reject(lane)
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (this.#ready && this.#waiting.size === 0 && options.signal?.aborted !== true) {
      this.#put(lane, options, bytes)
      return done
    }
    return this.#wait(options.signal, { bytes, lane, options })
  }

  writable(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    return this.#ready && this.#waiting.size === 0 ? done : this.#wait(signal, undefined)
  }

  /** No more can be sent; whoever waits gets the error. */
  close(error: PosternError): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    rejectAll(this.#waiting, error)
  }

  /** What became of messages. */
  notice(notice: Notice): void {
    this.#fates.notice(notice)
  }

  setDropped(handler: DroppedHandler | undefined): void {
    this.#fates.onDropped = handler
  }

  /** The channel ended: nothing will be written again, and nothing more be heard of what was. */
  end(): void {
    this.#retained?.clear()
    this.#fates.end()
  }

  /** Whether a message may be queued now. What has to be written again keeps its place before all others. */
  get #ready(): boolean {
    return this.#credit > 0 && (this.#suspended || (this.#retained?.unsent ?? 0) === 0)
  }

  #wait(signal: AbortSignal | undefined, message: Sending['message']): Promise<void> {
    if (this.#waiting.size >= WAITING_SENDS_MAX) {
      return Promise.reject(new PosternError('limit', `${WAITING_SENDS_MAX} sends wait for room already.`, {
        hint: 'Await each send, or use trySend.', details: { limit: 'waiting sends', max: WAITING_SENDS_MAX },
      }))
    }
    return waitIn<undefined, Sending>(this.#waiting, signal, (waiter) => ({ ...waiter, message }))
  }

  #put(lane: number, options: MessageOptions, bytes: Uint8Array): void {
    this.#credit -= bytes.length + MESSAGE_COST
    const { ttlMs = 0, onFate } = options
    const retained = this.#retained
    const fates = this.#fates
    const flags = onFate === undefined ? 0 : MESSAGE_CONFIRM
    // Without a connection a message of an unreliable channel is gone: it is written nowhere, and resume says so.
    if (retained === undefined && onFate === undefined && fates.onDropped === undefined) {
      this.#write(flags, lane, ttlMs, 0, bytes, 0, bytes.length)
      return
    }
    const tag = this.#nextTag
    this.#nextTag = tagAfter(tag)
    if (onFate !== undefined) fates.expect(tag, onFate)
    retained?.push(!this.#suspended, flags, lane, ttlMs, bytes, 0, bytes.length)
    if (!this.#suspended) this.#write(flags, lane, ttlMs, tag, bytes, 0, bytes.length)
  }

  /** The number of a message's lane, or an error for what no channel of this kind would ever take. */
  #laneFor(bytes: Uint8Array, options: MessageOptions): number | PosternError {
    if (bytes.length > this.#maxMessage && this.#maxMessage > 0) {
      return new PosternError('limit', `A message of ${bytes.length} bytes is larger than this channel's ${this.#maxMessage}.`, {
        details: { limit: 'message', max: this.#maxMessage },
      })
    }
    const { lane, ttlMs, onFate } = options
    if (onFate !== undefined && this.#fates.size >= FATES_MAX) {
      return new PosternError('limit', `The fate of ${FATES_MAX} messages is not known yet.`, { hint: 'Send less before it is, or without onFate.', details: { limit: 'fates', max: FATES_MAX } })
    }
    if (ttlMs !== undefined && !(Number.isInteger(ttlMs) && ttlMs >= 0 && ttlMs <= TTL_MAX)) {
      return new PosternError('params', 'ttlMs is a whole number of milliseconds.', { details: { member: 'ttlMs' } })
    }
    if (lane === undefined) return LANE_OF_CHANNEL
    if (this.#mode === 'reliable-ordered') return new PosternError('params', 'On an ordered channel all messages go by the channel\'s lane.', { details: { member: 'lane' } })
    return ipcLanes.indexOf(lane)
  }
}
