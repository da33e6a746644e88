import { setMaxListeners } from 'node:events'
import { utf8 } from '../core/base/bytes.ts'
import { PosternError, type ErrorCode } from '../core/base/errors.ts'
import { after, never, type Instant } from '../core/base/time.ts'
import {
  CLIENT_CHANNELS_MAX, HELLO_BODY_MAX, JSON_BODY_MAX, KIND_CREDIT, KIND_JSON, KIND_MANY, KIND_MESSAGE, LANE_OF_CHANNEL, MESSAGE_HEADER_SIZE, OPEN_REQUESTS_MAX,
} from '../core/wire/ipc.ts'
import { toIpcError } from '../core/wire/ipc-errors.ts'
import { decodeRequest, encodeError, encodeEvent, encodeResult, type JsonRpcId } from '../core/wire/ipc-json.ts'
import type { ChannelEnd, HelloRequest, IpcEvents, IpcScope, ResumedChannel } from '../core/wire/ipc-methods.ts'
import type { IpcSlice } from '../core/wire/ipc-outbox.ts'
import { ClientChannels, type FrameOutcome } from './client-channels.ts'
import { ClientOutbox } from './client-outbox.ts'
import type { ClientEnd, DeliverResult, EventFeed, Grant, IpcClient, IpcGreeting, NewChannel, OfferedChannel } from './handler.ts'
import { AUTH_FAILURES_MAX, CLOSE_LINGER, HANDLES_MAX, HELLO_TIMEOUT } from './limits.ts'
import { helloResult, readGreeting, wrongKey, type GreetingStep } from './greeting.ts'
import { FrameIntake } from './frame-intake.ts'
import { ClientRequests } from './requests.ts'
import type { SessionLink, SessionShared, SessionState } from './session-types.ts'

/**
 * One client, without its socket: bytes and time come in ({@link receive}, {@link handleTimeout}), pieces to write go out
 * ({@link takeWrite}), the handler is called from {@link receive}, {@link settle}, {@link handleTimeout} and {@link disconnected}. It outlives its
 * connection: what makes up the client's channels is here, and moves to the connection by which the client comes back.
 */
export class IpcSession implements IpcClient {
  readonly id: number
  name = ''
  app: string | undefined
  scopes: readonly IpcScope[] = []
  key: string | undefined
  readonly #shared: SessionShared<IpcSession>
  #link: SessionLink<IpcSession>
  #outbox: ClientOutbox
  #intake: FrameIntake
  readonly #channels: ClientChannels
  readonly #requests: ClientRequests
  readonly #handles = new Map<string, number>()
  #abort = new AbortController()
  #state: SessionState
  #authFailures = 0
  #paused = false
  #resumed = false
  #awake = false
  #feed: EventFeed | undefined
  /** There may be something in the feed. */
  #feedWaits = false
  /** Set when the handler knows the client and has yet to hear of its end. */
  #opened = false
  #end: ClientEnd | undefined
  #token: string | undefined
  /** The token it came back with: good until the next frame. */
  #usedToken: string | undefined

