import { never, toInstant, type Instant } from './time.ts'

/**
 * Deadlines of slots 0, 1, 2, …: the earliest in O(1), a change in O(log n), and nothing at all for a slot whose deadline
 * stays. A binary heap of slot numbers with a table of positions; storage doubles on demand and never shrinks, so it is
 * bounded by the largest slot ever used (8 + 4 + 4 bytes each).
 */
export class DeadlineHeap {
  #deadline: Float64Array
  #position: Int32Array // of a slot in #heap, −1 when it has no deadline
  #heap: Int32Array
  #size = 0

  constructor(capacity = 16) {
    this.#deadline = new Float64Array(capacity).fill(Infinity)
    this.#position = new Int32Array(capacity).fill(-1)
    this.#heap = new Int32Array(capacity)
  }

  get size(): number {
    return this.#size
  }

  /** The earliest deadline, {@link never} when there is none. */
  next(): Instant {
    return this.#size === 0 ? never : toInstant(this.#deadline[this.#heap[0]!]!)
  }

  /** The slot whose deadline is earliest, −1 when there is none. */
  get first(): number {
    return this.#size === 0 ? -1 : this.#heap[0]!
  }

  /** The slot whose deadline is earliest and not after `now`, −1 when none is due. It stays: set it anew or clear it. */
  due(now: Instant): number {
    if (this.#size === 0) return -1
    const slot = this.#heap[0]!
    return this.#deadline[slot]! <= now ? slot : -1
  }

  deadline(slot: number): Instant {
    return slot < this.#deadline.length ? toInstant(this.#deadline[slot]!) : never
  }

  /** Sets, moves or (with {@link never}) clears the deadline of a slot. */
  set(slot: number, deadline: Instant): void {
    if (slot >= this.#deadline.length) this.#grow(slot + 1)
    const before = this.#deadline[slot]!
    if (before === deadline) return
    this.#deadline[slot] = deadline
    const position = this.#position[slot]!
    if (deadline === Infinity) {
      if (position >= 0) this.#remove(position)
    } else if (position < 0) {
      this.#heap[this.#size] = slot
      this.#position[slot] = this.#size
      this.#up(this.#size++)
    } else if (deadline < before) {
      this.#up(position)
    } else {
      this.#down(position)
    }
  }

  clear(slot: number): void {
    this.set(slot, never)
  }

  #remove(position: number): void {
    const slot = this.#heap[position]!
    this.#position[slot] = -1
    const last = this.#heap[--this.#size]!
    if (position === this.#size) return
    this.#heap[position] = last
    this.#position[last] = position
    this.#up(position)
    this.#down(this.#position[last])
  }

  #up(start: number): void {
    const heap = this.#heap
    let position = start
    const slot = heap[position]!
    const deadline = this.#deadline[slot]!
    while (position > 0) {
      const parent = (position - 1) >> 1
      const above = heap[parent]!
      if (this.#deadline[above]! <= deadline) break
      heap[position] = above
      this.#position[above] = position
      position = parent
    }
    heap[position] = slot
    this.#position[slot] = position
  }

  #down(start: number): void {
    const heap = this.#heap
    const size = this.#size
    let position = start
    const slot = heap[position]!
    const deadline = this.#deadline[slot]!
    for (;;) {
      let child = 2 * position + 1
      if (child >= size) break
      if (child + 1 < size && this.#deadline[heap[child + 1]!]! < this.#deadline[heap[child]!]!) child++
      const below = heap[child]!
      if (this.#deadline[below]! >= deadline) break
      heap[position] = below
      this.#position[below] = position
      position = child
    }
    heap[position] = slot
    this.#position[slot] = position
  }

  #grow(needed: number): void {
    let capacity = this.#deadline.length
    while (capacity < needed) capacity *= 2
    const deadline = new Float64Array(capacity).fill(Infinity)
    deadline.set(this.#deadline)
    const position = new Int32Array(capacity).fill(-1)
    position.set(this.#position)
    const heap = new Int32Array(capacity)
    heap.set(this.#heap)
    this.#deadline = deadline
    this.#position = position
    this.#heap = heap
  }
}
