import { formatAddress } from '../core/base/address.ts'
import type { LinkId } from '../core/base/domain.ts'
import { PosternError } from '../core/base/errors.ts'
import type { LinkInfo, TransmitBatch } from '../core/endpoint/contract.ts'
import { bleDatagramSize, HELLO_NONCE_SIZE } from '../core/ble/values.ts'
import { addressKey, type AddressKey } from './network.ts'
import type { SeededRandom } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import { SimReceiver, type SimDriverHost, type SimDriverLink } from './sim-receiver.ts'

/** WIRE.md §7: what HELLO names at most. */
const DATAGRAM_MAX = 1200
/** A value that is written has this much of ATT before it, and each segment of a datagram a byte; the first its length besides. */
const ATT_HEADER = 3
const SEGMENT_HEADER = 1
const LENGTH_SIZE = 2

/** What the air between two radios is like. Times in microseconds. */
export interface AirConditions {
  /** Time between two connection events: only then something moves, both ways. */
  readonly interval: number
  /** Bytes of values per microsecond, each way. */
  readonly rate: number
  readonly mtu: number
  /** How long a dialer scans before it hears the next advertisement, at most. */
  readonly advertising: number
  /** Without a connection event for so long, both sides find the link gone. */
  readonly supervision: number
}

/** A phone-like link: 15 ms, 400 kbit/s, data length extension. */
export const usualAir: AirConditions = { interval: 15_000, rate: 0.05, mtu: 247, advertising: 100_000, supervision: 4_000_000 }

/** The radios that may hear one another. */
export class SimAir {
  conditions: AirConditions
  /** Whether one radio hears another. */
  reaches: (from: Uint8Array, to: Uint8Array) => boolean = () => true
  /** Sees every datagram whose last value is on the air: for captures and attackers. Returning false loses it. */
  tap: ((from: Uint8Array, to: Uint8Array, datagram: Uint8Array) => boolean | undefined) | undefined
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly #radios = new Map<AddressKey, SimBle>()

  constructor(scheduler: Scheduler, random: SeededRandom, conditions: AirConditions = usualAir) {
    this.scheduler = scheduler
    this.random = random
    this.conditions = conditions
  }

  add(radio: SimBle): void {
    this.#radios.set(addressKey(radio.address), radio)
  }

  remove(radio: SimBle): void {
    this.#radios.delete(addressKey(radio.address))
  }

  at(address: Uint8Array): SimBle | undefined {
    return this.#radios.get(addressKey(address))
  }
}

/** One side of a connection: what it has to send, in values as they go over the air. */
interface Side {
  readonly radio: SimBle
  readonly link: LinkId
  readonly info: LinkInfo
  /** Values that wait, each with the datagram that is whole with it. */
  readonly values: { readonly size: number; readonly datagram: Uint8Array | undefined }[]
  unsent: number
  /** The host was told that it may hand over another datagram, and has not done so yet. */
  asked: boolean
}

/** A connection between two radios, which moves what is queued on both sides at each connection event. */
class AirLink {
  readonly sides: readonly [Side, Side]
  readonly #air: SimAir
  readonly #conditions: AirConditions
  /** Bytes that the events so far could have carried more than there was whole values for. */
  readonly #left: [number, number] = [0, 0]
  #heardAt: number
  #ended = false

  constructor(air: SimAir, central: Side, peripheral: Side) {
    this.#air = air
    this.#conditions = air.conditions
    this.sides = [central, peripheral]
    this.#heardAt = air.scheduler.now
    this.#next()
  }

  /** Bytes that one connection event carries: with less waiting, the next one would not be used. */
  get eventBytes(): number {
    return this.#conditions.interval * this.#conditions.rate
  }

  end(): void {
    this.#ended = true
  }

