// One empty array of each kind for all sessions.
const NO_DOUBLES = new Float64Array(0)
const NO_INTS = new Int32Array(0)
const NO_BYTES = new Uint8Array(0)

/**
 * What each packet in flight remembers of its path at the moment of sending (draft-ietf-ccwg-bbr §4.1.2, "Per-packet (P) state"):
 * rings beside those of `SentPackets`, which grows and releases them; 37 bytes a packet. Rows of packets that were not tracked
 * hold nothing.
 */
export class RateColumns {
  #mask = -1
  #delivered: Float64Array = NO_DOUBLES
  #deliveredTime: Float64Array = NO_DOUBLES
  #firstSentTime: Float64Array = NO_DOUBLES
  #lost: Float64Array = NO_DOUBLES
  #inFlight: Int32Array = NO_INTS
  #appLimited: Uint8Array = NO_BYTES

  set(order: number, delivered: number, deliveredTime: number, firstSentTime: number, lost: number, inFlight: number, appLimited: boolean): void {
    const i = order & this.#mask
    this.#delivered[i] = delivered
    this.#deliveredTime[i] = deliveredTime
    this.#firstSentTime[i] = firstSentTime
    this.#lost[i] = lost
    this.#inFlight[i] = inFlight
    this.#appLimited[i] = appLimited ? 1 : 0
  }

  /** P.delivered: what had been acknowledged on the path. */
  delivered(order: number): number {
    return this.#delivered[order & this.#mask]!
  }

  /** P.delivered_time: when the last of that was acknowledged. */
  deliveredTime(order: number): number {
    return this.#deliveredTime[order & this.#mask]!
  }

  /** P.first_sent_time: when the packet was sent whose acknowledgement that was. */
  firstSentTime(order: number): number {
    return this.#firstSentTime[order & this.#mask]!
  }

  /** P.lost: what had been declared lost. */
  lost(order: number): number {
    return this.#lost[order & this.#mask]!
  }

  /** P.tx_in_flight, this packet included. */
  inFlight(order: number): number {
    return this.#inFlight[order & this.#mask]!
  }

  appLimited(order: number): boolean {
    return this.#appLimited[order & this.#mask] === 1
  }

  /** Takes over the rows of `[base, next)` into rings of `capacity`, a power of two. */
  grow(capacity: number, base: number, next: number): void {
    const mask = capacity - 1
    const move = <T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T => {
      for (let order = base; order < next; order++) to[order & mask] = from[order & this.#mask]!
      return to
    }
    this.#delivered = move(this.#delivered, new Float64Array(capacity))
    this.#deliveredTime = move(this.#deliveredTime, new Float64Array(capacity))
    this.#firstSentTime = move(this.#firstSentTime, new Float64Array(capacity))
    this.#lost = move(this.#lost, new Float64Array(capacity))
    this.#inFlight = move(this.#inFlight, new Int32Array(capacity))
    this.#appLimited = move(this.#appLimited, new Uint8Array(capacity))
    this.#mask = mask
  }

  release(): void {
    this.#mask = -1
    this.#delivered = NO_DOUBLES
    this.#deliveredTime = NO_DOUBLES
    this.#firstSentTime = NO_DOUBLES
    this.#lost = NO_DOUBLES
    this.#inFlight = NO_INTS
    this.#appLimited = NO_BYTES
  }
}
