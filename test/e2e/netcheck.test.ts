import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { NetcheckResult } from '../../src/client/client.ts'
import { StunServer } from '../support/stun-server.ts'
import { pair, TestDaemon } from './support/daemon.ts'
import { postern, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const asked = { POSTERN_STUN: '1' }

async function netcheck(dir: string): Promise<NetcheckResult> {
  return readResult('netcheck', await postern(dir, '--json', 'netcheck'))
}

/** A page that answers with this status, and counts who asks. */
async function page(status: number): Promise<{ readonly url: string; asked: number; close(): void }> {
  const server = createServer((_request, response) => {
    found.asked++
    response.writeHead(status, status === 302 ? { location: 'http://127.0.0.1:1/login' } : {}).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const found = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/generate_204`, asked: 0, close: () => server.close() }
  return found
}

describe('postern netcheck', () => {
  it('on one machine finds no NAT, names the servers and guesses that there is no login page', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1', '--other', '127.0.0.2'])
    await using refusing = await StunServer.start(['--host', '127.0.0.1', '--code', '500'])
    const gate = await page(204)
    try {
      const toml = `[stun]\nservers = ["127.0.0.1:${refusing.port}", "127.0.0.1:${server.port}"]\nportal = "${gate.url}"\n`
      await using daemon = await TestDaemon.start(temporary.join('a'), { toml, env: asked })
      const found = await netcheck(daemon.dir)
      expect(found.udp4).toMatchObject({
        state: 'works', mapping: 'none', filtering: 'endpoint-independent', word: 'open', portKept: true, hairpin: true,
        servers: [{ outcome: 'refused', behaviour: false }, { outcome: 'answered', behaviour: true, address: `127.0.0.1:${server.port}` }],
      })
      expect([found.udp6.state, found.portal, gate.asked, found.unresolved]).toEqual(['no_address', 'none', 1, []])
      expect(found.interfaces).toContainEqual({ name: 'lo', address: '127.0.0.1', kind: 'loopback' })
      const text = await postern(daemon.dir, 'netcheck')
      expect(text).toMatch(/^UDP over IPv4: open$/m)
      expect(text).toMatch(/^ {2}mapping +none: the address is this machine's own$/m)
      expect(text).toMatch(/^ {2}127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +[\d.]+ ms +RFC 5780$/m)
      expect(text).toMatch(/^Login page: none\. It took \d+\.\d s\.$/m)
    } finally {
      gate.close()
    }
  })

  it('with every server dead says so, and the rest works', async () => {
    using temporary = new TemporaryDirectory()
    const gate = await page(302)
    try {
      await using daemon = await TestDaemon.start(temporary.join('a'), { toml: `[stun]\nservers = ["127.0.0.1:1", "127.0.0.1:2"]\nportal = "${gate.url}"\n`, env: asked })
      // Who asks while one is under way gets the same.
      const client = await daemon.client()
      const [one, two] = await Promise.all([client.netcheck(), client.netcheck()])
      expect([one, gate.asked]).toEqual([two, 1])
      expect(one.udp4).toMatchObject({ state: 'silent', mapping: 'unknown', word: 'unknown', servers: [{ outcome: 'silent' }, { outcome: 'silent' }] })
      expect(one.portal).toBe('likely')
      const { status, out, err } = await run('postern', ['--dir', daemon.dir, 'netcheck'])
      expect([status, out]).toEqual([75, expect.stringMatching(/^UDP over IPv4: no answer\n {2}No server answers/m)])
      expect(err).toContain('No server outside answered.')
      expect((await run('postern', ['--dir', daemon.dir, '--json', 'netcheck'])).status).toBe(75)
      expect(await postern(daemon.dir, 'status')).toMatch(/^router +not known: no STUN server answers$/m)
      expect(readResult('status', await postern(daemon.dir, '--json', 'status')).nat).toMatchObject({ servers: 'silent', word: 'unknown', from: 'none' })
      await using other = await TestDaemon.start(temporary.join('b'))
      await pair(daemon, other)
      // Two on one machine have no router in between; programs are told all the same.
      expect(readResult('why', await postern(daemon.dir, '--json', 'why', other.peerId)).nat).toMatchObject({ ours: { servers: 'silent' }, between: false })
    } finally {
      gate.close()
    }
  }, 120_000)

  it('asks nobody where STUN is switched off', async () => {
    using temporary = new TemporaryDirectory()
    await using server = await StunServer.start(['--host', '127.0.0.1'])
    const gate = await page(204)
    try {
      await using daemon = await TestDaemon.start(temporary.join('a'), { toml: `[stun]\nenabled = false\nservers = ["127.0.0.1:${server.port}"]\nportal = "${gate.url}"\n`, env: asked })
      const found = await netcheck(daemon.dir)
      expect([found.udp4.state, found.udp6.state, found.portal, gate.asked, (await daemon.counters())['stun_requests']]).toEqual(['off', 'off', 'unknown', 0, 0])
      expect(found.interfaces.length).toBeGreaterThan(0)
      expect(found.lifetime).toBe(undefined)
      const { lifetime } = readResult('netcheck', await postern(daemon.dir, '--json', 'netcheck', '--lifetime'))
      expect(lifetime).toEqual({ state: 'off', aliveS: 0 })
    } finally {
      gate.close()
    }
  })

  it('says that no server does what measuring a mapping takes', async () => {
    using temporary = new TemporaryDirectory()
    // Without a second address it does not answer elsewhere either.
    await using server = await StunServer.start(['--host', '127.0.0.1'])
    await using daemon = await TestDaemon.start(temporary.join('a'), { toml: `[stun]\nservers = ["127.0.0.1:${server.port}"]\nportal = ""\n`, env: asked })
    const { status, out, err } = await run('postern', ['--dir', daemon.dir, 'netcheck', '--lifetime'], { timeoutMs: 60_000 })
    expect([status, out]).toEqual([0, expect.stringMatching(/^Lifetime of a silent mapping: not known: no server answers to another port/m)])
    expect(err).toContain('up to seven minutes')
  }, 60_000)
})
