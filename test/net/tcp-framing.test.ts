import { describe, expect, it } from 'vitest'
import { concat, writeU16 } from '../../src/core/base/bytes.ts'
import { RECORD_LENGTH_MAX, RECORD_LENGTH_MIN, TCP_PREFACE, TcpFramer, type FramerStep } from '../../src/net/tcp-framing.ts'

type Outcome = 'more' | 'bad_preface' | 'bad_length'

interface Parsed {
  readonly prefaces: number
  readonly records: Uint8Array[]
  readonly outcome: Outcome
}

/** Reproducible random numbers: the seed is in the test's name. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function record(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(2 + length)
  writeU16(bytes, 0, length)
  for (let i = 0; i < length; i++) bytes[2 + i] = (seed * 31 + i * 7) & 0xff
  return bytes
}

/** What WIRE.md §7 says of a whole stream, in the plainest way. */
function model(stream: Uint8Array): Parsed {
  const records: Uint8Array[] = []
  for (let i = 0; i < Math.min(4, stream.length); i++) {
    if (stream[i] !== TCP_PREFACE[i]) return { prefaces: 0, records, outcome: 'bad_preface' }
  }
  if (stream.length < 4) return { prefaces: 0, records, outcome: 'more' }
  let at = 4
  while (at + 2 <= stream.length) {
    const length = stream[at]! + 256 * stream[at + 1]!
    if (length < 20 || length > 16_349) return { prefaces: 1, records, outcome: 'bad_length' }
    if (at + 2 + length > stream.length) break
    records.push(stream.slice(at + 2, at + 2 + length))
    at += 2 + length
  }
  return { prefaces: 1, records, outcome: 'more' }
}

function drain(framer: TcpFramer, into: { prefaces: number; records: Uint8Array[] }): Exclude<FramerStep, 'record' | 'preface'> {
  for (;;) {
    const step = framer.next()
    if (step === 'preface') into.prefaces++
    else if (step === 'record') into.records.push(framer.source.slice(framer.offset, framer.offset + framer.length))
    else return step
  }
}

function parse(pieces: readonly Uint8Array[]): Parsed {
  const framer = new TcpFramer()
  const result = { prefaces: 0, records: [] as Uint8Array[] }
  for (const piece of pieces) {
    framer.feed(piece)
    const step = drain(framer, result)
    if (step === 'limit') throw new Error('a framer without a limit reached one')
    if (step !== 'more') return { ...result, outcome: step }
  }
  return { ...result, outcome: 'more' }
}

/** As `toEqual`, and a hundred times faster on long records. */
function isSame(a: Parsed, b: Parsed): boolean {
  return a.prefaces === b.prefaces && a.outcome === b.outcome && a.records.length === b.records.length
    && a.records.every((bytes, i) => Buffer.compare(bytes, b.records[i]!) === 0)
}

function cut(stream: Uint8Array, at: readonly number[]): Uint8Array[] {
  const ends = [...at, stream.length]
  return ends.map((end, i) => stream.subarray(i === 0 ? 0 : ends[i - 1], end))
}

