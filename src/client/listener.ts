import { PosternError } from '../core/base/errors.ts'
import { BoundedQueue } from '../core/base/queue.ts'
import { CLIENT_CHANNELS_MAX } from '../core/wire/ipc/ipc.ts'
import type { IpcLane, IpcMode, IpcOverflow, ListenFrom } from '../core/wire/ipc/ipc-methods.ts'
import type { Channel, ClientChannel } from './channel.ts'
import type { Incoming, Link } from './link.ts'
import { readChannelAccept } from './results.ts'
import { firstOf, rejectAll, waitIn, type Waiter } from './waiting.ts'

export interface ListenOptions {
  /** Whose channels are offered: `roster` (the default), `any`, or these peer ids. */
  readonly from?: ListenFrom
  /** Delivery credit of accepted channels, in cost; 256 KiB by default. */
  readonly credit?: number
  readonly signal?: AbortSignal
}

/** What holds for the messages that this side sends; the side that opened the channel says so for its own. */
export interface AcceptOptions {
  readonly overflow?: IpcOverflow
  /** For messages that name no `ttlMs`. */
  readonly deadlineMs?: number
  readonly signal?: AbortSignal
}

/** A remote app's wish for a channel. Undecided for 10 s it is rejected. */
export interface IncomingChannel {
  /** The peer's id. */
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  readonly meta: Uint8Array
  /** Fails with `unknown_channel` when it is too late. */
  accept(options?: AcceptOptions): Promise<Channel>
  reject(options?: { readonly reason?: string; readonly signal?: AbortSignal }): Promise<void>
}

/**
 * `for await (const incoming of listener)` hands out wishes for channels as they come. It goes on over reconnects, and ends with
 * {@link close}; it throws when the client is closed or the app name was taken meanwhile.
 */
export interface Listener extends AsyncIterable<IncomingChannel, undefined, undefined>, AsyncDisposable {
  readonly app: string
  close(): Promise<void>
}

export class ClientListener implements Listener {
  readonly app: string
  readonly credit: number
  readonly from: ListenFrom
  /** The daemon has agreed once: after a reconnect it is asked again. */
  active = false
  readonly #stop: (listener: ClientListener) => Promise<void>
  // A client has no more channels than that, offered ones included.
  readonly #offers = new BoundedQueue<Offer>(CLIENT_CHANNELS_MAX)
  readonly #waiting = new Set<Waiter<IncomingChannel | undefined>>()
  #end: { readonly error: PosternError | undefined } | undefined

  constructor(app: string, from: ListenFrom, credit: number, stop: (listener: ClientListener) => Promise<void>) {
    this.app = app
    this.from = from
    this.credit = credit
    this.#stop = stop
  }

  /** A wish arrived. Its channel exists from now on, since its end may come before the answer to accept. */
  offer(link: Link, incoming: Incoming): void {
    const channel = link.addChannel({ ...incoming, number: incoming.channel, window: this.credit })
    const offer = new Offer(link, channel)
    const waiter = firstOf(this.#waiting)
    if (this.#end === undefined && waiter !== undefined) waiter.resolve(offer)
    else if (this.#end !== undefined || !this.#offers.push(offer)) link.abandonOffer(incoming.channel)
  }

  async next(): Promise<IncomingChannel | undefined> {
    for (;;) {
      const offer = this.#offers.shift()
      if (offer === undefined) break
      if (offer.open) return offer
    }
    if (this.#end === undefined) return await waitIn<IncomingChannel | undefined, Waiter<IncomingChannel | undefined>>(this.#waiting, undefined, (waiter) => waiter)
    if (this.#end.error !== undefined) throw this.#end.error
    return undefined
  }

  async close(): Promise<void> {
    this.end(undefined)
    await this.#stop(this)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<IncomingChannel, undefined, undefined> {
    for (;;) {
      const incoming = await this.next()
      if (incoming === undefined) return undefined
      yield incoming
    }
  }

  /** No more wishes. */
  end(error: PosternError | undefined): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    if (error !== undefined) rejectAll(this.#waiting, error)
    for (const waiter of [...this.#waiting]) waiter.resolve(undefined)
  }
}

class Offer implements IncomingChannel {
  readonly #link: Link
  readonly #channel: ClientChannel

  constructor(link: Link, channel: ClientChannel) {
    this.#link = link
    this.#channel = channel
  }

  get peer(): string {
    return this.#channel.peer
  }

  get app(): string {
    return this.#channel.app
  }

  get mode(): IpcMode {
    return this.#channel.mode
  }

  get lane(): IpcLane {
    return this.#channel.lane
  }

  get meta(): Uint8Array {
    return this.#channel.meta
  }

  /** Whether it can still be decided. */
  get open(): boolean {
    return !this.#channel.ended
  }

  accept(options: AcceptOptions = {}): Promise<Channel> {
    const channel = this.#channel
    const { overflow, deadlineMs, signal } = options
    const params = { channel: channel.number, ...(overflow === undefined ? {} : { overflow }), ...(deadlineMs === undefined ? {} : { deadlineMs }) }
    return this.#link.call('channel.accept', params, {
      signal,
      take: (result): Channel => {
        const { sendCredit, maxMessage } = readChannelAccept(result)
        if (channel.ended) throw new PosternError('unknown_channel', 'The channel ended before it was open.')
        channel.start(sendCredit, maxMessage)
        return channel
      },
      undo: () => this.#link.abandonChannel(channel.number),
    })
  }

  reject(options: { readonly reason?: string; readonly signal?: AbortSignal } = {}): Promise<void> {
    const { reason, signal } = options
    const params = { channel: this.#channel.number, ...(reason === undefined ? {} : { reason }) }
    return this.#link.call('channel.reject', params, { signal, take: () => this.#link.forgetChannel(params.channel) })
  }
}
