import { equalAddress, formatAddress, portOf } from '../../src/core/base/address.ts'
import { addressClass } from '../../src/core/base/address-class.ts'
import { writeU16 } from '../../src/core/base/bytes.ts'
import { sameHost } from '../../src/core/path/remotes.ts'
import { encodeXorAddress } from '../../src/core/wire/stun-attributes.ts'
import { decodeStun, encodeStun, stunAttribute } from '../../src/core/wire/stun.ts'
import { perfectWire } from '../../src/sim/network.ts'
import { node } from './providers.ts'
import { SECOND, type SimWorld } from './sim-world.ts'

type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

export interface SimRouterOptions {
  /** Addresses of the machine behind it, with any port, and of the router. */
  readonly inside: Uint8Array
  readonly outside: Uint8Array
  readonly mapping: Dependence
  readonly filtering: Dependence
  /** Seconds after which it forgets what nothing went out by. */
  readonly lifetime?: number
}

interface Mapping {
  readonly inside: Uint8Array
  readonly outside: Uint8Array
  /** By destination, when something last went there. */
  readonly sentAt: Map<string, number>
  usedAt: number
}

/** A router with NAT before a machine of many sockets, as RFC 4787 names its kinds: random outside ports where each destination has one of its own, else the inner port. */
export class SimRouter {
  readonly #world: SimWorld
  readonly #options: SimRouterOptions
  readonly #lifetime: number
  readonly #byInside = new Map<string, Mapping>()

  constructor(world: SimWorld, options: SimRouterOptions) {
    this.#world = world
    this.#options = options
    this.#lifetime = (options.lifetime ?? 30) * SECOND
    const { network } = world
    const before = network.tap
    network.tap = (from, to, datagram) => {
      if (sameHost(from, options.inside)) this.#out(from, to, datagram)
      else return before?.(from, to, datagram) ?? true
      return false
    }
  }

  #out(from: Uint8Array, to: Uint8Array, datagram: Uint8Array): void {
    // Private addresses lead nowhere outside.
    if (addressClass(to) === 'private') return
    const { network, scheduler } = this.#world
    const { mapping } = this.#options
    const key = `${formatAddress(from)} ${mapping === 'endpoint-independent' ? '' : mapping === 'address-dependent' ? hostOf(to) : formatAddress(to)}`
    let found = this.#byInside.get(key)
    if (found === undefined || scheduler.now - found.usedAt > this.#lifetime) {
      if (found !== undefined) network.unbind(found.outside)
      found = this.#map(from)
      this.#byInside.set(key, found)
    }
    found.usedAt = scheduler.now
    found.sentAt.set(this.#filterKey(to), scheduler.now)
    network.inject(found.outside, to, datagram)
  }

  #map(from: Uint8Array): Mapping {
    const outside = this.#options.outside.slice()
    writeU16(outside, 16, this.#options.mapping === 'endpoint-independent' ? portOf(from) : 1024 + this.#world.random.below(64_512))
    const made: Mapping = { inside: from.slice(), outside, sentAt: new Map(), usedAt: this.#world.scheduler.now }
    this.#world.network.bind(outside, (source, datagram) => {
      const { network, scheduler } = this.#world
      if (scheduler.now - made.usedAt > this.#lifetime || !this.#letsIn(made, source)) return
      // The way from the sender has been gone already.
      network.wire(source, made.inside).conditions = { ...perfectWire, delay: 0 }
      network.inject(source, made.inside, datagram)
    })
    return made
  }

  #letsIn({ sentAt }: Mapping, source: Uint8Array): boolean {
    if (this.#options.filtering === 'endpoint-independent') return true
    const at = sentAt.get(this.#filterKey(source))
    return at !== undefined && this.#world.scheduler.now - at <= this.#lifetime
  }

  #filterKey(address: Uint8Array): string {
    return this.#options.filtering === 'address-dependent' ? hostOf(address) : formatAddress(address)
  }
}

function hostOf(address: Uint8Array): string {
  const host = address.slice()
  writeU16(host, 16, 0)
  return formatAddress(host)
}

/** A STUN server of the simulated net: it says where it sees who asks. */
export function simStunServer({ network }: SimWorld, address: Uint8Array): void {
  network.bind(address, (from, datagram) => {
    const request = decodeStun(datagram, 0, datagram.length)
    if (request.kind !== 'stun' || request.class !== 'request' || equalAddress(from, 0, address, 0)) return
    const { transactionId } = request
    network.inject(address, from, encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(from, transactionId)]], fingerprint: true }))
  })
}
