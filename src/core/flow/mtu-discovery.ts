import { after, millisecond, minute, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'

/** WIRE.md §6: sizes probed above the base, in bytes of plaintext; multiples of 64. 1408 → 1437 fits 1472 (IPv4) and 1452 (IPv6). */
export const MTU_LADDER: readonly number[] = [1408, 4096, 8192, 16_320]
/** Header and tag around the plaintext of a datagram. */
export const DATAGRAM_OVERHEAD = 29
/** RELAY_DATA around an inner datagram: type, flow. */
const RELAY_OVERHEAD = 5
/** RFC 8899 §5.1.2 MAX_PROBES. */
const PROBES_MAX = 3
/** RFC 8899 §5.1.1 PMTU_RAISE_TIMER. */
const RAISE_TIME: Duration = 10 * minute
/** WIRE.md §6: after a black hole. */
const BLACK_HOLE_TIME: Duration = minute
/**
 * Lost datagrams above the base, each sent after the loss of the one before it was noticed, none acknowledged after them, that make a
 * black hole. One burst is not enough: a queue that overflows drops large datagrams in a row and still finds room for small ones.
 */
const BLACK_HOLE_LOSSES = 3
/** A probe that is neither acknowledged nor declared lost counts as lost: RFC 8899 §5.1.1 PROBE_TIMER, ≥ 1 s. The greatest PTO. */
const PROBE_TIME: Duration = 5 * second
/** Large datagrams that went unanswered while the next small one was answered: as good as {@link BLACK_HOLE_LOSSES} rounds of losses. */
const SILENT_LARGE = 3
/** Between two tries, so that one burst of loss does not take all three (RFC 8899 §8: at least a round trip). */
const RETRY_TIME: Duration = 500 * millisecond

/** Plaintext of an inner datagram that is relayed in one of `outer` bytes of plaintext (WIRE.md §6): 1152 → 1088, 1408 → 1344. */
export function relayedSize(outer: number): number {
  return Math.floor((outer - RELAY_OVERHEAD - DATAGRAM_OVERHEAD) / 64) * 64
}

/** Sizes in bytes of plaintext. */
export interface MtuOptions {
  /** 1152, or what the carrier leaves of it: {@link relayedSize}; the same in TURN, whose 4 bytes fit beside it. */
  readonly base: number
  /** Largest the link and the peer's max_datagram allow; may be below the base (BLE). */
  readonly ceiling: number
  /** The link does not fragment: a datagram arrives whole or not at all. Without that, probing says nothing and stays off. */
  readonly enabled: boolean
  /** {@link MTU_LADDER}, rising; what the carrier leaves of it on a relayed path. */
  readonly ladder?: readonly number[]
}

/**
 * Off. Searching ─sent─► Probing ─acked─► Searching (next rung); ─lost─► Searching (again, at most 3 times) ─► Complete
 * Complete ─600 s─► Searching. Any ─black hole─► Waiting ─60 s─► Searching from the base.
 * Any ─silence─► Searching from the base, at once; if its first rung fails ─► Waiting.
 */
type State =
  | { readonly kind: 'off' }
  | { readonly kind: 'searching'; readonly tries: number; readonly notBefore: Instant }
  | { readonly kind: 'probing'; readonly tries: number; readonly order: number; readonly sentAt: Instant }
  | { readonly kind: 'complete'; readonly againAt: Instant }
  | { readonly kind: 'waiting'; readonly searchAt: Instant }

/** What an event did to the size in use. */
export type SizeChange = 'same' | 'raised' | 'lowered'

/**
 * Path MTU discovery of one path (RFC 8899 and WIRE.md §6). A state machine: it says what to probe with (PING and padding to
 * that size, in flight and acknowledged like anything else), and is told what becomes of every datagram above the base. The
 * loss of a probe is no congestion event (RFC 9000 §14.4): ask {@link isProbe} before the controller is told.
 */
export class MtuDiscovery {
  readonly #base: number
  readonly #ladder: readonly number[]
  #ceiling: number
  /** What a driver refused (EMSGSIZE) is above this; forgotten at the next search from Complete. */
  #refusedAbove = Infinity
  #state: State
  /** Rungs confirmed: the size in use is the last of them, or the base. */
  #rung = 0
  /** The last probe, whatever was thought of it: its acknowledgement may come late. */
  #lastProbe = -1
  #lastProbeRung = 0
  /** A large datagram that passed, the longest of late: what is no longer and was sent before it was not lost for its size. */
  #passed = { order: -1, length: 0 }
  #losses = 0
  /** The shortest of these: only what is as long shows that they were none of the size. */
  #lossLeast = Infinity
  /** When the last of these was noticed. */
  #lossAt: Instant = toInstant(-1)
  /** The search began because of a silence: whether that was about the size is what it finds out. */
  #suspected = false
  /** A silence was not about the size: the next one is not taken for that before then. */
  #trustUntil: Instant = toInstant(0)

  constructor(options: MtuOptions, now: Instant) {
    this.#base = options.base
    this.#ladder = options.ladder ?? MTU_LADDER
    this.#ceiling = options.ceiling
    this.#state = options.enabled ? { kind: 'searching', tries: 0, notBefore: now } : { kind: 'off' }
  }

  /** Bytes of plaintext a datagram may have. */
  get size(): number {
    return this.#rung === 0 ? Math.min(this.#base, this.#ceiling) : this.#ladder[this.#rung - 1]!
  }

  /** Datagrams up to this many bytes on the wire need not be told to {@link onAcked} and {@link onLost}. */
  get baseDatagram(): number {
    return this.#base + DATAGRAM_OVERHEAD
  }

  get state(): State['kind'] {
    return this.#state.kind
  }

  /** Plaintext size of a probe to send now, 0 for none. Whoever sends it says so by {@link onProbeSent}. */
  nextProbe(now: Instant): number {
    this.handleTimeout(now)
    if (this.#state.kind !== 'searching' || now < this.#state.notBefore) return 0
    return this.#nextSize(now)
  }

  /** @param order under which its acknowledgement or loss will be told */
  onProbeSent(now: Instant, order: number): void {
    if (this.#state.kind !== 'searching') return
    this.#lastProbe = order
    this.#lastProbeRung = this.#rung + 1
    this.#state = { kind: 'probing', tries: this.#state.tries + 1, order, sentAt: now }
  }

  isProbe(order: number): boolean {
    return order === this.#lastProbe
  }

  /** A datagram of `length` bytes, a probe or not, is acknowledged. Orders rise with time. */
  onAcked(now: Instant, order: number, length: number): SizeChange {
    if (length > this.baseDatagram && order > this.#passed.order) this.#notePassed(order, length)
    if (order !== this.#lastProbe || this.#lastProbeRung !== this.#rung + 1 || this.#state.kind === 'waiting') return 'same'
    if (this.#ladder[this.#rung]! > this.#most) return 'same'
    this.#rung++
    if (this.#suspected) this.#trustUntil = after(now, BLACK_HOLE_TIME)
    this.#suspected = false
    this.#state = { kind: 'searching', tries: 0, notBefore: now }
    this.#nextSize(now)
    return 'raised'
  }

  /** What is at least as long clears those lost before it; a shorter one says nothing of them. */
  #notePassed(order: number, length: number): void {
    if (length >= this.#lossLeast) {
      this.#losses = 0
      this.#lossLeast = Infinity
    }
    if (length >= this.#passed.length || this.#losses === 0) this.#passed = { order, length }
  }

  /**
   * Nothing was acknowledged for a probe timeout; then a datagram up to the base was, and `large` longer ones sent before it were not. One
   * queue that overflowed looks the same, so the size is searched again at once: where it passes, that costs a round trip at the base.
   */
  onSilence(now: Instant, large: number): SizeChange {
    if (large < SILENT_LARGE || this.#rung === 0 || this.#state.kind === 'off' || now < this.#trustUntil) return 'same'
    this.#fall(now)
    this.#suspected = true
    this.#state = { kind: 'searching', tries: 0, notBefore: now }
    return 'lowered'
  }

  /** A datagram of `length` bytes, a probe or not, is declared lost: by those after it, by time, or by a probe timeout. */
  onLost(now: Instant, order: number, length: number, sentAt: Instant): SizeChange {
    if (order === this.#lastProbe) {
      if (this.#state.kind === 'probing') this.#probeFailed(now, this.#state.tries)
      return 'same'
    }
    // Random loss is found by larger numbers acknowledged: if one of those was as large, large ones pass.
    if (length <= this.baseDatagram || this.#rung === 0 || this.#state.kind === 'off') return 'same'
    if (order < this.#passed.order && length <= this.#passed.length) return 'same'
    this.#lossLeast = Math.min(this.#lossLeast, length)
    if (this.#losses > 0 && sentAt <= this.#lossAt) return 'same'
    this.#lossAt = now
    if (++this.#losses < BLACK_HOLE_LOSSES) return 'same'
    return this.#fall(now)
  }

  /** A driver refused a datagram of `length` bytes on the wire: nothing that large goes for now (RFC 8899 §4.6, a PTB of our own). */
  onTooLarge(now: Instant, length: number): SizeChange {
    const before = this.size
    this.#refusedAbove = Math.min(this.#refusedAbove, length - 1 - DATAGRAM_OVERHEAD)
    this.#fit(now)
    if (this.#state.kind === 'complete') this.#state = { kind: 'complete', againAt: after(now, RAISE_TIME) }
    return compare(before, this.size)
  }

  /** The link or the peer allows another size. */
  setCeiling(now: Instant, ceiling: number): SizeChange {
    const before = this.size
    const more = ceiling > this.#ceiling
    this.#ceiling = ceiling
    this.#fit(now)
    if (more && this.#state.kind === 'complete') this.#state = { kind: 'searching', tries: 0, notBefore: now }
    return compare(before, this.size)
  }

  /** The path is another one under the same name: from the base again. */
  restart(now: Instant): SizeChange {
    if (this.#state.kind === 'off') return 'same'
    const before = this.size
    this.#toBase()
    this.#suspected = false
    this.#refusedAbove = Infinity
    this.#state = { kind: 'searching', tries: 0, notBefore: now }
    return compare(before, this.size)
  }

  /** When {@link nextProbe} may have another answer; `never` while an acknowledgement is awaited or nothing is left to find. */
  timeout(): Instant {
    const state = this.#state
    switch (state.kind) {
      case 'off': return never
      case 'searching': return state.notBefore
      case 'probing': return after(state.sentAt, PROBE_TIME)
      case 'complete': return state.againAt
      case 'waiting': return state.searchAt
    }
  }

  handleTimeout(now: Instant): void {
    const state = this.#state
    if (state.kind === 'probing' && now >= after(state.sentAt, PROBE_TIME)) this.#probeFailed(now, state.tries)
    else if (state.kind === 'complete' && now >= state.againAt) {
      this.#refusedAbove = Infinity
      this.#state = { kind: 'searching', tries: 0, notBefore: now }
    } else if (state.kind === 'waiting' && now >= state.searchAt) this.#state = { kind: 'searching', tries: 0, notBefore: now }
  }

  get #most(): number {
    return Math.min(this.#ceiling, this.#refusedAbove)
  }

  /** Size of the next rung; with none left the search is complete. */
  #nextSize(now: Instant): number {
    const size = this.#ladder[this.#rung]
    if (size === undefined) {
      this.#state = { kind: 'complete', againAt: never }
      return 0
    }
    if (size <= this.#most) return size
    // A driver's refusal is worth another look later; the link's and the peer's word is not.
    this.#state = { kind: 'complete', againAt: size <= this.#ceiling ? after(now, RAISE_TIME) : never }
    return 0
  }

  #probeFailed(now: Instant, tries: number): void {
    if (tries < PROBES_MAX) this.#state = { kind: 'searching', tries, notBefore: after(now, RETRY_TIME) }
    else if (this.#suspected) this.#fall(now)
    else this.#state = { kind: 'complete', againAt: after(now, RAISE_TIME) }
  }

  #fall(now: Instant): SizeChange {
    this.#toBase()
    this.#suspected = false
    this.#state = { kind: 'waiting', searchAt: after(now, BLACK_HOLE_TIME) }
    return 'lowered'
  }

  #toBase(): void {
    this.#rung = 0
    this.#losses = 0
    this.#lossLeast = Infinity
    this.#lastProbe = -1
  }

  /** Goes down to what is allowed; a probe above it is not waited for. */
  #fit(now: Instant): void {
    while (this.#rung > 0 && this.#ladder[this.#rung - 1]! > this.#most) this.#rung--
    if (this.#state.kind === 'probing' && this.#ladder[this.#lastProbeRung - 1]! > this.#most) this.#probeFailed(now, PROBES_MAX)
  }
}

function compare(before: number, after: number): SizeChange {
  if (before === after) return 'same'
  return after > before ? 'raised' : 'lowered'
}
