import { millisecond, never, second, toInstant, type Duration, type Instant } from '../../../src/core/base/time.ts'
import { DeliveryRate } from '../../../src/core/flow/delivery-rate.ts'
import { PACKET_THRESHOLD, PathRecovery } from '../../../src/core/flow/path-recovery.ts'
import { newAckSample, type CongestionController, type LossSample } from '../../../src/core/flow/congestion.ts'
import { PACKET_ACKED, PACKET_LOST, PACKET_SENT, SentPackets } from '../../../src/core/flow/sent-packets.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { Scheduler, type Task } from '../../../src/sim/scheduler.ts'

/*
 * A bottleneck that flows share, in virtual time: a tail-drop queue before a link of some rate and delay that loses at random what
 * it carries. The sender is the shipping recovery state, pacer and table of sent packets around the controller under test, with
 * loss detection as in connection/acks.ts, bursts of up to 64 segments and a timer of one millisecond.
 */

/** Bytes per microsecond. */
export function megabits(rate: number): number {
  return rate / 8
}

/** Bytes in flight on a path of so many Mbit/s and milliseconds. */
export function bdp(rate: number, rttMs: number): number {
  return megabits(rate) * rttMs * millisecond
}

export interface LinkOptions {
  /** Bytes per microsecond. */
  rate: number
  /** One way. */
  delay: Duration
  queueBytes: number
  /** Chance that a datagram is lost behind the queue. */
  loss?: number
  /** Gilbert-Elliott: chance to enter and to leave a state in which half of all is lost. */
  burstEnter?: number
  burstLeave?: number
  /** Added uniformly to the delay; order is kept. */
  jitter?: Duration
  /** Chance that a datagram comes this much later than its turn. */
  reorder?: number
  reorderDelay?: Duration
}

interface Packet {
  readonly flow: Flow
  readonly order: number
  readonly size: number
  readonly enqueued: number
}

export class Link {
  rate: number
  delay: Duration
  queueBytes: number
  loss: number
  jitter: Duration
  reorder: number
  readonly #burstEnter: number
  readonly #burstLeave: number
  readonly #reorderDelay: Duration
  #bad = false
  backlog = 0
  overflowed = 0
  carried = 0
  /** Time in the queue of each packet carried since the last {@link takeDelays}. */
  #delays: number[] = []
  readonly #queue: Packet[] = []
  #head = 0
  #busy = false
  #lastArrival = 0
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom

  constructor(scheduler: Scheduler, random: SeededRandom, options: LinkOptions) {
    this.#scheduler = scheduler
    this.#random = random
    this.rate = options.rate
    this.delay = options.delay
    this.queueBytes = options.queueBytes
    this.loss = options.loss ?? 0
    this.jitter = options.jitter ?? 0
    this.#burstEnter = options.burstEnter ?? 0
    this.#burstLeave = options.burstLeave ?? 1
    this.reorder = options.reorder ?? 0
    this.#reorderDelay = options.reorderDelay ?? 0
  }

