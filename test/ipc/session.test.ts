import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { concat } from '../../src/core/base/bytes.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import type { PeerPingResult } from '../../src/core/wire/ipc/ipc-methods.ts'
import { errorCode, frame, jsonFrame, messageFrame, PEER, RawClient, startBench, turns, until, type Bench } from './support.ts'

let bench: Bench
const clients: RawClient[] = []

function dial(): RawClient {
  const client = new RawClient(bench.server.path)
  clients.push(client)
  return client
}

async function dialHello(params: object = {}): Promise<RawClient> {
  const client = dial()
  await client.hello(params)
  return client
}

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

describe('hello', () => {
  it('is answered with what the daemon is', async () => {
    const client = dial()
    expect((await client.hello({ client: 'dice/0.3', app: 'dice', colour: 'red' }))['result']).toEqual({
      protocol: 1, daemon: '0.1.0', peerId: PEER, instance: 'abcd', scopes: ['app:*', 'status', 'admin'],
      limits: { message: 1_048_576, channels: 256, json: 262_144, open: 64 }, resumed: false, channels: [],
      resume: expect.stringMatching(/^[0-9a-f]{32}$/) as string, lingerMs: 10_000,
    })
    expect([...bench.handler.clients.values()][0]).toMatchObject({ name: 'dice/0.3', app: 'dice' })
  })

  it('of a later version is answered with ours', async () => {
    expect((await dial().hello({ protocol: 9 }))['result']).toMatchObject({ protocol: 1 })
  })

  it('that wants to resume starts anew', async () => {
    expect((await dial().hello({ resume: 'abc', received: { 7: 41 } }))['result']).toMatchObject({ resumed: false, channels: [] })
  })

  it.each<[string, (client: RawClient) => void, string]>([
    ['another method', (client) => client.call('status'), 'hello_first'],
    ['a message', (client) => client.message(1, new Uint8Array(10)), 'hello_first'],
    ['credit', (client) => client.credit(1, 10), 'hello_first'],
    ['bad JSON', (client) => client.json('{'), 'parse'],
    ['a batch', (client) => client.json([{ jsonrpc: '2.0', id: 1, method: 'hello', params: { protocol: 1 } }]), 'request'],
    ['hello without a version', (client) => client.call('hello'), 'params'],
  ])('comes first: %s instead closes', async (_what, write, code) => {
    const client = dial()
    write(client)
    expect(await client.event('event.bye')).toMatchObject({ code })
    expect(client.jsons.map(errorCode)).toContain(code)
    await client.gone()
    expect(bench.handler.clients.size).toBe(0)
    expect(bench.handler.ends).toEqual([])
  })

  it('comes within 5 s', async () => {
    const client = dial()
    await until(() => bench.server.clients === 1)
    await bench.timers.advance(4999)
    expect(client.frames).toEqual([])
    await bench.timers.advance(2)
    expect(await client.event('event.bye')).toMatchObject({ code: 'timeout' })
    await client.gone()
    expect(bench.server.counters().ipc_end_hello_timeout).toBe(1)
  })

  it('is bounded: 16 KiB before it, whatever the kind', async () => {
    const client = dial()
    client.json(`"${'x'.repeat(16_383)}"`)
    expect(await client.event('event.bye')).toMatchObject({ code: 'protocol' })
    await client.gone()
    const other = dial()
    other.write(new Uint8Array([0xff, 0xff, 0x0f, 0, 1]))
    expect(await other.event('event.bye')).toMatchObject({ code: 'protocol' })
  })

  it('is said once', async () => {
    const client = await dialHello()
    expect(await client.errorOf(client.call('hello', { protocol: 1 }))).toBe('request')
    expect(await client.ask('status')).toHaveProperty('result')
  })

  it('that the router refuses is answered, and the client goes', async () => {
    bench.handler.greet = () => {
      throw new PosternError('shutting_down', 'Going.')
    }
    const client = dial()
    expect(errorCode(await client.hello())).toBe('shutting_down')
    await client.gone()
  })

  it('with a key is slowed down and refused: 250 ms, 500 ms, 1 s, then the end', async () => {
    const client = dial()
    let answers = 0
    for (const wait of [250, 500, 1000]) {
      client.call('hello', { protocol: 1, key: 'pk_wrong' })
      await turns(10)
      await bench.timers.advance(wait - 1)
      await turns(10)
      expect(client.jsons.length).toBe(answers)
      await bench.timers.advance(1)
      await until(() => client.jsons.length > answers, 'an answer')
      expect(errorCode(client.jsons[answers++]!)).toBe('auth')
    }
    expect(await client.event('event.bye')).toMatchObject({ code: 'auth' })
    await client.gone()
    // Another connection does not start over.
    const other = dial()
    const id = other.call('hello', { protocol: 1, key: 'pk_wrong' })
    await turns(10)
    await bench.timers.advance(1999)
    expect(other.jsons).toEqual([])
    await bench.timers.advance(1)
    expect(await other.errorOf(id)).toBe('auth')
    // And without a key it may come in.
    expect(await other.hello()).toHaveProperty('result')
  })
})

