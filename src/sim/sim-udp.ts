import { ADDRESS_SIZE, equalAddress, formatAddress, isIPv4 } from '../core/base/address.ts'
import { PosternError } from '../core/base/errors.ts'
import type { LinkId } from '../core/base/domain.ts'
import type { LinkInfo, TransmitBatch } from '../core/endpoint/contract.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler } from './scheduler.ts'
import { SimReceiver, type SimDriverHost, type SimDriverLink } from './sim-receiver.ts'
import { UNSENT_BLOCKED } from './stream.ts'

const DATAGRAM_MAX = 65_507
/** As a driver with GSO reports it. */
const SEGMENTS_MAX = 64

export interface SimUdpOptions {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  /** 18 bytes each, of different families: what goes to an address of a family leaves from there. */
  readonly addresses: readonly Uint8Array[]
  readonly segmentsMax?: number
  readonly dontFragment?: boolean
  /** Microseconds until a slab is given back. */
  readonly sendTime?: (() => number) | undefined
  readonly coalesce?: boolean
  /** Microseconds by which the process comes to its datagrams late. */
  readonly late?: () => number
}

/** Datagrams that the system did not take yet, and who waits for his slab. */
interface Held {
  readonly datagrams: { readonly to: Uint8Array; readonly bytes: Uint8Array }[]
  readonly done: (() => void)[]
  unsent: number
  blocked: boolean
}

/** A UDP driver over a simulated network: one socket for all of its addresses. It keeps the rules of `Driver` in `net/driver.ts`. */
export class SimUdp {
  readonly kind = 'udp'
  /** The system refuses larger datagrams, as EMSGSIZE says. */
  interfaceMtu: number = Infinity
  readonly #host: SimDriverHost
  readonly #options: SimUdpOptions
  readonly #addresses: Uint8Array[]
  readonly #receiver: SimReceiver
  #link: { readonly id: LinkId; readonly info: LinkInfo } | undefined
  #closing: Promise<void> | undefined
  #sent = 0
  #sentBytes = 0
  /** Addresses that this turn's datagrams could not be sent to. */
  #refused: Uint8Array[] = []
  #tooLarge = Infinity
  /** What the system does not take at the moment, and who waits for its slab meanwhile; `undefined`: it takes everything at once. */
  #held: Held | undefined

  constructor(host: SimDriverHost, options: SimUdpOptions) {
    this.#host = host
    this.#options = options
    this.#addresses = [...options.addresses]
    this.#receiver = new SimReceiver(host, options.scheduler, options.coalesce === true, options.late)
  }

  get link(): LinkId | undefined {
    return this.#link?.id
  }

  get addresses(): readonly Uint8Array[] {
    return this.#addresses
  }

  start(): Promise<void> {
    this.open()
    return Promise.resolve()
  }

