import type { Socket } from 'node:net'
import { PosternError } from '../core/base/errors.ts'
import {
  CLIENT_CHANNELS_MAX, decodeCredit, decodeMessage, decodeNotice, IPC_PROTOCOL, JSON_BODY_MAX, KIND_CREDIT, KIND_JSON, KIND_MESSAGE, KIND_NOTICE, MESSAGE_HEADER_SIZE,
  MessageHead, type ManyEntry,
} from '../core/wire/ipc/ipc.ts'
import { fromIpcError, isErrorCode } from '../core/wire/ipc/ipc-errors.ts'
import { decodeReply, type JsonObject } from '../core/wire/ipc/ipc-json.ts'
import type { ChannelCloseParams, ChannelStatsResult, HelloParams, HelloResult, IpcMethod, IpcParams } from '../core/wire/ipc/ipc-methods.ts'
import { IpcBatchPool, IpcOutbox, IpcSlice } from '../core/wire/ipc/ipc-outbox.ts'
import type { IpcPath } from '../core/wire/ipc/ipc-path.ts'
import { IpcFrameReader } from '../core/wire/ipc/ipc-reader.ts'
import type { TopicEvent } from '../core/wire/ipc/ipc-topics.ts'
import { Calls, type CallOptions } from './calls.ts'
import { ClientChannel, type ChannelInfo, type ChannelPort } from './channel.ts'
import { connectDaemon } from './find-daemon.ts'
import { readBye, readClosed, readHello, readIncoming, readTopicEvent } from './results.ts'
import type { ClientTimers } from './timers.ts'

/** A daemon that accepts and then says nothing is not one. */
const HELLO_TIMEOUT_MS = 10_000
/** For what is queued when the program closes the client. */
const CLOSE_LINGER_MS = 1000
/** Before hello the daemon has not said how large its messages are. */
const MESSAGE_MAX_BEFORE_HELLO = 0

export type Incoming = ReturnType<typeof readIncoming>

/** Channels that outlived their connection. */
export interface Carried {
  /** Named to the daemon in the next hello. */
  readonly token: string
  readonly channels: ReadonlyMap<number, ClientChannel>
  /** How long the daemon keeps them. */
  readonly lingerMs: number
}

export interface LinkOptions {
  readonly paths: readonly IpcPath[]
  readonly hello: HelloParams
  readonly timers: ClientTimers
  /** A remote app wants a channel. */
  readonly onIncoming: (link: Link, incoming: Incoming) => void
  /** Something that was subscribed to. */
  readonly onTopicEvent: (event: TopicEvent) => void
  /**
   * The connection is gone; once, and only after hello was answered. `retryMs`: the daemon asked not to come back sooner. `carried`: channels for the
   * next connection; whoever makes none ends them.
   */
  readonly onLost: (link: Link, error: PosternError, retryMs: number, carried: Carried | undefined) => void
}

const pool = new IpcBatchPool(16)

/**
 * One connection to the daemon, from hello to its end, with the requests and channels that live on it. Requests end with it; its
 * channels can go on with another one.
 */
export class Link implements ChannelPort {
  readonly #options: LinkOptions
  readonly #carried: Carried | undefined
  readonly #calls: Calls
  readonly #channels = new Map<number, ClientChannel>()
  readonly #reader = new IpcFrameReader({ json: JSON_BODY_MAX, message: MESSAGE_MAX_BEFORE_HELLO })
  readonly #outbox = new IpcOutbox(pool)
  readonly #slice = new IpcSlice()
  readonly #head = new MessageHead()
  #latest: ClientChannel | undefined
  /** While one message is sent to many channels: those that it goes to so far. */
  #gathered: { readonly bytes: Uint8Array; flags: number; lane: number; ttlMs: number; readonly entries: ManyEntry[] } | undefined
  #socket: Socket | undefined
  #hello: HelloResult | undefined
  #writing = false
  #settledWrites = 0
  #flushPending = false
  #onDrained: (() => void) | undefined
  #bye: { readonly error: PosternError; readonly retryMs: number } | undefined
  #leaving = false
  #lost: PosternError | undefined

  private constructor(options: LinkOptions, carried: Carried | undefined) {
    this.#options = options
    this.#carried = carried
    this.#calls = new Calls((text) => this.#writeJson(text))
  }

