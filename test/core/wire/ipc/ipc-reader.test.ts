import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, toHex, writeU32 } from '../../../../src/core/base/bytes.ts'
import { IpcFrameReader } from '../../../../src/core/wire/ipc/ipc-reader.ts'

const LIMITS = { json: 400, message: 1000 }

interface Frame { readonly kind: number; readonly body: Uint8Array }

function encode({ kind, body }: Frame): Uint8Array {
  const bytes = new Uint8Array(5 + body.length)
  writeU32(bytes, 0, body.length + 1)
  bytes[4] = kind
  bytes.set(body, 5)
  return bytes
}

/** What a reader makes of a stream that comes in these pieces. */
function readAll(reader: IpcFrameReader, chunks: readonly Uint8Array[]): { frames: string[]; malformed: boolean } {
  const frames: string[] = []
  for (const chunk of chunks) {
    reader.push(chunk)
    for (;;) {
      const result = reader.next()
      if (result === 'malformed') return { frames, malformed: true }
      if (result === 'more') break
      frames.push(`${reader.kind}:${toHex(reader.bytes.subarray(reader.offset, reader.offset + reader.length))}`)
    }
    // The buffer of a socket is read into again.
    chunk.fill(0xee)
  }
  return { frames, malformed: false }
}

function split(stream: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b)
  return [...at, stream.length].map((end, i) => stream.slice(at[i - 1] ?? 0, end))
}

const frames: fc.Arbitrary<Frame[]> = fc.array(fc.oneof(
  fc.record({ kind: fc.constant(0), body: fc.uint8Array({ maxLength: 400 }) }),
  fc.record({ kind: fc.constant(1), body: fc.uint8Array({ maxLength: 1016 }) }),
  fc.record({ kind: fc.constant(2), body: fc.uint8Array({ maxLength: 8 }) }),
  fc.record({ kind: fc.constant(3), body: fc.uint8Array({ maxLength: 16 }) }),
  fc.record({ kind: fc.constant(4), body: fc.uint8Array({ maxLength: 3056 }) }),
  fc.record({ kind: fc.integer({ min: 0x80, max: 255 }), body: fc.uint8Array({ maxLength: 1016 }) }),
), { maxLength: 12 })

describe('frames out of a byte stream', () => {
  it('are the same however the stream is cut', () => {
    fc.assert(fc.property(frames, fc.array(fc.nat(20_000), { maxLength: 30 }), (list, cuts) => {
      const stream = concat(...list.map(encode))
      const expected = list.filter(({ kind }) => kind < 0x80).map(({ kind, body }) => `${kind}:${toHex(body)}`)
      const reader = new IpcFrameReader(LIMITS)
      expect(readAll(reader, split(stream, cuts))).toEqual({ frames: expected, malformed: false })
      expect(reader.midFrame).toBe(false)
      expect(reader.ignored).toBe(list.length - expected.length)
      const bytewise = new IpcFrameReader(LIMITS)
      expect(readAll(bytewise, [...stream].map((byte) => Uint8Array.of(byte))).frames).toEqual(expected)
    }), { numRuns: 200 })
  })

  it('cut short are not delivered, and known to be cut', () => {
    fc.assert(fc.property(frames.filter((list) => list.length > 0), fc.nat(), (list, at) => {
      const whole = list.map(encode)
      const last = whole.pop()!
      const reader = new IpcFrameReader(LIMITS)
      const { frames: read } = readAll(reader, [concat(...whole, last.subarray(0, at % last.length))])
      expect(read.length).toBe(list.slice(0, -1).filter(({ kind }) => kind < 0x80).length)
      expect(reader.midFrame).toBe(at % last.length > 0)
    }), { numRuns: 200 })
  })

  it('never throw and never go past the bytes, whatever comes (10,000 inputs)', () => {
    const mutated = fc.tuple(frames, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })).map(([list, edits]) => {
      const stream = concat(...list.map(encode))
      for (const [at, value] of edits) if (stream.length > 0) stream[at % stream.length] = value
      return stream
    })
    fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated), fc.array(fc.nat(4000), { maxLength: 5 }), (stream, cuts) => {
      const total = stream.length
      const reader = new IpcFrameReader(LIMITS)
      const outcome = readAll(reader, split(stream, cuts))
      expect(outcome.frames.length * 5).toBeLessThanOrEqual(total)
      expect(reader.carried).toBeLessThanOrEqual(1021)
      if (outcome.malformed) expect(reader.next()).toBe('malformed')
    }), { numRuns: 10_000 })
  })

  it('are bounded by kind, before anything is kept', () => {
    const judge = (kind: number, len: number): string => {
      const head = new Uint8Array(5)
      writeU32(head, 0, len)
      head[4] = kind
      const reader = new IpcFrameReader(LIMITS)
      reader.push(head)
      return reader.next()
    }
    expect([judge(0, 401), judge(0, 402)]).toEqual(['more', 'malformed'])
    expect([judge(1, 1017), judge(1, 1018)]).toEqual(['more', 'malformed'])
    expect([judge(2, 9), judge(2, 10)]).toEqual(['more', 'malformed'])
    expect([judge(3, 17), judge(3, 18)]).toEqual(['more', 'malformed'])
    expect([judge(0x80, 1017), judge(0x80, 1018)]).toEqual(['more', 'malformed'])
    expect([judge(4, 1 + 1000 + 8 + 8 * 256), judge(4, 2 + 1000 + 8 + 8 * 256)]).toEqual(['more', 'malformed'])
    expect([judge(5, 1), judge(0x7f, 5), judge(0, 0), judge(1, 0xffff_ffff)]).toEqual(['malformed', 'malformed', 'malformed', 'malformed'])
  })

  it('hold no more memory than came', () => {
    const reader = new IpcFrameReader({ json: 262_144, message: 1_048_576 })
    const head = new Uint8Array(5)
    writeU32(head, 0, 1_048_576)
    head[4] = 1
    reader.push(head)
    expect(reader.next()).toBe('more')
    expect(reader.carried).toBe(5)
  })

  it('are delivered where they lie', () => {
    const chunk = concat(encode({ kind: 1, body: new Uint8Array(100) }), encode({ kind: 1, body: new Uint8Array(50) }))
    const reader = new IpcFrameReader(LIMITS)
    reader.push(chunk)
    expect(reader.next()).toBe('frame')
    expect([reader.bytes === chunk, reader.offset, reader.length]).toEqual([true, 5, 100])
    expect(reader.next()).toBe('frame')
    expect([reader.bytes === chunk, reader.offset, reader.length]).toEqual([true, 110, 50])
  })

  it('obey new limits from the next frame on', () => {
    const reader = new IpcFrameReader({ json: 10, message: 0 })
    reader.push(concat(encode({ kind: 0, body: new Uint8Array(10) }), encode({ kind: 0, body: new Uint8Array(400) })))
    expect(reader.next()).toBe('frame')
    reader.limits = LIMITS
    expect(reader.next()).toBe('frame')
    expect(reader.length).toBe(400)
  })
})
