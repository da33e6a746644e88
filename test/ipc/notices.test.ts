import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dropReason } from '../../src/core/base/domain.ts'
import { concat, writeU16 } from '../../src/core/base/bytes.ts'
import { KIND_MANY, noticeWhats } from '../../src/core/wire/ipc/ipc.ts'
import type { IpcClient } from '../../src/ipc/handler.ts'
import { frame, manyFrame, MESSAGE_MAX, RawClient, startBench, turns, until, type Bench } from './support.ts'

let bench: Bench
const clients: RawClient[] = []

async function dialHello(params: object = {}): Promise<RawClient> {
  const client = new RawClient(bench.server.path)
  clients.push(client)
  await client.hello(params)
  return client
}

/** The server's side of the only client. */
const server = (): IpcClient => [...bench.handler.clients.values()][0]!
const DELIVERED = 1 + noticeWhats.indexOf('delivered')
const DROPPED = 1 + noticeWhats.indexOf('dropped')

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

describe('notices', () => {
  it('reach the client with what they say, before the end of their channel', async () => {
    const client = await dialHello()
    const channel = await client.open({ mode: 'latest' })
    server().sendNotice(channel, DELIVERED, 0, 1, 7)
    server().sendNotice(channel, DROPPED, dropReason.superseded, 8, 8)
    server().closeChannel(channel, { code: 'done', reason: '', by: 'peer' })
    server().sendNotice(channel, DELIVERED, 0, 9, 9)
    await client.event('event.channel.closed')
    await turns(3)
    expect(client.notices).toEqual([
      { channel, what: 'delivered', reason: 'none', firstTag: 1, lastTag: 7 },
      { channel, what: 'dropped', reason: 'superseded', firstTag: 8, lastTag: 8 },
    ])
    expect(client.frames.at(-1)!.kind).toBe('json')
  })

  it('that a lost connection may not have carried come again, those kept meanwhile behind them, and then the end', async () => {
    const client = await dialHello()
    const welcome = client.jsons[0]!['result'] as { readonly resume: string }
    const channel = await client.open()
    const side = server()
    side.sendNotice(channel, DELIVERED, 0, 1, 1)
    await until(() => client.notices.length === 1)
    client.destroy()
    await until(() => bench.handler.lost.length === 1)
    side.sendNotice(channel, DROPPED, dropReason.deadline, 2, 5)
    side.closeChannel(channel, { code: 'done', reason: '', by: 'peer' })
    const again = await dialHello({ resume: welcome.resume })
    await again.event('event.channel.closed')
    expect(again.notices.map(({ what, firstTag, lastTag }) => `${what} ${firstTag}-${lastTag}`)).toEqual(['delivered 1-1', 'dropped 2-5'])
    expect(again.frames.at(-1)!.kind).toBe('json')
  })

  it('are bounded while a client is away, and counted beyond', async () => {
    const client = await dialHello()
    const welcome = client.jsons[0]!['result'] as { readonly resume: string }
    const channel = await client.open()
    const side = server()
    client.destroy()
    await until(() => bench.handler.lost.length === 1)
    for (let tag = 1; tag <= 3000; tag += 2) side.sendNotice(channel, DELIVERED, 0, tag, tag)
    const again = await dialHello({ resume: welcome.resume })
    await until(() => again.notices.length === 1024)
    expect(bench.server.counters().ipc_notices_lost).toBe(1500 - 1024)
  })
})

describe('one message for many channels', () => {
  it('is a message on each, with its own tag', async () => {
    const client = await dialHello()
    bench.handler.record = true
    const [a, b, c] = [await client.open({ mode: 'unreliable' }), await client.open({ mode: 'unreliable', deadlineMs: 90 }), await client.open({ mode: 'latest' })]
    client.write(manyFrame([{ channel: a, tag: 4 }, { channel: b, tag: 0 }, { channel: c, tag: 1 }], Uint8Array.of(5, 6, 7), { flags: 1, lane: 1 }))
    await until(() => client.messages.length === 3, 'three echoes')
    expect(bench.handler.taken).toEqual([
      { channel: a, lane: 1, tag: 4, ttlMs: 0, confirm: true, length: 3 },
      { channel: b, lane: 1, tag: 0, ttlMs: 90, confirm: true, length: 3 },
      { channel: c, lane: 1, tag: 1, ttlMs: 0, confirm: true, length: 3 },
    ])
    expect(client.messages.map(({ bytes }) => [...bytes])).toEqual([[5, 6, 7], [5, 6, 7], [5, 6, 7]])
  })

  it('goes on where the router had no room, and none comes twice', async () => {
    const client = await dialHello()
    const channels: number[] = []
    for (let i = 0; i < 5; i++) channels.push(await client.open())
    const { handler } = bench
    handler.parkNext = 3
    client.write(concat(manyFrame(channels.map((channel) => ({ channel, tag: 1 })), Uint8Array.of(1)), manyFrame(channels.map((channel) => ({ channel, tag: 2 })), Uint8Array.of(2))))
    await until(() => client.messages.length === 10, 'all echoes')
    for (const channel of channels) expect(client.messages.filter((message) => message.channel === channel).map(({ bytes }) => bytes[0])).toEqual([1, 2])
  })

  it('breaks the channel that may not take it, and reaches the others', async () => {
    bench.handler.sendCredit = 40
    const client = await dialHello()
    const [a, b] = [await client.open(), await client.open()]
    client.message(a, new Uint8Array(20))
    await until(() => client.messages.length === 1)
    bench.handler.echo = false
    bench.handler.maxMessage = 10
    const small = await client.open()
    client.write(manyFrame([{ channel: small, tag: 0 }, { channel: b, tag: 0 }], new Uint8Array(11)))
    expect(await client.event('event.channel.closed')).toMatchObject({ channel: small, code: 'limit' })
    await until(() => bench.handler.received === 2)
  })

  it.each([
    ['no entries', (channel: number) => manyFrame([{ channel, tag: 0 }], new Uint8Array(0)).fill(0, 5, 7)],
    ['more entries than it holds', (channel: number) => {
      const whole = manyFrame([{ channel, tag: 0 }], new Uint8Array(0))
      writeU16(whole, 5, 2)
      return whole
    }],
    ['more than 256 entries', (channel: number) => manyFrame(Array.from({ length: 257 }, () => ({ channel, tag: 0 })), new Uint8Array(0))],
    ['a head cut short', () => frame(KIND_MANY, new Uint8Array(7))],
    ['a channel that never was', () => manyFrame([{ channel: 99, tag: 0 }], new Uint8Array(0))],
    ['too many bytes', (channel: number) => manyFrame([{ channel, tag: 0 }], new Uint8Array(MESSAGE_MAX + 8 * 256))],
  ])('with %s ends the connection', async (_what, make) => {
    const client = await dialHello()
    client.write(make(await client.open()))
    expect(await client.event('event.bye')).toMatchObject({ code: 'protocol' })
    await client.gone()
  })
})