  /**
   * Connects and says hello, on which `carried` channels go on or end. Fails with `not_running`, `permission`, `config`, `timeout`, `aborted`, or
   * what the daemon answers; then they are as they were.
   */
  static async open(options: LinkOptions, carried: Carried | undefined, signal: AbortSignal | undefined): Promise<Link> {
    const link = new Link(options, carried)
    const socket = await connectDaemon(options.paths, (bytes, length) => link.#receive(bytes, length), signal)
    await link.#greet(socket, signal)
    return link
  }

  /** The daemon's answer to hello. */
  get hello(): HelloResult {
    if (this.#hello === undefined) throw new PosternError('disconnected', 'The daemon has not said hello.')
    return this.#hello
  }

  get #closed(): boolean {
    return this.#lost !== undefined
  }

  call<M extends IpcMethod, T>(method: M, params: IpcParams<M>, options: CallOptions<T>): Promise<T> {
    return this.#calls.call(method, params, options)
  }

  /** A channel whose number the daemon just gave. Called while its frame is handled, so that no message can come before it. */
  addChannel(info: ChannelInfo): ClientChannel {
    const channel = new ClientChannel(this, info)
    this.#channels.set(info.number, channel)
    return channel
  }

  sendMessage(channel: number, flags: number, lane: number, ttlMs: number, tag: number, bytes: Uint8Array, offset: number, length: number): void {
    if (this.#closed || this.#gather(channel, flags, lane, ttlMs, tag, bytes)) return
    this.#outbox.appendMessage(channel, flags, lane, tag, ttlMs, bytes, offset, length)
    this.#wake()
  }

  /** What `run` sends of these bytes with equal options goes as one frame. */
  sendMany(bytes: Uint8Array, run: () => void): void {
    this.#gathered = { bytes, flags: 0, lane: 0, ttlMs: 0, entries: [] }
    try {
      run()
    } finally {
      this.#writeGathered()
      this.#gathered = undefined
    }
  }

  /** Whether the message joined those that go as one frame. */
  #gather(channel: number, flags: number, lane: number, ttlMs: number, tag: number, bytes: Uint8Array): boolean {
    const gathered = this.#gathered
    if (gathered?.bytes !== bytes) return false
    const { entries } = gathered
    if (entries.length === CLIENT_CHANNELS_MAX || (entries.length > 0 && (gathered.flags !== flags || gathered.lane !== lane || gathered.ttlMs !== ttlMs))) this.#writeGathered()
    gathered.flags = flags
    gathered.lane = lane
    gathered.ttlMs = ttlMs
    entries.push({ channel, tag })
    return true
  }

  #writeGathered(): void {
    const gathered = this.#gathered
    if (gathered === undefined || gathered.entries.length === 0) return
    this.#outbox.appendMany(gathered.entries.splice(0), gathered.flags, gathered.lane, gathered.ttlMs, gathered.bytes)
    this.#wake()
  }

