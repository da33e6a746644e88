import { millisecond, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import { MaxFilter } from './max-filter.ts'
import type { AckSample } from './congestion.ts'

/** BBR.MinRTTFilterLen: a minimum that was not seen again for so long is due for a fresh look. */
export const MIN_RTT_LIFE: Duration = 10 * second
/** A sample this close to the bare round trip confirms it: acks and timers add their noise, and an exact repetition is rare. */
const MIN_RTT_CONFIRMED = 17 / 16
/**
 * A shorter round trip is reckoned as this one. Below it timers, delayed acknowledgements and processes that wait for a core make the
 * round trip, not the path: reckoned with 100 µs, a loopback whose processes stall for 10 ms is throttled to a tenth.
 */
const ROUND_TRIP_LEAST: Duration = 10 * millisecond
/** BBR.ExtraAckedFilterLen = 10 rounds, as two periods. */
const EXTRA_ACKED_PERIOD = 5
/** Above this multiple of the minimum, plus noise, a packet stood in a queue. */
const QUEUE_FACTOR = 1.25
const QUEUE_NOISE: Duration = 2 * millisecond
/**
 * Pressure: a queue that the flow's own window cannot explain, while far less is delivered than the model says, for at least a
 * round trip and this long (a radio's pause is shorter).
 */
const PRESSURE_FACTOR = 2
const PRESSURE_NOISE: Duration = 10 * millisecond
const PRESSURE_RATE = 0.6
const PRESSURE_TIME: Duration = 25 * millisecond

/** What the samples say of the path (draft-ietf-ccwg-bbr §5.5 "Updating Network Path Model Parameters"). It decides nothing. */
export class PathModel {
  /** Packet-timed round trips so far; {@link roundStart} on the ACK that begins one. */
  rounds = 0
  roundStart = false
  #roundEnd = 0

  /** BBR.max_bw_filter, bytes per microsecond; its periods are ProbeBW cycles. */
  readonly bandwidth: MaxFilter = new MaxFilter()
  /** BBR.bw_latest, BBR.inflight_latest: greatest rate and volume delivered in the round that now ends. */
  rateLatest = 0
  deliveredLatest = 0

  minRtt: Duration = Infinity
  #minRttAt: Instant = toInstant(0)
  rttLatest: Duration = 0
  /** Least sample of the last finished round, and of the current one. */
  lastRoundRtt: Duration = 0
  #roundRtt: Duration = Infinity
  /** Least sample of the current and of the previous half of {@link MIN_RTT_LIFE}. */
  #recentRtt: Duration = Infinity
  #olderRtt: Duration = Infinity
  #recentAt: Instant = toInstant(0)

  /** BBR.extra_acked: bytes acknowledged beyond what the rate explains, greatest of late. */
  readonly #extraAcked = new MaxFilter()
  #extraPeriodAt = 0
  #extraSince: Instant = toInstant(0)
  #extraDelivered = 0

  /** Bytes acknowledged and lost in the current round, and whether any sample of it was application-limited. */
  roundAcked = 0
  roundLost = 0
  roundAppLimited = false

  /** Since when there is pressure, and the greatest rate delivered under it. */
  #pressedSince: Instant | undefined
  #pressedRate = 0

  /** The bare round trip, as everything here reckons with it. */
  get roundTrip(): Duration {
    return Math.max(this.minRtt, ROUND_TRIP_LEAST)
  }

  get maxRate(): number {
    return this.bandwidth.value
  }

  get extraAcked(): number {
    return this.#extraAcked.value
  }

  /** The newest packet acknowledged stood in a queue. */
  get queueNow(): boolean {
    return this.#isQueued(this.rttLatest)
  }

  /** Every packet of the last finished round did. */
  get queueLastRound(): boolean {
    return this.#isQueued(this.lastRoundRtt)
  }

  /**
   * @param rate what the controller believes the path delivers @param window its window
   * @param appLimited the sample is application-limited, or is to be taken for it
   */
  update(sample: AckSample, rate: number, window: number, appLimited: boolean): void {
    this.roundStart = sample.priorDelivered >= this.#roundEnd
    if (this.roundStart) {
      this.startRound(sample.deliveredTotal)
      this.rounds++
      this.lastRoundRtt = this.#roundRtt
      this.#roundRtt = Infinity
    }
    this.rateLatest = Math.max(this.rateLatest, sample.deliveryRate)
    this.deliveredLatest = Math.max(this.deliveredLatest, sample.delivered)
    if (sample.deliveryRate > 0 && (!appLimited || sample.deliveryRate >= this.maxRate)) this.bandwidth.update(sample.deliveryRate)
    this.roundAcked += sample.bytes
    if (appLimited) this.roundAppLimited = true
    this.#updateRtt(sample.now, sample.rtt)
    this.#updatePressure(sample, rate, appLimited)
    this.#updateExtraAcked(sample, rate, window)
  }

  /** The ACK is dealt with: what counted the finished round begins anew ("AdvanceLatestDeliverySignals"). */
  finish(sample: AckSample, appLimited: boolean): void {
    if (!this.roundStart) return
    this.rateLatest = sample.deliveryRate
    this.deliveredLatest = sample.delivered
    this.roundAcked = sample.bytes
    this.roundLost = 0
    this.roundAppLimited = appLimited
  }

  /** Ends the current round with the last packet sent so far ("StartRound"). */
  startRound(deliveredTotal: number): void {
    this.#roundEnd = deliveredTotal
  }

  /** "ResetCongestionSignals". */
  resetSignals(): void {
    this.rateLatest = 0
    this.deliveredLatest = 0
    this.roundLost = 0
  }

  /** Nothing is in flight: the silence until the next ACK is no lack of acknowledgements. */
  restartExtraAcked(now: Instant): void {
    this.#extraSince = now
    this.#extraDelivered = 0
  }

  minRttExpired(now: Instant): boolean {
    return now - this.#minRttAt > MIN_RTT_LIFE
  }

  /** The minimum is what was measured for the purpose, be it more or less than before; Infinity keeps the old one. */
  takeMinRtt(now: Instant, rtt: Duration): void {
    if (rtt !== Infinity) this.minRtt = rtt
    this.#minRttAt = now
  }

  /** Least RTT of the last {@link MIN_RTT_LIFE}, at the least of half of it. */
  get recentMinRtt(): Duration {
    return Math.min(this.#recentRtt, this.#olderRtt)
  }

  /** The rate delivered under pressure that has lasted; 0 without. */
  pressedRate(now: Instant): number {
    if (this.#pressedSince === undefined || now - this.#pressedSince < Math.max(this.roundTrip, PRESSURE_TIME)) return 0
    return this.#pressedRate
  }

  #isQueued(rtt: Duration): boolean {
    return rtt > QUEUE_FACTOR * this.roundTrip + QUEUE_NOISE
  }

  #updateRtt(now: Instant, rtt: Duration): void {
    this.rttLatest = rtt
    if (rtt < this.#roundRtt) this.#roundRtt = rtt
    if (now - this.#recentAt > MIN_RTT_LIFE / 2) {
      this.#recentAt = now
      this.#olderRtt = this.#recentRtt
      this.#recentRtt = rtt
    } else if (rtt < this.#recentRtt) this.#recentRtt = rtt
    if (rtt < this.minRtt) {
      this.minRtt = rtt
      this.#minRttAt = now
    } else if (rtt <= MIN_RTT_CONFIRMED * this.roundTrip) this.#minRttAt = now
  }

  #updatePressure(sample: AckSample, rate: number, appLimited: boolean): void {
    const pressed = !appLimited && this.rttLatest > PRESSURE_FACTOR * this.roundTrip + PRESSURE_NOISE && sample.deliveryRate < PRESSURE_RATE * rate
    if (!pressed) {
      this.#pressedSince = undefined
      this.#pressedRate = 0
      return
    }
    this.#pressedSince ??= sample.now
    this.#pressedRate = Math.max(this.#pressedRate, sample.deliveryRate)
  }

  /** "UpdateACKAggregation". */
  #updateExtraAcked(sample: AckSample, rate: number, window: number): void {
    let expected = rate * (sample.now - this.#extraSince)
    if (this.#extraDelivered <= expected) {
      this.#extraDelivered = 0
      this.#extraSince = sample.now
      expected = 0
    }
    this.#extraDelivered += sample.bytes
    if (this.rounds - this.#extraPeriodAt >= EXTRA_ACKED_PERIOD) {
      this.#extraPeriodAt = this.rounds
      this.#extraAcked.advance()
    }
    this.#extraAcked.update(Math.min(this.#extraDelivered - expected, window))
  }
}
