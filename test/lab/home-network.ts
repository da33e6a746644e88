import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Lab, whyNoFilters, type Namespace } from './namespaces.ts'

/** Why there is no home network with a router that maps ports here; `undefined` where there can be. */
export function whyNoMiniupnpd(): string | undefined {
  return whyNoFilters() ?? (spawnSync('miniupnpd', ['--version']).error === undefined ? undefined : '`miniupnpd` is not installed (package miniupnpd-nftables)')
}

export const HOME = { router: '10.1.0.1', host: '10.1.0.2', external: '11.0.0.11', peer: '11.0.0.2' } as const

/** What miniupnpd's own chains hang on, and a router that lets in only what is mapped or was asked for from inside. */
const RULES = `
table inet filter {
  chain miniupnpd { }
  chain forward { type filter hook forward priority 0; policy drop; jump miniupnpd; ct state established,related accept; iifname lan accept; ct status dnat accept; }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain pre { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain post { type nat hook postrouting priority 99; policy accept; jump postrouting_miniupnpd; oifname wan masquerade; }
}
`

export interface RouterOptions {
  readonly protocol: 'pcp' | 'nat-pmp' | 'upnp'
  /** Seconds; of PCP and NAT-PMP. */
  readonly lifetimeMax: number
  /** For its configuration. */
  readonly directory: string
}

/** As much of nft's JSON as rules of miniupnpd have: the transport is matched as a byte of the IP header. */
interface NftExpression {
  readonly match?: { readonly left: { readonly payload?: { readonly base?: string; readonly offset?: number; readonly field?: string } }; readonly right: number | string }
  readonly dnat?: { readonly addr: string; readonly port: number }
}

function ruleText(expressions: readonly NftExpression[]): string {
  const right = (fits: (payload: { readonly base?: string; readonly offset?: number; readonly field?: string }) => boolean): number | string | undefined => (
    expressions.find(({ match }) => match?.left.payload !== undefined && fits(match.left.payload))?.match?.right
  )
  const transport = right(({ base, offset }) => base === 'nh' && offset === 72)
  const dnat = expressions.find((expression) => expression.dnat !== undefined)?.dnat
  return `${transport === 17 ? 'udp' : transport === 6 ? 'tcp' : String(transport)} ${String(right(({ field }) => field === 'dport'))} → ${dnat?.addr ?? '?'}:${dnat?.port ?? 0}`
}

/** A host at home behind a router with a real miniupnpd, and a peer on the Internet: three machines, nothing else. */
export class HomeNetwork implements AsyncDisposable {
  readonly host: Namespace
  readonly router: Namespace
  readonly peer: Namespace
  readonly #lab: Lab
  readonly #options: RouterOptions
  #miniupnpd: ChildProcess | undefined

  constructor(options: RouterOptions) {
    this.#options = options
    this.#lab = new Lab(3, 'no switch')
    const [host, router, peer] = this.#lab.machines as [Namespace, Namespace, Namespace]
    this.host = host
    this.router = router
    this.peer = peer
    try {
      this.#build()
    } catch (error) {
      this.#lab[Symbol.dispose]()
      throw error
    }
  }

  #build(): void {
    const { host, peer, router } = this
    this.#cable(host, 'lan', HOME.host, HOME.router)
    this.#cable(peer, 'wan', HOME.peer, HOME.external)
    host.run('ip', 'route', 'add', 'default', 'via', HOME.router)
    for (const machine of [host, router, peer]) machine.run('ip', 'link', 'set', 'lo', 'up')
    router.run('sysctl', '-qw', 'net.ipv4.ip_forward=1')
    this.#nft(RULES)
    // A server of NAT-PMP alone is one that PCP does not reach.
    if (this.#options.protocol === 'nat-pmp') this.#nft('table inet lab { chain input { type filter hook input priority 0; udp dport 5351 @th,64,8 2 drop; }; }')
  }

  #cable(machine: Namespace, device: string, address: string, routerAddress: string): void {
    this.router.run('ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', machine.name)
    for (const [at, name, own] of [[machine, 'eth0', address], [this.router, device, routerAddress]] as const) {
      at.run('ip', 'addr', 'add', `${own}/24`, 'dev', name)
      at.run('ip', 'link', 'set', name, 'up')
    }
    // An interface may stay dead for a second until somebody has asked for its carrier.
    machine.run('cat', '/sys/class/net/eth0/carrier')
    this.router.run('cat', `/sys/class/net/${device}/carrier`)
  }

  #nft(rules: string): void {
    execFileSync('ip', ['netns', 'exec', this.router.name, 'nft', '-f', '-'], { input: rules })
  }

  /** Starts miniupnpd, in the foreground. */
  async start(): Promise<void> {
    const { directory, lifetimeMax, protocol } = this.#options
    const file = `${directory}/miniupnpd.conf`
    const upnp = protocol === 'upnp'
    writeFileSync(file, [
      'ext_ifname=wan', 'listening_ip=lan', `enable_natpmp=${upnp ? 'no' : 'yes'}`, `enable_upnp=${upnp ? 'yes' : 'no'}`, 'upnp_table_name=filter', 'upnp_nat_table_name=filter',
      'upnp_forward_chain=miniupnpd', 'upnp_nat_chain=prerouting_miniupnpd', 'upnp_nat_postrouting_chain=postrouting_miniupnpd', 'secure_mode=yes', 'system_uptime=no', 'notify_interval=900',
      'min_lifetime=2', `max_lifetime=${lifetimeMax}`, 'uuid=00000000-0000-0000-0000-000000000001', 'allow 1024-65535 10.1.0.0/24 1024-65535', 'deny 0-65535 0.0.0.0/0 0-65535', '',
    ].join('\n'))
    this.#miniupnpd = spawn('ip', ['netns', 'exec', this.router.name, 'miniupnpd', '-d', '-f', file, '-P', `${directory}/miniupnpd.pid`], { stdio: 'ignore' })
    // Listening, when its port answers to be taken.
    for (let i = 0; i < 200 && !this.router.run('ss', '-Hlun').includes(upnp ? ':1900' : ':5351'); i++) await sleep(25)
  }

  /** The power goes out: what was mapped is gone. With `start` the router says so as it knows to. */
  async cutPower(): Promise<void> {
    await this.#kill()
    this.#nft('flush chain inet filter miniupnpd\nflush chain inet filter prerouting_miniupnpd\nflush chain inet filter postrouting_miniupnpd\n')
  }

  /** What the router lets in now: `udp 7000 → 10.1.0.2:7000`. */
  mapped(): string[] {
    const text = this.router.run('nft', '-j', 'list', 'chain', 'inet', 'filter', 'prerouting_miniupnpd')
    const { nftables } = JSON.parse(text) as { readonly nftables: readonly { readonly rule?: { readonly expr: readonly NftExpression[] } }[] }
    return nftables.flatMap(({ rule }) => (rule === undefined ? [] : [ruleText(rule.expr)])).sort()
  }

  async #kill(): Promise<void> {
    const miniupnpd = this.#miniupnpd
    this.#miniupnpd = undefined
    if (miniupnpd === undefined || miniupnpd.exitCode !== null) return
    const ended = once(miniupnpd, 'exit')
    miniupnpd.kill('SIGKILL')
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kill()
    this.#lab[Symbol.dispose]()
  }
}
