import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { addon } from '../support/addon.ts'
import { StunServer } from '../support/stun-server.ts'
import { TestDaemon, until } from './support/daemon.ts'
import { postern } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const asked = { POSTERN_STUN: '1' }

function servers(...ports: readonly (number | string)[]): string {
  return `[stun]\nservers = ${JSON.stringify(ports.map((port) => (typeof port === 'number' ? `127.0.0.1:${port}` : port)))}\n`
}

describe('where STUN servers see a daemon', () => {
  it('is shown by status, in text and JSON', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(server.port), env: asked })
    const client = await daemon.client()
    await until(async () => ((await client.status()).stun?.reflexive.length ?? 0) > 0, 'an answer')
    const status = readResult('status', await postern(daemon.dir, '--json', 'status'))
    expect(status.stun).toMatchObject({
      enabled: true, asking: false, reflexive: [{ address: `127.0.0.1:${daemon.udpPort}`, server: `127.0.0.1:${server.port}` }],
      servers: [{ name: `127.0.0.1:${server.port}`, address: `127.0.0.1:${server.port}`, state: 'answers' }],
    })
    expect(await postern(daemon.dir, 'status')).toMatch(new RegExp(`^seen at +127\\.0\\.0\\.1:${daemon.udpPort} \\(by 127\\.0\\.0\\.1:${server.port}\\)$`, 'm'))
  })

  it('is told by the next server when one is silent and one refuses, and stands in invites', async () => {
    using temporary = new TemporaryDirectory()
    const silent = createSocket('udp4')
    silent.bind(0, '127.0.0.1')
    await once(silent, 'listening')
    await using refusing = await StunServer.start(['--host', '127.0.0.1', '--code', '500'])
    await using good = await StunServer.start(['--host', '127.0.0.1', '--mapped', '203.0.113.7:4242'])
    try {
      await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(silent.address().port, refusing.port, good.port), env: asked })
      const client = await daemon.client()
      await until(async () => ((await client.status()).stun?.reflexive.length ?? 0) > 0, 'an answer')
      const status = await client.status()
      expect(status.addresses).toContain('203.0.113.7:4242')
      expect(status.stun!.servers.map(({ state }) => state)).toEqual(['unasked', 'silent', 'answers'])
      // What a link holds is what the other side is given.
      await using other = await TestDaemon.start(temporary.join('b'))
      const { link } = await client.invites.create()
      const joiner = await other.client()
      await joiner.invites.join(link)
      await until(async () => (await joiner.peers()).length === 1)
      expect((await joiner.why(daemon.peerId)).attempts.map(({ address }) => address)).toContain('203.0.113.7:4242')
    } finally {
      silent.close()
    }
  })

  it('is an event of the topic status as soon as it changes, however long the interval', async () => {
    using temporary = new TemporaryDirectory()
    const gone = await StunServer.start(['--host', '127.0.0.1'])
    const { port } = gone
    await gone[Symbol.asyncDispose]()
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(port), env: asked })
    const client = await daemon.client()
    const seen: string[] = []
    const subscription = await client.subscribe({ topics: ['status'], intervalMs: 3_600_000 })
    const reading = (async () => {
      for await (const { name, params } of subscription) if (name === 'event.status') seen.push(params.stun!.reflexive.map(({ address }) => address).join())
    })()
    await until(() => Promise.resolve(seen.length > 0), 'the first event')
    await using _back = await StunServer.start(['--host', '127.0.0.1', '--port', `${port}`, '--mapped', '203.0.113.8:4343'])
    // Who makes an invite wants to know where this node is now.
    await until(async () => {
      await client.invites.create()
      return seen.includes('203.0.113.8:4343')
    }, 'the event', 40_000)
    expect(seen[0]).toBe('')
    await subscription.close()
    await reading
  }, 90_000)

  it('is nobody\'s business where it is switched off', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1'])
    for (const [name, toml, env] of [['file', `${servers(server.port)}enabled = false\n`, asked], ['none', servers(), asked], ['environment', servers(server.port), { POSTERN_STUN: '0' }]] as const) {
      await using daemon = await TestDaemon.start(temporary.join(name), { toml, env })
      const client = await daemon.client()
      expect((await client.status()).stun, name).toMatchObject({ enabled: false, asking: false, servers: [], reflexive: [], tcp: { asking: false, reflexive: [] } })
      expect(await daemon.counters()).toMatchObject({ stun_requests: 0, stun_tcp_requests: 0 })
      expect(await postern(daemon.dir, 'status')).toMatch(/^seen at +not asked: STUN is switched off$/m)
    }
  })

  it('is nowhere when nobody answers, and everything else works', async () => {
    using temporary = new TemporaryDirectory()
    await using refusing = await StunServer.start(['--host', '127.0.0.1', '--code', '500'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(refusing.port), env: asked })
    const client = await daemon.client()
    await until(async () => (await client.status()).stun?.asking === false)
    expect(await postern(daemon.dir, 'status')).toMatch(/^seen at +nobody answers/m)
    expect((await client.invites.create()).link).toMatch(/^postern:/)
  })
})

