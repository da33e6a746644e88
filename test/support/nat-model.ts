import { equalAddress, formatAddress } from '../../src/core/base/address.ts'
import { writeU16 } from '../../src/core/base/bytes.ts'

export interface NatModel {
  readonly mapping: 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'
  readonly filtering: 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'
  readonly hairpin?: boolean
}

interface Mapping {
  readonly inside: Uint8Array
  readonly outside: Uint8Array
  readonly sent: Uint8Array[]
}

/** A NAT as RFC 4787 describes one, without time: mappings never close. */
export class Nat {
  readonly #model: NatModel
  readonly #outside: Uint8Array
  readonly #mappings = new Map<string, Mapping>()
  #nextPort = 50_000

  constructor(model: NatModel, outside: Uint8Array) {
    this.#model = model
    this.#outside = outside
  }

  /** Where a datagram from inside seems to come from. */
  out(from: Uint8Array, to: Uint8Array): Uint8Array {
    const { mapping } = this.#model
    const key = `${formatAddress(from)} ${mapping === 'endpoint-independent' ? '' : mapping === 'address-dependent' ? hostOf(to) : formatAddress(to)}`
    let found = this.#mappings.get(key)
    if (found === undefined) {
      found = { inside: from, outside: withPort(this.#outside, this.#nextPort++), sent: [] }
      this.#mappings.set(key, found)
    }
    found.sent.push(to)
    return found.outside
  }

  /** To whom inside a datagram goes, if it is let in. */
  in(from: Uint8Array, to: Uint8Array): Uint8Array | undefined {
    const { filtering } = this.#model
    for (const { inside, outside, sent } of this.#mappings.values()) {
      if (!equalAddress(outside, 0, to, 0)) continue
      const allowed = filtering === 'endpoint-independent' || sent.some((known) => (filtering === 'address-dependent' ? hostOf(known) === hostOf(from) : equalAddress(known, 0, from, 0)))
      return allowed ? inside : undefined
    }
    return undefined
  }

  /** Whether a datagram from inside to this address is turned round. */
  turns(to: Uint8Array): boolean {
    return this.#model.hairpin === true && hostOf(to) === hostOf(this.#outside)
  }

  owns(to: Uint8Array): boolean {
    return hostOf(to) === hostOf(this.#outside)
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

