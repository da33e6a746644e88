import { CLIENT_CHANNELS_MAX } from '../core/wire/ipc/ipc.ts'
import type { ChannelEnd, IpcMode } from '../core/wire/ipc/ipc-methods.ts'
import { RetainedMessages } from '../core/wire/ipc/ipc-retained.ts'
import type { NewChannel } from './handler.ts'

/**
 *     opening ── answer to channel.open ──▶ open        offered ── channel.accept ──▶ accepting ── its answer ──▶ open
 *
 * An accept that failed goes back to `offered`. Messages for a channel in `opening` are kept until the answer went out.
 */
export type ChannelState = 'opening' | 'offered' | 'accepting' | 'open'

export interface KeptNotice {
  readonly what: number
  readonly reason: number
  readonly firstTag: number
  readonly lastTag: number
}

/** One channel of one client, with both credit accounts of WIRE.md §8.3, in cost. */
export interface ChannelRow {
  readonly number: number
  readonly context: number
  readonly mode: IpcMode
  readonly handle: number
  deadlineMs: number
  state: ChannelState
  /** What the client may still write; below zero once, by the message that used it up. */
  sendBalance: number
  /** Largest message the peer takes, bytes. */
  maxMessage: number
  /** What the client may be sent in all without giving credit back. */
  window: number
  /** What it may still be sent; below zero once. */
  deliveryBalance: number
  nextDelivery: number
  /** Frames kept in `opening`, where {@link retained} is not there to keep them; bounded by the window and one message. */
  held: Uint8Array[]
  /** Reliable channels: what the client may not have yet, to be repeated after its connection was lost. Bounded by the window and one message. */
  readonly retained: RetainedMessages | undefined
  /** Tag of the last message that was taken from the client; 0 = none with a tag. */
  acceptedTag: number
  /** After resuming, tags up to this one are repetitions; 0 once a newer one came. */
  repeatedTag: number
  /** Messages of an unreliable channel went with a connection: the next one says so. */
  gap: boolean
  /** What became of its messages, while it cannot be told. */
  readonly notices: KeptNotice[]
  /** The last ones that were told: a lost connection may not have carried them. */
  readonly told: KeptNotice[]
  /** It ended, and the client is told behind the messages that wait. */
  end: ChannelEnd | undefined
}

const U32_MAX = 0xffff_ffff

/** The channels of one client: at most 256 at a time, numbered from 1 on, no number twice. */
export class ChannelTable {
  readonly #rows = new Map<number, ChannelRow>()
  #next = 1
  // Messages come in runs of one channel.
  #latest: ChannelRow | undefined

  get size(): number {
    return this.#rows.size
  }

  /** `undefined` when there are 256 already. */
  add(channel: NewChannel, handle: number, state: 'opening' | 'offered'): ChannelRow | undefined {
    if (this.#rows.size >= CLIENT_CHANNELS_MAX || this.#next > U32_MAX) return undefined
    const row: ChannelRow = {
      number: this.#next++, context: channel.context, mode: channel.mode, handle, deadlineMs: channel.deadlineMs, state,
      sendBalance: 0, maxMessage: 0, window: channel.credit, deliveryBalance: channel.credit, nextDelivery: 0, held: [],
      retained: channel.mode.startsWith('reliable') ? new RetainedMessages() : undefined, acceptedTag: 0, repeatedTag: 0, gap: false, notices: [], told: [], end: undefined,
    }
    this.#rows.set(row.number, row)
    return row
  }

  rows(): IterableIterator<ChannelRow> {
    return this.#rows.values()
  }

  /** A channel whose end was told comes back: it is to be told once more. */
  restore(row: ChannelRow): void {
    this.#rows.set(row.number, row)
  }

  /** Also one that has ended and whose last messages still wait: look at its `end`. */
  get(number: number): ChannelRow | undefined {
    if (this.#latest?.number === number) return this.#latest
    const row = this.#rows.get(number)
    if (row !== undefined) this.#latest = row
    return row
  }

  /** Whether a number was ever given: frames for such a channel may still be on their way when it closes. */
  wasGiven(number: number): boolean {
    return number >= 1 && number < this.#next
  }

  remove(number: number): void {
    this.#rows.delete(number)
    if (this.#latest?.number === number) this.#latest = undefined
  }

  clear(): void {
    this.#rows.clear()
    this.#latest = undefined
  }
}
