import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { Namespace } from './namespaces.ts'
import { routerRules, type NatKind, type RouterOptions } from './nat-rules.ts'

/** Addresses of the public net, in namespaces only: reserved ranges would not do, since some software looks at them. */
export const PUBLIC_HOSTS = ['11.0.0.2', '11.0.0.3'] as const

/** IP versions that a side has: IPv6 is never translated, and its router lets in only answers. */
export type Family = 4 | 6 | 'both'

export interface SideOptions extends RouterOptions {
  readonly kind: NatKind
  /** Machines in its local network; 1 by default. */
  readonly machines?: number
  /** 4 by default; homes behind a provider's router have no IPv6. */
  readonly family?: Family
  /** Machines of the local network do not see each other, as in a hotel's. */
  readonly isolated?: boolean
}

/** IPv6 of the public net, and of the network behind a router. */
const NET6 = '2001:470:1'
const homeNet6 = (number: number): string => `2001:470:1${number}`

interface Version {
  readonly four: boolean
  readonly six: boolean
}

/** The interface of a side on the public net; 0: of the server. */
const hardware = (number: number): string => `02:00:00:00:00:${(number + 2).toString(16).padStart(2, '0')}`

/** Lines that hold for this IP version only. */
const lines = (has: boolean, ...all: readonly string[]): readonly string[] => (has ? all : [])

export interface Side {
  readonly kind: NatKind
  readonly machines: readonly Namespace[]
  /** The router next to the machines; none without NAT. */
  readonly router: Namespace | undefined
  /** The address by which the public net knows this side. */
  readonly outside: string
}

/**
 * A public net with a server machine that has two addresses, and homes behind routers on it:
 *
 *   server 11.0.0.2 .3 ── 11.0.0.1x [provider's router 100.64.x.1 ── 100.64.x.2] router 10.x.0.1 ── machines 10.x.0.2 …
 *   2001:470:1::2 ── 2001:470:1::1x router 2001:470:1x::1 ── machines 2001:470:1x::2 …
 */
export class NatLab implements Disposable {
  readonly server: Namespace
  readonly sides: readonly Side[]
  readonly #names: string[] = []
  readonly #tag = `pst${randomBytes(3).toString('hex')}`
  readonly #count: number

