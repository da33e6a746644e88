import { toInstant, type Duration, type Instant } from '../base/time.ts'

/**
 * What one ACK told about one path; the second half is its delivery rate sample (draft-ietf-ccwg-bbr §4.1.2, "Rate Sample (rs)
 * Output"). The object is reused: a controller copies what it keeps.
 */
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
  /** Round trip of that packet, less what the peer says it waited: a lie about that costs only the liar. */
  rtt: Duration
  smoothedRtt: Duration
  minRtt: Duration
  /** C.delivered: bytes acknowledged on this path so far, this ACK's included. */
  deliveredTotal: number
  /** P.delivered of the newest packet acknowledged: {@link deliveredTotal} when it was sent. A round ends when this passes a mark. */
  priorDelivered: number
  /** RS.delivered: bytes acknowledged since that packet was sent. */
  delivered: number
  /** Bytes per microsecond over that time; 0 when the interval is too short to be believed. */
  deliveryRate: number
  /** The sender had run out of data at some moment of the interval: the path may carry more than the sample says. */
  appLimited: boolean
  /** Bytes in flight just after that packet was sent. */
  txInFlight: number
  /** Bytes declared lost since that packet was sent. */
  lost: number
}

/** What one lost packet tells a controller. The object is reused. */
export interface LossSample {
  now: Instant
  /** Bytes of the packet. */
  bytes: number
  /** Bytes in flight just after it was sent. */
  txInFlight: number
  /** Bytes declared lost since it was sent, its own included. */
  lost: number
}

/** Decides how much may be in flight on one path, and how fast. Bytes are datagram bytes. */
export interface CongestionController {
  readonly name: string
  /** Bytes that may be in flight. */
  readonly window: number
  /** Bytes per microsecond; `undefined` leaves it to the pacer's 1.25 × window / RTT. */
  readonly pacingRate: number | undefined
  /** Bytes worth waiting for at the pacer before a burst goes (draft-ietf-ccwg-bbr §5.6.3); `undefined` leaves it to the sender. */
  readonly sendQuantum: number | undefined
  /** @param inFlight bytes in flight before it */
  onSent(now: Instant, bytes: number, inFlight: number): void
  onAcked(sample: AckSample): void
  /** Each packet declared lost, before {@link onLost} is told of all of them together. */
  onPacketLost?(loss: LossSample): void
  /** Once per detection. @param sentAt when the newest lost packet was sent @param persistent [QR] §7.6 */
  onLost(now: Instant, bytes: number, sentAt: Instant, persistent: boolean): void
  /** A packet that had been declared lost was acknowledged after all. */
  onSpuriousLoss?(now: Instant, bytes: number): void
  /** The path now carries datagrams of another size. */
  setDatagramSize(bytes: number): void
}

/** An empty sample to be filled again and again. */
export function newAckSample(): AckSample {
  return {
    now: toInstant(0), bytes: 0, sentAt: toInstant(0), inFlight: 0, windowLimited: false, rtt: 0, smoothedRtt: 0, minRtt: 0,
    deliveredTotal: 0, priorDelivered: 0, delivered: 0, deliveryRate: 0, appLimited: false, txInFlight: 0, lost: 0,
  }
}
