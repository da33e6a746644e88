/** BBR.Beta: never a deeper cut at once than CUBIC's. */
const BETA = 0.7
/** BBR.Headroom: share of the long-term bound that is left to others outside of probes. */
const HEADROOM = 0.15
/** Below the delivered rate by this much, a standing queue drains. */
const QUEUE_DRAIN = 0.98
const UP_ROUNDS_MAX = 30

/**
 * What congestion allows beside the path model (draft-ietf-ccwg-bbr §5.5.10): short-term bounds, from loss and queues outside of
 * probes, forgotten at the next probe; and a long-term bound on what is in flight, from loss caused by probes.
 */
export class ModelBounds {
  /** BBR.bw_shortterm. */
  rateShort: number = Infinity
  /** Bound on pacing alone while a queue stands. Not in the draft: see {@link onQueue}. */
  rateQueue: number = Infinity
  /** BBR.inflight_shortterm. */
  inflightShort: number = Infinity
  /** BBR.inflight_longterm. */
  inflightLong: number = Infinity
  #upRounds = 0
  #upAcked = 0
  /** BBR.probe_up_acked_per_inc. */
  #upStep = Infinity
  #undoRate = Infinity
  #undoInflight = Infinity
  #undoLong = Infinity
  #episodeLost = 0
  #episodeSpurious = 0

  /** "LossLowerBounds", once a round: down towards what was delivered in it. */
  onLossRound(rateLatest: number, deliveredLatest: number, maxRate: number, window: number): void {
    this.rateShort = Math.max(rateLatest, BETA * Math.min(this.rateShort, maxRate))
    this.inflightShort = Math.max(deliveredLatest, BETA * Math.min(this.inflightShort, window))
  }

  /**
   * A round in which every packet stood in a queue: pace a little below what was delivered, instead of at the greatest rate of two
   * cycles, whose sum over several flows is more than the link. The window is not touched: if the round trip has become longer,
   * pacing at what is delivered costs nothing, while a window cut with it would spiral down.
   */
  onQueueRound(rateLatest: number, maxRate: number): void {
    this.rateQueue = QUEUE_DRAIN * Math.max(rateLatest, BETA * Math.min(this.rateQueue, maxRate))
  }

  /** "ResetShortTermModel". */
  resetShort(): void {
    this.rateShort = Infinity
    this.rateQueue = Infinity
    this.inflightShort = Infinity
  }

  /** A probe lost too much with so much in flight; `target` is what the flow wants there. */
  onTooHigh(inFlight: number, target: number): void {
    this.inflightLong = Math.max(inFlight, BETA * target)
  }

  /** "InflightWithHeadroom". */
  withHeadroom(datagram: number, least: number): number {
    if (this.inflightLong === Infinity) return Infinity
    return Math.max(this.inflightLong - Math.max(datagram, HEADROOM * this.inflightLong), least)
  }

  beginRefill(): void {
    this.resetShort()
    this.#upRounds = 0
    this.#upAcked = 0
  }

  /** "RaiseInflightLongtermSlope": the bound grows by 1, 2, 4, … datagrams in each round of a probe. */
  raiseSlope(window: number, datagram: number): void {
    this.#upStep = Math.max(window / 2 ** this.#upRounds, datagram)
    this.#upRounds = Math.min(this.#upRounds + 1, UP_ROUNDS_MAX)
  }

  /** So much went through without undue loss. */
  raiseTo(inFlight: number): void {
    if (this.inflightLong !== Infinity && inFlight > this.inflightLong) this.inflightLong = inFlight
  }

  /** "ProbeInflightLongtermUpward", while the bound is what holds the probe. */
  raiseByAcked(bytes: number, datagram: number): void {
    if (this.inflightLong === Infinity) return
    this.#upAcked += bytes
    const steps = Math.floor(this.#upAcked / this.#upStep)
    this.#upAcked -= steps * this.#upStep
    this.inflightLong += steps * datagram
  }

  /** A packet is lost; the first of a round begins an episode that may be undone ("SaveStateUponLoss"). */
  onPacketLost(bytes: number, firstOfRound: boolean): void {
    if (firstOfRound) {
      this.#episodeLost = 0
      this.#episodeSpurious = 0
      this.#undoRate = this.rateShort
      this.#undoInflight = this.inflightShort
      this.#undoLong = this.inflightLong
    }
    this.#episodeLost += bytes
  }

  /** All that an episode lost has arrived after all: its effects are taken back ("HandleSpuriousLossDetection"). */
  onSpurious(bytes: number): void {
    this.#episodeSpurious += bytes
    if (this.#episodeLost === 0 || this.#episodeSpurious < this.#episodeLost) return
    this.rateShort = Math.max(this.rateShort, this.#undoRate)
    this.inflightShort = Math.max(this.inflightShort, this.#undoInflight)
    this.inflightLong = Math.max(this.inflightLong, this.#undoLong)
  }
}
