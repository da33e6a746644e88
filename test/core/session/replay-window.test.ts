import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { REPLAY_WINDOW_SIZE, ReplayWindow } from '../../../src/core/session/replay-window.ts'

/** The plain twin: everything ever seen, and the rule of WIRE.md §4. */
class PlainWindow {
  readonly seen = new Set<number>()
  greatest = -1

  mark(counter: number): boolean {
    if (counter < this.greatest - 8191 || this.seen.has(counter)) return false
    this.seen.add(counter)
    this.greatest = Math.max(this.greatest, counter)
    return true
  }
}

/** Where the next counter lies, seen from the greatest so far. */
const jump = fc.oneof(
  fc.integer({ min: -64, max: 64 }),
  fc.integer({ min: -9000, max: 9000 }),
  fc.constantFrom(0, 1, 31, 32, 33, 64, 8160, 8191, 8192, 8193, 8223, 8224, 8225, 2 * 8224, 100_000, -1, -31, -32, -33, -8159, -8160, -8190, -8191, -8192, -8193),
)
const starts = fc.constantFrom(0, 31, 8191, 2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32, 2 ** 48, 2 ** 53 - 20_000_000)

describe('ReplayWindow (RFC 6479, WIRE.md §4)', () => {
  it('is a set of everything seen, cut off 8191 behind the greatest', () => {
    fc.assert(fc.property(starts, fc.array(jump, { minLength: 1, maxLength: 120 }), (start, jumps) => {
      const window = new ReplayWindow()
      const plain = new PlainWindow()
      let greatest = start
      for (const distance of jumps) {
        const counter = Math.max(0, greatest + distance)
        const expected = plain.mark(counter)
        expect(window.check(counter)).toBe(expected)
        expect(window.mark(counter)).toBe(expected)
        expect(window.check(counter)).toBe(false)
        expect(window.greatest).toBe(plain.greatest)
        greatest = plain.greatest
      }
      // Every counter of the window and around its ends, not only those that were asked for.
      for (let behind = -2; behind < REPLAY_WINDOW_SIZE + 70; behind += behind > 40 && behind < 8100 ? 7 : 1) {
        const counter = plain.greatest - behind
        if (counter >= 0) expect(window.check(counter)).toBe(counter >= plain.greatest - 8191 && !plain.seen.has(counter))
      }
    }), { numRuns: 150 })
  })

  it('takes a whole window in any order, each counter once', () => {
    const counters = Array.from({ length: REPLAY_WINDOW_SIZE }, (_, i) => 2 ** 32 - 4000 + i)
    fc.assert(fc.property(fc.shuffledSubarray(counters, { minLength: counters.length }), (order) => {
      const window = new ReplayWindow()
      for (const counter of order) expect(window.mark(counter)).toBe(true)
      for (const counter of order) expect(window.mark(counter)).toBe(false)
    }), { numRuns: 3 })
  })

  it('reading changes nothing: a forged great counter shuts nobody out', () => {
    const window = new ReplayWindow()
    window.mark(10)
    expect(window.check(2 ** 52)).toBe(true)
    expect([window.greatest, window.mark(11), window.mark(9)]).toEqual([10, true, true])
  })

  it('begins with nothing seen, and counter 0 is a counter', () => {
    const window = new ReplayWindow()
    expect([window.greatest, window.check(0), window.mark(0), window.mark(0), window.greatest]).toEqual([-1, true, true, false, 0])
  })
})
