import { describe, expect, it } from 'vitest'
import type { Channel, Client, ConnectionState, Listener } from '../../src/client/client.ts'
import { pair, TestDaemon, until } from './support/daemon.ts'
import { TemporaryDirectory } from './support/temporary.ts'

/** Accepts every channel and sends back what comes, until the listener ends. */
function echo(listener: Listener, channels: Channel[]): void {
  const serve = async (): Promise<void> => {
    for await (const incoming of listener) {
      const channel = await incoming.accept()
      channels.push(channel)
      channel.onMessage((message) => {
        channel.trySend(message.view())
      })
    }
  }
  serve().catch(() => undefined)
}

async function turn(client: Client, peer: string): Promise<Channel> {
  const channel = await client.openChannel(peer, { app: 'echo' })
  await channel.send(Uint8Array.of(1, 2, 3))
  expect((await channel.receive())?.bytes).toEqual(Uint8Array.of(1, 2, 3))
  return channel
}

describe('one daemon is started anew while channels are open', () => {
  it.each([
    ['in good order', 'SIGTERM', /^app_gone$/],
    ['after kill -9', 'SIGKILL', /^reset$/],
  ] as const)('%s: both clients are told with a code, and all goes on', async (_how, signal, code) => {
    using temporary = new TemporaryDirectory()
    await using a = await TestDaemon.start(temporary.join('a'))
    await using b = await TestDaemon.start(temporary.join('b'))
    await pair(a, b)
    const states: [ConnectionState, string | undefined][] = []
    const far = await b.client({ onState: (state, error) => states.push([state, error?.code]) })
    const accepted: Channel[] = []
    echo(await far.listen('echo'), accepted)
    const near = await a.client()
    const channel = await turn(near, b.peerId)
    const before = { peer: b.peerId, port: b.udpPort, instance: far.daemon.instance }

    await b.stop(signal)
    expect((await accepted[0]!.closed).code).toMatch(signal === 'SIGTERM' ? /^closed$/ : /^disconnected$/)
    expect(far.state).toBe('reconnecting')
    await b.again()
    expect([b.peerId, b.udpPort]).toEqual([before.peer, before.port])

    // The client of the daemon that stayed: its channel ends with a word.
    const end = await channel.closed
    expect(end.code).toMatch(code)
    await expect(channel.send(Uint8Array.of(1))).rejects.toMatchObject({ name: 'PosternError' })
    // The client of the daemon that went: it is connected again by itself, and still listens.
    await until(() => far.state === 'connected', 'the reconnection')
    expect(far.daemon.instance).not.toBe(before.instance)
    expect(states.map(([state]) => state)).toEqual(['connected', 'reconnecting', 'connected'])
    expect(states[1]![1]).toMatch(signal === 'SIGTERM' ? /^shutting_down$/ : /^disconnected$/)
    await until(async () => (await near.peers({ state: 'connected' })).length === 1, 'the new session')
    await turn(near, b.peerId)
    expect(accepted).toHaveLength(2)
  })

  it('a client that does not want to reconnect is told that it is over', async () => {
    using temporary = new TemporaryDirectory()
    await using a = await TestDaemon.start(temporary.join('a'))
    const states: [ConnectionState, string | undefined][] = []
    const client = await a.client({ reconnect: false, onState: (state, error) => states.push([state, error?.code]) })
    await a.stop()
    await until(() => client.state === 'closed')
    expect(states).toEqual([['connected', undefined], ['closed', 'shutting_down']])
    await expect(client.status()).rejects.toMatchObject({ code: 'shutting_down' })
  })
})
