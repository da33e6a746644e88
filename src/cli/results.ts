/** What commands print with `--json`, by command. `result-schemas.ts` describes the same for programs: docs/schemas. */
import type { ApiKeyInfo, BleNearbyResult, BlePowerResult, BleStatusResult, InviteCreateResult, InviteInfo, IpcMode, KeysCreateResult, LogEvent, NetcheckResult, PeerInfo, PeerPolicyResult, PeerWhyResult, StatusResult } from '../client/client.ts'

export interface UpResult {
  readonly kind: 'ready'
  readonly peerId: string
  readonly udpPort: number
  readonly socket: string
  readonly pid: number
  /** Empty when it logs to standard error. */
  readonly log: string
}

export type PingResult =
  | { readonly kind: 'pong'; readonly peer: string; readonly sequence: number; readonly rttMs: number; readonly path: string }
  | { readonly kind: 'lost'; readonly peer: string; readonly sequence: number; readonly code: string }
  | PingSummary

export interface PingSummary {
  readonly kind: 'summary'
  readonly peer: string
  readonly sent: number
  readonly answered: number
  /** Share of those sent that were not answered, 0 … 1. */
  readonly loss: number
  readonly elapsedMs: number
  /** Missing when none was answered. */
  readonly minMs?: number
  readonly avgMs?: number
  readonly maxMs?: number
  /** Mean difference between one round trip and the next; missing below two. */
  readonly jitterMs?: number
}

export type ListenResult = { readonly peer: string; readonly app: string; readonly text: string } | { readonly peer: string; readonly app: string; readonly base64: string }

/** Per second, from one look to the next. */
export interface WatchRates {
  readonly messagesReceived: number
  readonly messagesSent: number
  readonly datagramsReceived: number
  readonly datagramsSent: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly packetsLost: number
}

export interface WatchResult {
  /** Unix milliseconds. */
  readonly at: number
  readonly peerId: string
  readonly version: string
  readonly uptimeMs: number
  readonly sessions: number
  /** Missing in the first one. */
  readonly rates?: WatchRates
  readonly lanes: StatusResult['lanes']
  readonly ble?: NonNullable<StatusResult['ble']>
  readonly peers: readonly PeerInfo[]
}

export interface ConfigKey {
  /** `udp.port` */
  readonly key: string
  readonly value: unknown
  readonly from: 'default' | 'file' | 'option'
  readonly line?: number
  readonly option?: string
}

export interface ConfigProblem {
  /** The file, or the option of the command line. */
  readonly source: string
  readonly line?: number
  readonly key?: string
  readonly message: string
}

export interface ErrorResult {
  readonly error: {
    readonly code: string
    readonly message: string
    readonly hint?: string
    /** Everything that is wrong with a configuration, in the order of the file. */
    readonly problems?: readonly ConfigProblem[]
  }
}

export type PairResult = { readonly kind: 'compare'; readonly peer: string; readonly code: string } | { readonly kind: 'paired'; readonly peer: string; readonly name?: string }

export interface CommandResults {
  readonly 'up': UpResult
  readonly 'down': { readonly stopped: true }
  readonly 'status': StatusResult
  readonly 'id': { readonly peerId: string }
  readonly 'invite': InviteCreateResult
  readonly 'invite-list': { readonly invites: readonly InviteInfo[] }
  readonly 'invite-revoke': { readonly revoked: string }
  readonly 'join': { readonly peer: string; readonly connected: boolean; readonly reply?: string }
  readonly 'accept': { readonly peer: string; readonly connected: boolean }
  readonly 'peers': { readonly peers: readonly PeerInfo[] }
  readonly 'peers-add': { readonly added: string; readonly name?: string }
  readonly 'peers-remove': { readonly removed: string }
  readonly 'peers-rename': { readonly renamed: string; readonly name: string }
  readonly 'peers-policy': PeerPolicyResult & { readonly peer: string }
  readonly 'why': PeerWhyResult
  readonly 'netcheck': NetcheckResult
  readonly 'ble-status': BleStatusResult
  readonly 'ble-power': BlePowerResult
  readonly 'nearby': BleNearbyResult
  readonly 'pair': PairResult
  readonly 'ping': PingResult
  readonly 'watch': WatchResult
  readonly 'send': { readonly peer: string; readonly app: string; readonly bytes: number; readonly mode: IpcMode; readonly outcome: 'delivered' }
  readonly 'listen': ListenResult
  readonly 'log': LogEvent
  readonly 'keys-create': KeysCreateResult
  readonly 'keys-list': { readonly keys: readonly ApiKeyInfo[] }
  readonly 'keys-revoke': { readonly revoked: string }
  readonly 'config-check': { readonly valid: true; readonly file: string | null; readonly set: number; readonly warnings: readonly string[] }
  readonly 'config-show': { readonly file: string | null; readonly keys: readonly ConfigKey[] }
  readonly 'error': ErrorResult
}

export type ResultName = keyof CommandResults
