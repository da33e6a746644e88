import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { HOME, HomeNetwork, whyNoMiniupnpd } from './home-network.ts'

const why = whyNoMiniupnpd()
const asks = { POSTERN_PORTMAP: '1' }

describe.skipIf(why !== undefined)(`a home router with miniupnpd${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it.concurrent.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: maps, lets a peer in, renews, and forgets at the end', async (protocol) => {
    using temporary = new TemporaryDirectory()
    await using home = new HomeNetwork({ protocol, lifetimeMax: 10, directory: temporary.path })
    await home.start()
    await using inside = await TestDaemon.start(temporary.join('in'), { machine: home.host, env: asks, toml: '[portmap]\nlifetime = "10s"\n' })
    await using outside = await TestDaemon.start(temporary.join('out'), { machine: home.peer })
    const client = await inside.client()
    await until(async () => (await client.status()).portMapping?.mapped.length === 2, 'both ports mapped')
    const external = `${HOME.external}:${inside.udpPort}`
    const { portMapping, addresses } = await client.status()
    expect(portMapping).toMatchObject({ state: 'mapped', protocol, router: HOME.router, mapped: [{ external }, { external }] })
    expect(addresses).toContain(external)
    const mapped = ['tcp', 'udp'].map((transport) => `${transport} ${inside.udpPort} → ${HOME.host}:${inside.udpPort}`)
    expect(home.mapped()).toEqual(mapped)

    // The peer knows the invite and nothing else; the host's own address means nothing to it.
    const { link } = await client.invites.create()
    const other = await outside.client()
    await other.invites.join(link)
    await other.connectPeer(inside.peerId, { timeoutMs: 10_000 })
    expect((await other.peers())[0]?.path).toBe(`udp ${external}`)

    // Long after the first ten seconds.
    await until(async () => (await inside.counters())['portmap_renewed']! >= 4, 'two renewals of each', 40_000)
    expect(home.mapped()).toEqual(mapped)
    expect(await inside.counters()).toMatchObject({ portmap_mapped: 2, portmap_expired: 0, portmap_refused: 0, portmap_drop_malformed: 0, portmap_upnp_broken: 0 })
    await inside.stop()
    expect(home.mapped()).toEqual([])
    expect(inside.log).toContain('port mapped')
  }, 90_000)

  it.concurrent.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: a router that restarts gets its mappings back, by UPnP with the next renewal', async (protocol) => {
    using temporary = new TemporaryDirectory()
    await using home = new HomeNetwork({ protocol, lifetimeMax: 86_400, directory: temporary.path })
    await home.start()
    await using inside = await TestDaemon.start(temporary.join('in'), { machine: home.host, env: asks, toml: protocol === 'upnp' ? '[portmap]\nlifetime = "10s"\n' : '' })
    await until(() => home.mapped().length === 2, 'both ports mapped')
    const before = home.mapped()
    // A router's clock that stood at 0 and stands at 0 again shows nothing.
    await sleep(4000)
    await home.cutPower()
    expect(home.mapped()).toEqual([])
    await home.start()
    await until(() => home.mapped().length === 2, 'both ports mapped again', 40_000)
    expect(home.mapped()).toEqual(before)
    expect((await inside.counters())['portmap_router_restarts']! > 0).toBe(protocol !== 'upnp')
  }, 90_000)

  it.concurrent('a daemon that was killed takes its mapping over', async () => {
    using temporary = new TemporaryDirectory()
    await using home = new HomeNetwork({ protocol: 'pcp', lifetimeMax: 86_400, directory: temporary.path })
    await home.start()
    await using inside = await TestDaemon.start(temporary.join('in'), { machine: home.host, env: asks })
    await until(() => home.mapped().length === 2, 'both ports mapped')
    const before = home.mapped()
    await inside.stop('SIGKILL')
    expect(home.mapped()).toEqual(before)
    await inside.again()
    const client = await inside.client()
    await until(async () => (await client.status()).portMapping?.mapped.length === 2, 'both ports mapped again')
    expect(home.mapped()).toEqual(before)
    await inside.stop()
    expect(home.mapped()).toEqual([])
  }, 60_000)
})
