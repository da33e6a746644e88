import type { Arena } from '../core/base/arena.ts'
import { assert } from '../core/base/assert.ts'
import { writeU16 } from '../core/base/bytes.ts'
import type { Counters } from '../core/base/counters.ts'
import type { TransmitBatch } from '../core/endpoint/contract.ts'
import type { TcpConnection } from './tcp-connection.ts'
import type { TcpCounter } from './tcp-counters.ts'
import { RECORD_HEADER_SIZE, RECORD_LENGTH_MAX, RECORD_LENGTH_MIN } from './tcp-framing.ts'
import type { ScratchPool } from './tcp-outbox.ts'

/**
 * Turns the rows of one connection in a transmit batch into records, side by side, and writes them at once.
 *
 * They are copied: a slab that waits for a slow connection is missing to all the others, and one write of a copy costs half of
 * a `writev` of headers and slices, as Node makes objects of each slice (bench/tcp-hop.ts measures both).
 */
export class TcpSender {
  readonly #bytes: Uint8Array
  readonly #counters: Counters<TcpCounter>
  readonly #scratches: ScratchPool
  readonly #unsentMax: number
  #scratch: Buffer

  /** @param unsentMax bytes that a connection may hold; what does not fit is dropped, as datagrams may be, and counted. */
  constructor(arena: Arena, counters: Counters<TcpCounter>, scratches: ScratchPool, unsentMax: number) {
    this.#bytes = arena.bytes
    this.#counters = counters
    this.#scratches = scratches
    this.#unsentMax = unsentMax
    this.#scratch = scratches.take()
  }

  /** Sends the rows from `first` on whose link is the one of row `first`. */
  send(connection: TcpConnection, batch: TransmitBatch, first: number): void {
    const link = batch.link[first]!
    let fill = 0
    let datagrams = 0
    let bytes = 0
    for (let row = first; row < batch.count; row++) {
      if (batch.link[row] !== link) continue
      const segmentSize = batch.segmentSize[row]!
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += segmentSize) {
        const length = Math.min(segmentSize, end - offset)
        const size = RECORD_HEADER_SIZE + length
        if (fill + size > this.#scratch.length) fill = this.#write(connection, fill)
        if (connection.unsent + fill + size > this.#unsentMax) fill = this.#write(connection, fill)
        if (connection.unsent + size > this.#unsentMax) {
          this.#counters.add('tcp_overflow_datagrams')
          continue
        }
        writeU16(this.#scratch, fill, length)
        this.#scratch.set(this.#bytes.subarray(offset, offset + length), fill + RECORD_HEADER_SIZE)
        fill += size
        datagrams++
        bytes += length
      }
    }
    this.#write(connection, fill)
    this.#counters.add('tcp_sent_datagrams', datagrams)
    this.#counters.add('tcp_sent_bytes', bytes)
  }

  /** Writes the first `length` bytes of the scratch; 0, where to go on filling. */
  #write(connection: TcpConnection, length: number): number {
    if (length > 0 && connection.write(this.#scratch, length)) this.#scratch = this.#scratches.take()
    return 0
  }
}

/** A row that points outside its slab would send other people's bytes: our own bug, so it stops here, before anything is sent. */
export function checkRow(batch: TransmitBatch, row: number): void {
  const offset = batch.offset[row]!
  const length = batch.length[row]!
  const segmentSize = batch.segmentSize[row]!
  assert(length > 0 && offset >= batch.base && offset + length <= batch.base + batch.size, 'transmit row lies in its slab')
  assert(segmentSize >= RECORD_LENGTH_MIN && segmentSize <= RECORD_LENGTH_MAX, 'transmit row is a burst of datagrams that fit a record')
  const last = length % segmentSize
  assert(last === 0 || last >= RECORD_LENGTH_MIN, 'the last datagram of a transmit row fits a record')
}
