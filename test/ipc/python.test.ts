import { createHash } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Channel, Client, IncomingChannel } from '../../src/client/client.ts'
import { fromUtf8, utf8 } from '../../src/core/base/bytes.ts'
import { TestDaemon, pair, until } from '../e2e/support/daemon.ts'
import { Program } from '../e2e/support/program.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'

const version = spawnSync('python3', ['-c', 'import sys; assert sys.version_info >= (3, 8)'])
const hasPython = version.status === 0
if (!hasPython) process.stderr.write('test/ipc/python.test.ts: skipped, since there is no python3 of version 3.8 or newer\n')

type Answer = Readonly<Record<string, unknown>>

/** A program in Python that does one step after the other. */
class PythonClient implements AsyncDisposable {
  readonly #program: Program
  #read = 0

  constructor(dir: string) {
    this.#program = new Program(['python3', '-B', fileURLToPath(new URL('python/conversation.py', import.meta.url)), dir], { talks: true })
  }

  say(step: string, params: object = {}): void {
    this.#program.child.stdin!.write(`${JSON.stringify({ do: step, ...params })}\n`)
  }

  /** The next line that it writes. */
  async line(): Promise<Answer> {
    await this.#program.says(new RegExp(`^(?:.*\\n){${this.#read + 1}}`))
    return JSON.parse(this.#program.out.split('\n')[this.#read++]!) as Answer
  }

  async ask(step: string, params: object = {}): Promise<Answer> {
    this.say(step, params)
    const answer = await this.line()
    expect(answer['done']).toBe(step)
    return answer
  }

  async end(): Promise<number | null> {
    this.#program.child.stdin!.end()
    const { status, err } = await this.#program.ended
    expect(err).toBe('')
    return status
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]()
  }
}

