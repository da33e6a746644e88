import { equalAddress, formatAddress, portOf } from '../core/base/address.ts'
import { writeU16 } from '../core/base/bytes.ts'
import type { SeededRandom } from './random.ts'

/** RFC 4787 §4.1 and §5: on what of the other side's address the outside port, or who is let in, depends. */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

export interface NatModel {
  readonly mapping: Dependence
  /** Of UDP. Connections are let in from where one was dialed, and from nowhere else. */
  readonly filtering: Dependence
  readonly hairpin?: boolean
  /** The outside port: the inside one while nobody else has it, any, or (the default) one after the other. */
  readonly ports?: 'kept' | 'random' | 'next'
  /** Microseconds after which a mapping that carries nothing is forgotten; never, if absent. */
  readonly lifetime?: number
  /** What comes in keeps a mapping too, unless only what goes out does (RFC 4787 REQ-6 allows both). */
  readonly refreshedBy?: 'outgoing'
  /**
   * A bad router: it takes what it does not let in for its own, and remembers that. Who then sends from inside to where it came from is seen at another port.
   */
  readonly spoilt?: boolean
  /** Nothing of it passes, and nobody says so. */
  readonly blocks?: 'udp'
}

export type NatTransport = 'udp' | 'tcp'

interface Mapping {
  readonly key: string
  readonly inside: Uint8Array
  readonly outside: Uint8Array
  /** Whom it was used to send to: BOUNDED by the lifetime of the mapping and by {@link SENT_MAX}, beyond which the oldest goes. */
  readonly sent: Map<string, Uint8Array>
  usedAt: number
}

const FIRST_PORT = 50_000
const RANDOM_FIRST = 1024
const RANDOM_COUNT = 65_536 - RANDOM_FIRST
/** As many places as a home router remembers of one socket. */
const SENT_MAX = 4096

/** A NAT as RFC 4787 describes one. */
export class Nat {
  readonly outside: Uint8Array
  readonly #model: NatModel
  readonly #random: SeededRandom | undefined
  readonly #byInside = new Map<string, Mapping>()
  readonly #byOutside = new Map<string, Mapping>()
  /** Ways on which something came that was not let in, and when: BOUNDED by the test's time. */
  readonly #spoilt = new Map<string, number>()
  #nextPort = FIRST_PORT
  /** Mappings that it ever made. */
  made = 0

  /**
   * @param outside its address, with any port
   * @param random for ports that are `random`, and for those that are `kept` when somebody has them
   */
  constructor(model: NatModel, outside: Uint8Array, random?: SeededRandom) {
    this.outside = outside
    this.#model = model
    this.#random = random
  }

  /** Where a datagram from inside seems to come from; `undefined`: it does not pass. */
  out(from: Uint8Array, to: Uint8Array, now = 0, transport: NatTransport = 'udp'): Uint8Array | undefined {
    if (this.#model.blocks === transport) return undefined
    const { mapping } = this.#model
    const key = `${transport} ${formatAddress(from)} ${mapping === 'endpoint-independent' ? '' : mapping === 'address-dependent' ? hostOf(to) : formatAddress(to)}`
    let found = this.#byInside.get(key)
    if (found === undefined || this.#forgotten(found, now, transport)) found = this.#map(key, from, transport)
    if (this.#isSpoilt(found, to, now)) found = this.#byInside.get(`${key} ${formatAddress(to)}`) ?? this.#map(`${key} ${formatAddress(to)}`, from, transport, this.#anyPort())
    found.usedAt = now
    const place = formatAddress(to)
    found.sent.delete(place)
    if (found.sent.size === SENT_MAX) found.sent.delete(found.sent.keys().next().value!)
    found.sent.set(place, to.slice())
    return found.outside
  }

  /** To whom inside a datagram goes, if it is let in. */
  in(from: Uint8Array, to: Uint8Array, now = 0, transport: NatTransport = 'udp'): Uint8Array | undefined {
    if (this.#model.blocks === transport) return undefined
    const found = this.#byOutside.get(`${transport} ${formatAddress(to)}`)
    if (found === undefined || this.#forgotten(found, now, transport) || !this.#letsIn(found, from, transport)) {
      if (this.#model.spoilt === true && transport === 'udp') this.#spoilt.set(`${formatAddress(to)} ${formatAddress(from)}`, now)
      return undefined
    }
    if (this.#model.refreshedBy === undefined) found.usedAt = now
    return found.inside
  }

  /** Whether a datagram from inside to this address is turned round. */
  turns(to: Uint8Array): boolean {
    return this.#model.hairpin === true && this.owns(to)
  }

  owns(to: Uint8Array): boolean {
    return hostOf(to) === hostOf(this.outside)
  }

  #isSpoilt({ outside, sent }: Mapping, to: Uint8Array, now: number): boolean {
    const since = sent.has(formatAddress(to)) ? undefined : this.#spoilt.get(`${formatAddress(outside)} ${formatAddress(to)}`)
    return since !== undefined && now - since <= (this.#model.lifetime ?? Infinity)
  }

  #letsIn({ sent }: Mapping, from: Uint8Array, transport: NatTransport): boolean {
    const filtering = transport === 'tcp' ? 'address-and-port-dependent' : this.#model.filtering
    if (filtering === 'endpoint-independent') return true
    if (filtering === 'address-and-port-dependent') return sent.has(formatAddress(from))
    return [...sent.values()].some((known) => hostOf(known) === hostOf(from))
  }

  #forgotten(found: Mapping, now: number, transport: NatTransport): boolean {
    if (now - found.usedAt <= (this.#model.lifetime ?? Infinity)) return false
    this.#byInside.delete(found.key)
    this.#byOutside.delete(`${transport} ${formatAddress(found.outside)}`)
    return true
  }

  #map(key: string, inside: Uint8Array, transport: NatTransport, port: number = this.#port(inside)): Mapping {
    let outside = withPort(this.outside, port)
    while (this.#byOutside.has(`${transport} ${formatAddress(outside)}`)) outside = withPort(this.outside, this.#anyPort())
    const made: Mapping = { key, inside: inside.slice(), outside, sent: new Map(), usedAt: 0 }
    this.made++
    this.#byInside.set(key, made)
    this.#byOutside.set(`${transport} ${formatAddress(outside)}`, made)
    return made
  }

  #port(inside: Uint8Array): number {
    const { ports = 'next' } = this.#model
    return ports === 'kept' ? portOf(inside) : ports === 'random' ? this.#anyPort() : this.#nextPort++
  }

  #anyPort(): number {
    return this.#random === undefined ? this.#nextPort++ : RANDOM_FIRST + this.#random.below(RANDOM_COUNT)
  }
}

export function withPort(address: Uint8Array, port: number): Uint8Array {
  const changed = address.slice()
  writeU16(changed, 16, port)
  return changed
}

export function hostOf(address: Uint8Array): string {
  return formatAddress(withPort(address, 0))
}

/** Equal with their ports. */
export function sameAddress(a: Uint8Array, b: Uint8Array): boolean {
  return equalAddress(a, 0, b, 0)
}
