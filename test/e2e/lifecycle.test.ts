import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Channel, Client, IncomingChannel, Listener } from '../../src/client/client.ts'
import { addon } from '../support/addon.ts'
import { hasPython, NotifySocket } from '../support/notify-socket.ts'
import { pair, TestDaemon, until } from './support/daemon.ts'
import { run } from './support/program.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const PASSPHRASE = 'twelve Angry gates'

describe('a start with a passphrase', () => {
  it('takes it from the environment or from a file, and neither log nor state show it', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    const toml = '[store]\nkey = "passphrase"\n'
    await using first = await TestDaemon.start(dir, { toml, env: { POSTERN_PASSPHRASE: PASSPHRASE } })
    const { peerId } = first
    const { link } = await (await first.client()).invites.create()
    expect((await first.stop()).status).toBe(0)
    expect(first.log).not.toContain(PASSPHRASE)
    expect(Buffer.from(first.stateFile()).includes(PASSPHRASE)).toBe(false)
    expect(Buffer.from(first.stateFile()).includes(link.slice(-20))).toBe(false)
    expect(existsSync(temporary.join('a', 'state', 'state.key'))).toBe(false)

    const file = temporary.join('passphrase')
    writeFileSync(file, `${PASSPHRASE}\nand a second line\n`, { mode: 0o600 })
    await using second = await TestDaemon.start(dir, { args: ['--set', `store.passphrase_file=${file}`] })
    expect(second.peerId).toBe(peerId)
    expect(await (await second.client()).invites.list()).toHaveLength(1)
  })

  it('works in the background too', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    const up = await run('postern', ['--dir', dir, '--json', 'up', '--set', 'store.key=passphrase'], { env: { POSTERN_PASSPHRASE: PASSPHRASE } })
    expect(up.status, up.err).toBe(0)
    const { peerId } = JSON.parse(up.out) as { readonly peerId: string }
    expect((await run('postern', ['--dir', dir, 'down'])).status).toBe(0)
    const wrong = await run('postern', ['--dir', dir, 'up', '--set', 'store.key=passphrase'], { env: { POSTERN_PASSPHRASE: 'something else' } })
    expect(wrong.status).toBe(77)
    expect(wrong.err).toMatch(/\[passphrase\]/)
    const again = await run('postern', ['--dir', dir, '--json', 'up', '--set', 'store.key=passphrase'], { env: { POSTERN_PASSPHRASE: PASSPHRASE } })
    expect(JSON.parse(again.out)).toMatchObject({ peerId })
    expect((await run('postern', ['--dir', dir, 'down'])).status).toBe(0)
  })
})

/** Two daemons and a channel whose receiver has not taken anything yet. */
async function stalledChannel(temporary: TemporaryDirectory, drain: string, toml = ''): Promise<{ readonly sender: TestDaemon; readonly receiver: TestDaemon; readonly from: Channel; readonly to: Channel; readonly client: Client }> {
  const sender = await TestDaemon.start(temporary.join('sender'), { toml: `[shutdown]\ndrain = "${drain}"\n${toml}` })
  const receiver = await TestDaemon.start(temporary.join('receiver'))
  await pair(receiver, sender)
  const listener = await (await receiver.client()).listen('drain', { credit: 65_536 })
  const client = await sender.client({ reconnect: false })
  const [from, to] = await Promise.all([client.openChannel(receiver.peerId, { app: 'drain' }), next(listener).then((incoming) => incoming.accept())])
  return { sender, receiver, from, to, client }
}

async function next(listener: Listener): Promise<IncomingChannel> {
  for await (const incoming of listener) return incoming
  throw new Error('nobody came')
}

/** Together more than the receiving daemon keeps for an app that does not read (2 MiB), so that the rest waits at the sender (1 MiB). */
const COUNT = 280
const SOME = 100

/** Until the daemon has it: `send` resolves when there is credit, while the message may still be on its way, and a daemon that ends reads no more. */
async function fill(client: Client, channel: Channel, count = COUNT): Promise<void> {
  for (let i = 0; i < count; i++) await channel.send(new Uint8Array(10_000).fill(i))
  await client.status()
}

