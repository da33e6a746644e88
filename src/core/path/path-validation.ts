import { equalConstantTime } from '../base/bytes.ts'
import { after, millisecond, never, type Duration, type Instant } from '../base/time.ts'

/** Challenges that may be open on one path: a response to any of them validates it. The oldest makes room. */
export const CHALLENGES_OPEN = 3
/** WIRE.md §5: probes to a candidate that never answered, and the size of each. */
const PROBES_MAX = 5
const PROBE_SIZE_MAX = 64
/** How long a path may take to answer its challenges before it is given up: max(1 s, 3 PTO) (WIRE.md §6). */
const VALIDATION_TIME: Duration = 1000 * millisecond

/**
 * Whether the peer can be reached at one address (RFC 9000 §8.2): PATH_CHALLENGE carries 8 random bytes, different each time,
 * and only a PATH_RESPONSE with them proves it. Until then at most as many bytes go there as authenticated ones came from
 * there (factor 1: no amplification).
 *
 * States: unknown → (challenge) → challenged → (response) → validated; challenged → (time out) → failed; failed → (challenge) → …
 */
export class PathValidation {
  state: 'unknown' | 'challenged' | 'validated' | 'failed' = 'unknown'
  /** Bytes of authenticated datagrams received from there, and bytes sent there, while not validated. */
  bytesReceived = 0
  bytesSent = 0
  #granted = 0
  #once = false
  #copyAfter: Duration | undefined
  #open: { readonly data: Uint8Array; readonly at: Instant }[] = []
  #retryAt: Instant = never
  #failAt: Instant = never
  /** When the first challenge of this round was sent. */
  challengedAt: Instant = never
  /** The last round of challenges went without an answer. */
  unanswered = false
  /** A challenge is to go in the next datagram to this address. */
  wanted = false

  get validated(): boolean {
    return this.state === 'validated'
  }

  /** Bytes that may be sent to this address now. */
  get budget(): number {
    return this.validated ? Infinity : this.bytesReceived + this.#granted - this.bytesSent
  }

  /** It is a candidate: a few small probes may go there without anything having come from there. */
  grantProbes(): void {
    this.#granted = PROBES_MAX * PROBE_SIZE_MAX
  }

  /** One more small probe may go there. */
  grantProbe(): void {
    this.#granted += PROBE_SIZE_MAX
  }

  /** Somebody answers at this address, as a connection with it shows: nothing that is sent there goes to a third party. */
  liftBudget(): void {
    this.#granted = Infinity
  }

  /**
   * Begins a round of validation; a validated path stays so until the round fails. `once`: the challenge is not repeated within it.
   * `copyAfter`: the first repetition does not wait for a probe timeout, so that one lost datagram is not taken for silence.
   */
  begin(once = false, copyAfter?: Duration): void {
    this.wanted = true
    this.#once = once
    this.#copyAfter = copyAfter
  }

  /** The challenge to send now. `data` is 8 fresh random bytes, which this object keeps. */
  challenge(now: Instant, data: Uint8Array, pto: Duration): void {
    this.wanted = false
    // Single challenges that follow one another are rounds of their own, though the last one had no time to fail.
    if (this.#once) this.#open = []
    else if (this.#open.length === CHALLENGES_OPEN) this.#open.shift()
    this.#open.push({ data, at: now })
    if (this.#failAt === never || this.#once) {
      this.unanswered = false
      this.challengedAt = now
      this.#failAt = after(now, Math.max(VALIDATION_TIME, 3 * pto))
    }
    this.#retryAt = this.#once ? never : after(now, Math.min(this.#copyAfter ?? pto, pto, VALIDATION_TIME / 3))
    this.#copyAfter = undefined
    if (this.state !== 'validated') this.state = 'challenged'
  }

  /** Gives the oldest challenge up for that of another path, unless it is the only one. */
  yieldOldest(): boolean {
    if (this.#open.length < 2) return false
    this.#open.shift()
    return true
  }

  /** When `data` answers an open challenge, the path is validated: how long the answer took. */
  respond(now: Instant, data: Uint8Array): Duration | undefined {
    const answered = this.#open.find((open) => equalConstantTime(open.data, data))
    if (answered === undefined) return undefined
    this.validate()
    return now - answered.at
  }

  /** The address proved itself in another way (the handshake used only this one, a connected link). */
  validate(): void {
    this.state = 'validated'
    this.unanswered = false
    this.#end()
  }

  /** Whether a challenge waits for its answer. */
  get pending(): boolean {
    return this.#failAt !== never
  }

  /** Whether it proved itself and nothing asks for another proof: no challenge is wanted, open or unanswered. */
  get sound(): boolean {
    return this.validated && !this.wanted && !this.pending && !this.unanswered
  }

  /** Challenges that wait for an answer. */
  get open(): number {
    return this.#open.length
  }

  timeout(): Instant {
    return this.#retryAt < this.#failAt ? this.#retryAt : this.#failAt
  }

  /**
   * Repeats the challenge or gives the round up. Returns whether the round failed just now. What was validated before stays
   * so: silence is then the affair of liveness, not of amplification.
   */
  handleTimeout(now: Instant): boolean {
    if (now >= this.#failAt) {
      if (this.state !== 'validated') this.state = 'failed'
      this.unanswered = true
      this.#end()
      return true
    }
    if (now >= this.#retryAt) {
      this.#retryAt = never
      this.wanted = true
    }
    return false
  }

  #end(): void {
    this.#open = []
    this.#retryAt = never
    this.#failAt = never
    this.challengedAt = never
    this.wanted = false
  }
}
