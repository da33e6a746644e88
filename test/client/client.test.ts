import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { connect, PosternError, type Client, type ConnectionState, type ConnectOptions } from '../../src/client/client.ts'
import type { ClientTimers } from '../../src/client/timers.ts'
import type { PeerPingResult, PeersResult } from '../../src/core/wire/ipc/ipc-methods.ts'
import { startIpcServer, type IpcServer } from '../../src/ipc/server.ts'
import { EchoHandler, FakeTimers, jsonFrame, MESSAGE_MAX, pathsIn, PEER, startBench, temporaryDirectory, turns, until, type Bench } from '../ipc/support.ts'

/** Waits end when the test says so. */
class FakeClientTimers implements ClientTimers {
  readonly pending = new Set<{ readonly delayMs: number; readonly callback: () => void }>()

  after(delayMs: number, callback: () => void): () => void {
    const entry = { delayMs, callback }
    this.pending.add(entry)
    return () => this.pending.delete(entry)
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  random(): number {
    return 0.5
  }

  /** The one wait there is, ended. */
  fire(): number {
    const [entry] = this.pending
    if (entry === undefined || this.pending.size > 1) throw new Error(`${this.pending.size} waits`)
    this.pending.delete(entry)
    entry.callback()
    return entry.delayMs
  }
}

let bench: Bench
const clients: Client[] = []

async function dial(options: ConnectOptions = {}): Promise<Client> {
  const client = await connect({ dir: bench.dir, ...options })
  clients.push(client)
  return client
}

beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close()
  await bench.stop()
  expect(bench.handler.faults).toEqual([])
})

const rejection = (promise: Promise<unknown>): Promise<unknown> => promise.then((value) => value, (error: unknown) => error)