async function drainInto(channel: Channel, count = COUNT): Promise<number[]> {
  const firsts: number[] = []
  while (firsts.length < count) {
    const message = await channel.receive()
    if (message === undefined) break
    firsts.push(message.bytes[0]!)
  }
  return firsts
}

const ALL = Array.from({ length: COUNT }, (_, i) => i & 0xff)

describe('posternd in the foreground', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('stops on %s after it delivered what was queued', async (signal) => {
    using temporary = new TemporaryDirectory()
    const { sender, receiver, from, to, client } = await stalledChannel(temporary, '60s')
    await using _sender = sender
    await using _receiver = receiver
    await fill(client, from)
    const ended = sender.stop(signal)
    await until(() => sender.log.includes('stopping'))
    expect(sender.program.running).toBe(true)
    expect(await drainInto(to)).toEqual(ALL)
    expect(await ended).toMatchObject({ status: 0, signal: null })
    expect(sender.log).toMatch(/INFO {2}stopped/)
    expect(existsSync(sender.socket)).toBe(false)
    await expect(to.receive()).rejects.toMatchObject({ code: 'closed', details: { end: 'app_gone', by: 'peer' } })
  })

  it('leaves what the other daemon took to its app, however late that reads', async () => {
    using temporary = new TemporaryDirectory()
    const { sender, receiver, from, to, client } = await stalledChannel(temporary, '60s')
    await using _sender = sender
    await using _receiver = receiver
    // Far less than the windows of the receiving daemon, far more than its app gave credit for.
    await fill(client, from, SOME)
    expect(await sender.stop()).toMatchObject({ status: 0, signal: null })
    expect(await drainInto(to, SOME)).toEqual(ALL.slice(0, SOME))
    await expect(to.receive()).rejects.toMatchObject({ code: 'closed', details: { end: 'app_gone', by: 'peer' } })
  })

  it('takes signals that come at once for one wish, and a later one for impatience', async () => {
    using temporary = new TemporaryDirectory()
    const { sender, receiver, from, client } = await stalledChannel(temporary, '300s')
    await using _sender = sender
    await using _receiver = receiver
    await fill(client, from)
    const { child } = sender.program
    for (let i = 0; i < 3; i++) child.kill('SIGINT')
    await until(() => sender.log.includes('stopping'))
    await sleep(400)
    expect(sender.program.running).toBe(true)
    expect(await sender.stop('SIGTERM')).toMatchObject({ status: 143, signal: null })
    await sender.again()
  })

  it('stops also when nobody takes what is queued', async () => {
    using temporary = new TemporaryDirectory()
    const { sender, receiver, from, client } = await stalledChannel(temporary, '500ms')
    await using _sender = sender
    await using _receiver = receiver
    await fill(client, from)
    expect(await sender.stop()).toMatchObject({ status: 0, signal: null })
  })

  it('tells its clients and its peers that it goes', async () => {
    using temporary = new TemporaryDirectory()
    const { sender, receiver, from, to } = await stalledChannel(temporary, '5s')
    await using _sender = sender
    await using _receiver = receiver
    const peers = await receiver.client()
    expect(await sender.stop()).toMatchObject({ status: 0 })
    expect(await from.closed).toMatchObject({ code: 'closed', by: 'daemon' })
    expect(await to.closed).toMatchObject({ code: 'app_gone', by: 'peer', reason: 'shutting down' })
    await until(async () => (await peers.peers({ state: 'connected' })).length === 0, 'the peer\'s goodbye')
  })

  it('opens its log anew on SIGHUP, with mode 0600', async () => {
    using temporary = new TemporaryDirectory()
    const [file, moved] = [temporary.join('p.log'), temporary.join('p.log.1')]
    await using daemon = await TestDaemon.start(temporary.join('a'), { args: ['--set', `log.file=${file}`] })
    await until(() => existsSync(file) && readFileSync(file, 'utf8').includes('ready'))
    renameSync(file, moved)
    daemon.program.child.kill('SIGHUP')
    await until(() => existsSync(file))
    expect((await daemon.stop()).status).toBe(0)
    expect(readFileSync(file, 'utf8')).toContain('stopped')
    expect(readFileSync(moved, 'utf8')).not.toContain('stopped')
  })
})

