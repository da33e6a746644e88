import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { Namespace } from './namespaces.ts'
import { routerRules, type NatKind, type RouterOptions } from './nat-rules.ts'

/** Addresses of the public net, in namespaces only: reserved ranges would not do, since some software looks at them. */
export const PUBLIC_HOSTS = ['11.0.0.2', '11.0.0.3'] as const

export interface SideOptions extends RouterOptions {
  readonly kind: NatKind
  /** Machines in its local network; 1 by default. */
  readonly machines?: number
}

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
 */
export class NatLab implements Disposable {
  readonly server: Namespace
  readonly sides: readonly Side[]
  readonly #names: string[] = []
  readonly #tag = `pst${randomBytes(3).toString('hex')}`

  /** @param sides at most 9 */
  constructor(sides: readonly SideOptions[]) {
    try {
      this.server = this.#machine('pub', PUBLIC_HOSTS[0])
      batch(this.server.name, 'link set lo up', 'link add br0 address 02:00:00:00:00:02 type bridge', ...PUBLIC_HOSTS.map((host) => `addr add ${host}/24 dev br0`), 'link set br0 up')
      sysctl(this.server, 'net.bridge.bridge-nf-call-iptables=0')
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

  #side({ kind, machines = 1, ...router }: SideOptions, number: number): Side {
    const outside = `11.0.0.1${number}`
    if (kind === 'none') {
      const machine = this.#machine(`${number}h1`, outside)
      this.#plug(machine, 'eth0', number, outside)
      return { kind, machines: [machine], router: undefined, outside }
    }
    const home = this.#machine(`${number}r`, `10.${number}.0.1`)
    batch(home.name, 'link set lo up', 'link add lan type bridge', `addr add 10.${number}.0.1/24 dev lan`, 'link set lan up')
    sysctl(home, 'net.ipv4.ip_forward=1', 'net.bridge.bridge-nf-call-iptables=0')
    const hosts = Array.from({ length: machines }, (_, i) => {
      const host = this.#machine(`${number}h${i + 1}`, `10.${number}.0.${i + 2}`)
      batch(home.name, `link add p${i} type veth peer name eth0 netns ${host.name}`, `link set p${i} master lan up`)
      batch(host.name, 'link set lo up', `addr add ${host.address}/24 dev eth0`, 'link set eth0 up', `route add default via 10.${number}.0.1`)
      return host
    })
    if (kind === 'cgnat' || kind === 'cgnatsym') {
      const provider = this.#machine(`${number}c`, `100.64.${number}.1`)
      batch(provider.name, 'link set lo up', `link add lan type veth peer name wan netns ${home.name}`, `addr add 100.64.${number}.1/24 dev lan`, 'link set lan up')
      sysctl(provider, 'net.ipv4.ip_forward=1')
      this.#plug(provider, 'wan', number, outside)
      batch(home.name, `addr add 100.64.${number}.2/24 dev wan`, 'link set wan up', `route add default via 100.64.${number}.1`)
      filter(provider, routerRules(kind === 'cgnatsym' ? 'sym' : 'port', outside, router))
      filter(home, routerRules('port', `100.64.${number}.2`))
    } else {
      this.#plug(home, 'wan', number, outside)
      filter(home, routerRules(kind, outside, router))
    }
    return { kind, machines: hosts, router: home, outside }
  }

  /** An interface on the public net. */
  #plug(machine: Namespace, name: string, number: number, address: string): void {
    batch(machine.name, 'link set lo up', `link add ${name} type veth peer name v${number} netns ${this.server.name}`, `addr add ${address}/24 dev ${name}`, `link set ${name} up`, `route add default via ${PUBLIC_HOSTS[0]}`)
    batch(this.server.name, `link set v${number} master br0 up`)
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
