import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatAddress } from '../core/base/address.ts'
import { Arena } from '../core/base/arena.ts'
import { toHex, wipe } from '../core/base/bytes.ts'
import type { LinkKind, LinkState } from '../core/base/domain.ts'
import { PosternError } from '../core/base/errors.ts'
import type { MessageRun } from '../core/base/message-run.ts'
import { after, millisecond, type Instant } from '../core/base/time.ts'
import type { EndpointEvent, MessageBatch, NoticeBatch, ReleaseBatch } from '../core/endpoint/contract.ts'
import { Endpoint } from '../core/endpoint/endpoint.ts'
import type { HelloRequest, ShutdownResult, StatusResult } from '../core/wire/ipc/ipc-methods.ts'
import { checkSocketPath } from '../core/wire/ipc/ipc-path.ts'
import { encodePeerId } from '../core/wire/peer-id.ts'
import type { ClientEnd, Grant, IncomingMessage, IpcClient, IpcGreeting, IpcHandler, IpcMethodTable } from '../ipc/handler.ts'
import type { SocketAccess } from '../ipc/access.ts'
import { startIpcServer, type IpcServer } from '../ipc/server.ts'
import type { TcpDriver } from '../net/tcp.ts'
import { UdpDriver } from '../net/udp.ts'
import { Clock } from '../platform/clock.ts'
import { instanceLockDefaults } from '../store/instance-lock.ts'
import type { KeySource } from '../store/keys.ts'
import { StateDirectory } from '../store/state-directory.ts'
import { ApiKeys } from './api-keys.ts'
import { BleService } from './ble/ble-service.ts'
import { coreConfigOf } from './config/config-core.ts'
import type { Config } from './config/config-schema.ts'
import type { Log } from './log/log.ts'
import type { LogTap } from './log/log-tap.ts'
import { methodTable } from './methods.ts'
import { NatService } from './nat/nat-service.ts'
import { accessOf, type NativeChoice, type NativeStatus } from './native.ts'
import { nodeAddresses, nodeCandidates, type Reachable } from './nat/node-addresses.ts'
import { statusOf } from './daemon-status.ts'
import { NodeRuntime, type RuntimeSink } from './node-runtime.ts'
import { loadNodeState, storeUdpPort, type NodeState } from './node-state.ts'
import type { Paths } from './paths.ts'
import { PeerService } from './peer-service.ts'
import { Persister } from './persister.ts'
import { Router } from './router.ts'
import { Subscriptions } from './topics/subscriptions.ts'
import { isRadioEvent } from './ble/radio-log.ts'
import { startTcp } from './tcp-transport.ts'
import { version } from '../platform/version.ts'
import { UdpKeeper } from './nat/udp-keeper.ts'

/** Clients that wrote nothing for so long have nothing more in their sockets; those that never pause are waited for this long. */
const QUIET_MS = 10
const QUIET_MAX = 250 * millisecond
/** Peers that had a session when the daemon ended are dialed at this rate (WIRE.md §3.9). */
const DIALS_PER_SECOND = 50

export interface DaemonOptions {
  readonly config: Config
  readonly paths: Paths
  readonly log: Log & LogTap
  readonly native: NativeChoice
  /** What opens the store. */
  readonly keys: readonly KeySource[] | undefined
  /** Something that the process cannot go on from: the store refuses to write. */
  readonly onFatal: (error: PosternError) => void
  /** A client asked for the end. */
  readonly onShutdown: () => void
}

/** A running node: state, endpoint, drivers and IPC, opened in the order that makes it safe and closed in reverse. */
export class Daemon implements IpcHandler, RuntimeSink, AsyncDisposable {
  readonly methods: IpcMethodTable
  readonly #config: Config
  readonly #log: Log
  readonly #options: DaemonOptions
  readonly #state: StateDirectory
  readonly #runtime: NodeRuntime
  readonly #udp: UdpDriver
  readonly #udpKeeper: UdpKeeper
  readonly #nat: NatService
  readonly #ble: BleService
  readonly #native: NativeStatus
  readonly #access: SocketAccess | undefined
  #tcp: TcpDriver | undefined
  readonly #router: Router
  readonly #peers: PeerService
  readonly #subscriptions: Subscriptions
  readonly #persister: Persister
  readonly #apiKeys: ApiKeys
  readonly #startedAt = performance.now()
  readonly #instance: string = toHex(randomBytes(8))
  #ipc: IpcServer | undefined
  /** Events behind a change that is not on disk yet; told to nobody until it is (DESIGN §3). */
  readonly #held: EndpointEvent[] = []
  #barriers = 0
  #dialTimer: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined
  #onDrained: (() => void) | undefined

