import { formatAddress } from '../../core/base/address.ts'
import { equalBytes } from '../../core/base/bytes.ts'
import { millisecond } from '../../core/base/time.ts'
import type { ChannelHandle, EndpointEvent, PeerHandle } from '../../core/endpoint/contract.ts'
import type { StatusResult } from '../../core/wire/ipc/ipc-methods.ts'
import type { IpcTopic, SubscribeRequest, UnsubscribeRequest } from '../../core/wire/ipc/ipc-subscribe.ts'
import type { Nothing } from '../../core/wire/ipc/ipc-json.ts'
import type { ChannelEvent, PathEvent, PeerEvent } from '../../core/wire/ipc/ipc-topics.ts'
import { decodePeerId } from '../../core/wire/peer-id.ts'
import type { IpcClient } from '../../ipc/handler.ts'
import { mayHearOf } from '../../ipc/scopes.ts'
import type { BleWatch } from '../ble/ble-watch.ts'
import type { LogTap } from '../log/log-tap.ts'
import type { NodeRuntime } from '../node-runtime.ts'
import { pathOf, peerInfo } from '../peer-service.ts'
import type { ChannelInfo } from '../routes.ts'
import { Subscriber, type PathChange, type SubscriberSource } from './subscriber.ts'

export interface SubscriptionsOptions {
  readonly log: LogTap
  readonly ble: BleWatch
  readonly status: () => StatusResult
  /** The channels there are, and one of them. */
  readonly channels: () => readonly ChannelHandle[]
  readonly channel: (handle: ChannelHandle) => ChannelInfo | undefined
}

interface Subscription {
  readonly subscriber: Subscriber
  statusTimer: NodeJS.Timeout | undefined
  stopLog: (() => void) | undefined
}

/** Who is told what: at most one subscriber for each client, with the topics it asked for and may hear of. */
export class Subscriptions {
  readonly #runtime: NodeRuntime
  readonly #options: SubscriptionsOptions
  readonly #subscriptions = new Map<IpcClient, Subscription>()

  constructor(runtime: NodeRuntime, options: SubscriptionsOptions) {
    this.#runtime = runtime
    this.#options = options
  }

  subscribe(client: IpcClient, request: SubscribeRequest): Nothing {
    const subscription = this.#subscriptions.get(client) ?? { subscriber: new Subscriber(this.#sourceFor(client)), statusTimer: undefined, stopLog: undefined }
    this.#subscriptions.set(client, subscription)
    const { subscriber } = subscription
    for (const topic of request.topics) {
      this.#stop(subscription, topic)
      subscriber.add(topic)
      if (topic === 'status') subscription.statusTimer = setInterval(() => {
        subscriber.statusTick()
        client.feedReady()
      }, request.intervalMs)
      if (topic === 'log') this.#followLog(client, subscription, request)
    }
    client.setFeed(subscriber)
    this.#watchBle()
    return {}
  }

  unsubscribe(client: IpcClient, request: UnsubscribeRequest): Nothing {
    const subscription = this.#subscriptions.get(client)
    if (subscription === undefined) return {}
    for (const topic of request.topics) {
      this.#stop(subscription, topic)
      subscription.subscriber.remove(topic)
    }
    if (subscription.subscriber.topics.length === 0) this.drop(client)
    this.#watchBle()
    return {}
  }

  /** The client's connection is gone: whoever comes back subscribes anew. */
  drop(client: IpcClient): void {
    const subscription = this.#subscriptions.get(client)
    if (subscription === undefined) return
    this.#subscriptions.delete(client)
    this.#stop(subscription, 'status')
    this.#stop(subscription, 'log')
    client.setFeed(undefined)
    this.#watchBle()
  }

