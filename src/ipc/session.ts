import { setMaxListeners } from 'node:events'
import { utf8 } from '../core/base/bytes.ts'
import { PosternError, type ErrorCode } from '../core/base/errors.ts'
import { after, never, type Instant } from '../core/base/time.ts'
import { CLIENT_CHANNELS_MAX, HELLO_BODY_MAX, JSON_BODY_MAX, KIND_CREDIT, KIND_JSON, KIND_MANY, KIND_MESSAGE, MESSAGE_HEADER_SIZE, OPEN_REQUESTS_MAX } from '../core/wire/ipc/ipc.ts'
import { toIpcError } from '../core/wire/ipc/ipc-errors.ts'
import { decodeRequest, encodeError, encodeEvent, encodeResult, type JsonRpcId } from '../core/wire/ipc/ipc-json.ts'
import type { HelloRequest, IpcEvents, ResumedChannel } from '../core/wire/ipc/ipc-methods.ts'
import type { IpcSlice } from '../core/wire/ipc/ipc-outbox.ts'
import { ClientChannels, type FrameOutcome } from './client-channels.ts'
import { ClientOutbox } from './client-outbox.ts'
import { FeedReader } from './feed-reader.ts'
import { FrameIntake } from './frame-intake.ts'
import { Greeter, type GreeterStep } from './greeter.ts'
import { helloResult } from './greeting.ts'
import type { ClientEnd, Grant, IpcGreeting } from './handler.ts'
import { CLOSE_LINGER } from './limits.ts'
import { ClientRequests } from './requests.ts'
import { ResumeTicket } from './resume-ticket.ts'
import { SessionClient, type ClientHost } from './session-client.ts'
import type { SessionLink, SessionShared, SessionState } from './session-types.ts'

/** What a session has of a connection, and hands to another one when the client came back for that. */
interface Attachment {
  readonly link: SessionLink<IpcSession>
  readonly outbox: ClientOutbox
  readonly intake: FrameIntake
}

/**
 * One client, without its socket: bytes and time come in ({@link receive}, {@link handleTimeout}), pieces to write go out
 * ({@link takeWrite}), the handler is called from {@link receive}, {@link settle}, {@link handleTimeout} and {@link disconnected}, and sees a
 * {@link SessionClient}. It outlives its connection: what makes up the client's channels is here, and moves to the connection by which the client comes back.
 */
