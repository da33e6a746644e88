import { millisecond, type Duration } from '../base/time.ts'
import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import { Reassembly, RECEIVED, RECEIVED_PROTOCOL, type MessageSink, type Receiver, type ReceiveResult } from './receive.ts'

/** WIRE.md §5, mode 2: reassembly of at most 4 messages, 1 MiB together, 1 s each, per channel; the oldest goes. */
const PARTIALS_MAX = 4
const PARTIAL_BYTES_MAX = 1 << 20
/** [P] … and over all channels of a session, which may be 256: one peer must not fill the arena of all. */
export const SESSION_PARTIAL_BYTES_MAX: number = 8 << 20
export const PARTIAL_TIME: Duration = 1000 * millisecond

/**
 * Mode 2, unreliable: handed over on completion, once, in the order of completion. Outside flow control: a message that finds
 * no delivery credit is dropped and counted, and the next one carries the gap flag.
 */
export class UnreliableReceiver implements Receiver {
  credit: number
  held = false
  readonly received = 0
  delivered = 0
  droppedNoCredit = 0
  droppedIncomplete = 0
  #gap = false
  #partials: Reassembly[] = []
  #partialBytes = 0
  readonly #memory: MemoryAccount

  constructor(memory: MemoryAccount, credit: number) {
    this.#memory = memory
    this.credit = credit
  }

  /** Nothing is waited for: what was lost will not come. */
  finished(_final: number): boolean {
    return true
  }

  whole(_now: number, _id: number, offset: number, length: number, _room: number, sink: MessageSink): ReceiveResult {
    if (this.credit <= 0 || this.held) this.#dropWhole()
    else this.#hand(offset, length, -1, sink)
    return RECEIVED
  }

  fragment(now: number, id: number, offset: number, length: number, at: number, total: number, _room: number, sink: MessageSink): ReceiveResult {
    let part = this.#partials.find((candidate) => candidate.id === id)
    if (part === undefined) {
      part = this.#begin(now, id, total)
      if (part === undefined) {
        this.#dropIncomplete()
        return RECEIVED
      }
    }
    if (part.total !== total) return RECEIVED_PROTOCOL
    const result = part.add(this.#memory.arena.bytes, offset, at, length)
    if (!part.complete) return result
    this.#forget(part)
    if (this.credit <= 0 || this.held) {
      this.#memory.release(part.block)
      this.#dropWhole()
    } else {
      this.#hand(part.block, total, part.block, sink)
    }
    return result
  }

  skip(id: number): ReceiveResult {
    const part = this.#partials.find((candidate) => candidate.id === id)
    if (part !== undefined) this.#giveUp(part)
    return RECEIVED
  }

  resume(_sink: MessageSink): void {
    // Nothing waits in this mode.
  }

  takePassed(): number {
    return 0
  }

  expire(now: number): number {
    for (;;) {
      const oldest = this.#partials[0]
      if (oldest === undefined) return Infinity
      const at = oldest.startedAt + PARTIAL_TIME
      if (at > now) return at
      this.#giveUp(oldest)
    }
  }

  trim(): void {
    // Nothing stands empty in this mode.
  }

  /** What is whole was handed over or dropped when it came. */
  get waiting(): boolean {
    return false
  }

  seal(): number {
    this.clear()
    return Infinity
  }

  clear(): void {
    for (const part of this.#partials) this.#memory.release(part.block)
    this.#memory.unbounded -= this.#partialBytes
    this.#partials = []
    this.#partialBytes = 0
  }

  #begin(now: number, id: number, total: number): Reassembly | undefined {
    if (total > PARTIAL_BYTES_MAX) return undefined
    while (this.#partials.length >= PARTIALS_MAX || this.#partialBytes + total > PARTIAL_BYTES_MAX) this.#giveUp(this.#partials[0]!)
    if (this.#memory.unbounded + total > SESSION_PARTIAL_BYTES_MAX) return undefined
    const block = this.#memory.allocate(total)
    if (block < 0) return undefined
    this.#memory.unbounded += total
    const part = new Reassembly(id, total, block, now)
    this.#partials.push(part)
    this.#partialBytes += total
    return part
  }

  #forget(part: Reassembly): void {
    this.#partials.splice(this.#partials.indexOf(part), 1)
    this.#partialBytes -= part.total
    this.#memory.unbounded -= part.total
  }

  #giveUp(part: Reassembly): void {
    this.#forget(part)
    this.#memory.release(part.block)
    this.#dropIncomplete()
  }

  #dropWhole(): void {
    this.droppedNoCredit++
    this.#gap = true
  }

  #dropIncomplete(): void {
    this.droppedIncomplete++
    this.#gap = true
  }

  #hand(offset: number, length: number, block: number, sink: MessageSink): void {
    this.credit -= length + MESSAGE_COST
    this.delivered++
    sink.deliver(offset, length, block, this.#gap)
    this.#gap = false
  }
}
