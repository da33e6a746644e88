import fc from 'fast-check'
import { expect, test } from 'vitest'
import { adapterStates, MTU_MAX, MTU_MIN, paces, roles, VALUE_SIZE_MAX } from '../../../src/net/ble/backend.ts'
import { ADDRESS_TEXT_MAX, decodeCommand, decodeEvent, encodeCommand, encodeEvent, MESSAGE_SIZE_MAX, MessageReader, type PipeCommand, type PipeEvent } from '../../../src/net/ble/pipe.ts'

const address = fc.string({ minLength: 1, maxLength: 36 })
const text = fc.string({ maxLength: 300 })
const link = fc.nat(0xffff_ffff)
const hint = fc.option(fc.uint8Array({ minLength: 6, maxLength: 6 }), { nil: undefined })
const value = fc.uint8Array({ maxLength: VALUE_SIZE_MAX })
const mtu = fc.integer({ min: MTU_MIN, max: MTU_MAX })

const command: fc.Arbitrary<PipeCommand> = fc.oneof(
  fc.record({ kind: fc.constant('advertise' as const), on: fc.boolean(), hint, pace: fc.constantFrom(...paces) }),
  fc.record({ kind: fc.constant('scan' as const), on: fc.boolean(), pace: fc.constantFrom(...paces) }),
  fc.record({ kind: fc.constant('connect' as const), address, timeoutMs: fc.nat(60_000) }),
  fc.record({ kind: fc.constant('disconnect' as const), link }),
  fc.record({ kind: fc.constant('send' as const), link, value }),
  fc.constant({ kind: 'stop' as const }), fc.constant({ kind: 'ping' as const }),
)
const event: fc.Arbitrary<PipeEvent> = fc.oneof(
  fc.record({ kind: fc.constant('adapter' as const), state: fc.constantFrom(...adapterStates), detail: text }),
  fc.record({ kind: fc.constant('seen' as const), address, rssi: fc.integer({ min: -128, max: 127 }), hint }),
  fc.record({ kind: fc.constant('opened' as const), link, role: fc.constantFrom(...roles), address, mtu }),
  fc.record({ kind: fc.constant('mtu' as const), link, mtu }),
  fc.record({ kind: fc.constant('received' as const), link, value }),
  fc.record({ kind: fc.constant('sent' as const), link, count: fc.nat(0xffff) }),
  fc.record({ kind: fc.constant('closed' as const), link, reason: text }),
  fc.record({ kind: fc.constant('connectFailed' as const), address, reason: text }),
  fc.record({ kind: fc.constant('fault' as const), code: address, detail: text }),
  fc.constant({ kind: 'pong' as const }),
)

test('commands and events come out as they went in, however the stream is cut', () => {
  fc.assert(fc.property(fc.array(fc.oneof(command, event), { maxLength: 20 }), fc.integer({ min: 1, max: 700 }), (sent, step) => {
    const bytes = Buffer.concat(sent.map((one) => isCommand(one) ? encodeCommand(one) : encodeEvent(one)))
    const got: (PipeCommand | PipeEvent)[] = []
    const reader = new MessageReader((message) => {
      const one = decodeCommand(message) ?? decodeEvent(message)
      if (one !== undefined) got.push(one)
      return one !== undefined
    })
    for (let at = 0; at < bytes.length; at += step) expect(reader.push(bytes.subarray(at, at + step))).toBe(true)
    expect(got).toEqual(sent)
  }))
})

test('any bytes are a message or not, and never more than one message is kept', () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 900 }), { maxLength: 8 }), (chunks) => {
    const reader = new MessageReader((message) => {
      expect(message.length).toBeLessThanOrEqual(MESSAGE_SIZE_MAX)
      return decodeEvent(message) !== undefined || decodeCommand(message) !== undefined
    })
    const answers = chunks.map((chunk) => reader.push(chunk))
    // Once broken, it stays so.
    expect(answers.slice(Math.max(0, answers.indexOf(false))).every((answer) => !answer) || !answers.includes(false)).toBe(true)
  }))
})

test('what no backend may say is refused: an MTU out of range, a value longer than the largest, half a hint', () => {
  const timed: PipeEvent = { kind: 'opened', link: 1, role: 'peripheral', address: 'b', mtu: 100, intervalMs: 18.75 }
  expect(decodeEvent(encodeEvent(timed).subarray(2))).toEqual(timed)
  const opened = encodeEvent({ kind: 'opened', link: 1, role: 'central', address: 'a', mtu: 100 }).subarray(2)
  for (const wrong of [MTU_MIN - 1, MTU_MAX + 1, 0, 0xffff]) {
    const bytes = opened.slice()
    new DataView(bytes.buffer).setUint16(6, wrong, true)
    expect(decodeEvent(bytes)).toBeUndefined()
  }
  expect(decodeEvent(new Uint8Array(5 + VALUE_SIZE_MAX + 1).fill(0x85, 0, 1))).toBeUndefined()
  const seen = encodeEvent({ kind: 'seen', address: 'a', rssi: -60, hint: new Uint8Array(6) }).subarray(2)
  expect(decodeEvent(seen.subarray(0, seen.length - 1))).toBeUndefined()
})

test('a text that is too long is cut between characters', () => {
  const event = decodeEvent(encodeEvent({ kind: 'fault', code: 'x', detail: 'ü€😀'.repeat(300) }).subarray(2))
  expect(event).toMatchObject({ kind: 'fault', code: 'x' })
  if (event?.kind !== 'fault') throw new Error('no fault')
  expect('ü€😀'.repeat(300).startsWith(event.detail)).toBe(true)
  expect(event.detail.length).toBeGreaterThan(100)
  const command = decodeCommand(encodeCommand({ kind: 'connect', address: 'x'.repeat(200), timeoutMs: 1 }).subarray(2))
  expect(command).toEqual({ kind: 'connect', address: 'x'.repeat(ADDRESS_TEXT_MAX), timeoutMs: 1 })
})

function isCommand(one: PipeCommand | PipeEvent): one is PipeCommand {
  return ['advertise', 'scan', 'connect', 'disconnect', 'send', 'stop', 'ping'].includes(one.kind)
}
