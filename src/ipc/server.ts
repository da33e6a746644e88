import { createServer, type Server, type Socket } from 'node:net'
import { utf8 } from '../core/base/bytes.ts'
import { Counters } from '../core/base/counters.ts'
import { DeadlineHeap } from '../core/base/deadline-heap.ts'
import type { ErrorCode } from '../core/base/errors.ts'
import { MessageRun } from '../core/base/message-run.ts'
import { after, never, type Duration, type Instant } from '../core/base/time.ts'
import { FRAME_HEADER_SIZE, KIND_JSON, writeFrameHead } from '../core/wire/ipc/ipc.ts'
import { encodeEvent } from '../core/wire/ipc/ipc-json.ts'
import type { IpcEvents } from '../core/wire/ipc/ipc-methods.ts'
import { IpcBatchPool } from '../core/wire/ipc/ipc-outbox.ts'
import type { IpcPath } from '../core/wire/ipc/ipc-path.ts'
import { mayConnect, type SocketAccess } from './access.ts'
import { AuthThrottle } from './auth-throttle.ts'
import type { MessageTally } from './client-channels.ts'
import { IpcConnection, type ConnectionHost } from './connection.ts'
import { ipcCounterNames, type IpcCounterName } from './counters.ts'
import type { IpcHandler } from './handler.ts'
import { CLIENTS_MAX, CLIENTS_PER_USER_MAX, CLOSE_LINGER, LINGER_DEFAULT, LINGERING_MAX, REFUSED_MAX, RUN_MAX } from './limits.ts'
import { ResumeTokens } from './resume-tokens.ts'
import type { IpcSession } from './session.ts'
import type { SessionShared } from './session-types.ts'
import { openSocket, type OpenSocket } from './socket-path.ts'
import { systemTimers, type IpcTimers } from './timers.ts'

export interface IpcServerOptions {
  readonly handler: IpcHandler
  /** Places for the socket in the order they are tried: `ipcPaths` of core/wire/ipc-path. */
  readonly paths: readonly IpcPath[]
  /** Largest message of an app, bytes. */
  readonly messageMax: number
  /** How long the channels of a client that lost its connection wait for it; 10 s by default, 0: not at all. */
  readonly linger?: Duration
  readonly timers?: IpcTimers
  /** Without it, the modes of socket and directory are the only check. */
  readonly access?: SocketAccess
}

/**
 * Opens the daemon's socket. Refuses with a {@link PosternError}: `already_running` when a daemon answers there, `unwritable` when no
 * directory can be made, `permission` when one belongs to somebody else, `config` when the path is too long.
 */
export async function startIpcServer(options: IpcServerOptions): Promise<IpcServer> {
  const server = createServer()
  const socket = await openSocket(server, options.paths, (options.access?.others.length ?? 0) > 0)
  return new IpcServer(server, socket, options)
}

/** The daemon's side of the local IPC: at most 256 clients on one socket. */
export class IpcServer implements ConnectionHost, AsyncDisposable {
  /** Where clients find it. */
  readonly path: string
  readonly timers: IpcTimers
  readonly #server: Server
  readonly #socket: OpenSocket
  readonly #shared: SessionShared<IpcSession>
  readonly #access: SocketAccess | undefined
  /** Of other users, by uid: one that guesses keys slows down itself alone. No more than `access.others` and root. */
  readonly #sharedByUid = new Map<number, SessionShared<IpcSession>>()
  /** Connections of other users, by uid: no more entries than connections. */
  readonly #countByUid = new Map<number, number>()
  readonly #counters = new Counters<IpcCounterName>(ipcCounterNames)
  readonly #tally: MessageTally = { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 }
  /**
   * By slot; a slot is a client's id and used again. At most {@link CLIENTS_MAX} and those still closing, and {@link LINGERING_MAX} that
   * are closed and keep the place of a session which may be resumed.
   */
  readonly #connections: (IpcConnection | undefined)[] = []
  readonly #deadlines = new DeadlineHeap()
  readonly #refused = new Set<Socket>()
  /** The sessions that wait for their client, the longest first. */
  readonly #lingering = new Set<IpcSession>()
  #count = 0
  #awake: IpcConnection[] = []
  #turnPending = false
  #armedAt: Instant = never
  #disarm: (() => void) | undefined
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(server: Server, socket: OpenSocket, options: IpcServerOptions) {
    this.path = socket.path
    this.#socket = socket
    this.timers = options.timers ?? systemTimers
    this.#server = server
    this.#shared = {
      handler: options.handler, pool: new IpcBatchPool(), throttle: new AuthThrottle(),
      tokens: new ResumeTokens(), linger: options.linger ?? LINGER_DEFAULT, counters: this.#counters, tally: this.#tally, run: new MessageRun(RUN_MAX), messageMax: options.messageMax,
    }
    this.#access = options.access
    server.on('connection', (socket) => this.#accept(socket))
    server.on('error', (error) => options.handler.onFault(error, 'listen'))
  }