export class IpcSession implements ClientHost {
  readonly id: number
  readonly channels: ClientChannels
  readonly feed: FeedReader = new FeedReader(() => this.#wake())
  readonly #client: SessionClient
  readonly #shared: SessionShared<IpcSession>
  readonly #requests: ClientRequests
  readonly #ticket: ResumeTicket<IpcSession>
  #attached: Attachment
  #abort: AbortController = newAbort()
  #state: SessionState
  #paused = false
  #resumed = false
  #awake = false
  /** Set when the handler knows the client and has yet to hear of its end. */
  #opened = false
  #end: ClientEnd | undefined

  constructor(id: number, now: Instant, shared: SessionShared<IpcSession>, link: SessionLink<IpcSession>) {
    this.id = id
    this.#shared = shared
    this.#ticket = new ResumeTicket(shared.tokens)
    this.#state = { kind: 'greeting', greeter: new Greeter(now, shared) }
    this.#attached = {
      link, outbox: new ClientOutbox(shared.pool), intake: new FrameIntake({ json: HELLO_BODY_MAX, message: HELLO_BODY_MAX - MESSAGE_HEADER_SIZE }),
    }
    const client = new SessionClient(this)
    this.#client = client
    this.channels = new ClientChannels(client, {
      handler: shared.handler, outbox: () => this.outbox, queued: () => this.#queued(), tally: shared.tally, counters: shared.counters, run: shared.run,
    })
    this.#requests = new ClientRequests({
      client, handler: shared.handler, channels: this.channels.table,
      connection: () => (this.isOpen ? this.#abort : undefined),
      write: (text) => this.#writeJson(text, false),
      announce: (row) => this.channels.announce(row),
      count: (name) => shared.counters.add(name),
    })
  }

  // What the handler's view of it asks for.

  get isOpen(): boolean {
    return this.#state.kind === 'open'
  }

  get lives(): boolean {
    return this.#state.kind === 'open' || this.#state.kind === 'lingering'
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get outbox(): ClientOutbox {
    return this.#attached.outbox
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

  dropTokens(): void {
    this.#ticket.drop()
  }

  close(code: ErrorCode, reason: string, retryMs = 0): void {
    if (this.#state.kind === 'closing' || this.#state.kind === 'gone') return
    this.#end = { code, reason }
    this.#ticket.drop()
    if (this.#state.kind === 'lingering') {
      this.#leave()
      this.#wake()
      return
    }
    this.#state = { kind: 'closing', deadline: never }
    const bye: IpcEvents['event.bye'] = { code, reason, retryMs }
    this.outbox.frames.appendJson(utf8(encodeEvent('event.bye', bye)), true)
    this.#wake()
  }

  // What the driver calls.

  /** Whether the socket should be read. A closing session reads on, and throws away: unread bytes would reset the socket under the last event. */
  get reading(): boolean {
    return this.#state.kind === 'closing' || (!this.#paused && (this.#state.kind !== 'greeting' || this.#state.greeter.reading))
  }

  /** Without a connection: the client may come back for its channels. */
  get lingering(): boolean {
    return this.#state.kind === 'lingering'
  }

  /** Everything was said: the socket may end. */
  get drained(): boolean {
    return this.#state.kind === 'closing' && this.outbox.unsent === 0
  }

  /** The socket may be destroyed. */
  get gone(): boolean {
    return this.#state.kind === 'gone'
  }

  nextTimeout(): Instant {
    const state = this.#state
    switch (state.kind) {
      case 'greeting':
        return state.greeter.deadline
      case 'open':
        return this.outbox.progressDeadline
      case 'gone':
        return never
      case 'lingering':
      case 'closing':
        return state.deadline
    }
  }

  /** Bytes of the client. They stay the session's until it asks for more. */
  receive(now: Instant, bytes: Uint8Array): void {
    if (this.#state.kind !== 'open' && this.#state.kind !== 'greeting') return
    this.#attached.intake.push(bytes)
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
    if (this.isOpen) {
      this.channels.pump(now)
      this.feed.pump(this.outbox, (event) => this.#writeJson(event, true))
      if (this.outbox.hasRoomAgain) {
        this.outbox.roomTold()
        this.#shared.handler.onWritable(this.#client)
      }
    }
    this.#tellEnd()
  }

  handleTimeout(now: Instant): void {
    const state = this.#state
    if (state.kind === 'greeting') {
      this.#greet(state.greeter.handleTimeout(now))
      // What came while a wrong key waited for its answer.
      this.#resumed = true
      this.#wake()
    } else if (state.kind === 'closing' && state.deadline <= now) {
      this.#leave()
    } else if (state.kind === 'lingering' && state.deadline <= now) {
      this.close(state.end.code, state.end.reason)
    } else if (state.kind === 'open' && this.outbox.progressDeadline <= now) {
      this.#slowReader('The client took nothing for too long.')
    }
  }

  /** Lends the next piece to write, of at most 64 KiB. */
  takeWrite(now: Instant, slice: IpcSlice): boolean {
    return this.outbox.take(now, slice)
  }

  /** The piece was written whole. */
  wrote(): void {
    this.outbox.sent()
    if (this.outbox.hasRoomAgain || this.feed.hasWork(this.outbox)) this.#wake()
  }

  /** The socket ended or failed. `error` is `undefined` when the client ended it. What it wrote before was taken. */
  disconnected(now: Instant, error: Error | undefined): void {
    if (this.#state.kind === 'gone' || this.#state.kind === 'lingering') return
    if (this.#state.kind !== 'closing') {
      const end = this.#endOf(error)
      if (this.isOpen && this.#ticket.valid && this.channels.resumable) {
        this.#detach()
        this.#state = { kind: 'lingering', deadline: after(now, this.#shared.linger), end }
        return
      }
      this.#end = end
    }
    this.#leave()
    this.#tellEnd()
  }

  // Frames.

  #read(now: Instant): void {
    const { intake } = this.#attached
    while (!this.#paused && (this.isOpen || (this.#state.kind === 'greeting' && this.#state.greeter.reading))) {
      const result = intake.next()
      if (result === 'more') break
      if (result === 'malformed') this.#protocol(intake.reader.where)
      else this.#frame(now, intake)
    }
    this.#shared.counters.add('ipc_ignored_kinds', intake.takeIgnored())
  }

  #frame(now: Instant, intake: FrameIntake): void {
    const { kind, bytes, offset, length } = intake.reader
    if (this.#state.kind === 'greeting') {
      this.#greet(this.#state.greeter.receive(now, kind === KIND_JSON ? decodeRequest(bytes, offset, length) : undefined))
      return
    }
    this.#ticket.confirm()
    if (kind === KIND_JSON) {
      const frame = decodeRequest(bytes, offset, length)
      if (frame.kind === 'malformed') this.#requests.refuse(frame.id, new PosternError(frame.code, frame.where))
      else this.#requests.handle(frame.id, frame.method, frame.params)
      return
    }
    const outcome: FrameOutcome = kind === KIND_MESSAGE ? this.channels.receiveMessages(intake.reader)
      : kind === KIND_CREDIT ? this.channels.receiveCredit(bytes, offset, length)
      : kind === KIND_MANY ? this.channels.receiveMany(bytes, offset, length) : 'malformed'
    if (outcome === 'taken') return
    if (outcome === 'malformed') {
      this.#protocol(`frame of kind ${kind}: wrong length, or a channel that never was`)
    } else {
      intake.again()
      this.pause()
    }
  }

  // Hello, and coming back.

  #greet(step: GreeterStep | undefined): void {
    if (step === undefined) return
    if (step.kind === 'late') {
      this.close('timeout', 'hello did not come in time.')
    } else if (step.kind === 'refused') {
      this.#writeJson(utf8(encodeError(step.id, toIpcError(step.error))), false)
      if (step.final) this.close(step.error.code, step.error.message)
    } else {
      const { id, hello, grant } = step
      const lost = hello.resume === undefined ? undefined : this.#shared.tokens.find(hello.resume)
      if (lost === undefined || lost.#client.key !== grant.key) this.#open(id, hello, grant)
      else this.#moveTo(lost, id, hello, grant)
    }
  }

  #open(id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    const { handler, counters } = this.#shared
    this.#client.introduce(hello, grant)
    this.#state = { kind: 'open' }
    try {
      const greeting = handler.onClientOpen(this.#client, hello)
      this.#opened = true
      counters.add('ipc_clients_opened')
      this.#welcome(id, greeting, undefined)
    } catch (error) {
      this.#greet({ kind: 'refused', id, error: this.#requests.coded(error, 'hello'), final: true })
    }
  }

  /** A client came back: its session goes on with this one's connection, and with the bytes that were read behind hello. */
  #moveTo(session: IpcSession, id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    const attached = this.#attached
    this.#state = { kind: 'gone' }
    this.#attached = { ...attached, outbox: new ClientOutbox(this.#shared.pool) }
    attached.link.handOver(session)
    session.#attach(attached, id, hello, grant)
  }

  #attach(attached: Attachment, id: JsonRpcId, hello: HelloRequest, grant: Grant): void {
    // Its old connection may not have been seen to end yet.
    if (this.isOpen) this.#detach()
    this.#attached = attached
    this.#abort = newAbort()
    this.#client.introduce(hello, grant)
    this.#state = { kind: 'open' }
    this.#shared.counters.add('ipc_clients_resumed')
    const greeting = this.#shared.handler.onClientResumed(this.#client)
    this.#ticket.use(hello.resume)
    this.#welcome(id, greeting, this.channels.attach(hello.received))
    this.#awake = false
    this.#resumed = true
    this.#wake()
  }

  #welcome(id: JsonRpcId, greeting: IpcGreeting, channels: readonly ResumedChannel[] | undefined): void {
    const { linger, messageMax } = this.#shared
    this.#attached.intake.reader.limits = { json: JSON_BODY_MAX, message: messageMax }
    const welcome = { scopes: this.#client.scopes, messageMax, resume: linger > 0 ? this.#ticket.issue(this) : undefined, linger, channels }
    this.#writeJson(utf8(encodeResult(id, helloResult(greeting, welcome))), false)
  }

  /** The connection is over, the client is not. */
  #detach(): void {
    const { counters, handler } = this.#shared
    counters.add('ipc_clients_lost')
    this.outbox.frames.clear()
    this.#attached.intake.clear()
    this.#abort.abort()
    this.#requests.forget()
    this.feed.set(undefined)
    this.channels.detach()
    handler.onClientLost(this.#client)
  }

  // Writing, and the end.

  #writeJson(text: Uint8Array, isEvent: boolean): void {
    this.outbox.frames.appendJson(text, isEvent)
    this.#queued()
  }

  /** Something was queued: keeps the bounds and asks for a write. */
  #queued(): void {
    const reason = this.outbox.overflow()
    if (reason !== undefined && this.#state.kind !== 'closing') this.#slowReader(reason)
    this.#wake()
  }

  #wake(): void {
    if (this.#awake) return
    this.#awake = true
    this.#attached.link.wake()
  }

  #protocol(where: string): void {
    this.#shared.counters.add('ipc_end_protocol')
    this.close('protocol', `The client broke the protocol: ${where}.`)
  }

  #slowReader(reason: string): void {
    this.#shared.counters.add('ipc_end_slow_reader')
    // The client would not read what waits; so it gets to the reason sooner.
    this.outbox.frames.dropQueued()
    this.close('slow_reader', reason)
  }

  #endOf(error: Error | undefined): ClientEnd {
    const { counters } = this.#shared
    if (error !== undefined) {
      counters.add('ipc_end_socket_error')
      return { code: 'disconnected', reason: error.message }
    }
    if (!this.#attached.intake.reader.midFrame) return { code: 'closed', reason: 'The client left.' }
    counters.add('ipc_end_mid_frame')
    return { code: 'disconnected', reason: 'The client ended inside a frame.' }
  }

  #leave(): void {
    this.#state = { kind: 'gone' }
    this.#ticket.drop()
    this.outbox.frames.clear()
    this.#attached.intake.clear()
  }

  #tellEnd(): void {
    const end = this.#end
    if (end === undefined) return
    this.#end = undefined
    this.channels.clear()
    if (!this.#opened) return
    this.#opened = false
    this.#shared.counters.add('ipc_clients_closed')
    this.#shared.handler.onClientClosed(this.#client, end)
    this.#abort.abort()
  }
}

/** Every request without an answer may listen to it, and so may the router for each channel. */
function newAbort(): AbortController {
  const controller = new AbortController()
  setMaxListeners(OPEN_REQUESTS_MAX + CLIENT_CHANNELS_MAX, controller.signal)
  return controller
}
