import {
  MessageStore, Reassembly, RECEIVED, RECEIVED_BEFORE, RECEIVED_FLOW_CONTROL, RECEIVED_LIMIT, RECEIVED_NO_ROOM, RECEIVED_PROTOCOL,
  type MessageSink, type Receiver, type ReceiveResult,
} from './receive.ts'
import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'

const FIRST_CAPACITY = 16
/** A ring of more slots than this is given back as soon as it stands empty, a smaller one when the session falls idle. */
const KEPT_CAPACITY = 1024

const EMPTY = 0
const COMPLETE = 1
const SKIPPED = 2
const PARTIAL = 3

// One empty array of each kind for all receivers: most channels have nothing waiting.
const NO_INTS = new Int32Array(0)
const NO_BYTES = new Uint8Array(0)

/**
 * Mode 0, reliable-ordered: handed over by id, SKIPped ids passed over. The message that is next and whole goes straight from
 * the receive slab to the consumer, so it needs no memory; what is early, or finds no credit, waits in a ring of slots indexed
 * by id. A next message in fragments may use the arena's reserve: what waits behind it could fill all the rest.
 */
export class OrderedReceiver implements Receiver {
  credit: number
  held = false
  received = 0
  delivered = 0
  readonly droppedNoCredit = 0
  readonly droppedIncomplete = 0
  /** Next id to hand over. */
  next = 0
  /** One past the greatest id in the ring. */
  #end = 0
  readonly #store: MessageStore
  readonly #aheadMax: number
  #mask = -1
  #slot: Uint8Array = NO_BYTES
  #offset: Int32Array = NO_INTS
  #length: Int32Array = NO_INTS
  #block: Int32Array = NO_INTS
  #partials: Map<number, Reassembly> | undefined

  /**
   * @param window the channel's flow-control window. Cost is charged in order of id, at least 32 each, so an honest sender is
   * never further ahead of the next id than that; a greater distance is LIMIT, and bounds the ring.
   */
  constructor(memory: MemoryAccount, credit: number, window: number) {
    this.#store = new MessageStore(memory)
    this.credit = credit
    this.#aheadMax = Math.ceil(window / MESSAGE_COST) + 1
  }

  finished(final: number): boolean {
    return this.next >= final
  }