describe('requests', () => {
  it('are answered, with an integer or a string for an id', async () => {
    const client = await dialHello()
    client.json({ jsonrpc: '2.0', id: 'abc', method: 'status' })
    expect(await client.answer('abc')).toMatchObject({ jsonrpc: '2.0', id: 'abc', result: { peerId: PEER } })
    expect((await client.ask('peers'))['result']).toEqual({ peers: [{ id: PEER, handle: 1, state: 'connected', since: 0 }] })
  })

  it.each<[string, object, string]>([
    ['no.such.method', {}, 'method'],
    ['constructor', {}, 'method'],
    ['subscribe', { topics: ['rain'] }, 'params'],
    ['keys.create', {}, 'params'],
    ['keys.create', { scopes: ['root'] }, 'params'],
    ['config.reload', {}, 'method'],
    ['peer.ping', {}, 'params'],
    ['peer.ping', { id: 'nobody' }, 'bad_peer_id'],
    ['channel.open', { peer: PEER, app: 'echo', mode: 'newest' }, 'params'],
    ['channel.stats', { channel: 7 }, 'unknown_channel'],
    ['channel.accept', { channel: 7 }, 'unknown_channel'],
    ['channel.close', { channel: 0 }, 'unknown_channel'],
  ])('%s %j fails with %3$s', async (method, params, code) => {
    const client = await dialHello()
    expect(await client.errorOf(client.call(method, params))).toBe(code)
    expect(await client.ask('status')).toHaveProperty('result')
  })

  it('that are no requests are told so, and the connection lives', async () => {
    const client = await dialHello()
    for (const text of ['{', '[]', '[{"jsonrpc":"2.0","id":5,"method":"status"}]', '{"jsonrpc":"2.0","method":"status"}', '"x"', '{"id":null}']) client.json(text)
    await until(() => client.jsons.length === 7, 'six errors')
    expect(client.jsons.slice(1).map(errorCode)).toEqual(['parse', 'request', 'request', 'request', 'request', 'request'])
    expect(await client.ask('status')).toHaveProperty('result')
  })

  it('need their scope', async () => {
    bench.handler.scopes = ['app:dice', 'status']
    const client = await dialHello()
    expect(await client.ask('status')).toHaveProperty('result')
    expect(await client.errorOf(client.call('shutdown'))).toBe('scope')
    expect(await client.errorOf(client.call('listen', { app: 'chess' }))).toBe('scope')
    expect(await client.ask('listen', { app: 'dice' })).toHaveProperty('result')
    expect(await client.ask('peer.connect', { id: PEER })).toHaveProperty('result')
    bench.handler.scopes = ['status']
    const other = await dialHello()
    expect(await other.errorOf(other.call('peer.connect', { id: PEER }))).toBe('scope')
  })

  it('are at most 64 at a time, and answered in any order', async () => {
    const pending: ((result: PeerPingResult) => void)[] = []
    bench.handler.overrides = { 'peer.ping': () => new Promise<PeerPingResult>((resolve) => pending.push(resolve)) }
    const client = await dialHello()
    const ids = Array.from({ length: 65 }, () => client.call('peer.ping', { id: PEER }))
    expect(await client.answer(ids[64]!)).toMatchObject({ error: { code: -32003, data: { code: 'limit', limit: 'open', max: 64 } } })
    expect(pending).toHaveLength(64)
    pending[40]!({ rttMs: [40], path: '' })
    pending[3]!({ rttMs: [3], path: '' })
    expect(await client.answer(ids[3]!)).toMatchObject({ result: { rttMs: [3] } })
    expect(client.jsons.slice(-2).map((value) => value['id'])).toEqual([ids[40], ids[3]])
    const last = client.call('peer.ping', { id: PEER })
    await until(() => pending.length === 65, 'room for one more')
    pending[64]!({ rttMs: [], path: '' })
    expect(await client.answer(last)).toHaveProperty('result')
  })

  it('may be refused later', async () => {
    bench.handler.overrides = { 'peer.ping': () => Promise.reject(new PosternError('unreachable', 'Nobody answers.', { hint: 'Try later.' })) }
    const client = await dialHello()
    expect(await client.ask('peer.ping', { id: PEER })).toMatchObject({ error: { code: -32010, message: 'Nobody answers.', data: { code: 'unreachable', hint: 'Try later.' } } })
  })

  it('are called off when the client goes', async () => {
    let aborted = 0
    bench.handler.overrides = {
      'peer.ping': (_client, _request, signal) => new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted++
          reject(new PosternError('aborted', 'gone'))
        })
      }),
    }
    const client = await dialHello()
    for (let i = 0; i < 3; i++) client.call('peer.ping', { id: PEER })
    await turns(10)
    client.destroy()
    await until(() => aborted === 3, 'abort')
  })

  it('with too long an answer are told so', async () => {
    bench.handler.overrides = { 'peer.ping': () => ({ rttMs: [], path: 'x'.repeat(262_144) }) }
    const client = await dialHello()
    expect(await client.ask('peer.ping', { id: PEER })).toMatchObject({ error: { data: { code: 'limit', limit: 'json' } } })
  })

  it('may be as long as 256 KiB and no longer', async () => {
    const client = await dialHello()
    const request = (id: number, total: number): string => {
      const head = `{"jsonrpc":"2.0","id":${id},"method":"status","params":{"pad":"`
      return `${head}${'x'.repeat(total - head.length - 3)}"}}`
    }
    client.json(request(900, 262_144))
    expect(await client.answer(900)).toHaveProperty('result')
    client.json(request(901, 262_145))
    expect(await client.event('event.bye')).toMatchObject({ code: 'protocol' })
    await client.gone()
  })
})

