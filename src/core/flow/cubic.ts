import type { Duration, Instant } from '../base/time.ts'
import { second, toInstant } from '../base/time.ts'
import type { AckSample, CongestionController } from './congestion.ts'

/** RFC 9438 §5: C in segments per second cubed, and the multiplicative decrease. */
const CUBIC_C = 0.4
const CUBIC_BETA = 0.7
/** RFC 9438 §4.3: additive increase that makes CUBIC as fair as Reno in its region. */
const RENO_ALPHA = (3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA)

/** [QR] §7.2: min(10 d, max(2 d, 14720)). */
export function initialWindow(datagramSize: number): number {
  return Math.min(10 * datagramSize, Math.max(2 * datagramSize, 14_720))
}

/** CUBIC (RFC 9438) with slow start, fast convergence and the Reno-friendly region. */
export class Cubic implements CongestionController {
  readonly name = 'cubic'
  readonly pacingRate = undefined
  readonly sendQuantum = undefined
  window: number
  #datagramSize: number
  #threshold = Infinity
  #windowMax = 0
  /** Window before the last reduction: from there on Reno grows as Reno does. */
  #windowPrior = 0
  /** Start of the current congestion-avoidance epoch; 0 when none has begun. */
  #epoch = 0
  #k = 0
  #renoWindow = 0
  #lastAckAt: Instant = toInstant(0)
  /** Packets sent before this moment belong to a loss event that was already answered. */
  #recoveryStart: Instant = toInstant(-1)

  constructor(datagramSize: number) {
    this.#datagramSize = datagramSize
    this.window = initialWindow(datagramSize)
  }

  get inSlowStart(): boolean {
    return this.window < this.#threshold
  }

  onSent(_now: Instant, _bytes: number, _inFlight: number): void {
    // CUBIC looks at acknowledgements only.
  }

  onAcked(sample: AckSample): void {
    const sinceAck = sample.now - this.#lastAckAt
    this.#lastAckAt = sample.now
    // [QR] §7.8: a window that was not the limit is not evidence for a larger one. RFC 9438 §5.8: nor does time count then.
    if (!sample.windowLimited) {
      if (this.#epoch !== 0) this.#epoch += sinceAck
      return
    }
    if (sample.sentAt <= this.#recoveryStart) return
    if (this.window < this.#threshold) {
      this.window += sample.bytes
      return
    }
    this.#avoid(sample.now, sample.bytes, sample.smoothedRtt)
  }

  onLost(now: Instant, _bytes: number, sentAt: Instant, persistent: boolean): void {
    if (sentAt > this.#recoveryStart) this.#reduce(now)
    if (!persistent) return
    // [QR] §7.6.2: from the minimum again, in slow start up to what the reduction left.
    this.window = 2 * this.#datagramSize
    this.#recoveryStart = toInstant(-1)
  }

  setDatagramSize(bytes: number): void {
    this.#datagramSize = bytes
    this.window = Math.max(this.window, 2 * bytes)
  }

  #reduce(now: Instant): void {
    this.#recoveryStart = now
    // Fast convergence (RFC 9438 §4.7): a flow that shrinks twice leaves room for newer ones.
    this.#windowMax = this.window < this.#windowMax ? (this.window * (1 + CUBIC_BETA)) / 2 : this.window
    this.#windowPrior = this.window
    this.window = Math.max(this.window * CUBIC_BETA, 2 * this.#datagramSize)
    this.#threshold = this.window
    this.#epoch = 0
  }

  #avoid(now: Instant, bytes: number, rtt: Duration): void {
    const size = this.#datagramSize
    if (this.#epoch === 0) this.#beginEpoch(now)
    const elapsed = now - this.#epoch
    this.#renoWindow += ((this.#renoWindow >= this.#windowPrior ? 1 : RENO_ALPHA) * size * bytes) / this.window
    if (this.#cubicWindow(elapsed) < this.#renoWindow) {
      this.window = Math.max(this.window, this.#renoWindow)
      return
    }
    // RFC 9438 §4.4: towards where the curve is one round trip from now, at most half a window more.
    const target = Math.min(Math.max(this.#cubicWindow(elapsed + rtt), this.window), 1.5 * this.window)
    this.window += ((target - this.window) * bytes) / this.window
  }

  #beginEpoch(now: Instant): void {
    this.#epoch = Math.max(now, 1)
    this.#renoWindow = this.window
    if (this.#windowMax < this.window) {
      this.#windowMax = this.window
      this.#k = 0
    } else {
      this.#k = Math.cbrt((this.#windowMax - this.window) / this.#datagramSize / CUBIC_C)
    }
  }

  /** RFC 9438 §4.2, W_cubic(t). */
  #cubicWindow(elapsed: Duration): number {
    const t = elapsed / second - this.#k
    return this.#windowMax + CUBIC_C * t * t * t * this.#datagramSize
  }
}
