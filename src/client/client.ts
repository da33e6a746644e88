/**
 * Postern for programs: connect to the daemon on this machine, and through it to programs on others. This is what
 * `import … from 'postern/client'` gives.
 */
import { PosternError } from '../core/base/errors.ts'
import { DELIVERY_CREDIT_DEFAULT } from '../core/wire/ipc/ipc.ts'
import { toBase64 } from '../core/wire/ipc/ipc-base64.ts'
import type { JsonObject } from '../core/wire/ipc/ipc-json.ts'
import type {
  HelloParams, HelloResult, InviteCreateResult, InviteInfo, IpcLane, IpcMethod, IpcMode, IpcOverflow, IpcParams, IpcPeerState,
  PeerConnectResult, PeerInfo, PeerPingResult, ShutdownResult, StatusResult,
} from '../core/wire/ipc/ipc-methods.ts'
import type { PowerMode } from '../core/base/power-mode.ts'
import type { BleNearbyResult, BlePowerResult, BleStatusResult, PairStartParams, PairStatusResult } from '../core/wire/ipc/ipc-ble.ts'
import type { NetcheckResult } from '../core/wire/ipc/ipc-nat.ts'
import type { IpcPathPolicy, PeerPolicyResult } from '../core/wire/ipc/ipc-policy.ts'
import type { PeerWhyResult } from '../core/wire/ipc/ipc-why.ts'
import { makeApiKeys, type ApiKeys } from './api-keys.ts'
import { ClientChannel, type Channel } from './channel.ts'
import type { MessageOptions, SendResult } from './channel-sender.ts'
import { daemonPaths } from './find-daemon.ts'
import { LinkKeeper, type ConnectionState } from './keeper.ts'
import type { Incoming, Link } from './link.ts'
import { ClientListener, type Listener, type ListenOptions } from './listener.ts'
import { ClientSubscriptions, type SubscribeOptions, type Subscription } from './subscription.ts'
import { readChannelOpen, readObjects, readTexts } from './results.ts'
import { systemTimers, type ClientTimers } from './timers.ts'

export { PosternError, type ErrorCode } from '../core/base/errors.ts'
export type { ApiKeyInfo, HelloResult, InviteCreateResult, InviteInfo, IpcLane, IpcLaneStats, IpcMode, IpcOverflow, IpcPeerState, KeysCreateResult, PeerConnectResult, PeerInfo, PeerPingResult, ShutdownResult, StatusResult } from '../core/wire/ipc/ipc-methods.ts'
export type { IpcLogLevel, IpcTopic } from '../core/wire/ipc/ipc-subscribe.ts'
export type { PowerMode } from '../core/base/power-mode.ts'
export type { BleDevice, BleLinkInfo, BleNearbyResult, BlePowerResult, BleState, BleStatusResult, PairExchange, PairStatusResult } from '../core/wire/ipc/ipc-ble.ts'
export type { IpcLifetime, IpcNat, IpcOwnNat, IpcReflexive, IpcStunServer, IpcStunStatus, IpcStunTcp, NetcheckFamily, NetcheckInterface, NetcheckResult, NetcheckServer, NetcheckTcp } from '../core/wire/ipc/ipc-nat.ts'
export type { IpcPathKind, IpcPathPolicy, PeerPolicyResult } from '../core/wire/ipc/ipc-policy.ts'
export type { PeerWhyResult, WhyAdvice, WhyAttempt, WhyEvent, WhyNats, WhyPair, WhyPathInfo, WhyPlace } from '../core/wire/ipc/ipc-why.ts'
export type { ApiKeys } from './api-keys.ts'
export type { Channel, ChannelOutcome, CloseOptions } from './channel.ts'
export type { MessageOptions, SendOptions, SendResult } from './channel-sender.ts'
export type { ConnectionState } from './keeper.ts'
export type { AcceptOptions, IncomingChannel, Listener, ListenOptions } from './listener.ts'
export type { SubscribeOptions, Subscription } from './subscription.ts'
export type { AppWantedEvent, ChannelEvent, LogEvent, PathEvent, PeerEvent, TopicEvent } from '../core/wire/ipc/ipc-topics.ts'
export type { Message, MessageHandler, MessageView } from './message.ts'
export type { DropCause, DroppedHandler, MessageFate } from './message-fates.ts'

