import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { addon } from '../support/addon.ts'
import { Lab, whyNoFilters, type Namespace } from './namespaces.ts'

const why = addon?.udp === undefined ? 'the native addon is missing' : whyNoFilters()
const SECOND = '10.77.0.102'

async function pathTo(client: Client, peer: string): Promise<string | undefined> {
  return (await client.peers()).find(({ id, state }) => id === peer && state === 'connected')?.path
}

describe.skipIf(why !== undefined)(`a host with two addresses${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  async function connected(temporary: TemporaryDirectory, near: Namespace, host: Namespace, run: (daemons: { near: TestDaemon; host: TestDaemon; client: Client; path: string }) => Promise<void>): Promise<void> {
    host.run('ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'eth0')
    await using b = await TestDaemon.start(temporary.join('b'), { machine: host })
    await using a = await TestDaemon.start(temporary.join('a'), { machine: near, toml: '[tcp]\nenabled = false\n' })
    const client = await a.client()
    await (await b.client()).addPeer(a.peerId, {})
    await client.addPeer(b.peerId, { candidates: [`${SECOND}:${b.udpPort}`] })
    const path = `udp ${SECOND}:${b.udpPort}`
    await client.connectPeer(b.peerId, { timeoutMs: 20_000 })
    expect(await pathTo(client, b.peerId)).toBe(path)
    await run({ near: a, host: b, client, path })
  }

  it('answers from the one that was written to, though the route would take the other, and the session holds', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new Lab(2)
    const [near, host] = lab.machines as [Namespace, Namespace]
    // As a router does that lets in only answers.
    near.filter(`ip saddr ${host.address} udp sport > 0 drop`)
    await connected(temporary, near, host, async ({ near: a, host: b, client, path }) => {
      for (let i = 0; i < 5; i++) {
        await client.ping(b.peerId)
        await sleep(300)
      }
      expect(await pathTo(client, b.peerId)).toBe(path)
      expect((await b.counters())['udp_source_gone']).toBe(0)
      expect((await a.counters())['drop_replay']).toBe(0)
    })
  })

  it('goes on by the other one when that is taken away', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new Lab(2)
    const [near, host] = lab.machines as [Namespace, Namespace]
    await connected(temporary, near, host, async ({ host: b, client }) => {
      host.run('ip', 'addr', 'del', `${SECOND}/24`, 'dev', 'eth0')
      await until(async () => (await pathTo(client, b.peerId)) === `udp ${host.address}:${b.udpPort}`, 'the other address', 30_000)
      await client.ping(b.peerId)
    })
  })
})
