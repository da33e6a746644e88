/** BBR.LossThresh: loss a flow may cause in a round trip. */
const LOSS_THRESHOLD = 0.02
/** Loss beyond this is never taken for the path's own. */
const FLOOR_MAX = 0.15
/** Packets of one measurement of the floor: at 2 %, five of them lost. */
const FLOOR_PACKETS = 256
/** Spread allowed around the expected number of losses, in standard deviations of a Poisson count. */
const SPREAD = 1.5

/**
 * Tells loss that the flow causes from loss that the path has anyway. Not in the draft, whose 2 % of a round is a single packet on
 * most links a game sees: on a path with 2 % random loss its every probe would end at once. The floor is the rate at which packets
 * are lost while the flow sends no faster than the path delivers and the round trip shows no queue, in the better of two
 * measurements in a row: congestion comes and goes, a bad radio link stays.
 */
export class LossJudge {
  #previous = 0
  #last = 0
  #packets = 0
  #lost = 0

  /** Share of packets that the path loses whatever is sent, 0 … {@link FLOOR_MAX}. */
  get floor(): number {
    return Math.min(this.#previous, this.#last, FLOOR_MAX)
  }

  /** A round in which the flow did not probe and no queue was seen; packets may be fractions. */
  addQuietRound(lostPackets: number, ackedPackets: number): void {
    this.#packets += lostPackets + ackedPackets
    this.#lost += lostPackets
    if (this.#packets < FLOOR_PACKETS) return
    this.#previous = this.#last
    this.#last = this.#lost / this.#packets
    this.#packets = 0
    this.#lost = 0
  }

  /**
   * Whether so many lost out of so many sent say that less must be sent. With a queue in sight the draft's rule holds; without one
   * it takes more than chance, and more than one packet.
   */
  tooMuch(lostPackets: number, sentPackets: number, queue: boolean): boolean {
    const allowed = (this.floor + LOSS_THRESHOLD) * sentPackets
    if (queue) return lostPackets > allowed
    return lostPackets >= 2 && lostPackets > allowed + SPREAD * Math.sqrt(allowed)
  }
}
