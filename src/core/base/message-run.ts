const EMPTY = new Uint8Array(0)

/**
 * Messages of one channel, one behind the other in one buffer with whatever lies between them, as rows: what can be done for all of them at
 * once is done once. They have no deadline, ask for no confirmation and go by their channel's lane. One object is filled again and again.
 */
export class MessageRun {
  readonly capacity: number
  bytes: Uint8Array = EMPTY
  count = 0
  /** Bytes of all, and of the longest. */
  size = 0
  longest = 0
  readonly offset: Int32Array
  readonly length: Int32Array
  /** All 0, or none. */
  readonly tag: Uint32Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.offset = new Int32Array(capacity)
    this.length = new Int32Array(capacity)
    this.tag = new Uint32Array(capacity)
  }

  begin(bytes: Uint8Array): void {
    this.bytes = bytes
    this.count = 0
    this.size = 0
    this.longest = 0
  }

  /** Only while {@link count} is below {@link capacity}; behind the one before. */
  add(offset: number, length: number, tag: number): void {
    const i = this.count++
    this.offset[i] = offset
    this.length[i] = length
    this.tag[i] = tag
    this.size += length
    if (length > this.longest) this.longest = length
  }

  /** Bytes of the first `count`. */
  sizeOf(count: number): number {
    if (count === this.count) return this.size
    let size = 0
    for (let i = 0; i < count; i++) size += this.length[i]!
    return size
  }

  /** Lets go of the buffer. */
  end(): void {
    this.bytes = EMPTY
    this.count = 0
  }
}
