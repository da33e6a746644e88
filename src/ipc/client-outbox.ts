import { after, never, type Instant } from '../core/base/time.ts'
import { IpcOutbox, type IpcBatchPool, type IpcSlice } from '../core/wire/ipc/ipc-outbox.ts'
import { CONGESTED_ABOVE, EVENTS_MAX, FEED_EVENTS_MAX, PROGRESS_TIMEOUT, UNSENT_MAX, WRITABLE_BELOW } from './limits.ts'

/** The frames that wait for one client, with the bounds of WIRE.md §8.3: 4 MiB, 1024 events, some progress every 15 s. */
export class ClientOutbox {
  readonly frames: IpcOutbox
  /** When the piece that is being written will have made no progress for too long. */
  progressDeadline: Instant = never
  #wasCongested = false

  constructor(pool: IpcBatchPool) {
    this.frames = new IpcOutbox(pool)
  }

  get unsent(): number {
    return this.frames.size
  }

  get congested(): boolean {
    return this.frames.size > CONGESTED_ABOVE
  }

  /** Whether events of a feed may be made: the rest of the client's share is for what cannot wait. */
  get takesEvents(): boolean {
    return this.frames.events < FEED_EVENTS_MAX && !this.congested
  }

  /** Called after frames were appended: why the client is too slow, if it is. */
  overflow(): string | undefined {
    const { size, events } = this.frames
    if (size > CONGESTED_ABOVE) this.#wasCongested = true
    if (size > UNSENT_MAX) return `More than ${UNSENT_MAX} bytes waited for the client.`
    return events > EVENTS_MAX ? `More than ${EVENTS_MAX} events waited for the client.` : undefined
  }

  /** Whether a congested client has room again; says so until {@link roomTold}. */
  get hasRoomAgain(): boolean {
    return this.#wasCongested && this.frames.size < WRITABLE_BELOW
  }

  /** Says {@link hasRoomAgain} when there is, also if nothing more is appended. */
  wantRoom(): void {
    this.#wasCongested = true
  }

  roomTold(): void {
    this.#wasCongested = false
  }

  /** Lends the next piece, of at most 64 KiB, and starts the clock of its progress. */
  take(now: Instant, slice: IpcSlice): boolean {
    if (!this.frames.take(slice)) return false
    this.progressDeadline = after(now, PROGRESS_TIMEOUT)
    return true
  }

  /** The piece was written whole. */
  sent(): void {
    this.frames.sent()
    this.progressDeadline = never
  }
}
