import { equalAddress, portOf } from '../../src/core/base/address.ts'
import { writeU16 } from '../../src/core/base/bytes.ts'
import { sameHost } from '../../src/core/path/remotes.ts'
import { perfectWire, type SimNetwork } from '../../src/sim/network.ts'
import type { Scheduler } from '../../src/sim/scheduler.ts'
import { SECOND } from './sim-world.ts'

export interface SimNatOptions {
  /** Address of the machine behind it, and one of the NAT with the first port that it gives out. */
  readonly inside: Uint8Array
  readonly outside: Uint8Array
  /** Seconds after which it forgets what nothing went out by. */
  readonly lifetime: number
  /** Lets in everybody, or only who was sent to. */
  readonly filtering: 'endpoint-independent' | 'address-and-port-dependent'
}

interface Mapping {
  readonly outside: Uint8Array
  usedAt: number
  readonly sentTo: Uint8Array[]
}

/**
 * A NAT before one machine of a {@link SimNetwork}, for UDP: one mapping for all destinations, a new outside port whenever the last one was
 * forgotten, and what comes in keeps nothing open (RFC 4787 REQ-6 allows that).
 */
export class SimNat {
  readonly #network: SimNetwork
  readonly #scheduler: Scheduler
  readonly #options: SimNatOptions
  #mapping: Mapping | undefined
  #ports = 0

  constructor(network: SimNetwork, scheduler: Scheduler, options: SimNatOptions) {
    this.#network = network
    this.#scheduler = scheduler
    this.#options = options
    const before = network.tap
    network.tap = (from, to, datagram) => {
      if (equalAddress(from, 0, options.inside, 0)) this.#out(to, datagram)
      else return before?.(from, to, datagram) ?? true
      return false
    }
  }

  /** Mappings it ever made. */
  get mappings(): number {
    return this.#ports
  }

  /** Where the machine is seen from outside. */
  get seen(): Uint8Array | undefined {
    return this.#mapping?.outside
  }

  /** As a router that restarts. */
  forget(): void {
    if (this.#mapping !== undefined) this.#network.unbind(this.#mapping.outside)
    this.#mapping = undefined
  }

  #out(to: Uint8Array, datagram: Uint8Array): void {
    const mapping = this.#live() ?? this.#map()
    mapping.usedAt = this.#scheduler.now
    if (!mapping.sentTo.some((known) => equalAddress(known, 0, to, 0))) mapping.sentTo.push(to.slice())
    this.#network.inject(mapping.outside, to, datagram)
  }

  #live(): Mapping | undefined {
    if (this.#mapping !== undefined && this.#scheduler.now - this.#mapping.usedAt > this.#options.lifetime * SECOND) this.forget()
    return this.#mapping
  }

  #map(): Mapping {
    const outside = this.#options.outside.slice()
    writeU16(outside, 16, portOf(outside) + this.#ports++)
    const mapping = { outside, usedAt: this.#scheduler.now, sentTo: [] }
    this.#mapping = mapping
    this.#network.bind(outside, (from, datagram) => { if (this.#live() === mapping && this.#letsIn(mapping, from)) this.#in(from, datagram) })
    return mapping
  }

  /** From the NAT to the machine behind it: the way from the sender has been gone already. */
  #in(from: Uint8Array, datagram: Uint8Array): void {
    const { inside } = this.#options
    this.#network.wire(from, inside).conditions = { ...perfectWire, delay: 0 }
    this.#network.inject(from, inside, datagram)
  }

  #letsIn({ sentTo }: Mapping, from: Uint8Array): boolean {
    return this.#options.filtering === 'endpoint-independent' || sentTo.some((known) => sameHost(known, from) && portOf(known) === portOf(from))
  }
}
