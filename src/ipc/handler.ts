/**
 * The boundary between the IPC server and the daemon's router. The server owns sockets, framing, credit accounts and
 * everything a client can do wrong; the router owns peers and channels.
 *
 * Rules both sides rely on:
 * - Every call into the {@link IpcHandler} comes from the server's own turn, never from inside a call on an {@link IpcClient}.
 * - Calls on a client that is gone do nothing.
 * - Bytes of a message are valid during the call only, either way.
 */
import type { MessageRun } from '../core/base/message-run.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import type {
  ChannelEnd, HelloRequest, IpcCall, IpcLane, IpcMode, IpcRequest, IpcResult, IpcScope,
} from '../core/wire/ipc/ipc-methods.ts'
import type { MessageRows } from '../core/wire/ipc/ipc-outbox.ts'
import type { TopicEvent } from '../core/wire/ipc/ipc-topics.ts'

/** What the daemon says of itself when a client arrives. */
export interface IpcGreeting {
  readonly peerId: string
  /** Version of the daemon. */
  readonly daemon: string
  /** Hex; another one after each start. */
  readonly instance: string
}

/** What a client may do, and by which API key; `undefined`: without one, as the user who owns the daemon. */
export interface Grant {
  readonly key: string | undefined
  readonly scopes: readonly IpcScope[]
}

/** A message from a client. One object is filled again and again: what must live is copied. */
export interface IncomingMessage {
  readonly channel: number
  /** The router's own number for the channel ({@link NewChannel.context}). */
  readonly context: number
  /** 0 … 3; 255 = the channel's. Always 255 on an ordered channel. */
  readonly lane: number
  readonly tag: number
  /** 0 = never late. The channel's own deadline where the message names none. */
  readonly ttlMs: number
  readonly confirm: boolean
  readonly bytes: Uint8Array
  readonly offset: number
  readonly length: number
}

export interface NewChannel {
  /** Text of the peer's id. */
  readonly peer: string
  /** The router's own number for the channel; it comes back with every message, credit and fault. */
  readonly context: number
  readonly mode: IpcMode
  /** Delivery credit, in cost. */
  readonly credit: number
  /** Given to messages without a ttl; 0 = none. */
  readonly deadlineMs: number
}

export interface OfferedChannel extends NewChannel {
  readonly app: string
  readonly lane: IpcLane
  /** At most 256 bytes. */
  readonly meta: Uint8Array
}

/** Why a client is gone. `closed`: it left; `disconnected`: its socket failed or ended inside a frame; else what the daemon said in `event.bye`. */
export interface ClientEnd {
  readonly code: ErrorCode
  readonly reason: string
}

/** Messages for a client, by columns. */
export interface DeliveredRows extends MessageRows {
  readonly flags: Uint8Array
}

/**
 * - `queued`: it is on its way to the client.
 * - `no-credit`: the client's delivery credit was used up; nothing was queued. Whoever polls the endpoint with the same credit
 *   never sees it: both count alike (a message may go while credit > 0, and costs its length + 32).
 * - `closed`: the channel or the client is gone.
 */
export type DeliverResult = 'queued' | 'no-credit' | 'closed'

/**
 * Events for a client, made when there is room for them: what happened meanwhile is one event and not many. After `undefined` it is
 * asked again when {@link IpcClient.feedReady} said so.
 */
export interface EventFeed {
  next(): TopicEvent | undefined
}

/** One connected client, after hello. */
export interface IpcClient {
  /** Dense and small: the lowest number free when it connected. */
  readonly id: number
  /** As it named itself, for logs. */
  readonly name: string
  readonly app: string | undefined
  readonly scopes: readonly IpcScope[]
  /** Id of the API key it came with. */
  readonly key: string | undefined
  /** Aborted when the connection it has now is gone, before {@link IpcHandler.onClientLost} and {@link IpcHandler.onClientClosed}. */
  readonly signal: AbortSignal
  /**
   * More than 1 MiB waits for the socket. Messages still queue, but whoever goes on loses the client at 4 MiB (`slow_reader`):
   * hold its channels until {@link IpcHandler.onWritable}.
   */
  readonly congested: boolean
  /** Bytes that wait for the socket. */
  readonly unsent: number