  send(flow: Flow, order: number, size: number): void {
    if (this.backlog + size > this.queueBytes) {
      this.overflowed++
      return
    }
    this.backlog += size
    this.#queue.push({ flow, order, size, enqueued: this.#scheduler.now })
    if (!this.#busy) this.#serve()
  }

  /** Queueing delays (without serialization) since the last call, sorted, in microseconds. */
  takeDelays(): number[] {
    const delays = this.#delays.sort((a, b) => a - b)
    this.#delays = []
    return delays
  }

  #serve(): void {
    const packet = this.#queue[this.#head]
    if (packet === undefined) {
      this.#busy = false
      return
    }
    this.#busy = true
    this.#head++
    if (this.#head > 4096) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    const now = this.#scheduler.now
    this.#delays.push(now - packet.enqueued)
    this.#scheduler.at(now + packet.size / this.rate, () => {
      this.backlog -= packet.size
      this.carried += packet.size
      this.#carry(packet)
      this.#serve()
    })
  }

  #carry(packet: Packet): void {
    const random = this.#random
    this.#bad = this.#bad ? !random.chance(this.#burstLeave) : random.chance(this.#burstEnter)
    if (random.chance(this.loss) || (this.#bad && random.chance(0.5))) return
    let arrival = Math.max(this.#scheduler.now + this.delay + random.unit() * this.jitter, this.#lastArrival)
    if (random.chance(this.reorder)) arrival += this.#reorderDelay
    else this.#lastArrival = arrival
    this.#scheduler.at(arrival, () => packet.flow.onArrival(packet.order, packet.size))
  }
}

/** Messages of `bytes` every `interval`; bulk when absent. */
export interface Pattern {
  readonly bytes: number
  readonly interval: Duration
}

export interface FlowOptions {
  readonly controller: CongestionController
  readonly link: Link
  /** Way back; the link's delay when absent. */
  readonly backDelay?: Duration
  readonly datagram?: number
  readonly pattern?: Pattern
  readonly startAt?: Duration
  readonly stopAt?: Duration
  /** ACKs leave the receiver only at multiples of this (aggregation); 0 = as they come. */
  readonly ackBatch?: Duration
  readonly ackLoss?: number
  readonly segmentsMax?: number
  /** Packets between ACKs, and how long one waits. */
  readonly ackEvery?: number
  readonly maxAckDelay?: Duration
  /** Round trip known from the handshake. */
  readonly handshakeRtt?: Duration
  readonly timer?: Duration
}

const HEADER = 41 // frame and datagram overhead around the payload

interface Message {
  readonly at: number
  readonly size: number
  left: number
  unarrived: number
}

/** One sender and its receiver. */
export class Flow {
  readonly recovery: PathRecovery
  readonly rate: DeliveryRate = new DeliveryRate()
  readonly sent: SentPackets = new SentPackets()
  /** As in the options; may be changed. */
  ackBatch: Duration
  readonly link: Link
  readonly datagram: number
  /** Bytes that arrived, less those that had been sent again needlessly. */
  delivered = 0
  lostPackets = 0
  /** Bytes declared lost and acknowledged afterwards. */
  spurious = 0
  sentPackets = 0
  /** Whole-message latencies, microseconds. */
  latencies: number[] = []
  messagesSent = 0
  blockedByWindow = 0
  /** Longest time between two transmissions while there was data. */
  longestGap = 0
  #lastTransmit = 0
  /** Delivered bytes per 100 ms since virtual 0. */
  readonly bins: number[] = []
  readonly #scheduler: Scheduler
  readonly #random: SeededRandom
  readonly #options: FlowOptions
  readonly #sample = newAckSample()
  readonly #loss: LossSample = { now: toInstant(0), bytes: 0, txInFlight: 0, lost: 0 }
  #running = false
  #paceTask: Task | undefined
  #lossTask: Task | undefined
  #lossTaskAt: number = Infinity
  #probes = 0
  readonly #messages: Message[] = []
  readonly #carried = new Map<number, { message: Message; bytes: number }[]>()
  #queuedBytes = 0
  // Receiver.
  #received = new Set<number>()
  #pending: number[] = []
  #pendingCount = 0
  #expected = 0
  #ackTask: Task | undefined
  #ackLargestAt = 0
  readonly #zero: number

  constructor(scheduler: Scheduler, random: SeededRandom, options: FlowOptions) {
    this.ackBatch = options.ackBatch ?? 0
    this.#scheduler = scheduler
    this.#random = random
    this.#options = options
    this.#zero = scheduler.now
    this.link = options.link
    this.datagram = options.datagram ?? 1181
    this.recovery = new PathRecovery(options.controller)
    if (options.handshakeRtt !== undefined) this.recovery.rtt.update(options.handshakeRtt, 0)
    scheduler.at(scheduler.now + (options.startAt ?? 0), () => this.#start())
    if (options.stopAt !== undefined) scheduler.at(scheduler.now + options.stopAt, () => { this.#running = false })
  }

  get controller(): CongestionController {
    return this.#options.controller
  }

  get srtt(): Duration {
    return this.recovery.rtt.smoothed
  }

  /** Delivered bytes per microsecond between two moments (multiples of 100 ms since the model began). */
  throughput(from: Duration, to: Duration): number {
    const bin = 100 * millisecond
    let bytes = 0
    for (let k = Math.round(from / bin); k < Math.round(to / bin); k++) bytes += this.bins[k] ?? 0
    return bytes / (to - from)
  }

  setRunning(running: boolean): void {
    this.#running = running
    if (running) this.pump()
  }

  #start(): void {
    this.#running = true
    if (this.#options.pattern !== undefined) this.#tick(this.#options.pattern)
    else this.pump()
  }

  #tick(pattern: Pattern): void {
    if (!this.#running) return
    const message: Message = { at: this.#scheduler.now, size: pattern.bytes, left: pattern.bytes, unarrived: pattern.bytes }
    this.#messages.push(message)
    this.#queuedBytes += pattern.bytes
    this.messagesSent++
    this.#scheduler.at(this.#scheduler.now + pattern.interval, () => this.#tick(pattern))
    this.pump()
  }

  #hasData(): boolean {
    return this.#options.pattern === undefined ? this.#running : this.#queuedBytes > 0
  }

  /** What packet-writer.ts does for one path, without its frames. */
  pump(): void {
    const recovery = this.recovery
    const controller = this.controller
    const now = this.#scheduler.now
    const full = this.datagram
    const segmentsMax = this.#options.segmentsMax ?? 64
    for (;;) {
      if (!this.#hasData() && this.#probes === 0) {
        recovery.pacer.rest()
        if (recovery.inFlight < controller.window) this.rate.markAppLimited(recovery.inFlight)
        break
      }
      if (!this.sent.room) {
        this.rate.markAppLimited(recovery.inFlight)
        break
      }
      const room = controller.window - recovery.inFlight
      if (room < full && this.#probes === 0) {
        recovery.windowLimited = true
        this.blockedByWindow++
        break
      }
      const rtt = recovery.rtt.hasSample ? recovery.rtt.smoothed : 333_000
      const tokens = recovery.pacer.available(now, controller.window, rtt, controller.pacingRate, full, segmentsMax * full)
      if (recovery.pacer.overdue) this.rate.markAppLimited(recovery.inFlight)
      if (tokens < full && this.#probes === 0) {
        recovery.windowLimited = true
        this.#armPace(recovery.pacer.nextAt(controller.sendQuantum ?? Math.min(segmentsMax, 8) * full))
        break
      }
      let budget = Math.min(room, tokens)
      let segments = 0
      while (segments < segmentsMax && this.#maySend(budget)) {
        budget -= this.#transmit(now)
        segments++
        if (this.#probes > 0) this.#probes--
      }
      recovery.windowLimited = budget < full && this.#hasData()
    }
    this.#armLoss()
  }

  #maySend(budget: number): boolean {
    return this.sent.room && (this.#probes > 0 || (budget >= this.datagram && this.#hasData()))
  }

  #transmit(now: Instant): number {
    const order = this.sent.next
    let size = this.datagram
    if (this.#options.pattern !== undefined) {
      let payload = this.datagram - HEADER
      const parts: { message: Message; bytes: number }[] = []
      while (payload > 0 && this.#messages.length > 0) {
        const message = this.#messages[0]!
        const bytes = Math.min(payload, message.left)
        message.left -= bytes
        payload -= bytes
        this.#queuedBytes -= bytes
        parts.push({ message, bytes })
        if (message.left === 0) this.#messages.shift()
        else break
      }
      size = this.datagram - payload
      this.#carried.set(order, parts)
    }
    if (this.#lastTransmit > 0) this.longestGap = Math.max(this.longestGap, now - this.#lastTransmit)
    this.#lastTransmit = now
    const recovery = this.recovery
    const before = recovery.inFlight
    const sequence = recovery.onSent(now, size)
    recovery.pacer.spend(size)
    this.sent.push(now, size, 0, sequence, 0, -1, true)
    this.rate.onSent(this.sent, now, order, before, size)
    this.sentPackets++
    this.link.send(this, order, size)
    return size
  }

  #armPace(at: Instant): void {
    const grain = this.#options.timer ?? millisecond
    const when = at === never ? this.#scheduler.now + grain : Math.ceil(Math.max(at, this.#scheduler.now + 1) / grain) * grain
    if (this.#paceTask !== undefined) this.#scheduler.cancel(this.#paceTask)
    this.#paceTask = this.#scheduler.at(when, () => {
      this.#paceTask = undefined
      this.pump()
    })
  }

  #armLoss(): void {
    const at = this.recovery.timeout(this.#options.maxAckDelay ?? 10 * millisecond)
    if (at === this.#lossTaskAt) return
    if (this.#lossTask !== undefined) this.#scheduler.cancel(this.#lossTask)
    this.#lossTask = undefined
    this.#lossTaskAt = at
    if (at === never) return
    this.#lossTask = this.#scheduler.at(at, () => {
      this.#lossTaskAt = Infinity
      this.#lossTask = undefined
      this.#onLossTimer()
    })
  }

  #onLossTimer(): void {
    const recovery = this.recovery
    const now = this.#scheduler.now
    if (recovery.lossAt <= now) {
      this.#detectLoss(now)
    } else {
      // A probe timeout takes the two oldest out of flight (decision 010); the controller is not told.
      recovery.ptoCount++
      recovery.lastElicitingAt = now
      let left = 2
      for (let order = this.sent.firstSent; order < this.sent.next && left > 0; order++) {
        if (this.sent.state(order) !== PACKET_SENT) continue
        this.#declareLost(order)
        left--
      }
      this.sent.advanceFirstSent()
      this.#probes = 2
    }
    this.pump()
  }

  // ——— receiver

  onArrival(order: number, size: number): void {
    const now = this.#scheduler.now
    if (this.#received.has(order)) return
    this.#received.add(order)
    const bin = Math.floor((now - this.#zero) / (100 * millisecond))
    while (this.bins.length <= bin) this.bins.push(0)
    this.bins[bin]! += size
    this.delivered += size
    for (const part of this.#carried.get(order) ?? []) {
      part.message.unarrived -= part.bytes
      if (part.message.unarrived === 0) this.latencies.push(now - part.message.at)
    }
    const gap = order !== this.#expected
    this.#expected = Math.max(this.#expected, order + 1)
    this.#pending.push(order)
    this.#pendingCount++
    this.#ackLargestAt = now
    if (gap || this.#pendingCount >= (this.#options.ackEvery ?? 2)) this.#sendAck()
    else this.#ackTask ??= this.#scheduler.at(now + (this.#options.maxAckDelay ?? 10 * millisecond), () => this.#sendAck())
  }

  #sendAck(): void {
    if (this.#ackTask !== undefined) this.#scheduler.cancel(this.#ackTask)
    this.#ackTask = undefined
    if (this.#pending.length === 0) return
    this.#pendingCount = 0
    // A lost ACK's ranges stand in the next one too.
    if (this.#random.chance(this.#options.ackLoss ?? 0)) return
    const orders = this.#pending
    this.#pending = []
    const now = this.#scheduler.now
    const delay = now - this.#ackLargestAt
    const batch = this.ackBatch
    const leaves = batch === 0 ? now : Math.ceil(now / batch) * batch
    this.#scheduler.at(leaves + (this.#options.backDelay ?? this.link.delay), () => this.#onAck(orders, delay))
  }

  // ——— acks.ts

  #onAck(orders: number[], delay: Duration): void {
    const sent = this.sent
    const recovery = this.recovery
    const now = this.#scheduler.now
    const sample = this.#sample
    let bytes = 0
    let newest = -1
    for (const order of orders) {
      if (order < sent.base) continue
      const state = sent.state(order)
      const size = sent.size(order)
      if (state === PACKET_LOST) {
        sent.setState(order, PACKET_ACKED)
        this.#notLost(size)
        this.rate.onSpurious(size)
        this.controller.onSpuriousLoss?.(now, size)
      }
      if (state !== PACKET_SENT) continue
      recovery.onSettled(size)
      const sequence = sent.pathSequence(order)
      if (!recovery.hasAcked || ((sequence - recovery.largestAcked) | 0) > 0) {
        recovery.largestAcked = sequence
        recovery.hasAcked = true
      }
      this.rate.onAcked(order, size)
      bytes += size
      newest = Math.max(newest, order)
      sent.setState(order, PACKET_ACKED)
      this.#carried.delete(order)
    }
    if (bytes === 0) return
    recovery.rtt.update(now - sent.time(newest), Math.min(delay, this.#options.maxAckDelay ?? 10 * millisecond))
    recovery.ptoCount = 0
    recovery.silentSince = recovery.outstanding > 0 ? now : never
    sample.now = now
    sample.bytes = bytes
    sample.sentAt = sent.time(newest)
    sample.inFlight = recovery.inFlight + bytes
    sample.windowLimited = recovery.windowLimited
    sample.rtt = Math.max(1, now - sample.sentAt - delay)
    sample.smoothedRtt = recovery.rtt.smoothed
    sample.minRtt = recovery.rtt.min
    this.rate.fill(this.sent, sample)
    sent.advanceFirstSent()
    this.controller.onAcked(sample)
    this.#detectLoss(now)
    sent.advanceBase(toInstant(now - 2 * recovery.pto(10 * millisecond)))
    this.pump()
  }

  /** It was sent again in vain: one of the two that arrive is worth nothing. */
  #notLost(size: number): void {
    this.spurious += size
    this.delivered -= size
    this.bins[this.bins.length - 1]! -= size
  }

  #detectLoss(now: Instant): void {
    const recovery = this.recovery
    const sent = this.sent
    recovery.lossAt = never
    if (!recovery.hasAcked || recovery.outstanding === 0) return
    const delay = recovery.rtt.lossDelay()
    let bytes = 0
    let oldest: number = Infinity
    let newest = 0
    for (let order = sent.firstSent; order < sent.next; order++) {
      if (sent.state(order) !== PACKET_SENT) continue
      const behind = (recovery.largestAcked - sent.pathSequence(order)) | 0
      if (behind < 0) break
      const sentAt = sent.time(order)
      // Written as the deadline below is: `sentAt > now - delay` may round the other way, and the timer then never ends.
      if (behind < PACKET_THRESHOLD && sentAt + delay > now) {
        recovery.lossAt = toInstant(sentAt + delay)
        break
      }
      const size = sent.size(order)
      bytes += size
      oldest = Math.min(oldest, sentAt)
      newest = sentAt
      this.#declareLost(order)
      this.rate.onLost(size)
      if (this.controller.onPacketLost !== undefined) {
        const loss = this.#loss
        loss.now = now
        this.rate.fillLoss(this.sent, loss, order)
        this.controller.onPacketLost(loss)
      }
    }
    if (bytes === 0) return
    const persistent = newest - oldest > 3 * recovery.rtt.pto(10 * millisecond) && recovery.rtt.hasSample
    this.controller.onLost(now, bytes, toInstant(newest), persistent)
    sent.advanceFirstSent()
  }

  #declareLost(order: number): void {
    this.sent.setState(order, PACKET_LOST)
    this.recovery.onSettled(this.sent.size(order))
    this.recovery.packetsLost++
    this.lostPackets++
    const parts = this.#carried.get(order)
    if (parts === undefined) return
    this.#carried.delete(order)
    for (const part of parts) {
      this.#queuedBytes += part.bytes
      if (part.message.left === 0) this.#messages.unshift(part.message)
      part.message.left += part.bytes
    }
  }
}

/** A world of one link and some flows. */
export class LinkModel {
  readonly scheduler: Scheduler = new Scheduler()
  readonly random: SeededRandom
  readonly link: Link
  readonly flows: Flow[] = []

  constructor(options: LinkOptions, seed = 1) {
    this.random = new SeededRandom(seed)
    this.link = new Link(this.scheduler, this.random.fork(), options)
  }

  flow(options: Omit<FlowOptions, 'link'>): Flow {
    const flow = new Flow(this.scheduler, this.random.fork(), { ...options, link: this.link })
    this.flows.push(flow)
    return flow
  }

  run(duration: Duration): void {
    this.scheduler.run(duration)
  }
}

/** Jain's index of fairness: 1 = equal, 1 / n = one has all. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0)
  const squares = values.reduce((a, b) => a + b * b, 0)
  return squares === 0 ? 1 : (sum * sum) / (values.length * squares)
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted.length === 0 ? 0 : sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

export { second, millisecond }
