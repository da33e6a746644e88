import { assert } from './assert.ts'

/** Smallest block. Every block is a power of two of at least this size, aligned to its own size. */
export const BLOCK_MIN = 1024

const NONE = -1

/**
 * All bytes that messages and datagrams live in: one ArrayBuffer, so that everything is (offset, length) and one native call
 * can see all of it. A buddy allocator hands out power-of-two blocks, each with a reference count: it is free again when
 * the last holder released it. Bounded by `capacity`; when full, {@link allocate} says −1 and the caller refuses its input.
 *
 * The buffer is reserved at once and touched on demand, so an idle endpoint costs no memory for it. Blocks are handed out
 * lowest order first, most recently freed first, which keeps the touched part small.
 */
export class Arena {
  readonly bytes: Uint8Array
  readonly capacity: number
  #used = 0
  /** Offset of the block set aside by {@link setReserve}; −1 without one. */
  #reserve = NONE
  readonly #orders: number
  readonly #heads: Int32Array // per order: first free block, in units of BLOCK_MIN
  readonly #next: Int32Array
  readonly #previous: Int32Array
  /** Per first unit of a block: order + 1 when free, −(order + 1) when taken, 0 inside a block. */
  readonly #state: Int8Array
  readonly #references: Int32Array

  /** @param capacity bytes, a multiple of 64 KiB; the largest block is the largest power of two that divides it, at most 16 MiB. */
  constructor(capacity: number) {
    assert(capacity > 0 && capacity % 65536 === 0 && capacity < 2 ** 31, 'arena capacity is a multiple of 64 KiB below 2 GiB')
    const units = capacity / BLOCK_MIN
    this.bytes = new Uint8Array(capacity)
    this.capacity = capacity
    this.#next = new Int32Array(units)
    this.#previous = new Int32Array(units)
    this.#state = new Int8Array(units)
    this.#references = new Int32Array(units)
    let order = 0
    while (order < 14 && (units & ((2 << order) - 1)) === 0) order++
    this.#orders = order + 1
    this.#heads = new Int32Array(this.#orders).fill(NONE)
    for (let unit = units - (1 << order); unit >= 0; unit -= 1 << order) this.#pushFree(unit, order)
  }

  /** Bytes in taken blocks. */
  get used(): number {
    return this.#used
  }

  get free(): number {
    return this.capacity - this.#used
  }

  /** The largest size {@link allocate} can ever satisfy. */
  get blockMax(): number {
    return BLOCK_MIN << (this.#orders - 1)
  }

  /** A block of at least `size` bytes with one reference: its offset, or −1 when no such block is free. */
  allocate(size: number): number {
    const order = orderFor(size)
    let from = order
    while (from < this.#orders && this.#heads[from] === NONE) from++
    if (from >= this.#orders) return -1
    const unit = this.#heads[from]!
    this.#unlink(unit, from)
    while (from > order) {
      from--
      this.#pushFree(unit + (1 << from), from)
    }
    this.#state[unit] = -(order + 1)
    this.#references[unit] = 1
    this.#used += BLOCK_MIN << order
    return unit * BLOCK_MIN
  }

  /** Sets one block of at least `size` bytes aside for {@link borrowReserve}, once. Whether there was room for it. */
  setReserve(size: number): boolean {
    assert(this.#reserve === NONE, 'one reserve')
    this.#reserve = this.allocate(size)
    return this.#reserve !== NONE
  }

  /** The reserve, with a reference that the caller releases as any other; −1 while another holds it, or when `size` is larger. */
  borrowReserve(size: number): number {
    const offset = this.#reserve
    if (offset === NONE || size > this.sizeOf(offset) || this.#references[offset / BLOCK_MIN] !== 1) return -1
    this.retain(offset)
    return offset
  }

  /** Usable bytes of the block at `offset`. */
  sizeOf(offset: number): number {
    return BLOCK_MIN << (-this.#state[offset / BLOCK_MIN]! - 1)
  }

  /** One more holder of the block at `offset`, or so many. */
  retain(offset: number, holders = 1): void {
    this.#references[offset / BLOCK_MIN]! += holders
  }

  /** One holder less; the last one frees the block. Returns the bytes that became free: 0 while others hold it. */
  release(offset: number): number {
    let unit = offset / BLOCK_MIN
    const left = --this.#references[unit]!
    if (left > 0) return 0
    const state = this.#state[unit]!
    assert(left === 0 && state < 0, 'released block is taken')
    let order = -state - 1
    const freed = BLOCK_MIN << order
    this.#used -= freed
    this.#state[unit] = 0
    while (order + 1 < this.#orders) {
      const buddy = unit ^ (1 << order)
      if (this.#state[buddy] !== order + 1) break
      this.#unlink(buddy, order)
      this.#state[buddy] = 0
      unit &= ~(1 << order)
      order++
    }
    this.#pushFree(unit, order)
    return freed
  }

  #pushFree(unit: number, order: number): void {
    const head = this.#heads[order]!
    this.#state[unit] = order + 1
    this.#next[unit] = head
    this.#previous[unit] = NONE
    if (head !== NONE) this.#previous[head] = unit
    this.#heads[order] = unit
  }

  #unlink(unit: number, order: number): void {
    const next = this.#next[unit]!
    const previous = this.#previous[unit]!
    if (previous === NONE) this.#heads[order] = next
    else this.#next[previous] = next
    if (next !== NONE) this.#previous[next] = previous
  }
}

function orderFor(size: number): number {
  return size <= BLOCK_MIN ? 0 : 32 - Math.clz32((size - 1) >>> 10)
}
