import { isIPv4 } from '../../base/address.ts'
import { millisecond, second, toInstant, type Duration, type Instant } from '../../base/time.ts'

/** WIRE.md §3.5, "Under load = any of". */
const UNVALIDATED_REASSEMBLIES = 128
const UNPROVEN_FRAGMENTS_PER_SECOND = 200
const UNVALIDATED_HALF_OPEN = 128
const LOAD_SHARE = 0.2
/** [WG] UnderLoadAfterTime. */
const LOAD_STAYS: Duration = second
const SHARE_WINDOW: Duration = 100 * millisecond
/** Share of a core for COOKIEs; beyond it some are not sent, so that no global count can be used to starve honest peers. */
const COOKIE_SHARE = 0.2

/** Whether the node is under load, and what of a core handshakes may take. Costs are the provider's, added up: the core reads no CPU clock. */
export class LoadMeter {
  readonly #share: number
  #underUntil: Instant = toInstant(-1)
  #budget: Duration
  #cookieBudget: Duration = SHARE_WINDOW * COOKIE_SHARE
  #refilledAt: Instant
  /** Second that is being counted. */
  #windowStart: Instant
  #fragments = 0
  #spent: Duration = 0
  #spentBefore: Duration = 0
  readonly #random: () => number

  /** @param random 0 ≤ x < 1 */
  constructor(now: Instant, share: number, random: () => number) {
    this.#random = random
    this.#share = share
    this.#budget = SHARE_WINDOW * share
    this.#refilledAt = now
    this.#windowStart = now
  }

  /** An A fragment without a valid mac2 came. */
  countUnproven(now: Instant): void {
    this.#roll(now)
    this.#fragments++
  }

  underLoad(now: Instant, reassemblies: number, halfOpen: number): boolean {
    this.#roll(now)
    const loaded = reassemblies > UNVALIDATED_REASSEMBLIES || this.#fragments > UNPROVEN_FRAGMENTS_PER_SECOND || halfOpen > UNVALIDATED_HALF_OPEN
      || Math.max(this.#spent, this.#spentBefore) > Math.max(LOAD_SHARE, this.#share * 0.8) * second
    if (loaded) this.#underUntil = toInstant(now + LOAD_STAYS)
    return now < this.#underUntil
  }

  /** Takes `cost` from the handshake share, if it is there. */
  take(now: Instant, cost: Duration): boolean {
    this.#refill(now)
    if (this.#budget <= 0) return false
    this.spend(now, cost)
    return true
  }

  /** Work that turned out to be due after {@link take} said yes. */
  spend(now: Instant, cost: Duration): void {
    this.#budget -= cost
    this.#roll(now)
    this.#spent += cost
  }

  /** When {@link take} says yes again. */
  nextAt(now: Instant): Instant {
    return this.#budget > 0 ? now : toInstant(this.#refilledAt + (1 - this.#budget) / this.#share)
  }

  /**
   * Takes the cost of a COOKIE. With half of the share used up it is a random choice, the less likely the less is left: who
   * comes at the right moment gains nothing, and an honest peer gets its part of whatever is sent.
   */
  takeCookie(now: Instant, cost: Duration): boolean {
    this.#refill(now)
    const left = this.#cookieBudget / (SHARE_WINDOW * COOKIE_SHARE)
    if (this.#cookieBudget < cost || left < this.#random() / 2) return false
    this.#cookieBudget -= cost
    return true
  }

  #refill(now: Instant): void {
    const elapsed = now - this.#refilledAt
    this.#refilledAt = now
    this.#budget = Math.min(SHARE_WINDOW * this.#share, this.#budget + elapsed * this.#share)
    this.#cookieBudget = Math.min(SHARE_WINDOW * COOKIE_SHARE, this.#cookieBudget + elapsed * COOKIE_SHARE)
  }

  #roll(now: Instant): void {
    if (now - this.#windowStart < second) return
    this.#spentBefore = now - this.#windowStart < 2 * second ? this.#spent : 0
    this.#spent = 0
    this.#fragments = 0
    this.#windowStart = now
  }
}

const TABLE_SIZE = 8192
const FRAGMENTS_PER_SECOND = 40
const FRAGMENT_BURST = 16
/** /24 and /48 may take this many times what one source may. */
const NETWORK_FACTOR = 8

/**
 * Token buckets per source prefix (v4 /32 and /24, v6 /64 and /48) in one fixed table of 96 KiB under a keyed hash: no state
 * per source, and nobody who does not know the key can aim at another's bucket.
 */
export class PrefixBuckets {
  readonly #tokens = new Float32Array(TABLE_SIZE).fill(1)
  readonly #times = new Float64Array(TABLE_SIZE)
  readonly #key: Uint32Array

  /** @param key 4 random words */
  constructor(key: Uint32Array) {
    this.#key = key
  }

  /** Whether a fragment from this address is within its prefixes' rates. Loopback is exempt. */
  take(now: Instant, address: Uint8Array, offset: number): boolean {
    if (isLoopback(address, offset)) return true
    const four = isIPv4(address, offset)
    const host = this.#slot(address, offset, four ? 16 : 8, 1)
    const network = this.#slot(address, offset, four ? 15 : 6, 2)
    return this.#spend(now, host, 1) && this.#spend(now, network, NETWORK_FACTOR)
  }

  /** Tokens are kept as shares of the burst, 0 … 1, so that one table serves both prefix lengths; a new slot is full. */
  #spend(now: Instant, slot: number, factor: number): boolean {
    const burst = FRAGMENT_BURST * factor
    const at = now / second
    const elapsed = Math.max(0, at - this.#times[slot]!)
    const share = Math.min(1, this.#tokens[slot]! + (elapsed * FRAGMENTS_PER_SECOND * factor) / burst)
    this.#times[slot] = at
    if (share * burst < 1) {
      this.#tokens[slot] = share
      return false
    }
    this.#tokens[slot] = share - 1 / burst
    return true
  }

  #slot(address: Uint8Array, offset: number, bytes: number, salt: number): number {
    let a = this.#key[0]! ^ salt
    let b = this.#key[1]!
    for (let i = 0; i < bytes; i++) {
      a = Math.imul(a ^ address[offset + i]!, 0x9e37_79b1) + b
      b = (Math.imul(b, 0x85eb_ca6b) ^ (a >>> 13)) + this.#key[2]!
      a ^= b << 7
    }
    return ((a ^ (b >>> 5) ^ this.#key[3]!) >>> 0) % TABLE_SIZE
  }
}

function isLoopback(address: Uint8Array, offset: number): boolean {
  if (isIPv4(address, offset)) return address[offset + 12] === 127
  for (let i = 0; i < 15; i++) {
    if (address[offset + i] !== 0) return false
  }
  return address[offset + 15] === 1
}
