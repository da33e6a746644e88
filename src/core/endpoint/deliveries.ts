import type { ChannelHandle } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import type { DeliveryQueue } from '../connection/channels/channel.ts'
import { MESSAGE_GAP_BEFORE, type MessageBatch } from './contract.ts'

const FIRST_CAPACITY = 256
/** Up to so many rows are copied one by one: views of four columns cost more. */
const FEW = 16

/**
 * Received messages on their way out, as rows. Bounded by what channels may hand over: their delivery credit. Blocks are
 * released when the next batch is polled, since the last one is valid until then.
 */
export class Deliveries implements DeliveryQueue {
  #capacity = FIRST_CAPACITY
  #channel = new Int32Array(FIRST_CAPACITY)
  #offset = new Int32Array(FIRST_CAPACITY)
  #length = new Int32Array(FIRST_CAPACITY)
  #flags = new Uint8Array(FIRST_CAPACITY)
  #block = new Int32Array(FIRST_CAPACITY)
  #memory: (MemoryAccount | undefined)[] = new Array<MemoryAccount | undefined>(FIRST_CAPACITY)
  #head = 0
  #tail = 0
  /** Rows before it were handed out by the last poll and still hold their blocks. */
  #polled = 0

  /** Whether all rows were handed out. */
  get empty(): boolean {
    return this.#head === this.#tail
  }

  push(channel: ChannelHandle, offset: number, length: number, block: number, gap: boolean, memory: MemoryAccount): void {
    if (this.#tail === this.#capacity) this.#makeRoom()
    const i = this.#tail++
    this.#channel[i] = channel
    this.#offset[i] = offset
    this.#length[i] = length
    this.#flags[i] = gap ? MESSAGE_GAP_BEFORE : 0
    this.#block[i] = block
    this.#memory[i] = block >= 0 ? memory : undefined
  }

  poll(batch: MessageBatch): number {
    this.release()
    const count = Math.min(batch.capacity, this.#tail - this.#head)
    const from = this.#head
    if (count <= FEW) {
      for (let i = 0; i < count; i++) {
        batch.channel[i] = this.#channel[from + i]!
        batch.offset[i] = this.#offset[from + i]!
        batch.length[i] = this.#length[from + i]!
        batch.flags[i] = this.#flags[from + i]!
      }
    } else {
      batch.channel.set(this.#channel.subarray(from, from + count))
      batch.offset.set(this.#offset.subarray(from, from + count))
      batch.length.set(this.#length.subarray(from, from + count))
      batch.flags.set(this.#flags.subarray(from, from + count))
    }
    batch.count = count
    this.#polled = from
    this.#head += count
    return count
  }

  /** Lets go of the blocks of rows that were handed out. */
  release(): void {
    for (let i = this.#polled; i < this.#head; i++) {
      this.#memory[i]?.release(this.#block[i]!)
      this.#memory[i] = undefined
    }
    this.#polled = this.#head
    if (this.#head === this.#tail) {
      this.#head = 0
      this.#tail = 0
      this.#polled = 0
    }
  }

  #makeRoom(): void {
    const start = this.#polled
    const count = this.#tail - start
    if (start > this.#capacity / 2) this.#move(start, this.#capacity)
    else this.#move(start, 2 * this.#capacity)
    this.#head -= start
    this.#tail = count
    this.#polled = 0
  }

  #move(start: number, capacity: number): void {
    const copy = <T extends Int32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from.subarray(start, this.#tail))
      return to
    }
    this.#channel = copy(this.#channel, new Int32Array(capacity))
    this.#offset = copy(this.#offset, new Int32Array(capacity))
    this.#length = copy(this.#length, new Int32Array(capacity))
    this.#flags = copy(this.#flags, new Uint8Array(capacity))
    this.#block = copy(this.#block, new Int32Array(capacity))
    this.#memory = this.#memory.slice(start, this.#tail)
    this.#memory.length = capacity
    this.#capacity = capacity
  }
}
