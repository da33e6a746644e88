import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { CANDIDATES_MAX, candidateKinds, candidatesSize, FRAME_CANDIDATES, readCandidates, writeCandidates, type Candidate, type CandidateKind } from '../../../src/core/wire/candidates-frame.ts'
import { bytes as anyBytes } from '../../support/bytes.ts'

const kinds = candidateKinds.filter((kind): kind is CandidateKind => kind !== '' && kind !== 'relay')
const candidate: fc.Arbitrary<Candidate> = fc.record({
  kind: fc.constantFrom(...kinds), priority: fc.nat(255), ttlS: fc.nat(65_535),
  address: fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535)).map(([host, port]) => encodeAddress(host, port)).filter((address) => address !== undefined),
})

function read(bytes: Uint8Array): { readonly frame: ReturnType<typeof readCandidates>; readonly reader: ByteReader } {
  const reader = new ByteReader(bytes, 1)
  return { frame: readCandidates(reader), reader }
}

describe('CANDIDATES', () => {
  it('come back as they were written, in the size that was said', () => {
    fc.assert(fc.property(fc.nat(), fc.array(candidate, { maxLength: CANDIDATES_MAX }), (generation, candidates) => {
      const bytes = new Uint8Array(candidatesSize({ generation, candidates }))
      expect(writeCandidates(bytes, 0, { generation, candidates })).toBe(bytes.length)
      const { frame, reader } = read(bytes)
      expect([bytes[0], frame, reader.remaining]).toEqual([FRAME_CANDIDATES, { generation, candidates }, 0])
    }))
  })

  it('passes over relays and kinds of later versions', () => {
    const relay = [6, 60, 1, 0, ...new Uint8Array(32)]
    const later = [99, 1, 1, 0, 4, 192, 0, 2, 1, 1, 0]
    const host = [1, 200, 16, 14, 4, 192, 0, 2, 1, 88, 27]
    const { frame, reader } = read(Uint8Array.from([0x0d, 1, 3, ...relay, ...later, ...host]))
    expect([frame, reader.remaining]).toEqual([{ generation: 1, candidates: [{ kind: 'host', priority: 200, ttlS: 3600, address: encodeAddress('192.0.2.1', 7000)! }] }, 0])
  })

  it('more than 32, what ends too soon and an unknown family are malformed; any bytes are one or the other', () => {
    for (const wrong of [[0x0d, 1, 33], [0x0d, 1, 1, 1, 200, 0, 0, 4, 1, 2], [0x0d, 1, 1, 1, 200, 0, 0, 5, 1, 2, 3, 4, 5, 6], [0x0d, 1]]) {
      const { frame, reader } = read(Uint8Array.from(wrong))
      expect([frame, reader.failed], String(wrong)).toEqual([undefined, true])
    }
    fc.assert(fc.property(anyBytes(0, 200), (noise) => {
      const { frame, reader } = read(Uint8Array.from([0x0d, ...noise]))
      expect(frame === undefined).toBe(reader.failed)
    }))
  })
})
