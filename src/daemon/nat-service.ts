import { setTimeout as sleep } from 'node:timers/promises'
import { encodeAddress, formatAddress } from '../core/base/address.ts'
import { addressClass } from '../core/base/address-class.ts'
import { PosternError } from '../core/base/errors.ts'
import { millisecond } from '../core/base/time.ts'
import { isHardMapping } from '../core/stun/nat-classes.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import type { IpcStunStatus, NetcheckResult } from '../core/wire/ipc-nat.ts'
import type { Transport } from '../core/wire/pcp.ts'
import { NameResolver } from '../net/resolver.ts'
import { hasNetwork } from '../net/network-state.ts'
import type { TcpDriver } from '../net/tcp.ts'
import type { Config } from './config-schema.ts'
import { netcheck } from './netcheck.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { PortMapping, type PortMappingOptions } from './port-mapping.ts'
import { nameOf, StunNames } from './stun-names.ts'

/** [P] What a person who asked for an invite hardly notices. */
const FRESHEN_MS = 1000
const FRESHEN_STEP_MS = 20

/** Whether servers outside may be asked at all. */
export function stunEnabled({ enabled, servers }: Config['stun'], env: NodeJS.ProcessEnv = process.env): boolean {
  return enabled && servers.length > 0 && env['POSTERN_STUN'] !== '0'
}

/** What this node learns of the NATs before it, and asks of them: servers by their names, the core's questions, mapped ports, the network that changes under them. */
export class NatService {
  readonly #runtime: NodeRuntime
  readonly mapping: PortMapping
  readonly #changed: (() => void) | undefined
  readonly #config: Pick<Config, 'stun' | 'udp'>
  readonly #provider: CryptoProvider
  readonly #enabled: boolean
  readonly #resolver = new NameResolver()
  readonly #names: StunNames
  readonly #ending = new AbortController()
  /** The check that is under way: whoever asks meanwhile gets the same. */
  #check: Promise<NetcheckResult> | undefined

  constructor(runtime: NodeRuntime, provider: CryptoProvider, config: Pick<Config, 'portmap' | 'stun' | 'udp'>, mapping: Pick<PortMappingOptions, 'changed' | 'log' | 'secret'>) {
    const { stun, udp } = config
    this.#runtime = runtime
    this.#config = config
    this.#changed = mapping.changed
    this.#provider = provider
    this.mapping = new PortMapping({ ...mapping, provider, config, clock: runtime.clock })
    this.#enabled = stunEnabled(stun)
    const outside = udp.bind.some((host) => addressClass(encodeAddress(host, 0)!) !== 'loopback')
    this.#names = new StunNames({
      servers: this.#enabled ? stun.servers : [], hasNetwork: () => outside && hasNetwork(), resolve: (host) => this.#resolver.resolve(host),
      apply: (servers) => {
        runtime.endpoint.stun.setServers(runtime.now(), servers)
        runtime.schedule()
      },
    })
  }

  /** Begins to ask, once the sockets are open. */
  start(udpPort: number, tcp: TcpDriver | undefined): void {
    this.mapping.start(new Map<Transport, number>([['udp', udpPort], ...(tcp?.listening === true ? [['tcp', tcp.port] as const] : [])]))
    if (!this.#enabled) return
    this.#names.start()
  }

  /** The machine's addresses or routes are others than before. */
  networkChanged(): void {
    this.#changed?.()
    this.mapping.networkChanged()
    if (!this.#enabled) return
    this.#names.networkChanged()
    this.#runtime.endpoint.stun.networkChanged(this.#runtime.now())
    this.#runtime.schedule()
  }

  /** Where servers see this node, 18 bytes each. */
  get reflexive(): readonly Uint8Array[] {
    return this.#runtime.endpoint.stun.addresses.map(({ address }) => address)
  }

  /** Each destination sees another port of this node: nobody can be told where it is. */
  get hard(): boolean {
    return isHardMapping(this.#runtime.endpoint.stun.mapping)
  }

  /** Waits a moment for addresses that others are about to be told. */
  async freshen(): Promise<void> {
    const { stun } = this.#runtime.endpoint
    stun.renew(this.#runtime.now())
    this.#runtime.schedule()
    await this.#while(() => this.#names.looking || stun.asking || this.mapping.searching)
  }

  async #while(waits: () => boolean): Promise<void> {
    for (let waited = 0; waited < FRESHEN_MS && waits(); waited += FRESHEN_STEP_MS) await sleep(FRESHEN_STEP_MS)
  }

  status(): IpcStunStatus {
    const { stun } = this.#runtime.endpoint
    const now = this.#runtime.now()
    return {
      enabled: this.#enabled, asking: stun.asking,
      servers: [
        ...stun.servers(now).map(({ name, address, state, rtt }) => ({ name, address: formatAddress(address), state, ...(rtt === undefined ? {} : { rttMs: rtt / millisecond }) })),
        ...this.#names.unresolved.map((server) => ({ name: nameOf(server), state: 'unresolved' as const })),
      ],
      reflexive: stun.addresses.map(({ address, server, at }) => ({ address: formatAddress(address), server, ageMs: Math.round((now.mono - at) / millisecond) })),
    }
  }

  /** Looks at the network as it is now; one look at a time. */
  netcheck(): Promise<NetcheckResult> {
    this.#check ??= this.#look().catch((error: unknown) => {
      throw this.#ending.signal.aborted ? new PosternError('shutting_down', 'The daemon is shutting down.') : error
    }).finally(() => { this.#check = undefined })
    return this.#check
  }

  async #look(): Promise<NetcheckResult> {
    await this.#while(() => this.#names.looking)
    const { endpoint, clock } = this.#runtime
    return netcheck({
      provider: this.#provider, clock, enabled: this.#enabled, servers: endpoint.stun.servers(this.#runtime.now()), unresolved: this.#names.unresolved.map(nameOf), bind: this.#config.udp.bind,
      portal: this.#config.stun.portal, count: (counter) => endpoint.node.counters.add(counter), signal: this.#ending.signal, portMapping: () => this.mapping.status(),
    })
  }

  async close(): Promise<void> {
    this.#ending.abort()
    this.#names.close()
    this.#resolver.close()
    await this.mapping.close()
  }
}
