import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, type Client, type TopicEvent } from '../../src/client/client.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import type { SubscribeRequest } from '../../src/core/wire/ipc/ipc-subscribe.ts'
import type { EventFeed, IpcClient } from '../../src/ipc/handler.ts'
import { startBench, turns, until, type Bench } from '../ipc/support.ts'
import { CuttingProxy } from './cutting-proxy.ts'

let bench: Bench
let proxy: CuttingProxy
let client: Client
const asked: SubscribeRequest[] = []
const unsubscribed: string[][] = []
let feed: ListFeed

/** Hands out what a test put in. */
class ListFeed implements EventFeed {
  readonly events: TopicEvent[] = []
  readonly client: IpcClient

  constructor(to: IpcClient) {
    this.client = to
  }

  next(): TopicEvent | undefined {
    return this.events.shift()
  }

  say(...events: readonly TopicEvent[]): void {
    this.events.push(...events)
    this.client.feedReady()
  }
}

beforeEach(async () => {
  bench = await startBench()
  asked.length = 0
  unsubscribed.length = 0
  bench.handler.overrides = {
    'subscribe': (to, request) => {
      asked.push(request)
      feed = new ListFeed(to)
      to.setFeed(feed)
      return {}
    },
    'unsubscribe': (to, request) => {
      unsubscribed.push([...request.topics])
      to.setFeed(undefined)
      return {}
    },
  }
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

const lost = (count: number): TopicEvent => ({ name: 'event.lost', params: { topic: 'peer', count } })
const gone = (id: string): TopicEvent => ({ name: 'event.peer', params: { id, handle: 1, state: 'removed' } })

describe('a subscription', () => {
  it('hands out events in order, and ends when it is closed', async () => {
    const subscription = await client.subscribe({ topics: ['peer'], intervalMs: 500 })
    expect(asked).toEqual([{ topics: ['peer'], intervalMs: 500, level: 'info', lines: 0 }])
    feed.say(gone('a'), gone('b'))
    const seen: TopicEvent[] = []
    for await (const event of subscription) {
      seen.push(event)
      if (seen.length === 2) await subscription.close()
    }
    expect(seen).toEqual([gone('a'), gone('b')])
    expect(unsubscribed).toEqual([['peer']])
  })

  it('waits for what comes later', async () => {
    const subscription = await client.subscribe({ topics: ['peer'] })
    const iterator = subscription[Symbol.asyncIterator]()
    const next = iterator.next()
    await turns(3)
    feed.say(gone('z'))
    expect(await next).toEqual({ done: false, value: gone('z') })
  })

  it('goes on over a reconnect, without lines of the log that were told', async () => {
    const subscription = await client.subscribe({ topics: ['log'], level: 'debug', lines: 9 })
    const iterator = subscription[Symbol.asyncIterator]()
    proxy.cutOnce({ from: 'daemon', after: 0 })
    client.status().catch(() => undefined)
    await until(() => asked.length === 2)
    expect(asked.map(({ lines, level }) => [lines, level])).toEqual([[9, 'debug'], [0, 'debug']])
    const line: TopicEvent = { name: 'event.log', params: { time: '', level: 'info', message: 'x', fields: {} } }
    feed.say(line)
    expect((await iterator.next()).value).toEqual(line)
  })

  it('of a program that does not read is given up, counted, and begun anew when it reads', async () => {
    const subscription = await client.subscribe({ topics: ['peer'] })
    const first = feed
    first.say(...Array.from({ length: 1500 }, (_, i) => gone(`${i}`)), lost(7))
    await until(() => unsubscribed.length === 1 && first.events.length === 0)
    await turns(5)
    const iterator = subscription[Symbol.asyncIterator]()
    const seen: unknown[] = []
    for (let i = 0; i < 1024; i++) seen.push((await iterator.next()).value)
    expect(seen).toEqual(Array.from({ length: 1024 }, (_, i) => gone(`${i}`)))
    expect(asked).toHaveLength(1)
    const count = await iterator.next()
    expect(count.value).toMatchObject({ name: 'event.lost', params: { topic: 'peer' } })
    expect((count.value as { params: { count: number } }).params.count).toBeGreaterThanOrEqual(1)
    const anew = iterator.next()
    await until(() => asked.length === 2)
    feed.say(gone('now'))
    expect((await anew).value).toEqual(gone('now'))
  })

  it('is one for a topic: the second is refused here, until the first is closed', async () => {
    const first = await client.subscribe({ topics: ['peer', 'path'] })
    await expect(client.subscribe({ topics: ['path'] })).rejects.toMatchObject({ code: 'params' })
    const other = await client.subscribe({ topics: ['status'] })
    await first.close()
    await (await client.subscribe({ topics: ['path'] })).close()
    await other.close()
  })

  it('that the daemon refuses is none', async () => {
    bench.handler.overrides = { ...bench.handler.overrides, 'subscribe': () => { throw new PosternError('scope', 'no') } }
    await expect(client.subscribe({ topics: ['log'] })).rejects.toMatchObject({ code: 'scope' })
    await expect(client.subscribe({ topics: ['log'] })).rejects.toMatchObject({ code: 'scope' })
  })

  it('throws when the client loses the right to it while it was away, and ends quietly with the client', async () => {
    const subscription = await client.subscribe({ topics: ['peer'] })
    const reading = subscription[Symbol.asyncIterator]().next()
    bench.handler.overrides = { ...bench.handler.overrides, 'subscribe': () => { throw new PosternError('scope', 'no') } }
    proxy.cutOnce({ from: 'daemon', after: 0 })
    client.status().catch(() => undefined)
    await expect(reading).rejects.toMatchObject({ code: 'scope' })
    bench.handler.overrides = {}
    const other = await client.subscribe({ topics: ['peer'] })
    const end = other[Symbol.asyncIterator]().next()
    await client.close()
    expect(await end).toMatchObject({ done: true })
  })

  it('does not mind events of later versions', async () => {
    const subscription = await client.subscribe({ topics: ['peer'] })
    const later = { name: 'event.weather', params: {} } as unknown as TopicEvent
    feed.say(later, { name: 'event.lost', params: { topic: 'weather', count: 1 } } as unknown as TopicEvent, gone('a'))
    expect((await subscription[Symbol.asyncIterator]().next()).value).toEqual(gone('a'))
  })
})
