import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../../../../src/core/base/bytes.ts'
import { errorCodes, PosternError } from '../../../../src/core/base/errors.ts'
import {
  decodeCredit, decodeMessage, decodeNotice, encodeCredit, encodeMessageHead, encodeNotice, MessageHead, MESSAGE_COST, messageFrameSize, noticeReasons, noticeWhats, type Notice,
} from '../../../../src/core/wire/ipc/ipc.ts'
import { fromBase64, toBase64 } from '../../../../src/core/wire/ipc/ipc-base64.ts'
import { fromIpcError, ipcErrorNumber, ipcErrorNumbers, toIpcError } from '../../../../src/core/wire/ipc/ipc-errors.ts'
import { decodeReply, decodeRequest, encodeError, encodeEvent, encodeRequest, encodeResult } from '../../../../src/core/wire/ipc/ipc-json.ts'
import { channelEndCode, ipcLanes, ipcModes } from '../../../../src/core/wire/ipc/ipc-methods.ts'
import { deliveryModes, lanes, MESSAGE_COST as CONTRACT_COST } from '../../../../src/core/endpoint/contract.ts'

const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const u8 = fc.integer({ min: 0, max: 255 })

describe('message, credit and notice frames', () => {
  it('are laid out as docs/ipc.md shows them', () => {
    const message = new Uint8Array(messageFrameSize(2))
    message.set(utf8('hi'), encodeMessageHead(message, 0, 2, 7, 1, 255, 9, 1000))
    expect(toHex(message)).toBe('1300000001' + '07000000' + '01' + 'ff' + '0000' + '09000000' + 'e8030000' + '6869')
    const credit = new Uint8Array(13)
    encodeCredit(credit, 0, 7, 34)
    expect(toHex(credit)).toBe('0900000002' + '07000000' + '22000000')
    const notice = new Uint8Array(21)
    encodeNotice(notice, 0, { channel: 7, what: 'dropped', reason: 'deadline', firstTag: 3, lastTag: 5 })
    expect(toHex(notice)).toBe('1100000003' + '07000000' + '02' + '01' + '0000' + '03000000' + '05000000')
  })

  it('come back as they were written', () => {
    fc.assert(fc.property(u32, u8, u8, u32, u32, fc.uint8Array({ maxLength: 200 }), fc.nat(9), (channel, flags, lane, first, second, bytes, at) => {
      const frame = new Uint8Array(at + messageFrameSize(bytes.length))
      frame.set(bytes, encodeMessageHead(frame, at, bytes.length, channel, flags, lane, first, second))
      const head = new MessageHead()
      expect(decodeMessage(frame, at + 5, frame.length - at - 5, head)).toBe(true)
      expect(head).toMatchObject({ channel, flags, lane, first, second })
      expect(frame.subarray(at + 21)).toEqual(bytes)
    }))
    fc.assert(fc.property(u32, u32, fc.nat(9), (channel, add, at) => {
      const frame = new Uint8Array(at + 13)
      encodeCredit(frame, at, channel, add)
      expect(decodeCredit(frame, at + 5, 8)).toEqual({ kind: 'credit', channel, add })
    }))
    const notices = fc.record({ channel: u32, what: fc.constantFrom(...noticeWhats), reason: fc.constantFrom(...noticeReasons), firstTag: u32, lastTag: u32 })
    fc.assert(fc.property(notices, (notice: Notice) => {
      const frame = new Uint8Array(21)
      encodeNotice(frame, 0, notice)
      expect(decodeNotice(frame, 5, 16)).toEqual({ kind: 'notice', notice })
    }))
  })

  it('never throw, whatever the bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect(decodeMessage(bytes, 0, bytes.length, new MessageHead())).toBe(bytes.length >= 16)
      expect(decodeCredit(bytes, 0, bytes.length).kind).toBe(bytes.length === 8 ? 'credit' : 'malformed')
      expect(['notice', 'malformed']).toContain(decodeNotice(bytes, 0, bytes.length).kind)
      decodeRequest(bytes, 0, bytes.length)
      decodeReply(bytes, 0, bytes.length)
    }), { numRuns: 2000 })
  })

  it('count as the endpoint counts', () => {
    expect(MESSAGE_COST).toBe(CONTRACT_COST)
    expect([...ipcModes]).toEqual([...deliveryModes])
    expect([...ipcLanes]).toEqual([...lanes])
  })
})

