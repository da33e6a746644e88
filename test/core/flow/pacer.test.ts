import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { never, toInstant } from '../../../src/core/base/time.ts'
import { Pacer } from '../../../src/core/flow/pacer.ts'

const SIZE = 1181
const RTT = 40_000

describe('Pacer', () => {
  it('lets no more go in any stretch of time than the rate and one burst', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(20_000), fc.nat(20)), { minLength: 1, maxLength: 100 }), fc.integer({ min: 2, max: 400 }), (steps, datagrams) => {
      const pacer = new Pacer()
      const window = datagrams * SIZE
      const rate = (1.25 * window) / RTT
      const burst = Math.max(10 * SIZE, rate * 1500)
      let now = 1_000_000
      let sent = 0
      for (const [pause, wanted] of steps) {
        now += pause
        const tokens = pacer.available(toInstant(now), window, RTT, undefined, SIZE, 64 * SIZE)
        const count = Math.min(wanted, Math.floor(tokens / SIZE))
        pacer.spend(count * SIZE)
        sent += count * SIZE
        expect(sent).toBeLessThanOrEqual(burst + (now - 1_000_000) * rate + 1)
      }
    }))
  })

  it('says when the next datagram may go, and it may go then', () => {
    const pacer = new Pacer()
    expect(pacer.nextAt(SIZE)).toBe(never)
    let now = toInstant(5_000_000)
    for (let i = 0; i < 200; i++) {
      const tokens = pacer.available(now, 20 * SIZE, RTT, undefined, SIZE, 64 * SIZE)
      pacer.spend(Math.max(0, Math.floor(tokens / SIZE)) * SIZE)
      const next = pacer.nextAt(SIZE)
      expect(next).toBeGreaterThan(now)
      now = next
      expect(pacer.available(now, 20 * SIZE, RTT, undefined, SIZE, 64 * SIZE)).toBeGreaterThanOrEqual(SIZE - 1)
    }
    // 200 datagrams behind the first burst at 1.25 windows per round trip.
    expect(now - 5_000_000).toBeCloseTo((200 * SIZE) / ((1.25 * 20 * SIZE) / RTT), -4)
  })

  it('makes up for a call that comes late, up to a quarter of a round trip, and says when that was not enough', () => {
    for (const [late, made] of [[0, 0], [5000, 5000], [10_000, 10_000], [10_001, 10_000], [500_000, 10_000]] as const) {
      const pacer = new Pacer()
      pacer.available(toInstant(0), 0, RTT, 2, SIZE, 64 * SIZE)
      pacer.spend(10 * SIZE)
      const due = pacer.nextAt(10 * SIZE)
      const burst = 10 * SIZE
      const now = toInstant(due + late)
      expect(pacer.available(now, 0, RTT, 2, SIZE, 64 * SIZE)).toBeCloseTo(burst + 2 * made, 3)
      expect(pacer.overdue).toBe(late > 10_000)
      // Asked again in the same turn it still has what was not spent, and no more later.
      pacer.spend(SIZE)
      expect(pacer.available(now, 0, RTT, 2, SIZE, 64 * SIZE)).toBeCloseTo(burst + 2 * made - SIZE, 3)
      pacer.rest()
      expect(pacer.available(toInstant(now + 20_000), 0, RTT, 2, SIZE, 64 * SIZE)).toBeLessThanOrEqual(burst)
      expect(pacer.overdue).toBe(false)
    }
  })

  it('takes the rate of a controller that has one, and a whole burst of segments below a millisecond of round trip', () => {
    const pacer = new Pacer()
    expect(pacer.available(toInstant(0), 20 * SIZE, 200, 2, SIZE, 64 * SIZE)).toBe(64 * SIZE)
    pacer.spend(64 * SIZE)
    expect(pacer.available(toInstant(1000), 20 * SIZE, 200, 2, SIZE, 64 * SIZE)).toBe(2000)
  })
})
