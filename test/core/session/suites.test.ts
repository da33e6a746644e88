import { describe, expect, it } from 'vitest'
import { utf8 } from '../../../src/core/base/bytes.ts'
import { encodePrologue, PROLOGUE_SIZE } from '../../../src/core/session/prologue.ts'
import { sessionBinding } from '../../../src/core/session/session-binding.ts'
import { builtSuiteMask, isNoiseMessageSize, strongerInBoth, suiteMask, suiteOf, suites } from '../../../src/core/session/suites.ts'
import { MESSAGE_A, MESSAGE_B, MESSAGE_C, NOISE_MESSAGE_MAX } from '../../../src/core/wire/handshake-fragment.ts'
import { hex, repeated } from '../../support/bytes.ts'
import { node, noble } from '../../support/providers.ts'

describe('suites (WIRE.md §3.1)', () => {
  it('have the sizes of the table', () => {
    const table = suites.map((suite) => suite.overhead.map((overhead, i) => overhead + suite.payloadSize[i]!))
    expect(table).toEqual([[288, 240], [288, 288, 256], [1488, 1344], [1408, 1392, 256]])
    for (const suite of suites) expect(suite.overhead).toHaveLength(suite.pattern.messages.length)
  })

  it('have overheads that follow from their tokens', () => {
    for (const suite of suites) {
      let keyed = false
      const computed = suite.pattern.messages.map((tokens) => {
        let size = 0
        for (const token of tokens) {
          const tag = keyed ? 16 : 0
          if (token === 'e') size += 32
          else if (token === 's') size += 32 + tag
          else if (token === 'e1') size += 1184 + tag
          else if (token === 'ekem1') size += 1088 + tag
          if (token.length === 2 && token !== 'e1') keyed = true
        }
        return size + (keyed ? 16 : 0)
      })
      expect(suite.overhead).toEqual(computed)
    }
  })

  it('the classical suites are built, and masks have bit n for suite n', () => {
    expect(builtSuiteMask).toBe(0b110)
    expect(suiteMask(suites)).toBe(0b11110)
    expect([suiteOf(0), suiteOf(5), suiteOf(3)?.name]).toEqual([undefined, undefined, 'Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256'])
  })

  it('a downgrade is seen when both sides had a stronger suite of the same family', () => {
    const [one, two, three] = [suiteOf(1)!, suiteOf(2)!, suiteOf(3)!]
    expect(strongerInBoth(one, 0b01010, 0b01010)?.number).toBe(3)
    expect(strongerInBoth(one, 0b01010, 0b00010)).toBeUndefined()
    expect(strongerInBoth(one, 0b10110, 0b10110)).toBeUndefined()
    expect(strongerInBoth(two, 0b10110, 0b10110)?.number).toBe(4)
    expect(strongerInBoth(three, 0b11110, 0b11110)).toBeUndefined()
  })

  it('know which Noise messages can be theirs', () => {
    const sizes = (number: number, message: 0 | 1 | 2): number[] => Array.from({ length: NOISE_MESSAGE_MAX + 1 }, (_, size) => size).filter((size) => isNoiseMessageSize(suiteOf(number)!, message, size))
    expect(sizes(1, MESSAGE_A)).toEqual([288, 352, 416, 480, 544, 608])
    expect(sizes(1, MESSAGE_B)).toEqual([240])
    expect(sizes(1, MESSAGE_C)).toEqual([])
    expect(sizes(2, MESSAGE_A)).toEqual([288])
    expect(sizes(3, MESSAGE_A)).toEqual([1488, 1552, 1616, 1680, 1744, 1808])
    expect(sizes(4, MESSAGE_C)).toEqual([256])
  })
})

describe('prologue (WIRE.md §3.2)', () => {
  it('has its 74 bytes, with the id in IK only', () => {
    const id = repeated(0x1d)
    const ik = encodePrologue({ suite: suiteOf(1)!, mode: 0, responderId: id, sessionBinding: undefined })
    expect(ik).toEqual(new Uint8Array([...utf8('Postern'), 1, 1, 0, ...id, ...new Uint8Array(32)]))
    expect(ik).toHaveLength(PROLOGUE_SIZE)
    const rekey = encodePrologue({ suite: suiteOf(3)!, mode: 1, responderId: id, sessionBinding: repeated(0x5b) })
    expect(rekey).toEqual(new Uint8Array([...utf8('Postern'), 1, 3, 1, ...id, ...repeated(0x5b)]))
    const xx = encodePrologue({ suite: suiteOf(2)!, mode: 0, responderId: id, sessionBinding: undefined })
    expect(xx.subarray(10)).toEqual(new Uint8Array(64))
  })

  it('names a session in a rekey and nowhere else', () => {
    const input = { suite: suiteOf(1)!, responderId: repeated(1) }
    expect(() => encodePrologue({ ...input, mode: 1, sessionBinding: undefined })).toThrow('a rekey')
    expect(() => encodePrologue({ ...input, mode: 0, sessionBinding: repeated(2) })).toThrow('a rekey')
  })
})

describe('session binding (WIRE.md §2)', () => {
  const low = { id: hex(`00${'ff'.repeat(31)}`), sid: repeated(9, 8) }
  const high = { id: hex(`01${'00'.repeat(31)}`), sid: repeated(2, 8) }

  it('is in the order of the ids, whoever computes it', () => {
    const expected = noble.sha256(utf8('postern session'), low.id, high.id, low.sid, high.sid)
    expect(sessionBinding(node, low, high)).toEqual(expected)
    expect(sessionBinding(node, high, low)).toEqual(expected)
  })

  it('is another for other session ids', () => {
    expect(sessionBinding(node, low, { ...high, sid: repeated(3, 8) })).not.toEqual(sessionBinding(node, low, high))
    expect(sessionBinding(node, { ...low, sid: high.sid }, { ...high, sid: low.sid })).not.toEqual(sessionBinding(node, low, high))
  })
})
