import { second, toInstant, type Duration, type Instant } from '../base/time.ts'
import { MaxFilter } from './max-filter.ts'
import type { AckSample, CongestionController } from './congestion.ts'

/** Bounds of the credit in bytes. */
export interface CreditBounds {
  readonly least: number
  readonly most: number
  /** Datagrams more, because the receiver acknowledges so many at once. */
  readonly together: number
}

/** WIRE.md §6: TCP, and TURN over it. */
export const TCP_CREDIT: CreditBounds = { least: 16_384, most: 65_536, together: 2 }
/** BLE carries 20 to 100 KB/s: TCP's least would be up to a second there. Its links ask for each datagram, so little of this stands in a queue. */
export const BLE_CREDIT: CreditBounds = { least: 4096, most: 16_384, together: 4 }

/** Above 1, or a credit that limits the rate could never find a greater one; so much of a round trip stands in buffers. */
const GAIN = 1.25
/** While the bare round trip is measured again. */
const DIP_GAIN = 0.5
const MIN_RTT_LIFE: Duration = 30 * second
const MIN_RTT_CONFIRMED = 17 / 16
/** The rate is the greatest of one to two of these. */
const RATE_PERIOD: Duration = second
/** Bytes per microsecond: the pacer never waits. */
const UNPACED = 1_000_000

/**
 * Stands where a congestion controller does on a path that delivers by itself (TCP, BLE, TURN over TCP; DESIGN §5): it knows no
 * loss and does not pace, it only bounds what is unacknowledged by the session's own acks to a little more than the path holds.
 * What is beyond that would stand in a socket's buffer, where no critical message can overtake it.
 */
export class ReliableLimiter implements CongestionController {
  readonly name = 'reliable'
  readonly pacingRate: number = UNPACED
  readonly sendQuantum = undefined
  window: number
  readonly #bounds: CreditBounds
  #datagram: number
  readonly #rate = new MaxFilter()
  #ratePeriodAt: Instant = toInstant(0)
  #minRtt: Duration = Infinity
  #minRttAt: Instant = toInstant(0)
  /** While dipping: when it began, when enough was out of the buffers, and the least round trip since. */
  #dipSince: Instant | undefined
  #dipDrained = false
  #dipBest: Duration = Infinity

  constructor(datagramSize: number, bounds: CreditBounds) {
    this.#datagram = datagramSize
    this.#bounds = bounds
    this.window = Math.max(bounds.least, 2 * datagramSize)
  }

  get rate(): number {
    return this.#rate.value
  }

  get minRtt(): Duration {
    return this.#minRtt
  }

  onSent(_now: Instant, _bytes: number, _inFlight: number): void {
    // Credit is spent by what is in flight.
  }

  onAcked(sample: AckSample): void {
    const now = sample.now
    if (now - this.#ratePeriodAt > RATE_PERIOD) {
      this.#ratePeriodAt = now
      // An idle path keeps what it knew.
      if (!sample.appLimited) this.#rate.advance()
    }
    if (!sample.appLimited || sample.deliveryRate > this.#rate.value) this.#rate.update(sample.deliveryRate)
    this.#updateRtt(sample, sample.rtt)
    this.#setWindow()
  }

  onLost(_now: Instant, _bytes: number, _sentAt: Instant, _persistent: boolean): void {
    // Nothing is lost but with the path.
  }

  setDatagramSize(bytes: number): void {
    this.#datagram = bytes
    this.window = Math.max(this.window, 2 * bytes)
  }

  #updateRtt(sample: AckSample, rtt: Duration): void {
    const now = sample.now
    if (rtt < this.#minRtt) {
      this.#minRtt = rtt
      this.#minRttAt = now
    } else if (rtt <= MIN_RTT_CONFIRMED * this.#minRtt) this.#minRttAt = now
    if (this.#dipSince !== undefined) this.#dip(sample, rtt)
    else if (now - this.#minRttAt > MIN_RTT_LIFE) {
      this.#dipSince = now
      this.#dipDrained = false
      this.#dipBest = Infinity
    }
  }

  /** Half of what the path holds is in flight; the first packet sent after that was so meets empty buffers. */
  #dip(sample: AckSample, rtt: Duration): void {
    const now = sample.now
    if (!this.#dipDrained) {
      if (sample.inFlight - sample.bytes > this.window) return
      this.#dipDrained = true
      this.#dipSince = now
      return
    }
    if (sample.sentAt < this.#dipSince!) return
    this.#dipBest = Math.min(this.#dipBest, rtt)
    this.#minRtt = this.#dipBest
    this.#minRttAt = now
    this.#dipSince = undefined
  }

  #setWindow(): void {
    const rate = this.#rate.value
    const least = 2 * this.#datagram
    if (rate === 0) return
    if (this.#dipSince !== undefined) {
      this.window = Math.max(DIP_GAIN * rate * this.#minRtt, this.#bounds.together * this.#datagram)
      return
    }
    const wanted = GAIN * rate * this.#minRtt + this.#bounds.together * this.#datagram
    this.window = Math.max(Math.min(wanted, this.#bounds.most), this.#bounds.least, least)
  }
}