  #next(): void {
    this.#air.scheduler.at(this.#air.scheduler.now + this.#conditions.interval, () => { this.#event() })
  }

  #event(): void {
    if (this.#ended) return
    const { now } = this.#air.scheduler
    const [a, b] = this.sides
    if (this.#air.reaches(a.radio.address, b.radio.address)) {
      this.#heardAt = now
      this.#move(0)
      this.#move(1)
    } else if (now - this.#heardAt >= this.#conditions.supervision) {
      for (const side of this.sides) side.radio.lost(side.link)
    }
    this.#next()
  }

  #move(from: 0 | 1): void {
    const side = this.sides[from]
    const other = this.sides[1 - from]!
    let room = this.#left[from] + this.eventBytes
    while (side.values.length > 0 && side.values[0]!.size <= room) {
      const { size, datagram } = side.values.shift()!
      room -= size
      side.unsent -= size
      if (datagram !== undefined && this.#air.tap?.(side.radio.address, other.radio.address, datagram) !== false) other.radio.arrived(other.link, side.radio.address, datagram)
    }
    // A value begun in one event ends in the next; time in which nothing waited is gone.
    this.#left[from] = side.values.length > 0 ? room : 0
    side.radio.room(side, this.eventBytes)
  }
}

export interface SimBleHost extends SimDriverHost {
  dialFailed(token: number, cause: PosternError): void
}

/** A Bluetooth driver over simulated air: dials, and connections as links that take one datagram at a time. */
export class SimBle {
  readonly kind = 'ble'
  readonly address: Uint8Array
  readonly #host: SimBleHost
  readonly #air: SimAir
  readonly #receiver: SimReceiver
  readonly #links = new Map<LinkId, { readonly side: Side; readonly air: AirLink }>()
  readonly #dials = new Set<number>()
  #open = false
  #closing: Promise<void> | undefined
  #sent = 0
  #sentBytes = 0

  /** @param address of this radio, in the form of `base/ble-address` */
  constructor(host: SimBleHost, air: SimAir, address: Uint8Array) {
    this.#host = host
    this.#air = air
    this.address = address
    this.#receiver = new SimReceiver(host, air.scheduler, false, undefined)
  }

  get size(): number {
    return this.#links.size
  }

