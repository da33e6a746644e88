import type { Arena } from './arena.ts'

/** One consumer's view of the arena: the same calls, and how much it holds, so that the largest can be told first to wait. */
export class MemoryAccount {
  readonly arena: Arena
  /** Bytes of blocks this consumer holds. */
  used = 0
  /** Bytes of messages in reassembly that no flow control bounds. */
  unbounded = 0

  constructor(arena: Arena) {
    this.arena = arena
  }

  /** As {@link Arena.allocate}: −1 when there is no room. */
  allocate(size: number): number {
    const block = this.arena.allocate(size)
    if (block >= 0) this.used += this.arena.sizeOf(block)
    return block
  }

  /** A block of `wanted` bytes, or of `needed` when the arena has no larger one; −1 when not even that. */
  allocateUpTo(wanted: number, needed: number): number {
    const block = this.allocate(wanted)
    return block < 0 && needed < wanted ? this.allocate(needed) : block
  }

  /**
   * A block for what everything behind it waits for: the arena's reserve when there is no other room. The reserve is lent to
   * one holder at a time, so that even a full arena hands on one such message after the other.
   */
  allocateUrgent(size: number): number {
    const block = this.allocate(size)
    return block < 0 ? this.arena.borrowReserve(size) : block
  }

  /** One holder less; the holder who allocates also accounts, so a block that others still hold stays on this account. */
  release(block: number): void {
    this.used -= this.arena.release(block)
  }
}