  sendCredit(channel: number, cost: number): void {
    if (this.#closed || !this.#channels.has(channel)) return
    this.#outbox.appendCredit(channel, cost)
    this.#wake()
  }

  channelStats(channel: number, signal: AbortSignal | undefined): Promise<ChannelStatsResult> {
    // Counters are for people to look at: taken as they come.
    return this.call('channel.stats', { channel }, { signal, take: (result) => result as unknown as ChannelStatsResult })
  }

  closeChannel(params: ChannelCloseParams, signal: AbortSignal | undefined): Promise<void> {
    // It stays known until event.channel.closed, which comes after its last message.
    return this.call('channel.close', params, { signal, take: () => undefined })
  }

  /** A channel that nobody will use: nothing more is heard of it. */
  forgetChannel(number: number): void {
    this.#channels.delete(number)
    if (this.#latest?.number === number) this.#latest = undefined
  }

  /** Closes a channel that nobody waits for any more. */
  abandonChannel(channel: number): void {
    this.forgetChannel(channel)
    this.call('channel.close', { channel, abort: true }, { take: () => undefined }).catch(alreadyGone)
  }

  /** Rejects an offered channel that nobody will decide on. */
  abandonOffer(channel: number): void {
    this.forgetChannel(channel)
    this.call('channel.reject', { channel }, { take: () => undefined }).catch(alreadyGone)
  }

  /** Writes what is queued now. */
  flush(): void {
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) return
    const slice = this.#slice
    while (!this.#writing && this.#outbox.take(slice)) {
      this.#writing = true
      socket.write(slice.bytes.subarray(slice.offset, slice.offset + slice.length), this.#onWritten)
      // Nothing is left in the stream: the kernel took it all within the call, and the buffer is free before the callback.
      if (socket.writableLength === 0) {
        this.#settledWrites++
        this.#written()
      }
    }
  }

  /** This connection will not be resumed: its channels end with it. */
  leave(): void {
    this.#leaving = true
    this.call('leave', {}, { take: () => undefined }).catch(alreadyGone)
  }

  /** Ends the connection when what was queued is written, at the latest after a second. */
  async close(error: PosternError): Promise<void> {
    if (this.#closed) return
    if (!this.#leaving) this.leave()
    this.flush()
    if (this.#outbox.size > 0) {
      await new Promise<void>((resolve) => {
        const stopWaiting = this.#options.timers.after(CLOSE_LINGER_MS, resolve)
        this.#onDrained = () => {
          stopWaiting()
          resolve()
        }
      })
    }
    this.#lose(error)
  }

  async #greet(socket: Socket, signal: AbortSignal | undefined): Promise<void> {
    this.#socket = socket
    socket.on('error', (error) => this.#lose(this.#bye?.error ?? new PosternError('disconnected', 'The connection to the daemon failed.', { cause: error })))
    socket.on('close', () => this.#lose(this.#bye?.error ?? new PosternError('disconnected', 'The daemon closed the connection.')))
    const stopWaiting = this.#options.timers.after(HELLO_TIMEOUT_MS, () => this.#lose(new PosternError('timeout', 'The daemon did not answer hello.')))
    try {
      await this.call('hello', this.#helloParams(), { signal, take: (result) => this.#welcome(readHello(result)) })
      // Lost again with the next frame: then it never was.
      if (this.#lost !== undefined) throw this.#lost
    } catch (error) {
      this.#lose(error as PosternError)
      throw error
    } finally {
      stopWaiting()
    }
  }

  #helloParams(): HelloParams {
    const carried = this.#carried
    if (carried === undefined) return this.#options.hello
    const received: Record<string, number> = {}
    for (const [number, channel] of carried.channels) if (channel.received !== undefined) received[number] = channel.received
    return { ...this.#options.hello, resume: carried.token, received }
  }

  #welcome(hello: HelloResult): void {
    if (hello.protocol < IPC_PROTOCOL) throw new PosternError('protocol', `The daemon speaks version ${hello.protocol}, this client ${IPC_PROTOCOL}.`, { hint: 'Use the client that came with the daemon.' })
    this.#reader.limits = { json: JSON_BODY_MAX, message: hello.limits.message }
    this.#hello = hello
    if (this.#carried !== undefined) this.#resume(this.#carried, hello)
  }

  /** While the answer to hello is handled: the frames behind it are for these channels. */
  #resume(carried: Carried, hello: HelloResult): void {
    const accounts = new Map(hello.channels.map((account) => [account.channel, account] as const))
    for (const [number, channel] of carried.channels) {
      if (channel.ended) continue
      const account = accounts.get(number)
      accounts.delete(number)
      if (account === undefined) {
        endAsLost(channel, new PosternError('disconnected', 'The daemon does not have this channel any more.'))
        continue
      }
      this.#channels.set(number, channel)
      channel.resume(this, account.acceptedTag, account.sendCredit)
    }
    // Opened or accepted just before the loss, or ended here meanwhile: nobody here has a use for them.
    for (const number of accounts.keys()) this.abandonChannel(number)
  }

  #receive(bytes: Uint8Array, length: number): void {
    const reader = this.#reader
    reader.push(bytes, 0, length)
    while (!this.#closed) {
      const result = reader.next()
      if (result === 'more') break
      try {
        if (result === 'malformed') throw new PosternError('protocol', `The daemon broke the protocol: ${reader.where}.`)
        this.#frame(reader)
      } catch (error) {
        this.#lose(error as PosternError)
      }
    }
    if (this.#bye !== undefined) this.#lose(this.#bye.error)
  }

  #frame({ kind, bytes, offset, length }: IpcFrameReader): void {
    switch (kind) {
      case KIND_MESSAGE:
        this.#message(bytes, offset, length)
        break
      case KIND_CREDIT:
        this.#credit(bytes, offset, length)
        break
      case KIND_JSON:
        this.#json(bytes, offset, length)
        break
      case KIND_NOTICE:
        this.#notice(bytes, offset, length)
        break
      default: // A kind that only clients write.
    }
  }

  #message(bytes: Uint8Array, offset: number, length: number): void {
    const head = this.#head
    if (!decodeMessage(bytes, offset, length, head)) throw new PosternError('protocol', 'The daemon sent a message frame that is too short.')
    const channel = this.#find(head.channel)
    // A channel that this side has just closed: its last messages may be on their way.
    if (channel === undefined) return
    if (!channel.deliver(head, bytes, offset + MESSAGE_HEADER_SIZE, length - MESSAGE_HEADER_SIZE)) {
      throw new PosternError('protocol', 'The daemon sent a message without credit.')
    }
  }

  #credit(bytes: Uint8Array, offset: number, length: number): void {
    const credit = decodeCredit(bytes, offset, length)
    if (credit.kind === 'malformed') throw new PosternError('protocol', `The daemon sent a bad frame: ${credit.where}.`)
    this.#find(credit.channel)?.grant(credit.add)
  }

  #notice(bytes: Uint8Array, offset: number, length: number): void {
    const decoded = decodeNotice(bytes, offset, length)
    if (decoded.kind === 'malformed') throw new PosternError('protocol', `The daemon sent a bad frame: ${decoded.where}.`)
    this.#find(decoded.notice.channel)?.notice(decoded.notice)
  }

  #json(bytes: Uint8Array, offset: number, length: number): void {
    const reply = decodeReply(bytes, offset, length)
    switch (reply.kind) {
      case 'result':
        this.#calls.answered(reply.id, reply.result)
        break
      case 'error':
        // Without an id it speaks of something we did not send as a request; event.bye follows if that ends the connection.
        if (reply.id !== null) this.#calls.failed(reply.id, fromIpcError(reply.error))
        break
      case 'event':
        this.#event(reply.name, reply.params)
        break
      case 'malformed':
        throw new PosternError('protocol', `The daemon sent a bad frame: ${reply.where}.`)
    }
  }

