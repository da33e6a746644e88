import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Channel, Client, Listener, TopicEvent } from '../../src/client/client.ts'
import { VirtualAir } from '../../src/sim/air/air.ts'
import { realAirTime } from '../../src/sim/air/air-time.ts'
import { AirServer } from '../../src/sim/air/serve-air.ts'
import { Lab, whyNoFilters, type Namespace } from '../lab/namespaces.ts'
import { pair, TestDaemon, until } from './support/daemon.ts'
import { postern, posternJson, Program, programFile, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

/** Daemons whose only way to each other is the air, until a test says otherwise. */
class Scene implements AsyncDisposable {
  readonly temporary: TemporaryDirectory = new TemporaryDirectory()
  readonly air: VirtualAir = new VirtualAir({ time: realAirTime() })
  readonly daemons: TestDaemon[] = []
  #server: AirServer | undefined

  async open(): Promise<this> {
    this.#server = await AirServer.listen(this.air, this.temporary.join('air'))
    return this
  }

  async daemon(name: string, toml = '[path]\nonly = "ble"\n', machine?: Namespace): Promise<TestDaemon> {
    const ble = `[ble]\nbackend = "virtual"\nsocket = "${this.temporary.join('air')}"\nstrangers = true\n`
    const daemon = await TestDaemon.start(this.temporary.join(name), { env: { POSTERN_BLE: '1' }, toml: ble + toml, ...(machine === undefined ? {} : { machine }) })
    this.daemons.push(daemon)
    return daemon
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.daemons) await daemon[Symbol.asyncDispose]()
    await this.#server?.close()
    this.temporary[Symbol.dispose]()
  }
}

/** The kind of path in use. */
async function kindOf(client: Client, id: string): Promise<string | undefined> {
  const found = (await client.peers()).find((peer) => peer.id === id)
  return found?.state === 'connected' ? found.path?.split(' ')[0] : undefined
}

async function untilOn(client: Client, id: string, kind: string, timeoutMs = 60_000): Promise<void> {
  await until(async () => await kindOf(client, id) === kind, `a session by ${kind}`, timeoutMs)
}

async function accept(listener: Listener): Promise<Channel> {
  for await (const incoming of listener) return await incoming.accept()
  throw new Error('nobody came')
}

async function untilHealthy(daemon: TestDaemon): Promise<void> {
  const client = await daemon.client()
  await until(async () => (await client.bleStatus()).state === 'on', 'Bluetooth', 60_000)
}