export interface ConnectOptions {
  /** The instance directory of the daemon, as its `--dir`; by default what POSTERN_DIR or the system says. */
  readonly dir?: string
  /** The socket itself. */
  readonly path?: string
  /** Name of this app: 1 to 64 of a-z 0-9 . _ / - */
  readonly app?: string
  /** Program and version, for the daemon's log: `dice/0.3`. */
  readonly name?: string
  /** An API key: what the program may do is what the key says. Without one it may do what `[ipc] uid_scopes` says. */
  readonly key?: string
  /** Whether a lost connection is made anew (the default). */
  readonly reconnect?: boolean
  /** Told each time the connection is lost, comes back, or is closed for good. */
  readonly onState?: (state: ConnectionState, error: PosternError | undefined) => void
  /** Calls off the first connection attempt; later it has no effect. */
  readonly signal?: AbortSignal
  /** For tests. */
  readonly timers?: ClientTimers
}

export interface WaitOptions {
  readonly signal?: AbortSignal
}

export interface OpenChannelOptions extends WaitOptions {
  readonly app: string
  /** `reliable-ordered` by default. */
  readonly mode?: IpcMode
  readonly lane?: IpcLane
  /** Share among channels of the same lane, 1 … 255. */
  readonly weight?: number
  /** What happens when the daemon's queue is full: `block` (no credit, the default), or which message goes. */
  readonly overflow?: IpcOverflow
  /** For messages that name no `ttlMs`. */
  readonly deadlineMs?: number
  /** At most 256 bytes for the remote app. */
  readonly meta?: Uint8Array
  /** How much may wait here unread, in cost (length + 32 each); 256 KiB by default. */
  readonly credit?: number
}

export interface Invites {
  create(options?: WaitOptions & { readonly uses?: number; readonly expiresS?: number; readonly name?: string }): Promise<InviteCreateResult>
  /** Adds the peer that made the link, and returns its id. */
  join(link: string, options?: WaitOptions): Promise<string>
  /** Where this node is, for the peer whose invite it joined by: text to be carried there and given to {@link accept}. Both then dial for 15 min. */
  reply(peer: string, options?: WaitOptions): Promise<string>
  /** Takes a reply to an invite of this node, adds the peer that made it, and returns its id. */
  accept(reply: string, options?: WaitOptions): Promise<string>
  list(options?: WaitOptions): Promise<readonly InviteInfo[]>
  revoke(id: string, options?: WaitOptions): Promise<void>
}

/**
 * Connects to the daemon. Fails at once when there is none (`not_running`) or it refuses; once connected, a lost connection is made
 * anew by itself.
 */
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  return await Client.connect(options)
}

/**
 * A program's connection to its daemon. Requests made while it is being made anew wait for it; requests that were under way when it
 * was lost fail with `disconnected`, as nobody knows what became of them, and channels end with `disconnected`. Listeners are kept.
 */
export class Client implements AsyncDisposable {
  readonly invites: Invites
  readonly keys: ApiKeys
  readonly #keeper: LinkKeeper
  readonly #listeners = new Map<string, ClientListener>()
  readonly #subscriptions = new ClientSubscriptions(() => this.#keeper.current)
  #hello: HelloResult | undefined

