import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { millisecond, never, toInstant } from '../../../src/core/base/time.ts'
import { newAckSample, type LossSample } from '../../../src/core/flow/congestion.ts'
import { DeliveryRate } from '../../../src/core/flow/delivery-rate.ts'
import { PACKET_ACKED, SentPackets } from '../../../src/core/flow/sent-packets.ts'

/** draft-ietf-ccwg-bbr §4.1.2, written as it stands there: an object per packet. */
class PlainRate {
  delivered = 0
  lost = 0
  deliveredTime = 0
  firstSentTime = 0
  appLimited = 0
  readonly packets = new Map<number, { delivered: number; deliveredTime: number; firstSentTime: number; sentTime: number; lost: number; inFlight: number; appLimited: boolean }>()

  onSent(now: number, order: number, inFlight: number, bytes: number): void {
    if (inFlight === 0) this.firstSentTime = this.deliveredTime = now
    this.packets.set(order, {
      delivered: this.delivered, deliveredTime: this.deliveredTime, firstSentTime: this.firstSentTime, sentTime: now, lost: this.lost,
      inFlight: inFlight + bytes, appLimited: this.appLimited !== 0,
    })
  }

  onAck(now: number, orders: readonly number[], bytes: number, minRtt: number): { rate: number; prior: number; delivered: number; appLimited: boolean; inFlight: number; lost: number } {
    this.delivered += bytes * orders.length
    const packet = this.packets.get(Math.max(...orders))!
    const interval = Math.max(packet.sentTime - packet.firstSentTime, now - packet.deliveredTime)
    this.deliveredTime = now
    this.firstSentTime = Math.max(this.firstSentTime, packet.sentTime)
    const delivered = this.delivered - packet.delivered
    if (this.appLimited !== 0 && this.delivered > this.appLimited) this.appLimited = 0
    const rate = interval > 0 && interval >= minRtt ? delivered / interval : 0
    return { rate, prior: packet.delivered, delivered, appLimited: packet.appLimited, inFlight: packet.inFlight, lost: this.lost - packet.lost }
  }
}

const SIZE = 1000

/** The rate of one path beside the table its packets stand in. */
class Sender {
  readonly rate: DeliveryRate = new DeliveryRate()
  readonly sent: SentPackets = new SentPackets()

  constructor(first = 0) {
    this.sent.base = this.sent.firstSent = this.sent.next = first
  }

  send(now: number, inFlight: number): number {
    const order = this.sent.next
    this.sent.push(toInstant(now), SIZE, 0, 0, 0, -1, true)
    this.rate.onSent(this.sent, toInstant(now), order, inFlight, SIZE)
    return order
  }

  /** Packets that are not tracked take orders and leave no row. */
  sendUntracked(now: number): void {
    this.sent.push(toInstant(now), SIZE, 0, 0, 0, -1, false)
  }

  /** These are out of flight; what is not needed any more is forgotten. */
  settle(orders: readonly number[]): void {
    for (const order of orders) this.sent.setState(order, PACKET_ACKED)
    this.sent.advanceFirstSent()
    this.sent.advanceBase(never)
    this.sent.shrink()
  }
}

