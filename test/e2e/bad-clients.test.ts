import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Channel, Listener } from '../../src/client/client.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import { RawClient, frame } from '../ipc/support.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const temporary = new TemporaryDirectory()
let near: TestDaemon
let far: TestDaemon
/** A conversation that nothing of this may disturb. */
let bystander: { readonly sender: Channel; readonly receiver: Channel }
let said = 0

beforeAll(async () => {
  near = await TestDaemon.start(temporary.join('near'))
  far = await TestDaemon.start(temporary.join('far'))
  await pair(near, far)
  const listener = await (await far.client()).listen('bystander')
  const opening = (await near.client()).openChannel(far.peerId, { app: 'bystander' })
  for await (const incoming of listener) {
    bystander = { receiver: await incoming.accept(), sender: await opening }
    break
  }
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

beforeEach(async () => {
  await unharmed()
})

/** The others go on as if nothing were. */
async function unharmed(): Promise<void> {
  said++
  await bystander.sender.send(Uint8Array.of(said & 255))
  expect((await bystander.receiver.receive())!.bytes).toEqual(Uint8Array.of(said & 255))
  expect((await near.counters())['ipc_faults']).toBe(0)
}

describe('programs that ask for what they may not have', () => {
  it('the same app name: the second is told so, and has it when the first is gone', async () => {
    const [first, second] = [await far.client(), await far.client()]
    await first.listen('dice')
    await expect(second.listen('dice')).rejects.toMatchObject({ code: 'app_taken', hint: expect.any(String) as string })
    await unharmed()
    await first.close()
    // What the first one wrote last is on its way to the daemon; the second one's wish may be read before it.
    let listener: Listener | undefined
    await until(async () => {
      listener = await second.listen('dice').catch((error: unknown) => {
        if (error instanceof PosternError && error.code === 'app_taken') return undefined
        throw error
      })
      return listener !== undefined
    })
    await listener?.close()
  })

  it('an API key of another scope: refused for every call, and nothing is done', async () => {
    const owner = await near.client()
    const { key } = await owner.keys.create({ scopes: ['app:cards'] })
    const client = await near.client({ key })
    for (const call of [() => client.listen('dice'), () => client.openChannel(far.peerId, { app: 'bystander' }), () => client.status(), () => client.shutdown(), () => client.keys.list(), () => client.subscribe({ topics: ['log'] })]) {
      await expect(call()).rejects.toMatchObject({ code: 'scope' })
    }
    await (await client.listen('cards')).close()
    await unharmed()
  })

  it('guessed keys wait for their answers, and whoever has a good one does not', async () => {
    const guessers = Array.from({ length: 6 }, () => new RawClient(near.socket))
    for (const guesser of guessers) guesser.call('hello', { protocol: 1, key: 'pk_guess' })
    await until(async () => (await near.counters())['ipc_auth_failures']! >= 6)
    const { key } = await (await near.client()).keys.create({ scopes: ['status'] })
    await (await near.client({ key })).status()
    // The sixth waits eight seconds by now.
    expect(guessers.filter(({ jsons }) => jsons.length === 0).length).toBeGreaterThan(0)
    for (const guesser of guessers) guesser.destroy()
    await unharmed()
  })
})

describe('programs of another version', () => {
  it('from the future: told which version is spoken here, whatever else they say, and served', async () => {
    const client = new RawClient(near.socket)
    client.write(frame(0xc8, new Uint8Array(1000)))
    const hello = await client.hello({ protocol: 4_294_967_295, client: 'later/9', suites: [7], capabilities: { grease: null } })
    expect(hello['result']).toMatchObject({ protocol: 1, resumed: false })
    client.write(frame(0xff, Uint8Array.of(1, 2, 3)))
    expect(await client.ask('status', { verbosity: 11 })).toHaveProperty('result')
    expect(await client.errorOf(client.call('channel.teleport', {}))).toBe('method')
    client.destroy()
    await unharmed()
  })

  it.each([[0], [-1], ['1'], [1.5]])('that names its version %j: told what is wrong with it, and the connection ends', async (protocol) => {
    const client = new RawClient(near.socket)
    expect(await client.errorOf(client.call('hello', { protocol }))).toBe('params')
    expect(await client.event('event.bye')).toMatchObject({ code: 'params' })
    await client.gone()
  })
})

describe('floods of channels', () => {
  it('to an app that decides about none: so many are offered as it may have, the rest refused, and its end frees them', async () => {
    const [flooder, sleeper] = [await near.client(), new RawClient(far.socket)]
    await sleeper.hello({ app: 'sleeper' })
    await sleeper.ask('listen', { app: 'sleeper', credit: 0 })
    const opens = Array.from({ length: 300 }, () => flooder.openChannel(far.peerId, { app: 'sleeper' }).then(() => 'open', (error: unknown) => (error as { readonly code: string }).code))
    await until(() => sleeper.jsons.filter(({ method }) => method === 'event.channel.incoming').length >= 60)
    await unharmed()
    sleeper.destroy()
    const codes = await Promise.all(opens)
    expect(codes.filter((code) => code === 'open')).toEqual([])
    expect(new Set(codes).size).toBeLessThanOrEqual(4)
    await unharmed()
    await until(async () => (await (await near.client()).peers())[0]!.channels === 1, 'the flood is gone')
  })

  it('by one program: it has its 256, the rest are refused, and those that are open go on', async () => {
    const listening = await far.client()
    const listener = await listening.listen('hotel')
    void (async () => {
      for await (const incoming of listener) await incoming.accept().catch(() => undefined)
    })()
    const guest = await near.client()
    const codes = await Promise.all(Array.from({ length: 300 }, () => guest.openChannel(far.peerId, { app: 'hotel' }).then(() => 'open', (error: unknown) => (error as { readonly code: string }).code)))
    expect(codes.filter((code) => code === 'open').length).toBeGreaterThan(200)
    expect(codes.filter((code) => code !== 'open' && code !== 'limit')).toEqual([])
    await unharmed()
    await guest.close()
  })
})
