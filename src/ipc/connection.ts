import type { Socket } from 'node:net'
import { IpcSlice } from '../core/wire/ipc/ipc-outbox.ts'
import { IpcSession } from './session.ts'
import type { SessionShared } from './session-types.ts'
import type { IpcTimers } from './timers.ts'

/** What a connection asks of its server. */
export interface ConnectionHost {
  readonly timers: IpcTimers
  /** Call {@link IpcConnection.turn} when the input at hand was read. */
  wake(connection: IpcConnection): void
  /** The session's next deadline may have changed. */
  rearm(connection: IpcConnection): void
  /** The connection belongs to another session now; see {@link SessionLink.handOver}. */
  handOver(connection: IpcConnection, to: IpcSession): void
  /** The socket is closed. */
  closed(): void
  /** The socket is closed, the session is over, and the handler knows. */
  left(connection: IpcConnection): void
}

/** A socket and its session: moves bytes between them and keeps one write at a time in the kernel's hands. */
export class IpcConnection {
  slot: number
  session: IpcSession
  /** Whether the server has it on its list for the next turn. */
  awake = false
  readonly #socket: Socket
  readonly #host: ConnectionHost
  readonly #shared: SessionShared<IpcSession>
  readonly #slice = new IpcSlice()
  #writing = false
  /** Callbacks still to come of writes that were seen to be complete at once. */
  #settledWrites = 0
  #ended = false
  #closed = false
  /** Its session went on with another connection: nothing that happens here is of interest. */
  #released = false

  constructor(slot: number, socket: Socket, shared: SessionShared<IpcSession>, host: ConnectionHost) {
    this.slot = slot
    this.#socket = socket
    this.#host = host
    this.#shared = shared
    this.session = new IpcSession(slot, host.timers.now(), shared, { wake: () => host.wake(this), handOver: (to) => host.handOver(this, to) })
    socket.on('data', (chunk: Buffer) => this.#guard('receive', () => this.session.receive(host.timers.now(), chunk)))
    socket.on('end', () => this.#guard('end', () => this.session.disconnected(host.timers.now(), undefined)))
    socket.on('error', (error) => this.#guard('error', () => this.session.disconnected(host.timers.now(), error)))
    socket.on('close', () => {
      this.#closed = true
      host.closed()
      this.#guard('close', () => this.session.disconnected(host.timers.now(), undefined))
    })
  }

  /** Everything that waits for the end of the turn, then one write. */
  turn(): void {
    this.#guard('turn', () => {
      this.session.settle(this.#host.timers.now())
      this.flush()
    })
  }

  handleTimeout(): void {
    this.#guard('timeout', () => this.session.handleTimeout(this.#host.timers.now()))
    this.turn()
  }

  /** Hands to the socket what it takes now. */
  flush(): void {
    const socket = this.#socket
    if (socket.destroyed || this.#ended || this.#released) return
    const now = this.#host.timers.now()
    const slice = this.#slice
    while (!this.#writing && this.session.takeWrite(now, slice)) {
      this.#writing = true
      socket.write(slice.bytes.subarray(slice.offset, slice.offset + slice.length), this.#onWritten)
      // Nothing is left in the stream: the kernel took it all within the call, and the buffer is free before the callback.
      if (socket.writableLength === 0) {
        this.#settledWrites++
        this.#written()
      }
    }
    if (this.session.drained) {
      this.#ended = true
      socket.end()
    }
  }

  /** Its session goes on elsewhere. */
  release(): void {
    this.#released = true
    this.#socket.destroy()
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (this.#settledWrites > 0) {
      this.#settledWrites--
      return
    }
    if (error !== undefined && error !== null) return // 'error' or 'close' follows.
    this.#written()
    this.#guard('write', () => this.flush())
  }

  #written(): void {
    if (this.#released) return
    this.#writing = false
    this.session.wrote()
  }

  /** Lets the socket follow the session. */
  #follow(): void {
    const { session } = this
    const socket = this.#socket
    if (session.gone || session.lingering) {
      socket.destroy()
      if (session.gone && this.#closed) this.#host.left(this)
    } else if (session.reading === socket.isPaused()) {
      if (session.reading) socket.resume()
      else socket.pause()
    }
    this.#host.rearm(this)
  }

  /** A mistake of ours costs the client whose bytes led to it, and nobody else. */
  #guard(during: string, work: () => void): void {
    if (this.#released) return
    try {
      work()
    } catch (error) {
      this.#shared.counters.add('ipc_faults')
      this.#shared.handler.onFault(error, during)
      this.session.close('internal', 'The daemon made a mistake; its log says more.')
    }
    this.#follow()
  }
}
