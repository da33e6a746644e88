import { PosternError } from '../core/base/errors.ts'
import type { MessageHead, Notice } from '../core/wire/ipc/ipc.ts'
import { isErrorCode } from '../core/wire/ipc/ipc-errors.ts'
import type { ChannelCloseParams, ChannelEnd, ChannelStatsResult, IpcLane, IpcMode } from '../core/wire/ipc/ipc-methods.ts'
import { ChannelReceiver } from './channel-receiver.ts'
import { ChannelSender, type MessageOptions, type SendOptions, type SendResult } from './channel-sender.ts'
import type { Message, MessageHandler } from './message.ts'
import type { DroppedHandler, MessageFate } from './message-fates.ts'
import { throwIfAborted, waitIn, type Waiter } from './waiting.ts'

/** How a channel ended; `disconnected`: the connection to the daemon was lost. */
export type ChannelOutcome = Omit<ChannelEnd, 'code'> & { readonly code: ChannelEnd['code'] | 'disconnected' }

export interface CloseOptions {
  /** Throws away what is queued, here and at the peer. */
  readonly abort?: boolean
  /** 0 = done, or the app's own, from 256 on. */
  readonly code?: number
  readonly reason?: string
  readonly signal?: AbortSignal
}

/**
 * One app's flow to one peer. Messages sent are queued in the daemon within the credit it gave; messages received wait here within
 * the credit we gave. A channel outlives a lost connection to the daemon if that is made anew soon (10 s, unless the daemon says otherwise): a
 * reliable one without losing or repeating a message. While there is no connection, messages queue here within the credit.
 *
 * `for await (const message of channel)` takes messages one by one and gives their credit back; it ends when the channel is
 * done, and throws when it ended otherwise. Leaving the loop does not close the channel.
 */
export interface Channel extends AsyncIterable<Message, undefined, undefined>, AsyncDisposable {
  /** The peer's id. */
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  /** What the side that opened it said of it. */
  readonly meta: Uint8Array
  /** Largest message, bytes. */
  readonly maxMessage: number
  /** What may be sent now, in cost (length + 32 each); a message may go while it is above zero. */
  readonly credit: number
  /** Received messages that nobody has taken yet. */
  readonly waiting: number
  /** How the channel ended; never rejects. */
  readonly closed: Promise<ChannelOutcome>

  /** Queues a message if there is room now. The bytes are copied. Throws only for what this channel never takes (`limit`, `params`). */
  trySend(bytes: Uint8Array, options?: MessageOptions): SendResult
  /**
   * Queues a message as soon as there is room; resolves when it is queued, which is at once while there is credit. Until then the bytes
   * must not change. Sends keep their order. Rejects with `closed` (or why the channel ended), `aborted`, `limit`, `params`.
   */
  send(bytes: Uint8Array, options?: SendOptions): Promise<void>
  /**
   * As {@link send}, and resolves with what became of the message: `delivered` when the peer's daemon has it, `dropped` when it was late, gave way
   * to others, or was lost. After that it is said once and stays said. The signal calls off the wait for room only.
   */
  sendConfirmed(bytes: Uint8Array, options?: Omit<SendOptions, 'onFate'>): Promise<MessageFate>
  /** Told when messages sent from now on are dropped by the daemon: late (`ttlMs`, `deadlineMs`), by the channel's `overflow`, or with the session. */
  onDropped(handler: DroppedHandler | undefined): void
  /** Resolves when {@link trySend} has room. Another sender may be faster: look again. */
  writable(options?: { readonly signal?: AbortSignal }): Promise<void>
  /** The next message; `undefined` when the channel ended in good order and all were taken. */
  receive(options?: { readonly signal?: AbortSignal }): Promise<Message | undefined>
  /**
   * Hands every message to `handler` as it comes, without a promise or a copy each; those that wait come first. Its credit is given
   * back when the handler returns. `undefined` goes back to {@link receive}.
   */
  onMessage(handler: MessageHandler | undefined): void
  stats(options?: { readonly signal?: AbortSignal }): Promise<ChannelStatsResult>
  /** Nothing more can be sent; resolves when the queued messages were handed to the peer, or after 10 s. Messages that came before can still be taken. */
  close(options?: CloseOptions): Promise<void>
}

/** What a channel needs of its connection. */
export interface ChannelPort {
  sendMessage(channel: number, flags: number, lane: number, ttlMs: number, tag: number, bytes: Uint8Array, offset: number, length: number): void
  sendCredit(channel: number, cost: number): void
  channelStats(channel: number, signal: AbortSignal | undefined): Promise<ChannelStatsResult>
  closeChannel(params: ChannelCloseParams, signal: AbortSignal | undefined): Promise<void>
}

export interface ChannelInfo {
  readonly number: number
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  readonly meta: Uint8Array
  /** Delivery credit that the daemon was told. */
  readonly window: number
}

export class ClientChannel implements Channel {
  readonly number: number
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  readonly meta: Uint8Array
  readonly closed: Promise<ChannelOutcome>
  #port: ChannelPort
  #suspended = false
  readonly #resuming = new Set<Waiter<undefined>>()
  readonly #sender: ChannelSender
  readonly #receiver: ChannelReceiver
  #resolveClosed!: (end: ChannelOutcome) => void
  #started = false
  #ended = false
  #closing: Promise<void> | undefined

