import {
  MessageStore, Reassembly, RECEIVED, RECEIVED_BEFORE, RECEIVED_FLOW_CONTROL, RECEIVED_NO_ROOM, RECEIVED_PROTOCOL,
  type MessageSink, type Receiver, type ReceiveResult,
} from './receive.ts'
import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'

/** WIRE.md §5, mode 1: ids lie in [floor, floor + 4096), floor being the lowest id that has not come whole. */
const ID_WINDOW = 4096
const ID_MASK = ID_WINDOW - 1
const FIRST_CAPACITY = 16

const EMPTY = 0
/** Came whole, or was SKIPped. */
const PASSED = 1
const PARTIAL = 2

// One empty array of each kind for all receivers: most channels have nothing waiting.
const NO_INTS = new Int32Array(0)
const NO_BYTES = new Uint8Array(0)

/**
 * Mode 1, reliable-unordered: handed over on completion, each once. What finds no credit waits in the order of completion. Flow
 * control bounds what waits; the window of ids bounds what must be remembered of those that came before others.
 */
export class UnorderedReceiver implements Receiver {
  credit: number
  held = false
  received = 0
  delivered = 0
  readonly droppedNoCredit = 0
  readonly droppedIncomplete = 0
  /** Everything below it came whole or was SKIPped. */
  #floor = 0
  /** One past the greatest id seen. */
  #end = 0
  /** By id modulo the window; only while something came before what is missing. */
  #slot: Uint8Array = NO_BYTES
  #partials: Map<number, Reassembly> | undefined
  readonly #store: MessageStore
  #passedCost = 0
  // What waits for credit, a ring.
  #offset: Int32Array = NO_INTS
  #length: Int32Array = NO_INTS
  #block: Int32Array = NO_INTS
  #head = 0
  #tail = 0

  constructor(memory: MemoryAccount, credit: number) {
    this.#store = new MessageStore(memory)
    this.credit = credit
  }

  finished(final: number): boolean {
    return this.#floor >= final && this.#head === this.#tail
  }

