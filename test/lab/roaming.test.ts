import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { until } from '../e2e/support/daemon.ts'
import { addon } from '../support/addon.ts'
import { Homes } from './meeting.ts'
import { whyNoFilters, type Namespace } from './namespaces.ts'
import type { SideOptions } from './nat.ts'
import { report, type Finding } from './report.ts'
import { pathTo, Talk } from './talk.ts'

const why = whyNoFilters() ?? (spawnSync('conntrack', ['--version']).error === undefined ? undefined : '`conntrack` is not installed (package conntrack)')
const PATIENCE_MS = 30_000
/** Enough to see whether something comes that need not. */
const UNPROMISED_MS = 10_000
/** One round trip, which takes no time here, and 300 ms; where no addon hears of changes by netlink, the machine looks every 2 s. */
const GOAL_MS = addon?.netlink === undefined ? 2300 : 300
/** A machine that does other things as well is slow; a session that waits for its own timeouts is slower still. */
const LIMIT_MS = 15_000

interface Scenario {
  readonly name: string
  readonly goalMs?: number
  /** Nothing says that the two must find each other again. */
  readonly unpromised?: true
  readonly sides: readonly SideOptions[]
  readonly event: (homes: Homes, whole: () => void) => Promise<unknown>
}

/** A router that takes another port for each destination: whoever comes back comes from elsewhere. */
const symmetric: readonly SideOptions[] = [{ kind: 'sym' }, { kind: 'none' }]
const homely: readonly SideOptions[] = [{ kind: 'port' }, { kind: 'port' }]
const PULLED_MS = 3000
const ASLEEP_MS = 20_000

const roamer = ({ machines }: Homes): Namespace => machines[0]
const routerOf = ({ lab }: Homes): Namespace => lab.sides[0]!.router!

const scenarios: readonly Scenario[] = [
  { name: 'NAT rebinding', goalMs: GOAL_MS, sides: symmetric, event: (homes) => routerOf(homes).shell('conntrack -D -p udp > /dev/null 2>&1') },
  { name: 'NAT rebinding, same port', goalMs: GOAL_MS, sides: homely, event: (homes) => routerOf(homes).shell('conntrack -D -p udp > /dev/null 2>&1') },
  { name: 'address change', goalMs: GOAL_MS, sides: [{ kind: 'port' }, { kind: 'none' }], event: (homes) => changeAddress(homes) },
  { name: 'address change, with a second between', goalMs: GOAL_MS, sides: [{ kind: 'port' }, { kind: 'none' }], event: async (homes, whole) => {
    // As DHCP does it; the route comes last.
    await roamer(homes).shell('ip addr del 10.1.0.2/24 dev eth0', 'sleep 1', 'ip addr add 10.1.0.77/24 dev eth0', 'sleep 0.1', 'ip route replace default via 10.1.0.1')
    whole()
  } },
  // The router gives the new address another port, which the other's router does not let in: they meet again by TCP, or by somebody's help.
  { name: 'address change, port-restricted both', unpromised: true, sides: homely, event: (homes) => changeAddress(homes) },
  { name: 'Wi-Fi → LTE', goalMs: GOAL_MS, sides: [{ kind: 'port' }, { kind: 'none' }, { kind: 'cgnatsym' }], event: (homes, whole) => switchOver(homes, whole) },
  { name: 'cable pulled and put back', goalMs: GOAL_MS, sides: homely, event: async (homes, whole) => {
    await routerOf(homes).shell('ip link set p0 down')
    await sleep(PULLED_MS)
    await routerOf(homes).shell('ip link set p0 up', 'cat /sys/class/net/p0/carrier > /dev/null')
    await roamer(homes).shell('cat /sys/class/net/eth0/carrier > /dev/null')
    whole()
  } },
  { name: 'sleep and wake', goalMs: GOAL_MS, sides: symmetric, event: async (homes, whole) => {
    // The router forgets meanwhile.
    await routerOf(homes).shell('sysctl -qw net.netfilter.nf_conntrack_udp_timeout=5 net.netfilter.nf_conntrack_udp_timeout_stream=5')
    const { pid } = homes.daemons[0].program
    process.kill(pid, 'SIGSTOP')
    try {
      await sleep(ASLEEP_MS)
    } finally {
      whole()
      process.kill(pid, 'SIGCONT')
    }
  } },
  { name: 'router reboot', sides: symmetric, goalMs: GOAL_MS, event: async (homes, whole) => {
    const router = routerOf(homes)
    await router.shell('ip link set p0 down', 'ip link set wan down', 'conntrack -F > /dev/null 2>&1')
    await sleep(PULLED_MS)
    await router.shell('ip link set wan up', 'ip route replace default via 11.0.0.2', 'cat /sys/class/net/wan/carrier > /dev/null', 'ip link set p0 up', 'cat /sys/class/net/p0/carrier > /dev/null')
    await roamer(homes).shell('cat /sys/class/net/eth0/carrier > /dev/null')
    whole()
  } },
]