describe('two machines without any network between them', () => {
  const scene = new Scene()
  let [ana, ben]: TestDaemon[] = []

  beforeAll(async () => {
    await scene.open()
    ana = await scene.daemon('ana')
    ben = await scene.daemon('ben')
    await untilHealthy(ana)
    await untilHealthy(ben)
  }, 120_000)
  afterAll(() => scene[Symbol.asyncDispose]())

  it('are paired by two people who compare eight digits', async () => {
    const sides = [['ana', ana!, 'ben'], ['ben', ben!, 'ana']] as const
    const programs = sides.map(([, { dir }, other]) => new Program([process.execPath, programFile('postern'), '--dir', dir, '--json', 'pair', '--name', other, '--wait', '90s'], { talks: true }))
    const codes: string[] = []
    for (const { child } of programs) {
      child.stdout!.once('data', (line: string) => {
        codes.push((readResult('pair', line) as { readonly code: string }).code)
        child.stdin!.write('yes\n')
      })
    }
    const outcomes = await Promise.all(programs.map(({ ended }) => ended))
    expect(outcomes.map(({ status, err }) => [status, status === 0 ? '' : err])).toEqual([[0, ''], [0, '']])
    expect(codes).toHaveLength(2)
    expect(codes[0]).toBe(codes[1])
    expect((await (await ana!.client()).peers()).map(({ id, name }) => [id, name])).toEqual([[ben!.peerId, 'ben']])
    expect((await (await ben!.client()).peers()).map(({ id, name }) => [id, name])).toEqual([[ana!.peerId, 'ana']])
  }, 120_000)

  it('have a channel at once, without waiting for anything, from either side', async () => {
    const [here, there] = [await ana!.client(), await ben!.client()]
    await using forward = await there.listen('forward')
    await using back = await here.listen('back')
    const channels = await Promise.all([here.openChannel(ben!.peerId, { app: 'forward' }), accept(forward), there.openChannel(ana!.peerId, { app: 'back' }), accept(back)])
    for (const channel of channels) await channel.close()
  }, 60_000)

  it('send a message by Bluetooth, and see each other in range', async () => {
    const listener = new Program([process.execPath, programFile('postern'), '--dir', ben!.dir, 'listen', '-c', '1'])
    await until(() => listener.err.includes('listening'), 'a listener')
    await untilOn(await ana!.client(), ben!.peerId, 'ble')
    await postern(ana!.dir, 'send', 'ben', 'hello by air')
    expect((await listener.ended).out).toBe(`${ana!.peerId.slice(0, 8)}: hello by air\n`)
    const { devices } = readResult('nearby', await postern(ana!.dir, '--json', 'nearby'))
    expect(devices).toMatchObject([{ peer: ben!.peerId, name: 'ben', peerState: 'connected' }])
    const status = readResult('ble-status', await postern(ana!.dir, '--json', 'ble', 'status'))
    expect(status).toMatchObject({ state: 'on', backend: 'virtual', links: [{ peer: ben!.peerId, name: 'ben', use: 'active' }] })
    expect((await ana!.counters())['udp_received_datagrams']).toBe(0)
    const { paths } = readResult('why', await postern(ana!.dir, '--json', 'why', 'ben'))
    expect(paths).toMatchObject([{ kind: 'ble', active: true, radio: { mtu: 513, intervalMs: 15 } }])
    expect(await postern(ana!.dir, 'why', 'ben')).toMatch(/MTU 513, a turn every 15 ms/)
    expect(await postern(ana!.dir, 'status')).toMatch(/^bluetooth {2,}active: 1 friend in range, 1 link$/m)
  }, 120_000)

  it('tell a program what happens by Bluetooth, and use the radio as much as one wants', async () => {
    const client = await ana!.client()
    await using events = await client.subscribe({ topics: ['ble'] })
    const told: TopicEvent[] = []
    const reading = (async () => {
      for await (const event of events) told.push(event)
    })()
    await until(() => told.some(({ name }) => name === 'event.synced'), 'everything')
    expect(told.map(({ name }) => name)).toEqual(['event.ble.adapter', 'event.ble.device', 'event.ble.link', 'event.ble.pairing', 'event.synced'])
    expect(told[1]!.params).toMatchObject({ peer: ben!.peerId, name: 'ben', inRange: true })
    expect(told[2]!.params).toMatchObject({ peer: ben!.peerId, use: 'active', open: true })
    const power = readResult('ble-power', await postern(ana!.dir, '--json', 'ble', 'power', 'saver'))
    expect(power).toMatchObject({ mode: 'saver', configured: 'active', control: 'exact' })
    await until(() => told.length > 5, 'the change')
    expect(told.slice(5)).toContainEqual({ name: 'event.ble.adapter', params: expect.objectContaining({ state: 'on', mode: 'saver' }) as unknown })
    const wrong = await run('postern', ['--dir', ana!.dir, 'ble', 'power', 'full'])
    expect([wrong.status, wrong.err]).toEqual([64, 'postern: full is no power mode. [params]\n  One of: active, background, saver\n'])
    await client.blePower('active')
    await events.close()
    await reading
  }, 60_000)

  it('are in session again after either of them was stopped and started, by a hint that only friends can read, and nobody asks for it', async () => {
    for (const [daemon, other] of [[ben!, ana!], [ana!, ben!]] as const) {
      await daemon.stop('SIGTERM')
      await daemon.again()
      await untilOn(await daemon.client(), other.peerId, 'ble')
      await untilOn(await other.client(), daemon.peerId, 'ble')
    }
  }, 120_000)

  it('are not in session again when a person ended it, until a person or an app asks', async () => {
    const client = await ana!.client()
    await client.disconnectPeer(ben!.peerId)
    await ben!.stop('SIGTERM')
    await ben!.again()
    const there = await ben!.client()
    await until(async () => (await there.nearby()).devices.some(({ peer }) => peer === ana!.peerId), 'a friend in range', 60_000)
    await sleep(1000)
    expect(await kindOf(there, ana!.peerId)).toBeUndefined()
    await there.connectPeer(ana!.peerId, { timeoutMs: 60_000 })
    await untilOn(client, ben!.peerId, 'ble')
  }, 120_000)

  it('outlive a backend that is killed: the next one takes its place, and the session goes on', async () => {
    const client = await ana!.client()
    const children = (): string[] => execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes('child-main') && line.trim().split(/\s+/)[1] === String(ana!.program.child.pid))
    expect(children()).toHaveLength(1)
    process.kill(Number(children()[0]!.trim().split(/\s+/)[0]), 'SIGKILL')
    await until(async () => (await client.bleStatus()).state === 'resetting', 'the end of the backend')
    expect((await client.bleStatus()).reason).toMatch(/ended by SIGKILL/)
    await untilHealthy(ana!)
    await untilOn(client, ben!.peerId, 'ble')
    expect(children()).toHaveLength(1)
  }, 120_000)

  it('leave no process behind', async () => {
    for (const daemon of scene.daemons) await daemon.stop('SIGTERM')
    expect(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes('child-main') && line.includes(scene.temporary.path))).toEqual([])
  }, 60_000)
})