describe.skipIf(addon?.tcp === undefined)('where they see its TCP port', () => {
  it.each(['on', 'torn', 'closing'])('is asked where UDP gets no answer; a server by TCP: %s', async (tcp) => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1', '--udp', 'off', '--tcp', tcp])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(server.port), env: asked })
    const client = await daemon.client()
    await until(async () => ((await client.status()).stun?.tcp.reflexive.length ?? 0) > 0, 'an answer by TCP')
    const status = readResult('status', await postern(daemon.dir, '--json', 'status'))
    expect(status.stun).toMatchObject({ reflexive: [], tcp: { able: true, asking: false, reflexive: [{ address: `127.0.0.1:${daemon.udpPort}`, server: `127.0.0.1:${server.port}` }] } })
    expect(await daemon.counters()).toMatchObject({ stun_answers: 0, stun_tcp_requests: 1, stun_tcp_answers: 1 })
    expect(await postern(daemon.dir, 'status')).toContain(`127.0.0.1:${daemon.udpPort} (TCP, by 127.0.0.1:${server.port})`)
  })

  it('is asked where UDP has another port outside, and stands in invites', async () => {
    using temporary = new TemporaryDirectory()
    await using liar = await StunServer.start(['--host', '127.0.0.1', '--mapped', '203.0.113.7:4242'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(liar.port), env: asked })
    const client = await daemon.client()
    await until(async () => ((await client.status()).stun?.tcp.reflexive.length ?? 0) > 0, 'an answer by TCP')
    expect((await client.status()).stun).toMatchObject({ reflexive: [{ address: '203.0.113.7:4242' }], tcp: { reflexive: [{ address: '203.0.113.7:4242' }] } })
    expect((await client.status()).addresses.filter((address) => address === '203.0.113.7:4242')).toHaveLength(1)
  })

  it('is not asked where UDP tells it', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(server.port), env: asked })
    const client = await daemon.client()
    await until(async () => ((await client.status()).stun?.reflexive.length ?? 0) > 0, 'an answer')
    await sleep(1500)
    expect(await daemon.counters()).toMatchObject({ stun_tcp_requests: 0, stun_tcp_lost: 0 })
  })

  it('cannot be asked without the addon, and status says so', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1', '--udp', 'off'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: servers(server.port), env: { ...asked, POSTERN_NATIVE: '0' } })
    const client = await daemon.client()
    await until(async () => (await client.status()).stun?.asking === false, 'the end of asking')
    expect((await client.status()).stun?.tcp).toEqual({ able: false, asking: false, reflexive: [] })
    expect((await daemon.counters())['stun_tcp_requests']).toBe(0)
    expect((await client.netcheck()).tcp).toMatchObject({ state: 'works', punching: false, portKept: true })
    expect(await postern(daemon.dir, 'netcheck')).toMatch(/^TCP: works\n {2}Dials cannot leave from the port/m)
  })
})
