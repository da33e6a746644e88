/** The events of what a client subscribed to (docs/ipc.md §8). */
import type { BleEvents } from './ipc-ble.ts'
import type { ChannelEndCode, IpcLane, IpcMode, PeerInfo, StatusResult } from './ipc-methods.ts'
import type { IpcLogLevel, IpcTopic } from './ipc-subscribe.ts'

/** As `peers` lists it; `removed`: it is no longer in the roster, and nothing but id and handle is said of it. */
export type PeerEvent =
  | (PeerInfo & { readonly reason?: string })
  | { readonly id: string; readonly handle: number; readonly state: 'removed' }

export interface PathEvent {
  readonly id: string
  readonly handle: number
  readonly from?: string
  /** Absent: no path is left. */
  readonly to?: string
  readonly rttMs?: number
  /** Why it moved; absent where this says how things stand. */
  readonly rule?: string
}

export interface ChannelEvent {
  /** The daemon's own number for the channel, whosever it is; not that of message frames. */
  readonly number: number
  readonly peer: string
  readonly handle: number
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  readonly openedBy: 'local' | 'peer'
  /** The program here, as it named itself. */
  readonly client: string
  readonly state: 'opening' | 'open' | 'closed'
  /** Of a closed one: as in `event.channel.closed`. */
  readonly code?: ChannelEndCode
  readonly appCode?: number
  readonly reason?: string
  readonly by?: 'peer' | 'local' | 'daemon'
}

/** A peer asked for an app that nobody listens as. */
export interface AppWantedEvent {
  readonly app: string
  readonly peer: string
  readonly handle: number
  /** How often since the last such event. */
  readonly count: number
}

export interface LogEvent {
  /** ISO 8601. */
  readonly time: string
  readonly level: IpcLogLevel
  readonly part?: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface TopicEvents extends BleEvents {
  'event.peer': PeerEvent
  'event.path': PathEvent
  'event.status': StatusResult
  'event.channel': ChannelEvent
  'event.app.wanted': AppWantedEvent
  'event.log': LogEvent
  /** Everything there is of this topic was told; changes follow. */
  'event.synced': { readonly topic: IpcTopic }
  /** So many events were not sent because the client did not read. What there is now follows. */
  'event.lost': { readonly topic: IpcTopic; readonly count: number }
}
export type TopicEventName = keyof TopicEvents
/** One event with what it says. */
export type TopicEvent = { readonly [N in TopicEventName]: { readonly name: N; readonly params: TopicEvents[N] } }[TopicEventName]
