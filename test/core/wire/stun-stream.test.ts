import fc from 'fast-check'
import { expect, it } from 'vitest'
import { concat, equalBytes } from '../../../src/core/base/bytes.ts'
import { STUN_STREAM_MESSAGE_MAX, StunStream } from '../../../src/core/wire/stun-stream.ts'
import { encodeStun, stunAttribute } from '../../../src/core/wire/stun.ts'
import { repeated } from '../../support/bytes.ts'
import { node } from '../../support/providers.ts'

const message = (size: number): Uint8Array => encodeStun(node, { class: 'success', transactionId: repeated(7, 12), attributes: [[stunAttribute.software, repeated(65, size)]] })

function feedAll(chunks: readonly Uint8Array[]): (Uint8Array | 'malformed')[] {
  const stream = new StunStream()
  return chunks.flatMap((chunk) => stream.feed(chunk))
}

it('messages come out whole, however the stream is cut', () => {
  fc.assert(fc.property(fc.array(fc.nat(300), { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }), (sizes, cuts) => {
    const messages = sizes.map(message)
    const whole = concat(...messages)
    const chunks: Uint8Array[] = []
    for (let at = 0, i = 0; at < whole.length; at += cuts[i++ % cuts.length]!) chunks.push(whole.slice(at, at + cuts[i % cuts.length]!))
    const found = feedAll(chunks)
    return found.length === messages.length && found.every((one, i) => one !== 'malformed' && equalBytes(one, messages[i]!))
  }))
})

it.each([
  ['no STUN', repeated(0x41, 20)], ['another cookie', message(4).with(5, 0)], ['a length that is no multiple of 4', message(4).with(3, 13)], ['a message that is too long', message(4).with(2, 0xff)],
])('%s: nothing more is read', (_what, bytes) => {
  expect(feedAll([message(8), bytes, message(8)])).toEqual([message(8), 'malformed'])
})

it('the longest message is taken', () => {
  const longest = message(STUN_STREAM_MESSAGE_MAX - 24)
  expect([longest.length, feedAll([longest])]).toEqual([STUN_STREAM_MESSAGE_MAX, [longest]])
  expect(feedAll([message(STUN_STREAM_MESSAGE_MAX - 20)])).toEqual(['malformed'])
})
