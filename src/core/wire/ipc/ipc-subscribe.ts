/** What a client may subscribe to (docs/ipc.md §8), and how it asks. The events are in ipc-topics. */

export const ipcTopics = ['peer', 'path', 'status', 'channel', 'app', 'ble', 'log'] as const
export type IpcTopic = (typeof ipcTopics)[number]

/** What a client must be allowed to subscribe to each. `app`: the scope of some app, whose channels it then hears of, or `status` for all. */
export const ipcTopicScopes: Readonly<Record<IpcTopic, 'status' | 'app' | 'admin'>> = {
  peer: 'status', path: 'status', status: 'status', channel: 'app', app: 'app', ble: 'status', log: 'admin',
}

export const ipcLogLevels = ['trace', 'debug', 'info', 'warn', 'error'] as const
export type IpcLogLevel = (typeof ipcLogLevels)[number]

/** Milliseconds from one `event.status` to the next. */
export const STATUS_INTERVAL_MIN = 100
export const STATUS_INTERVAL_MAX = 3_600_000
export const STATUS_INTERVAL_DEFAULT = 1000
/** Lines of the log that the daemon keeps for who asks later. */
export const LOG_HISTORY = 256

export interface SubscribeParams {
  readonly topics: readonly IpcTopic[]
  readonly intervalMs?: number
  readonly level?: IpcLogLevel
  readonly lines?: number
}
export interface SubscribeRequest {
  readonly topics: readonly IpcTopic[]
  /** Of `status`. */
  readonly intervalMs: number
  /** Of `log`: this level and what is graver. */
  readonly level: IpcLogLevel
  /** Of `log`: how many of the last lines come first. */
  readonly lines: number
}
export interface UnsubscribeParams {
  /** All where absent. */
  readonly topics?: readonly IpcTopic[]
}
export interface UnsubscribeRequest {
  readonly topics: readonly IpcTopic[]
}
