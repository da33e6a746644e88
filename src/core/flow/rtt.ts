import { millisecond, type Duration } from '../base/time.ts'

/** [QR] §6.2.2, used until the first sample when the handshake gave none. */
export const INITIAL_RTT: Duration = 333 * millisecond
/** [QR] §6.1.2. */
export const GRANULARITY: Duration = millisecond

/** Round-trip estimate of one path (RFC 9002 §5). All values in microseconds. */
export class RttEstimator {
  latest: Duration = 0
  /** 0 until the first sample. */
  smoothed: Duration = 0
  variation: Duration = 0
  min: Duration = Infinity

  get hasSample(): boolean {
    return this.smoothed !== 0
  }

  /** What to reckon with: the smoothed value, or the initial one. */
  get estimate(): Duration {
    return this.smoothed === 0 ? INITIAL_RTT : this.smoothed
  }

  /** @param sample time from sending to the ack's arrival @param ackDelay what the peer says it waited, already capped by the caller. */
  update(sample: Duration, ackDelay: Duration): void {
    const latest = Math.max(sample, 1)
    this.latest = latest
    if (latest < this.min) this.min = latest
    if (this.smoothed === 0) {
      this.smoothed = latest
      this.variation = latest / 2
      return
    }
    // The delay is believed only as far as it leaves the minimum intact ([QR] §5.3).
    const adjusted = latest >= this.min + ackDelay ? latest - ackDelay : latest
    this.variation += (Math.abs(this.smoothed - adjusted) - this.variation) / 4
    this.smoothed += (adjusted - this.smoothed) / 8
  }

  /** After persistent congestion the old minimum may be that of another route ([QR] §5.2). */
  forgetMin(): void {
    this.min = this.latest
  }

  /** The same wire under another name: what was learnt of it holds. */
  inherit(from: RttEstimator): void {
    this.latest = from.latest
    this.smoothed = from.smoothed
    this.variation = from.variation
    this.min = from.min
  }

  /** Time after which an unacknowledged packet sent before an acknowledged one is lost. */
  lossDelay(): Duration {
    return Math.max((9 / 8) * Math.max(this.smoothed, this.latest), GRANULARITY)
  }

  /** Probe timeout without backoff; `maxAckDelay` is the peer's. */
  pto(maxAckDelay: Duration): Duration {
    if (this.smoothed === 0) return 2 * INITIAL_RTT + maxAckDelay
    return this.smoothed + Math.max(4 * this.variation, GRANULARITY) + maxAckDelay
  }
}