  /** @param sides at most 9 */
  constructor(sides: readonly SideOptions[]) {
    this.#count = sides.length
    try {
      this.server = this.#machine('pub', PUBLIC_HOSTS[0])
      batch(this.server.name, 'link set lo up', `link add br0 address ${hardware(0)} type bridge mcast_snooping 0`, ...PUBLIC_HOSTS.map((host) => `addr add ${host}/24 dev br0`), `addr add ${NET6}::2/64 dev br0 nodad`, 'link set br0 up', ...this.#neighbours(0, 'br0'))
      sysctl(this.server, 'net.bridge.bridge-nf-call-iptables=0', 'net.bridge.bridge-nf-call-ip6tables=0', 'net.ipv6.conf.all.forwarding=1')
      this.sides = sides.map((options, i) => this.#side(options, i + 1))
      // An interface may stay dead for a second until somebody has asked for its carrier.
      for (const name of this.#names) execFileSync('ip', ['netns', 'exec', name, 'sh', '-c', 'cat /sys/class/net/*/carrier > /dev/null 2>&1 || :'])
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  #machine(name: string, address: string): Namespace {
    const whole = `${this.#tag}-${name}`
    execFileSync('ip', ['netns', 'add', whole], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#names.push(whole)
    return new Namespace(whole, address)
  }

  #side(options: SideOptions, number: number): Side {
    const { kind, family = 4 } = options
    const outside = `11.0.0.1${number}`
    const version = { four: family !== 6, six: family !== 4 }
    if (kind === 'none') {
      const machine = this.#machine(`${number}h1`, version.four ? outside : `${NET6}::1${number}`)
      this.#plug(machine, 'eth0', number, version)
      return { kind, machines: [machine], router: undefined, outside }
    }
    const home = this.#machine(`${number}r`, `10.${number}.0.1`)
    batch(home.name, 'link set lo up', 'link add lan type bridge mcast_snooping 0', ...lines(version.four, `addr add 10.${number}.0.1/24 dev lan`), ...lines(version.six, `addr add ${homeNet6(number)}::1/64 dev lan nodad`), 'link set lan up')
    sysctl(home, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1', 'net.bridge.bridge-nf-call-iptables=0', 'net.bridge.bridge-nf-call-ip6tables=0')
    const machines = this.#hosts(home, options, number, version)
    if (kind === 'cgnat' || kind === 'cgnatsym') this.#provider(home, options, number)
    else {
      this.#plug(home, 'wan', number, version)
      if (version.six) batch(this.server.name, `route add ${homeNet6(number)}::/64 via ${NET6}::1${number}`)
      filter(home, routerRules(kind, outside, options))
    }
    return { kind, machines, router: home, outside }
  }

  #hosts(home: Namespace, { isolated = false, machines = 1 }: SideOptions, number: number, { four, six }: Version): Namespace[] {
    return Array.from({ length: machines }, (_, i) => {
      const own = `${i + 2}`
      const host = this.#machine(`${number}h${i + 1}`, four ? `10.${number}.0.${own}` : `${homeNet6(number)}::${own}`)
      batch(home.name, `link add p${i} type veth peer name eth0 netns ${host.name}`, `link set p${i} master lan up`)
      if (isolated) execFileSync('ip', ['netns', 'exec', home.name, 'bridge', 'link', 'set', 'dev', `p${i}`, 'isolated', 'on'])
      batch(host.name, 'link set lo up', ...lines(four, `addr add 10.${number}.0.${own}/24 dev eth0`), ...lines(six, `addr add ${homeNet6(number)}::${own}/64 dev eth0 nodad`), 'link set eth0 up',
        ...lines(four, `route add default via 10.${number}.0.1`), ...lines(six, `route add default via ${homeNet6(number)}::1`))
      return host
    })
  }

  /** The router of the provider, between a home and the public net. */
  #provider(home: Namespace, { kind, ...router }: SideOptions, number: number): void {
    const provider = this.#machine(`${number}c`, `100.64.${number}.1`)
    batch(provider.name, 'link set lo up', `link add lan type veth peer name wan netns ${home.name}`, `addr add 100.64.${number}.1/24 dev lan`, 'link set lan up')
    sysctl(provider, 'net.ipv4.ip_forward=1')
    this.#plug(provider, 'wan', number, { four: true, six: false })
    batch(home.name, `addr add 100.64.${number}.2/24 dev wan`, 'link set wan up', `route add default via 100.64.${number}.1`)
    filter(provider, routerRules(kind === 'cgnatsym' ? 'sym' : 'port', `11.0.0.1${number}`, router))
    filter(home, routerRules('port', `100.64.${number}.2`))
  }

  /** An interface on the public net. */
  #plug(machine: Namespace, name: string, number: number, { four, six }: Version): void {
    batch(machine.name, 'link set lo up', `link add ${name} address ${hardware(number)} type veth peer name v${number} netns ${this.server.name}`, ...lines(four, `addr add 11.0.0.1${number}/24 dev ${name}`), ...lines(six, `addr add ${NET6}::1${number}/64 dev ${name} nodad`), `link set ${name} up`,
      ...lines(four, `route add default via ${PUBLIC_HOSTS[0]}`), ...lines(six, `route add default via ${NET6}::2`), ...this.#neighbours(number, name))
    batch(this.server.name, `link set v${number} master br0 up`)
  }

  /** Who is who on the public net: a packet that has to ask first may wait for a second. */
  #neighbours(own: number, device: string): readonly string[] {
    const all = Array.from({ length: this.#count + 1 }, (_, i) => (i === 0 ? [...PUBLIC_HOSTS, `${NET6}::2`] : [`11.0.0.1${i}`, `${NET6}::1${i}`]).map((host) => `neigh replace ${host} lladdr ${hardware(i)} dev ${device} nud permanent`))
    return all.filter((_, i) => i !== own).flat()
  }

  [Symbol.dispose](): void {
    for (const name of this.#names.splice(0)) spawnSync('ip', ['netns', 'del', name])
  }
}

function batch(namespace: string, ...lines: readonly string[]): void {
  execFileSync('ip', ['-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'pipe'] })
}

function sysctl(machine: Namespace, ...settings: readonly string[]): void {
  // A kernel without the bridge filter has no such switch, and needs none.
  spawnSync('ip', ['netns', 'exec', machine.name, 'sysctl', '-qw', ...settings])
}

function filter(machine: Namespace, rules: string): void {
  execFileSync('ip', ['netns', 'exec', machine.name, 'nft', '-f', '-'], { input: rules, stdio: ['pipe', 'ignore', 'pipe'] })
}