describe.skipIf(!hasPython)('a client in Python, written from docs/ipc.md alone', () => {
  const temporary = new TemporaryDirectory()
  let near: TestDaemon
  let far: TestDaemon
  let owner: Client
  let app: Client
  let python: PythonClient
  let incoming: AsyncIterator<IncomingChannel, undefined>
  let channel: Channel

  beforeAll(async () => {
    near = await TestDaemon.start(temporary.join('near'))
    far = await TestDaemon.start(temporary.join('far'))
    await pair(near, far)
    owner = await near.client()
    app = await far.client()
    python = new PythonClient(near.dir)
    incoming = (await app.listen('tstalk', { credit: 65_536 }))[Symbol.asyncIterator]()
  })

  afterAll(async () => {
    await python[Symbol.asyncDispose]()
    await near[Symbol.asyncDispose]()
    await far[Symbol.asyncDispose]()
    temporary[Symbol.dispose]()
  })

  async function next(): Promise<Channel> {
    const { value } = await incoming.next()
    if (value === undefined) throw new Error('the listener ended')
    return await value.accept()
  }

  it('says hello with an API key, after a wrong one', async () => {
    const { key } = await owner.keys.create({ scopes: ['app:pytalk', 'app:tstalk', 'app:pytalk/nobody', 'app:wanted'] })
    const { wrong, waitedMs, hello } = await python.ask('hello', { key, wrong: 'pk_wrong' })
    expect(wrong).toBe('auth')
    expect(waitedMs).toBeGreaterThan(240)
    expect(hello).toMatchObject({ protocol: 1, peerId: near.peerId, scopes: ['app:pytalk', 'app:tstalk', 'app:pytalk/nobody', 'app:wanted'], resumed: false, limits: { message: 1_048_576 } })
  })

  it('recognises errors by their codes, and lives on', async () => {
    expect(await python.ask('errors', { peer: far.peerId })).toMatchObject({
      status: 'scope', otherApp: 'scope', method: 'method', params: 'params', badPeer: 'bad_peer_id', noApp: 'no_app', unknownChannel: 'unknown_channel',
    })
  })

  it('is told why the daemon ends a connection', async () => {
    const { code, first } = await python.ask('broken', {})
    expect(code).toBe('protocol')
    expect(first).toMatchObject([{ id: 1, error: { data: { code: 'hello_first' } } }, { method: 'event.bye', params: { code: 'hello_first' } }])
  })

  it('rejects a channel and accepts another: text and bytes both ways, and the end with its code', async () => {
    await python.ask('listen')
    python.say('accept')
    await expect(app.openChannel(near.peerId, { app: 'pytalk' })).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining('not you') as string })
    const talk = await app.openChannel(near.peerId, { app: 'pytalk', meta: utf8('für dich') })
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 256)
    await talk.send(bytes)
    expect((await talk.receive())!.bytes).toEqual(bytes.toReversed())
    await talk.send(utf8('grüß Gott 🎲'))
    expect(fromUtf8((await talk.receive())!.bytes)).toBe('Grüße zurück: grüß Gott 🎲')
    await talk.close({ code: 4711, reason: 'schluss' })
    expect(await python.line()).toMatchObject({ peer: far.peerId, meta: 'für dich', end: null, closed: { code: 'app', appCode: 4711, reason: 'schluss', by: 'peer' } })
  })

  it('is sent no more than the credit it gives', async () => {
    python.say('withhold')
    const talk = await app.openChannel(near.peerId, { app: 'pytalk' })
    const hash = createHash('sha256')
    for (let i = 0; i < 300; i++) {
      const bytes = new Uint8Array(100 + i).fill(i)
      hash.update(bytes)
      await talk.send(bytes)
    }
    await talk.close()
    const { held, cost, window, count, sha256 } = (await python.line()) as { readonly held: number; readonly cost: number; readonly window: number; readonly count: number; readonly sha256: string }
    expect(window).toBe(8192)
    // A message may take the balance below zero, once.
    expect(cost).toBeGreaterThanOrEqual(window)
    expect(cost).toBeLessThan(window + 432)
    expect(held).toBeLessThan(300)
    expect([count, sha256]).toEqual([300, hash.digest('hex')])
  })

  it('is stopped by credit when the other app does not read, and goes on when it does', async () => {
    const opening = python.ask('open', { peer: far.peerId })
    channel = await next()
    expect(channel.meta).toEqual(utf8('from python'))
    expect(await opening).toMatchObject({ maxMessage: 1_048_576 })
    python.say('blocked')
    const { blockedAt, code, balance } = (await python.line()) as { readonly blockedAt: number; readonly code: string; readonly balance: number }
    expect(code).toBe('blocked')
    expect(blockedAt).toBeGreaterThan(30)
    expect(blockedAt).toBeLessThan(4000)
    expect(balance).toBeLessThanOrEqual(0)
    for (let i = 0; i < 4000; i++) {
      const message = (await channel.receive())!
      expect(new DataView(message.bytes.buffer, message.bytes.byteOffset).getUint32(0, true)).toBe(i)
    }
    expect(await python.line()).toMatchObject({ sent: 4000, done: 'blocked' })
  })

  it('sends 10,000 messages and gets them back, each once and in order, while its connection breaks five times', async () => {
    const echo = (async () => {
      for (let i = 0; i < 10_000; i++) await channel.send((await channel.receive())!.bytes)
    })()
    python.say('many', { count: 10_000, cuts: 5 })
    const answer = await python.line()
    await echo
    expect(answer).toMatchObject({ sent: 10_000, received: 10_000, losses: 5 })
    // What it keeps for the next loss is what credit did not cover yet: less than a window.
    expect(answer['kept']).toBeLessThan(3000)
    expect((await near.counters())['ipc_clients_resumed']).toBe(5)
  })

  it('hears that an app is wanted', async () => {
    python.say('wanted')
    await python.line()
    await expect(app.openChannel(near.peerId, { app: 'wanted' })).rejects.toMatchObject({ code: 'no_app' })
    expect((await python.line())['event']).toMatchObject(['event.app.wanted', { app: 'wanted', peer: far.peerId, count: 1 }])
  })

  it('comes back to a daemon that was restarted, and knows that its channels are gone', async () => {
    python.say('restarted', { peer: far.peerId })
    await python.line()
    await near.stop()
    await near.again()
    const talk = await next()
    await talk.send(Uint8Array.from((await talk.receive())!.bytes).reverse())
    expect(await python.line()).toMatchObject({ code: 'shutting_down', other: true, resumed: false, old: 'closed', answer: [255, 2, 1, 0] })
    expect(await talk.receive()).toBeUndefined()
    expect(await talk.closed).toMatchObject({ code: 'app', appCode: 300 })
    await python.ask('leave')
    expect(await python.end()).toBe(0)
    await until(async () => ((await near.counters())['ipc_faults'] ?? 0) === 0)
  })
})
