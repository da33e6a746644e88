import { describe, expect, it } from 'vitest'
import { toInstant } from '../../../src/core/base/time.ts'
import type { AckSample } from '../../../src/core/flow/congestion.ts'
import { Cubic, initialWindow } from '../../../src/core/flow/cubic.ts'

const SIZE = 1200
const RTT = 50_000

/** CUBIC looks at no delivery rates. */
const unrated = { deliveredTotal: 0, priorDelivered: 0, delivered: 0, deliveryRate: 0, appLimited: false, txInFlight: 0, lost: 0 }

function acked(at: number, sentAt: number, windowLimited: boolean): AckSample {
  return { ...unrated, now: toInstant(at), bytes: SIZE, sentAt: toInstant(sentAt), inFlight: 0, windowLimited, rtt: RTT, smoothedRtt: RTT, minRtt: RTT }
}

/** One round trip in which the whole window is acknowledged. */
function roundTrip(cubic: Cubic, now: number, windowLimited = true): void {
  const datagrams = Math.floor(cubic.window / SIZE)
  for (let i = 0; i < datagrams; i++) {
    const at = now + (i * RTT) / datagrams
    cubic.onAcked(acked(at, at - RTT, windowLimited))
  }
}

/** A window after one loss at `window`. */
function afterLoss(window: number, now: number): Cubic {
  const cubic = new Cubic(SIZE)
  while (cubic.window < window) cubic.onAcked(acked(now - RTT, now - RTT, true))
  cubic.onLost(toInstant(now), SIZE, toInstant(now - RTT / 2), false)
  return cubic
}

describe('Cubic (RFC 9438)', () => {
  it('begins with ten datagrams, at most 14,720 bytes, and doubles per round trip until something is lost', () => {
    expect([initialWindow(1200), initialWindow(1472), initialWindow(9000)]).toEqual([12_000, 14_720, 18_000])
    const cubic = new Cubic(SIZE)
    roundTrip(cubic, 1_000_000)
    expect([cubic.window, cubic.inSlowStart]).toEqual([24_000, true])
    roundTrip(cubic, 1_050_000, false)
    expect(cubic.window).toBe(24_000)
  })

  it('answers a loss with 0.7 of the window, and only once per round trip', () => {
    const cubic = afterLoss(240_000, 10_000_000)
    expect(cubic.window).toBeCloseTo(0.7 * 240_000, 6)
    cubic.onLost(toInstant(10_010_000), SIZE, toInstant(9_999_999), false)
    expect(cubic.window).toBeCloseTo(0.7 * 240_000, 6)
    cubic.onLost(toInstant(10_060_000), SIZE, toInstant(10_000_001), false)
    expect(cubic.window).toBeCloseTo(0.49 * 240_000, 6)
  })

  it('comes back to the old window after K = ∛(0.3 W / C) seconds, flattens there, and goes on beyond', () => {
    const window = 480_000
    const cubic = afterLoss(window, 10_000_000)
    const k = Math.cbrt((0.3 * window) / SIZE / 0.4)
    const at: number[] = []
    for (let trip = 1; trip * RTT <= 2 * k * 1e6; trip++) {
      roundTrip(cubic, 10_000_000 + trip * RTT)
      at.push(cubic.window)
    }
    const when = (seconds: number): number => at[Math.min(at.length - 1, Math.floor((seconds * 1e6) / RTT))]!
    expect(when(k) / window).toBeCloseTo(1, 1)
    expect(when(0.9 * k) - when(0.8 * k)).toBeLessThan(when(0.2 * k) - when(0.1 * k))
    expect(when(1.9 * k) / window).toBeGreaterThan(1.1)
  })

  it('falls to two datagrams under persistent congestion and rises in slow start again', () => {
    const cubic = afterLoss(240_000, 10_000_000)
    cubic.onLost(toInstant(20_000_000), SIZE, toInstant(19_000_000), true)
    expect([cubic.window, cubic.inSlowStart]).toEqual([2 * SIZE, true])
    cubic.setDatagramSize(9000)
    expect(cubic.window).toBe(18_000)
  })
})
