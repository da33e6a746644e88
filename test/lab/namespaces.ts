import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** Why network namespaces cannot be made here; `undefined` where they can. Tests are skipped with this sentence. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  if (spawnSync('ip', ['-V']).error !== undefined) return '`ip` is not installed (package iproute2)'
  const probe = `pst-${randomBytes(3).toString('hex')}`
  if (spawnSync('ip', ['netns', 'add', probe]).status !== 0) return 'this kernel or container makes no network namespaces'
  spawnSync('ip', ['netns', 'del', probe])
  return undefined
}

/** The same with packet filters: {@link Namespace.filter}. */
export function whyNoFilters(): string | undefined {
  return whyNoNamespaces() ?? (spawnSync('nft', ['--version']).error === undefined ? undefined : '`nft` is not installed (package nftables)')
}

/** One machine of a lab: a network namespace with `eth0`, and no loopback interface unless asked for. */
export class Namespace {
  readonly name: string
  readonly address: string

  constructor(name: string, address: string) {
    this.name = name
    this.address = address
  }

  /** What to start a program with, so that it runs on this machine. */
  get prefix(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name]
  }

  run(...command: readonly string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, ...command], { encoding: 'utf8' })
  }

  /** Runs lines of shell while this process goes on with what it does: for who measures meanwhile. The first that fails ends it. */
  async shell(...lines: readonly string[]): Promise<void> {
    await execute('ip', ['netns', 'exec', this.name, 'sh', '-ec', lines.join('\n')])
  }

  /** Replaces the machine's packet filter: lines of nftables for its input and output hooks; none lets everything pass. */
  filter(...rules: readonly string[]): void {
    const chain = (hook: string): string => `chain ${hook} {\ntype filter hook ${hook} priority 0; policy accept;\n${rules.join('\n')}\n}`
    const table = rules.length === 0 ? '' : `table inet lab {\n${chain('input')}\n${chain('output')}\n}`
    execFileSync('ip', ['netns', 'exec', this.name, 'nft', '-f', '-'], { input: `table inet lab\ndelete table inet lab\n${table}\n` })
  }

  /** Gives `eth0` the machine's address and switches it on. */
  configure(): void {
    this.run('ip', 'addr', 'add', `${this.address}/24`, 'dev', 'eth0')
    this.run('ip', 'link', 'set', 'eth0', 'up')
    // An interface may stay dead for a second until somebody has asked for its carrier.
    this.run('cat', '/sys/class/net/eth0/carrier')
  }

  /** `down` cuts the cable: the kernel knows it. */
  link(state: 'up' | 'down'): void {
    this.run('ip', 'link', 'set', 'eth0', state)
  }
}

/** Machines in namespaces of their own names, gone with everything on them at the end. */
export class Lab implements Disposable {
  readonly machines: readonly Namespace[]
  readonly #names: string[] = []

  /**
   * @param count machines, 10.77.0.1 and up; they see each other and nothing else, not even themselves by `lo`
   * @param cabling `no switch` leaves them without `eth0`, for who brings one: then {@link Namespace.configure} it
   */
  constructor(count: number, cabling: 'switch' | 'no switch' = 'switch') {
    const tag = `pst${randomBytes(3).toString('hex')}`
    try {
      this.machines = Array.from({ length: count }, (_, i) => {
        this.#add(`${tag}-${i + 1}`)
        return new Namespace(`${tag}-${i + 1}`, `10.77.0.${i + 1}`)
      })
      if (cabling === 'switch') this.#connect(`${tag}-hub`)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  #add(name: string): void {
    ip('netns', 'add', name)
    this.#names.push(name)
  }

  #connect(hub: string): void {
    this.#add(hub)
    ip('-n', hub, 'link', 'add', 'br0', 'address', '02:00:00:00:00:02', 'type', 'bridge')
    ip('-n', hub, 'link', 'set', 'br0', 'up')
    this.machines.forEach((machine, i) => {
      ip('-n', hub, 'link', 'add', `p${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', machine.name)
      ip('-n', hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up')
    })
    for (const machine of this.machines) machine.configure()
  }

  [Symbol.dispose](): void {
    for (const name of this.#names.splice(0)) spawnSync('ip', ['netns', 'del', name])
  }
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', [...args], { stdio: ['ignore', 'ignore', 'pipe'] })
}
