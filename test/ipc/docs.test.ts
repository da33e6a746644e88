import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { concat, fromHex, utf8 } from '../../src/core/base/bytes.ts'
import { CLIENT_CHANNELS_MAX, decodeCredit, decodeMessage, DELIVERY_CREDIT_DEFAULT, HELLO_BODY_MAX, JSON_BODY_MAX, MessageHead, OPEN_REQUESTS_MAX } from '../../src/core/wire/ipc/ipc.ts'
import { ipcErrorNumbers } from '../../src/core/wire/ipc/ipc-errors.ts'
import { channelEndCodes, ipcMethodScopes, laterMethods, PEERS_PAGE } from '../../src/core/wire/ipc/ipc-methods.ts'
import { CREDIT_MAX } from '../../src/core/wire/ipc/ipc-params.ts'
import { IpcFrameReader } from '../../src/core/wire/ipc/ipc-reader.ts'
import { CLIENTS_MAX } from '../../src/ipc/limits.ts'

const read = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')
const page = read('ipc.md')
const errors = read('errors.md')

describe('docs/ipc.md', () => {
  it('shows bytes that are what they say', () => {
    const lines = [...page.matchAll(/^[→←] ((?:[0-9a-f]{2} +)+[0-9a-f]{2})$/gm)].map((match) => fromHex(match[1]!.replaceAll(' ', ''))!)
    expect(lines).toHaveLength(5)
    const reader = new IpcFrameReader({ json: JSON_BODY_MAX, message: 100 })
    reader.push(concat(...lines))
    const next = (): Uint8Array => {
      expect(reader.next()).toBe('frame')
      return reader.bytes.subarray(reader.offset, reader.offset + reader.length)
    }
    expect(next()).toEqual(utf8('{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1}}'))
    const head = new MessageHead()
    const message = next()
    expect(decodeMessage(message, 0, message.length, head)).toBe(true)
    expect(head).toMatchObject({ channel: 1, flags: 0, lane: 255, first: 0, second: 0 })
    expect(message.subarray(16)).toEqual(utf8('hi'))
    expect(decodeCredit(next(), 0, 8)).toEqual({ kind: 'credit', channel: 1, add: 34 })
    const echo = next()
    decodeMessage(echo, 0, echo.length, head)
    expect(head).toMatchObject({ channel: 1, first: 1, second: 0 })
    expect(decodeCredit(next(), 0, 8)).toEqual({ kind: 'credit', channel: 1, add: DELIVERY_CREDIT_DEFAULT / 4 })
    expect(reader.next()).toBe('more')
    const ignored = fromHex(/to ignore, .*`([0-9a-f ]+)`/.exec(page)![1]!.replaceAll(' ', ''))!
    reader.push(ignored)
    expect([reader.next(), reader.ignored]).toEqual(['more', 1])
  })

  it('names every method with its scope, every end of a channel, and what comes later', () => {
    for (const [method, scope] of Object.entries(ipcMethodScopes)) expect(page).toContain(`| \`${method}\` | ${scope} |`)
    for (const code of channelEndCodes) expect(page).toContain(`| \`${code}\` |`)
    for (const method of laterMethods) expect(page).toMatch(new RegExp(`\`(${method.replace('.', '\\.')}|${method.split('.')[0]!}\\.\\*)\``))
  })

  it('has the limits of the code', () => {
    for (const limit of [JSON_BODY_MAX, HELLO_BODY_MAX, CREDIT_MAX]) expect(page).toContain(limit.toLocaleString('en-US'))
    for (const limit of [OPEN_REQUESTS_MAX, CLIENT_CHANNELS_MAX, CLIENTS_MAX, PEERS_PAGE]) expect(page).toMatch(new RegExp(`\\b${limit}\\b`))
  })
})

describe('docs/errors.md', () => {
  it('has every code with its number', () => {
    for (const [code, number] of Object.entries(ipcErrorNumbers)) expect(errors).toContain(`| \`${code}\` | −${-number} |`)
    for (const code of ['protocol', 'slow_reader', 'not_running', 'permission', 'disconnected', 'aborted', 'closed', 'credit']) expect(errors).toContain(`| \`${code}\` |`)
  })
})
