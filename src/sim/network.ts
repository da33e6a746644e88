import { ADDRESS_SIZE, isIPv4 } from '../core/base/address.ts'
import type { SeededRandom } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import { joinStream, StreamSide } from './stream.ts'

/** What a wire in one direction does to datagrams. Times in microseconds, probabilities 0 … 1. */
export interface WireConditions {
  readonly delay: number
  /** Added uniformly, so datagrams overtake one another when it is larger than their distance. */
  readonly jitter: number
  readonly loss: number
  /** Gilbert-Elliott burst loss: chance per datagram to enter and to leave the bad state, where half of all are lost. */
  readonly burstEnter: number
  readonly burstLeave: number
  readonly duplicate: number
  /** Chance that a datagram is held back by `reorderDelay`. */
  readonly reorder: number
  readonly reorderDelay: number
  /** Chance that one bit flips. */
  readonly corrupt: number
  /** Bytes per microsecond; 0 = unlimited. A queue of `queueBytes` stands before it, tail drop. */
  readonly rate: number
  readonly queueBytes: number
  /** Larger UDP payloads vanish. */
  readonly mtu: number
}

export const perfectWire: WireConditions = {
  delay: 100, jitter: 0, loss: 0, burstEnter: 0, burstLeave: 1, duplicate: 0, reorder: 0, reorderDelay: 0, corrupt: 0, rate: 0, queueBytes: 0, mtu: 65_507,
}

const BURST_LOSS = 0.5

/** The queue before a wire of limited rate; wires that are given the same one share its rate. */
export interface Bottleneck {
  /** When all that stands in it will have left. */
  freeAt: number
}

/** One direction between two addresses. */
export class Wire {
  conditions: WireConditions
  cut = false
  lost = 0
  carried = 0
  bottleneck: Bottleneck = { freeAt: 0 }
  #bad = false
  readonly #random: SeededRandom
  readonly #scheduler: Scheduler

  constructor(conditions: WireConditions, random: SeededRandom, scheduler: Scheduler) {
    this.conditions = conditions
    this.#random = random
    this.#scheduler = scheduler
  }

  /** Takes over `datagram`: the caller does not touch its bytes any more. */
  send(datagram: Uint8Array, deliver: (datagram: Uint8Array) => void): void {
    const c = this.conditions
    const random = this.#random
    this.#bad = this.#bad ? !random.chance(c.burstLeave) : random.chance(c.burstEnter)
    if (this.cut || datagram.length > c.mtu || random.chance(c.loss) || (this.#bad && random.chance(BURST_LOSS))) {
      this.lost++
      return
    }
    const now = this.#scheduler.now
    let departs: number = now
    if (c.rate > 0) {
      const start = Math.max(this.bottleneck.freeAt, now)
      if ((start - now) * c.rate + datagram.length > c.queueBytes) {
        this.lost++
        return
      }
      departs = start + datagram.length / c.rate
      this.bottleneck.freeAt = departs
    }
    this.carried++
    const copies = random.chance(c.duplicate) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const held = random.chance(c.reorder) ? c.reorderDelay : 0
      let arrived = datagram
      if (random.chance(c.corrupt)) {
        arrived = datagram.slice()
        arrived[random.below(arrived.length)]! ^= 1 << random.below(8)
      }
      this.#scheduler.at(departs + c.delay + random.unit() * c.jitter + held, () => { if (!this.cut) deliver(arrived) })
    }
  }
}

/** Views of `from` and `datagram` are the receiver's to look at, not to keep or change. */
export type Receive = (from: Uint8Array, datagram: Uint8Array) => void

/** The way from one address to another for one kind of traffic: firewalls let one through and not the other. */
export interface Route {
  readonly conditions: WireConditions
  /** Nothing comes through, and nobody says so. */
  readonly cut: boolean
  /** Nothing comes through, and the sender's own system says so. */
  readonly refused?: boolean
}

/** SYNs of one connect (RFC 6298), after which the driver gives up (WIRE.md §7: 5 s). */
export const SYN_TIMES: readonly number[] = [0, 1_000_000, 3_000_000]
export const CONNECT_TIME: number = 5_000_000

export interface StreamEnds {
  readonly local: Uint8Array
  readonly remote: Uint8Array
}

/** A network of addresses (18 bytes) joined pairwise by wires, all from one seed. */
export class SimNetwork {
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #receivers = new Map<AddressKey, Receive>()
  readonly #wires = new Map<AddressKey, Map<AddressKey, Wire>>()
  /** Conditions of wires that were not set apart. */
  conditions: WireConditions = perfectWire
  /** Sees every datagram as it is sent: for captures, and for attackers. Returning false takes it off the wire. */
  tap: ((from: Uint8Array, to: Uint8Array, datagram: Uint8Array) => boolean) | undefined
  /** Sees every datagram that reaches a bound address, before its owner does. */
  arrival: ((from: Uint8Array, to: Uint8Array, datagram: Uint8Array) => void) | undefined
  /** Decides every way anew, in place of {@link conditions} and of what was set for single wires. */
  route: ((from: Uint8Array, to: Uint8Array, kind: 'udp' | 'tcp') => Route) | undefined
  readonly #listeners = new Map<AddressKey, (side: StreamSide) => void>()

  constructor(scheduler: Scheduler, random: SeededRandom) {
    this.#scheduler = scheduler
    this.#random = random
  }

  bind(address: Uint8Array, receive: Receive): void {
    this.#receivers.set(addressKey(address), receive)
  }

