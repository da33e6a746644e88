import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { ACK_RANGES_KEPT, ACK_RANGES_SENT, AckRanges } from '../../../src/core/flow/ack-ranges.ts'

const SPACE = 2000

/** What an ACK frame's body says, greatest first. */
function read(bytes: Uint8Array, end: number): { readonly numbers: number[]; readonly delay: number; readonly ranges: number } {
  const reader = new ByteReader(bytes)
  reader.reset(bytes, 0, end)
  let high = reader.varint()
  const delay = reader.varint()
  const count = reader.varint()
  let low = high - reader.varint()
  const numbers: number[] = []
  const take = (): void => { for (let number = high; number >= low; number--) numbers.push(number) }
  take()
  for (let i = 0; i < count; i++) {
    high = low - reader.varint() - 2
    low = high - reader.varint()
    take()
  }
  expect(reader.failed).toBe(false)
  return { numbers, delay, ranges: count + 1 }
}

describe('AckRanges', () => {
  it('an ACK frame says the newest of what was received and not retired, whatever the order', () => {
    fc.assert(fc.property(fc.uniqueArray(fc.nat(300), { minLength: 1, maxLength: 120 }), fc.integer({ min: -1, max: 300 }), fc.integer({ min: 8, max: 300 }), fc.nat(10_000), (numbers, retired, room, delay) => {
      const ranges = new AckRanges()
      let greatest = -1
      for (const number of numbers) {
        expect(ranges.insert(number)).toBe(number === greatest + 1)
        greatest = Math.max(greatest, number)
      }
      ranges.retire(retired)
      expect(ranges.largest).toBe(greatest)
      const bytes = new Uint8Array(room)
      const end = ranges.write(bytes, 0, room, delay)
      if (end === 0) return
      const said = read(bytes, end)
      // When all were retired, the newest range stays as it is, so that `largest` never goes back.
      let newest = greatest
      while (numbers.includes(newest - 1)) newest--
      const left = numbers.filter((number) => number > retired || (greatest <= retired && number >= newest)).sort((a, b) => b - a)
      expect(said.delay).toBe(delay)
      expect(said.numbers).toEqual(left.slice(0, said.numbers.length))
      if (room === 300) expect(said.numbers.length === left.length || said.ranges === ACK_RANGES_SENT).toBe(true)
    }), { numRuns: 500 })
  })

  it('keeps so many ranges and forgets the oldest beyond', () => {
    const ranges = new AckRanges()
    for (let number = 0; number < SPACE; number += 2) ranges.insert(number)
    expect(ranges.count).toBe(ACK_RANGES_KEPT)
    const bytes = new Uint8Array(1000)
    const said = read(bytes, ranges.write(bytes, 0, bytes.length, 0))
    expect([said.ranges, said.numbers[0], said.numbers.at(-1)]).toEqual([ACK_RANGES_SENT, SPACE - 2, SPACE - 2 * ACK_RANGES_SENT])
    // Older than all that is kept: there is no room for it, and nothing newer goes for it.
    ranges.insert(1)
    expect([ranges.count, ranges.largest]).toEqual([ACK_RANGES_KEPT, SPACE - 2])
  })

  it('writes nothing where not even the first range fits', () => {
    const ranges = new AckRanges()
    ranges.insert(5_000_000)
    expect(ranges.write(new Uint8Array(6), 0, 6, 0)).toBe(0)
  })
})
