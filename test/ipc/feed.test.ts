import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TopicEvent } from '../../src/core/wire/ipc/ipc-topics.ts'
import type { EventFeed, IpcClient } from '../../src/ipc/handler.ts'
import { FEED_EVENTS_MAX } from '../../src/ipc/limits.ts'
import { mayHearOf } from '../../src/ipc/scopes.ts'
import { PEER, RawClient, startBench, turns, until, type Bench } from './support.ts'

let bench: Bench
const clients: RawClient[] = []

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

async function dial(scopes: readonly string[] = ['status', 'admin', 'app:*']): Promise<RawClient> {
  bench.handler.scopes = scopes
  const client = new RawClient(bench.server.path)
  clients.push(client)
  await client.hello()
  return client
}

/** Counts on and on, and remembers how far it was asked. */
class CountingFeed implements EventFeed {
  made = 0
  end: number

  constructor(end: number) {
    this.end = end
  }

  next(): TopicEvent | undefined {
    return this.made < this.end ? { name: 'event.lost', params: { topic: 'peer', count: ++this.made } } : undefined
  }
}

const only = (): IpcClient => [...bench.handler.clients.values()][0]!

describe('events of a feed', () => {
  it('are made when there is room, all of them, in order', async () => {
    const client = await dial()
    const feed = new CountingFeed(1000)
    only().setFeed(feed)
    await until(() => client.jsons.length === 1001)
    expect(client.jsons.slice(1).map((value) => (value['params'] as { count: number }).count)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
  })

  it('come again when the feed says so', async () => {
    const client = await dial()
    const feed = new CountingFeed(1)
    only().setFeed(feed)
    await until(() => client.jsons.length === 2)
    feed.end = 2
    await turns(5)
    expect(feed.made).toBe(1)
    only().feedReady()
    await until(() => client.jsons.length === 3)
  })

  it('are not made for a client that does not read, and it loses nothing else by them', async () => {
    const client = await dial()
    client.socket.pause()
    const feed = new CountingFeed(Infinity)
    const connection = only()
    client.call('channel.open', { peer: PEER, app: 'echo', mode: 'unreliable', credit: 16_777_216 })
    await until(() => bench.handler.channels.size === 1)
    const channel = [...bench.handler.channels.values()][0]!
    // The socket's own buffer must be full first, else events count as read.
    while (connection.unsent < 200_000) {
      connection.sendMessage(channel.number, 0, new Uint8Array(60_000), 0, 60_000)
      await turns(1)
    }
    connection.setFeed(feed)
    await turns(20)
    const { made } = feed
    expect(made).toBeLessThanOrEqual(FEED_EVENTS_MAX)
    feed.end = made
    for (let i = 0; i < 100; i++) connection.feedReady()
    await turns(5)
    expect(bench.handler.ends).toEqual([])
    client.socket.resume()
    await until(() => client.jsons.filter(({ method }) => method === 'event.lost').length === made)
  })

  it('end with the connection, also where the client comes back', async () => {
    const client = await dial()
    const token = (client.jsons[0]!['result'] as { resume: string }).resume
    await client.open()
    const feed = new CountingFeed(0)
    const connection = only()
    connection.setFeed(feed)
    client.destroy()
    await until(() => bench.handler.lost.length === 1)
    feed.end = 10
    connection.feedReady()
    const again = await dial()
    clients.push(again)
    again.destroy()
    const back = new RawClient(bench.server.path)
    clients.push(back)
    expect(await back.hello({ resume: token })).toMatchObject({ result: { resumed: true } })
    await turns(10)
    expect(feed.made).toBe(0)
  })
})

describe('scopes of topics', () => {
  it.each([
    [['status'], ['peer', 'path', 'status', 'channel', 'app'], undefined], [['status'], ['log'], 'admin'], [['admin'], ['log'], undefined], [['admin'], ['peer'], 'status'],
    [['app:dice'], ['channel', 'app'], undefined], [['app:dice'], ['channel', 'path'], 'status'], [['admin'], ['app'], 'status'],
  ])('a client with %j may subscribe to %j, or misses %s', async (scopes, topics, missing) => {
    const client = await dial(scopes)
    const answer = await client.ask('subscribe', { topics })
    if (missing === undefined) expect(answer).toHaveProperty('result')
    else expect(answer).toMatchObject({ error: { data: { code: 'scope', scope: missing } } })
  })

  it('an app hears of its own channels only', () => {
    expect([mayHearOf(['app:dice'], 'dice'), mayHearOf(['app:dice'], 'cards'), mayHearOf(['app:*'], 'cards'), mayHearOf(['status'], 'cards'), mayHearOf(['admin'], 'cards')]).toEqual([true, false, true, true, false])
  })
})

describe('subscribe', () => {
  it.each([[{}], [{ topics: [] }], [{ topics: ['weather'] }], [{ topics: ['status'], intervalMs: 5 }], [{ topics: ['log'], level: 'loud' }], [{ topics: ['log'], lines: 1000 }]])('refuses %j', async (params) => {
    const client = await dial()
    expect(await client.errorOf(client.call('subscribe', params))).toBe('params')
  })
})
