import { describe, expect, it } from 'vitest'
import { millisecond, second, toInstant, type Duration } from '../../../src/core/base/time.ts'
import { newAckSample } from '../../../src/core/flow/congestion.ts'
import { newController } from '../../../src/core/flow/controllers.ts'
import { BLE_CREDIT, ReliableLimiter, TCP_CREDIT, type CreditBounds } from '../../../src/core/flow/reliable-limiter.ts'

const SIZE = 1181

interface Packet { readonly sentAt: number; readonly ackedAt: number; readonly delivered: number; readonly deliveredAt: number; readonly appLimited: boolean }

/** A stream of some rate and round trip that loses nothing: what is sent beyond it stands in buffers without end. */
class Stream {
  readonly limiter: ReliableLimiter
  /** Of a datagram. */
  readonly size: number
  rate: number
  rtt: Duration
  now = 0
  delivered = 0
  /** Time in the buffers of the packet acknowledged last. */
  queued: Duration = 0
  /** Bytes an app sends every 10 ms; bulk when absent. */
  app: number | undefined
  #freeAt = 0
  #deliveredAt = 0
  #flight: Packet[] = []
  readonly #sample = newAckSample()

  /** @param rate bytes per microsecond */
  constructor(rate: number, rtt: Duration, bounds: CreditBounds, size: number = SIZE) {
    this.size = size
    this.rate = rate
    this.rtt = rtt
    this.limiter = new ReliableLimiter(this.size, bounds)
  }

  get inFlight(): number {
    return this.#flight.length * this.size
  }

  run(time: Duration): void {
    const end = this.now + time
    let tick = this.now
    while (this.now < end) {
      if (this.app === undefined) while (this.inFlight + this.size <= this.limiter.window) this.#send(false)
      else if (this.now >= tick) {
        tick += 10 * millisecond
        for (let bytes = 0; bytes < this.app; bytes += this.size) this.#send(true)
      }
      const next = this.#flight[0]?.ackedAt ?? Infinity
      this.now = Math.min(next, this.app === undefined ? end : Math.max(tick, this.now + 1), end)
      if (this.now === next) this.#ack(this.#flight.shift()!)
    }
  }

  #send(appLimited: boolean): void {
    if (this.#flight.length === 0) this.#deliveredAt = this.now
    this.#freeAt = Math.max(this.#freeAt, this.now) + this.size / this.rate
    this.#flight.push({ sentAt: this.now, ackedAt: this.#freeAt + this.rtt, delivered: this.delivered, deliveredAt: this.#deliveredAt, appLimited })
    this.limiter.onSent(toInstant(this.now), this.size, this.inFlight - this.size)
  }

  #ack(packet: Packet): void {
    const sample = this.#sample
    sample.inFlight = this.inFlight + this.size
    this.delivered += this.size
    sample.now = toInstant(this.now)
    sample.bytes = this.size
    sample.sentAt = toInstant(packet.sentAt)
    sample.rtt = this.now - packet.sentAt
    sample.appLimited = packet.appLimited
    sample.deliveryRate = (this.delivered - packet.delivered) / (this.now - packet.deliveredAt)
    this.#deliveredAt = this.now
    this.queued = this.now - packet.sentAt - this.rtt
    this.limiter.onAcked(sample)
  }

  /** Share of the stream's rate that is used for `time`, and the longest time in its buffers meanwhile. */
  measure(time: Duration): { share: number; queued: Duration } {
    const before = this.delivered
    const start = this.now
    let queued = 0
    while (this.now < start + time) {
      this.run(5 * millisecond)
      queued = Math.max(queued, this.queued)
    }
    return { share: (this.delivered - before) / (this.now - start) / this.rate, queued }
  }
}

describe('ReliableLimiter', () => {
  it('fills a stream up to its greatest credit, and keeps little more than the path in flight', () => {
    for (const [rate, rtt] of [[1, 40], [1, 20], [2, 10], [0.5, 100]] as const) {
      const stream = new Stream(rate, rtt * millisecond, TCP_CREDIT)
      stream.run(3 * second)
      const { share, queued } = stream.measure(10 * second)
      expect(share, `${rate} B/µs ${rtt} ms`).toBeGreaterThan(0.97)
      expect(stream.limiter.window).toBeLessThanOrEqual(1.3 * rate * rtt * millisecond + 3 * SIZE)
      expect(queued).toBeLessThan(0.3 * rtt * millisecond + (3 * SIZE) / rate)
    }
  })

  it('stays within its bounds on a slow stream and on a long one', () => {
    const slow = new Stream(0.01, 10 * millisecond, TCP_CREDIT)
    slow.run(20 * second)
    expect(slow.limiter.window).toBe(TCP_CREDIT.least)
    const long = new Stream(10, 200 * millisecond, TCP_CREDIT)
    long.run(20 * second)
    expect(long.limiter.window).toBe(TCP_CREDIT.most)
    const radio = new Stream(0.05, 60 * millisecond, BLE_CREDIT, 507)
    radio.run(5 * second)
    const { share, queued } = radio.measure(10 * second)
    expect(share).toBeGreaterThan(0.95)
    expect(queued).toBeLessThan(100 * millisecond)
  })

  it('follows a rate that falls and one that rises', () => {
    const stream = new Stream(1.5, 30 * millisecond, TCP_CREDIT)
    stream.run(5 * second)
    stream.rate = 0.6
    stream.run(3 * second)
    expect(stream.measure(3 * second).queued).toBeLessThan(20 * millisecond)
    stream.rate = 1.5
    stream.run(10 * second)
    expect(stream.measure(3 * second).share).toBeGreaterThan(0.95)
  })

  it('finds a round trip that has become longer, which its own credit had hidden', () => {
    const stream = new Stream(1, 20 * millisecond, TCP_CREDIT)
    stream.run(5 * second)
    stream.rtt = 50 * millisecond
    stream.run(40 * second)
    expect(stream.limiter.minRtt).toBeGreaterThan(45 * millisecond)
    expect(stream.measure(5 * second).share).toBeGreaterThan(0.95)
  })

  it('does not forget the rate while an app sends little', () => {
    const stream = new Stream(1, 40 * millisecond, TCP_CREDIT)
    stream.run(5 * second)
    stream.app = 1000
    stream.run(60 * second)
    expect(stream.limiter.rate).toBeGreaterThan(0.95)
  })

  it('never holds less than two datagrams, of whatever size', () => {
    const limiter = new ReliableLimiter(40_000, TCP_CREDIT)
    expect(limiter.window).toBe(80_000)
    limiter.setDatagramSize(50_000)
    expect(limiter.window).toBe(100_000)
  })

  it('stands on every path that delivers by itself', () => {
    expect(newController('model', 'tcp', SIZE, 1).window).toBe(TCP_CREDIT.least)
    expect(newController('cubic', 'ble', 200, 1).window).toBe(BLE_CREDIT.least)
    expect(newController('cubic', 'udp', SIZE, 1).name).toBe('cubic')
    expect(newController('model', 'udp', SIZE, 1).name).toBe('model-based')
  })
})