  private constructor(options: DaemonOptions, state: StateDirectory, node: NodeState, apiKeys: ApiKeys) {
    const { config, log, native: { provider, engine, uidOf, status } } = options
    this.#options = options
    this.#config = config
    this.#log = log
    this.#state = state
    this.#apiKeys = apiKeys
    this.#access = accessOf(config.ipc.uids, uidOf, status.reason)
    this.#native = status
    if (status.reason !== undefined) log.info('the native addon is not used in full: this node is slower than it could be', { reason: status.reason })
    const clock = new Clock()
    const endpoint = new Endpoint({
      provider, seed: node.seed, arena: new Arena(config.limits.memory), config: coreConfigOf(config, () => this.#ble.present), peers: node.peers, invites: node.invites,
      resetKey: node.resetKey, presence: node.presence, now: clock.now(),
    })
    wipe(node.seed)
    this.#runtime = new NodeRuntime(endpoint, clock, this)
    this.#udp = new UdpDriver(this.#runtime, {
      port: config.udp.port === 0 ? node.udpPort : config.udp.port, bind: config.udp.bind, receiveBuffer: config.udp.receiveBuffer, sendBuffer: config.udp.receiveBuffer,
      dontFragment: config.udp.mtuDiscovery,
      ...(engine === undefined ? {} : { engine }),
    })
    this.#runtime.add(this.#udp)
    this.#udpKeeper = new UdpKeeper(this.#udp, log, () => this.#stopping !== undefined)
    this.#nat = new NatService(this.#runtime, provider, config, {
      secret: node.resetKey, log, changed: () => this.#reachableChanged(), wanted: () => this.#peers.meeting || endpoint.invites().some(({ uses, spentBy, expires }) => spentBy.length < uses && expires > clock.now().wall),
    })
    this.#ble = new BleService(this.#runtime, { config: config.ble, log, persisted: () => this.#persister.flush(), changed: (key) => this.#subscriptions.bleChanged(key) })
    this.#persister = new Persister(state.store, (error) => this.#storeFailed(error))
    this.#peers = new PeerService(this.#runtime, {
      provider, introduces: config.introduce.serve, addresses: () => this.#addresses(), hard: () => this.#nat.hard, nat: this.#nat, radio: this.#ble, freshen: () => this.#nat.freshen(), persisted: () => this.#persister.flush(), onRoster: (id) => this.#subscriptions.peerChanged(id),
    })
    this.#router = new Router(this.#runtime, {
      apps: config.access.apps, messageMax: config.limits.message, sessionWith: (peer, signal) => this.#peers.session(peer, undefined, signal),
      onChannel: (channel, info) => this.#subscriptions.channelChanged(channel, info), onAppWanted: (app, peer) => this.#subscriptions.appWanted(app, peer),
    })
    this.#subscriptions = new Subscriptions(this.#runtime, {
      log, ble: this.#ble.watch, status: () => this.#status(), channels: () => this.#router.channels(), channel: (channel) => this.#router.channelInfo(channel),
    })
    this.methods = methodTable({ router: this.#router, peers: this.#peers, nat: this.#nat, ble: this.#ble, apiKeys, subscriptions: this.#subscriptions, status: () => this.#status(), shutdown: () => this.#shutdown() })
  }

  /** Starts everything, or nothing: what was opened is closed again before it rejects with a {@link PosternError}. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    // Before anything is made: a directory too deep for a socket is no place for a new identity either.
    const refusals = options.paths.sockets.map((path) => checkSocketPath(path, process.platform))
    if (refusals[0] !== undefined && refusals.every((refusal) => refusal !== undefined)) throw refusals[0]
    const lock = { ...instanceLockDefaults, flock: options.native.flock }
    const state = await StateDirectory.open({ path: options.paths.state, lock, ...(options.keys === undefined ? {} : { keys: options.keys }) })
    let daemon: Daemon | undefined
    try {
      const node = await loadNodeState(state.store)
      if (node.fresh) options.log.info('made a new identity', { state: state.path })
      daemon = new Daemon(options, state, node, await ApiKeys.load(state.store))
      await daemon.#open(node)
      return daemon
    } catch (error) {
      if (daemon === undefined) await state.close()
      else await daemon.#close()
      throw error
    }
  }

  async #open(node: NodeState): Promise<void> {
    await this.#udp.start()
    this.#tcp = await startTcp(this.#runtime, this.#config, this.#udp.port, this.#log, this.#options.native.tcp)
    if (this.#config.udp.port === 0 && this.#udp.port !== node.udpPort) await storeUdpPort(this.#state.store, this.#udp.port)
    this.#ipc = await startIpcServer({
      handler: this, paths: this.#options.paths.sockets, messageMax: this.#config.limits.message, linger: this.#config.ipc.linger,
      ...(this.#access === undefined ? {} : { access: this.#access }),
    })
    this.#nat.start(this.#udp.port, this.#tcp, this.#options.native.tcp)
    this.#runtime.watchNetwork(this.#options.native.netlink, () => {
      this.#log.info('this machine has other addresses or routes than before')
      this.#nat.networkChanged()
      this.#ble.search()
    })
    await this.#ble.start()
    this.#tellCandidates()
    // Also who never came, or came so lately that a crash was quicker than the disk: the session is repaired by our dial alone.
    const wanted = node.peers.filter((peer) => peer.hadSession || (peer.connectedAt === undefined && peer.addresses.length > 0))
    this.#dial(wanted.map((peer) => peer.id))
    this.#runtime.pump.run()
  }

  get peerId(): string {
    return encodePeerId(this.#runtime.endpoint.id)
  }

  get port(): number {
    return this.#udp.port
  }

  get socket(): string {
    return this.#ipc?.path ?? ''
  }

  get stateDirectory(): string {
    return this.#state.path
  }

  #addresses(): Uint8Array[] {
    return nodeAddresses(this.#config, this.#reachable)
  }

  get #reachable(): Reachable {
    return { udpPort: this.#udp.port, tcp: this.#tcp !== undefined, mapped: this.#nat.mapping.external, reflexive: this.#nat.reflexive, reflexiveTcp: this.#nat.reflexiveTcp }
  }

  /** Peers with a session hear where this node may be reached from now on. */
  #tellCandidates(): void {
    if (this.#stopping === undefined) this.#runtime.endpoint.setLocalCandidates(this.#runtime.now(), nodeCandidates(this.#config, this.#reachable))
    this.#runtime.schedule()
  }

  /** Where this node can be reached, or what stands before it, is another than before. */
  #reachableChanged(): void {
    this.#tellCandidates()
    this.#subscriptions.statusChanged()
  }

  // ── stopping ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Delivers what is queued for at most the configured time, says goodbye to peers and clients, and closes. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    const { endpoint } = this.#runtime
    clearTimeout(this.#dialTimer)
    const now = this.#runtime.now()
    const deadline = after(now.mono, Math.max(this.#config.shutdown.drain, 100 * millisecond))
    await this.#takeIn(deadline)
    const drained = new Promise<void>((resolve) => {
      this.#onDrained = resolve
    })
    endpoint.shutdown(this.#runtime.now(), deadline)
    this.#runtime.pump.run()
    await drained
    await this.#close()
  }

  /** A client's messages count as queued when it has written them: those still in its socket, or parked here, go before the channels close. */
  async #takeIn(deadline: Instant): Promise<void> {
    const quietBy = after(this.#runtime.now().mono, QUIET_MAX)
    let before = -1
    for (;;) {
      const { mono } = this.#runtime.now()
      const taken = this.#ipc?.counters()['ipc_messages_in'] ?? 0
      if (mono >= deadline || (this.#router.settled && (taken === before || mono >= quietBy))) return
      before = taken
      await sleep(QUIET_MS)
    }
  }

  async #close(): Promise<void> {
    clearTimeout(this.#dialTimer)
    this.#ble.close()
    await this.#nat.close()
    await this.#ipc?.close()
    this.#subscriptions.close()
    this.#peers.introductions.close()
    await this.#persister.flush().catch(() => undefined)
    await this.#runtime.close()
    await this.#state.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #storeFailed(error: unknown): void {
    const cause = error instanceof PosternError ? error : new PosternError('disk', 'The state cannot be written.', { cause: error })
    this.#log.error('the state cannot be written', { code: cause.code, error: cause.message })
    this.#options.onFatal(cause)
  }

  /** After a start, peers learn of our new session by our own dial, a few at a time. */
  #dial(ids: Uint8Array[]): void {
    const { endpoint } = this.#runtime
    const next = (): void => {
      for (const id of ids.splice(0, DIALS_PER_SECOND / 10)) endpoint.connect(this.#runtime.now(), id, { addresses: [], now: true })
      this.#runtime.schedule()
      if (ids.length > 0) this.#dialTimer = setTimeout(next, 100)
    }
    next()
  }

  // ── the endpoint's output ───────────────────────────────────────────────────────────────────────────────────────────────

  onMessages(batch: MessageBatch): void {
    this.#router.onMessages(batch)
  }

  onReleases(batch: ReleaseBatch): void {
    this.#router.onReleases(batch)
  }

  onNotices(batch: NoticeBatch): void {
    this.#router.onNotices(batch)
  }

  onEvent(event: EndpointEvent): void {
    if (this.#barriers > 0 && event.kind !== 'persist' && event.kind !== 'drained') {
      this.#held.push(event)
      return
    }
    this.#handle(event)
  }

  #handle(event: EndpointEvent): void {
    if (isRadioEvent(event)) return this.#ble.onEvent(event)
    switch (event.kind) {
      case 'persist':
        this.#persist(event)
        return
      case 'peer':
        this.#log.info('peer', { id: this.#idOf(event.peer), state: event.state, ...(event.reason === undefined ? {} : { reason: event.reason }) })
        this.#peers.onEvent(event)
        this.#subscriptions.onEvent(event)
        if (event.state !== 'unreachable') return
        this.#nat.lookOnce()
        this.#ble.search()
        return
      case 'peer-joined':
        this.#log.info('a peer joined by an invite', { id: this.#idOf(event.peer) })
        this.#subscriptions.onEvent(event)
        return
      case 'path':
        this.#log.info('path', { id: this.#idOf(event.peer), to: event.to === undefined ? 'none' : formatAddress(event.to), rule: event.rule })
        this.#subscriptions.onEvent(event)
        return
      case 'path-mtu':
        this.#log[event.cause === 'found' ? 'debug' : 'warn']('path MTU', { id: this.#idOf(event.peer), on: formatAddress(event.address), from: event.from, to: event.to, cause: event.cause })
        return
      case 'punch-flood':
        this.#log.warn('a peer floods us with PUNCH, which is ignored', { id: this.#idOf(event.peer) })
        return
      case 'observed-address':
        this.#log.debug('a peer sees us', { id: this.#idOf(event.peer), as: formatAddress(event.address) })
        return
      case 'reflexive-address':
        this.#log.info('reflexive address', { family: event.family, address: event.address === undefined ? 'none' : formatAddress(event.address), server: event.server })
        this.#nat.reflexiveChanged()
        this.#reachableChanged()
        return
      case 'nat-mapping':
        this.#log.info('how the NAT gives out ports', { mapping: event.mapping })
        this.#reachableChanged()
        return
      case 'pong':
        this.#peers.onEvent(event)
        return
      case 'channel-incoming':
      case 'channel-closed':
        if (!this.#peers.introductions.onChannel(event)) this.#router.onEvent(event)
        return
      case 'channel-open':
      case 'writable':
        this.#router.onEvent(event)
        return
      case 'drained':
        this.#onDrained?.()
    }
  }

  #persist(event: Extract<EndpointEvent, { readonly kind: 'persist' }>): void {
    this.#ble.presenceChanged()
    const written = this.#persister.add(event)
    if (written === undefined) return
    this.#barriers++
    // A disk that refuses is told of by `#storeFailed`; what waited goes on, since the process is about to end.
    written.catch(() => undefined).finally(() => {
      this.#barriers--
      if (this.#barriers > 0) return
      for (const held of this.#held.splice(0)) this.onEvent(held)
      this.#runtime.schedule()
    })
  }

  #idOf(peer: Parameters<Endpoint['peerStats']>[0]): string {
    return this.#runtime.endpoint.peerId(peer) ?? ''
  }

  flush(): void {
    this.#ipc?.flush()
  }

  onDialFailed(cause: PosternError): void {
    this.#log.debug('a dial led nowhere', { code: cause.code, error: cause.message })
  }

  onLink(kind: LinkKind, state: LinkState, cause: PosternError | undefined): void {
    if (kind !== 'udp') {
      if (state === 'failed' || state === 'closed') this.#log.debug('a connection ended', { kind, state, error: cause?.message ?? '' })
      return
    }
    if (state !== 'failed' || this.#stopping !== undefined) return
    this.#udpKeeper.failed(cause)
  }

  // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  authenticate(key: string | undefined): Grant | undefined {
    return key === undefined ? { key: undefined, scopes: this.#config.ipc.uidScopes } : this.#apiKeys.grantOf(key)
  }

  onClientOpen(client: IpcClient, _hello: HelloRequest): IpcGreeting {
    if (this.#stopping !== undefined) throw new PosternError('shutting_down', 'The daemon is shutting down.')
    this.#router.clientOpened(client)
    this.#log.debug('client connected', { client: client.name, number: client.id })
    return this.#greeting()
  }

  onClientLost(client: IpcClient): void {
    this.#subscriptions.drop(client)
    this.#router.clientLost(client)
    this.#log.debug('client lost its connection', { client: client.name, number: client.id })
  }

  onClientResumed(client: IpcClient): IpcGreeting {
    this.#log.debug('client came back', { client: client.name, number: client.id })
    return this.#greeting()
  }

  #greeting(): IpcGreeting {
    return { peerId: this.peerId, daemon: version, instance: this.#instance }
  }

  onClientClosed(client: IpcClient, end: ClientEnd): void {
    this.#subscriptions.drop(client)
    this.#router.clientClosed(client, end)
    this.#log.debug('client gone', { client: client.name, number: client.id, code: end.code })
  }

  onMessage(client: IpcClient, message: IncomingMessage): boolean {
    return this.#router.onMessage(client, message)
  }

  onRun(client: IpcClient, _channel: number, context: number, run: MessageRun): number {
    return this.#router.onRun(client, context, run)
  }

  onCredit(_client: IpcClient, _channel: number, context: number, cost: number): void {
    this.#router.onCredit(context, cost)
  }

  onChannelBroken(_client: IpcClient, _channel: number, context: number): void {
    this.#router.onBroken(context)
  }

  onWritable(client: IpcClient): void {
    this.#router.onWritable(client)
  }

  onFault(error: unknown, during: string): void {
    this.#log.error('a mistake of ours', { during, error: error instanceof Error ? error.stack ?? error.message : String(error) })
  }

  /** Answered first: the stop begins when the answer had its turn. */
  #shutdown(): ShutdownResult {
    setImmediate(() => this.#options.onShutdown())
    return { pid: process.pid }
  }

  #status(): StatusResult {
    return statusOf({
      runtime: this.#runtime, startedAt: this.#startedAt, addresses: this.#addresses(), nat: this.#nat, ble: this.#ble, native: this.#native, udp: this.#udp,
      more: { ...this.#peers.introductions.stats(), ...this.#ipc?.counters() },
    })
  }
}
