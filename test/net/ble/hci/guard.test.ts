import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judge } from '../../../../src/net/ble/hci/guard.ts'

const [ATT, SIGNALING, SECURITY] = [4, 5, 6] as const
const of = (...bytes: readonly number[]): Uint8Array => Uint8Array.from(bytes)

describe('requests of who dialed us', () => {
  const served: readonly (readonly number[])[] = [
    [0x02, 5, 2], [0x04, 1, 0, 255, 255], [0x06, 1, 0, 255, 255, 0, 0x28, 9], [0x08, 1, 0, 255, 255, 3, 0x28], [0x08, 1, 0, 255, 255, ...new Array<number>(16).fill(7)], [0x0a, 3, 0],
    [0x0c, 3, 0, 22, 0], [0x10, 1, 0, 255, 255, 0, 0x28], [0x12, 12, 0], [0x12, 12, 0, 1, 2, 3], [0x52, 12, 0, 1],
  ]
  test.each(served.map((pdu) => [pdu[0]!.toString(16), pdu] as const))('0x%s is for the package, and ends the link when it is cut short', (_, pdu) => {
    expect(judge('peripheral', ATT, of(...pdu), false)).toBe('pass')
    for (let length = 1; length < pdu.length; length++) {
      const cut = judge('peripheral', ATT, of(...pdu.slice(0, length)), false)
      // Writes have any length, lists of requests two.
      if (cut === 'pass') expect([0x12, 0x52, 0x08, 0x06]).toContain(pdu[0])
      else expect(cut).toEqual({ end: 'att' })
    }
  })

  test('prepared writes and whatever else nobody needs are refused, commands and answers dropped without a word', () => {
    expect(judge('peripheral', ATT, of(0x16, 12, 0, 0, 0, 1, 2), false)).toEqual({ drop: 'att', answer: of(1, 0x16, 12, 0, 6) })
    expect(judge('peripheral', ATT, of(0x18, 1), false)).toEqual({ drop: 'att', answer: of(1, 0x18, 0, 0, 6) })
    expect(judge('peripheral', ATT, of(0x0e, 1, 0, 2, 0), false)).toEqual({ drop: 'att', answer: of(1, 0x0e, 1, 0, 6) })
    for (const code of [0x01, 0x03, 0x09, 0x11, 0x13, 0x1b, 0x1d, 0x1e, 0xd2, 0x40, 0xff]) expect(judge('peripheral', ATT, of(code, 1, 2, 3), false)).toEqual({ drop: 'att' })
  })
})

describe('answers of whom we dialed', () => {
  test('a list has entries with a length, all whole', () => {
    const service = [1, 0, 9, 0, 0, 0x18]
    expect(judge('central', ATT, of(0x11, 6, ...service, ...service), false)).toBe('pass')
    expect(judge('central', ATT, of(0x09, 7, ...service, 1), false)).toBe('pass')
    expect(judge('central', ATT, of(0x05, 1, 1, 0, 2, 0x29), false)).toBe('pass')
    for (const pdu of [[0x11, 0, ...service], [0x11, 6], [0x11, 6, ...service, 1], [0x11, 5, 1, 2, 3, 4, 5], [0x11], [0x09, 0, 1, 2], [0x09, 2, 1, 2], [0x09, 7, 1], [0x09], [0x05, 0, 1, 2, 3, 4], [0x05, 1, 1], [0x05]]) {
      expect(judge('central', ATT, of(...pdu), false), pdu.join()).toEqual({ end: 'att' })
    }
  })

  test('an MTU is what both can, a value passes, and an indication is confirmed here', () => {
    const mtu = of(0x03, 0xff, 0xff)
    expect(judge('central', ATT, mtu, false)).toBe('pass')
    expect(mtu).toEqual(of(0x03, 5, 2))
    const least = of(0x03, 1, 0)
    judge('central', ATT, least, false)
    expect(least).toEqual(of(0x03, 23, 0))
    expect(judge('central', ATT, of(0x1b, 14, 0, 7), false)).toBe('pass')
    expect(judge('central', ATT, of(0x1d, 14, 0, 7), false)).toEqual({ drop: 'att', answer: of(0x1e) })
    for (const pdu of [[0x03, 5], [0x03, 5, 2, 0], [0x01, 2, 3, 4], [0x13, 1], [0x1b, 14], [0x1d, 1]]) expect(judge('central', ATT, of(...pdu), false), pdu.join()).toEqual({ end: 'att' })
    expect(judge('central', ATT, of(0x0a, 3, 0), false)).toEqual({ drop: 'att', answer: of(1, 0x0a, 0, 0, 6) })
    for (const code of [0x52, 0xd2, 0x07, 0x17, 0x23]) expect(judge('central', ATT, of(code, 1, 2), false)).toEqual({ drop: 'att' })
  })
})

