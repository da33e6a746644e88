import { second, toInstant, never, type Duration, type Instant } from '../base/time.ts'
import type { CongestionController } from './congestion.ts'
import { DeliveryRate } from './delivery-rate.ts'
import { Pacer } from './pacer.ts'
import { RttEstimator } from './rtt.ts'

/** [QR] §6.1.1: later packets of the same path acknowledged before an earlier one counts as lost. */
export const PACKET_THRESHOLD = 3
/** WIRE.md §6: a probe timeout never backs off beyond this, so that a dead path is left in time. */
const PTO_MAX: Duration = 5 * second
/** WIRE.md §6: a connection repeats by itself; a probe there only asks whether it lives. */
const PTO_MIN_RELIABLE: Duration = second

/** Loss recovery and congestion state of one path (RFC 9002): everything that must not be mixed between paths. */
export class PathRecovery {
  readonly rtt: RttEstimator = new RttEstimator()
  readonly pacer: Pacer = new Pacer()
  controller: CongestionController
  rate: DeliveryRate = new DeliveryRate()
  inFlight = 0
  /** Ack-eliciting packets in flight. */
  outstanding = 0
  nextSequence = 0
  /** Greatest send order on this path that was acknowledged, modulo 2^32; −1 while none was. */
  largestAcked = -1
  hasAcked = false
  /** When the next packet counts as lost by time; {@link never} when none waits for it. */
  lossAt: Instant = never
  ptoCount = 0
  lastElicitingAt: Instant = toInstant(0)
  /** Ack-eliciting data is outstanding and nothing was acknowledged since: only an ACK, or nothing more to wait for, ends a silence. */
  silentSince: Instant = never
  windowLimited = false
  /** What of {@link DeliveryRate.delivered} the controllers before this one saw. */
  restedAt = 0
  packetsSent = 0
  packetsLost = 0
  /** The path delivers by itself: nothing counts as lost by being overtaken. */
  readonly reliable: boolean

  constructor(controller: CongestionController, reliable = false) {
    this.controller = controller
    this.reliable = reliable
  }

  /** Records one ack-eliciting packet and returns its send order on this path. */
  onSent(now: Instant, size: number): number {
    this.controller.onSent(now, size, this.inFlight)
    if (this.silentSince === never) this.silentSince = now
    this.inFlight += size
    this.outstanding++
    this.packetsSent++
    this.lastElicitingAt = now
    return this.nextSequence++
  }

  /** A packet left the flight: acknowledged, lost, or given up with its path. */
  onSettled(size: number): void {
    this.inFlight -= size
    this.outstanding--
  }

  /** The peer acknowledged something on this path: it lives. */
  onAlive(now: Instant): void {
    this.ptoCount = 0
    this.silentSince = now
  }

  /** After packets left the flight for good: with none left there is nothing to be silent about. */
  settleSilence(): void {
    if (this.outstanding === 0) this.silentSince = never
  }

  pto(maxAckDelay: Duration): Duration {
    return Math.min(this.basePto(maxAckDelay) * 2 ** Math.min(this.ptoCount, 10), PTO_MAX)
  }

  /** The probe timeout without backoff. */
  basePto(maxAckDelay: Duration): Duration {
    const pto = this.rtt.pto(maxAckDelay)
    return this.reliable ? Math.max(pto, PTO_MIN_RELIABLE) : pto
  }

  /** Age at which a packet that later ones overtook is lost. On a connection only the peer can have left it out, for want of memory (decision 012): it is asked again without haste. */
  lossDelay(): Duration {
    const delay = this.rtt.lossDelay()
    return this.reliable ? Math.max(2 * delay, PTO_MIN_RELIABLE) : delay
  }

  /** When loss detection or a probe is due. */
  timeout(maxAckDelay: Duration): Instant {
    if (this.lossAt !== never) return this.lossAt
    if (this.outstanding === 0) return never
    return toInstant(this.lastElicitingAt + this.pto(maxAckDelay))
  }
}
