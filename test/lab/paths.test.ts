import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { pair, TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { addon } from '../support/addon.ts'
import { Homes, type HomesOptions, type Meeting } from './meeting.ts'
import { whyNoFilters } from './namespaces.ts'
import type { SideOptions } from './nat.ts'
import { report, type Finding } from './report.ts'
import { pathTo, Talk } from './talk.ts'
import { whyNoWire, Wire } from './wire.ts'

const why = whyNoFilters()
const PATIENCE_MS = 30_000
/** A machine that does other things as well is slow. */
const LIMIT_MS = 20_000
/** Enough to see whether something comes that need not. */
const UNPROMISED_MS = 8000
const NO_UDP = 'meta l4proto udp drop'
const reachable: readonly SideOptions[] = [{ kind: 'none' }, { kind: 'none' }]

const findings: Finding[] = []

function skipping(reason: string | undefined): string {
  return reason === undefined ? '' : ` (skipped: ${reason})`
}

interface FirstMeeting {
  readonly name: string
  readonly sides: readonly SideOptions[]
  readonly options?: HomesOptions
  readonly goalMs?: number
  /** By which path they must have met in the end; none: no promise. */
  readonly path?: RegExp
}

/** Two machines behind one router. */
const neighbours: HomesOptions = { machines: ({ sides }) => [sides[0]!.machines[0]!, sides[0]!.machines[1]!] }
const firewalls: readonly SideOptions[] = [{ kind: 'port', family: 6 }, { kind: 'port', family: 6 }]

const meetings: readonly FirstMeeting[] = [
  { name: 'reachable address', sides: [{ kind: 'port' }, { kind: 'none' }], goalMs: 300, path: /^udp 11\.0\.0\.12:/ },
  { name: 'UDP blocked on one side', sides: [{ kind: 'udpblock' }, { kind: 'none' }], goalMs: 2000, path: /^tcp 11\.0\.0\.12:/ },
  { name: 'UDP blocked at the reachable side', sides: [{ kind: 'none' }, { kind: 'udpblock' }], goalMs: 2000, path: /^tcp 11\.0\.0\.12:/ },
  { name: 'two hosts on one LAN', sides: [{ kind: 'port', machines: 2 }], options: neighbours, goalMs: 300, path: /^udp 10\.1\.0\.3:/ },
  { name: 'hairpin: one router, hosts that do not see each other', sides: [{ kind: 'port', machines: 2, isolated: true, hairpin: true }], options: neighbours, path: /^udp 11\.0\.0\.11:/ },
  { name: 'IPv6 only', sides: [{ kind: 'none', family: 6 }, { kind: 'none', family: 6 }], goalMs: 300, path: /^udp \[2001:470:1::12\]:/ },
  { name: 'IPv6 only, a stateful firewall on both sides', sides: firewalls, path: /^udp \[2001:470:12::2\]:/ },
  { name: 'dual stack: symmetric NATs, and IPv6 behind firewalls', sides: [{ kind: 'sym', family: 'both' }, { kind: 'sym', family: 'both' }], path: /^udp \[2001:470:12::2\]:/ },
  // What knocks before its own side has sent takes the port there, for as long as it knocks: only who can send with a small TTL opens its own door without that.
  { name: 'bad routers that answer early punches', sides: [{ kind: 'port', open: true }, { kind: 'port', open: true }], ...(addon === undefined ? {} : { path: /^udp 11\.0\.0\.12:/ }) },
]

describe.skipIf(why !== undefined)(`two that know where the other may be${skipping(why)}`, () => {
  it.concurrent.each(meetings)('$name', async ({ name, sides, options, goalMs, path }) => {
    await using homes = await Homes.open(sides, options)
    const { firstMessageMs }: Meeting = await homes.meet(path === undefined ? UNPROMISED_MS : PATIENCE_MS)
    const found = await homes.path() ?? 'none'
    findings.push({ scenario: name, what: 'first message', ms: firstMessageMs, ...(goalMs === undefined ? {} : { goalMs }), path: found })
    if (path === undefined) return
    expect(found).toMatch(path)
    expect(firstMessageMs).toBeLessThan(LIMIT_MS)
  })
})

interface Trouble {
  readonly name: string
  readonly event: (homes: Homes) => void
  readonly path: RegExp
  /** TCP takes over within this much. */
  readonly goalMs?: number
}

const troubles: readonly Trouble[] = [
  { name: 'black hole: UDP is swallowed both ways', goalMs: 2000, path: /^tcp /, event: ({ machines }) => machines.forEach((machine) => machine.filter(`iifname "eth0" ${NO_UDP}`)) },
  { name: 'black hole: UDP is swallowed one way', goalMs: 2000, path: /^tcp /, event: ({ machines }) => machines[1].filter(`iifname "eth0" ${NO_UDP}`) },
]

const shrinkings = [
  ['the path shrinks to 1300, and ICMP says so', 'ip link set wan mtu 1300'],
  // By the interface too: a rule that looks at lengths would see whole bursts, before they are cut into datagrams.
  ['the path shrinks to 1300 without a word', "nft add chain inet filter output '{ type filter hook output priority 0; }' && nft add rule inet filter output icmp code frag-needed drop && ip link set wan mtu 1300"],
] as const
const BAD_LINE = 'loss 5 %, 25 ± 10 ms, reorder 5 %'

describe.skipIf(why !== undefined)(`a session with traffic both ways loses nothing${skipping(why)}`, () => {
  it.concurrent.each(troubles)('$name', async ({ name, event, goalMs, path }) => {
    await using homes = await Homes.open(reachable)
    expect((await homes.meet(PATIENCE_MS)).path).toBe('udp')
    await using talk = await Talk.start(...homes.daemons)
    const { gapMs } = await talk.gap(() => {
      event(homes)
      return Promise.resolve()
    })
    await until(async () => path.test(await homes.path() ?? ''), 'the other path', LIMIT_MS)
    const messages = await talk.end()
    findings.push({ scenario: name, what: 'gap', ms: gapMs, ...(goalMs === undefined ? {} : { goalMs }), path: await homes.path() ?? 'none', messages })
    expect(messages).toMatchObject({ lost: 0, wrong: 0 })
    expect(gapMs).toBeLessThan(LIMIT_MS)
  })

  it.concurrent.each(shrinkings)('%s', async (name, command) => {
    await using homes = await Homes.open([{ kind: 'port' }, { kind: 'port' }])
    expect((await homes.meet(PATIENCE_MS)).path).toBe('udp')
    await using talk = await Talk.start(...homes.daemons, { size: 4000 })
    const [near, far] = homes.daemons
    const sizes = async (): Promise<(number | undefined)[]> => (await Promise.all([near, far].map(async (daemon) => (await (await daemon.client()).peers())[0]?.mtu)))
    // Only who may forbid fragments looks for larger ones.
    if (addon !== undefined) await until(async () => (await sizes()).every((size) => size === 1437), 'the whole of 1500', PATIENCE_MS)
    const { gapMs } = await talk.gap(() => Promise.all(homes.lab.sides.map(({ router }) => router!.shell(command))))
    const messages = await talk.end()
    findings.push({ scenario: name, what: 'gap', ms: gapMs, path: await homes.path() ?? 'none', messages })
    expect(messages).toMatchObject({ lost: 0, wrong: 0 })
    expect((await sizes()).every((size) => size === undefined || size <= 1300 - 28)).toBe(true)
    expect(await homes.path()).toMatch(/^udp /)
    expect(gapMs).toBeLessThan(LIMIT_MS)
  })
})

const whyNot = whyNoWire()

describe.skipIf(whyNot !== undefined)(`a bad line${skipping(whyNot)}`, () => {
  it.concurrent('loses 5 %, delays by 25 ms ± 10 and reorders 5 %: all of it comes, once and in order', async () => {
    using temporary = new TemporaryDirectory()
    await using wire = await Wire.open(fileURLToPath(new URL('.', import.meta.url)))
    await wire.impair({ delayMs: 25, jitterMs: 10, loss: 5, reorder: 5, seed: 5 })
    await using a = await TestDaemon.start(temporary.join('a'), { machine: wire.machines[0] })
    await using b = await TestDaemon.start(temporary.join('b'), { machine: wire.machines[1] })
    await pair(a, b)
    await using talk = await Talk.start(a, b)
    const { gapMs } = await talk.gap(async () => { for (let i = 0; i < 15; i++) await talk.calm() })
    const messages = await talk.end()
    findings.push({ scenario: BAD_LINE, what: 'longest gap', ms: gapMs, path: await pathTo(await a.client(), b.peerId) ?? 'none', messages })
    expect(messages).toMatchObject({ lost: 0, wrong: 0 })
  })
})

afterAll(() => report('paths', findings, [...meetings, ...troubles].map(({ name }) => name).concat(shrinkings.map(([name]) => name), BAD_LINE)))