describe('a session that began by Bluetooth', () => {
  it('moves to the network that both share, and back when it may no longer be used, and again; an app that streams notices nothing', async () => {
    await using scene = await new Scene().open()
    const [ana, ben] = [await scene.daemon('ana', ''), await scene.daemon('ben', '')]
    await untilHealthy(ana)
    await untilHealthy(ben)
    await pair(ana, ben)
    const [here, there] = [await ana.client(), await ben.client()]
    const set = (...wish: string[]): Promise<string> => postern(ana.dir, 'peers', 'policy', ben.peerId, ...wish)
    await until(async () => (await here.nearby()).devices.some(({ peer }) => peer === ben.peerId), 'a friend in range', 60_000)
    await set('--only', 'ble')
    await untilOn(here, ben.peerId, 'ble')
    await using listener = await there.listen('test')
    const [channel, other] = await Promise.all([here.openChannel(ben.peerId, { app: 'test' }), accept(listener)])
    await using changes = await here.subscribe({ topics: ['channel', 'peer'] })
    const told: TopicEvent[] = []
    void (async () => {
      for await (const event of changes) told.push(event)
    })()
    const got: number[] = []
    const reading = (async () => {
      for await (const message of other) got.push(Buffer.from(message.bytes).readUInt32LE())
    })()
    // The end of the daemons ends the channel.
    reading.catch(() => undefined)
    let sent = 0
    const failed: unknown[] = []
    const talking = setInterval(() => {
      const bytes = Buffer.alloc(200)
      bytes.writeUInt32LE(sent++)
      channel.send(bytes).catch((error: unknown) => failed.push(error))
    }, 20)
    try {
      for (const [wish, kind] of [['--default', 'udp'], ['--only', 'ble'], ['--default', 'udp']] as const) {
        const before = got.length
        await set(...(wish === '--only' ? [wish, 'ble'] : [wish]))
        await untilOn(here, ben.peerId, kind)
        await until(() => got.length > before + 20, `messages by ${kind}`)
      }
    } finally {
      clearInterval(talking)
    }
    await until(() => got.length === sent, 'every message', 30_000)
    expect(failed).toEqual([])
    expect(got).toEqual(Array.from({ length: sent }, (_, i) => i))
    // Nobody was told of anything but where things stood at the beginning.
    expect(told.filter(({ name }) => name === 'event.channel').map(({ params }) => (params as { state: string }).state)).toEqual(['open'])
    expect(told.filter(({ name }) => name === 'event.peer').map(({ params }) => (params as { state: string }).state)).toEqual(['connected'])
    expect((await here.peers()).find(({ id }) => id === ben.peerId)?.state).toBe('connected')
  }, 180_000)
})

const why = whyNoFilters()

describe.skipIf(why !== undefined)(`a network that dies${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('leaves the session to Bluetooth, with everything that was said, and has it back when it lives again', async () => {
    using lab = new Lab(2)
    await using scene = await new Scene().open()
    const [ana, ben] = [await scene.daemon('ana', '', lab.machines[0]), await scene.daemon('ben', '', lab.machines[1])]
    await untilHealthy(ana)
    await untilHealthy(ben)
    await pair(ana, ben)
    const [here, there] = [await ana.client(), await ben.client()]
    await until(async () => (await here.nearby()).devices.some(({ peer }) => peer === ben.peerId), 'a friend in range', 60_000)
    await untilOn(here, ben.peerId, 'udp')
    await using listener = await there.listen('test')
    const [channel, other] = await Promise.all([here.openChannel(ben.peerId, { app: 'test' }), accept(listener)])
    const got: string[] = []
    void (async () => {
      for await (const message of other) got.push(Buffer.from(message.bytes).toString())
    })().catch(() => undefined)
    const sent: string[] = []
    const talking = setInterval(() => {
      sent.push(`${sent.length}`)
      void channel.send(Buffer.from(sent.at(-1)!)).catch(() => undefined)
    }, 50)
    await until(() => got.length > 5, 'the first messages')
    const cut = performance.now()
    for (const machine of lab.machines) machine.filter('iifname "eth0" drop')
    await untilOn(here, ben.peerId, 'ble')
    const toBluetooth = performance.now() - cut
    const arrived = got.length
    await until(() => got.length > arrived + 20, 'messages by Bluetooth')
    for (const machine of lab.machines) machine.filter()
    await untilOn(here, ben.peerId, 'udp')
    clearInterval(talking)
    await until(() => got.length === sent.length, 'every message', 30_000)
    expect(got).toEqual(sent)
    console.log(`by Bluetooth ${toBluetooth.toFixed(0)} ms after the network died (goal 3000)`)
    // Ten times the goal: machines that do other things as well are slow.
    expect(toBluetooth).toBeLessThan(30_000)
  }, 180_000)
})

describe('a machine without Bluetooth', () => {
  it('runs as before, says why in one sentence, and starts no process', async () => {
    using temporary = new TemporaryDirectory()
    await using daemon = await TestDaemon.start(temporary.join('a'))
    const { out, status } = await run('postern', ['--dir', daemon.dir, 'ble', 'status'])
    expect(status).toBe(0)
    expect(out).toBe('Bluetooth is switched off by POSTERN_BLE=0.\n')
    expect(await postern(daemon.dir, 'nearby')).toBe(out)
    const refused = await run('postern', ['--dir', daemon.dir, '--json', 'pair'])
    expect(JSON.parse(refused.out)).toMatchObject({ error: { code: 'unreachable', message: 'Pairing needs Bluetooth. Bluetooth is switched off by POSTERN_BLE=0.' } })
    expect(await posternJson(daemon.dir, 'status')).toMatchObject({ ble: { state: 'disabled' } })
  }, 60_000)
})