  whole(now: number, id: number, offset: number, length: number, room: number, sink: MessageSink): ReceiveResult {
    const found = this.#find(id)
    if (found === COMPLETE || found === SKIPPED) return RECEIVED_BEFORE
    if (found === PARTIAL) return this.fragment(now, id, offset, length, 0, length, room, sink)
    const cost = this.#costOf(id, length)
    if (cost > room) return RECEIVED_FLOW_CONTROL
    if (id === this.next && this.credit > 0 && !this.held) {
      this.received += cost
      this.#hand(offset, length, -1, sink)
      this.next = id + 1
      if (this.#end < this.next) this.#end = this.next
      else if (this.#end > this.next) this.resume(sink)
      return RECEIVED
    }
    if (!this.#mayReach(id)) return RECEIVED_LIMIT
    let at = 0
    let block = -1
    if (length > 0) {
      at = this.#store.put(offset, length)
      if (at < 0) return RECEIVED_NO_ROOM
      block = this.#store.lastBlock
    }
    this.received += cost
    this.#set(id, COMPLETE, at, length, block)
    return RECEIVED
  }

  fragment(now: number, id: number, offset: number, length: number, at: number, total: number, room: number, sink: MessageSink): ReceiveResult {
    const found = this.#find(id)
    if (found === COMPLETE || found === SKIPPED) return RECEIVED_BEFORE
    let part = found === PARTIAL ? this.#partials!.get(id)! : undefined
    if (part === undefined) {
      const cost = this.#costOf(id, total)
      if (cost > room) return RECEIVED_FLOW_CONTROL
      if (!this.#mayReach(id)) return RECEIVED_LIMIT
      const block = this.#store.allocate(total, id === this.next)
      if (block < 0) return RECEIVED_NO_ROOM
      part = new Reassembly(id, total, block, now)
      this.#partials ??= new Map()
      this.#partials.set(id, part)
      this.received += cost
      this.#set(id, PARTIAL, block, total, block)
    }
    if (part.total !== total) return RECEIVED_PROTOCOL
    const result = part.add(this.#store.bytes, offset, at, length)
    if (part.complete) {
      this.#partials!.delete(id)
      this.#slot[id & this.#mask] = COMPLETE
      if (id === this.next) this.resume(sink)
    }
    return result
  }

  skip(id: number, total: number, room: number, sink: MessageSink): ReceiveResult {
    const found = this.#find(id)
    if (found === COMPLETE || found === SKIPPED) return RECEIVED_BEFORE
    if (found === PARTIAL) {
      const part = this.#partials!.get(id)!
      // What was charged is what counts as consumed: another total would open the window beyond it.
      if (part.total !== total) return RECEIVED_PROTOCOL
      this.#store.release(part.block)
      this.#partials!.delete(id)
    } else {
      const cost = this.#costOf(id, total)
      if (cost > room) return RECEIVED_FLOW_CONTROL
      if (!this.#mayReach(id)) return RECEIVED_LIMIT
      this.received += cost
    }
    this.#set(id, SKIPPED, 0, total, -1)
    if (id === this.next) this.resume(sink)
    return RECEIVED
  }

  #passed = 0

  takePassed(): number {
    const passed = this.#passed
    this.#passed = 0
    return passed
  }

  resume(sink: MessageSink): void {
    while (this.next < this.#end) {
      const i = this.next & this.#mask
      const slot = this.#slot[i]!
      if (slot === SKIPPED) {
        this.#passed += this.#length[i]! + MESSAGE_COST
      } else if (slot === COMPLETE && this.credit > 0 && !this.held) {
        this.#hand(this.#offset[i]!, this.#length[i]!, this.#block[i]!, sink)
      } else {
        return
      }
      this.#slot[i] = EMPTY
      this.next++
    }
    this.#store.trim()
    if (this.#mask >= KEPT_CAPACITY) this.#forgetRing()
  }

  trim(): void {
    if (this.next === this.#end) this.#forgetRing()
  }

  expire(): number {
    return Infinity
  }

  get waiting(): boolean {
    return this.next < this.#end && this.#slot[this.next & this.#mask] !== EMPTY && this.#slot[this.next & this.#mask] !== PARTIAL
  }

  seal(): number {
    let whole = this.next
    while (whole < this.#end && this.#slot[whole & this.#mask] !== EMPTY && this.#slot[whole & this.#mask] !== PARTIAL) whole++
    this.#free(whole)
    this.#end = whole
    return whole
  }

  clear(): void {
    this.#free(this.next)
    this.next = this.#end
    this.#forgetRing()
  }

  /** From this id on. */
  #free(from: number): void {
    for (let id = from; id < this.#end; id++) {
      const i = id & this.#mask
      const slot = this.#slot[i]!
      if ((slot === COMPLETE || slot === PARTIAL) && this.#block[i]! >= 0) this.#store.release(this.#block[i]!)
      this.#slot[i] = EMPTY
    }
    this.#partials = undefined
    this.#store.trim()
  }

  #hand(offset: number, length: number, block: number, sink: MessageSink): void {
    this.credit -= length + MESSAGE_COST
    this.delivered++
    sink.deliver(offset, length, block, false)
  }

  #find(id: number): number {
    if (id < this.next) return COMPLETE
    return id < this.#end ? this.#slot[id & this.#mask]! : EMPTY
  }

  /**
   * What a message adds to the cost received. The sender charges in order of id, at least 32 each, so a first sight of `id`
   * shows that much of every id missing before it: counted now, it bounds the rings of all channels by the session's window.
   */
  #costOf(id: number, total: number): number {
    return id < this.#end ? total : total + MESSAGE_COST * (id - this.#end + 1)
  }

  #mayReach(id: number): boolean {
    return id - this.next < this.#aheadMax
  }

  /** Fills the slot of `id`, making the ring reach it. */
  #set(id: number, slot: number, offset: number, length: number, block: number): void {
    if (id - this.next > this.#mask) {
      let capacity = this.#mask < 0 ? FIRST_CAPACITY : this.#mask + 1
      while (id - this.next >= capacity) capacity *= 2
      this.#resize(capacity)
    }
    if (id >= this.#end) this.#end = id + 1
    const i = id & this.#mask
    this.#slot[i] = slot
    this.#offset[i] = offset
    this.#length[i] = length
    this.#block[i] = block
  }

  #forgetRing(): void {
    this.#mask = -1
    this.#slot = NO_BYTES
    this.#offset = NO_INTS
    this.#length = NO_INTS
    this.#block = NO_INTS
  }

  #resize(capacity: number): void {
    const mask = capacity - 1
    const move = <T extends Int32Array | Uint8Array>(from: T, to: T): T => {
      for (let id = this.next; id < this.#end; id++) to[id & mask] = from[id & this.#mask]!
      return to
    }
    this.#slot = move(this.#slot, new Uint8Array(capacity))
    this.#offset = move(this.#offset, new Int32Array(capacity))
    this.#length = move(this.#length, new Int32Array(capacity))
    this.#block = move(this.#block, new Int32Array(capacity))
    this.#mask = mask
  }
}