describe('signaling', () => {
  const update = (high: number, supervision: number): Uint8Array => of(0x12, 9, 8, 0, 6, 0, high & 255, high >> 8, 0, 0, supervision & 255, supervision >> 8)

  test('a peripheral may ask for another interval, one at a time, and none that is of no use', () => {
    expect(judge('central', SIGNALING, update(24, 400), false)).toBe('pass')
    for (const [frame, updating] of [[update(24, 400), true], [update(401, 400), false], [update(24, 601), false], [update(0xffff, 0xffff), false]] as const) {
      expect(judge('central', SIGNALING, frame, updating)).toEqual({ drop: 'signaling', answer: of(0x13, 9, 2, 0, 1, 0) })
    }
    expect(judge('peripheral', SIGNALING, update(24, 400), false)).toEqual({ drop: 'signaling', answer: of(1, 9, 2, 0, 0, 0) })
  })

  test('a request that is not known is rejected, an answer dropped, and half a frame ends the link', () => {
    expect(judge('peripheral', SIGNALING, of(0x17, 3, 2, 0, 1, 2), false)).toEqual({ drop: 'signaling', answer: of(1, 3, 2, 0, 0, 0) })
    expect(judge('central', SIGNALING, of(0x01, 3, 2, 0, 0, 0), false)).toEqual({ drop: 'signaling' })
    for (const frame of [[0x12], [0x12, 1, 8, 0], [0x12, 1, 2, 0, 6, 0], [0x17, 1, 1, 0]]) expect(judge('central', SIGNALING, of(...frame), false), frame.join()).toEqual({ end: 'signaling' })
  })
})

test('pairing is refused, other channels are not there, and nothing at all is no frame', () => {
  expect(judge('peripheral', SECURITY, of(1, 3, 0, 1, 16, 0, 0), false)).toEqual({ drop: 'security', answer: of(5, 5) })
  expect(judge('central', SECURITY, of(11), false)).toEqual({ drop: 'security' })
  expect(judge('central', 0x40, of(1), false)).toEqual({ drop: 'l2cap' })
  expect(judge('central', ATT, of(), false)).toEqual({ end: 'l2cap' })
})

test('any frame has a verdict, and no answer can be answered: nothing goes back and forth', () => {
  fc.assert(fc.property(fc.constantFrom('central', 'peripheral'), fc.constantFrom(ATT, SIGNALING, SECURITY, 0x40), fc.uint8Array({ maxLength: 40 }), fc.boolean(), (role, channel, frame, updating) => {
    const verdict = judge(role, channel, frame, updating)
    if (verdict === 'pass' || 'end' in verdict || verdict.answer === undefined) return
    const back = judge(role === 'central' ? 'peripheral' : 'central', channel, verdict.answer, false)
    // An error is for the package, which answers none.
    expect(back === 'pass' ? verdict.answer[0] : Object.keys(back)).toEqual(back === 'pass' ? 0x01 : ['drop'])
  }), { numRuns: 1000 })
})
