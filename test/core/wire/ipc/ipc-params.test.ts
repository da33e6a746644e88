import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../../src/core/base/address.ts'
import { ipcMethodScopes, laterMethods, type IpcCall, type IpcMethod } from '../../../../src/core/wire/ipc/ipc-methods.ts'
import { isIpcCall, parseParams } from '../../../../src/core/wire/ipc/ipc-params.ts'

const PEER = `${'b'.repeat(51)}a`
const methods = ['hello', ...Object.keys(ipcMethodScopes)] as IpcMethod[]

function request(method: IpcMethod, params: Record<string, unknown>): unknown {
  const parsed = parseParams(method, params)
  if ('failure' in parsed) throw parsed.failure
  return parsed.request
}

function failure(method: IpcMethod, params: Record<string, unknown>): unknown {
  const parsed = parseParams(method, params)
  return 'failure' in parsed ? { code: parsed.failure.code, ...parsed.failure.details } : undefined
}

describe('parameters', () => {
  it('get their defaults', () => {
    expect(request('channel.open', { peer: PEER, app: 'dice', mode: 'unreliable' })).toEqual({
      peer: PEER, app: 'dice', mode: 'unreliable', lane: 'normal', weight: 16, overflow: 'block', deadlineMs: 0, meta: new Uint8Array(0), credit: 262_144,
    })
    expect(request('listen', { app: 'dice' })).toEqual({ app: 'dice', from: 'roster', credit: 262_144 })
    expect(request('invite.create', {})).toEqual({ uses: 1, expiresS: 86_400, name: undefined })
    expect(request('peer.connect', { id: PEER })).toEqual({ id: PEER, timeoutMs: 10_000 })
    expect(request('channel.close', { channel: 3 })).toEqual({ channel: 3, abort: false, code: 0, reason: '' })
    expect(request('hello', { protocol: 1, received: { 7: 41 } })).toEqual({ protocol: 1, client: '', app: undefined, key: undefined, resume: undefined, received: new Map([[7, 41]]) })
  })

  it('are decoded', () => {
    expect(request('channel.open', { peer: PEER, app: 'a', mode: 'reliable-ordered', meta: 'AQI=', lane: 'critical', weight: 255, deadlineMs: 50, credit: 0 }))
      .toMatchObject({ meta: Uint8Array.of(1, 2), lane: 'critical', weight: 255, deadlineMs: 50, credit: 0 })
    expect(request('peer.add', { id: PEER, name: 'Ada', candidates: ['192.0.2.1:7000', '[2001:db8::1]:7'] }))
      .toEqual({ id: PEER, name: 'Ada', candidates: [encodeAddress('192.0.2.1', 7000), encodeAddress('2001:db8::1', 7)] })
    expect(request('listen', { app: 'a', from: [PEER], credit: 1 })).toEqual({ app: 'a', from: [PEER], credit: 1 })
    expect(request('listen', { app: 'a', from: 'any' })).toMatchObject({ from: 'any' })
    expect(request('channel.close', { channel: 0xffff_ffff, abort: true, code: 256, reason: 'bye' })).toEqual({ channel: 0xffff_ffff, abort: true, code: 256, reason: 'bye' })
  })

  it('may have members of later versions, and null for none', () => {
    expect(request('status', { fresh: true })).toEqual({})
    expect(request('peers', { state: null, after: null, colour: 'red' })).toEqual({ state: undefined, after: undefined, lanes: false })
  })

  it.each<[IpcMethod, Record<string, unknown>, string]>([
    ['hello', {}, 'protocol'],
    ['hello', { protocol: '1' }, 'protocol'],
    ['hello', { protocol: 1, app: 'Upper' }, 'app'],
    ['hello', { protocol: 1, client: 'a\nb' }, 'client'],
    ['peers', { state: 'asleep' }, 'state'],
    ['peer.add', { id: PEER, candidates: ['example.org:1'] }, 'candidates'],
    ['peer.add', { id: PEER, candidates: new Array(17).fill('192.0.2.1:7000') }, 'candidates'],
    ['peer.add', { id: PEER, name: 'x'.repeat(65) }, 'name'],
    ['peer.connect', { id: PEER, timeoutMs: 0 }, 'timeoutMs'],
    ['peer.connect', { id: 7 }, 'id'],
    ['listen', {}, 'app'],
    ['listen', { app: '' }, 'app'],
    ['listen', { app: 'x'.repeat(65) }, 'app'],
    ['listen', { app: 'a', from: 'everyone' }, 'from'],
    ['listen', { app: 'a', from: [7] }, 'from'],
    ['listen', { app: 'a', credit: 16_777_217 }, 'credit'],
    ['channel.open', { peer: PEER, app: 'a' }, 'mode'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'unreliable', weight: 0 }, 'weight'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'unreliable', lane: 'urgent' }, 'lane'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'unreliable', meta: '!' }, 'meta'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'unreliable', meta: 'A'.repeat(400) }, 'meta'],
    ['peer.policy', { id: PEER, prefer: 'pigeon' }, 'prefer'],
    ['peer.policy', { id: PEER, only: true }, 'only'],
    ['peer.policy', { id: PEER, never: 'udp' }, 'never'],
    ['peer.policy', { id: PEER, never: ['udp', 'smoke signals'] }, 'never'],
    ['peer.policy', { id: PEER, default: true, only: 'tcp' }, 'default'],
    ['channel.close', {}, 'channel'],
    ['channel.close', { channel: -1 }, 'channel'],
    ['channel.close', { channel: 1, code: 5 }, 'code'],
    ['channel.close', { channel: 1, abort: 'yes' }, 'abort'],
    ['channel.reject', { channel: 1, reason: 'ü'.repeat(128) }, 'reason'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'newest' }, 'mode'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'latest', overflow: 'drop' }, 'overflow'],
    ['channel.open', { peer: PEER, app: 'a', mode: 'latest', deadlineMs: 0 }, 'deadlineMs'],
    ['channel.accept', { channel: 1, overflow: 'drop-all' }, 'overflow'],
    ['channel.accept', { channel: 1, deadlineMs: 1.5 }, 'deadlineMs'],
    ['peers', { lanes: 'all' }, 'lanes'],
    ['invite.create', { uses: 0 }, 'uses'],
    ['invite.join', {}, 'link'],
    ['invite.revoke', { id: 5 }, 'id'],
  ])('%s %j names the member', (method, params, member) => {
    expect(failure(method, params)).toMatchObject({ code: 'params', member })
  })

  it.each<[IpcMethod, Record<string, unknown>, string]>([
    ['peer.connect', { id: PEER, policy: 'direct-only' }, 'policy'],
    ['peer.add', { id: PEER, apps: ['dice'] }, 'apps'],
    ['peer.add', { id: PEER, relays: [PEER] }, 'relays'],
  ])('%s %j says that it comes later', (method, params, member) => {
    expect(failure(method, params)).toMatchObject({ code: 'params', member, later: true })
  })

  it('of peer.policy are the whole policy, or none', () => {
    const change = (params: Record<string, unknown>): unknown => {
      const parsed = parseParams('peer.policy', { id: PEER, ...params })
      return 'request' in parsed ? parsed.request.change : parsed.failure
    }
    expect(change({})).toBe(undefined)
    expect(change({ default: false })).toBe(undefined)
    expect(change({ default: true })).toBe('default')
    expect(change({ prefer: 'tcp' })).toEqual({ prefer: 'tcp', never: [] })
    expect(change({ only: 'udp', never: ['tcp'] })).toEqual({ only: 'udp', never: ['tcp'] })
    expect(change({ never: [] })).toEqual({ never: [] })
  })

  it.each(['', 'short', `${'b'.repeat(51)}b`, `${'B'.repeat(51)}A`, `${'1'.repeat(51)}a`, `${'b'.repeat(52)}a`])('refuse the peer id %j', (id) => {
    expect(failure('peer.ping', { id })).toMatchObject({ code: 'bad_peer_id', member: 'id' })
  })

  it('are never the prototype\'s', () => {
    expect(failure('channel.stats', JSON.parse('{"__proto__":{"channel":1}}') as Record<string, unknown>)).toMatchObject({ member: 'channel' })
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'hello']) expect(isIpcCall(name)).toBe(false)
  })

  it('never throw, whatever JSON comes', () => {
    const values = fc.dictionary(fc.constantFrom('id', 'app', 'peer', 'mode', 'lane', 'credit', 'channel', 'from', 'candidates', 'meta', 'reason', 'code', 'link', 'protocol', 'key', 'x'), fc.jsonValue())
    fc.assert(fc.property(fc.constantFrom(...methods), values, (method, params) => {
      const parsed = parseParams(method, params as Record<string, unknown>)
      if ('failure' in parsed) expect(['params', 'bad_peer_id']).toContain(parsed.failure.code)
    }), { numRuns: 3000 })
  })

  it('are known for every method, and no method is both built and announced', () => {
    for (const method of Object.keys(ipcMethodScopes) as IpcCall[]) {
      expect(isIpcCall(method)).toBe(true)
      expect(laterMethods.has(method)).toBe(false)
    }
  })
})