  private constructor(options: ConnectOptions) {
    const { app, name, key } = options
    const hello: HelloParams = { protocol: 1, ...(name === undefined ? {} : { client: name }), ...(app === undefined ? {} : { app }), ...(key === undefined ? {} : { key }) }
    this.#keeper = new LinkKeeper({
      paths: daemonPaths(options), hello, timers: options.timers ?? systemTimers, reconnect: options.reconnect ?? true,
      onIncoming: (link, incoming) => this.#incoming(link, incoming),
      onTopicEvent: (event) => this.#subscriptions.onEvent(event),
      onLink: (link) => this.#linked(link),
      onState: (state, error) => {
        if (state === 'closed') {
          this.#endListeners(error)
          this.#subscriptions.end(error)
        }
        options.onState?.(state, error)
      },
    })
    this.invites = this.#makeInvites()
    this.keys = makeApiKeys((method, params, options, take) => this.#call(method, params, options, take))
  }

  /** As {@link connect}. */
  static async connect(options: ConnectOptions): Promise<Client> {
    const client = new Client(options)
    await client.#keeper.start(options.signal)
    return client
  }

  get state(): ConnectionState {
    return this.#keeper.state
  }

  /** What the daemon said of itself when it was last connected: its peer id, version, limits. */
  get daemon(): HelloResult {
    if (this.#hello === undefined) throw new PosternError('disconnected', 'The client was never connected.')
    return this.#hello
  }

  /** Id of this node. */
  get peerId(): string {
    return this.daemon.peerId
  }

  status(options: WaitOptions = {}): Promise<StatusResult> {
    // Figures are for people to look at: taken as they come.
    return this.#call('status', {}, options, (result) => result as unknown as StatusResult)
  }

  /** The network as it is now: interfaces, UDP, the NATs on the way. The daemon asks servers outside for it, which takes some seconds; with `lifetime` also how long the NAT keeps a mapping, which takes minutes. */
  netcheck(options: WaitOptions & { readonly lifetime?: boolean } = {}): Promise<NetcheckResult> {
    return this.#call('netcheck', options.lifetime === true ? { lifetime: true } : {}, options, (result) => result as unknown as NetcheckResult)
  }

  /** Whether this node has Bluetooth, why not, and what it is doing with it. */
  bleStatus(options: WaitOptions = {}): Promise<BleStatusResult> {
    return this.#call('ble.status', {}, options, (result) => result as unknown as BleStatusResult)
  }

  /** Who is in range of Bluetooth. The daemon looks hard for half a minute from each such question. */
  nearby(options: WaitOptions = {}): Promise<BleNearbyResult> {
    return this.#call('ble.nearby', {}, options, (result) => result as unknown as BleNearbyResult)
  }

  /** How much the radio is used, and what each mode costs; with `mode` it is set until the daemon ends. Needs the scope `admin`. */
  blePower(mode?: PowerMode, options: WaitOptions = {}): Promise<BlePowerResult> {
    return this.#call('ble.power', mode === undefined ? {} : { mode }, options, (result) => result as unknown as BlePowerResult)
  }

  /** Opens a window in which a machine in range may be paired: two people compare eight digits. Needs the scope `admin`. */
  pairStart(options: WaitOptions & PairStartParams = {}): Promise<PairStatusResult> {
    const { timeoutS, ...wait } = options
    return this.#call('pair.start', timeoutS === undefined ? {} : { timeoutS }, wait, (result) => result as unknown as PairStatusResult)
  }

  pairStatus(options: WaitOptions = {}): Promise<PairStatusResult> {
    return this.#call('pair.status', {}, options, (result) => result as unknown as PairStatusResult)
  }

  /** With `same` from both sides the peer is in the roster. */
  async pairAnswer(id: string, same: boolean, options: WaitOptions = {}): Promise<void> {
    await this.#call('pair.answer', { id, same }, options, ignore)
  }

  async pairStop(options: WaitOptions = {}): Promise<void> {
    await this.#call('pair.stop', {}, options, ignore)
  }

  /** All peers the daemon knows, or those in one state; with `lanes`, their messages by lane. */
  async peers(options: WaitOptions & { readonly state?: IpcPeerState; readonly lanes?: boolean } = {}): Promise<readonly PeerInfo[]> {
    const { state, lanes } = options
    const peers: PeerInfo[] = []
    let after: string | undefined
    do {
      const params = { ...(state === undefined ? {} : { state }), ...(after === undefined ? {} : { after }), ...(lanes === undefined ? {} : { lanes }) }
      const page = await this.#call('peers', params, options, (result) => ({
        peers: readObjects('answer to peers', result, 'peers') as unknown as readonly PeerInfo[],
        next: typeof result['next'] === 'string' ? result['next'] : undefined,
      }))
      peers.push(...page.peers)
      // Pages are in order of id: one that does not go on would never end.
      after = page.next !== after ? page.next : undefined
    } while (after !== undefined)
    return peers
  }

  async addPeer(id: string, options: WaitOptions & { readonly name?: string; readonly candidates?: readonly string[] } = {}): Promise<void> {
    const { name, candidates } = options
    await this.#call('peer.add', { id, ...(name === undefined ? {} : { name }), ...(candidates === undefined ? {} : { candidates }) }, options, ignore)
  }

  async removePeer(id: string, options: WaitOptions = {}): Promise<void> {
    await this.#call('peer.remove', { id }, options, ignore)
  }

  /** Where the traffic with this peer goes, why, what else was tried with which answer, and what would help. */
  why(id: string, options: WaitOptions = {}): Promise<PeerWhyResult> {
    return this.#call('peer.why', { id }, options, (result) => result as unknown as PeerWhyResult)
  }

  /** Which kinds of path may lead to this peer, and whose word that is. */
  peerPolicy(id: string, options: WaitOptions = {}): Promise<PeerPolicyResult> {
    return this.#call('peer.policy', { id }, options, (result) => result as unknown as PeerPolicyResult)
  }

  /** Sets it, at once and for good; `policy` is all of it. `'default'`: as the configuration says. Fails with `params` where it contradicts itself, with `policy` where no way would be left. */
  setPeerPolicy(id: string, policy: Partial<IpcPathPolicy> | 'default', options: WaitOptions = {}): Promise<PeerPolicyResult> {
    // An empty policy is one too: nothing is preferred or forbidden, whatever the configuration says.
    const params = policy === 'default' ? { id, default: true } : { id, never: [], ...policy }
    return this.#call('peer.policy', params, options, (result) => result as unknown as PeerPolicyResult)
  }

  /** Resolves when the peer is connected; fails with `unreachable` or `timeout` (10 s unless `timeoutMs` says otherwise). */
  connectPeer(id: string, options: WaitOptions & { readonly timeoutMs?: number } = {}): Promise<PeerConnectResult> {
    const { timeoutMs } = options
    return this.#call('peer.connect', { id, ...(timeoutMs === undefined ? {} : { timeoutMs }) }, options, (result) => result as unknown as PeerConnectResult)
  }

  async disconnectPeer(id: string, options: WaitOptions = {}): Promise<void> {
    await this.#call('peer.disconnect', { id }, options, ignore)
  }

  /** Round trips to the peer's daemon, by the path in use. */
  ping(id: string, options: WaitOptions = {}): Promise<PeerPingResult> {
    return this.#call('peer.ping', { id }, options, (result) => result as unknown as PeerPingResult)
  }

  /** Offers an app to other peers. Fails with `app_taken` when another program does so already. */
  async listen(app: string, options: ListenOptions = {}): Promise<Listener> {
    const { from = 'roster', credit = DELIVERY_CREDIT_DEFAULT, signal } = options
    if (this.#listeners.has(app)) throw new PosternError('app_taken', `This client listens as ${app} already.`)
    const listener = new ClientListener(app, from, credit, (which) => this.#unlisten(which))
    // Known before the answer: the first channel may come in the same breath.
    this.#listeners.set(app, listener)
    try {
      const link = await this.#keeper.link(signal)
      await link.call('listen', { app, from, credit }, { signal, take: ignore, undo: () => this.#abandonListen(link, app) })
      listener.active = true
      return listener
    } catch (error) {
      if (this.#listeners.get(app) === listener) this.#listeners.delete(app)
      throw error
    }
  }

  /**
   * Opens a channel to an app of a peer. Fails with `unknown_peer`, `unreachable`, `no_app`, `refused`, `timeout`, `limit`.
   */
  async openChannel(peer: string, options: OpenChannelOptions): Promise<Channel> {
    const { app, mode = 'reliable-ordered', lane = 'normal', weight, overflow, deadlineMs, meta = new Uint8Array(0), credit = DELIVERY_CREDIT_DEFAULT, signal } = options
    const link = await this.#keeper.link(signal)
    const params = {
      peer, app, mode, lane, credit, meta: toBase64(meta),
      ...(weight === undefined ? {} : { weight }), ...(overflow === undefined ? {} : { overflow }), ...(deadlineMs === undefined ? {} : { deadlineMs }),
    }
    return await link.call('channel.open', params, {
      signal,
      take: (result): Channel => {
        const { channel: number, sendCredit, maxMessage } = readChannelOpen(result)
        const channel = link.addChannel({ number, peer, app, mode, lane, meta, window: credit })
        channel.start(sendCredit, maxMessage)
        return channel
      },
      undo: (result) => link.abandonChannel(readChannelOpen(result).channel),
    })
  }

  /**
   * What happens, as it happens: peers, paths, channels, figures, wishes for apps, the log. Topics that have a state begin with it. Fails with `scope`
   * where the client may not know.
   */
  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    const { signal, ...params } = options
    // Known before the answer: the first event may come in the same breath.
    const subscription = this.#subscriptions.add(params)
    try {
      const link = await this.#keeper.link(signal)
      await link.call('subscribe', params, { signal, take: ignore, undo: () => this.#subscriptions.unsubscribe(params.topics) })
      subscription.active = true
      return subscription
    } catch (error) {
      this.#subscriptions.remove(subscription)
      throw error
    }
  }

  /**
   * Queues one message on many channels as {@link Channel.trySend} does on one; result i is of channel i. The bytes go to the daemon once. Throws, with
   * nothing sent, for what one of the channels never takes.
   */
  sendMany(channels: readonly Channel[], bytes: Uint8Array, options: MessageOptions = {}): readonly SendResult[] {
    // Channels are made by this library only; what else has the shape of one sends by itself.
    for (const channel of channels) if (channel instanceof ClientChannel) channel.check(bytes, options)
    let results: readonly SendResult[] = []
    const send = (): void => {
      results = channels.map((channel) => channel.trySend(bytes, options))
    }
    const link = this.#keeper.current
    if (link === undefined) send()
    else link.sendMany(bytes, send)
    return results
  }

  /** Asks the daemon to end. It says goodbye first and is gone a little later: `pid` is its process. */
  shutdown(options: WaitOptions = {}): Promise<ShutdownResult> {
    return this.#call('shutdown', {}, options, (result) => (typeof result['pid'] === 'number' ? { pid: result['pid'] } : {}))
  }

  /** Writes what was sent in this turn now, instead of at its end. */
  flush(): void {
    this.#keeper.current?.flush()
  }

  /** For good: channels end with `disconnected`, listeners end. What was queued is written first. */
  async close(): Promise<void> {
    await this.#keeper.close(new PosternError('closed', 'The client was closed.'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #call<M extends IpcMethod, T>(method: M, params: IpcParams<M>, options: WaitOptions, take: (result: JsonObject) => T): Promise<T> {
    const link = await this.#keeper.link(options.signal)
    return await link.call(method, params, { signal: options.signal, take })
  }

  #makeInvites(): Invites {
    return {
      create: (options = {}) => {
        const { uses, expiresS, name } = options
        const params = { ...(uses === undefined ? {} : { uses }), ...(expiresS === undefined ? {} : { expiresS }), ...(name === undefined ? {} : { name }) }
        return this.#call('invite.create', params, options, (result) => readTexts('answer to invite.create', result, 'link', 'id'))
      },
      join: (link, options = {}) => this.#call('invite.join', { link }, options, (result) => readTexts('answer to invite.join', result, 'peer').peer),
      reply: (id, options = {}) => this.#call('invite.reply', { id }, options, (result) => readTexts('answer to invite.reply', result, 'reply').reply),
      accept: (reply, options = {}) => this.#call('invite.accept', { reply }, options, (result) => readTexts('answer to invite.accept', result, 'peer').peer),
      list: (options = {}) =>
        this.#call('invite.list', {}, options, (result) => readObjects('answer to invite.list', result, 'invites') as unknown as readonly InviteInfo[]),
      revoke: (id, options = {}) => this.#call('invite.revoke', { id }, options, ignore),
    }
  }

  #linked(link: Link): void {
    this.#hello = link.hello
    this.#subscriptions.linked()
    for (const listener of this.#listeners.values()) {
      const { app, from, credit, active } = listener
      if (!active) continue // Its own listen() waits for this connection and asks itself.
      link.call('listen', { app, from, credit }, { take: ignore }).catch((error: unknown) => this.#relistenFailed(listener, error as PosternError))
    }
  }

  /** Somebody else took the name while we were away. A connection lost once more is not the listener's end. */
  #relistenFailed(listener: ClientListener, error: PosternError): void {
    if (error.code !== 'app_taken' && error.code !== 'scope' && error.code !== 'params') return
    if (this.#listeners.get(listener.app) === listener) this.#listeners.delete(listener.app)
    listener.end(error)
  }

  #incoming(link: Link, incoming: Incoming): void {
    const listener = this.#listeners.get(incoming.app)
    if (listener === undefined) link.abandonOffer(incoming.channel)
    else listener.offer(link, incoming)
  }

  async #unlisten(listener: ClientListener): Promise<void> {
    if (this.#listeners.get(listener.app) !== listener) return
    this.#listeners.delete(listener.app)
    try {
      await this.#keeper.current?.call('unlisten', { app: listener.app }, { take: ignore })
    } catch {
      // The connection was lost: the daemon has forgotten the listener with it.
    }
  }

  #abandonListen(link: Link, app: string): void {
    link.call('unlisten', { app }, { take: ignore }).catch(() => {
      // The connection is gone, and the listener with it.
    })
  }

  #endListeners(error: PosternError | undefined): void {
    for (const listener of this.#listeners.values()) listener.end(error)
    this.#listeners.clear()
  }
}

function ignore(): void {
  // Nothing in this result is of use.
}