  open(): void {
    if (this.#open) return
    this.#open = true
    this.#closing = undefined
    this.#receiver.open()
    this.#air.add(this)
  }

  start(): Promise<void> {
    this.open()
    return Promise.resolve()
  }

  /** Ends every connection; both sides hear of it. */
  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing
    for (const link of [...this.#links.keys()]) this.closeLink(link)
    for (const token of [...this.#dials]) this.cancelDial(token)
    if (this.#open) {
      this.#air.remove(this)
      this.#receiver.close()
    }
    this.#open = false
    this.#closing = new Promise((resolve) => { this.#later(resolve) })
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** As SIGKILL, or the adapter pulled out: the other side finds its links gone after a while. */
  stop(): void {
    this.#air.remove(this)
    for (const { air } of this.#links.values()) air.end()
    for (const { air } of this.#links.values()) for (const side of air.sides) if (side.radio !== this) this.#later(() => { side.radio.lost(side.link) }, this.#air.conditions.supervision)
    this.#links.clear()
    this.#dials.clear()
    this.#receiver.close()
    this.#open = false
  }

  links(): readonly SimDriverLink[] {
    return [...this.#links].map(([id, { side }]) => ({ id, info: side.info, receiveBuffer: undefined, sendBuffer: undefined, unsent: side.unsent }))
  }

  stats(): Readonly<Record<string, number>> {
    return { ble_sent_datagrams: this.#sent, ble_sent_bytes: this.#sentBytes, ble_received_datagrams: this.#receiver.datagrams, ble_received_bytes: this.#receiver.bytes }
  }

  dial(to: Uint8Array, token: number): void {
    this.#dials.add(token)
    this.#later(() => {
      if (!this.#dials.delete(token)) return
      const other = this.#air.at(to)
      if (other === undefined || !this.#air.reaches(this.address, to)) this.#host.dialFailed(token, new PosternError('timeout', `The Bluetooth device ${formatAddress(to)} did not answer in time.`))
      else this.#join(other, token)
    }, this.#air.random.unit() * this.#air.conditions.advertising)
  }

  cancelDial(token: number): void {
    if (this.#dials.delete(token)) this.#later(() => { this.#host.dialFailed(token, new PosternError('aborted', 'The Bluetooth connection was called off.')) })
  }

  /** Ends the connection; both sides hear `closed`. */
  closeLink(link: LinkId): void {
    const found = this.#links.get(link)
    if (found === undefined) return
    found.air.end()
    for (const { radio, link: own } of found.air.sides) radio.#end(own, 'closed', radio === this ? undefined : new PosternError('disconnected', 'The Bluetooth connection was closed by the other side.'))
  }

  send(batch: TransmitBatch, done: () => void): number {
    const { bytes } = this.#host.arena
    let taken = 0
    for (let row = 0; row < batch.count; row++) {
      const found = this.#links.get(batch.link[row] as LinkId)
      if (found === undefined) continue
      taken++
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) this.#queue(found.side, bytes.slice(offset, Math.min(offset + batch.segmentSize[row]!, end)))
      this.#wait(found.side)
      this.room(found.side, found.air.eventBytes)
    }
    this.#later(done)
    return taken
  }

  /** The host waits for `writable` by itself; it is told all the same, as a driver tells. */
  #wait(side: Side): void {
    if (!side.asked) return
    side.asked = false
    this.#later(() => { if (this.#links.has(side.link)) this.#host.changed(side.link, 'blocked', undefined) })
  }

  /** Asks for the next datagram if the next event has room for it. */
  room(side: Side, eventBytes: number): void {
    if (side.asked || side.unsent >= eventBytes) return
    side.asked = true
    this.#later(() => { if (this.#links.has(side.link)) this.#host.changed(side.link, 'writable', undefined) })
  }

  arrived(link: LinkId, from: Uint8Array, datagram: Uint8Array): void {
    this.#receiver.receive(link, from, datagram)
  }

  lost(link: LinkId): void {
    const found = this.#links.get(link)
    if (found === undefined) return
    found.air.end()
    this.#end(link, 'failed', new PosternError('disconnected', 'The Bluetooth connection was lost.'))
  }

  #queue(side: Side, datagram: Uint8Array): void {
    const room = this.#air.conditions.mtu - ATT_HEADER - SEGMENT_HEADER
    this.#sent++
    this.#sentBytes += datagram.length
    for (let left = datagram.length + LENGTH_SIZE; left > 0; left -= room) {
      const size = SEGMENT_HEADER + Math.min(left, room)
      side.values.push({ size, datagram: left <= room ? datagram : undefined })
      side.unsent += size
    }
  }

  #join(other: SimBle, token: number): void {
    // As the HELLO of the side that was dialed says it.
    const nonce = Uint8Array.from({ length: HELLO_NONCE_SIZE }, () => Math.floor(this.#air.random.unit() * 256))
    const near = this.#side(other.address, token, nonce)
    const far = other.#side(this.address, undefined, nonce)
    const air = new AirLink(this.#air, near, far)
    this.#links.set(near.link, { side: near, air })
    other.#links.set(far.link, { side: far, air })
  }

  #side(remote: Uint8Array, token: number | undefined, nonce: Uint8Array): Side {
    const { mtu } = this.#air.conditions
    const info: LinkInfo = {
      kind: 'ble', local: this.address, remote, dialed: token !== undefined, datagramMax: DATAGRAM_MAX, datagramSize: bleDatagramSize(mtu), single: true, segmentsMax: 1, nonce,
      ...(token === undefined ? {} : { token }),
    }
    return { radio: this, link: this.#host.opened(info, token), info, values: [], unsent: 0, asked: true }
  }

  #end(link: LinkId, how: 'failed' | 'closed', cause: PosternError | undefined): void {
    if (this.#links.delete(link)) this.#later(() => { this.#host.changed(link, how, cause) })
  }

  #later(act: () => void, delay = 0): void {
    this.#air.scheduler.at(this.#air.scheduler.now + delay, act)
  }
}
