import { assert } from '../base/assert.ts'
import { toInstant, type Duration, type Instant } from '../base/time.ts'
import type { AckSample, LossSample } from './congestion.ts'
import type { SentPackets } from './sent-packets.ts'

/**
 * Delivery rate of one path (draft-ietf-ccwg-bbr §4.1, after draft-cheng-iccrg-delivery-rate-estimation): how much was
 * acknowledged between the sending of a packet and its acknowledgement, over the longer of the times it took to send that
 * much and to have it acknowledged. Allocates nothing.
 */
export class DeliveryRate {
  /** C.delivered. */
  delivered = 0
  /** C.lost; what turned out to be spurious is taken back. */
  lost = 0
  #deliveredTime: Instant = toInstant(0)
  #firstSentTime: Instant = toInstant(0)
  /** C.app_limited: samples of packets sent before this much was delivered are application-limited; 0 = none. */
  #appLimitedUntil = 0
  /** Newest packet acknowledged by the ACK being read; −1 = none yet. */
  #newest = -1

  /** One packet that counts as in flight is sent; its row is in the table. @param inFlight bytes in flight before it */
  onSent(sent: SentPackets, now: Instant, order: number, inFlight: number, bytes: number): void {
    // With nothing in flight the interval begins now: any ACK from here on is of what goes now ("Transmitting a data packet").
    if (inFlight <= 0) {
      this.#firstSentTime = now
      this.#deliveredTime = now
    }
    sent.rate.set(order, this.delivered, this.#deliveredTime, this.#firstSentTime, this.lost, inFlight + bytes, this.#appLimitedUntil !== 0)
  }

  /** One packet in flight is newly acknowledged; the ACK's packets may come in any order. */
  onAcked(order: number, bytes: number): void {
    this.delivered += bytes
    if (order > this.#newest) this.#newest = order
  }

  onLost(bytes: number): void {
    this.lost += bytes
  }

  /** A packet that was declared lost is acknowledged after all: it was delivered, and tells no rate. */
  onSpurious(bytes: number): void {
    this.lost -= bytes
    this.delivered += bytes
  }

  /**
   * The sender has room in window and pacer and nothing to send, or is held by something other than congestion control
   * (flow control, the table of sent packets): what is in flight now has a gap behind it ("MarkConnectionAppLimited").
   */
  markAppLimited(inFlight: number): void {
    this.#appLimitedUntil = Math.max(this.delivered + inFlight, 1)
  }

  /**
   * All packets of the ACK were told: fills in the rate half of the sample (`now` and `minRtt` must be there), before the
   * rows of its packets are given up.
   */
  fill(sent: SentPackets, sample: AckSample): void {
    const order = this.#newest
    this.#newest = -1
    assert(order >= 0, 'a rate sample needs an acknowledged packet')
    const columns = sent.rate
    const sentTime = sent.time(order)
    const sendElapsed = sentTime - columns.firstSentTime(order)
    const ackElapsed = sample.now - columns.deliveredTime(order)
    sample.deliveredTotal = this.delivered
    sample.priorDelivered = columns.delivered(order)
    sample.delivered = this.delivered - sample.priorDelivered
    sample.appLimited = columns.appLimited(order)
    sample.txInFlight = columns.inFlight(order)
    sample.lost = Math.max(0, this.lost - columns.lost(order))
    const interval: Duration = Math.max(sendElapsed, ackElapsed)
    // Shorter than a round trip: an artefact of an acknowledgement that came before its time ("GenerateRateSample").
    sample.deliveryRate = interval > 0 && interval >= sample.minRtt ? sample.delivered / interval : 0
    this.#deliveredTime = sample.now
    if (sentTime > this.#firstSentTime) this.#firstSentTime = sentTime
    if (this.#appLimitedUntil !== 0 && this.delivered > this.#appLimitedUntil) this.#appLimitedUntil = 0
  }

  /** Fills in what a packet that was just told to {@link onLost} says. */
  fillLoss(sent: SentPackets, loss: LossSample, order: number): void {
    loss.bytes = sent.size(order)
    loss.txInFlight = sent.rate.inFlight(order)
    loss.lost = Math.max(loss.bytes, this.lost - sent.rate.lost(order))
  }
}
