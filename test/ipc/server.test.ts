import { chmodSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ipcPathOf, ipcPaths } from '../../src/core/wire/ipc/ipc-path.ts'
import { startIpcServer } from '../../src/ipc/server.ts'
import { EchoHandler, FakeTimers, MESSAGE_MAX, pathsIn, RawClient, startBench, temporaryDirectory, turns, until, type Bench } from './support.ts'

describe('the daemon\'s socket', () => {
  let place: ReturnType<typeof temporaryDirectory>
  const start = (paths = pathsIn(place.dir)): ReturnType<typeof startIpcServer> =>
    startIpcServer({ handler: new EchoHandler(), paths, messageMax: MESSAGE_MAX, timers: new FakeTimers() })

  beforeEach(() => {
    place = temporaryDirectory()
  })
  afterEach(() => place.remove())

  it('has mode 0600 in a directory of mode 0700, whatever the umask', async () => {
    for (const mask of [0o000, 0o077, 0o777]) {
      const before = process.umask(mask)
      try {
        const server = await start(pathsIn(join(place.dir, `umask-${mask}`)))
        expect(statSync(server.path).mode & 0o777).toBe(0o600)
        expect(statSync(join(server.path, '..')).mode & 0o777).toBe(0o700)
        await server.close()
      } catch (error) {
        // A umask of 0777 makes parents that nobody but root can enter.
        if (mask !== 0o777) throw error
      } finally {
        process.umask(before)
      }
    }
  })

  it('closes a directory that was left too open', async () => {
    mkdirSync(join(place.dir, 'run'), { mode: 0o755 })
    chmodSync(join(place.dir, 'run'), 0o777)
    const server = await start()
    expect(statSync(join(place.dir, 'run')).mode & 0o777).toBe(0o700)
    await server.close()
  })

  it('goes away with the daemon', async () => {
    const server = await start()
    expect(existsSync(server.path)).toBe(true)
    await server.close()
    expect(existsSync(server.path)).toBe(false)
  })

  it('of a living daemon is not taken', async () => {
    const server = await start()
    await expect(start()).rejects.toMatchObject({ code: 'already_running' })
    const client = new RawClient(server.path)
    expect(await client.hello()).toHaveProperty('result')
    client.destroy()
    await server.close()
  })

  it('of a dead daemon is replaced', async () => {
    mkdirSync(join(place.dir, 'run'), { mode: 0o700 })
    const path = join(place.dir, 'run', 'postern.sock')
    await leaveDeadSocket(path)
    const server = await start()
    const client = new RawClient(server.path)
    expect(await client.hello()).toHaveProperty('result')
    client.destroy()
    await server.close()
  })

  it('is had by one of two daemons that start at once over a dead one', async () => {
    mkdirSync(join(place.dir, 'run'), { mode: 0o700 })
    await leaveDeadSocket(join(place.dir, 'run', 'postern.sock'))
    const outcomes = await Promise.allSettled([start(), start(), start()])
    const servers = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    expect(servers).toHaveLength(1)
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'already_running' })
    const client = new RawClient(servers[0]!.path)
    expect(await client.hello()).toHaveProperty('result')
    client.destroy()
    await servers[0]!.close()
  })

  it('does not replace what is not a socket', async () => {
    mkdirSync(join(place.dir, 'run'), { mode: 0o700 })
    writeFileSync(join(place.dir, 'run', 'postern.sock'), 'mine')
    await expect(start()).rejects.toMatchObject({ code: 'start' })
  })

  it('is not put behind a link', async () => {
    mkdirSync(join(place.dir, 'elsewhere'))
    symlinkSync(join(place.dir, 'elsewhere'), join(place.dir, 'run'))
    await expect(start()).rejects.toMatchObject({ code: 'permission' })
  })

  it('is refused at a path that the system would cut', async () => {
    await expect(start(pathsIn(join(place.dir, 'x'.repeat(120))))).rejects.toMatchObject({ code: 'config', hint: expect.stringContaining('--dir') as string })
  })

  it('falls back to the next place', async () => {
    const paths = ipcPaths({ platform: 'linux', uid: process.getuid?.() ?? 0, env: { XDG_RUNTIME_DIR: join(place.dir, 'missing'), TMPDIR: place.dir } })
    const server = await start(paths.filter(({ socket }) => !socket.startsWith('/run/')))
    expect(server.path).toBe(join(place.dir, `postern-${process.getuid?.() ?? 0}`, 'postern.sock'))
    await server.close()
    await expect(start(paths.slice(0, 1))).rejects.toMatchObject({ code: 'unwritable' })
  })

  it('at a place of its own needs a private directory, which is not changed', async () => {
    const directory = join(place.dir, 'own')
    await expect(start([ipcPathOf(join(directory, 's'))])).rejects.toMatchObject({ code: 'unwritable' })
    mkdirSync(directory)
    chmodSync(directory, 0o755)
    await expect(start([ipcPathOf(join(directory, 's'))])).rejects.toMatchObject({ code: 'permission', hint: expect.stringContaining('chmod 700') as string })
    expect(statSync(directory).mode & 0o777).toBe(0o755)
    chmodSync(directory, 0o700)
    const server = await start([ipcPathOf(join(directory, 's'))])
    await server.close()
  })
})

