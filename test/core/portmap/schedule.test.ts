import fc from 'fast-check'
import { expect, it } from 'vitest'
import { millisecond, minute, never, second, toInstant } from '../../../src/core/base/time.ts'
import { natPmpRestarted, pcpRestarted } from '../../../src/core/portmap/epoch.ts'
import { nextRound, renewalTime, retryPause, TRIES_MAX } from '../../../src/core/portmap/schedule.ts'

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(seconds * second)

it('a PCP server restarted when its clock went back, or ran by more than a sixteenth and 2 s otherwise than ours (RFC 6887 §8.5)', () => {
  const table: readonly (readonly [value: number, atSeconds: number, restarted: boolean])[] = [
    [1000, 0, false], [999, 0, false], [998, 0, true], [0, 100, true], [1100, 100, false],
    // Ours shows 160 s: 148 … 172 and a little are good.
    [1148, 160, false], [1147, 160, true], [1172, 160, false], [1173, 160, true],
    // Both stood still, and a jump ahead.
    [1002, 0, false], [1003, 0, true],
  ]
  for (const [value, seconds, restarted] of table) expect(pcpRestarted({ value: 1000, at: at(0) }, value, at(seconds)), `${value} after ${seconds} s`).toBe(restarted)
  expect(pcpRestarted(undefined, 0, at(5))).toBe(false)
})

it('a NAT-PMP server restarted when its clock is more than an eighth and 2 s behind ours (RFC 6886 §3.6)', () => {
  for (const [value, seconds, restarted] of [[1000, 0, false], [998, 0, false], [997, 0, true], [1138, 160, false], [1137, 160, true], [5000, 160, false], [0, 1, true]] as const) {
    expect(natPmpRestarted({ value: 1000, at: at(0) }, value, at(seconds)), `${value} after ${seconds} s`).toBe(restarted)
  }
  expect(natPmpRestarted(undefined, 0, at(5))).toBe(false)
})

it('a clock that is exact to a thirty-second is never a restart, in any order of readings a second apart', () => {
  fc.assert(fc.property(fc.nat(1_000_000), fc.nat(100_000), fc.double({ min: -1 / 32, max: 1 / 32, noNaN: true }), (value, seconds, drift) => {
    const later = Math.floor(value + seconds * (1 + drift))
    expect(pcpRestarted({ value, at: at(0) }, later, at(seconds))).toBe(false)
    expect(natPmpRestarted({ value, at: at(0) }, later, at(seconds))).toBe(false)
  }))
})

it('renewals lie where RFC 6887 §11.2.1 wants them, ever later, never past the end but for the 4 s between them', () => {
  fc.assert(fc.property(fc.integer({ min: 8, max: 86_400 }), fc.nat(10), unit, (lifetime, attempt, drawn) => {
    const span = lifetime * second
    const time = renewalTime(at(0), at(0), span, attempt, drawn)
    const least = 1 - 1 / 2 ** (attempt + 1)
    expect(time).toBeGreaterThanOrEqual(Math.max(span * least, 4 * second))
    expect(time).toBeLessThanOrEqual(Math.max(span * (least + 1 / 2 ** (attempt + 3)), 4 * second))
  }))
  expect(renewalTime(at(0), at(97), 100 * second, 4, 0)).toBe(at(101))
})

it('retries double from 250 ms, rounds stop after the fifth', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: TRIES_MAX }), unit, (tries, drawn) => {
    const middle = 250 * millisecond * 2 ** (tries - 1)
    expect(Math.abs(retryPause(tries, drawn) - middle)).toBeLessThanOrEqual(middle / 10 + 1)
  }))
  expect([0, 1, 2, 3].map((round) => (nextRound(at(0), round, 0.5)) / minute)).toEqual([1, 5, 25, 120])
  expect(nextRound(at(0), 4, 0.5)).toBe(never)
})