async function changeAddress(homes: Homes): Promise<void> {
  // With its last address an interface loses its routes.
  await roamer(homes).shell('ip addr del 10.1.0.2/24 dev eth0', 'ip addr add 10.1.0.77/24 dev eth0', 'ip route replace default via 10.1.0.1')
}

/** The machine has another interface in another network by the time its first one goes. */
async function switchOver(homes: Homes, whole: () => void): Promise<void> {
  const other = homes.lab.sides[2]!.router!
  const host = roamer(homes)
  await other.shell(`ip link add p9 type veth peer name eth1 netns ${host.name}`, 'ip link set p9 master lan up')
  await host.shell('ip link set eth0 down', 'ip addr add 10.3.0.9/24 dev eth1', 'ip link set eth1 up', 'cat /sys/class/net/eth1/carrier > /dev/null', 'ip route add default via 10.3.0.1')
  await other.shell('cat /sys/class/net/p9/carrier > /dev/null')
  whole()
}

const IDLE = 'NAT rebinding of an idle session, then a ping'

describe.skipIf(why !== undefined)(`a session with traffic both ways loses nothing${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  const findings: Finding[] = []

  it.concurrent.each(scenarios)('$name', async ({ name, goalMs, sides, event, unpromised }) => {
    await using homes = await Homes.open(sides)
    expect((await homes.meet(PATIENCE_MS)).path).toBe('udp')
    await using talk = await Talk.start(...homes.daemons, { patienceMs: unpromised ? UNPROMISED_MS : PATIENCE_MS })
    const gap = await talk.gap((whole) => event(homes, whole)).catch((error: unknown) => {
      if (unpromised !== true) throw error
    })
    if (gap === undefined) {
      findings.push({ scenario: name, what: 'gap', ms: 'none', path: 'none' })
      return
    }
    const { gapMs, outageMs } = gap
    const messages = await talk.end()
    findings.push({ scenario: name, what: 'gap', ms: gapMs, ...(goalMs === undefined ? {} : { goalMs }), ...(outageMs === 0 ? {} : { outageMs }), path: await homes.path() ?? 'none', messages })
    expect(messages).toMatchObject({ lost: 0, wrong: 0 })
    expect(gapMs).toBeLessThan(LIMIT_MS)
  })

  it.concurrent(IDLE, async () => {
    await using homes = await Homes.open(symmetric)
    expect((await homes.meet(PATIENCE_MS)).path).toBe('udp')
    const [near, far] = homes.daemons
    const [client, peer] = [await near.client(), await far.client()]
    // Until what a new session asks of its paths is over.
    await sleep(3000)
    const before = await pathTo(peer, near.peerId)
    await routerOf(homes).shell('conntrack -D -p udp > /dev/null 2>&1')
    const begun = performance.now()
    const [answer] = await Promise.all([client.ping(far.peerId), until(async () => await pathTo(peer, near.peerId) !== before, 'the peer following', LIMIT_MS)])
    findings.push({ scenario: IDLE, what: 'followed', ms: Math.round(performance.now() - begun), goalMs: GOAL_MS, path: await homes.path() ?? 'none' })
    expect(answer).toBeDefined()
  })

  afterAll(() => report('roaming', findings, [...scenarios.map(({ name }) => name), IDLE]))
})
