import type { Arena } from '../base/arena.ts'
import { after, millisecond, never, second, type Duration, type Instant, type Now } from '../base/time.ts'
import type { Channel } from '../connection/channels/channel.ts'
import { UNDECIDED } from '../connection/channels/channels.ts'
import type { Connection } from '../connection/connection.ts'
import { tellWritable } from '../connection/packets/send.ts'

/** With less of the arena free than this, who holds more than an equal share may not queue more (DESIGN §5: the largest first). */
const SHORT_SHARE = 1 / 8
/** With less than this nobody may: the rest is for what arrives. */
const EMPTY_SHARE = 1 / 32
/** What all sessions together may hold before it is short, in equal shares: the largest holder is always above its own. */
const EQUAL_SHARES = 3 / 4
/** How often channels that wait for memory are looked at. */
const WAIT_TIME: Duration = 20 * millisecond
/** Datagrams are repeated at least this often (the cap of a probe timeout, and some), so without one for so long memory is not short any more. */
const SHORTAGE_PAUSE: Duration = 6 * second
/** A consumer that took nothing for this long, while datagrams are dropped for lack of memory, is gone. */
const GONE_TIME: Duration = 10 * second
/** The largest part of a small arena that is set aside. */
const RESERVE_SHARE = 1 / 8

/** Who waits for the arena, who must, and who is ended so that the others need not (DESIGN §5, WIRE.md §5). */
export class MemoryWatch {
  readonly #arena: Arena
  readonly #waiters = new Set<Channel>()
  #waitAt: Instant = never
  /** First and last datagram of the present shortage that was dropped. */
  #shortSince: Instant = never
  #shortAt: Instant = never

  constructor(arena: Arena, messageMax: number) {
    this.#arena = arena
    // Without a reserve a full arena could hold nothing but messages that wait for one that finds no room.
    arena.setReserve(Math.min(messageMax, arena.capacity * RESERVE_SHARE))
  }

  /** Whether one that holds `held` bytes of `sessions` sessions may not take more. */
  short(held: number, sessions: number): boolean {
    const { free, capacity } = this.#arena
    return free < capacity * EMPTY_SHARE || (free < capacity * SHORT_SHARE && held > (capacity * EQUAL_SHARES) / Math.max(1, sessions))
  }

  /** The channel is told `writable` when there is room again. */
  wait(channel: Channel): void {
    this.#waiters.add(channel)
  }

  forget(channel: Channel): void {
    this.#waiters.delete(channel)
  }

  /** Waiters that came since the last look get their deadline. */
  arm(now: Now): void {
    if (this.#waiters.size > 0 && this.#waitAt === never) this.#waitAt = after(now.mono, WAIT_TIME)
  }

  /** A datagram with new message bytes was dropped unacknowledged. */
  noteNoRoom(now: Now): void {
    if (this.#shortSince === never) this.#shortSince = now.mono
    this.#shortAt = now.mono
  }

  nextTimeout(): Instant {
    if (this.#shortSince === never) return this.#waitAt
    const over = after(this.#shortAt, SHORTAGE_PAUSE)
    const gone = after(this.#shortSince, GONE_TIME)
    return Math.min(this.#waitAt, over, gone) as Instant
  }

  /** Tells whom there is room for, and names the consumer that is to be ended, if there is one. */
  handleTimeout(now: Now, sessions: readonly (Connection | undefined)[], owner: (channel: Channel) => Connection): number | undefined {
    if (now.mono >= this.#waitAt) this.#tell(now, owner)
    if (this.#shortSince === never) return undefined
    if (now.mono >= after(this.#shortAt, SHORTAGE_PAUSE)) {
      this.#shortSince = never
      return undefined
    }
    if (now.mono < after(this.#shortSince, GONE_TIME)) return undefined
    this.#shortSince = now.mono
    return largestStalled(now, sessions)
  }

  #tell(now: Now, owner: (channel: Channel) => Connection): void {
    this.#waitAt = never
    for (const channel of this.#waiters) {
      if (channel.writableOwed) tellWritable(owner(channel).state, channel)
      if (!channel.writableOwed) this.#waiters.delete(channel)
    }
    this.arm(now)
  }
}

/** Of the consumers that hold up what came for them and took nothing for a while, the one with the most unread. */
function largestStalled(now: Now, sessions: readonly (Connection | undefined)[]): number | undefined {
  const unread = new Map<number, { cost: number; readAt: Instant; stalled: boolean }>()
  for (const connection of sessions) {
    for (const channel of connection?.state.channels.values() ?? []) {
      const { consumer, readAt } = channel.share
      if (consumer === UNDECIDED) continue
      const sum = unread.get(consumer) ?? { cost: 0, readAt, stalled: false }
      sum.cost += channel.counted - channel.consumed
      if (readAt > sum.readAt) sum.readAt = readAt
      sum.stalled ||= channel.reliable && (channel.receiver.held || channel.receiver.credit <= 0)
      unread.set(consumer, sum)
    }
  }
  let largest: number | undefined
  let most = 0
  for (const [consumer, { cost, readAt, stalled }] of unread) {
    if (!stalled || cost <= most || now.mono < after(readAt, GONE_TIME)) continue
    largest = consumer
    most = cost
  }
  return largest
}