describe.skipIf(!hasPython)('a service manager', () => {
  it('hears when the daemon is ready, that it lives, why it did not start, and when it stops', async () => {
    using temporary = new TemporaryDirectory()
    await using socket = await NotifySocket.open(temporary.join('notify'))
    const env = { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '200000' }
    await using daemon = await TestDaemon.start(temporary.join('a'), { env })
    const ready = await socket.hears('READY=1')
    expect(ready.text).toBe(`READY=1\nSTATUS=Ready as ${daemon.peerId} on UDP port ${daemon.udpPort}`)
    if (addon !== undefined) expect(ready.pid).toBe(daemon.program.child.pid)
    await socket.hears('WATCHDOG=1')
    expect((await run('posternd', ['--dir', daemon.dir], { env: { NOTIFY_SOCKET: socket.path } })).status).not.toBe(0)
    await socket.hears('is already running')
    expect((await daemon.stop()).status).toBe(0)
    // The drain of 5 s and ten seconds more.
    expect((await socket.hears('STOPPING=1')).text).toContain('EXTEND_TIMEOUT_USEC=15000000\nSTATUS=Stopping: SIGTERM')
    expect(daemon.log).not.toContain('service manager')
  })

  it('that is not there is mentioned in the log, and the daemon runs all the same', async () => {
    using temporary = new TemporaryDirectory()
    await using daemon = await TestDaemon.start(temporary.join('a'), { env: { NOTIFY_SOCKET: temporary.join('nobody') } })
    await until(() => daemon.log.includes('the service manager could not be told'))
    expect((await daemon.stop()).status).toBe(0)
  })
})

describe('a channel that is closed while its receiver does not read', () => {
  it('ends as `done` only when all of it arrived', async () => {
    using temporary = new TemporaryDirectory()
    const toml = '[session]\nchannel_drain = "1s"\n'
    const { sender, receiver, from, to, client } = await stalledChannel(temporary, '1s', toml)
    await using _sender = sender
    await using _receiver = receiver
    // More than the windows of the receiver hold: the rest waits at the sender when its time is up.
    await fill(client, from)
    await from.close()
    expect(await to.closed).toMatchObject({ code: 'timeout' })
    const taken: number[] = []
    await expect((async () => {
      for await (const message of to) taken.push(message.bytes[0]!)
    })()).rejects.toMatchObject({ code: 'timeout' })
    expect(taken.length).toBeLessThan(COUNT)
    expect(taken).toEqual(ALL.slice(0, taken.length))
  })
})

describe('log lines', () => {
  it('show no invite token and no key, at any level', async () => {
    using temporary = new TemporaryDirectory()
    const toml = '[shutdown]\ndrain = "1s"\n'
    await using a = await TestDaemon.start(temporary.join('a'), { toml, args: ['--log-level', 'trace'] })
    await using b = await TestDaemon.start(temporary.join('b'), { toml, args: ['--log-level', 'trace'] })
    const [from, to] = [await a.client(), await b.client()]
    const { link } = await from.invites.create({ name: 'friend' })
    await to.invites.join(link)
    await to.connectPeer(a.peerId)
    await expect(to.invites.join(`${link}x`)).rejects.toMatchObject({ code: 'params' })
    const cli = await run('postern', ['--dir', b.dir, 'join', `${link}x`])
    await a.stop()
    await b.stop()
    const said = [a.log, b.log, cli.out, cli.err]
    // Every run of the link's own characters, and both key files as they might be written.
    const body = link.slice(link.indexOf('/') + 1)
    const secrets = [a, b].flatMap(({ dir }) => {
      const key = readFileSync(`${dir}/state/state.key`)
      return [key.toString('hex'), key.toString('base64'), key.toString('base64url')]
    })
    for (const text of said) {
      for (let at = 0; at + 16 <= body.length; at += 4) expect(text.includes(body.slice(at, at + 16)), body.slice(at, at + 16)).toBe(false)
      for (const secret of secrets) expect(text.includes(secret)).toBe(false)
    }
    expect(a.log).toMatch(/a peer joined by an invite/)
  })
})
