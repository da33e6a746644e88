import { setTimeout as sleep } from 'node:timers/promises'
import { encodeAddress, formatAddress, isIPv4, portOf } from '../../core/base/address.ts'
import { addressClass } from '../../core/base/address-class.ts'
import { PosternError } from '../../core/base/errors.ts'
import { isHardMapping } from '../../core/stun/nat-classes.ts'
import { millisecond, never, second, type Now } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import type { IpFamily, Reflexive } from '../../core/stun/reflexive.ts'
import type { IpcLifetime, IpcOwnNat, IpcReflexive, IpcStunStatus, NetcheckResult } from '../../core/wire/ipc/ipc-nat.ts'
import type { Transport } from '../../core/wire/pcp.ts'
import { NameResolver } from '../../net/resolver.ts'
import { fittedKeepAlive } from '../../core/connection/paths/keep-alive.ts'
import { hasNetwork } from '../../net/network-state.ts'
import { SpareSockets } from '../../net/spare-sockets.ts'
import type { TcpDriver } from '../../net/tcp.ts'
import type { TcpSystem } from '../../net/tcp-system.ts'
import type { Config } from '../config/config-schema.ts'
import { measureLifetime } from './lifetime-run.ts'
import { netcheck } from './netcheck.ts'
import type { NodeRuntime } from '../node-runtime.ts'
import { PortMapping, type PortMappingOptions } from './port-mapping.ts'
import { nameOf, StunNames } from './stun-names.ts'
import { TcpReflexive } from './tcp-reflexive.ts'
import type { Outside } from '../why/why.ts'
import { natInfo } from '../why/why-nat.ts'

/** [P] What a person who asked for an invite hardly notices. */
const FRESHEN_MS = 1000
const FRESHEN_STEP_MS = 20
/** [P] UDP that has not answered by then may be blocked: servers are asked by TCP too. */
const UDP_PATIENCE_MS = 1000

/** Whether servers outside may be asked at all. */
export function stunEnabled({ enabled, servers }: Config['stun'], env: NodeJS.ProcessEnv = process.env): boolean {
  return enabled && servers.length > 0 && env['POSTERN_STUN'] !== '0'
}

/** Where sockets for guessing are bound: as the node's own is, if that speaks IPv4. */
function spareHost(bind: readonly string[]): string | undefined {
  return bind.includes('::') || bind.includes('0.0.0.0') ? '0.0.0.0' : bind.find((host) => !host.includes(':'))
}

export interface NatServiceOptions extends Pick<PortMappingOptions, 'log' | 'secret'> {
  /** Peers must hear of other addresses than before. */
  readonly changed: () => void
  /** Whether somebody relies on the addresses that servers told. */
  readonly wanted: () => boolean
}

/** What this node learns of the NATs before it, and asks of them: servers by their names, the core's questions, mapped ports, the network that changes under them. */
export class NatService {
  readonly #runtime: NodeRuntime
  readonly mapping: PortMapping
  readonly #options: NatServiceOptions
  readonly #config: Pick<Config, 'stun' | 'udp'>
  readonly #provider: CryptoProvider
  readonly #enabled: boolean
  readonly #resolver = new NameResolver()
  readonly #names: StunNames
  readonly #ending = new AbortController()
  /** The check that is under way: whoever asks meanwhile gets the same. */
  #check: Promise<NetcheckResult> | undefined
  readonly #tcp: TcpReflexive
  /** Sockets bound to loopback reach this machine only. */
  readonly #reaches: (server: Uint8Array) => boolean
  #udpPort = 0
  #tcpPort: number | undefined
  /** Waits for UDP to answer; `undefined`: it had its time. */
  #patience: NodeJS.Timeout | undefined
  /** Of the network as it is, as far as is known. */
  #found: NetcheckResult | undefined
  #looked = false
  #measuring: Promise<IpcLifetime> | undefined
  #lifetime: IpcLifetime | undefined
  /** Grows whenever the network is another. */
  #network = 0