describe('DeliveryRate (draft-ietf-ccwg-bbr §4.1)', () => {
  it('agrees with its plain twin over any sending, acknowledging and losing', () => {
    const step = fc.record({ kind: fc.constantFrom('send', 'send', 'send', 'skip', 'ack', 'ack', 'lose', 'limit'), n: fc.integer({ min: 1, max: 40 }), wait: fc.integer({ min: 0, max: 5000 }) })
    fc.assert(fc.property(fc.array(step, { maxLength: 400 }), fc.constantFrom(0, 2 ** 31 - 20, 2 ** 40), (steps, first) => {
      const sender = new Sender(first)
      const { rate, sent } = sender
      const plain = new PlainRate()
      const sample = newAckSample()
      const loss: LossSample = { now: toInstant(0), bytes: SIZE, txInFlight: 0, lost: 0 }
      sample.minRtt = 500
      let now = 1000
      let flight: number[] = []
      for (const { kind, n, wait } of steps) {
        now += wait
        switch (kind) {
          case 'send':
            for (let i = 0; i < n && sent.room; i++) {
              const order = sender.send(now, flight.length * SIZE)
              plain.onSent(now, order, flight.length * SIZE, SIZE)
              flight.push(order)
            }
            break
          case 'skip': for (let i = 0; i < n && sent.tracked < 3000; i++) sender.sendUntracked(now); break
          case 'ack': {
            const acked = flight.filter((_, i) => i % 3 === n % 3).slice(0, n)
            if (acked.length === 0) break
            for (const one of [...acked].reverse()) rate.onAcked(one, SIZE)
            sample.now = toInstant(now)
            rate.fill(sent, sample)
            const expected = plain.onAck(now, acked, SIZE, 500)
            expect({ rate: sample.deliveryRate, prior: sample.priorDelivered, delivered: sample.delivered, appLimited: sample.appLimited, inFlight: sample.txInFlight, lost: sample.lost }).toEqual(expected)
            expect(sample.deliveredTotal).toBe(plain.delivered)
            flight = flight.filter((one) => !acked.includes(one))
            sender.settle(acked)
            break
          }
          case 'lose': {
            const lost = flight.shift()
            if (lost === undefined) break
            rate.onLost(SIZE)
            plain.lost += SIZE
            rate.fillLoss(sent, loss, lost)
            const packet = plain.packets.get(lost)!
            expect({ txInFlight: loss.txInFlight, lost: loss.lost }).toEqual({ txInFlight: packet.inFlight, lost: plain.lost - packet.lost })
            sender.settle([lost])
            break
          }
          case 'limit':
            rate.markAppLimited(flight.length * SIZE)
            plain.appLimited = Math.max(plain.delivered + flight.length * SIZE, 1)
            break
        }
      }
    }), { numRuns: 300 })
  })

  it('measures the bottleneck, not the sender: packets sent twice as fast as they are acknowledged', () => {
    const sender = new Sender()
    const sample = newAckSample()
    sample.minRtt = 10 * millisecond
    let sent = 0
    let acked = 0
    for (let ms = 0; ms < 300; ms++) {
      if (ms >= 10) {
        // A kilobyte a millisecond comes out of the bottleneck.
        sender.rate.onAcked(acked, SIZE)
        sample.now = toInstant(ms * millisecond)
        sender.rate.fill(sender.sent, sample)
        sender.settle([acked++])
        // What was sent before the first ACK saw the empty pipe too.
        if (ms > 100) expect(sample.deliveryRate * millisecond).toBeCloseTo(SIZE, 0)
      }
      for (let k = 0; k < 2 && sent - acked < 60; k++) {
        sender.send(ms * millisecond, (sent++ - acked) * SIZE)
      }
    }
  })

  it('marks what was sent around a gap, and nothing after it', () => {
    const sender = new Sender()
    const sample = newAckSample()
    sender.send(0, 0)
    sender.rate.markAppLimited(SIZE)
    sender.send(10, SIZE)
    const ack = (order: number, now: number): boolean => {
      sender.rate.onAcked(order, SIZE)
      sample.now = toInstant(now)
      sender.rate.fill(sender.sent, sample)
      return sample.appLimited
    }
    expect(ack(0, 100)).toBe(false)
    expect(ack(1, 110)).toBe(true)
    sender.send(120, 0)
    expect(ack(2, 220)).toBe(false)
  })

  it('counts a packet that was lost in error as delivered', () => {
    const { rate } = new Sender()
    rate.onLost(SIZE)
    rate.onSpurious(SIZE)
    expect([rate.delivered, rate.lost]).toEqual([SIZE, 0])
  })
})
