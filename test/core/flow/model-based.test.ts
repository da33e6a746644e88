import { describe, expect, it } from 'vitest'
import { Cubic } from '../../../src/core/flow/cubic.ts'
import { ModelBased } from '../../../src/core/flow/model-based.ts'
import type { CongestionController } from '../../../src/core/flow/congestion.ts'
import { bdp, LinkModel, megabits, millisecond, percentile, second, type Flow, type FlowOptions, type LinkOptions } from './link-model.ts'

const DATAGRAM = 1181

interface Outcome {
  /** Of the link's rate. */
  readonly share: number
  /** Milliseconds in the queue. */
  readonly p50: number
  readonly p95: number
  readonly max: number
  readonly flow: Flow
}

/** One bulk flow; what it does between `from` and `to` seconds. */
function bulk(controller: CongestionController, link: LinkOptions, from: number, to: number, options: Partial<FlowOptions> = {}, seed = 1): Outcome {
  const model = new LinkModel(link, seed)
  const flow = model.flow({ controller, ...options })
  model.run(from * second)
  model.link.takeDelays()
  model.run((to - from) * second)
  const delays = model.link.takeDelays()
  return {
    share: flow.throughput(from * second, to * second) / link.rate, flow,
    p50: percentile(delays, 0.5) / 1000, p95: percentile(delays, 0.95) / 1000, max: (delays.at(-1) ?? 0) / 1000,
  }
}

const modelBased = (seed = 1): ModelBased => new ModelBased(DATAGRAM, seed)

