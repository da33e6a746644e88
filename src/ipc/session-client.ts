import { LANE_OF_CHANNEL } from '../core/wire/ipc/ipc.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import type { ChannelEnd, HelloRequest, IpcScope } from '../core/wire/ipc/ipc-methods.ts'
import type { ClientChannels } from './client-channels.ts'
import type { ClientOutbox } from './client-outbox.ts'
import type { FeedReader } from './feed-reader.ts'
import type { DeliveredRows, DeliverResult, EventFeed, Grant, IpcClient, NewChannel, OfferedChannel } from './handler.ts'
import { HANDLES_MAX } from './limits.ts'

/** What the handler's view of a client needs of its session. */
export interface ClientHost {
  readonly id: number
  /** It has a connection. */
  readonly isOpen: boolean
  /** Its channels are there, with a connection or without. */
  readonly lives: boolean
  readonly signal: AbortSignal
  readonly outbox: ClientOutbox
  readonly channels: ClientChannels
  readonly feed: FeedReader
  pause(): void
  resume(): void
  dropTokens(): void
  close(code: ErrorCode, reason: string, retryMs: number): void
}

/** A session as the handler sees it. */
export class SessionClient implements IpcClient {
  readonly id: number
  name = ''
  app: string | undefined
  scopes: readonly IpcScope[] = []
  key: string | undefined
  readonly #host: ClientHost
  readonly #handles = new Map<string, number>()

  constructor(host: ClientHost) {
    this.#host = host
    this.id = host.id
  }

  /** What it said of itself, the last time it connected, and what it may do. */
  introduce(hello: HelloRequest, grant: Grant): void {
    this.name = hello.client
    this.app = hello.app
    this.key = grant.key
    this.scopes = grant.scopes
  }

  get signal(): AbortSignal {
    return this.#host.signal
  }

  get congested(): boolean {
    return this.#host.outbox.congested
  }

  get unsent(): number {
    return this.#host.outbox.unsent
  }

  peerHandle(peerId: string): number {
    const known = this.#handles.get(peerId)
    if (known !== undefined) return known
    if (this.#handles.size >= HANDLES_MAX) return 0
    const handle = this.#handles.size + 1
    this.#handles.set(peerId, handle)
    return handle
  }

  addChannel(channel: NewChannel): number | undefined {
    return this.#host.isOpen ? this.#host.channels.add(channel) : undefined
  }

  offerChannel(channel: OfferedChannel): number | undefined {
    return this.#host.isOpen ? this.#host.channels.offer(channel) : undefined
  }

  channelContext(channel: number): number | undefined {
    const row = this.#host.channels.table.get(channel)
    return row?.end === undefined ? row?.context : undefined
  }

  closeChannel(channel: number, end: ChannelEnd): void {
    if (this.#host.lives) this.#host.channels.close(channel, end)
  }

  sendMessage(channel: number, flags: number, bytes: Uint8Array, offset: number, length: number, lane: number = LANE_OF_CHANNEL): DeliverResult {
    return this.#host.lives ? this.#host.channels.send(channel, flags, bytes, offset, length, lane) : 'closed'
  }

  sendRun(channel: number, bytes: Uint8Array, rows: DeliveredRows, from: number, to: number): number {
    return this.#host.lives ? this.#host.channels.sendRun(channel, bytes, rows, from, to) : 0
  }

  deliveryCredit(channel: number): number {
    return this.#host.channels.table.get(channel)?.deliveryBalance ?? 0
  }

  sendNotice(channel: number, what: number, reason: number, firstTag: number, lastTag: number): void {
    if (this.#host.lives) this.#host.channels.notice(channel, what, reason, firstTag, lastTag)
  }

  sendCredit(channel: number, add: number): void {
    if (this.#host.lives) this.#host.channels.grant(channel, add)
  }

  setFeed(feed: EventFeed | undefined): void {
    this.#host.feed.set(this.#host.isOpen ? feed : undefined)
  }

  feedReady(): void {
    this.#host.feed.ready()
  }

  pause(): void {
    this.#host.pause()
  }

  resume(): void {
    this.#host.resume()
  }

  leave(): void {
    this.#host.dropTokens()
  }

  close(code: ErrorCode, reason: string, retryMs = 0): void {
    this.#host.close(code, reason, retryMs)
  }
}