  /** This connection's number for a peer, the same until it ends; 0 when 65,535 peers have one already. */
  peerHandle(peerId: string): number
  /**
   * A number for a channel that the client asked to open: for the result of `channel.open`. Messages may be sent at once; they are
   * kept until that answer went out. `undefined` when the client has 256 channels: answer `limit`.
   */
  addChannel(channel: NewChannel): number | undefined
  /** A number for an incoming channel, and `event.channel.incoming` to the client. `undefined` when it has 256 channels: reject it. */
  offerChannel(channel: OfferedChannel): number | undefined
  /** The router's own number for a channel of this client. */
  channelContext(channel: number): number | undefined
  /** `event.channel.closed`, after everything sent on it; the number is never used again. Silent for a channel that was not announced yet. */
  closeChannel(channel: number, end: ChannelEnd): void
  /** A message for the client. `flags` are {@link MESSAGE_GAP} and {@link MESSAGE_REPEATED}; delivery number and peer handle are filled in. */
  sendMessage(channel: number, flags: number, bytes: Uint8Array, offset: number, length: number, lane?: number): DeliverResult
  /**
   * Messages of one channel at once: rows `from` to `to` over `bytes`. How many were queued, from the first on; what became of the next one, which may be one
   * with flags, {@link sendMessage} says.
   */
  sendRun(channel: number, bytes: Uint8Array, rows: DeliveredRows, from: number, to: number): number
  /** What the client may still be sent on a channel, in cost; ≤ 0 = nothing. */
  deliveryCredit(channel: number): number
  /** The client may write `add` more on a channel, in cost. The first credit is `sendCredit` in the answer to open or accept. */
  sendCredit(channel: number, add: number): void
  /** What became of the client's messages with tags `firstTag` … `lastTag`; `what` and `reason` are the numbers of WIRE.md §8.3. */
  sendNotice(channel: number, what: number, reason: number, firstTag: number, lastTag: number): void
  /** Where its events come from; forgotten when its connection is lost. */
  setFeed(feed: EventFeed | undefined): void
  /** There is something in the feed. */
  feedReady(): void
  /** Takes nothing more from the client until {@link resume}; not even that it left is noticed, nor the credit it gives. */
  pause(): void
  resume(): void
  /** It will not come back: its channels end with its connection. */
  leave(): void
  /** `event.bye`, then the connection closes, at the latest after a second. */
  close(code: ErrorCode, reason: string, retryMs?: number): void
}

/**
 * One function per method. It returns the result, or throws a {@link PosternError} that becomes the error answer; both may be
 * asynchronous. `signal` aborts when the client goes. Parameters, scope and channel numbers were checked before.
 *
 * `channel.open` returns the number of {@link IpcClient.addChannel}; `sendCredit` and `maxMessage` in the results of open and accept
 * become the client's account. A rejected channel is forgotten with the result of `channel.reject`.
 */
export type IpcMethodTable = {
  readonly [M in IpcCall]: (client: IpcClient, request: IpcRequest<M>, signal: AbortSignal) => IpcResult<M> | Promise<IpcResult<M>>
}

export interface IpcHandler {
  readonly methods: IpcMethodTable
  /** What a client with this key, or without one, may do; enforced by the server. `undefined`: the key is not valid. */
  authenticate(key: string | undefined): Grant | undefined
  /** Before the answer to hello. A {@link PosternError} thrown here becomes that answer, and the connection closes. */
  onClientOpen(client: IpcClient, hello: HelloRequest): IpcGreeting
  /**
   * The client's connection is gone, and it may come back: its open channels stay, everything else of it is over. Calls on it go on to
   * work: messages are kept within its credit, events are not.
   */
  onClientLost(client: IpcClient): void
  /** It came back. Nothing is thrown here. */
  onClientResumed(client: IpcClient): IpcGreeting
  /** Once for each client that was opened; all its channels and requests are over. */
  onClientClosed(client: IpcClient, end: ClientEnd): void
  /**
   * Whether the message was taken. `false` = no room: reading from the client pauses as by {@link IpcClient.pause}, and after
   * {@link IpcClient.resume}, called later, the same message is offered again. For room that does not depend on this client alone:
   * its credit comes by the same socket.
   */
  onMessage(client: IpcClient, message: IncomingMessage): boolean
  /** Messages of one channel at once: how many were taken, from the first on. The next one is offered to {@link onMessage}. */
  onRun(client: IpcClient, channel: number, context: number, run: MessageRun): number
  /** The client took messages of this cost. Never more than it was sent. */
  onCredit(client: IpcClient, channel: number, context: number, cost: number): void
  /** The client broke a rule of this channel: it has been told and the number is gone; close the other side with abort. */
  onChannelBroken(client: IpcClient, channel: number, context: number, end: ChannelEnd): void
  /** A client that was {@link IpcClient.congested} has room again. */
  onWritable(client: IpcClient): void
  /** The one place where mistakes of our own end: an unexpected exception of a method or a callback. The client sees `internal`. */
  onFault(error: unknown, during: string): void
}
