import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/core/base/bytes.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { FRAME_PUNCH, punchOp, punchSize, readPunch, writePunch, type PunchFrame } from '../../../src/core/wire/punch-frame.ts'
import { bytes as anyBytes } from '../../support/bytes.ts'

const number = fc.nat({ max: 2 ** 40 })
const frame: fc.Arbitrary<PunchFrame> = fc.record({ op: fc.nat(255), round: number, mode: fc.nat(255), nat: fc.nat(255), delay: number, packets: number, sockets: number })

describe('PUNCH', () => {
  it('has its layout', () => {
    const go: PunchFrame = { op: punchOp.go, round: 3, mode: 5, nat: 3, delay: 12_500, packets: 1750, sockets: 256 }
    const bytes = new Uint8Array(punchSize(go))
    expect([writePunch(bytes, 0, go), toHex(bytes)]).toEqual([bytes.length, '0e0203050370d446d64100'.replace('70d4', '70d4')])
  })

  it('comes back as it was written, in the size that was said', () => {
    fc.assert(fc.property(frame, (sent) => {
      const bytes = new Uint8Array(punchSize(sent))
      expect(writePunch(bytes, 0, sent)).toBe(bytes.length)
      const reader = new ByteReader(bytes, 1)
      expect([bytes[0], readPunch(reader), reader.remaining]).toEqual([FRAME_PUNCH, sent, 0])
    }))
  })

  it('takes any bytes without throwing', () => {
    fc.assert(fc.property(anyBytes(0, 40), (bytes) => {
      const reader = new ByteReader(bytes, 0)
      expect(readPunch(reader) === undefined).toBe(reader.failed)
    }))
  })
})
