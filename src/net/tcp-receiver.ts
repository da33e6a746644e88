import { PosternError } from '../core/base/errors.ts'
import type { Counters } from '../core/base/counters.ts'
import { ReceiveBatch, type LinkId } from '../core/endpoint/contract.ts'
import type { DriverHost } from './driver.ts'
import type { TcpCounter } from './tcp-counters.ts'
import { RECORD_LENGTH_MAX } from './tcp-framing.ts'

/** The receive slab and its batch: datagrams of all connections, side by side, until one of the two is full or the turn ends. There is always room for one more. */
export class TcpReceiver {
  readonly #host: DriverHost
  readonly #counters: Counters<TcpCounter>
  readonly #batch: ReceiveBatch
  readonly #sizeWanted: number
  /** Offset in the arena, −1 while there is none. Held while the driver is open: acknowledgements that free memory must get in when memory is short. */
  #slab = -1
  #size = 0
  #used = 0

  constructor(host: DriverHost, counters: Counters<TcpCounter>, size: number, capacity: number) {
    this.#host = host
    this.#counters = counters
    this.#sizeWanted = size
    this.#batch = new ReceiveBatch(capacity)
  }

  /** Takes the slab; throws a {@link PosternError} when the arena has none. */
  open(): void {
    if (this.#slab >= 0) return
    this.#slab = this.#host.arena.allocate(this.#sizeWanted)
    if (this.#slab < 0) throw new PosternError('limit', 'There is no memory left for the TCP receive buffer.', { hint: 'Raise [limits] memory in postern.toml.' })
    this.#size = this.#host.arena.sizeOf(this.#slab)
  }

  close(): void {
    if (this.#slab < 0) return
    this.#host.arena.release(this.#slab)
    this.#slab = -1
    this.discard()
  }

  /** Forgets what is there. */
  discard(): void {
    this.#batch.count = 0
    this.#used = 0
  }

  /** There is no room for one more largest record: {@link flush} before the next {@link add}. */
  get isFull(): boolean {
    return this.#batch.count === this.#batch.capacity || this.#used + RECORD_LENGTH_MAX > this.#size
  }

  /** Copies one datagram into the slab: the copy that puts it where the core can see it. */
  add(link: LinkId, remote: Uint8Array, source: Uint8Array, offset: number, length: number): void {
    const at = this.#slab + this.#used
    this.#host.arena.bytes.set(source.subarray(offset, offset + length), at)
    this.#batch.push(link, remote, at, length)
    this.#used += length
  }

  /** Hands over what is there. The host may do anything in it. */
  flush(): void {
    const batch = this.#batch
    if (batch.count === 0) return
    this.#counters.add('tcp_received_batches')
    this.#counters.add('tcp_received_datagrams', batch.count)
    this.#counters.add('tcp_received_bytes', this.#used)
    try {
      this.#host.received(batch)
    } finally {
      this.discard()
    }
  }
}
