import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, type Channel, type Client, type MessageFate, type OpenChannelOptions } from '../../src/client/client.ts'
import { FATES_MAX } from '../../src/client/channel-sender.ts'
import { dropReason } from '../../src/core/base/domain.ts'
import type { IpcClient } from '../../src/ipc/handler.ts'
import { PEER, startBench, turns, until, type Bench } from '../ipc/support.ts'
import { CuttingProxy } from './cutting-proxy.ts'

let bench: Bench
let proxy: CuttingProxy
let client: Client

beforeEach(async () => {
  bench = await startBench()
  bench.handler.record = true
  bench.handler.echo = false
  const path = join(bench.dir, 'run', 'cut.sock')
  proxy = await CuttingProxy.start(path, bench.server.path)
  client = await connect({ path })
})
afterEach(async () => {
  await client.close()
  await proxy.close()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

const open = (options: Partial<OpenChannelOptions> = {}): Promise<Channel> => client.openChannel(PEER, { app: 'echo', ...options })
const server = (): IpcClient => [...bench.handler.clients.values()][0]!
const delivered = (channel: number, first: number, last: number): void => server().sendNotice(channel, 1, 0, first, last)
const dropped = (channel: number, reason: number, first: number, last: number): void => server().sendNotice(channel, 2, reason, first, last)
const tagsTaken = (): number[] => bench.handler.taken.map(({ tag }) => tag)

describe('what became of messages', () => {
  it('is said to who asked, once', async () => {
    const channel = await open({ mode: 'unreliable' })
    const fates: string[] = []
    const hear = (name: string) => (fate: MessageFate): void => { fates.push(`${name} ${fate.outcome}`) }
    channel.trySend(Uint8Array.of(0))
    channel.trySend(Uint8Array.of(1), { onFate: hear('a') })
    channel.trySend(Uint8Array.of(2), { onFate: hear('b') })
    const third = channel.sendConfirmed(Uint8Array.of(3))
    await until(() => bench.handler.taken.length === 4)
    expect(bench.handler.taken.map(({ tag, confirm }) => [tag, confirm])).toEqual([[0, false], [1, true], [2, true], [3, true]])
    dropped(1, dropReason.none, 2, 2)
    delivered(1, 1, 1)
    dropped(1, dropReason.deadline, 3, 3)
    delivered(1, 1, 3)
    expect(await third).toEqual({ outcome: 'dropped', reason: 'deadline' })
    await turns(2)
    expect(fates).toEqual(['b dropped', 'a delivered'])
  })

  it('is unknown at the end of the channel for the rest', async () => {
    const channel = await open()
    const fate = channel.sendConfirmed(Uint8Array.of(1))
    await until(() => bench.handler.taken.length === 1)
    server().closeChannel(1, { code: 'unreachable', reason: '', by: 'daemon' })
    expect(await fate).toEqual({ outcome: 'unknown' })
  })

  it('can be heard of all that are dropped, by reason', async () => {
    const channel = await open({ mode: 'latest', overflow: 'drop-oldest' })
    const heard: unknown[] = []
    channel.onDropped((what) => heard.push(what))
    for (let i = 0; i < 5; i++) channel.trySend(Uint8Array.of(i))
    await until(() => bench.handler.taken.length === 5)
    expect(tagsTaken()).toEqual([1, 2, 3, 4, 5])
    expect(bench.handler.taken.some(({ confirm }) => confirm)).toBe(false)
    dropped(1, dropReason.superseded, 1, 4)
    delivered(1, 5, 5)
    await until(() => heard.length > 0)
    await turns(2)
    expect(heard).toEqual([{ reason: 'superseded', count: 4 }])
  })

  it('outlives a lost connection; a message that went with one on an unreliable channel is said to be lost', async () => {
    const loose = await open({ mode: 'unreliable' })
    const sure = await open()
    const first = loose.sendConfirmed(Uint8Array.of(1))
    await until(() => bench.handler.taken.length === 1)
    proxy.cutOnce({ from: 'client', after: 0 })
    const second = loose.sendConfirmed(Uint8Array.of(2))
    const third = sure.sendConfirmed(Uint8Array.of(3))
    expect(await second).toEqual({ outcome: 'dropped', reason: 'disconnected' })
    await until(() => bench.handler.taken.length === 2)
    // The reliable one was written again, and still wants to be confirmed.
    expect(bench.handler.taken.at(-1)).toMatchObject({ channel: 2, tag: 1, confirm: true })
    delivered(1, 1, 1)
    delivered(2, 1, 1)
    expect(await Promise.all([first, third])).toEqual([{ outcome: 'delivered' }, { outcome: 'delivered' }])
  })

  it('that nobody is told of is bounded', async () => {
    bench.handler.sendCredit = 16_777_216
    const channel = await open({ mode: 'unreliable' })
    const message = new Uint8Array(0)
    const onFate = (): void => undefined
    for (let i = 0; i < FATES_MAX; i++) expect(channel.trySend(message, { onFate })).toBe('queued')
    expect(() => channel.trySend(message, { onFate })).toThrow(expect.objectContaining({ code: 'limit' }) as Error)
    expect(channel.trySend(message)).toBe('queued')
    await until(() => bench.handler.taken.length === FATES_MAX + 1)
    delivered(1, 1, FATES_MAX)
    await until(() => {
      try {
        return channel.trySend(message, { onFate }) === 'queued'
      } catch {
        return false
      }
    })
  })
})

describe('one message for many channels', () => {
  it('goes to the daemon as one frame and to each as its own message', async () => {
    const channels = await Promise.all(['reliable-ordered', 'unreliable', 'latest'].map((mode) => open({ mode: mode as 'latest' })))
    bench.handler.echo = true
    const bytes = Uint8Array.of(9, 8, 7)
    expect(client.sendMany(channels, bytes, { ttlMs: 50 })).toEqual(['queued', 'queued', 'queued'])
    for (const channel of channels) expect([...(await channel.receive())!.bytes]).toEqual([9, 8, 7])
    expect(bench.handler.taken.map(({ channel, tag, ttlMs }) => [channel, tag, ttlMs])).toEqual([[1, 1, 50], [2, 0, 50], [3, 0, 50]])
  })

  it('says of each channel whether it took it, and sends nothing if one never would', async () => {
    bench.handler.sendCredit = 10
    const [a, b] = [await open(), await open()]
    bench.handler.maxMessage = 5
    const small = await open()
    await b.close()
    expect(a.trySend(new Uint8Array(8))).toBe('queued')
    expect(client.sendMany([a, b], new Uint8Array(8))).toEqual(['full', 'closed'])
    expect(() => client.sendMany([a, small], new Uint8Array(8))).toThrow(expect.objectContaining({ code: 'limit' }) as Error)
    await turns(3)
    expect(bench.handler.received).toBe(1)
  })

  it('is repeated on reliable channels after a lost connection, and only there', async () => {
    const channels = [await open(), await open({ mode: 'unreliable' }), await open()]
    proxy.cutOnce({ from: 'client', after: 3 })
    client.sendMany(channels, Uint8Array.of(1))
    await until(() => bench.handler.received === 2)
    await turns(3)
    expect(bench.handler.taken.map(({ channel }) => channel)).toEqual([1, 3])
  })
})
