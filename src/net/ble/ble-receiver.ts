import type { Counters } from '../../core/base/counters.ts'
import { PosternError } from '../../core/base/errors.ts'
import { BLE_DATAGRAM_MAX } from '../../core/ble/values.ts'
import { ReceiveBatch, type LinkId } from '../../core/endpoint/contract.ts'
import type { DriverHost } from '../driver.ts'
import type { BleCounter } from './ble-counters.ts'

/** A few datagrams of each link: more than a turn of the loop brings. */
const SLAB_SIZE = 32_768
const BATCH_CAPACITY = 64

/** The receive slab and its batch. There is always room for one more datagram. */
export class BleReceiver {
  readonly #host: DriverHost
  readonly #counters: Counters<BleCounter>
  readonly #batch = new ReceiveBatch(BATCH_CAPACITY)
  /** Offset in the arena, −1 while there is none. */
  #slab = -1
  #used = 0

  constructor(host: DriverHost, counters: Counters<BleCounter>) {
    this.#host = host
    this.#counters = counters
  }

  /** Takes the slab; throws a {@link PosternError} when the arena has none. */
  open(): void {
    if (this.#slab >= 0) return
    this.#slab = this.#host.arena.allocate(SLAB_SIZE)
    if (this.#slab < 0) throw new PosternError('limit', 'There is no memory left for the Bluetooth receive buffer.', { hint: 'Raise [limits] memory in postern.toml.' })
  }

  close(): void {
    if (this.#slab < 0) return
    this.#host.arena.release(this.#slab)
    this.#slab = -1
    this.#discard()
  }

  /** Copies one datagram to where the core can see it. */
  add(link: LinkId, remote: Uint8Array, datagram: Uint8Array): void {
    if (this.#slab < 0) return
    const at = this.#slab + this.#used
    this.#host.arena.bytes.set(datagram, at)
    this.#batch.push(link, remote, at, datagram.length)
    this.#used += datagram.length
    if (this.#batch.count === this.#batch.capacity || this.#used + BLE_DATAGRAM_MAX > SLAB_SIZE) this.flush()
  }

  /** Hands over what is there. The host may do anything in it. */
  flush(): void {
    const batch = this.#batch
    if (batch.count === 0) return
    this.#counters.add('ble_received_batches')
    this.#counters.add('ble_received_datagrams', batch.count)
    this.#counters.add('ble_received_bytes', this.#used)
    try {
      this.#host.received(batch)
    } finally {
      this.#discard()
    }
  }

  #discard(): void {
    this.#batch.count = 0
    this.#used = 0
  }
}
