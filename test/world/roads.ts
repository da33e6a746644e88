import { ADDRESS_SIZE, encodeAddress, isIPv4 } from '../../src/core/base/address.ts'
import type { LinkKind } from '../../src/core/base/domain.ts'
import type { Route, WireConditions } from '../../src/sim/network.ts'

export type Carrier = 'udp' | 'tcp'
export const carriers: readonly Carrier[] = ['udp', 'tcp']

/** Roads between two machines: their IPv4 and their IPv6 addresses. */
export const ROADS = 2

/** Address of a machine on a road; `move` and `port` change as it moves about. */
export function addressOn(road: number, machine: number, move: number, port: number): Uint8Array {
  return encodeAddress(road === 0 ? `10.${move}.${machine}.1` : `fd00:${move.toString(16)}::${machine.toString(16)}:1`, port)!
}

function machineOf(address: Uint8Array): number {
  return address[isIPv4(address) ? 14 : ADDRESS_SIZE - 2 - 3]!
}

export function carrierOf(kind: LinkKind): Carrier {
  return kind === 'tcp' ? 'tcp' : 'udp'
}

export function roadOf(address: Uint8Array): number {
  return isIPv4(address) ? 0 : 1
}

export interface Way {
  conditions: WireConditions
  /** Faults that hold it shut at the moment. */
  cuts: number
  refusals: number
  /** When the last of them began or ended. */
  changedAt: number
}

/** The state of every way between two machines: by road, by kind of traffic and by direction. Machines change addresses, ways do not. */
export class Roads {
  readonly #ways = new Map<number, Way>()
  #conditions: readonly WireConditions[]

  constructor(conditions: readonly WireConditions[]) {
    this.#conditions = conditions
  }

  way(from: number, to: number, road: number, carrier: Carrier): Way {
    const key = ((from * 16 + to) * ROADS + road) * 2 + (carrier === 'udp' ? 0 : 1)
    let way = this.#ways.get(key)
    if (way === undefined) {
      way = { conditions: this.#conditions[road % this.#conditions.length]!, cuts: 0, refusals: 0, changedAt: 0 }
      this.#ways.set(key, way)
    }
    return way
  }

  /** Both directions of some of the ways between two machines. */
  between(a: number, b: number, roads: readonly number[], kinds: readonly Carrier[]): Way[] {
    return roads.flatMap((road) => kinds.flatMap((kind) => [this.way(a, b, road, kind), this.way(b, a, road, kind)]))
  }

  /** A fault begins or ends for these ways. */
  change(ways: readonly Way[], now: number, how: 'cuts' | 'refusals', by: 1 | -1): void {
    for (const way of ways) {
      const before = way.cuts + way.refusals > 0
      way[how] += by
      if (before !== way.cuts + way.refusals > 0) way.changedAt = now
    }
  }

  /** Since when nothing passes from a to b, or, if `both` are needed, back; `undefined`: it does. */
  shutSince(a: number, b: number, road: number, carrier: Carrier, both: boolean): number | undefined {
    const shut = (both ? this.between(a, b, [road], [carrier]) : [this.way(a, b, road, carrier)]).filter(({ cuts, refusals }) => cuts + refusals > 0)
    return shut.length === 0 ? undefined : Math.min(...shut.map(({ changedAt }) => changedAt))
  }

  /** Since when both directions pass. */
  openSince(a: number, b: number, road: number, carrier: Carrier): number | undefined {
    const ways = this.between(a, b, [road], [carrier])
    return ways.some(({ cuts, refusals }) => cuts + refusals > 0) ? undefined : Math.max(...ways.map(({ changedAt }) => changedAt))
  }

  readonly route = (from: Uint8Array, to: Uint8Array, kind: Carrier): Route => {
    const { conditions, cuts, refusals } = this.way(machineOf(from), machineOf(to), roadOf(to), kind)
    return { conditions, cut: cuts > 0 || refusals > 0, refused: refusals > 0 }
  }

  setConditions(conditions: readonly WireConditions[]): void {
    this.#conditions = conditions
    for (const [key, way] of this.#ways) way.conditions = conditions[((key >> 1) % ROADS) % conditions.length]!
  }
}
