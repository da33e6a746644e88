import { second, toInstant, type Duration, type Instant } from '../base/time.ts'

/** BBR.bw_probe_wait: 2 to 3 s … */
const WAIT_MIN: Duration = 2 * second
const WAIT_SPREAD: Duration = second
/** … or as many rounds as a Reno flow would take to regain what a loss cost it, at most 63. */
const ROUNDS_MAX = 63

/** When the next bandwidth probe is due (draft-ietf-ccwg-bbr §5.3.3.6, "PickProbeWait"). */
export class ProbeCycle {
  /** Rounds since the last probe ended. */
  rounds = 0
  #startedAt: Instant = toInstant(0)
  #wait: Duration = 0
  #seed: number

  /** @param seed any number: the probes of flows that share a link must not keep step */
  constructor(seed: number) {
    this.#seed = (seed | 0) === 0 ? 1 : seed | 0
  }

  restart(now: Instant): void {
    this.rounds = this.#random() < 0.5 ? 0 : 1
    this.#wait = WAIT_MIN + this.#random() * WAIT_SPREAD
    this.#startedAt = now
  }

  /** @param datagrams that the flow wants in flight */
  isDue(now: Instant, datagrams: number): boolean {
    return now - this.#startedAt > this.#wait || this.rounds >= Math.min(datagrams, ROUNDS_MAX)
  }

  /** 0 ≤ x < 1, from a xorshift. */
  #random(): number {
    let x = this.#seed
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#seed = x
    return (x >>> 0) / 0x1_0000_0000
  }
}

/** BBR's full pipe estimator: less growth than this in so many rounds is a plateau. */
const GROWTH = 1.25
const ROUNDS = 3

/** Whether sending faster still delivers more (draft-ietf-ccwg-bbr §5.3.1.2). */
export class FullPipe {
  /** BBR.full_bw_reached: ever. */
  reached = false
  /** BBR.full_bw_now: since the last {@link restart}. */
  now = false
  #rate = 0
  #rounds = 0

  restart(rate: number): void {
    this.now = false
    this.#rate = rate
    this.#rounds = 0
  }

  /**
   * A round that was not application-limited delivered at most `rate`. With a queue in sight it counts twice: a plateau and a
   * queue at once are not receiver tuning, which is what the draft's third round waits for.
   */
  onRound(rate: number, queue: boolean): void {
    if (this.now) return
    if (rate >= GROWTH * this.#rate) {
      this.restart(rate)
      return
    }
    this.#rounds += queue ? 2 : 1
    if (this.#rounds < ROUNDS) return
    this.now = true
    this.reached = true
  }
}
