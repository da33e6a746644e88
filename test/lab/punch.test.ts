import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { until } from '../e2e/support/daemon.ts'
import { Homes } from './meeting.ts'
import { whyNoFilters } from './namespaces.ts'
import { pathTo } from './talk.ts'

const why = whyNoFilters()

describe.skipIf(why !== undefined)(`a session over TCP between a symmetric and a port-restricted router${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('finds UDP by PUNCH: the two agree on a moment, and ports are guessed', async () => {
    await using homes = await Homes.open([{ kind: 'sym' }, { kind: 'port' }])
    const { lab: { sides }, daemons: [near, far] } = homes
    const [here, there] = [await near.client(), await far.client()]
    const home = sides[1]!.machines[0]!.address
    const port = (await there.status()).addresses.find((address) => address.startsWith(`${home}:`))!.split(':')[1]!
    // A port of TCP alone was forwarded by hand.
    execFileSync('ip', ['netns', 'exec', sides[1]!.router!.name, 'nft', '-f', '-'], { input: `table ip byhand { chain pre { type nat hook prerouting priority dstnat - 5; iifname "wan" tcp dport ${port} dnat to ${home}:${port}; }; }` })
    await there.addPeer(near.peerId)
    await here.addPeer(far.peerId, { candidates: [`${sides[1]!.outside}:${port}`] })
    await here.connectPeer(far.peerId, { timeoutMs: 20_000 })
    expect(await pathTo(here, far.peerId)).toMatch(/^tcp /)
    const begun = performance.now()
    await until(async () => (await pathTo(here, far.peerId))?.startsWith('udp ') === true && (await pathTo(there, near.peerId))?.startsWith('udp ') === true, 'UDP', 100_000)
    process.stdout.write(`PUNCH, sym and port: on UDP ${((performance.now() - begun) / 1000).toFixed(1)} s after the session over TCP\n`)
    // Of the 256 sockets those are left that were heard on, four at most, beside the daemon's own.
    await until(() => Promise.resolve(homes.machines[0].run('ss', '-Huan').trim().split('\n').length <= 8), 'the sockets to be closed', 20_000)
    const counters = await Promise.all([here, there].map(async (client) => (await client.status()).counters))
    expect(counters.map((counted) => [counted['punches_met']! > 0, counted['birthdays_begun']! > 0])).toContainEqual([true, true])
  })
})