  constructor(id: number, now: Instant, shared: SessionShared<IpcSession>, link: SessionLink<IpcSession>) {
    this.id = id
    this.#shared = shared
    this.#link = link
    this.#state = { kind: 'greeting', deadline: after(now, HELLO_TIMEOUT) }
    this.#outbox = new ClientOutbox(shared.pool)
    this.#intake = new FrameIntake({ json: HELLO_BODY_MAX, message: HELLO_BODY_MAX - MESSAGE_HEADER_SIZE })
    this.#channels = new ClientChannels(this, {
      handler: shared.handler, outbox: () => this.#outbox, queued: () => this.#queued(), tally: shared.tally, counters: shared.counters,
    })
    this.#requests = new ClientRequests({
      client: this, handler: shared.handler, channels: this.#channels.table,
      connection: () => (this.#state.kind === 'open' ? this.#abort : undefined),
      write: (text) => this.#writeJson(text, false),
      announce: (row) => this.#channels.announce(row),
      count: (name) => shared.counters.add(name),
    })
    expectListeners(this.#abort)
  }

  // What the handler sees: IpcClient.

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get congested(): boolean {
    return this.#outbox.congested
  }

  get unsent(): number {
    return this.#outbox.unsent
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
    return this.#state.kind === 'open' ? this.#channels.add(channel) : undefined
  }

  offerChannel(channel: OfferedChannel): number | undefined {
    return this.#state.kind === 'open' ? this.#channels.offer(channel) : undefined
  }

  channelContext(channel: number): number | undefined {
    const row = this.#channels.table.get(channel)
    return row?.end === undefined ? row?.context : undefined
  }

  closeChannel(channel: number, end: ChannelEnd): void {
    if (this.#lives) this.#channels.close(channel, end)
  }

  sendMessage(channel: number, flags: number, bytes: Uint8Array, offset: number, length: number, lane: number = LANE_OF_CHANNEL): DeliverResult {
    return this.#lives ? this.#channels.send(channel, flags, bytes, offset, length, lane) : 'closed'
  }

  deliveryCredit(channel: number): number {
    return this.#channels.table.get(channel)?.deliveryBalance ?? 0
  }

  sendNotice(channel: number, what: number, reason: number, firstTag: number, lastTag: number): void {
    if (this.#lives) this.#channels.notice(channel, what, reason, firstTag, lastTag)
  }

  sendCredit(channel: number, add: number): void {
    if (this.#lives) this.#channels.grant(channel, add)
  }

  setFeed(feed: EventFeed | undefined): void {
    this.#feed = this.#state.kind === 'open' ? feed : undefined
    this.feedReady()
  }

  feedReady(): void {
    this.#feedWaits = this.#feed !== undefined
    if (this.#feedWaits) this.#wake()
  }

  pause(): void {
    this.#paused = true
    this.#wake()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#resumed = true
    this.#wake()
  }

  leave(): void {
    this.#dropTokens()
  }

  close(code: ErrorCode, reason: string, retryMs = 0): void {
    if (this.#state.kind === 'closing' || this.#state.kind === 'gone') return
    this.#end = { code, reason }
    this.#dropTokens()
    if (this.#state.kind === 'lingering') {
      this.#leave()
      this.#wake()
      return
    }
    this.#state = { kind: 'closing', deadline: never }
    const bye: IpcEvents['event.bye'] = { code, reason, retryMs }
    this.#outbox.frames.appendJson(utf8(encodeEvent('event.bye', bye)), true)
    this.#wake()
  }

  // What the driver calls.

  /** Whether the socket should be read. A closing session reads on, and throws away: unread bytes would reset the socket under the last event. */
  get reading(): boolean {
    return this.#state.kind === 'closing' || (!this.#paused && this.#state.kind !== 'throttled')
  }

  /** Without a connection: the client may come back for its channels. */
  get lingering(): boolean {
    return this.#state.kind === 'lingering'
  }

  /** Everything was said: the socket may end. */
  get drained(): boolean {
    return this.#state.kind === 'closing' && this.#outbox.unsent === 0
  }

  /** The socket may be destroyed. */
  get gone(): boolean {
    return this.#state.kind === 'gone'
  }

  nextTimeout(): Instant {
    const state = this.#state
    return state.kind === 'open' ? this.#outbox.progressDeadline : state.kind === 'gone' ? never : state.deadline
  }

  /** Bytes of the client. They stay the session's until it asks for more. */
  receive(now: Instant, bytes: Uint8Array): void {
    if (this.#state.kind === 'closing' || this.#state.kind === 'gone' || this.#state.kind === 'lingering') return
    this.#intake.push(bytes)
    this.#read(now)
  }

  /** Does what calls on the client put off, so that the handler is never called from inside them. */
  settle(now: Instant): void {
    this.#awake = false
    if (this.#state.kind === 'closing' && this.#state.deadline === never) this.#state = { kind: 'closing', deadline: after(now, CLOSE_LINGER) }
    if (this.#resumed) {
      this.#resumed = false
      this.#read(now)
    }
    if (this.#state.kind === 'open') {
      this.#channels.pump(now)
      this.#pumpFeed()
      if (this.#outbox.hasRoomAgain) {
        this.#outbox.roomTold()
        this.#shared.handler.onWritable(this)
      }
    }
    this.#tellEnd()
  }

  handleTimeout(now: Instant): void {
    const state = this.#state
    if (state.kind === 'greeting' && state.deadline <= now) {
      this.#shared.counters.add('ipc_end_hello_timeout')
      this.close('timeout', 'hello did not come in time.')
    } else if (state.kind === 'throttled' && state.deadline <= now) {
      this.#answerAuth(now, state.id)
    } else if (state.kind === 'closing' && state.deadline <= now) {
      this.#leave()
    } else if (state.kind === 'lingering' && state.deadline <= now) {
      this.close(state.end.code, state.end.reason)
    } else if (state.kind === 'open' && this.#outbox.progressDeadline <= now) {
      this.#slowReader('The client took nothing for too long.')
    }
  }

  /** Lends the next piece to write, of at most 64 KiB. */
  takeWrite(now: Instant, slice: IpcSlice): boolean {
    return this.#outbox.take(now, slice)
  }

  /** The piece was written whole. */
  wrote(): void {
    this.#outbox.sent()
    if (this.#outbox.hasRoomAgain || (this.#feedWaits && this.#outbox.takesEvents)) this.#wake()
  }

  /** The socket ended or failed. `error` is `undefined` when the client ended it. What it wrote before was taken. */
  disconnected(now: Instant, error: Error | undefined): void {
    if (this.#state.kind === 'gone' || this.#state.kind === 'lingering') return
    if (this.#state.kind !== 'closing') {
      const midFrame = this.#intake.reader.midFrame
      if (error !== undefined) this.#shared.counters.add('ipc_end_socket_error')
      else if (midFrame) this.#shared.counters.add('ipc_end_mid_frame')
      const end: ClientEnd = error !== undefined ? { code: 'disconnected', reason: error.message }
        : midFrame ? { code: 'disconnected', reason: 'The client ended inside a frame.' } : { code: 'closed', reason: 'The client left.' }
      if (this.#state.kind === 'open' && this.#token !== undefined && this.#channels.resumable) {
        this.#detach()
        this.#state = { kind: 'lingering', deadline: after(now, this.#shared.linger), end }
        return
      }
      this.#end = end
    }
    this.#leave()
    this.#tellEnd()
  }

  #read(now: Instant): void {
    const intake = this.#intake
    while (!this.#paused && (this.#state.kind === 'open' || this.#state.kind === 'greeting')) {
      const result = intake.next()
      if (result === 'more') break
      if (result === 'malformed') this.#protocol(intake.reader.where)
      else this.#frame(now)
    }
    this.#shared.counters.add('ipc_ignored_kinds', intake.takeIgnored())
  }

  #frame(now: Instant): void {
    const { kind, bytes, offset, length } = this.#intake.reader
    if (this.#state.kind === 'greeting') {
      this.#greet(now, readGreeting(kind === KIND_JSON ? decodeRequest(bytes, offset, length) : undefined))
      return
    }
    if (this.#usedToken !== undefined) {
      this.#shared.tokens.revoke(this.#usedToken)
      this.#usedToken = undefined
    }
    if (kind === KIND_JSON) {
      const frame = decodeRequest(bytes, offset, length)
      if (frame.kind === 'malformed') this.#requests.refuse(frame.id, new PosternError(frame.code, frame.where))
      else this.#requests.handle(frame.id, frame.method, frame.params)
      return
    }
    const outcome: FrameOutcome = kind === KIND_MESSAGE ? this.#channels.receiveMessage(bytes, offset, length)
      : kind === KIND_CREDIT ? this.#channels.receiveCredit(bytes, offset, length)
      : kind === KIND_MANY ? this.#channels.receiveMany(bytes, offset, length) : 'malformed'
    if (outcome === 'taken') return
    if (outcome === 'malformed') {
      this.#protocol(`frame of kind ${kind}: wrong length, or a channel that never was`)
    } else {
      this.#intake.again()
      this.pause()
    }
  }

  #greet(now: Instant, step: GreetingStep): void {
    if (step.kind === 'refused') {
      this.#shared.counters.add('ipc_end_hello_first')
      this.#refuseGreeting(step.id, step.error)
      return
    }
    const { counters, throttle, handler, tokens } = this.#shared
    const grant = handler.authenticate(step.hello.key)
    if (grant === undefined) {
      counters.add('ipc_auth_failures')
      this.#state = { kind: 'throttled', deadline: after(now, throttle.fail(now)), id: step.id }
      return
    }
    const lost = step.hello.resume === undefined ? undefined : tokens.find(step.hello.resume)
    if (lost === undefined || lost.key !== grant.key) this.#open(step.id, step.hello, grant)
    else this.#moveTo(lost, step.id, step.hello, grant)
  }

  #open(id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    const { handler, counters } = this.#shared
    this.#introduce(hello, grant)
    this.#state = { kind: 'open' }
    try {
      const greeting = handler.onClientOpen(this, hello)
      this.#opened = true
      counters.add('ipc_clients_opened')
      this.#welcome(id, greeting, undefined)
    } catch (error) {
      this.#refuseGreeting(id, this.#requests.coded(error, 'hello'))
    }
  }

  /** A client came back: its session goes on with this one's connection, and with the bytes that were read behind hello. */
  #moveTo(session: IpcSession, id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    const [link, outbox, intake] = [this.#link, this.#outbox, this.#intake]
    this.#state = { kind: 'gone' }
    this.#outbox = new ClientOutbox(this.#shared.pool)
    link.handOver(session)
    session.#attach({ link, outbox, intake }, id, hello, grant)
  }

  #attach(connection: { readonly link: SessionLink<IpcSession>; readonly outbox: ClientOutbox; readonly intake: FrameIntake }, id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    // Its old connection may not have been seen to end yet.
    if (this.#state.kind === 'open') this.#detach()
    const { link, outbox, intake } = connection
    this.#link = link
    this.#outbox = outbox
    this.#intake = intake
    this.#abort = new AbortController()
    expectListeners(this.#abort)
    this.#introduce(hello, grant)
    this.#state = { kind: 'open' }
    this.#shared.counters.add('ipc_clients_resumed')
    const greeting = this.#shared.handler.onClientResumed(this)
    const spare = this.#token === hello.resume ? this.#usedToken : this.#token
    if (spare !== hello.resume) this.#shared.tokens.revoke(spare)
    this.#usedToken = hello.resume
    this.#welcome(id, greeting, this.#channels.attach(hello.received))
    this.#awake = false
    this.#resumed = true
    this.#wake()
  }

  #introduce(hello: HelloRequest, grant: Grant): void {
    this.name = hello.client
    this.app = hello.app
    this.key = grant.key
    this.scopes = grant.scopes
  }

  #welcome(id: JsonRpcId, greeting: IpcGreeting, channels: readonly ResumedChannel[] | undefined): void {
    const { tokens, linger, messageMax } = this.#shared
    this.#intake.reader.limits = { json: JSON_BODY_MAX, message: messageMax }
    this.#token = linger > 0 ? tokens.issue(this) : undefined
    const welcome = { scopes: this.scopes, messageMax, resume: this.#token, linger, channels }
    this.#writeJson(utf8(encodeResult(id, helloResult(greeting, welcome))), false)
  }

  /** The connection is over, the client is not. */
  #detach(): void {
    const { counters, handler } = this.#shared
    counters.add('ipc_clients_lost')
    this.#outbox.frames.clear()
    this.#intake.clear()
    this.#abort.abort()
    this.#requests.forget()
    this.setFeed(undefined)
    this.#channels.detach()
    handler.onClientLost(this)
  }

  #dropTokens(): void {
    this.#shared.tokens.revoke(this.#token)
    this.#shared.tokens.revoke(this.#usedToken)
    this.#token = undefined
    this.#usedToken = undefined
  }

  #answerAuth(now: Instant, id: JsonRpcId): void {
    const error = wrongKey()
    this.#authFailures++
    if (this.#authFailures >= AUTH_FAILURES_MAX) {
      this.#shared.counters.add('ipc_end_auth')
      this.#refuseGreeting(id, error)
      return
    }
    this.#writeJson(utf8(encodeError(id, toIpcError(error))), false)
    this.#state = { kind: 'greeting', deadline: after(now, HELLO_TIMEOUT) }
    this.#resumed = true
    this.#wake()
  }

  #refuseGreeting(id: JsonRpcId | null, error: PosternError): void {
    this.#writeJson(utf8(encodeError(id, toIpcError(error))), false)
    this.close(error.code, error.message)
  }

  #protocol(where: string): void {
    this.#shared.counters.add('ipc_end_protocol')
    this.close('protocol', `The client broke the protocol: ${where}.`)
  }

  /** A client that reads slowly gets fewer events, not older ones: they are made as there is room. */
  #pumpFeed(): void {
    while (this.#feedWaits && this.#outbox.takesEvents) {
      const event = this.#feed?.next()
      if (event === undefined) this.#feedWaits = false
      else this.#writeJson(utf8(encodeEvent(event.name, event.params)), true)
    }
  }

  #slowReader(reason: string): void {
    this.#shared.counters.add('ipc_end_slow_reader')
    // The client would not read what waits; so it gets to the reason sooner.
    this.#outbox.frames.dropQueued()
    this.close('slow_reader', reason)
  }

  #writeJson(text: Uint8Array, isEvent: boolean): void {
    this.#outbox.frames.appendJson(text, isEvent)
    this.#queued()
  }

  /** Something was queued: keeps the bounds and asks for a write. */
  #queued(): void {
    const reason = this.#outbox.overflow()
    if (reason !== undefined && this.#state.kind !== 'closing') this.#slowReader(reason)
    this.#wake()
  }

  #wake(): void {
    if (this.#awake) return
    this.#awake = true
    this.#link.wake()
  }

  /** Whether its channels are there, with a connection or without. */
  get #lives(): boolean {
    return this.#state.kind === 'open' || this.#state.kind === 'lingering'
  }

  #leave(): void {
    this.#state = { kind: 'gone' }
    this.#dropTokens()
    this.#outbox.frames.clear()
    this.#intake.clear()
  }

  #tellEnd(): void {
    const end = this.#end
    if (end === undefined) return
    this.#end = undefined
    this.#channels.clear()
    if (!this.#opened) return
    this.#opened = false
    this.#shared.counters.add('ipc_clients_closed')
    this.#shared.handler.onClientClosed(this, end)
    this.#abort.abort()
  }
}

/** Every request without an answer may listen, and so may the router for each channel. */
function expectListeners(controller: AbortController): void {
  setMaxListeners(OPEN_REQUESTS_MAX + CLIENT_CHANNELS_MAX, controller.signal)
}