describe('splits', () => {
  const stream = concat(TCP_PREFACE, record(20, 1), record(31, 2), record(20, 3), record(45, 4))
  const whole = model(stream)

  it('the model reads the example', () => {
    expect(whole).toMatchObject({ prefaces: 1, outcome: 'more' })
    expect(whole.records.map(({ length }) => length)).toEqual([20, 31, 20, 45])
  })

  it('every cut in two and in three gives the same', () => {
    for (let first = 0; first <= stream.length; first++) {
      expect(parse(cut(stream, [first]))).toEqual(whole)
      for (let second = first; second <= stream.length; second++) {
        if (!isSame(parse(cut(stream, [first, second])), whole)) throw new Error(`cut at ${first} and ${second}, it reads otherwise`)
      }
    }
  })

  it('byte by byte, and with empty pieces between', () => {
    const pieces = Array.from(stream, (_, i) => stream.subarray(i, i + 1))
    expect(parse(pieces)).toEqual(whole)
    expect(parse(pieces.flatMap((piece) => [new Uint8Array(0), piece]))).toEqual(whole)
  })

  it('the longest and the shortest record, cut anywhere around their borders', () => {
    const long = concat(TCP_PREFACE, record(RECORD_LENGTH_MAX, 5), record(RECORD_LENGTH_MIN, 6), record(RECORD_LENGTH_MAX, 7))
    const expected = model(long)
    expect(expected.records.map(({ length }) => length)).toEqual([RECORD_LENGTH_MAX, RECORD_LENGTH_MIN, RECORD_LENGTH_MAX])
    const borders = [4, 6, 6 + RECORD_LENGTH_MAX, 8 + RECORD_LENGTH_MAX, 8 + RECORD_LENGTH_MAX + RECORD_LENGTH_MIN]
    for (const border of borders) {
      for (let shift = -3; shift <= 3; shift++) {
        if (!isSame(parse(cut(long, [border + shift])), expected)) throw new Error(`cut at ${border} ${shift}, it reads otherwise`)
      }
    }
  })
})

describe('lengths', () => {
  it.each([0, 1, 19, 16_350, 16_384, 32_768, 65_535])('%d is refused as soon as its second byte is there', (length) => {
    const header = new Uint8Array(2)
    writeU16(header, 0, length)
    const stream = concat(TCP_PREFACE, record(20, 1), header)
    expect(parse([stream])).toMatchObject({ outcome: 'bad_length' })
    expect(parse([stream]).records).toHaveLength(1)
    expect(parse(cut(stream, [stream.length - 1]))).toMatchObject({ outcome: 'bad_length' })
    expect(parse([stream.subarray(0, -1)])).toMatchObject({ outcome: 'more' })
  })

  it.each([20, 16_349])('%d is taken', (length) => {
    expect(parse([TCP_PREFACE, record(length, 1)]).records).toEqual([record(length, 1).slice(2)])
  })

  it('nothing is read after a bad one', () => {
    const framer = new TcpFramer()
    framer.feed(concat(TCP_PREFACE, Uint8Array.of(1, 0), record(20, 1)))
    expect([framer.next(), framer.next()]).toEqual(['preface', 'bad_length'])
    framer.feed(record(20, 1))
    expect(framer.next()).toBe('bad_length')
  })
})

describe('preface', () => {
  it('any other byte is refused at once', () => {
    for (let position = 0; position < 4; position++) {
      for (let byte = 0; byte < 256; byte++) {
        const bytes = TCP_PREFACE.slice(0, position + 1)
        bytes[position] = byte
        expect(parse([bytes]).outcome).toBe(byte === TCP_PREFACE[position] ? 'more' : 'bad_preface')
      }
    }
  })
})

describe('limit', () => {
  it('uses no byte beyond it before it is lifted, and all of them afterwards', () => {
    const stream = concat(TCP_PREFACE, record(100, 1), record(300, 2), record(50, 3))
    for (let limit = 0; limit <= stream.length + 1; limit++) {
      for (const size of [1, 7, stream.length]) {
        const framer = new TcpFramer(limit)
        const result = { prefaces: 0, records: [] as Uint8Array[] }
        let fed = 0
        let step: FramerStep = 'more'
        while (step === 'more' && fed < stream.length) {
          framer.feed(stream.subarray(fed, fed + size))
          fed += size
          step = drain(framer, result)
        }
        const allowed = model(stream.subarray(0, limit))
        expect(isSame({ ...result, outcome: 'more' }, allowed)).toBe(true)
        expect(step).toBe(limit >= stream.length ? 'more' : 'limit')
        expect(framer.pending).toBe(step === 'limit')
        framer.lift()
        if (step === 'limit') expect(drain(framer, result)).toBe('more')
        framer.feed(stream.subarray(fed))
        expect(drain(framer, result)).toBe('more')
        expect(isSame({ ...result, outcome: 'more' }, model(stream))).toBe(true)
      }
    }
  })
})