describe('frames', () => {
  it('of later kinds are ignored, of unknown early kinds end the connection', async () => {
    const client = await dialHello()
    client.write(frame(0x80, new Uint8Array(70_000)))
    client.write(frame(0xff, new Uint8Array(0)))
    expect(await client.ask('status')).toHaveProperty('result')
    expect(bench.server.counters().ipc_ignored_kinds).toBe(2)
    client.write(frame(4, new Uint8Array(3)))
    expect(await client.event('event.bye')).toMatchObject({ code: 'protocol' })
    await client.gone()
  })

  it.each<[string, Uint8Array]>([
    ['of no length', new Uint8Array(5)],
    ['of a message over the limit', new Uint8Array([0x12, 0, 0x10, 0, 1])],
    ['of 4 GiB', new Uint8Array([0xff, 0xff, 0xff, 0xff, 0])],
    ['of a message without its head', frame(1, new Uint8Array(15))],
    ['of credit that is too short', frame(2, new Uint8Array(7))],
    ['of a notice, which only the daemon sends', frame(3, new Uint8Array(16))],
    ['of a message for a channel that never was', messageFrame(77, new Uint8Array(1))],
    ['of credit for a channel that never was', frame(2, new Uint8Array(8).fill(9))],
  ])('%s end the connection with a reason', async (_what, bytes) => {
    const client = await dialHello()
    client.write(bytes)
    expect(await client.event('event.bye')).toMatchObject({ code: 'protocol' })
    await client.gone()
    await until(() => bench.handler.ends.length === 1)
    expect(bench.handler.ends[0]).toMatchObject({ code: 'protocol' })
  })

  it('that end in the middle are a client that died', async () => {
    const client = await dialHello()
    const other = await dialHello()
    client.write(jsonFrame({ jsonrpc: '2.0', id: 1, method: 'status' }).subarray(0, 20))
    await turns(5)
    client.socket.end()
    await client.gone()
    await until(() => bench.handler.ends.length === 1)
    expect(bench.handler.ends[0]).toMatchObject({ code: 'disconnected' })
    expect(bench.server.counters().ipc_end_mid_frame).toBe(1)
    expect(await other.ask('status')).toHaveProperty('result')
  })

  it('may come byte by byte', async () => {
    const client = dial()
    const bytes = concat(jsonFrame({ jsonrpc: '2.0', id: 1, method: 'hello', params: { protocol: 1 } }), jsonFrame({ jsonrpc: '2.0', id: 2, method: 'status' }))
    for (const byte of bytes) {
      client.write(Uint8Array.of(byte))
      await turns(1)
    }
    expect(await client.answer(2)).toHaveProperty('result')
  })

  it('of any bytes do no harm to others (2,000 connections\' worth of noise)', async () => {
    const honest = await dialHello()
    const channel = await honest.open()
    const inputs = fc.sample(fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.tuple(fc.nat(5), fc.uint8Array({ maxLength: 60 })).map(([kind, body]) => frame(kind, body)),
      fc.jsonValue().map((value) => jsonFrame(value)),
      fc.tuple(fc.constantFrom('status', 'channel.open', 'listen', 'channel.close', 'peers', 'x'), fc.jsonValue()).map(([method, params]) => jsonFrame({ jsonrpc: '2.0', id: 1, method, params })),
    ), 2000)
    for (let at = 0; at < inputs.length; at += 40) {
      const noisy = dial()
      if (at % 80 === 0) noisy.call('hello', { protocol: 1 })
      for (const bytes of inputs.slice(at, at + 40)) noisy.write(bytes)
      await turns(3)
      noisy.destroy()
    }
    honest.message(channel, Uint8Array.of(1, 2, 3))
    await until(() => honest.messages.length === 1, 'an echo')
    expect(honest.messages[0]!.bytes).toEqual(Uint8Array.of(1, 2, 3))
    await until(() => bench.server.clients === 1, 'the noise to be gone')
  })
})