  whole(now: number, id: number, offset: number, length: number, room: number, sink: MessageSink): ReceiveResult {
    const found = this.#find(id)
    if (found === PASSED) return RECEIVED_BEFORE
    if (found === PARTIAL) return this.fragment(now, id, offset, length, 0, length, room, sink)
    const cost = this.#costOf(id, length)
    if (id >= this.#floor + ID_WINDOW || cost > room) return RECEIVED_FLOW_CONTROL
    if (this.#mayHand()) {
      this.received += cost
      this.#pass(id)
      this.#hand(offset, length, -1, sink)
      return RECEIVED
    }
    let at = 0
    if (length > 0) {
      at = this.#store.put(offset, length)
      if (at < 0) return RECEIVED_NO_ROOM
    }
    this.received += cost
    this.#pass(id)
    this.#wait(at, length, length > 0 ? this.#store.lastBlock : -1)
    return RECEIVED
  }

  fragment(now: number, id: number, offset: number, length: number, at: number, total: number, room: number, sink: MessageSink): ReceiveResult {
    const found = this.#find(id)
    if (found === PASSED) return RECEIVED_BEFORE
    let part = found === PARTIAL ? this.#partials!.get(id)! : undefined
    if (part === undefined) {
      const cost = this.#costOf(id, total)
      if (id >= this.#floor + ID_WINDOW || cost > room) return RECEIVED_FLOW_CONTROL
      // The window of ids waits for the lowest one.
      const block = this.#store.allocate(total, id === this.#floor)
      if (block < 0) return RECEIVED_NO_ROOM
      part = new Reassembly(id, total, block, now)
      this.#partials ??= new Map()
      this.#partials.set(id, part)
      this.received += cost
      this.#mark(id, PARTIAL)
    }
    if (part.total !== total) return RECEIVED_PROTOCOL
    const result = part.add(this.#store.bytes, offset, at, length)
    if (!part.complete) return result
    this.#partials!.delete(id)
    this.#pass(id)
    if (this.#mayHand()) this.#hand(part.block, total, part.block, sink)
    else this.#wait(part.block, total, part.block)
    return result
  }

  skip(id: number, total: number, room: number): ReceiveResult {
    const found = this.#find(id)
    if (found === PASSED) return RECEIVED_BEFORE
    if (found === PARTIAL) {
      const part = this.#partials!.get(id)!
      // What was charged is what counts as consumed: another total would open the window beyond it.
      if (part.total !== total) return RECEIVED_PROTOCOL
      this.#store.release(part.block)
      this.#partials!.delete(id)
    } else {
      const cost = this.#costOf(id, total)
      if (id >= this.#floor + ID_WINDOW || cost > room) return RECEIVED_FLOW_CONTROL
      this.received += cost
    }
    this.#pass(id)
    this.#passedCost += total + MESSAGE_COST
    return RECEIVED
  }

  takePassed(): number {
    const passed = this.#passedCost
    this.#passedCost = 0
    return passed
  }

  resume(sink: MessageSink): void {
    while (this.#head < this.#tail) {
      if (this.credit <= 0 || this.held) return
      const i = this.#head++ & (this.#offset.length - 1)
      this.#hand(this.#offset[i]!, this.#length[i]!, this.#block[i]!, sink)
    }
    this.#forgetWaiting()
  }

  trim(): void {
    if (this.#head === this.#tail) this.#forgetWaiting()
    if (this.#floor === this.#end) this.#slot = NO_BYTES
  }

  expire(): number {
    return Infinity
  }

  get waiting(): boolean {
    return this.#head < this.#tail
  }

  seal(): number {
    this.#freePartials()
    return this.#floor
  }

  clear(): void {
    this.#freePartials()
    for (; this.#head < this.#tail; this.#head++) {
      const block = this.#block[this.#head & (this.#block.length - 1)]!
      if (block >= 0) this.#store.release(block)
    }
    this.#forgetWaiting()
    this.#floor = this.#end
    this.#slot = NO_BYTES
  }

  #mayHand(): boolean {
    return this.credit > 0 && !this.held && this.#head === this.#tail
  }

  #hand(offset: number, length: number, block: number, sink: MessageSink): void {
    this.credit -= length + MESSAGE_COST
    this.delivered++
    sink.deliver(offset, length, block, false)
  }

  #find(id: number): number {
    if (id < this.#floor) return PASSED
    return id < this.#end && this.#slot.length > 0 ? this.#slot[id & ID_MASK]! : EMPTY
  }

  /** As in mode 0: the sender charges in order of id, at least 32 each, so a first sight of `id` shows that much of all before it. */
  #costOf(id: number, total: number): number {
    return id < this.#end ? total : total + MESSAGE_COST * (id - this.#end + 1)
  }

  #mark(id: number, slot: number): void {
    if (this.#slot.length === 0) this.#slot = new Uint8Array(ID_WINDOW)
    this.#slot[id & ID_MASK] = slot
    if (id >= this.#end) this.#end = id + 1
  }

  /** Nothing more of this id is wanted. */
  #pass(id: number): void {
    if (id === this.#floor && id >= this.#end - 1) {
      // In order and nothing behind it: the usual case needs no memory of ids.
      if (this.#slot.length > 0) this.#slot[id & ID_MASK] = EMPTY
      this.#floor = id + 1
      this.#end = this.#floor
      return
    }
    this.#mark(id, PASSED)
    while (this.#floor < this.#end && this.#slot[this.#floor & ID_MASK] === PASSED) {
      this.#slot[this.#floor & ID_MASK] = EMPTY
      this.#floor++
    }
  }

  #wait(offset: number, length: number, block: number): void {
    const capacity = this.#offset.length
    if (this.#tail - this.#head === capacity) this.#grow(capacity)
    const i = this.#tail++ & (this.#offset.length - 1)
    this.#offset[i] = offset
    this.#length[i] = length
    this.#block[i] = block
  }

  #grow(capacity: number): void {
    const size = Math.max(FIRST_CAPACITY, 2 * capacity)
    const move = (from: Int32Array): Int32Array => {
      const to = new Int32Array(size)
      for (let n = this.#head; n < this.#tail; n++) to[n & (size - 1)] = from[n & (capacity - 1)]!
      return to
    }
    this.#offset = move(this.#offset)
    this.#length = move(this.#length)
    this.#block = move(this.#block)
  }

  #freePartials(): void {
    for (const part of this.#partials?.values() ?? []) this.#store.release(part.block)
    this.#partials = undefined
  }

  #forgetWaiting(): void {
    this.#store.trim()
    this.#head = 0
    this.#tail = 0
    this.#offset = NO_INTS
    this.#length = NO_INTS
    this.#block = NO_INTS
  }
}
