import type { ChannelHandle } from '../../core/endpoint/contract.ts'
import type { StatusResult } from '../../core/wire/ipc/ipc-methods.ts'
import type { IpcTopic } from '../../core/wire/ipc/ipc-subscribe.ts'
import type { AppWantedEvent, ChannelEvent, LogEvent, PathEvent, PeerEvent, TopicEvent } from '../../core/wire/ipc/ipc-topics.ts'
import type { BleEvent } from '../ble/ble-watch.ts'
import type { EventFeed } from '../../ipc/handler.ts'
import { TopicQueue, type TopicStep } from './topic-queue.ts'

/** Changes of one topic that wait for one client; beyond it, the state of everything is told anew. */
const CHANGES_MAX = 1024
/** Wishes for apps, and lines of the log, that wait for one client; beyond it the oldest go. */
const WISHES_MAX = 256
const LINES_MAX = 256

/** What the daemon can say of its state, when there is room to say it. `undefined`: the client may not hear of it, or there is nothing. */
export interface SubscriberSource {
  peers(): readonly string[]
  peer(id: string, change: PeerChange | undefined): PeerEvent | undefined
  path(id: string, change: PathChange | undefined): PathEvent | undefined
  channels(): readonly ChannelHandle[]
  channel(handle: ChannelHandle, change: ChannelEvent | undefined): ChannelEvent | undefined
  status(): StatusResult
  bleThings(): readonly string[]
  /** As it is now, or that it is gone. */
  bleThing(key: string): BleEvent
}

export interface PeerChange {
  readonly reason: string | undefined
}

export interface PathChange {
  readonly from: string | undefined
  readonly rule: string
}

type Step = TopicEvent | 'nothing to say' | undefined

/** What waits for one client, topic by topic, each within its bound; a flood in one topic does not hold up the others. */
export class Subscriber implements EventFeed {
  readonly #source: SubscriberSource
  readonly #topics = new Map<IpcTopic, () => Step>()
  readonly #peers: TopicQueue<string, PeerChange>
  readonly #paths: TopicQueue<string, PathChange>
  readonly #channels: TopicQueue<ChannelHandle, ChannelEvent>
  readonly #ble: TopicQueue<string, true>
  readonly #wishes = new TopicQueue<string, AppWantedEvent>({ capacity: WISHES_MAX, merge: (before, now) => ({ ...now, count: before.count + now.count }) })
  readonly #lines = new TopicQueue<number, LogEvent>({ capacity: LINES_MAX, merge: (_before, now) => now })
  #lineCount = 0
  #history = false
  #statusDue = false
  #statusLost = 0
  /** The topic to begin with next. */
  #turn = 0

  constructor(source: SubscriberSource) {
    this.#source = source
    // Of two moves that were not told, the path before the first one is where the client thinks the peer is.
    this.#paths = new TopicQueue({ capacity: CHANGES_MAX, merge: (before, now) => ({ ...now, from: before.from }), keys: () => source.peers() })
    this.#peers = new TopicQueue({ capacity: CHANGES_MAX, merge: (_before, now) => now, keys: () => source.peers() })
    this.#ble = new TopicQueue({ capacity: CHANGES_MAX, merge: () => true, keys: () => source.bleThings() })
    this.#channels = new TopicQueue({ capacity: CHANGES_MAX, merge: (_before, now) => now, keys: () => source.channels() })
  }