  /** As {@link start}, for those who cannot wait. */
  open(): void {
    if (this.#link !== undefined) return
    this.#closing = undefined
    this.#receiver.open()
    const { segmentsMax, dontFragment } = this.#options
    const info: LinkInfo = {
      kind: 'udp', local: new Uint8Array(ADDRESS_SIZE), dualStack: true, datagramMax: DATAGRAM_MAX, segmentsMax: segmentsMax ?? SEGMENTS_MAX,
      dontFragment: dontFragment === true, setsTtl: true,
    }
    this.#link = { id: this.#host.opened(info), info }
    for (const address of this.#addresses) this.#bind(address)
  }

  send(batch: TransmitBatch, done: () => void): number {
    const { bytes } = this.#host.arena
    let taken = 0
    for (let row = 0; row < batch.count && this.#link !== undefined; row++) {
      if (batch.link[row] !== this.#link.id) continue
      taken++
      const to = batch.address.subarray(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) this.#put(to, bytes.subarray(offset, Math.min(offset + batch.segmentSize[row]!, end)), batch.ttl[row])
    }
    this.#tell()
    if (taken > 0 && this.#held !== undefined) this.#held.done.push(done)
    else this.#later(done, taken > 0 ? this.#options.sendTime?.() ?? 0 : 0)
    return taken
  }

  links(): readonly SimDriverLink[] {
    return this.#link === undefined ? [] : [{ ...this.#link, receiveBuffer: undefined, sendBuffer: undefined, unsent: this.#held?.unsent ?? 0 }]
  }

  stats(): Readonly<Record<string, number>> {
    return { udp_sent_datagrams: this.#sent, udp_sent_bytes: this.#sentBytes, udp_received_datagrams: this.#receiver.datagrams, udp_received_bytes: this.#receiver.bytes }
  }

  close(): Promise<void> {
    return this.#closing ??= new Promise((resolve) => {
      this.#end('closed', undefined)
      this.#later(resolve)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ── what happens to it ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** As SIGKILL: nothing is said any more. */
  stop(): void {
    for (const address of this.#addresses) this.#options.network.unbind(address)
    this.#receiver.close()
    this.#link = undefined
  }

  /** The system ends the socket. */
  fail(): void {
    this.#end('failed', new PosternError('disconnected', `The UDP socket of ${formatAddress(this.#addresses[0]!)} is gone.`))
  }

  /** Its address of this family is another one from now on, as after a NAT rebinding: it is not told. */
  move(at: number, address: Uint8Array): void {
    this.#options.network.unbind(this.#addresses[at]!)
    this.#addresses[at] = address
    if (this.#link !== undefined) this.#bind(address)
  }

  /** The machine changed networks and knows it: another socket in place of this one. */
  reopen(): void {
    const link = this.#link
    if (link === undefined) return
    for (const address of this.#addresses) this.#options.network.unbind(address)
    this.#link = undefined
    this.#host.changed(link.id, 'closed', undefined)
    this.open()
  }

  /** The system takes nothing until {@link release}. */
  hold(): void {
    this.#held ??= { datagrams: [], done: [], unsent: 0, blocked: false }
  }

  release(): void {
    const held = this.#held
    this.#held = undefined
    if (held === undefined || this.#link === undefined) return
    const { id } = this.#link
    for (const { to, bytes } of held.datagrams) this.#put(to, bytes)
    this.#tell()
    for (const done of held.done) this.#later(done)
    if (held.blocked) this.#later(() => { if (this.#link?.id === id) this.#host.changed(id, 'writable', undefined) })
  }

  sourceFor(to: Uint8Array): Uint8Array {
    return this.#addresses.find((own) => isIPv4(own) === isIPv4(to)) ?? this.#addresses[0]!
  }

  #put(to: Uint8Array, datagram: Uint8Array, ttl = 0): void {
    if (this.#held !== undefined) {
      this.#keep(this.#held, to, datagram)
      return
    }
    if (datagram.length > this.interfaceMtu) this.#tooLarge = Math.min(this.#tooLarge, datagram.length)
    else if (this.#options.network.send(this.sourceFor(to), to, datagram, ttl)) {
      this.#sent++
      this.#sentBytes += datagram.length
    } else if (!this.#refused.some((address) => equalAddress(address, 0, to, 0))) this.#refused.push(to.slice())
  }

  #keep(held: Held, to: Uint8Array, datagram: Uint8Array): void {
    held.datagrams.push({ to: to.slice(), bytes: datagram.slice() })
    held.unsent += datagram.length
    if (held.blocked || held.unsent <= UNSENT_BLOCKED) return
    held.blocked = true
    const { id } = this.#link!
    this.#later(() => { if (this.#link?.id === id) this.#host.changed(id, 'blocked', undefined) })
  }

  /** What the system refused is said from a turn of its own. */
  #tell(): void {
    const refused = this.#refused
    const tooLarge = this.#tooLarge
    const id = this.#link?.id
    if (id === undefined || (refused.length === 0 && tooLarge === Infinity)) return
    this.#refused = []
    this.#tooLarge = Infinity
    this.#later(() => {
      if (this.#link?.id !== id) return
      if (refused.length > 0) this.#host.refused(id, refused)
      if (tooLarge < Infinity) this.#host.tooLarge(id, tooLarge)
    })
  }

  #end(state: 'closed' | 'failed', cause: PosternError | undefined): void {
    const link = this.#link
    if (link === undefined) return
    const held = this.#held
    this.#held = undefined
    this.stop()
    for (const done of held?.done ?? []) this.#later(done)
    this.#later(() => { this.#host.changed(link.id, state, cause) })
  }

  #bind(address: Uint8Array): void {
    this.#options.network.bind(address, (from, datagram) => { if (this.#link !== undefined) this.#receiver.receive(this.#link.id, from, datagram) })
  }

  #later(act: () => void, delay = 0): void {
    const { scheduler } = this.#options
    scheduler.at(scheduler.now + delay, act)
  }
}
