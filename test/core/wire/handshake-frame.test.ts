import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { handshakePieceSize, readHandshakeFrame, writeHandshakeFrame } from '../../../src/core/wire/handshake-frame.ts'

describe('HANDSHAKE frames', () => {
  it('carry any message in pieces of any room, each whole or worth its head, and read back as they were', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 2048 }), fc.array(fc.integer({ min: 0, max: 1400 }), { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 0xffff_ffff }), (message, rooms, senderIndex) => {
      const head = { message: 0, suite: 1, senderIndex, receiverIndex: 0 } as const
      const bytes = new Uint8Array(1500)
      const whole = new Uint8Array(message.length)
      let offset = 0
      for (const room of [...rooms, ...new Array<number>(40).fill(200)]) {
        if (offset === message.length) break
        const length = handshakePieceSize(room, message.length, offset)
        if (length === 0) {
          expect(room).toBeLessThan(64 + 18)
          continue
        }
        const end = writeHandshakeFrame(bytes, 3, head, message, offset, length)
        expect(end - 3).toBeLessThanOrEqual(room)
        const reader = new ByteReader(bytes)
        reader.reset(bytes, 4, end)
        const frame = readHandshakeFrame(reader)!
        expect([bytes[3], reader.position, frame.message, frame.suite, frame.senderIndex, frame.receiverIndex, frame.offset, frame.total]).toEqual([0x0f, end, 0, 1, senderIndex, 0, offset, message.length])
        whole.set(frame.bytes, frame.offset)
        offset += length
      }
      expect([offset, whole]).toEqual([message.length, message])
    }))
  })

  it('take any bytes without throwing', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const reader = new ByteReader(bytes)
      const frame = readHandshakeFrame(reader)
      expect(frame === undefined).toBe(reader.failed)
    }))
  })
})