  unbind(address: Uint8Array): void {
    this.#receivers.delete(addressKey(address))
  }

  /** Puts a copy of the datagram on the wire. False when the sender's own system refuses. */
  send(from: Uint8Array, to: Uint8Array, datagram: Uint8Array, _ttl = 0): boolean {
    if (this.route?.(from, to, 'udp').refused === true) return false
    if (this.tap === undefined || this.tap(from, to, datagram)) this.inject(from, to, datagram)
    return true
  }

  /** Puts a copy of the datagram on the wire past the tap: what an attacker does. */
  inject(from: Uint8Array, to: Uint8Array, datagram: Uint8Array): void {
    const source = from.slice()
    const target = to.slice()
    const wire = this.wire(from, to)
    const route = this.route?.(source, target, 'udp')
    if (route !== undefined) {
      wire.conditions = route.conditions
      wire.cut = route.cut
    }
    wire.send(datagram.slice(), (arrived) => {
      if (this.route?.(source, target, 'udp').cut === true) return
      const receive = this.receiverOf(source, target)
      if (receive === undefined) return
      this.arrival?.(source, target, arrived)
      receive(source, arrived)
    })
  }

  /** Takes connections to `address`. */
  listen(address: Uint8Array, accept: (side: StreamSide) => void): void {
    this.#listeners.set(addressKey(address), accept)
  }

  unlisten(address: Uint8Array): void {
    this.#listeners.delete(addressKey(address))
  }

  /** Dials: `answered` gets this side of the connection, or why there is none. Returns how to call it off. */
  connect(from: Uint8Array, to: Uint8Array, answered: (side: StreamSide | 'refused' | 'no_answer') => void): () => void {
    const local = from.slice()
    const remote = to.slice()
    let open = true
    const answer = (side: StreamSide | 'refused' | 'no_answer'): void => {
      if (open) answered(side)
      else if (typeof side !== 'string') side.forget()
      open = false
    }
    const syn = (): void => {
      if (!open || this.#streamRoute(local, remote).cut || this.#streamRoute(remote, local).cut) return
      const there = this.#streamRoute(local, remote).conditions.delay
      const back = this.#streamRoute(remote, local).conditions.delay
      this.#scheduler.at(this.#scheduler.now + there + back, () => {
        if (open) answer(this.#join(local, remote, there) ?? 'refused')
      })
    }
    for (const time of SYN_TIMES) this.#scheduler.at(this.#scheduler.now + time, syn)
    this.#scheduler.at(this.#scheduler.now + CONNECT_TIME, () => { answer('no_answer') })
    return () => { open = false }
  }

  /** Both sides of a new connection; the other learns of it with the ACK. `undefined` when nobody listens there: a reset came back. */
  #join(local: Uint8Array, remote: Uint8Array, there: number): StreamSide | undefined {
    const accept = this.listenerAt(remote)
    if (accept === undefined) return undefined
    const [near, far] = this.joinSides({ local, remote }, { local: remote, remote: local })
    this.#scheduler.at(this.#scheduler.now + there, () => {
      if (near.state === 'gone' || far.state === 'gone') return
      // Whoever listened may be gone by now.
      if (this.listenerAt(remote) === accept) accept(far)
      else far.reset()
    })
    return near
  }

  /** Two ends of a connection, each with the addresses that its own system knows. */
  protected joinSides(near: StreamEnds, far: StreamEnds): readonly [StreamSide, StreamSide] {
    const side = ({ local, remote }: StreamEnds): StreamSide => new StreamSide(local, remote, () => this.#streamRoute(local, remote), this.#scheduler, this.#random.fork())
    const sides = [side(near), side(far)] as const
    joinStream(...sides)
    return sides
  }

  /** Who gets what arrives from there. */
  protected receiverOf(_from: Uint8Array, to: Uint8Array): Receive | undefined {
    return this.#receivers.get(addressKey(to))
  }

  protected listenerAt(address: Uint8Array): ((side: StreamSide) => void) | undefined {
    return this.#listeners.get(addressKey(address))
  }

  #streamRoute(from: Uint8Array, to: Uint8Array): Route {
    return this.route?.(from, to, 'tcp') ?? { conditions: this.conditions, cut: false }
  }

  wire(from: Uint8Array, to: Uint8Array): Wire {
    const fromKey = addressKey(from)
    let wires = this.#wires.get(fromKey)
    if (wires === undefined) {
      wires = new Map()
      this.#wires.set(fromKey, wires)
    }
    const toKey = addressKey(to)
    let wire = wires.get(toKey)
    if (wire === undefined) {
      wire = new Wire(this.conditions, this.#random.fork(), this.#scheduler)
      wires.set(toKey, wire)
    }
    return wire
  }

  setConditions(conditions: WireConditions): void {
    this.conditions = conditions
    for (const wires of this.#wires.values()) for (const wire of wires.values()) wire.conditions = conditions
  }
}

export type AddressKey = number | string

/** An address as a table key: a number for IPv4, which worlds mostly use, since every datagram is looked up three times. */
export function addressKey(address: Uint8Array, offset = 0): AddressKey {
  if (isIPv4(address, offset)) {
    let key = 0
    for (let i = 12; i < ADDRESS_SIZE; i++) key = key * 256 + address[offset + i]!
    return key
  }
  return String.fromCharCode(...address.subarray(offset, offset + ADDRESS_SIZE))
}
