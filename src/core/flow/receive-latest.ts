import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import {
  Reassembly, RECEIVED, RECEIVED_BEFORE, RECEIVED_NO_ROOM, RECEIVED_PROTOCOL, type MessageSink, type Receiver, type ReceiveResult,
} from './receive.ts'
import { SESSION_PARTIAL_BYTES_MAX } from './receive-unreliable.ts'

/** WIRE.md §5, mode 3: reassembly of two messages; the older goes. */
const PARTIALS_MAX = 2

/**
 * Mode 3, latest: a message is handed over if its id is above all that were handed over before; what is incomplete and older goes.
 * Outside flow control: without delivery credit the newest whole message waits, one at a time, and those it replaces are dropped
 * and counted; the one that follows carries the gap flag.
 */
export class LatestReceiver implements Receiver {
  credit: number
  held = false
  readonly received = 0
  delivered = 0
  droppedNoCredit = 0
  droppedIncomplete = 0
  /** Greatest id that came whole, and greatest that was SKIPped; −1 for none. */
  #newest = -1
  #skipped = -1
  #gap = false
  /** At most two, older first. */
  #partials: Reassembly[] = []
  #pendingLength = -1
  #pendingBlock = -1
  readonly #memory: MemoryAccount

  constructor(memory: MemoryAccount, credit: number) {
    this.#memory = memory
    this.credit = credit
  }

  finished(final: number): boolean {
    return Math.max(this.#newest, this.#skipped) >= final - 1 && this.#pendingLength < 0
  }

  whole(_now: number, id: number, offset: number, length: number, _room: number, sink: MessageSink): ReceiveResult {
    if (id <= this.#newest || id === this.#skipped) return RECEIVED_BEFORE
    if (this.credit > 0 && !this.held) {
      this.#passTo(id)
      this.#hand(offset, length, -1, sink)
      return RECEIVED
    }
    // The one that waits gives its room to this one.
    this.#dropPending()
    const block = this.#allocate(length)
    if (block === undefined) return this.#refuse(id)
    if (block >= 0) this.#memory.arena.bytes.copyWithin(block, offset, offset + length)
    this.#passTo(id)
    this.#keep(length, block)
    return RECEIVED
  }

  fragment(now: number, id: number, offset: number, length: number, at: number, total: number, _room: number, sink: MessageSink): ReceiveResult {
    if (id <= this.#newest || id === this.#skipped) return RECEIVED_BEFORE
    let part = this.#partials.find((candidate) => candidate.id === id)
    if (part === undefined) {
      if (this.#partials.length === PARTIALS_MAX) {
        const oldest = this.#partials[0]!
        if (id < oldest.id) {
          this.#dropIncomplete()
          return RECEIVED
        }
        this.#giveUp(oldest)
      }
      const block = this.#allocate(total)
      if (block === undefined) return this.#refuse(id)
      part = new Reassembly(id, total, block, now)
      this.#partials.push(part)
      this.#partials.sort((a, b) => a.id - b.id)
    }
    if (part.total !== total) return RECEIVED_PROTOCOL
    const result = part.add(this.#memory.arena.bytes, offset, at, length)
    if (!part.complete) return result
    this.#partials.splice(this.#partials.indexOf(part), 1)
    this.#passTo(id)
    if (this.credit > 0 && !this.held) {
      this.#memory.unbounded -= total
      this.#hand(part.block, total, part.block, sink)
    } else {
      this.#dropPending()
      this.#keep(total, part.block)
    }
    return result
  }

  skip(id: number): ReceiveResult {
    const part = this.#partials.find((candidate) => candidate.id === id)
    if (part !== undefined) this.#giveUp(part)
    if (id > this.#skipped) this.#skipped = id
    return RECEIVED
  }

  resume(sink: MessageSink): void {
    if (this.#pendingLength < 0 || this.credit <= 0 || this.held) return
    const length = this.#pendingLength
    const block = this.#pendingBlock
    this.#forgetPending()
    this.#hand(block < 0 ? 0 : block, length, block, sink)
  }

  takePassed(): number {
    return 0
  }

  /** Two messages are the bound: nothing is given up by time. */
  expire(): number {
    return Infinity
  }

  trim(): void {
    // Nothing stands empty in this mode.
  }

  get waiting(): boolean {
    return this.#pendingLength >= 0
  }

  seal(): number {
    this.#freePartials()
    return Math.max(this.#newest, this.#skipped) + 1
  }

  clear(): void {
    this.#freePartials()
    if (this.#pendingLength < 0) return
    if (this.#pendingBlock >= 0) this.#memory.release(this.#pendingBlock)
    this.#forgetPending()
  }

  /** `id` is whole: what is older and incomplete will not be handed over. */
  #passTo(id: number): void {
    this.#newest = id
    while (this.#partials.length > 0 && this.#partials[0]!.id < id) this.#giveUp(this.#partials[0]!)
    const same = this.#partials[0]
    if (same?.id !== id) return
    this.#partials.shift()
    this.#free(same)
  }

  /** Room outside flow control: a block, −1 for no bytes, `undefined` when the session or the arena has none. */
  #allocate(length: number): number | undefined {
    if (length === 0) return -1
    if (this.#memory.unbounded + length > SESSION_PARTIAL_BYTES_MAX) return undefined
    const block = this.#memory.allocate(length)
    if (block < 0) return undefined
    this.#memory.unbounded += length
    return block
  }

  /**
   * No room. A value that the arena cannot hold now comes again, as nothing newer may follow it. One beyond what a session may
   * hold outside flow control is dropped: its peer fills that by itself.
   */
  #refuse(id: number): ReceiveResult {
    if (this.#memory.unbounded < SESSION_PARTIAL_BYTES_MAX / 2) return RECEIVED_NO_ROOM
    if (id > this.#skipped) this.#skipped = id
    this.#dropIncomplete()
    return RECEIVED
  }

  #keep(length: number, block: number): void {
    this.#pendingLength = length
    this.#pendingBlock = block
  }

  #dropPending(): void {
    if (this.#pendingLength < 0) return
    if (this.#pendingBlock >= 0) this.#memory.release(this.#pendingBlock)
    this.#forgetPending()
    this.droppedNoCredit++
    this.#gap = true
  }

  #forgetPending(): void {
    this.#memory.unbounded -= this.#pendingLength
    this.#pendingLength = -1
    this.#pendingBlock = -1
  }

  #giveUp(part: Reassembly): void {
    this.#partials.splice(this.#partials.indexOf(part), 1)
    this.#free(part)
    this.#dropIncomplete()
  }

  #freePartials(): void {
    for (const part of this.#partials) this.#free(part)
    this.#partials = []
  }

  #free(part: Reassembly): void {
    this.#memory.unbounded -= part.total
    this.#memory.release(part.block)
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
