import fc from 'fast-check'
import { expect, test } from 'vitest'
import { after, second, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { Reassembly, REASSEMBLY_TIMEOUT } from '../../../src/core/ble/reassembly.ts'
import { decodeBleValue, encodeSegment, SEQUENCES, type BleValue } from '../../../src/core/ble/values.ts'

type Segment = Extract<BleValue, { kind: 'data' }>

const start = toInstant(0)
const SIZE_MAX = 1200

/** The same, as one would write it who had all memory and all time: the list of what came since the first of a datagram. */
class PlainReassembly {
  #parts: Segment[] = []
  #began = start
  #expected = 0
  taken = 0
  dropped = 0

  take(now: Instant, segment: Segment): string | Uint8Array {
    const missing = (segment.sequence - this.#expected + SEQUENCES) % SEQUENCES
    this.taken += missing + 1
    this.#expected = (segment.sequence + 1) % SEQUENCES
    if (missing > 0 || segment.first) this.#drop()
    if (segment.first && segment.total > SIZE_MAX) return 'malformed'
    if (!segment.first && this.#parts.length === 0) return 'gap'
    if (segment.first) this.#began = now
    this.#parts.push(segment)
    const { total } = this.#parts[0]!
    const bytes = this.#parts.flatMap((part) => [...part.bytes])
    if (segment.last ? bytes.length !== total : bytes.length >= total) {
      this.#drop()
      return 'malformed'
    }
    if (!segment.last) return 'more'
    this.#parts = []
    return Uint8Array.from(bytes)
  }

  handleTimeout(now: Instant): void {
    if (this.#parts.length > 0 && now - this.#began >= REASSEMBLY_TIMEOUT) this.#drop()
  }

  #drop(): void {
    if (this.#parts.length > 0) this.dropped++
    this.#parts = []
  }
}

function asSegment(value: Uint8Array): Segment | undefined {
  const decoded = decodeBleValue(value)
  return decoded.kind === 'data' ? decoded : undefined
}

const wild = fc.uint8Array({ minLength: 2, maxLength: 40 }).map((bytes) => Uint8Array.of(bytes[0]! & 0x7f, ...bytes.subarray(1)))
const cut = fc.tuple(fc.integer({ min: 1, max: 400 }), fc.nat(31), fc.nat(399), fc.integer({ min: 4, max: 60 })).map(([length, sequence, offset, size]) => encodeSegment(new Uint8Array(length).fill(length), Math.min(offset, length - 1), sequence, size))
/** A whole datagram, of which perhaps one segment is lost, doubled or changed with its neighbour. */
const whole = fc.tuple(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 4, max: 80 }), fc.nat(31), fc.constantFrom('as it is', 'lost', 'doubled', 'swapped', 'unmarked', 'marked early'), fc.nat(20)).map(([length, size, from, what, where]) => {
  const datagram = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 255)
  const segments: Uint8Array[] = []
  for (let offset = 0, n = from; offset < length; n++) {
    const segment = encodeSegment(datagram, offset, n, size)
    offset += segment.length - (offset === 0 ? 3 : 1)
    segments.push(segment)
  }
  const at = where % segments.length
  if (what === 'unmarked') segments.at(-1)![0]! &= ~0x20
  if (what === 'marked early') segments[at]![0]! |= 0x20
  if (what === 'lost') segments.splice(at, 1)
  if (what === 'doubled') segments.splice(at, 0, segments[at]!)
  if (what === 'swapped' && at + 1 < segments.length) segments.splice(at, 2, segments[at + 1]!, segments[at]!)
  return segments
})

test('any segments in any order: as a plain list of them would have it, and never more than one datagram', () => {
  fc.assert(fc.property(fc.array(fc.oneof(wild.map((one) => [one]), cut.map((one) => [one]), { weight: 3, arbitrary: whole }), { maxLength: 20 }), fc.array(fc.nat(12), { minLength: 1, maxLength: 8 }), (values, waits) => {
    const [real, plain] = [new Reassembly(SIZE_MAX), new PlainReassembly()]
    let now = start
    for (const [i, segment] of values.flat().map(asSegment).entries()) {
      if (segment === undefined) continue
      // Mostly none, now and then beyond what a datagram may take.
      now = after(now, i % 5 === 0 ? waits[i % waits.length]! * second : 0)
      real.handleTimeout(now)
      plain.handleTimeout(now)
      expect(real.take(now, segment)).toEqual(plain.take(now, segment))
      expect([real.taken, real.dropped]).toEqual([plain.taken, plain.dropped])
    }
  }), { numRuns: 300 })
})