describe('JSON-RPC', () => {
  const request = (text: string): ReturnType<typeof decodeRequest> => decodeRequest(utf8(text), 0, utf8(text).length)

  it('reads requests', () => {
    expect(request(encodeRequest(1, 'status', {}))).toEqual({ kind: 'request', id: 1, method: 'status', params: {} })
    expect(request('{"jsonrpc":"2.0","id":"x","method":"peers"}')).toEqual({ kind: 'request', id: 'x', method: 'peers', params: {} })
  })

  it.each([
    ['{', null, 'parse'],
    ['', null, 'parse'],
    ['\u0000', null, 'parse'],
    ['[]', null, 'request'],
    ['[{"jsonrpc":"2.0","id":1,"method":"status"}]', null, 'request'],
    ['7', null, 'request'],
    ['null', null, 'request'],
    ['{"jsonrpc":"2.0","method":"status"}', null, 'request'],
    ['{"jsonrpc":"2.0","id":null,"method":"status"}', null, 'request'],
    ['{"jsonrpc":"2.0","id":1.5,"method":"status"}', null, 'request'],
    [`{"jsonrpc":"2.0","id":"${'x'.repeat(65)}","method":"status"}`, null, 'request'],
    ['{"jsonrpc":"1.0","id":1,"method":"status"}', 1, 'request'],
    ['{"id":1,"method":"status"}', 1, 'request'],
    ['{"jsonrpc":"2.0","id":1,"method":7}', 1, 'request'],
    ['{"jsonrpc":"2.0","id":1,"result":{}}', 1, 'request'],
    ['{"jsonrpc":"2.0","id":1,"method":"status","params":[1]}', 1, 'params'],
    ['{"jsonrpc":"2.0","id":1,"method":"status","params":null}', 1, 'params'],
  ])('refuses %s', (text, id, code) => {
    expect(request(text)).toMatchObject({ kind: 'malformed', id, code })
  })

  it('refuses what is not UTF-8', () => {
    expect(decodeRequest(fromHex('7b22ff227d')!, 0, 5)).toMatchObject({ kind: 'malformed', code: 'parse' })
  })

  it('reads replies', () => {
    const reply = (text: string): ReturnType<typeof decodeReply> => decodeReply(utf8(text), 0, utf8(text).length)
    expect(reply(encodeResult(3, { a: 1 }))).toEqual({ kind: 'result', id: 3, result: { a: 1 } })
    expect(reply(encodeEvent('event.bye', { code: 'limit' }))).toEqual({ kind: 'event', name: 'event.bye', params: { code: 'limit' } })
    expect(reply('{"jsonrpc":"2.0","id":3}')).toMatchObject({ kind: 'malformed' })
    expect(reply('{"jsonrpc":"2.0","id":3,"error":{"code":-1}}')).toMatchObject({ kind: 'error', id: 3, error: { data: { code: 'internal' } } })
    expect(reply('"x"')).toMatchObject({ kind: 'malformed' })
  })
})

describe('errors', () => {
  it('keep code, sentence, hint and details over the wire', () => {
    const error = new PosternError('limit', 'Too many.', { hint: 'Fewer.', cause: new Error('secret'), details: { limit: 'open', max: 64 } })
    const text = utf8(encodeError(1, toIpcError(error)))
    expect(new TextDecoder().decode(text)).not.toContain('secret')
    const reply = decodeReply(text, 0, text.length)
    if (reply.kind !== 'error') throw new Error('no error')
    const back = fromIpcError(reply.error)
    expect(back).toMatchObject({ code: 'limit', message: 'Too many.', hint: 'Fewer.', details: { limit: 'open', max: 64 } })
  })

  it('have the numbers of the specification', () => {
    expect(ipcErrorNumbers).toMatchObject({ parse: -32700, hello_first: -32000, policy: -32017, unknown_channel: -32015 })
    expect(new Set(Object.values(ipcErrorNumbers)).size).toBe(Object.keys(ipcErrorNumbers).length)
    for (const code of errorCodes) expect(ipcErrorNumber(code)).toBeLessThan(-31_999)
    expect(ipcErrorNumber('disk')).toBe(-32603)
  })

  it('of a newer daemon are internal, and say which', () => {
    expect(fromIpcError({ code: -32099, message: 'New.', data: { code: 'brand_new' } })).toMatchObject({ code: 'internal', details: { code: 'brand_new' } })
  })

  it('name the ends of channels', () => {
    expect(channelEndCode(0)).toEqual({ code: 'done' })
    expect(channelEndCode(3)).toEqual({ code: 'app_gone' })
    expect(channelEndCode(9)).toEqual({ code: 'closed' })
    expect(channelEndCode(256)).toEqual({ code: 'app', appCode: 256 })
  })
})

describe('base64', () => {
  it('is RFC 4648 §10', () => {
    for (const [plain, text] of [['', ''], ['f', 'Zg=='], ['fo', 'Zm8='], ['foo', 'Zm9v'], ['foob', 'Zm9vYg=='], ['fooba', 'Zm9vYmE='], ['foobar', 'Zm9vYmFy']] as const) {
      expect(toBase64(utf8(plain))).toBe(text)
      expect(fromBase64(text)).toEqual(utf8(plain))
      expect(fromBase64(text.replaceAll('=', ''))).toEqual(utf8(plain))
    }
  })

  it('reads what it writes and nothing crooked', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(fromBase64(toBase64(bytes))).toEqual(bytes)
    }))
    for (const text of ['Z', 'Zg=', 'Zg===', 'Zh==', 'Zm9=', 'Zm-v', 'Zm9v=', '=', 'Zm 9v', 'Zg==Zg==']) expect(fromBase64(text)).toBeUndefined()
  })
})