  constructor(port: ChannelPort, info: ChannelInfo) {
    this.number = info.number
    this.peer = info.peer
    this.app = info.app
    this.mode = info.mode
    this.lane = info.lane
    this.meta = info.meta
    this.#port = port
    this.#sender = new ChannelSender(info.mode, (flags, lane, ttlMs, tag, bytes, offset, length) => this.#port.sendMessage(info.number, flags, lane, ttlMs, tag, bytes, offset, length))
    this.#receiver = new ChannelReceiver(info.mode.startsWith('reliable'), info.window, (cost) => this.#port.sendCredit(info.number, cost))
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve))
  }

  get maxMessage(): number {
    return this.#sender.maxMessage
  }

  get credit(): number {
    return this.#sender.credit
  }

  get waiting(): number {
    return this.#receiver.waiting
  }

  trySend(bytes: Uint8Array, options: MessageOptions = {}): SendResult {
    return this.#sender.trySend(bytes, options)
  }

  /** Throws what {@link trySend} would. */
  check(bytes: Uint8Array, options: MessageOptions): void {
    this.#sender.check(bytes, options)
  }

  send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    return this.#sender.send(bytes, options)
  }

  async sendConfirmed(bytes: Uint8Array, options: Omit<SendOptions, 'onFate'> = {}): Promise<MessageFate> {
    let onFate: ((fate: MessageFate) => void) | undefined
    const fate = new Promise<MessageFate>((resolve) => (onFate = resolve))
    await this.#sender.send(bytes, { ...options, onFate })
    return await fate
  }

  onDropped(handler: DroppedHandler | undefined): void {
    this.#sender.setDropped(handler)
  }

  writable(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#sender.writable(options.signal)
  }

  receive(options: { readonly signal?: AbortSignal } = {}): Promise<Message | undefined> {
    return this.#receiver.receive(options.signal)
  }

  onMessage(handler: MessageHandler | undefined): void {
    this.#receiver.setHandler(handler)
  }

  [Symbol.asyncIterator](): AsyncIterator<Message, undefined, undefined> {
    return this.#receiver.iterate()
  }

  async stats(options: { readonly signal?: AbortSignal } = {}): Promise<ChannelStatsResult> {
    throwIfAborted(options.signal)
    return await this.#port.channelStats(this.number, options.signal)
  }

  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options).catch((error: unknown) => {
      // Called off, for example: the channel is still there, and may be closed again.
      this.#closing = undefined
      throw error
    })
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // What the connection calls.

  get ended(): boolean {
    return this.#ended
  }

  /** The daemon's answer to open or accept. */
  start(sendCredit: number, maxMessage: number): void {
    this.#started = true
    this.#sender.start(sendCredit, maxMessage)
  }

  /** Whether it was opened or accepted: another one does not outlive its connection. */
  get started(): boolean {
    return this.#started
  }

  /** What of its messages came: see `received` of hello. */
  get received(): number | undefined {
    return this.#receiver.received
  }

  /** The connection was lost and may be resumed: messages are held until then. */
  suspend(): void {
    this.#suspended = true
    this.#sender.suspend()
  }

  /** It goes on over another connection. */
  resume(port: ChannelPort, acceptedTag: number, sendCredit: number): void {
    this.#port = port
    this.#suspended = false
    this.#receiver.resume()
    this.#sender.resume(acceptedTag, sendCredit)
    for (const waiter of [...this.#resuming]) waiter.resolve(undefined)
  }

  grant(add: number): void {
    this.#sender.grant(add)
  }

  notice(notice: Notice): void {
    this.#sender.notice(notice)
  }

  /** `false`: the daemon sent without credit. */
  deliver(head: MessageHead, bytes: Uint8Array, offset: number, length: number): boolean {
    return this.#receiver.deliver(head, bytes, offset, length)
  }

  end(outcome: ChannelOutcome): void {
    if (this.#ended) return
    this.#ended = true
    const error = endError(outcome)
    this.#sender.close(error)
    this.#sender.end()
    for (const waiter of [...this.#resuming]) waiter.resolve(undefined)
    // An end that the apps agreed on is the end of the messages; any other is an error to whoever reads.
    this.#receiver.close(outcome.code === 'done' || outcome.code === 'app' || outcome.by === 'local' ? undefined : error)
    this.#resolveClosed(outcome)
  }

  /** It ended meanwhile, by the peer or with the connection: closed is closed. */
  #isClosed(error: unknown): boolean {
    return this.#ended || (error instanceof PosternError && error.code === 'unknown_channel')
  }

  async #close(options: CloseOptions): Promise<void> {
    if (this.#ended) return
    const { abort, code, reason, signal } = options
    throwIfAborted(signal)
    this.#sender.close(new PosternError('closed', 'This side has closed the channel.'))
    const params = { channel: this.number, ...(abort === undefined ? {} : { abort }), ...(code === undefined ? {} : { code }), ...(reason === undefined ? {} : { reason }) }
    while (!this.ended) {
      try {
        await this.#port.closeChannel(params, signal)
        break
      } catch (error) {
        if (this.#isClosed(error)) break
        if (!this.#suspended) throw error
        // Nobody knows whether the daemon heard it: it is asked again when the connection is back.
        await waitIn<undefined, Waiter<undefined>>(this.#resuming, signal, (waiter) => waiter)
      }
    }
    this.end({ code: 'done', reason: reason ?? '', by: 'local' })
  }
}

function endError(end: ChannelOutcome): PosternError {
  const { code, appCode, reason, by } = end
  const why = reason === '' ? '' : `: ${reason}`
  const details = { end: code, by, reason, ...(appCode === undefined ? {} : { appCode }) }
  return new PosternError(isErrorCode(code) ? code : 'closed', `The channel ended (${code}${why}).`, { details })
}
