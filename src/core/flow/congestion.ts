import type { Duration, Instant } from '../base/time.ts'

/** What one ACK told about one path. The object is reused: a controller copies what it keeps. */
export interface AckSample {
  now: Instant
  /** Bytes newly acknowledged. */
  bytes: number
  /** When the newest of them was sent. */
  sentAt: Instant
  /** Bytes in flight before this ACK. */
  inFlight: number
  /** The window, not a lack of data, limited the sender. */
  windowLimited: boolean
  smoothedRtt: Duration
  minRtt: Duration
}

/** Decides how much may be in flight on one path, and how fast. Bytes are datagram bytes; loss is told once per detection. */
export interface CongestionController {
  readonly name: string
  /** Bytes that may be in flight. */
  readonly window: number
  /** Bytes per microsecond; `undefined` leaves it to the pacer's 1.25 × window / RTT. */
  readonly pacingRate: number | undefined
  onSent(now: Instant, bytes: number, inFlight: number): void
  onAcked(sample: AckSample): void
  /** @param sentAt when the newest lost packet was sent @param persistent [QR] §7.6 */
  onLost(now: Instant, bytes: number, sentAt: Instant, persistent: boolean): void
  /** The path now carries datagrams of another size. */
  setDatagramSize(bytes: number): void
}
