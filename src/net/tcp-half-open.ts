import { isIPv4 } from '../core/base/address.ts'
import { toHex } from '../core/base/bytes.ts'

/** Who shares a limit: an IPv4 address, or a /64 of IPv6, which is what one customer gets. */
export function prefixOf(address: Uint8Array): string {
  return isIPv4(address) ? toHex(address.subarray(12, 16)) : toHex(address.subarray(0, 8))
}

/**
 * Accepted connections on which nobody has been authenticated yet. Bounded in all and per prefix, and never full for a
 * newcomer: the oldest of its own prefix makes room, or the oldest of the prefix that has most. Refusing newcomers instead would
 * let whoever holds all places, at a few bytes in ten seconds, lock everybody out; like this he must outrun a handshake.
 */
export class HalfOpen<Member> {
  readonly #max: number
  readonly #prefixMax: number
  /** In order of arrival, at most `max`. */
  readonly #members = new Map<Member, string>()
  readonly #counts = new Map<string, number>()

  constructor(max: number, prefixMax: number) {
    this.#max = max
    this.#prefixMax = prefixMax
  }

  get size(): number {
    return this.#members.size
  }

  /** Takes the newcomer in; returns the one that has to go for it, if any, which is not counted any more. */
  add(member: Member, prefix: string): Member | undefined {
    const victim = this.#victim(prefix)
    if (victim !== undefined) this.delete(victim)
    this.#members.set(member, prefix)
    this.#counts.set(prefix, this.#count(prefix) + 1)
    return victim
  }

  delete(member: Member): void {
    const prefix = this.#members.get(member)
    if (prefix === undefined) return
    this.#members.delete(member)
    const left = this.#count(prefix) - 1
    if (left === 0) this.#counts.delete(prefix)
    else this.#counts.set(prefix, left)
  }

  #count(prefix: string): number {
    return this.#counts.get(prefix) ?? 0
  }

  #victim(prefix: string): Member | undefined {
    if (this.#count(prefix) >= this.#prefixMax) return this.#oldest((other) => other === prefix)
    if (this.#members.size < this.#max) return undefined
    const most = Math.max(...this.#counts.values())
    return this.#oldest((other) => this.#count(other) === most)
  }

  #oldest(matches: (prefix: string) => boolean): Member | undefined {
    for (const [member, prefix] of this.#members) {
      if (matches(prefix)) return member
    }
    return undefined
  }
}
