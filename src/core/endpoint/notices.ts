import type { ChannelHandle } from '../base/domain.ts'
import type { NoticeSink } from '../connection/channels/channel.ts'
import type { NoticeBatch } from './contract.ts'

const FIRST_CAPACITY = 64
/** Rows that may wait for the next poll; the pump polls after every call, so one call made them. More are lost, and counted. */
const ROWS_MAX = 1 << 18

/** What became of messages, on its way to their senders, as rows. Neighbours in tag with the same fate on the same channel are one row. */
export class Notices implements NoticeSink {
  /** Rows that found no place. */
  lost = 0
  #capacity = FIRST_CAPACITY
  #channel = new Int32Array(FIRST_CAPACITY)
  #what = new Uint8Array(FIRST_CAPACITY)
  #reason = new Uint8Array(FIRST_CAPACITY)
  #first = new Uint32Array(FIRST_CAPACITY)
  #last = new Uint32Array(FIRST_CAPACITY)
  #head = 0
  #tail = 0

  get empty(): boolean {
    return this.#head === this.#tail
  }

  /** Adds one message; `hint` is what this returned for the channel's last one, so that runs of several channels do not break one another. */
  push(channel: ChannelHandle, what: number, reason: number, tag: number, hint: number): number {
    if (hint >= this.#head && hint < this.#tail && this.#continues(hint, channel, what, reason, tag)) {
      this.#last[hint] = tag
      return hint
    }
    if (this.#tail === this.#capacity && !this.#makeRoom()) {
      this.lost++
      return -1
    }
    const i = this.#tail++
    this.#channel[i] = channel
    this.#what[i] = what
    this.#reason[i] = reason
    this.#first[i] = tag
    this.#last[i] = tag
    return i
  }

  poll(batch: NoticeBatch): number {
    const count = Math.min(batch.capacity, this.#tail - this.#head)
    for (let i = 0; i < count; i++) {
      const from = this.#head + i
      batch.channel[i] = this.#channel[from]!
      batch.what[i] = this.#what[from]!
      batch.reason[i] = this.#reason[from]!
      batch.firstTag[i] = this.#first[from]!
      batch.lastTag[i] = this.#last[from]!
    }
    batch.count = count
    this.#head += count
    if (this.#head === this.#tail) {
      this.#head = 0
      this.#tail = 0
    }
    return count
  }

  #continues(row: number, channel: ChannelHandle, what: number, reason: number, tag: number): boolean {
    return this.#channel[row] === channel && this.#what[row] === what && this.#reason[row] === reason && this.#last[row]! + 1 === tag
  }

  #makeRoom(): boolean {
    if (this.#capacity === ROWS_MAX) return false
    const capacity = 2 * this.#capacity
    const copy = <T extends Int32Array | Uint8Array | Uint32Array>(from: T, to: T): T => {
      to.set(from)
      return to
    }
    this.#channel = copy(this.#channel, new Int32Array(capacity))
    this.#what = copy(this.#what, new Uint8Array(capacity))
    this.#reason = copy(this.#reason, new Uint8Array(capacity))
    this.#first = copy(this.#first, new Uint32Array(capacity))
    this.#last = copy(this.#last, new Uint32Array(capacity))
    this.#capacity = capacity
    return true
  }
}
