import type { Arena } from '../core/base/arena.ts'
import { ADDRESS_SIZE, equalAddress } from '../core/base/address.ts'
import type { PosternError } from '../core/base/errors.ts'
import type { LinkId } from '../core/base/domain.ts'
import { ReceiveBatch, type LinkInfo, type LinkState } from '../core/endpoint/contract.ts'
import type { Scheduler } from './scheduler.ts'

const RECEIVE_SLAB = 65_536
const RECEIVE_ROWS = 64

/** Whom a simulated driver serves: the same as `DriverHost` and `ConnectionHost` of `net/driver.ts`, to which floor this one is a neighbour. */
export interface SimDriverHost {
  readonly arena: Arena
  opened(info: LinkInfo, token?: number): LinkId
  changed(link: LinkId, state: Exclude<LinkState, 'opened'>, cause: PosternError | undefined): void
  refused(link: LinkId, addresses: readonly Uint8Array[]): void
  tooLarge(link: LinkId, length: number): void
  received(batch: ReceiveBatch): void
}

/** An open link of a simulated driver, as `DriverLink` has it. */
export interface SimDriverLink {
  readonly id: LinkId
  readonly info: LinkInfo
  readonly receiveBuffer: undefined
  readonly sendBuffer: undefined
  readonly unsent: number
}

/** The receiving half of a simulated driver: datagrams of one moment come in one batch, from a slab of the host's arena. */
export class SimReceiver {
  datagrams = 0
  bytes = 0
  readonly #host: SimDriverHost
  readonly #scheduler: Scheduler
  readonly #coalesce: boolean
  readonly #late: (() => number) | undefined
  readonly #batch = new ReceiveBatch(RECEIVE_ROWS)
  #slab = -1
  #fill = 0
  #flushing = false
  #handing = false

  /**
   * @param late microseconds by which the process comes to its datagrams late
   * @param coalesce equal datagrams in a row from one source come as one row with a segment size, as GRO delivers them
   */
  constructor(host: SimDriverHost, scheduler: Scheduler, coalesce: boolean, late: (() => number) | undefined) {
    this.#host = host
    this.#scheduler = scheduler
    this.#coalesce = coalesce
    this.#late = late
  }

  open(): void {
    if (this.#slab < 0) this.#slab = this.#host.arena.allocate(RECEIVE_SLAB)
    if (this.#slab < 0) throw new RangeError(`the arena has no room for a receive slab of ${RECEIVE_SLAB} bytes`)
  }

  /** What was not handed over yet is lost. */
  close(): void {
    if (this.#slab < 0) return
    const slab = this.#slab
    this.#slab = -1
    // The host may be reading from it: it is closed from inside the call.
    if (this.#handing) this.#scheduler.at(this.#scheduler.now, () => { this.#host.arena.release(slab) })
    else this.#host.arena.release(slab)
    if (!this.#handing) this.#forget()
  }

  receive(link: LinkId, from: Uint8Array, datagram: Uint8Array): void {
    if (this.#slab < 0) return
    if (this.#batch.count === this.#batch.capacity || this.#fill + datagram.length > RECEIVE_SLAB) this.#flush()
    // The host may have closed this driver with what it was just handed.
    if (this.#slab < 0) return
    const offset = this.#slab + this.#fill
    this.#host.arena.bytes.set(datagram, offset)
    this.#fill += datagram.length
    if (!this.#coalesce || !this.#extend(link, from, datagram.length)) this.#batch.push(link, from, offset, datagram.length)
    this.datagrams++
    this.bytes += datagram.length
    if (this.#flushing) return
    this.#flushing = true
    this.#scheduler.at(this.#scheduler.now + (this.#late?.() ?? 0), () => {
      this.#flushing = false
      this.#flush()
    })
  }

  /** Makes the datagram another segment of the last row, if it may be: all are equally long, only the last may be shorter. */
  #extend(link: LinkId, from: Uint8Array, length: number): boolean {
    const row = this.#batch.count - 1
    if (row < 0 || this.#batch.link[row] !== link || !equalAddress(this.#batch.address, row * ADDRESS_SIZE, from, 0)) return false
    const segment = this.#batch.segmentSize[row]!
    if (length > segment || this.#batch.length[row]! % segment !== 0) return false
    this.#batch.length[row]! += length
    return true
  }

  #flush(): void {
    if (this.#batch.count === 0 || this.#slab < 0) return
    this.#handing = true
    this.#host.received(this.#batch)
    this.#handing = false
    this.#forget()
  }

  #forget(): void {
    this.#batch.count = 0
    this.#fill = 0
  }
}