describe('clients of one daemon', () => {
  let bench: Bench
  beforeEach(async () => {
    bench = await startBench()
  })
  afterEach(() => bench.stop())

  it('are at most 256; one more is told so, and the others go on', async () => {
    const clients = Array.from({ length: 256 }, () => new RawClient(bench.server.path))
    for (const client of clients) client.call('hello', { protocol: 1 })
    await until(() => bench.handler.clients.size === 256, '256 clients')
    const late = new RawClient(bench.server.path)
    late.call('hello', { protocol: 1 })
    expect(await late.event('event.bye')).toMatchObject({ code: 'limit' })
    await late.gone()
    expect(await clients[0]!.ask('status')).toHaveProperty('result')
    expect(bench.server.counters().ipc_clients_refused).toBe(1)
    clients.pop()!.destroy()
    await until(() => bench.server.clients === 255, 'a place')
    const next = new RawClient(bench.server.path)
    expect(await next.hello()).toHaveProperty('result')
    for (const client of [...clients, next]) client.destroy()
    await until(() => bench.server.clients === 0, 'all gone')
  })

  it('hear when the daemon ends, and those that do not listen are cut after a second', async () => {
    const polite = new RawClient(bench.server.path)
    const deaf = new RawClient(bench.server.path)
    await polite.hello()
    await deaf.hello()
    deaf.socket.pause()
    let closed = false
    const closing = bench.server.close('shutting_down', 'Bye.', 50).then(() => (closed = true))
    expect(await polite.event('event.bye')).toEqual({ code: 'shutting_down', reason: 'Bye.', retryMs: 50 })
    await polite.gone()
    await turns(20)
    expect(closed).toBe(false)
    await bench.timers.advance(1001)
    await closing
    expect(bench.handler.ends.map(({ code }) => code)).toEqual(['shutting_down', 'shutting_down'])
    deaf.destroy()
  })

  it('leave nothing behind', async () => {
    for (let round = 0; round < 5; round++) {
      const clients = Array.from({ length: 20 }, () => new RawClient(bench.server.path))
      await Promise.all(clients.map((client) => client.hello()))
      await Promise.all(clients.map((client) => client.open()))
      for (const client of clients) client.destroy()
      await until(() => bench.server.clients === 0, 'all gone')
    }
    // They had channels: those wait for them, for a while.
    expect(bench.handler.clients.size).toBe(100)
    await bench.timers.advance(10_001)
    expect(bench.handler.clients.size).toBe(0)
    expect(bench.server.counters()).toMatchObject({ ipc_clients_opened: 100, ipc_clients_closed: 100, ipc_faults: 0 })
  })

  it('are unharmed by a mistake of the router with one of them', async () => {
    const [one, other] = [new RawClient(bench.server.path), new RawClient(bench.server.path)]
    await one.hello()
    await other.hello()
    bench.handler.overrides = { 'peer.ping': () => { throw new TypeError('a bug') } }
    expect(await one.errorOf(one.call('peer.ping', { id: `${'a'.repeat(51)}q` }))).toBe('internal')
    bench.handler.onMessage = () => { throw new TypeError('another bug') }
    const channel = await one.open()
    one.message(channel, new Uint8Array(1))
    expect(await one.event('event.bye')).toMatchObject({ code: 'internal' })
    await one.gone()
    expect(bench.handler.faults).toHaveLength(2)
    expect(await other.ask('status')).toHaveProperty('result')
    other.destroy()
  })
})

/** What a daemon leaves that was killed: a socket file that nobody listens on. */
async function leaveDeadSocket(path: string): Promise<void> {
  const { linkSync, unlinkSync } = await import('node:fs')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.x`, resolve))
  linkSync(`${path}.x`, path)
  await new Promise<void>((resolve) => server.close(() => resolve()))
  if (existsSync(`${path}.x`)) unlinkSync(`${path}.x`)
}
