import { PosternError } from '../core/base/errors.ts'
import { BoundedQueue } from '../core/base/queue.ts'
import type { IpcTopic, SubscribeParams } from '../core/wire/ipc/ipc-subscribe.ts'
import type { TopicEvent } from '../core/wire/ipc/ipc-topics.ts'
import type { Link } from './link.ts'
import { firstOf, rejectAll, waitIn, type Waiter } from './waiting.ts'

export interface SubscribeOptions extends SubscribeParams {
  readonly signal?: AbortSignal
}

/**
 * `for await (const { name, params } of subscription)` hands out what happens. It goes on over reconnects: the topics that have a state are then
 * told from the beginning, up to `event.synced`. Whoever is too slow gets `event.lost` with a count, and then the newest state. It ends with
 * {@link close}, and throws when the client is closed or may not subscribe any more.
 */
export interface Subscription extends AsyncIterable<TopicEvent, undefined, undefined>, AsyncDisposable {
  readonly topics: readonly IpcTopic[]
  close(): Promise<void>
}

/** Events that wait for the program. One more: they are dropped, the daemon is asked for no more, and once the program reads again for the state anew. */
const EVENTS_MAX = 1024

export interface SubscriptionPort {
  /** Subscribes by the connection there is; without one nothing happens, as the next one does it. */
  subscribe(subscription: ClientSubscription): void
  unsubscribe(topics: readonly IpcTopic[]): void
  forget(subscription: ClientSubscription): Promise<void>
}

export class ClientSubscription implements Subscription {
  readonly params: SubscribeParams
  /** The daemon has agreed once: after a reconnect it is asked again. */
  active = false
  readonly #port: SubscriptionPort
  readonly #events = new BoundedQueue<TopicEvent>(EVENTS_MAX)
  readonly #waiting = new Set<Waiter<TopicEvent | undefined>>()
  /** Events dropped because the program was too slow, by topic. Until they were told, no more are wanted. */
  #lost: Map<IpcTopic, number> | undefined
  #end: { readonly error: PosternError | undefined } | undefined

  constructor(params: SubscribeParams, port: SubscriptionPort) {
    this.params = params
    this.#port = port
  }

  get topics(): readonly IpcTopic[] {
    return this.params.topics
  }

