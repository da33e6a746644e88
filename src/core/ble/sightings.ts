import type { PeerHandle } from '../base/domain.ts'
import { after, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { BleRadioLimits } from './limits.ts'

/** A device with the service that was heard lately, or that a link or dial failed with. */
export interface Sighting {
  readonly address: string
  /** dBm, smoothed over about four advertisements. */
  rssi: number
  hint: Uint8Array | undefined
  /** Whose hint it is. Anybody may send somebody's hint: only a handshake proves it. */
  peer: PeerHandle | undefined
  seenAt: Instant
  /** Dials and links that came to nothing, in a row; it is not dialed again before `restUntil`. */
  failures: number
  restUntil: Instant
}

/** The friend whose hint of this hour it is. */
export type FindFriend = (hint: Uint8Array) => PeerHandle | undefined

/** What part a new value has in the smoothed signal. */
const RSSI_WEIGHT = 0.25
/** An address that was not heard for so long while another one of the same friend was is an old one: they change every quarter of an hour. */
const LEFT_BEHIND: Duration = 3 * second
/** Devices that may show the same friend's hint: the friend with its changing addresses, and who repeats what it heard. */
const ADDRESSES_PER_PEER = 4

/**
 * Devices in range, by address: at most `sightingsMax` however many addresses rotate by. When full, the stranger heard longest ago leaves; friends leave
 * only for friends. A rest is forgotten with its entry, so an address that is new costs one dial.
 */
export class Sightings {
  readonly #limits: BleRadioLimits
  readonly #random: () => number
  /** The one heard longest ago first. */
  readonly #strangers = new Map<string, Sighting>()
  readonly #friends = new Map<string, Sighting>()
  #find: FindFriend = () => undefined
  /** A device that was not heard for so long is out of range. */
  age: Duration

  /** @param random 0 … 1: two nodes that fail with each other must not meet again at the same moments */
  constructor(limits: BleRadioLimits, random: () => number) {
    this.#limits = limits
    this.#random = random
    this.age = limits.sightingAge
  }

  get size(): number {
    return this.#strangers.size + this.#friends.size
  }

  get(address: string): Sighting | undefined {
    return this.#friends.get(address) ?? this.#strangers.get(address)
  }

  *[Symbol.iterator](): Generator<Sighting> {
    yield* this.#friends.values()
    yield* this.#strangers.values()
  }

  /** Whose hints are whose from now on. */
  setFriends(find: FindFriend): void {
    this.#find = find
    for (const sighting of [...this]) this.#file(sighting)
  }

  handleSeen(now: Instant, address: string, rssi: number, hint: Uint8Array | undefined): Sighting {
    const known = this.get(address)
    const sighting = known ?? { address, rssi, hint: undefined, peer: undefined, seenAt: now, failures: 0, restUntil: toInstant(0) }
    sighting.rssi += known === undefined ? 0 : RSSI_WEIGHT * (rssi - known.rssi)
    // Not every advertisement of a device carries it.
    if (hint !== undefined) sighting.hint = new Uint8Array(hint)
    sighting.seenAt = now
    this.#file(sighting)
    return sighting
  }

  /** A dial or a link came to nothing: the address rests, twice as long each time. */
  handleFailure(now: Instant, address: string): void {
    const known = this.get(address)
    const sighting = known ?? { address, rssi: -127, hint: undefined, peer: undefined, seenAt: toInstant(-Infinity), failures: 0, restUntil: now }
    const pause = Math.min(this.#limits.backoffMax, this.#limits.backoffMin * 2 ** Math.min(sighting.failures, 20))
    sighting.failures++
    sighting.restUntil = after(now, pause * (0.75 + this.#random() / 2))
    if (known === undefined) this.#file(sighting)
  }

  handleSuccess(address: string): void {
    const sighting = this.get(address)
    if (sighting === undefined) return
    sighting.failures = 0
    sighting.restUntil = toInstant(0)
  }

  isFresh(sighting: Sighting, now: Instant): boolean {
    return after(sighting.seenAt, this.age) > now
  }

  /** Where to dial a friend: an address that does not rest before one that does, one that is still shown before one that was left behind, then the strongest. */
  bestOf(now: Instant, peer: PeerHandle): Sighting | undefined {
    const known = [...this.#friends.values()].filter((sighting) => sighting.peer === peer && this.isFresh(sighting, now))
    const awake = known.filter(({ restUntil }) => restUntil <= now)
    const some = awake.length > 0 ? awake : known
    return some.filter((sighting) => !some.some((other) => isLeftBehind(sighting, other))).sort((a, b) => b.rssi - a.rssi)[0]
  }

  /** Forgets who was not heard for long, and rests that are over. Returns when to come again. */
  expire(now: Instant): Instant {
    let next: number = never
    for (const sighting of [...this]) {
      const over = Math.max(after(sighting.seenAt, this.age), sighting.restUntil)
      if (over <= now) this.#delete(sighting.address)
      else next = Math.min(next, over)
    }
    return toInstant(next)
  }

  clear(): void {
    this.#strangers.clear()
    this.#friends.clear()
  }

  /** Puts it at the end of its table, and makes room there. */
  #file(sighting: Sighting): void {
    this.#delete(sighting.address)
    const { hint } = sighting
    sighting.peer = hint === undefined ? undefined : this.#find(hint)
    if (sighting.peer !== undefined) this.#crowd(sighting.peer)
    if (this.size >= this.#limits.sightingsMax && !this.#evict(sighting)) return
    const table = sighting.peer === undefined ? this.#strangers : this.#friends
    table.set(sighting.address, sighting)
  }

  /** Of too many devices with one friend's hint the one that failed most leaves, then the one heard longest ago. */
  #crowd(peer: PeerHandle): void {
    const same = [...this.#friends.values()].filter((sighting) => sighting.peer === peer)
    if (same.length < ADDRESSES_PER_PEER) return
    this.#delete(same.reduce((worst, one) => one.failures > worst.failures ? one : worst).address)
  }

  /** Makes room for one more; no friend leaves for a stranger. */
  #evict({ peer }: Sighting): boolean {
    const oldest = this.#strangers.keys().next().value ?? (peer === undefined ? undefined : this.#friends.keys().next().value)
    if (oldest === undefined) return false
    this.#delete(oldest)
    return true
  }

  #delete(address: string): void {
    this.#strangers.delete(address)
    this.#friends.delete(address)
  }
}

/** Of two addresses of one friend: whether the one was given up for the other. */
export function isLeftBehind(old: Sighting, other: Sighting): boolean {
  return after(old.seenAt, LEFT_BEHIND) < other.seenAt
}
