import type { Arena } from './arena.ts'

/** One consumer's view of the arena: the same calls, and how much it holds, so that the largest can be told first to wait. */
export class MemoryAccount {
  readonly arena: Arena
  /** Bytes of blocks this consumer holds. */
  used = 0

  constructor(arena: Arena) {
    this.arena = arena
  }

  /** As {@link Arena.allocate}: −1 when there is no room. */
  allocate(size: number): number {
    const block = this.arena.allocate(size)
    if (block >= 0) this.used += this.arena.sizeOf(block)
    return block
  }

  /** One holder less; the holder who allocates also accounts, so a block that others still hold stays on this account. */
  release(block: number): void {
    this.used -= this.arena.release(block)
  }
}
