import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Subscription, TopicEvent } from '../../src/client/client.ts'
import type { TopicEventName, TopicEvents } from '../../src/core/wire/ipc/ipc-topics.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { Program, postern, posternLines, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const temporary = new TemporaryDirectory()
const [here, there] = [temporary.join('here'), temporary.join('there')]
let near: TestDaemon
let far: TestDaemon

beforeAll(async () => {
  near = await TestDaemon.start(here)
  far = await TestDaemon.start(there)
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

/** Everything a subscription says, as it comes. */
function record(subscription: Subscription): TopicEvent[] {
  const events: TopicEvent[] = []
  void (async () => {
    for await (const event of subscription) events.push(event)
  })()
  return events
}

/** What those of one name said. */
function named<N extends TopicEventName>(events: readonly TopicEvent[], name: N): TopicEvents[N][] {
  return events.flatMap((event) => (event.name === name ? [event.params as TopicEvents[N]] : []))
}

describe('a subscription', () => {
  it('tells of peers and paths: one that joins, its path, its end, its return, and that it was removed', async () => {
    const watcher = await near.client()
    const events = record(await watcher.subscribe({ topics: ['peer', 'path'] }))
    await until(() => named(events, 'event.synced').length === 2)
    expect(named(events, 'event.peer')).toEqual([])
    await pair(near, far)
    const states = (): string[] => named(events, 'event.peer').filter(({ id }) => id === far.peerId).map(({ state }) => state)
    await until(() => states().at(-1) === 'connected')
    await until(() => named(events, 'event.path').length > 0)
    expect(named(events, 'event.path')[0]).toMatchObject({ id: far.peerId, to: `udp 127.0.0.1:${far.udpPort}` })
    await far.stop()
    await until(() => states().at(-1) !== 'connected')
    await far.again()
    await until(() => states().at(-1) === 'connected')
    const late = record(await (await near.client()).subscribe({ topics: ['peer', 'path'] }))
    await until(() => named(late, 'event.synced').length === 2)
    expect(named(late, 'event.peer')).toEqual([expect.objectContaining({ id: far.peerId, state: 'connected', path: `udp 127.0.0.1:${far.udpPort}` })])
    expect(named(late, 'event.path')).toEqual([expect.objectContaining({ id: far.peerId, to: `udp 127.0.0.1:${far.udpPort}` })])
    await watcher.removePeer(far.peerId)
    await until(() => states().at(-1) === 'removed')
    await (await far.client()).removePeer(near.peerId)
    await pair(near, far)
  })

  it('tells of channels from opening to end, and an app key of its own app alone', async () => {
    const [owner, guest] = [await near.client(), await far.client()]
    const { key } = await owner.keys.create({ scopes: ['app:dice'] })
    const app = await near.client({ key })
    await expect(app.subscribe({ topics: ['peer'] })).rejects.toMatchObject({ code: 'scope' })
    const all = record(await owner.subscribe({ topics: ['channel'] }))
    const some = record(await app.subscribe({ topics: ['channel', 'app'] }))
    for (const name of ['dice', 'cards']) {
      const listener = await guest.listen(name)
      const opening = owner.openChannel(far.peerId, { app: name })
      for await (const incoming of listener) {
        await incoming.accept()
        break
      }
      const channel = await opening
      await channel.close({ code: 300, reason: 'enough' })
      await listener.close()
    }
    await until(() => named(all, 'event.channel').filter(({ state }) => state === 'closed').length === 2)
    expect(named(all, 'event.channel').map(({ app: name, state }) => `${name} ${state}`)).toEqual(['dice opening', 'dice open', 'dice closed', 'cards opening', 'cards open', 'cards closed'])
    expect(named(all, 'event.channel').at(-1)).toMatchObject({ peer: far.peerId, openedBy: 'local', client: 'e2e', code: 'app', appCode: 300, reason: 'enough', by: 'local' })
    expect(named(some, 'event.channel').map(({ app: name, state }) => `${name} ${state}`)).toEqual(['dice opening', 'dice open', 'dice closed'])
  })

  it('tells that a peer wants an app that does not run; started by that, it is found by the next attempt', async () => {
    const [owner, guest] = [await near.client(), await far.client()]
    const { key } = await owner.keys.create({ scopes: ['app:poker'] })
    const starter = await near.client({ key })
    const subscription = await starter.subscribe({ topics: ['app'] })
    const events = record(subscription)
    await expect(guest.openChannel(near.peerId, { app: 'secret/other' })).rejects.toMatchObject({ code: 'no_app' })
    await expect(guest.openChannel(near.peerId, { app: 'poker' })).rejects.toMatchObject({ code: 'no_app', hint: expect.any(String) as string })
    await until(() => events.length > 0)
    expect(events).toEqual([{ name: 'event.app.wanted', params: { app: 'poker', peer: far.peerId, handle: 1, count: 1 } }])
    const listener = await starter.listen('poker')
    const opened = guest.openChannel(near.peerId, { app: 'poker' })
    for await (const incoming of listener) {
      await incoming.accept()
      break
    }
    await (await opened).close()
  })

  it('tells figures in its interval, and the log at its own level, from the lines before on', async () => {
    const client = await near.client()
    const events = record(await client.subscribe({ topics: ['status', 'log'], intervalMs: 100, level: 'debug', lines: 5 }))
    await until(() => named(events, 'event.status').length >= 3)
    expect(named(events, 'event.status')[0]).toMatchObject({ peerId: near.peerId })
    expect(named(events, 'event.synced')).toEqual([{ topic: 'log' }])
    expect(events.findIndex(({ name }) => name === 'event.synced')).toBeGreaterThanOrEqual(5)
    await (await near.client()).close()
    await until(() => named(events, 'event.log').some(({ message, level }) => message === 'client gone' && level === 'debug'))
  })

  it('goes on when the daemon was restarted', async () => {
    const client = await near.client()
    const events = record(await client.subscribe({ topics: ['peer'] }))
    await until(() => named(events, 'event.synced').length === 1)
    await near.stop()
    await near.again()
    await until(() => named(events, 'event.synced').length === 2)
    await until(() => named(events, 'event.peer').at(-1)?.state === 'connected')
  })
})

describe('postern log', () => {
  it('prints the last lines, as text and as objects', async () => {
    const lines = await posternLines(here, 'log', '-n', '3', '--level', 'debug')
    expect(lines).toHaveLength(3)
    expect(await postern(here, 'log', '-n', '2')).toMatch(/^(\d{4}-\d\d-\d\dT\S+Z INFO .*\n){2}$/)
    const wrong = await run('postern', ['--dir', here, '--json', 'log', '--level', 'loud'])
    expect(readResult('error', wrong.out).error.code).toBe('params')
    expect((await run('postern', ['--dir', here, 'log', '-n', '257'])).status).toBe(64)
  })

  it('follows until Ctrl-C', async () => {
    await using following = Program.start('postern', ['--dir', here, 'log', '-f', '-n', '1', '--level', 'debug'])
    await following.says(/\n/)
    await postern(here, 'id')
    await following.says(/client gone/)
    const { status, err } = await following.stop('SIGINT')
    expect([status, err]).toEqual([0, ''])
  })
})
