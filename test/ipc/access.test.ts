import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ipcPathOf } from '../../src/core/wire/ipc/ipc-path.ts'
import { descriptorOf, mayConnect, type SocketAccess } from '../../src/ipc/access.ts'
import { addon } from '../support/addon.ts'
import { RawClient, startBench, until, type Bench } from './support.ts'

const OWN = 1000
const access = (uid: number | undefined, others: readonly number[] = []): SocketAccess => ({ uidOf: () => uid, own: OWN, others })

let bench: Bench | undefined
afterEach(async () => {
  await bench?.stop()
  bench = undefined
})

describe('mayConnect', () => {
  it.each([
    [OWN, [], true], [0, [], true], [1001, [], false], [1001, [1001], true], [1002, [1001], false], [undefined, [], true], [undefined, [1001], false],
  ] as const)('user %s, others %j: %s', (uid, others, expected) => {
    expect(mayConnect(access(uid, others), uid)).toBe(expected)
  })
})

describe('the socket', () => {
  it('turns away who may not use it, says so, and takes no place for them', async () => {
    bench = await startBench({ access: access(1001) })
    const stranger = new RawClient(bench.server.path)
    stranger.call('hello', { protocol: 1 })
    expect(await stranger.event('event.bye')).toMatchObject({ code: 'permission' })
    await stranger.gone()
    expect(bench.server.clients).toBe(0)
    expect(bench.handler.clients.size).toBe(0)
    expect(bench.server.counters()).toMatchObject({ ipc_clients_forbidden: 1, ipc_clients_refused: 0, ipc_clients_opened: 0 })
  })

  it('is its owner\'s alone, until others are let in; then the check keeps the rest out', async () => {
    bench = await startBench({ access: access(OWN) })
    const { path } = bench.server
    expect([statSync(path).mode & 0o777, statSync(dirname(path)).mode & 0o777]).toEqual([0o600, 0o700])
    expect(await new RawClient(path).hello()).toHaveProperty('result')
    await bench.stop()
    bench = await startBench({ access: access(1001, [1001]) })
    const shared = bench.server.path
    expect([statSync(shared).mode & 0o777, statSync(dirname(shared)).mode & 0o777]).toEqual([0o666, 0o711])
    expect(await new RawClient(shared).hello()).toHaveProperty('result')
  })

  it('a directory that the user named may be open to others then, but not theirs to write', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'postern-access-'))
    try {
      chmodSync(directory, 0o777)
      await expect(startBench({ paths: [ipcPathOf(join(directory, 's'))], access: access(OWN, [1001]) })).rejects.toMatchObject({ code: 'permission' })
      chmodSync(directory, 0o755)
      await expect(startBench({ paths: [ipcPathOf(join(directory, 's'))], access: access(OWN) })).rejects.toMatchObject({ code: 'permission' })
      bench = await startBench({ paths: [ipcPathOf(join(directory, 's'))], access: access(OWN, [1001]) })
      expect(statSync(directory).mode & 0o777).toBe(0o755)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it('takes 32 connections of another user, root too, and any number of its own', async () => {
    let uid = 1001
    bench = await startBench({ access: { uidOf: () => uid, own: OWN, others: [1001] } })
    const { server } = bench
    const connect = async (): Promise<RawClient> => {
      const before = server.clients
      const client = new RawClient(server.path)
      await until(() => server.clients > before)
      return client
    }
    const theirs: RawClient[] = []
    for (let i = 0; i < 32; i++) theirs.push(await connect())
    const over = new RawClient(server.path)
    over.call('hello', { protocol: 1 })
    expect(await over.event('event.bye')).toMatchObject({ code: 'limit', retryMs: 1000 })
    await over.gone()
    expect([server.clients, server.counters().ipc_clients_over_user, server.counters().ipc_clients_refused]).toEqual([32, 1, 0])
    // Nobody else is worse off for it.
    uid = 0
    const roots = await connect()
    uid = OWN
    for (let i = 0; i < 40; i++) await connect()
    expect(await (await connect()).hello()).toHaveProperty('result')
    // One that goes makes room for one.
    uid = 1001
    theirs[0]!.destroy()
    await until(() => server.clients === 32 + 1 + 41 - 1)
    expect(await (await connect()).hello()).toHaveProperty('result')
    const again = new RawClient(server.path)
    await again.gone()
    expect(server.counters().ipc_clients_over_user).toBe(2)
    roots.destroy()
  })

  it('who guesses keys slows down only other connections of the same user', async () => {
    let uid = 1001
    bench = await startBench({ access: { uidOf: () => uid, own: OWN, others: [1001] } })
    const guess = async (): Promise<number> => {
      const client = new RawClient(bench!.server.path)
      client.call('hello', { protocol: 1, key: 'pk_wrong' })
      await until(() => bench!.server.clients > 0)
      // The answer waits for the clock that stands still.
      for (let waited = 0; ; waited += 250) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        if (client.frames.length > 0) {
          client.destroy()
          return waited
        }
        await bench!.timers.advance(250)
      }
    }
    expect(await guess()).toBe(250)
    expect(await guess()).toBe(500)
    uid = OWN
    expect(await guess()).toBe(250)
  })
})

const NOBODY = 65_534
const asRoot = process.getuid?.() === 0 && process.platform === 'linux' && addon !== undefined
// A node below somebody's home is for that user alone.
const runs = asRoot && spawnSync(process.execPath, ['-e', ''], { uid: NOBODY, gid: NOBODY, cwd: '/' }).status === 0
if (!runs) console.warn(`test/ipc: ${asRoot ? `another user may not run ${process.execPath}` : 'not root on Linux, or no addon'}: who really connects is not tested`)

describe.skipIf(!runs)('who really connects', () => {
  const real = (others: readonly number[]): SocketAccess => ({
    uidOf: (socket) => {
      const descriptor = descriptorOf(socket)
      return descriptor === undefined ? undefined : addon!.system.peerUid(descriptor)
    },
    own: 1, others,
  })
  /** What a process of this user reads from the socket until it is closed or has its answer. */
  const greet = async (path: string): Promise<string> => {
    const script = `
      const socket = require('node:net').connect(process.argv[1])
      const hello = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1}}')
      socket.on('error', () => undefined).on('data', (data) => { process.stdout.write(data); socket.end() }).on('close', () => process.exit())
      const head = Buffer.alloc(5)
      head.writeUInt32LE(hello.length + 1)
      socket.write(Buffer.concat([head, hello]))`
    const child = spawn(process.execPath, ['-e', script, path], { uid: NOBODY, gid: NOBODY, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', (data: Buffer) => (text += data.toString('latin1')))
    await once(child, 'close')
    return text
  }

  it.each([['kept out', 65_533, '"code":"permission"'], ['let in', NOBODY, '"peerId"']] as const)('is known: %s', async (_name, other, expected) => {
    bench = await startBench({ access: real([other]) })
    chmodSync(bench.dir, 0o711)
    expect(await greet(bench.server.path)).toContain(expected)
  })

  it('files and sockets of other kinds are nobody\'s', async () => {
    const file = openSync('/dev/null', 'r')
    const server = createServer().listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      expect([file, descriptorOf(server as unknown as Socket)!, 1_000_000].map((descriptor) => addon!.system.peerUid(descriptor))).toEqual([-1, -1, -1])
    } finally {
      closeSync(file)
      server.close()
    }
  })
})
