import { ADDRESS_SIZE } from '../core/base/address.ts'
import { writeU16 } from '../core/base/bytes.ts'
import type { LinkId } from '../core/base/domain.ts'
import type { TransmitBatch } from '../core/endpoint/contract.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler } from './scheduler.ts'
import { SimReceiver, type SimDriverHost } from './sim-receiver.ts'

const FIRST_PORT = 30_000
const DATAGRAM_MAX = 65_507

export interface SimSpareOptions {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly late?: () => number
}

/** Sockets on ports of their own, as `net/spare-sockets.ts` opens them. */
export class SimSpare {
  readonly #host: SimDriverHost
  readonly #options: SimSpareOptions
  readonly #receiver: SimReceiver
  readonly #sockets = new Map<LinkId, Uint8Array>()
  #port = FIRST_PORT

  constructor(host: SimDriverHost, options: SimSpareOptions) {
    this.#host = host
    this.#options = options
    this.#receiver = new SimReceiver(host, options.scheduler, false, options.late)
  }

  get size(): number {
    return this.#sockets.size
  }

  /** @param own the node's address: each socket has another port of it */
  open(own: Uint8Array, token: number, count: number): void {
    this.#receiver.open()
    this.#options.scheduler.at(this.#options.scheduler.now, () => {
      for (let i = 0; i < count; i++) {
        const address = own.slice(0, ADDRESS_SIZE)
        writeU16(address, 16, this.#port++)
        const link = this.#host.opened({ kind: 'udp', local: address, datagramMax: DATAGRAM_MAX, segmentsMax: 1, spare: true, token })
        this.#sockets.set(link, address)
        this.#options.network.bind(address, (from, datagram) => { this.#receiver.receive(link, from, datagram) })
      }
    })
  }

  closeLink(link: LinkId): void {
    const address = this.#sockets.get(link)
    if (address === undefined) return
    this.#sockets.delete(link)
    this.#options.network.unbind(address)
    this.#options.scheduler.at(this.#options.scheduler.now, () => { this.#host.changed(link, 'closed', undefined) })
    if (this.#sockets.size === 0) this.#receiver.close()
  }

  stop(): void {
    for (const address of this.#sockets.values()) this.#options.network.unbind(address)
    this.#sockets.clear()
    this.#receiver.close()
  }

  send(batch: TransmitBatch, done: () => void): void {
    const { bytes } = this.#host.arena
    for (let row = 0; row < batch.count; row++) {
      const from = this.#sockets.get(batch.link[row] as LinkId)
      if (from === undefined) continue
      const to = batch.address.subarray(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
      const end = batch.offset[row]! + batch.length[row]!
      for (let at = batch.offset[row]!; at < end; at += batch.segmentSize[row]!) this.#options.network.send(from, to, bytes.subarray(at, Math.min(at + batch.segmentSize[row]!, end)))
    }
    this.#options.scheduler.at(this.#options.scheduler.now, done)
  }
}