describe('what has begun', () => {
  it('is known from the first byte, and its length from the second', () => {
    const framer = new TcpFramer()
    const result = { prefaces: 0, records: [] as Uint8Array[] }
    const seen: [boolean, number][] = []
    for (const byte of concat(TCP_PREFACE, record(20, 1), Uint8Array.of(0xff))) {
      framer.feed(Uint8Array.of(byte))
      drain(framer, result)
      seen.push([framer.begun, framer.expected])
    }
    expect(seen.slice(0, 4)).toEqual(new Array(4).fill([false, 0]))
    expect(seen.slice(4, 7)).toEqual([[true, 0], [true, 20], [true, 20]])
    expect(seen.slice(24)).toEqual([[true, 20], [false, 0], [true, 0]])
  })
})

describe('memory', () => {
  it('follows what arrived, not what was announced, and is given back between records', () => {
    const framer = new TcpFramer()
    framer.feed(concat(TCP_PREFACE, Uint8Array.of(RECORD_LENGTH_MAX & 0xff, RECORD_LENGTH_MAX >>> 8), new Uint8Array(10)))
    expect([framer.next(), framer.next()]).toEqual(['preface', 'more'])
    let held = 0
    for (let i = 10; i < RECORD_LENGTH_MAX - 1; i++) {
      framer.feed(Uint8Array.of(1))
      expect(framer.next()).toBe('more')
      held = Math.max(held, framer.heldBytes - 2 * (i + 3))
    }
    expect(held).toBeLessThanOrEqual(512)
    expect(framer.heldBytes).toBe(RECORD_LENGTH_MAX + 2)
    framer.feed(Uint8Array.of(1))
    expect([framer.next(), framer.next()]).toEqual(['record', 'more'])
    expect(framer.heldBytes).toBe(0)
  })
})

describe('fuzz', () => {
  const seed = Number(process.env['POSTERN_SEED'] ?? 20_261)

  it(`100,000 random streams in random pieces read as the model reads them (seed ${seed})`, () => {
    const random = generator(seed)
    const outcomes = { more: 0, bad_preface: 0, bad_length: 0 }
    for (let i = 0; i < 100_000; i++) {
      const stream = randomStream(random)
      const cuts = Array.from({ length: random(6) }, () => random(stream.length + 1)).sort((a, b) => a - b)
      const expected = model(stream)
      const actual = parse(cut(stream, cuts))
      if (!isSame(actual, expected)) throw new Error(`stream ${i} of seed ${seed}, cut at ${cuts.join(', ')}, reads otherwise: ${Buffer.from(stream).toString('hex')}`)
      outcomes[actual.outcome]++
    }
    // Each outcome is met often, so the comparison means something.
    for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(5_000)
  })
})

/** Valid, cut short, with a byte changed, or garbage from some point on. */
function randomStream(random: (below: number) => number): Uint8Array {
  const records = Array.from({ length: random(6) }, (_, i) => record(random(50) === 0 ? 20 + random(16_330) : 20 + random(60), i))
  const stream = concat(TCP_PREFACE, ...records)
  switch (random(5)) {
    case 0:
      return stream
    case 1:
      return stream.slice(0, random(stream.length + 1))
    case 2: {
      const at = random(stream.length)
      stream[at] = random(256)
      return stream
    }
    case 3: {
      // A bad header after whole records.
      const tail = Uint8Array.from({ length: 2 + random(20) }, () => random(256))
      return concat(stream, tail)
    }
    default: {
      const garbage = Uint8Array.from({ length: random(40) }, () => random(256))
      if (random(2) === 0) garbage.set(TCP_PREFACE.subarray(0, garbage.length))
      return garbage
    }
  }
}