describe('connecting', () => {
  it('finds the daemon and learns what it is', async () => {
    const client = await dial({ app: 'dice', name: 'dice/0.3' })
    expect(client.state).toBe('connected')
    expect(client.peerId).toBe(PEER)
    expect(client.daemon).toMatchObject({ daemon: '0.1.0', limits: { message: MESSAGE_MAX }, scopes: ['app:*', 'status', 'admin'] })
    expect([...bench.handler.clients.values()][0]).toMatchObject({ app: 'dice', name: 'dice/0.3' })
  })

  it('finds it by path and by POSTERN_DIR', async () => {
    await dial({ path: bench.server.path })
    vi.stubEnv('POSTERN_DIR', bench.dir)
    try {
      clients.push(await connect())
    } finally {
      vi.unstubAllEnvs()
    }
    expect(bench.handler.clients.size).toBe(2)
  })

  it('fails at once where no daemon is', async () => {
    const { dir, remove } = temporaryDirectory()
    await expect(connect({ dir })).rejects.toMatchObject({ code: 'not_running', hint: expect.stringContaining('postern up') as string })
    await expect(connect({ path: join(dir, 'x'.repeat(120)) })).rejects.toMatchObject({ code: 'config' })
    remove()
  })

  it('fails with what the daemon answers', async () => {
    bench.handler.greet = () => {
      throw new PosternError('shutting_down', 'Going.', { hint: 'Wait.' })
    }
    await expect(connect({ dir: bench.dir })).rejects.toMatchObject({ code: 'shutting_down', message: 'Going.', hint: 'Wait.' })
    await expect(connect({ dir: bench.dir, app: 'Not An App' })).rejects.toMatchObject({ code: 'params', details: { member: 'app' } })
  })

  it('can be called off', async () => {
    await expect(connect({ dir: bench.dir, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
    const mute = createServer()
    const { dir, remove } = temporaryDirectory()
    await once(mute.listen(join(dir, 's')), 'listening')
    const controller = new AbortController()
    const connecting = connect({ path: join(dir, 's'), signal: controller.signal })
    setTimeout(() => controller.abort(), 20)
    await expect(connecting).rejects.toMatchObject({ code: 'aborted' })
    mute.close()
    remove()
  })

  it('does not wait for ever for a daemon that says nothing', async () => {
    const mute = createServer()
    const { dir, remove } = temporaryDirectory()
    await once(mute.listen(join(dir, 's')), 'listening')
    const timers = new FakeClientTimers()
    const connecting = rejection(connect({ path: join(dir, 's'), timers }))
    await until(() => timers.pending.size === 1)
    expect(timers.fire()).toBe(10_000)
    expect(await connecting).toMatchObject({ code: 'timeout' })
    mute.close()
    remove()
  })

  it('does not trust a daemon that speaks nonsense', async () => {
    const { dir, remove } = temporaryDirectory()
    for (const bytes of [jsonFrame({ jsonrpc: '2.0', id: 1, result: {} }), jsonFrame('[]'), new Uint8Array([9, 0, 0, 0, 9]), jsonFrame({ jsonrpc: '2.0', id: 1, result: 7 })]) {
      const liar = createServer((socket) => socket.on('error', () => undefined).resume().end(bytes))
      await once(liar.listen(join(dir, 's')), 'listening')
      await expect(connect({ path: join(dir, 's') })).rejects.toMatchObject({ code: 'protocol' })
      await new Promise((resolve) => liar.close(resolve))
      rmSync(join(dir, 's'), { force: true })
    }
    remove()
  })
})

describe('requests', () => {
  it('have their results', async () => {
    const client = await dial()
    expect(await client.status()).toMatchObject({ peerId: PEER, sessions: 0 })
    expect(await client.peers()).toEqual([{ id: PEER, handle: 1, state: 'connected', since: 0 }])
    expect(await client.ping(PEER)).toEqual({ rttMs: [1], path: 'udp 192.0.2.1:7000' })
    expect(await client.connectPeer(PEER)).toEqual({ handle: 1, state: 'connected' })
    expect(await client.invites.create({ uses: 2, name: 'Ada' })).toEqual({ link: 'postern:1/AA', id: '00' })
    expect(await client.invites.join('postern:1/AA')).toBe(PEER)
    expect(await client.invites.list()).toEqual([])
    await client.invites.revoke('00')
    await client.addPeer(PEER, { name: 'Ada', candidates: ['192.0.2.1:7000'] })
    await client.removePeer(PEER)
    await client.disconnectPeer(PEER)
    await client.shutdown()
  })

  it('fail with the daemon\'s code, sentence and hint', async () => {
    const client = await dial()
    await expect(client.ping('nobody')).rejects.toMatchObject({ name: 'PosternError', code: 'bad_peer_id', hint: expect.stringContaining('52') as string })
    await expect(client.openChannel(PEER, { app: 'echo', mode: 'newest' as 'latest' })).rejects.toMatchObject({ code: 'params', details: { member: 'mode' } })
  })

  it('can be called off', async () => {
    bench.handler.overrides = { 'peer.ping': () => new Promise<never>(() => undefined) }
    const client = await dial()
    const controller = new AbortController()
    const ping = client.ping(PEER, { signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(ping).rejects.toMatchObject({ code: 'aborted', cause: new Error('enough') })
    await expect(client.status({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(await client.status()).toMatchObject({ peerId: PEER })
  })

  it('beyond 64 wait for a place, in order', async () => {
    const pending: ((result: PeerPingResult) => void)[] = []
    bench.handler.overrides = { 'peer.ping': () => new Promise<PeerPingResult>((resolve) => pending.push(resolve)) }
    const client = await dial()
    const pings = Array.from({ length: 150 }, () => client.ping(PEER))
    await until(() => pending.length === 64)
    await turns(10)
    expect(pending).toHaveLength(64)
    for (let i = 0; i < 150; i++) {
      await until(() => pending.length > i)
      pending[i]!({ rttMs: [i], path: '' })
    }
    expect((await Promise.all(pings)).map(({ rttMs }) => rttMs[0])).toEqual(Array.from({ length: 150 }, (_, i) => i))
  })

  it('for peers read all pages', async () => {
    const peer = (n: number): PeersResult['peers'][number] => ({ id: `${n}`, handle: n, state: 'offline', since: 0 })
    bench.handler.overrides = {
      'peers': (_client, { after }) => (after === undefined ? { peers: [peer(1), peer(2)], next: PEER } : { peers: [peer(3)] }),
    }
    const client = await dial()
    expect((await client.peers()).map(({ handle }) => handle)).toEqual([1, 2, 3])
  })
})

describe('losing the connection', () => {
  it('fails what was under way, ends channels, and dials again with growing patience', async () => {
    const { handler } = bench
    const timers = new FakeClientTimers()
    const states: ConnectionState[] = []
    const client = await dial({ timers, onState: (state) => states.push(state) })
    const channel = await client.openChannel(PEER, { app: 'echo' })
    handler.overrides = { 'peer.ping': () => new Promise<never>(() => undefined) }
    const ping = rejection(client.ping(PEER))
    const receive = rejection(channel.receive())
    await turns(5)
    await restartBench('a-new-one', async () => {
      await until(() => client.state === 'reconnecting')
      expect(await ping).toMatchObject({ code: 'shutting_down' })
      expect(await channel.closed).toMatchObject({ code: 'disconnected', by: 'daemon' })
      expect(await receive).toMatchObject({ code: 'disconnected' })
      expect(channel.trySend(Uint8Array.of(1))).toBe('closed')
      await expect(channel.send(Uint8Array.of(1))).rejects.toMatchObject({ code: 'disconnected' })
      const delays: number[] = []
      for (let i = 0; i < 9; i++) {
        await until(() => timers.pending.size === 1)
        delays.push(timers.fire())
        await until(() => timers.pending.size === 1)
      }
      expect(delays).toEqual([50, 100, 200, 400, 800, 1600, 3200, 5000, 5000])
    })
    const status = client.status()
    timers.fire()
    expect(await status).toMatchObject({ peerId: PEER })
    expect(client.daemon.instance).toBe('a-new-one')
    expect(states).toEqual(['connected', 'reconnecting', 'connected'])
  })

  it('keeps listeners', async () => {
    const client = await dial({ timers: new QuickTimers() })
    const listener = await client.listen('dice')
    const first = listener[Symbol.asyncIterator]().next()
    await restartBench('b')
    await until(() => bench.handler.listening.has('dice'), 'the listener to be back')
    bench.handler.offer('dice')
    expect((await first).value).toMatchObject({ app: 'dice', peer: PEER })
  })

  it('ends a listener whose name was taken meanwhile', async () => {
    const client = await dial({ timers: new QuickTimers() })
    const listener = await client.listen('dice')
    const next = rejection(listener[Symbol.asyncIterator]().next())
    await restartBench('c', undefined, (handler) => Object.assign(handler.methods, { listen: () => Promise.reject(new PosternError('app_taken', 'Taken.')) }))
    expect(await next).toMatchObject({ code: 'app_taken' })
    expect(client.state).toBe('connected')
  })

  it('waits as long as the daemon asks', async () => {
    const timers = new FakeClientTimers()
    const client = await dial({ timers })
    ;[...bench.handler.clients.values()][0]!.close('shutting_down', 'Update.', 7000)
    await until(() => client.state === 'reconnecting')
    expect([...timers.pending].map(({ delayMs }) => delayMs)).toEqual([7000])
    timers.fire()
    await until(() => client.state === 'connected')
  })

  it('is the end without reconnect', async () => {
    const client = await dial({ reconnect: false })
    ;[...bench.handler.clients.values()][0]!.close('slow_reader', 'Too slow.')
    await until(() => client.state === 'closed')
    await expect(client.status()).rejects.toMatchObject({ code: 'slow_reader', message: 'Too slow.' })
  })

  it('can be waited out, or called off', async () => {
    const timers = new FakeClientTimers()
    const client = await dial({ timers })
    ;[...bench.handler.clients.values()][0]!.close('shutting_down', 'Bye.')
    await until(() => client.state === 'reconnecting')
    const controller = new AbortController()
    const called = rejection(client.status({ signal: controller.signal }))
    const waited = rejection(client.status())
    controller.abort()
    expect(await called).toMatchObject({ code: 'aborted' })
    await client.close()
    expect(await waited).toMatchObject({ code: 'closed' })
    expect(client.state).toBe('closed')
    expect(timers.pending.size).toBe(0)
  })

  it('in the middle of a frame is a loss like any other', async () => {
    const { dir, remove } = temporaryDirectory()
    const sockets: Socket[] = []
    const hello = { protocol: 1, daemon: 'x', peerId: PEER, instance: 'y', scopes: [], limits: { message: 100, channels: 1, json: 1000, open: 4 } }
    const fake = createServer((socket) => {
      sockets.push(socket)
      socket.once('data', () => socket.write(jsonFrame({ jsonrpc: '2.0', id: 1, result: hello })))
    })
    await once(fake.listen(join(dir, 's')), 'listening')
    const client = await connect({ path: join(dir, 's'), reconnect: false })
    const status = rejection(client.status())
    sockets[0]!.end(new Uint8Array([200, 0, 0, 0, 0, 1, 2]))
    expect(await status).toMatchObject({ code: 'disconnected' })
    fake.close()
    remove()
  })
})

/** Ends the daemon, does something without one, and starts another at the same place. */
async function restartBench(instance: string, meanwhile: () => Promise<void> = () => Promise.resolve(), prepare: (handler: EchoHandler) => void = () => undefined): Promise<void> {
  await bench.server.close()
  await meanwhile()
  const handler = new EchoHandler()
  handler.instance = instance
  prepare(handler)
  const timers = new FakeTimers()
  const server: IpcServer = await startIpcServer({ handler, paths: pathsIn(bench.dir), messageMax: MESSAGE_MAX, timers })
  const { dir } = bench
  bench = {
    dir, server, handler, timers,
    stop: async () => {
      const closed = server.close()
      await turns(5)
      await timers.advance(1100)
      await closed
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Real time, a hundred times faster. */
class QuickTimers implements ClientTimers {
  after(delayMs: number, callback: () => void): () => void {
    const timer = setTimeout(callback, delayMs / 100)
    return () => clearTimeout(timer)
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  random(): number {
    return Math.random()
  }
}
