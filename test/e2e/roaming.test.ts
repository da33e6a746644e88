import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { addon } from '../support/addon.ts'
import { Lab, whyNoNamespaces } from '../lab/namespaces.ts'
import { pair, TestDaemon, until } from './support/daemon.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const why = whyNoNamespaces()
const kinds = (['true', 'false'] as const).filter((enabled) => enabled === 'false' || addon?.netlink !== undefined)

describe.skipIf(why !== undefined)(`an idle session whose machine gets another address${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it.each(kinds)('is found there by its peer, long before it would have said anything (addon: %s)', async (enabled) => {
    using lab = new Lab(2)
    using temporary = new TemporaryDirectory()
    const [here, there] = lab.machines
    const args = ['--set', `native.enabled=${enabled}`]
    await using a = await TestDaemon.start(temporary.join('a'), { machine: here!, args })
    await using b = await TestDaemon.start(temporary.join('b'), { machine: there!, args })
    await pair(a, b)
    const client = await b.client()
    const seenAt = async (): Promise<string | undefined> => (await client.peers()).find(({ id }) => id === a.peerId)?.path
    await until(async () => (await seenAt())?.startsWith('udp 10.77.0.1:') === true)
    // Longer than the first keep-alives and challenges take; the next keep-alive is 20 s away.
    await sleep(1_500)
    const begun = performance.now()
    here!.run('sh', '-c', 'ip addr add 10.77.0.99/24 dev eth0; ip addr del 10.77.0.1/24 dev eth0; ip addr add 10.77.0.99/24 dev eth0 || true')
    await until(async () => (await seenAt())?.startsWith('udp 10.77.0.99:') === true, 'the peer finding the new address', 10_000)
    console.log(`addon ${enabled}: the peer sends to the new address after ${Math.round(performance.now() - begun)} ms`)
    expect((await a.counters())['network_changes']).toBeGreaterThanOrEqual(1)
    expect(a.log).toContain('other addresses or routes')
    const answer = await client.ping(a.peerId)
    expect(answer).toBeDefined()
  }, 60_000)
})