  #event(name: string, params: JsonObject): void {
    if (name === 'event.channel.incoming') {
      this.#options.onIncoming(this, readIncoming(params))
    } else if (name === 'event.channel.closed') {
      const { channel: number, ...end } = readClosed(params)
      const channel = this.#find(number)
      this.forgetChannel(number)
      channel?.end(end)
    } else if (name === 'event.bye') {
      const { code, reason, retryMs } = readBye(params)
      this.#bye = { error: new PosternError(isErrorCode(code) ? code : 'disconnected', reason === '' ? 'The daemon closed the connection.' : reason, { details: { bye: code } }), retryMs }
    } else {
      const event = readTopicEvent(name, params)
      if (event !== undefined) this.#options.onTopicEvent(event)
    }
  }

  #find(number: number): ClientChannel | undefined {
    if (this.#latest?.number === number) return this.#latest
    const channel = this.#channels.get(number)
    if (channel !== undefined) this.#latest = channel
    return channel
  }

  #writeJson(text: Uint8Array): void {
    if (this.#closed) return
    this.#outbox.appendJson(text, false)
    this.#wake()
  }

  #wake(): void {
    if (this.#flushPending) return
    this.#flushPending = true
    this.#options.timers.defer(() => {
      this.#flushPending = false
      this.flush()
    })
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (this.#settledWrites > 0) {
      this.#settledWrites--
      return
    }
    if (error !== undefined && error !== null) return // 'error' or 'close' follows.
    this.#written()
    this.flush()
  }

  #written(): void {
    this.#writing = false
    this.#outbox.sent()
    if (this.#outbox.size === 0) this.#onDrained?.()
  }

  #lose(error: PosternError): void {
    if (this.#closed) return
    this.#lost = error
    this.#outbox.clear()
    this.#socket?.destroy()
    this.#onDrained?.()
    this.#calls.close(error)
    // Lost before the answer to hello was handled: the channels are where they were.
    if (this.#hello === undefined) return
    const carried = this.#carry(error)
    this.#channels.clear()
    this.#latest = undefined
    this.#options.onLost(this, error, this.#bye?.retryMs ?? 0, carried)
  }

  /** What may go on: after a goodbye, or a mistake of either side, nothing does. */
  #carry(error: PosternError): Carried | undefined {
    const { resume: token, lingerMs = 0 } = this.hello
    const mayResume = error.code === 'disconnected' && this.#bye === undefined && !this.#leaving && token !== undefined
    const channels = new Map<number, ClientChannel>()
    for (const [number, channel] of this.#channels) {
      if (!mayResume || !channel.started) {
        endAsLost(channel, error)
      } else {
        channel.suspend()
        channels.set(number, channel)
      }
    }
    // Also without channels: the daemon may have opened some whose answers were lost.
    return mayResume ? { token, channels, lingerMs } : undefined
  }
}

/** The channels do not go on. */
export function endCarried(carried: Carried, error: PosternError): void {
  for (const channel of carried.channels.values()) endAsLost(channel, error)
}

function endAsLost(channel: ClientChannel, error: PosternError): void {
  channel.end({ code: 'disconnected', reason: error.message, by: 'daemon' })
}

/** The daemon has closed it already, or the connection is gone: either way it is no more. */
function alreadyGone(): void {
  // Nothing is left to be done.
}
