import type { Socket } from 'node:net'

/** Queued pieces up to this are joined for one write. A write is also the unit in which progress is seen. */
const JOIN_MAX = 16_384
/** Below this, Node takes a buffer from its own pool for next to nothing. */
const SMALL_MAX = 4095
/** Scratches kept for the next one. */
const IDLE_MAX = 4

/** Buffers in which bursts are gathered; one is lent to a socket only while the kernel has not taken all of it. */
export class ScratchPool {
  readonly size: number
  /** At most {@link IDLE_MAX}; further ones are left to the garbage collector. */
  readonly #idle: Buffer[] = []

  constructor(size: number) {
    this.size = size
  }

  take(): Buffer {
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(this.size)
  }

  give(scratch: Buffer): void {
    if (this.#idle.length < IDLE_MAX) this.#idle.push(scratch)
  }
}

/**
 * What goes out on one connection. The kernel is offered each burst at once; what it does not take stays here, in order, with one
 * write under way at a time. Bounded by its owner, who looks at {@link unsent} first.
 */
export class TcpOutbox {
  readonly #socket: Socket
  readonly #pool: ScratchPool
  readonly #progress: () => void
  /** Bytes of the one write that the kernel has not taken all of. */
  #flying = 0
  #lent: Buffer | undefined
  readonly #queue: Buffer[] = []
  #queued = 0
  readonly #written = (): void => this.#onWritten()

  /** `progress` is called when the kernel took something that had waited: from a completion, so nothing is told to a host from there. */
  constructor(socket: Socket, pool: ScratchPool, progress: () => void) {
    this.#socket = socket
    this.#pool = pool
    this.#progress = progress
  }

  /** Bytes that the kernel has not taken; those of a write under way count until all of it is taken. */
  get unsent(): number {
    return this.#flying + this.#queued
  }

  /**
   * Writes the first `length` bytes of `scratch`. `false`: the scratch is free again. `true`: it belongs to this outbox, which gives
   * it back to the pool.
   */
  write(scratch: Buffer, length: number): boolean {
    // A small burst has its own memory, so that many slow connections cannot each hold a large buffer for a few bytes.
    const small = length <= SMALL_MAX
    if (this.#flying > 0) {
      this.#queue.push(Buffer.from(scratch.subarray(0, length)))
      this.#queued += length
      return false
    }
    const waits = this.#offer(small ? Buffer.from(scratch.subarray(0, length)) : scratch.subarray(0, length))
    if (!waits || small) return false
    this.#lent = scratch
    return true
  }

  /** Forgets what is queued and returns how many bytes had not been taken. A write under way keeps its buffer until the socket lets go. */
  drop(): number {
    const lost = this.unsent
    this.#queue.length = 0
    this.#queued = 0
    this.#flying = 0
    return lost
  }

  /** Whether the kernel left some of it; `writableLength` is what Node still holds, and is 0 when the write was taken whole, at once. */
  #offer(bytes: Buffer): boolean {
    this.#socket.write(bytes, this.#written)
    if (this.#socket.writableLength === 0) return false
    this.#flying = bytes.length
    return true
  }

  /** Called for writes that were taken at once as well, later and in between: those say nothing new. */
  #onWritten(): void {
    if (this.#socket.writableLength > 0) return
    if (this.#lent !== undefined) this.#pool.give(this.#lent)
    this.#lent = undefined
    if (this.#flying === 0) return
    this.#flying = 0
    while (this.#flying === 0 && this.#queued > 0) this.#offer(this.#join())
    this.#progress()
  }

  #join(): Buffer {
    let length = 0
    let count = 0
    while (count < this.#queue.length && (count === 0 || length + this.#queue[count]!.length <= JOIN_MAX)) length += this.#queue[count++]!.length
    const pieces = this.#queue.splice(0, count)
    this.#queued -= length
    return count === 1 ? pieces[0]! : Buffer.concat(pieces, length)
  }
}