  /** Connections, those included that are closing or have yet to say hello. */
  get clients(): number {
    return this.#count
  }

  counters(): Record<IpcCounterName, number> {
    const { messagesIn, messagesOut, bytesIn, bytesOut } = this.#tally
    return {
      ...this.#counters.snapshot(),
      ipc_messages_in: messagesIn, ipc_messages_out: messagesOut, ipc_message_bytes_in: bytesIn, ipc_message_bytes_out: bytesOut,
    }
  }

  /**
   * Writes what is queued now. Without it, everything queued in one turn of the event loop goes out at its end; a router that
   * ends its own batch calls it to save that wait. Calls nothing of the handler.
   */
  flush(): void {
    for (const connection of this.#awake) connection.flush()
  }

  /** Says `event.bye` to every client, takes no more, and resolves when all are gone, after a second at the latest. The socket file goes. */
  close(code: ErrorCode = 'shutting_down', reason = 'The daemon is shutting down.', retryMs = 0): Promise<void> {
    this.#closing ??= this.#close(code, reason, retryMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  wake(connection: IpcConnection): void {
    if (connection.awake) return
    connection.awake = true
    this.#awake.push(connection)
    if (this.#turnPending) return
    this.#turnPending = true
    this.timers.defer(() => this.#turn())
  }

  rearm(connection: IpcConnection): void {
    if (this.#connections[connection.slot] !== connection) return // The slot may be another's by now.
    this.#deadlines.set(connection.slot, connection.session.nextTimeout())
    this.#arm()
    this.#noteLingering(connection.session)
  }

  handOver(connection: IpcConnection, to: IpcSession): void {
    const before = this.#connections[to.id]
    if (before !== connection) before?.release()
    this.left(connection)
    connection.slot = to.id
    connection.session = to
    this.#connections[to.id] = connection
    this.#lingering.delete(to)
  }

  closed(): void {
    this.#count--
    if (this.#count === 0) this.#onEmpty?.()
  }

  left(connection: IpcConnection): void {
    if (this.#connections[connection.slot] !== connection) return
    this.#connections[connection.slot] = undefined
    this.#deadlines.clear(connection.slot)
    this.#lingering.delete(connection.session)
  }

  #noteLingering(session: IpcSession): void {
    if (!session.lingering || this.#lingering.has(session)) return
    this.#lingering.add(session)
    for (const oldest of this.#lingering) {
      if (this.#lingering.size <= LINGERING_MAX) return
      this.#lingering.delete(oldest)
      oldest.close('limit', `More than ${LINGERING_MAX} clients lost their connections.`)
    }
  }

  #turn(): void {
    this.#turnPending = false
    const awake = this.#awake
    this.#awake = []
    for (const connection of awake) {
      connection.awake = false
      connection.turn()
    }
  }

  #accept(socket: Socket): void {
    const uid = this.#access?.uidOf(socket)
    if (this.#access !== undefined && !mayConnect(this.#access, uid)) {
      this.#counters.add('ipc_clients_forbidden')
      this.#refuse(socket, { code: 'permission', reason: 'This user may not use this daemon.', retryMs: 0 })
      return
    }
    if (this.#count >= CLIENTS_MAX || this.#closing !== undefined) {
      this.#counters.add('ipc_clients_refused')
      this.#refuse(socket, this.#closing === undefined
        ? { code: 'limit', reason: `The daemon has ${CLIENTS_MAX} clients, which is all it takes.`, retryMs: 1000 }
        : { code: 'shutting_down', reason: 'The daemon is shutting down.', retryMs: 0 })
      return
    }
    if (!this.#countUser(socket, uid)) {
      this.#counters.add('ipc_clients_over_user')
      this.#refuse(socket, { code: 'limit', reason: `This user has ${CLIENTS_PER_USER_MAX} connections, which is all the daemon takes from one that is not its own.`, retryMs: 1000 })
      return
    }
    let slot = this.#connections.indexOf(undefined)
    if (slot < 0) slot = this.#connections.length
    const connection = new IpcConnection(slot, socket, this.#sharedOf(uid), this)
    this.#connections[slot] = connection
    this.#count++
    this.rearm(connection)
  }

  /** Whether this user may have one connection more; it is counted until its socket is closed. */
  #countUser(socket: Socket, uid: number | undefined): boolean {
    if (uid === undefined || uid === this.#access?.own) return true
    const count = this.#countByUid.get(uid) ?? 0
    if (count >= CLIENTS_PER_USER_MAX) return false
    this.#countByUid.set(uid, count + 1)
    socket.once('close', () => {
      const left = this.#countByUid.get(uid)! - 1
      if (left > 0) this.#countByUid.set(uid, left)
      else this.#countByUid.delete(uid)
    })
    return true
  }

  #sharedOf(uid: number | undefined): SessionShared<IpcSession> {
    if (uid === undefined || uid === this.#access?.own) return this.#shared
    const known = this.#sharedByUid.get(uid)
    if (known !== undefined) return known
    const shared = { ...this.#shared, throttle: new AuthThrottle() }
    this.#sharedByUid.set(uid, shared)
    return shared
  }

  /** Told why, without a session. */
  #refuse(socket: Socket, bye: IpcEvents['event.bye']): void {
    socket.on('error', () => socket.destroy())
    if (this.#refused.size >= REFUSED_MAX) {
      socket.destroy()
      return
    }
    this.#refused.add(socket)
    const disarm = this.timers.at(after(this.timers.now(), CLOSE_LINGER), () => socket.destroy())
    socket.on('close', () => {
      this.#refused.delete(socket)
      disarm()
    })
    // Its hello is read and thrown away: unread bytes would reset the socket under the event.
    socket.resume()
    const text = utf8(encodeEvent('event.bye', bye))
    const frame = new Uint8Array(FRAME_HEADER_SIZE + text.length)
    writeFrameHead(frame, 0, KIND_JSON, text.length)
    frame.set(text, FRAME_HEADER_SIZE)
    socket.end(frame)
  }

  async #close(code: ErrorCode, reason: string, retryMs: number): Promise<void> {
    this.#socket.release()
    this.#server.close()
    for (const connection of this.#connections) connection?.session.close(code, reason, retryMs)
    for (const socket of this.#refused) socket.destroy()
    if (this.#count > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve))
    this.#turn()
    this.#disarm?.()
  }

  /** One timer for all sessions, armed for the earliest deadline; one that is too early is left to fire. */
  #arm(): void {
    const next = this.#deadlines.next()
    if (next >= this.#armedAt) return
    this.#disarm?.()
    this.#armedAt = next
    this.#disarm = this.timers.at(next, () => this.#onTimer())
  }

  #onTimer(): void {
    this.#armedAt = never
    this.#disarm = undefined
    const now = this.timers.now()
    for (;;) {
      const slot = this.#deadlines.due(now)
      if (slot < 0) break
      this.#deadlines.clear(slot)
      this.#connections[slot]?.handleTimeout()
    }
    this.#arm()
  }
}
