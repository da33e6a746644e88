import { describe, expect, it } from 'vitest'
import type { NetcheckResult } from '../../src/client/client.ts'
import { TestDaemon } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { StunServer } from '../support/stun-server.ts'
import { startCoturn, whyNoCoturn } from './coturn.ts'
import { whyNoFilters, type Namespace } from './namespaces.ts'
import { NatLab, PUBLIC_HOSTS, type SideOptions } from './nat.ts'

const why = whyNoFilters()
const whyCoturn = why ?? whyNoCoturn()
if (whyCoturn !== undefined && why === undefined) process.stderr.write(`test/lab/netcheck.test.ts: asks only the server of the tests: ${whyCoturn}\n`)

const free = 'endpoint-independent'
const strict = 'address-and-port-dependent'

/** What netcheck must say behind each router: what the rules of test/lab/nat-rules.ts are, in the words of RFC 4787. */
const expected: readonly (readonly [SideOptions, { readonly mapping: string; readonly filtering: string; readonly word: string; readonly hairpin: boolean }])[] = [
  [{ kind: 'none' }, { mapping: 'none', filtering: free, word: 'open', hairpin: true }],
  [{ kind: 'full' }, { mapping: free, filtering: free, word: 'full cone', hairpin: false }],
  [{ kind: 'addr' }, { mapping: free, filtering: 'address-dependent', word: 'restricted cone', hairpin: false }],
  [{ kind: 'port' }, { mapping: free, filtering: strict, word: 'port-restricted cone', hairpin: false }],
  [{ kind: 'sym' }, { mapping: strict, filtering: strict, word: 'symmetric', hairpin: false }],
  [{ kind: 'cgnat' }, { mapping: free, filtering: strict, word: 'port-restricted cone', hairpin: false }],
  [{ kind: 'cgnatsym' }, { mapping: strict, filtering: strict, word: 'symmetric', hairpin: false }],
  [{ kind: 'full', hairpin: true }, { mapping: free, filtering: free, word: 'full cone', hairpin: true }],
]

async function netcheck(dir: string, machine: Namespace, servers: readonly string[]): Promise<NetcheckResult> {
  await using daemon = await TestDaemon.start(dir, { machine, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ${JSON.stringify(servers)}\nportal = ""\n` })
  const client = await daemon.client()
  return await client.netcheck()
}

const OWN = '11.0.0.2:4478'
const COTURN = '11.0.0.2:3478'

describe.skipIf(why !== undefined)(`netcheck behind real routers${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  // First, since it waits for minutes and the others need not wait for it.
  it.concurrent('measures how long a router keeps a silent mapping, and fits the keep-alive to it', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new NatLab([{ kind: 'port' }])
    await using _own = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], lab.server.prefix)
    const [{ machines, router }] = lab.sides as [(typeof lab.sides)[number]]
    for (const kept of ['udp_timeout', 'udp_timeout_stream']) router!.run('sysctl', '-qw', `net.netfilter.nf_conntrack_${kept}=12`)
    await using daemon = await TestDaemon.start(temporary.join('a'), { machine: machines[0]!, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ["${OWN}"]\nportal = ""\n[portmap]\nenabled = false\n` })
    const client = await daemon.client()
    const { lifetime } = await client.netcheck({ lifetime: true })
    expect(lifetime).toMatchObject({ state: 'measured' })
    // Loaded machines send late: what was still there is sure, what was gone nearly.
    expect(lifetime!.aliveS).toBeGreaterThanOrEqual(7)
    expect(lifetime!.aliveS).toBeLessThanOrEqual(13)
    expect(lifetime!.goneS).toBeLessThanOrEqual(16)
    expect((await client.status()).nat).toMatchObject({ lifetime, keepAliveS: Math.max(5, 0.8 * lifetime!.aliveS) })
    process.stdout.write(`a router that keeps UDP for 12 s: ${JSON.stringify(lifetime)}\n`)
  }, 240_000)

  it.concurrent.each(expected)('names %j', async (side, classes) => {
    using temporary = new TemporaryDirectory()
    using lab = new NatLab([side])
    await using _own = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], lab.server.prefix)
    await using _coturn = whyCoturn === undefined ? await startCoturn(lab.server, temporary.path) : undefined
    const [{ machines, outside }] = lab.sides as [(typeof lab.sides)[number]]
    const asked = [OWN, ...(whyCoturn === undefined ? [COTURN] : [])]
    const found = await Promise.all(asked.map((server, i) => netcheck(temporary.join(`${i}`), machines[0]!, [server])))
    for (const { udp4 } of found) {
      expect(udp4).toMatchObject({ state: 'works', ...classes })
      expect(udp4.mapped).toMatch(new RegExp(`^${outside.replaceAll('.', '\\.')}:\\d+$`))
    }
  })

  it.concurrent('where no UDP passes says that nobody answers', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new NatLab([{ kind: 'udpblock' }])
    await using _own = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--port', '4478'], lab.server.prefix)
    const { udp4, tcp } = await netcheck(temporary.join('a'), lab.sides[0]!.machines[0]!, [OWN])
    expect(udp4).toMatchObject({ state: 'silent', mapping: 'unknown', word: 'unknown', servers: [{ outcome: 'silent' }] })
    expect(tcp).toMatchObject({ state: 'works', portKept: true, server: OWN })
    expect(tcp.mapped).toMatch(/^11\.0\.0\.11:/)
  })

  it.concurrent('two plain servers tell a symmetric NAT from another', async () => {
    using temporary = new TemporaryDirectory()
    using lab = new NatLab([{ kind: 'port' }, { kind: 'sym' }])
    await using _one = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--port', '4478'], lab.server.prefix)
    await using _two = await StunServer.start(['--host', PUBLIC_HOSTS[1], '--port', '4478'], lab.server.prefix)
    const found = await Promise.all(lab.sides.map(({ machines }, i) => netcheck(temporary.join(`${i}`), machines[0]!, PUBLIC_HOSTS.map((host) => `${host}:4478`))))
    expect(found.map(({ udp4 }) => [udp4.mapping, udp4.filtering, udp4.word])).toEqual([[free, 'unknown', 'cone'], ['dependent', 'unknown', 'symmetric']])
  })
})
