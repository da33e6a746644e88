import { describe, expect, it } from 'vitest'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { addon } from '../support/addon.ts'
import { whyNoFilters } from './namespaces.ts'
import { NatLab } from './nat.ts'

const why = addon?.udp === undefined ? 'the native addon is missing' : whyNoFilters()

describe.skipIf(why !== undefined)(`a router that counts datagrams out${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('says nothing that a session or a dial would follow', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new NatLab([{ kind: 'port' }, { kind: 'none' }])
    const [home, host] = [lab.sides[0]!.machines[0]!, lab.sides[1]!.machines[0]!]
    // Whatever leaves ends at the router next to it, as what only opens a door does at one further away; its word about that comes in.
    home.filter('meta l4proto udp ip ttl set 1', 'icmp type time-exceeded counter')
    await using b = await TestDaemon.start(temporary.join('b'), { machine: host })
    await using a = await TestDaemon.start(temporary.join('a'), { machine: home, toml: '[tcp]\nenabled = false\n' })
    const client = await a.client()
    await client.addPeer(b.peerId, { candidates: [`${host.address}:${b.udpPort}`] })
    void client.connectPeer(b.peerId, { timeoutMs: 3000 }).catch(() => undefined)
    await until(() => /time-exceeded counter packets [1-9]/.test(home.run('nft', 'list', 'ruleset')), 'the word of the router', 10_000)
    // What is heard is gathered for 20 ms; the dial goes on meanwhile.
    await until(async () => ((await a.counters())['udp_sent_datagrams'] ?? 0) >= 2, 'another copy', 10_000)
    expect((await a.counters())['udp_icmp_errors']).toBe(0)
    const { pairs } = await client.why(b.peerId)
    expect(pairs.map(({ result }) => result)).not.toContain('unreachable')
  })
})