  get topics(): readonly IpcTopic[] {
    return [...this.#topics.keys()]
  }

  has(topic: IpcTopic): boolean {
    return this.#topics.has(topic)
  }

  /** Begins a topic, or begins it anew: what has a state is told first. */
  add(topic: IpcTopic): void {
    switch (topic) {
      case 'peer':
        this.#peers.startPass()
        this.#topics.set(topic, () => this.#peerStep())
        break
      case 'path':
        this.#paths.startPass()
        this.#topics.set(topic, () => this.#pathStep())
        break
      case 'channel':
        this.#channels.startPass()
        this.#topics.set(topic, () => this.#channelStep())
        break
      case 'ble':
        this.#ble.startPass()
        this.#topics.set(topic, () => this.#bleStep())
        break
      case 'app':
        this.#topics.set(topic, () => event(this.#wishes.take(), topic, 'event.app.wanted', (_key, wish) => wish))
        break
      case 'log':
        this.#history = true
        this.#topics.set(topic, () => this.#logStep())
        break
      case 'status':
        this.#statusDue = true
        this.#topics.set(topic, () => this.#statusStep())
    }
  }

  remove(topic: IpcTopic): void {
    this.#topics.delete(topic)
  }

  peerChanged(id: string, reason: string | undefined): void {
    if (this.has('peer')) this.#peers.add(id, { reason })
  }

  pathChanged(id: string, change: PathChange): void {
    if (this.has('path')) this.#paths.add(id, change)
  }

  channelChanged(handle: ChannelHandle, change: ChannelEvent): void {
    if (this.has('channel')) this.#channels.add(handle, change)
  }

  bleChanged(key: string): void {
    if (this.has('ble')) this.#ble.add(key, true)
  }

  appWanted(wish: AppWantedEvent): void {
    if (this.has('app')) this.#wishes.add(`${wish.peer} ${wish.app}`, wish)
  }

  line(line: LogEvent): void {
    if (this.has('log')) this.#lines.add(this.#lineCount++, line)
  }

  statusTick(): void {
    if (this.#statusDue) this.#statusLost++
    this.#statusDue = true
  }

  next(): TopicEvent | undefined {
    const steps = [...this.#topics.values()]
    // Each topic in its turn. One that has nothing to say of something goes on with the next thing.
    for (let idle = 0; idle < steps.length;) {
      const step = steps[this.#turn % steps.length]!()
      if (step === 'nothing to say') continue
      this.#turn++
      if (step !== undefined) return step
      idle++
    }
    return undefined
  }

  #peerStep(): Step {
    return event(this.#peers.take(), 'peer', 'event.peer', (id, change) => this.#source.peer(id, change))
  }

  #pathStep(): Step {
    return event(this.#paths.take(), 'path', 'event.path', (id, change) => this.#source.path(id, change))
  }

  #channelStep(): Step {
    return event(this.#channels.take(), 'channel', 'event.channel', (handle, change) => this.#source.channel(handle, change))
  }

  #bleStep(): Step {
    const step = this.#ble.take()
    if (step?.kind === 'lost') return { name: 'event.lost', params: { topic: 'ble', count: step.count } }
    if (step?.kind === 'synced') return { name: 'event.synced', params: { topic: 'ble' } }
    return step === undefined ? undefined : this.#source.bleThing(step.key)
  }

  #logStep(): Step {
    const step = event(this.#lines.take(), 'log', 'event.log', (_key, line) => line)
    if (step !== undefined || !this.#history) return step
    // The lines from before the subscription were the first to wait.
    this.#history = false
    return { name: 'event.synced', params: { topic: 'log' } }
  }

  #statusStep(): Step {
    if (this.#statusLost > 0) {
      const count = this.#statusLost
      this.#statusLost = 0
      return { name: 'event.lost', params: { topic: 'status', count } }
    }
    if (!this.#statusDue) return undefined
    this.#statusDue = false
    return { name: 'event.status', params: this.#source.status() }
  }
}

function event<K, C, N extends TopicEvent['name']>(
  step: TopicStep<K, C> | undefined, topic: IpcTopic, name: N, describe: (key: K, change: C | undefined) => Extract<TopicEvent, { readonly name: N }>['params'] | undefined,
): Step {
  if (step === undefined) return undefined
  if (step.kind === 'lost') return { name: 'event.lost', params: { topic, count: step.count } }
  if (step.kind === 'synced') return { name: 'event.synced', params: { topic } }
  const params = describe(step.key, step.change)
  return params === undefined ? 'nothing to say' : ({ name, params } as TopicEvent)
}