describe('ModelBased: one flow in the link model', () => {
  it('keeps its throughput under random loss of 1, 2 and 5 % at 40 ms, where CUBIC has none', () => {
    for (const rate of [10, 50]) {
      for (const [loss, least, ratioLeast] of [[0, 0.95, 0.9], [0.01, 0.93, 2.5], [0.02, 0.9, 4], [0.05, 0.8, 5]] as const) {
        const link = { rate: megabits(rate), delay: 20 * millisecond, queueBytes: bdp(rate, 40), loss }
        let model = 0
        let cubic = 0
        for (const seed of [1, 2]) {
          model += bulk(modelBased(seed), link, 1, 11, {}, seed).share / 2
          cubic += bulk(new Cubic(DATAGRAM), link, 1, 11, {}, seed).share / 2
        }
        expect(model, `${rate} Mbit/s, loss ${loss}`).toBeGreaterThan(least)
        expect(model / cubic).toBeGreaterThan(ratioLeast)
      }
    }
  })

  it('leaves a deep buffer empty most of the time', () => {
    for (const depth of [0.5, 1, 4]) {
      const link = { rate: megabits(20), delay: 20 * millisecond, queueBytes: depth * bdp(20, 40) }
      for (const controller of [modelBased(), new Cubic(DATAGRAM)]) {
        const { p50, p95, max, share } = bulk(controller, link, 2, 30)
        if (controller.name === 'cubic') continue
        expect(share).toBeGreaterThan(0.96)
        expect(p50).toBeLessThan(4)
        expect(p95).toBeLessThan(25)
        expect(max).toBeLessThan(40)
      }
    }
  })

  it('finds rates from 64 kbit/s to 8 Gbit/s at round trips from 100 µs to 600 ms', () => {
    for (const [rate, rttMs, from, to, least] of [[0.064, 100, 20, 60, 0.9], [1, 40, 2, 15, 0.95], [20, 600, 10, 60, 0.9], [500, 40, 1, 2.5, 0.9], [1000, 0.1, 0.2, 0.8, 0.95], [8000, 0.1, 0.1, 0.3, 0.9]] as const) {
      const link = { rate: megabits(rate), delay: rttMs * 500, queueBytes: Math.max(20_000, bdp(rate, rttMs)) }
      const { share } = bulk(modelBased(), link, from, to)
      expect(share, `${rate} Mbit/s, ${rttMs} ms`).toBeGreaterThan(least)
    }
  })

  it('fills the pipe in a few round trips, with at most two more of it in the queue', () => {
    for (const rate of [10, 100]) {
      const model = new LinkModel({ rate: megabits(rate), delay: 20 * millisecond, queueBytes: 10 * bdp(rate, 40) })
      const flow = model.flow({ controller: modelBased() })
      model.run(second)
      expect(flow.throughput(0.4 * second, 0.8 * second) / megabits(rate)).toBeGreaterThan(0.95)
      expect(model.link.takeDelays().at(-1)! / 1000).toBeLessThan(80)
      model.run(second)
      expect(percentile(model.link.takeDelays(), 0.95) / 1000).toBeLessThan(30)
    }
  })

  it('takes a shallow buffer and a policer for what they are, with and without random loss', () => {
    for (const [rate, queueBytes, loss, least] of [[20, 0.1 * bdp(20, 60), 0, 0.85], [10, 12_000, 0, 0.9], [100, 12_000, 0, 0.75], [10, 12_000, 0.05, 0.75], [100, 76_000, 0.05, 0.75]] as const) {
      const { share, flow } = bulk(modelBased(), { rate: megabits(rate), delay: 30 * millisecond, queueBytes, loss }, 3, 20)
      expect(share, `${rate} Mbit/s, ${queueBytes} B, loss ${loss}`).toBeGreaterThan(least)
      expect(flow.lostPackets / flow.sentPackets).toBeLessThan(loss + 0.03)
    }
  })

  it('bears jitter, aggregated and lost acknowledgements, and a receiver that acknowledges every 32nd packet', () => {
    const link = { rate: megabits(50), delay: 10 * millisecond, queueBytes: bdp(50, 20) }
    for (const options of [{ ackBatch: 4000 }, { ackBatch: 10_000 }, { ackBatch: 20_000 }, { ackLoss: 0.2 }, { ackEvery: 32, maxAckDelay: 25_000 }, { timer: 4000 }, { segmentsMax: 1 }]) {
      const { share, max } = bulk(modelBased(), link, 2, 12, options)
      expect(share, JSON.stringify(options)).toBeGreaterThan(0.9)
      expect(max).toBeLessThanOrEqual(20)
    }
    for (const [jitter, least] of [[5, 0.9], [10, 0.85], [20, 0.75]] as const) {
      expect(bulk(modelBased(), { ...link, jitter: jitter * millisecond, loss: 0.01 }, 2, 12).share, `jitter ${jitter} ms`).toBeGreaterThan(least)
    }
  })

  it('neither limits nor delays a game that sends less than the path carries', () => {
    for (const [rate, rttMs, bytes, hertz, loss] of [[10, 40, 100, 120, 0], [10, 40, 100, 120, 0.02], [0.3, 100, 200, 120, 0], [10, 40, 5000, 60, 0], [10, 40, 5000, 60, 0.02], [10, 100, 15_000, 20, 0.02]] as const) {
      for (const controller of [modelBased(), new Cubic(DATAGRAM)]) {
        const model = new LinkModel({ rate: megabits(rate), delay: rttMs * 500, queueBytes: 60_000, loss })
        const flow = model.flow({ controller, pattern: { bytes, interval: second / hertz } })
        model.run(second)
        flow.blockedByWindow = 0
        model.run(29 * second)
        const latencies = flow.latencies.sort((a, b) => a - b)
        const p50 = percentile(latencies, 0.5) / 1000
        const p99 = percentile(latencies, 0.99) / 1000
        if (controller.name === 'cubic') continue
        expect(flow.blockedByWindow).toBe(0)
        // One way, the message's own time on the wire, and where packets are lost a retransmission or two.
        const bare = rttMs / 2 + (bytes + 82) / megabits(rate) / 1000
        expect(p50).toBeLessThan(bare + 2)
        expect(p99).toBeLessThan(bare + (loss === 0 ? 2 : 2.5 * rttMs + 40))
      }
    }
  })

  it('starts again after a pause at the rate of the path, without a burst', () => {
    const model = new LinkModel({ rate: megabits(20), delay: 20 * millisecond, queueBytes: 4 * bdp(20, 40) })
    const controller = modelBased()
    const flow = model.flow({ controller })
    model.run(5 * second)
    flow.setRunning(false)
    model.run(30 * second)
    model.link.takeDelays()
    flow.setRunning(true)
    model.run(0.3 * second)
    expect(controller.state).not.toBe('probe-rtt')
    expect(flow.throughput(35.1 * second, 35.3 * second) / megabits(20)).toBeGreaterThan(0.9)
    expect(model.link.takeDelays().at(-1)! / 1000).toBeLessThan(25)
  })

  it('needs no ProbeRTT while its own gaps show the bare path', () => {
    const model = new LinkModel({ rate: megabits(20), delay: 20 * millisecond, queueBytes: 4 * bdp(20, 40), loss: 0.01 })
    const controller = modelBased()
    model.flow({ controller })
    for (let t = 0; t < 3000; t++) {
      model.run(20 * millisecond)
      expect(controller.state).not.toBe('probe-rtt')
    }
    expect(controller.model.minRtt).toBeLessThan(41 * millisecond)
  })

  it('in ProbeRTT slows down, and never stands still', () => {
    const model = new LinkModel({ rate: megabits(20), delay: 20 * millisecond, queueBytes: 2 * bdp(20, 40) })
    const controller = modelBased()
    const flow = model.flow({ controller })
    model.flow({ controller: new Cubic(DATAGRAM) })
    model.run(5 * second)
    let looks = 0
    let inLook = 0
    let gap = 0
    let before = false
    for (let t = 0; t < 6000; t++) {
      flow.longestGap = 0
      model.run(5 * millisecond)
      const now = controller.state === 'probe-rtt'
      if (now && !before) looks++
      if (now) {
        inLook += 5
        gap = Math.max(gap, flow.longestGap / 1000)
      }
      before = now
    }
    expect(looks).toBeGreaterThan(1)
    expect(inLook / looks).toBeLessThan(600)
    expect(inLook / 30_000).toBeLessThan(0.15)
    expect(gap).toBeLessThan(60)
  })

  it('leaves Startup on loss alone where no queue shows', () => {
    const controller = modelBased()
    bulk(controller, { rate: megabits(100), delay: 20 * millisecond, queueBytes: 20_000 }, 0, 2)
    expect(controller.state).not.toBe('startup')
  })

  it('is not throttled by processes that wait for a core where the round trip is short', () => {
    for (const stall of [5, 10, 20, 40]) {
      const model = new LinkModel({ rate: megabits(320), delay: 50, queueBytes: 2_000_000 })
      const flow = model.flow({ controller: modelBased() })
      model.run(0.5 * second)
      flow.ackBatch = stall * millisecond
      model.run(2 * second)
      expect(flow.throughput(1 * second, 2.5 * second) / megabits(320), `${stall} ms`).toBeGreaterThan(0.8)
    }
  })
})