  constructor(runtime: NodeRuntime, provider: CryptoProvider, config: Pick<Config, 'portmap' | 'stun' | 'udp'>, options: NatServiceOptions) {
    const { stun, udp } = config
    this.#runtime = runtime
    this.#config = config
    this.#options = options
    this.#provider = provider
    this.mapping = new PortMapping({ changed: options.changed, log: options.log, secret: options.secret, provider, config, clock: runtime.clock })
    this.#tcp = new TcpReflexive({
      provider, clock: runtime.clock, refresh: stun.refresh, wanted: options.wanted, needed: (server) => this.#reaches(server) && this.#needsTcp(isIPv4(server) ? 4 : 6),
      changed: (family, address, server) => {
        options.log.info('reflexive address of TCP', { family, address: address === undefined ? 'none' : formatAddress(address), server })
        this.#judgeUdp()
        options.changed()
      },
    })
    this.#enabled = stunEnabled(stun)
    const local = spareHost(udp.bind)
    if (local !== undefined) runtime.addSpare(new SpareSockets(runtime, local))
    const outside = udp.bind.some((host) => addressClass(encodeAddress(host, 0)!) !== 'loopback')
    this.#reaches = (server) => outside || addressClass(server) === 'loopback'
    this.#names = new StunNames({
      servers: this.#enabled ? stun.servers : [], hasNetwork: () => outside && hasNetwork(), resolve: (host) => this.#resolver.resolve(host),
      apply: (servers) => {
        runtime.endpoint.stun.setServers(runtime.now(), servers)
        runtime.schedule()
        this.#beginPatience()
        this.#tcp.setServers(servers)
      },
    })
  }

  /** Begins to ask, once the sockets are open. */
  start(udpPort: number, tcp: TcpDriver | undefined, system: TcpSystem | undefined): void {
    this.mapping.start(new Map<Transport, number>([['udp', udpPort], ...(tcp?.listening === true ? [['tcp', tcp.port] as const] : [])]))
    this.#udpPort = udpPort
    this.#tcpPort = tcp?.listening === true ? tcp.port : undefined
    if (this.#tcpPort !== undefined && system?.sharesPort === true) this.#tcp.start(system, this.#tcpPort)
    if (this.#enabled) this.#names.start()
  }

  /** The machine's addresses or routes are others than before. */
  networkChanged(): void {
    this.#found = undefined
    this.#looked = false
    this.#network++
    this.#setLifetime(undefined)
    this.#options.changed()
    this.mapping.networkChanged()
    if (!this.#enabled) return
    this.#names.networkChanged()
    this.#runtime.endpoint.stun.networkChanged(this.#runtime.now())
    this.#runtime.schedule()
    this.#beginPatience()
    this.#tcp.networkChanged()
  }

  /** What servers say of UDP is another address than before, or none. */
  reflexiveChanged(): void {
    this.#tcp.review()
    this.#judgeUdp()
  }

  #judgeUdp(): void {
    const { stun } = this.#runtime.endpoint
    stun.blocked = stun.addresses.length === 0 && this.#tcp.addresses.length > 0
  }

  /** Where servers see this node's socket, 18 bytes each. */
  get reflexive(): readonly Uint8Array[] {
    return this.#runtime.endpoint.stun.addresses.map(({ address }) => address)
  }

  /** Each destination sees another port of this node: nobody can be told where it is. */
  get hard(): boolean {
    return isHardMapping(this.#runtime.endpoint.stun.mapping)
  }

  /** Where they see the port that it listens on by TCP, where UDP does not tell. */
  get reflexiveTcp(): readonly Uint8Array[] {
    return this.#tcp.addresses.map(({ address }) => address)
  }

  /** The address of UDP holds for TCP too while the router keeps the port, and both have the same. */
  #needsTcp(family: IpFamily): boolean {
    const known = this.#runtime.endpoint.stun.addresses.find((own) => own.family === family)
    if (known === undefined) return this.#patience === undefined || this.#tcp.addresses.some((own) => own.family === family)
    return portOf(known.address) !== this.#udpPort || this.#tcpPort !== this.#udpPort
  }

  #beginPatience(): void {
    clearTimeout(this.#patience)
    this.#patience = setTimeout(() => {
      this.#patience = undefined
      this.#tcp.review()
    }, UDP_PATIENCE_MS).unref()
  }

  /** Waits a moment for addresses that others are about to be told. */
  async freshen(): Promise<void> {
    const { stun } = this.#runtime.endpoint
    stun.renew(this.#runtime.now())
    this.#runtime.schedule()
    this.#tcp.renew()
    await this.#while(() => this.#names.looking || stun.asking || this.#tcp.asking || this.mapping.searching)
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
      reflexive: stun.addresses.map((known) => seen(known, now)),
      tcp: { able: this.#tcp.able, asking: this.#tcp.asking, reflexive: this.#tcp.addresses.map((known) => seen(known, now)) },
    }
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.mapping.counters(), ...this.#tcp.counters() }
  }

  /** The NAT before this node: all that the last check of this network found, else what the socket's own mapping shows. */
  own(): IpcOwnNat {
    const { stun, node } = this.#runtime.endpoint
    const checked = this.#found?.udp4.state === 'works' ? this.#found.udp4 : undefined
    const nat = checked === undefined ? natInfo({ mapping: stun.mapping, filtering: 'unknown' }, stun.mapping === 'unknown' ? 'none' : 'servers')
      : { mapping: checked.mapping, filtering: checked.filtering, word: checked.word, from: 'netcheck' as const }
    const ipv6 = node.candidates.candidates.some(({ address }) => !isIPv4(address) && addressClass(address) === 'global')
    const keepAlive = node.keepAliveMax < node.config.keepAlive ? { keepAliveS: node.keepAliveMax / second } : {}
    return { ...nat, servers: this.#serversState(), ipv6, ...(this.#lifetime === undefined ? {} : { lifetime: this.#lifetime }), ...keepAlive }
  }

  /** What bears on who can reach this node. */
  outside(): Outside {
    const { endpoint } = this.#runtime
    const sessions = endpoint.peers().filter((peer) => endpoint.peerStats(peer)?.state === 'connected').length
    return { nat: this.own(), portMapping: this.mapping.status(), advertises: this.#config.udp.advertise.length > 0, sessions, guesses: this.#config.udp.guessPorts }
  }

  #serversState(): IpcOwnNat['servers'] {
    if (!this.#enabled) return 'off'
    const { stun } = this.#runtime.endpoint
    const servers = stun.servers(this.#runtime.now())
    if (stun.addresses.length > 0 || this.#tcp.addresses.length > 0 || servers.some(({ state }) => state === 'answers')) return 'answer'
    if (this.#names.looking || stun.asking) return 'unknown'
    return servers.every(({ state }) => state === 'unasked') && servers.length > 0 ? 'unknown' : 'silent'
  }

  /** Somebody is not to be reached, so the class is of interest: one check for each network, in the background. */
  lookOnce(): void {
    if (!this.#enabled || this.#looked || this.#ending.signal.aborted) return
    this.#looked = true
    this.netcheck().catch(() => undefined)
  }

  /** Looks at the network as it is now; one look at a time. */
  netcheck(): Promise<NetcheckResult> {
    this.#looked = true
    this.#check ??= this.#look().catch((error: unknown) => {
      throw this.#ending.signal.aborted ? new PosternError('shutting_down', 'The daemon is shutting down.') : error
    }).finally(() => { this.#check = undefined })
    return this.#check
  }

  async #look(): Promise<NetcheckResult> {
    await this.#while(() => this.#names.looking)
    const { endpoint, clock } = this.#runtime
    const servers = endpoint.stun.servers(this.#runtime.now())
    const network = this.#network
    const found = await netcheck({
      provider: this.#provider, clock, enabled: this.#enabled, servers, unresolved: this.#names.unresolved.map(nameOf), bind: this.#config.udp.bind,
      portal: this.#config.stun.portal, count: (counter) => endpoint.node.counters.add(counter), signal: this.#ending.signal, portMapping: () => this.mapping.status(),
      tcp: { servers: servers.filter(({ address }) => this.#reaches(address)), punching: this.#tcp.able },
    })
    if (network !== this.#network) return found
    this.#found = found
    this.#options.changed()
    return found
  }

  /** The same, and how long the NAT keeps a mapping: some minutes, and keep-alives are fitted to it. */
  async netcheckWithLifetime(): Promise<NetcheckResult> {
    const found = await this.netcheck()
    this.#measuring ??= this.#measure().catch((error: unknown) => {
      throw this.#ending.signal.aborted ? new PosternError('shutting_down', 'The daemon is shutting down.') : error
    }).finally(() => { this.#measuring = undefined })
    return { ...found, lifetime: await this.#measuring }
  }

  async #measure(): Promise<IpcLifetime> {
    if (!this.#enabled) return { state: 'off', aliveS: 0 }
    const { endpoint, clock } = this.#runtime
    const network = this.#network
    const keep = (lifetime: IpcLifetime): void => {
      if (network === this.#network) this.#setLifetime(lifetime)
    }
    const lifetime = await measureLifetime({
      provider: this.#provider, clock, servers: endpoint.stun.servers(this.#runtime.now()), bind: this.#config.udp.bind, count: (counter) => endpoint.node.counters.add(counter), signal: this.#ending.signal, progress: keep,
    })
    keep(lifetime)
    return lifetime
  }

  /** What went through it all the way was kept open meanwhile: only what is known to be short makes keep-alives shorter. */
  #setLifetime(lifetime: IpcLifetime | undefined): void {
    this.#lifetime = lifetime
    const { node } = this.#runtime.endpoint
    node.keepAliveMax = lifetime?.goneS === undefined || lifetime.state === 'running' ? never : fittedKeepAlive(lifetime.aliveS * second)
    this.#options.changed()
  }

  async close(): Promise<void> {
    this.#ending.abort()
    clearTimeout(this.#patience)
    this.#tcp.close()
    this.#names.close()
    this.#resolver.close()
    await this.mapping.close()
  }
}

function seen({ address, server, at }: Reflexive, now: Now): IpcReflexive {
  return { address: formatAddress(address), server, ageMs: Math.round((now.mono - at) / millisecond) }
}