  #watchBle(): void {
    this.#options.ble.watch([...this.#subscriptions.values()].some(({ subscriber }) => subscriber.has('ble')))
  }

  close(): void {
    for (const client of [...this.#subscriptions.keys()]) this.drop(client)
  }

  // ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────────────

  onEvent(event: Extract<EndpointEvent, { readonly kind: 'peer' | 'peer-joined' | 'path' }>): void {
    if (this.#subscriptions.size === 0) return
    const id = this.#runtime.endpoint.peerId(event.peer)
    if (id === undefined) return
    if (event.kind !== 'path') {
      this.peerChanged(id, event.kind === 'peer' ? event.reason : undefined)
      return
    }
    const change: PathChange = { from: this.#fromOf(event), rule: event.rule }
    this.#tell('path', undefined, (subscriber) => subscriber.pathChanged(id, change))
  }

  /** Also one that came into the roster, left it, or has another name. */
  peerChanged(id: string, reason?: string): void {
    this.#tell('peer', undefined, (subscriber) => subscriber.peerChanged(id, reason))
  }

  /** Who asked for the topic need not wait for the next interval: how this node can be reached is another. */
  statusChanged(): void {
    this.#tell('status', undefined, (subscriber) => subscriber.statusTick())
  }

  bleChanged(key: string): void {
    this.#tell('ble', undefined, (subscriber) => subscriber.bleChanged(key))
  }

  channelChanged(channel: ChannelHandle, info: ChannelInfo): void {
    this.#tell('channel', info.app, (subscriber, client) => subscriber.channelChanged(channel, { ...info, handle: client.peerHandle(info.peer) }))
  }

  appWanted(app: string, peer: string): void {
    this.#tell('app', app, (subscriber, client) => subscriber.appWanted({ app, peer, handle: client.peerHandle(peer), count: 1 }))
  }

  /** Those who asked for the topic, and, where it is about an app, may hear of that one. */
  #tell(topic: IpcTopic, app: string | undefined, change: (subscriber: Subscriber, client: IpcClient) => void): void {
    for (const [client, { subscriber }] of this.#subscriptions) {
      if (!subscriber.has(topic) || (app !== undefined && !mayHearOf(client.scopes, app))) continue
      change(subscriber, client)
      client.feedReady()
    }
  }

  /** The event names the kind of the path that traffic moved to; where it was is in what was noted of the decision. */
  #fromOf(event: Extract<EndpointEvent, { readonly kind: 'path' }>): string | undefined {
    const { from } = event
    if (from === undefined) return undefined
    const decisions = this.#runtime.endpoint.peerWhy(this.#runtime.now(), event.peer)?.decisions ?? []
    const view = decisions.findLast((decision) => decision.kind === 'path' && decision.from !== undefined && equalBytes(decision.from.address, from))
    const kind = view?.kind === 'path' ? view.from?.kind : undefined
    return `${kind ?? event.link} ${formatAddress(from)}`
  }

  #followLog(client: IpcClient, subscription: Subscription, { level, lines }: SubscribeRequest): void {
    const { subscriber } = subscription
    const { log } = this.#options
    for (const line of lines === 0 ? [] : log.latest(level, lines)) subscriber.line(line)
    subscription.stopLog = log.tap(level, (line) => {
      subscriber.line(line)
      client.feedReady()
    })
  }

  #stop(subscription: Subscription, topic: IpcTopic): void {
    if (topic === 'status') clearInterval(subscription.statusTimer)
    if (topic !== 'log') return
    subscription.stopLog?.()
    subscription.stopLog = undefined
  }

  // ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #sourceFor(client: IpcClient): SubscriberSource {
    const { ble, status, channels, channel } = this.#options
    return {
      bleThings: () => ble.keys(),
      bleThing: (key) => ble.describe(key),
      peers: () => this.#peerIds(),
      peer: (id, change): PeerEvent => {
        const stats = this.#stats(id)
        // One that was taken out while its session ends is still there for a moment.
        if (stats === undefined || (!stats.inRoster && stats.state === 'offline')) return { id, handle: client.peerHandle(id), state: 'removed' }
        return { ...peerInfo(client, id, stats), ...(change?.reason === undefined ? {} : { reason: change.reason }) }
      },
      path: (id, change) => this.#path(client, id, change),
      channels,
      channel: (handle, change): ChannelEvent | undefined => {
        const now = change ?? channel(handle)
        return now === undefined || !mayHearOf(client.scopes, now.app) ? undefined : { ...now, handle: client.peerHandle(now.peer) }
      },
      status,
    }
  }

  #peerIds(): readonly string[] {
    const { endpoint } = this.#runtime
    return endpoint.peers().flatMap((handle) => endpoint.peerId(handle) ?? [])
  }

  #stats(id: string): ReturnType<NodeRuntime['endpoint']['peerStats']> {
    const bytes = decodePeerId(id)
    const peer: PeerHandle | undefined = bytes === undefined ? undefined : this.#runtime.endpoint.findPeer(bytes)
    return peer === undefined ? undefined : this.#runtime.endpoint.peerStats(peer)
  }

  #path(client: IpcClient, id: string, change: PathChange | undefined): PathEvent | undefined {
    const stats = this.#stats(id)
    const to = pathOf(stats)
    // Who has no path has no line in a list of paths; that one was lost is news.
    if (change === undefined && to === undefined) return undefined
    const rtt = stats?.paths.find((path) => path.active)?.rtt
    return {
      id, handle: client.peerHandle(id), ...(change?.from === undefined ? {} : { from: change.from }), ...(to === undefined ? {} : { to }),
      ...(rtt === undefined ? {} : { rttMs: rtt / millisecond }), ...(change === undefined ? {} : { rule: change.rule }),
    }
  }
}
