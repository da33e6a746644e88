import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/core/base/bytes.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import { compareStamps, nextStamp, stampOf } from '../../../src/core/session/tai64n.ts'
import { hex } from '../../support/bytes.ts'

const wall = fc.integer({ min: 0, max: 8_640_000_000_000 }).map(toWallTime)

describe('TAI64N stamps (WIRE.md §3.7)', () => {
  it('count seconds from 2^62, ten ahead of Unix time, big-endian', () => {
    expect(toHex(stampOf(toWallTime(0)))).toBe('400000000000000a00000000')
    // 2026-11-21 00:00:00.500 UTC; 500,000,000 ns = 0x1dcd6500, rounded down to 2^24.
    expect(toHex(stampOf(toWallTime(1_795_219_200_500)))).toBe('400000006b00df0a1d000000')
    expect(toHex(stampOf(toWallTime(2 ** 32 * 1000)))).toBe('400000010000000a00000000')
    expect(toHex(stampOf(toWallTime(-5)))).toBe('400000000000000a00000000')
  })

  it('are rounded down to 2^24 ns, which loses less than 17 ms', () => {
    fc.assert(fc.property(wall, (time) => {
      const stamp = stampOf(time)
      const view = new DataView(stamp.buffer)
      const back = (view.getUint32(0) - 0x4000_0000) * 2 ** 32 * 1000 + (view.getUint32(4) - 10) * 1000 + view.getUint32(8) / 1_000_000
      expect(view.getUint32(8) % 2 ** 24).toBe(0)
      expect(time - back).toBeGreaterThanOrEqual(0)
      expect(time - back).toBeLessThan(17)
    }))
  })

  it('bytewise order is order in time', () => {
    fc.assert(fc.property(wall, wall, (one, other) => {
      expect(Math.sign(compareStamps(stampOf(one), stampOf(other))) * Math.sign(one - other)).toBeGreaterThanOrEqual(0)
      if (Math.abs(one - other) > 17) expect(Math.sign(compareStamps(stampOf(one), stampOf(other)))).toBe(Math.sign(one - other))
    }))
  })

  it('rise strictly, whatever the clock does', () => {
    fc.assert(fc.property(fc.array(wall, { minLength: 1, maxLength: 30 }), (clock) => {
      let last: Uint8Array | undefined
      for (const time of clock) {
        const next = nextStamp(time, last)
        if (last !== undefined) expect(compareStamps(next, last)).toBeGreaterThan(0)
        expect(compareStamps(next, stampOf(time))).toBeGreaterThanOrEqual(0)
        last = next
      }
    }))
  })

  it('follow the last one by one nanosecond while the clock stands, with carry', () => {
    const stopped = toWallTime(0)
    expect(toHex(nextStamp(stopped, stampOf(stopped)))).toBe('400000000000000a00000001')
    expect(toHex(nextStamp(stopped, hex('400000000000000a3b9ac9ff')))).toBe('400000000000000b00000000')
    expect(toHex(nextStamp(stopped, hex('40000000ffffffff3b9ac9ff')))).toBe('400000010000000000000000')
    // A stored stamp that is no stamp still leads to a greater one.
    expect(toHex(nextStamp(stopped, hex('400000000000000affffffff')))).toBe('400000000000000b00000000')
  })
})
