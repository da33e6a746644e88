import { Arena } from '../../../src/core/base/arena.ts'
import { dropReason } from '../../../src/core/base/domain.ts'
import { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import { Pieces } from '../../../src/core/base/pieces.ts'
import { never, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { RECEIVED_NO_ROOM, type MessageSink, type Receiver } from '../../../src/core/flow/receive.ts'
import { SendCount, SendQueue, type SendTraits } from '../../../src/core/flow/send-queue.ts'
import { TELL_DELIVERED, TELL_DROP, type SendOwner } from '../../../src/core/flow/send-ring.ts'
import { PACKET_ACKED, PACKET_LOST, PACKET_SENT, RECORD_FRAGMENT, RECORD_RUN, SentPackets } from '../../../src/core/flow/sent-packets.ts'
import { FRAME_SKIP, MESSAGE_FRAGMENT } from '../../../src/core/wire/frame.ts'

/** Room for frames in one datagram of the model: small, so that messages of a few hundred bytes are cut. */
const DATAGRAM = 200
const SLAB = 4096

interface Datagram {
  readonly order: number
  readonly bytes: Uint8Array
}

/** A message's fate as its sender was told: `delivered`, or the reason it was dropped for. */
export type Fate = 'delivered' | number

export interface Received {
  readonly tag: number
  readonly length: number
  readonly gap: boolean
}

/**
 * One channel's send queue and receiver around a network that a test drives by hand: datagrams are packed, arrive in any order, any
 * number of times or never, and are acknowledged or declared lost. Messages carry their tag and length in their first bytes.
 */
export class ChannelModel implements SendOwner, MessageSink {
  readonly arena: Arena = new Arena(8 << 20)
  readonly memory: MemoryAccount = new MemoryAccount(this.arena)
  readonly count: SendCount = new SendCount()
  readonly queue: SendQueue
  readonly receiver: Receiver
  readonly sent: SentPackets = new SentPackets()
  readonly fates: Map<number, Fate[]> = new Map()
  readonly received: Received[] = []
  now: Instant = toInstant(0)
  /** In flight: neither acknowledged nor lost. */
  readonly flying: Datagram[] = []
  /** Have arrived, and the sender does not know. */
  readonly arrived: number[] = []
  #nextTag = 1
  /** Tag of the last message that was dropped as the oldest. */
  #dropped = 0
  readonly #slab: number
  readonly #out: Pieces = new Pieces(this.arena.bytes, 4)

  constructor(traits: SendTraits, receiver: (memory: MemoryAccount) => Receiver) {
    this.queue = new SendQueue(0, traits, this.count, 0, 2, this.memory, this)
    this.receiver = receiver(this.memory)
    this.#slab = this.arena.allocate(SLAB)
  }

  onMessageDelivered(tag: number): void {
    this.#tell(tag, 'delivered')
  }

  onMessageDropped(_lane: number, reason: number, tag: number, told: boolean): void {
    if (reason === dropReason['drop-oldest']) this.#dropped = tag
    if (told) this.#tell(tag, reason)
  }

  deliver(offset: number, length: number, block: number, gap: boolean): void {
    const view = new DataView(this.arena.bytes.buffer, this.arena.bytes.byteOffset + offset, length)
    const whole = view.getUint32(4) === length && (length === 8 || view.getUint8(length - 1) === length % 251)
    this.received.push({ tag: whole ? view.getUint32(0) : -1, length, gap })
    if (block >= 0) this.memory.release(block)
  }

  /** Returns the message's tag. */
  push(length: number, confirm: boolean, deadline: Instant = never): number {
    const tag = this.#nextTag++
    const size = Math.max(8, length)
    const bytes = new Uint8Array(size).fill(size % 251)
    new DataView(bytes.buffer).setUint32(0, tag)
    new DataView(bytes.buffer).setUint32(4, size)
    if (!this.queue.push(bytes, 0, size, tag, confirm ? TELL_DROP | TELL_DELIVERED : TELL_DROP, deadline)) throw new Error('the arena is full')
    return tag
  }

  /** Packs one datagram; false when there is nothing to send, or no allowance for it. */
  pack(allowance: number = Infinity): boolean {
    const { bytes } = this.arena
    const mark = this.sent.frameMark
    const end = this.#slab + DATAGRAM
    let p = this.#slab
    if (this.queue.hasLost) p = this.queue.packLost(this.#out, p, end, DATAGRAM, this.sent, this.now)
    if (this.queue.hasNew && !this.queue.hasLost) {
      this.count.idLimit = this.queue.oldestId + 4096
      p = this.queue.packNew(this.#out, p, end, DATAGRAM, allowance, DATAGRAM, this.sent, this.now)
    }
    this.#out.copy()
    if (p === this.#slab) return false
    const order = this.sent.next
    this.sent.push(this.now, p - this.#slab, 0, order, mark, -1, true)
    this.flying.push({ order, bytes: bytes.slice(this.#slab, p) })
    return true
  }

  /** The oldest goes, so each that goes is newer than the one before. */
  dropOldest(): void {
    const told = this.#dropped
    this.queue.dropOldest(dropReason['drop-oldest'])
    if (this.#dropped <= told) throw new Error(`${this.#dropped} is dropped after ${told}`)
  }

  /** Datagram k of those in flight arrives, perhaps not for the first time. */
  arrive(k: number): void {
    const { order, bytes } = this.flying[k]!
    this.arena.bytes.set(bytes, this.#slab + DATAGRAM)
    if (this.#read(this.#slab + DATAGRAM, bytes.length)) this.arrived.push(order)
  }

  /** The sender hears of everything that arrived. */
  acknowledge(): void {
    for (const order of this.arrived.splice(0)) {
      if (this.sent.state(order) === PACKET_ACKED) continue
      this.sent.setState(order, PACKET_ACKED)
      this.#eachFrame(order, (kind, sequence, a, b) => {
        if (kind === RECORD_RUN) this.queue.onAckedRun(sequence, a)
        else if (kind === RECORD_FRAGMENT) this.queue.onAckedFragment(sequence, a, b)
        else this.queue.onAckedSkip(sequence)
      })
      this.#land(order)
    }
  }

  /** Datagram k of those in flight is taken for lost; whether it arrived does not matter. */
  lose(k: number): void {
    const { order } = this.flying[k]!
    this.sent.setState(order, PACKET_LOST)
    this.#eachFrame(order, (kind, sequence, a, b) => {
      if (kind === RECORD_RUN) this.queue.onLostRun(sequence, a)
      else if (kind === RECORD_FRAGMENT) this.queue.onLostFragment(sequence, a, b)
      else this.queue.onLostSkip(sequence)
    })
    this.#land(order)
  }

  /** A consumer that reads all at once. */
  consume(credit: number): void {
    this.receiver.credit += credit
    this.receiver.resume(this)
  }

  /** Nothing is lost any more: sends all, and everything arrives. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      while (this.flying.length > 0) {
        this.arrive(0)
        this.acknowledge()
        // It found no room and is not acknowledged.
        if (this.flying.length > 0) this.lose(0)
      }
      this.consume(1 << 20)
      if (!this.pack() && this.flying.length === 0) return
    }
    throw new Error('the queue never runs empty')
  }

  #tell(tag: number, fate: Fate): void {
    const known = this.fates.get(tag)
    if (known === undefined) this.fates.set(tag, [fate])
    else known.push(fate)
  }

  #land(order: number): void {
    const k = this.flying.findIndex((datagram) => datagram.order === order)
    if (k >= 0) this.flying.splice(k, 1)
    this.sent.advanceFirstSent()
    if (this.sent.state(order) !== PACKET_SENT) this.sent.advanceBase(never)
  }

  #eachFrame(order: number, visit: (kind: number, sequence: number, a: number, b: number) => void): void {
    if (order < this.sent.base) return
    for (let k = 0; k < this.sent.frameCount(order); k++) {
      const at = this.sent.frameAt(order, k)
      const [kind, , sequence, a, b] = this.sent.frames.subarray(at, at + 5)
      visit(kind!, sequence!, a!, b!)
    }
  }

  /** Whether all of it found room. */
  #read(offset: number, length: number): boolean {
    const reader = new ByteReader(this.arena.bytes)
    reader.reset(this.arena.bytes, offset, offset + length)
    let room = true
    while (reader.position < offset + length) {
      const type = reader.u8()
      reader.varint()
      const id = reader.varint()
      if (type === FRAME_SKIP) {
        this.#check(this.receiver.skip(id, reader.varint(), Infinity, this))
        continue
      }
      const at = (type & MESSAGE_FRAGMENT) !== 0 ? reader.varint() : 0
      const total = (type & MESSAGE_FRAGMENT) !== 0 ? reader.varint() : -1
      const size = reader.varint()
      const from = reader.skip(size)
      const result = total < 0 || size === total ? this.receiver.whole(this.now, id, from, size, Infinity, this)
        : this.receiver.fragment(this.now, id, from, size, at, total, Infinity, this)
      room = this.#check(result) && room
    }
    if (reader.failed) throw new Error('a datagram cannot be read')
    return room
  }

  #check(result: number): boolean {
    if (result > RECEIVED_NO_ROOM) throw new Error(`the receiver calls it a breach: ${result}`)
    return result !== RECEIVED_NO_ROOM
  }
}
