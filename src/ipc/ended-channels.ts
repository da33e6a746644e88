import { after, type Instant } from '../core/base/time.ts'
import type { ChannelRow } from './channel-table.ts'
import { CLOSED_KEPT, CLOSED_KEPT_BYTES, CLOSED_KEPT_COUNT } from './limits.ts'

interface Ended {
  readonly row: ChannelRow
  /** Set when it is looked at for the first time: whoever closes a channel does not know the time. */
  until: Instant | undefined
}

/**
 * Channels that ended a moment ago, with the messages that the client may not have read: should its connection be lost right
 * now, it is told once more. Bounded in time, number and bytes: the oldest is forgotten, and a client that comes back just then learns
 * that the channel is gone, but not how it ended.
 */
export class EndedChannels {
  readonly #list: Ended[] = []
  #cost = 0

  get size(): number {
    return this.#list.length
  }

  add(row: ChannelRow): void {
    this.#list.push({ row, until: undefined })
    this.#cost += row.retained?.cost ?? 0
    while (this.#list.length > CLOSED_KEPT_COUNT || this.#cost > CLOSED_KEPT_BYTES) this.#shift()
  }

  /** What ended so long ago that a client which had not read it would have been thrown out as a slow reader. */
  forget(now: Instant): void {
    for (const ended of this.#list) ended.until ??= after(now, CLOSED_KEPT)
    while (this.#list[0]?.until !== undefined && this.#list[0].until <= now) this.#shift()
  }

  takeAll(): ChannelRow[] {
    this.#cost = 0
    return this.#list.splice(0).map(({ row }) => row)
  }

  clear(): void {
    this.takeAll()
  }

  #shift(): void {
    const ended = this.#list.shift()
    if (ended !== undefined) this.#cost -= ended.row.retained?.cost ?? 0
  }
}