  /** What to ask for now; `undefined` while the program does not keep up. Lines of the log from before are asked for once. */
  get wanted(): SubscribeParams | undefined {
    if (this.#lost !== undefined || this.#end !== undefined) return undefined
    const { topics, intervalMs, level, lines } = this.params
    return {
      topics, ...(intervalMs === undefined ? {} : { intervalMs }), ...(level === undefined ? {} : { level }), ...(lines === undefined || this.active ? {} : { lines }),
    }
  }

  push(event: TopicEvent): void {
    if (this.#end !== undefined) return
    const waiter = firstOf(this.#waiting)
    if (this.#lost !== undefined) this.#count(this.#lost, event)
    else if (waiter !== undefined) waiter.resolve(event)
    else if (!this.#events.push(event)) this.#overflow(event)
  }

  async next(): Promise<TopicEvent | undefined> {
    const event = this.#events.shift() ?? this.#nextLost()
    if (event !== undefined) return event
    if (this.#end === undefined) return await waitIn<TopicEvent | undefined, Waiter<TopicEvent | undefined>>(this.#waiting, undefined, (waiter) => waiter)
    if (this.#end.error !== undefined) throw this.#end.error
    return undefined
  }

  async close(): Promise<void> {
    this.end(undefined)
    this.#events.clear()
    await this.#port.forget(this)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TopicEvent, undefined, undefined> {
    for (;;) {
      const event = await this.next()
      if (event === undefined) return undefined
      yield event
    }
  }

  /** No more events. */
  end(error: PosternError | undefined): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    if (error !== undefined) rejectAll(this.#waiting, error)
    for (const waiter of [...this.#waiting]) waiter.resolve(undefined)
  }

  #overflow(event: TopicEvent): void {
    this.#lost = new Map()
    this.#count(this.#lost, event)
    this.#port.unsubscribe(this.topics)
  }

  #count(lost: Map<IpcTopic, number>, event: TopicEvent): void {
    if (event.name === 'event.synced') return
    const topic = topicOf(event)
    lost.set(topic, (lost.get(topic) ?? 0) + (event.name === 'event.lost' ? event.params.count : 1))
  }

  /** The program has read everything: it is told what is missing, and the daemon is asked to begin anew. */
  #nextLost(): TopicEvent | undefined {
    if (this.#lost === undefined || this.#end !== undefined) return undefined
    for (const [topic, count] of this.#lost) {
      this.#lost.delete(topic)
      return { name: 'event.lost', params: { topic, count } }
    }
    this.#lost = undefined
    this.#port.subscribe(this)
    return undefined
  }
}

const topics: { readonly [N in TopicEvent['name']]?: IpcTopic } = {
  'event.peer': 'peer', 'event.path': 'path', 'event.status': 'status', 'event.channel': 'channel', 'event.app.wanted': 'app', 'event.log': 'log',
  'event.ble.adapter': 'ble', 'event.ble.device': 'ble', 'event.ble.link': 'ble', 'event.ble.pairing': 'ble',
}

/** What an event is about. */
export function topicOf(event: TopicEvent): IpcTopic {
  return event.name === 'event.lost' || event.name === 'event.synced' ? event.params.topic : topics[event.name]!
}

/** The subscriptions of one client: at most one for a topic. */
export class ClientSubscriptions implements SubscriptionPort {
  readonly #all = new Set<ClientSubscription>()
  readonly #link: () => Link | undefined

  constructor(link: () => Link | undefined) {
    this.#link = link
  }

  add(params: SubscribeParams): ClientSubscription {
    const taken = params.topics.find((topic) => this.#of(topic) !== undefined)
    if (taken !== undefined) {
      throw new PosternError('params', `This client is subscribed to ${taken} already.`, { hint: 'Close that subscription first, or name all topics in one.' })
    }
    const subscription = new ClientSubscription(params, this)
    this.#all.add(subscription)
    return subscription
  }

  remove(subscription: ClientSubscription): void {
    this.#all.delete(subscription)
  }

  onEvent(event: TopicEvent): void {
    this.#of(topicOf(event))?.push(event)
  }

  /** A connection is there, for the first time or again. */
  linked(): void {
    for (const subscription of this.#all) if (subscription.active) this.subscribe(subscription)
  }

  subscribe(subscription: ClientSubscription): void {
    const { wanted } = subscription
    if (wanted === undefined) return
    this.#link()?.call('subscribe', wanted, { take: () => undefined }).catch((error: unknown) => {
      const { code } = error as PosternError
      // A connection lost once more is not its end: the next one asks again.
      if (code !== 'scope' && code !== 'params' && code !== 'method') return
      this.remove(subscription)
      subscription.end(error as PosternError)
    })
  }

  unsubscribe(names: readonly IpcTopic[]): void {
    this.#link()?.call('unsubscribe', { topics: names }, { take: () => undefined }).catch(gone)
  }

  async forget(subscription: ClientSubscription): Promise<void> {
    if (!this.#all.delete(subscription)) return
    await this.#link()?.call('unsubscribe', { topics: subscription.topics }, { take: () => undefined }).catch(gone)
  }

  end(error: PosternError | undefined): void {
    for (const subscription of this.#all) subscription.end(error)
    this.#all.clear()
  }

  #of(topic: IpcTopic): ClientSubscription | undefined {
    for (const subscription of this.#all) if (subscription.topics.includes(topic)) return subscription
    return undefined
  }
}

function gone(): void {
  // The connection was lost, and the subscription with it.
}
