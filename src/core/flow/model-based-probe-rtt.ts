import { after, millisecond, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { PathModel } from './model-based-path.ts'
import type { AckSample } from './congestion.ts'

/** BBR.ProbeRTTCwndGain: what is in flight is halved. */
export const PROBE_RTT_GAIN = 0.5
/** How long it stays so; 200 ms in the draft. */
const HOLD_TIME: Duration = 100 * millisecond
/** Rounds that saw nothing but a queue before the minimum is looked at early, and the least time between two looks. */
const QUEUED_ROUNDS = 8
const SPACING: Duration = 3 * second
/** A look that found less than this multiple of the minimum, beside what was held in flight, has emptied the queue. */
const OWN_QUEUE = 1.5
/** Two looks that agree within this share found a longer path, not somebody's queue. */
const SAME_RTT = 1 / 8

/** One look at the bare round trip (draft-ietf-ccwg-bbr §5.3.4): state ProbeRTT. */
export class ProbeRtt {
  /** The minimum had not expired yet. */
  readonly early: boolean
  readonly windowBefore: number
  /** The window, on its way to the target. */
  room: number
  /** What was delivered under pressure, if that is why; else 0. */
  pressedRate: number
  /** Least round trip while little was in flight; Infinity while none was seen. */
  best: Duration = Infinity
  #target: number
  readonly #least: number
  readonly #startedAt: Instant
  #doneAt: Instant = never
  #roundDone = false

  /** @param rate that the path is believed to deliver @param least window in bytes */
  constructor(now: Instant, early: boolean, pressedRate: number, rate: number, minRtt: Duration, least: number, inFlight: number, window: number) {
    this.early = early
    this.windowBefore = window
    this.pressedRate = pressedRate
    this.#least = least
    this.#startedAt = now
    this.#target = Math.max(PROBE_RTT_GAIN * rate * minRtt, least)
    // A full queue under pressure holds back what is sent now just as we would: then nothing is sent until it is gone.
    this.room = pressedRate > 0 ? this.#target : inFlight
  }

  /**
   * Half of what is acknowledged is sent until the target is reached, so that a game never stands still as it would with the
   * draft's cut; then the target is held for a round and {@link HOLD_TIME}. True when the look is over.
   */
  onAcked(sample: AckSample, model: PathModel, inFlight: number): boolean {
    if (this.pressedRate > 0 && sample.sentAt <= this.#startedAt && sample.deliveryRate > 0) {
      // Sent into the full queue: the nearer to its end, the truer its rate.
      this.pressedRate = sample.deliveryRate
      this.#target = Math.max(PROBE_RTT_GAIN * sample.deliveryRate * model.roundTrip, this.#least)
    }
    this.room = Math.max(this.#target, Math.min(this.room, inFlight + sample.bytes / 2))
    if (this.#doneAt === never) {
      if (inFlight > this.#target) return false
      this.#doneAt = after(sample.now, HOLD_TIME)
      model.startRound(sample.deliveredTotal)
      return false
    }
    this.best = Math.min(this.best, model.rttLatest)
    if (model.roundStart) this.#roundDone = true
    return this.#roundDone && sample.now >= this.#doneAt
  }

  /** Whether the queue went when we stopped: then it was ours. */
  emptied(minRtt: Duration): boolean {
    return this.best < OWN_QUEUE * minRtt + (this.pressedRate > 0 ? this.#target / this.pressedRate : 0)
  }
}

/** When a look is due, and what it means for the minimum. */
export class ProbeRttSchedule {
  #lastAt: Instant = toInstant(-SPACING)
  #lastEarly: Duration = 0
  /** Rounds in a row, outside of Startup, that were not application-limited and saw only a queue. */
  #queuedRounds = 0

  onRound(queued: boolean): void {
    this.#queuedRounds = queued ? this.#queuedRounds + 1 : 0
  }

  /** Before the minimum expires: a queue that stays, or is more than the flow can have made. */
  isEarly(now: Instant, pressed: boolean): boolean {
    return now - this.#lastAt > SPACING && (pressed || this.#queuedRounds >= QUEUED_ROUNDS)
  }

  /**
   * An expired minimum is replaced by what was seen. An early look may only lower it, unless the look before it saw the same:
   * raising it for somebody else's queue would raise everybody's window, time and again.
   */
  conclude(now: Instant, probe: ProbeRtt, model: PathModel): void {
    const before = model.roundTrip
    const same = Math.abs(probe.best - this.#lastEarly) < SAME_RTT * probe.best
    if (!probe.early || (same && !probe.emptied(before))) model.takeMinRtt(now, probe.best)
    this.#lastAt = now
    this.#lastEarly = probe.best
    this.#queuedRounds = 0
  }
}
