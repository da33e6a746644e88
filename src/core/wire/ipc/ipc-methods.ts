/**
 * The methods and events of the local IPC (WIRE.md §8.1): what a client writes (`params`), what the daemon's handler sees after
 * parsing (`request`, defaults filled in, text decoded), what comes back (`result`). Both sides ignore members they do not know.
 */
import type { ErrorCode } from '../../base/errors.ts'
import { bleMethodScopes, type BleMethods, type IpcBleSummary } from './ipc-ble.ts'
import type { Nothing } from './ipc-json.ts'
import type { IpcOwnNat, IpcPortMapping, IpcStunStatus, NetcheckResult } from './ipc-nat.ts'
import type { PeerPolicyParams, PeerPolicyRequest, PeerPolicyResult } from './ipc-policy.ts'
import type { SubscribeParams, SubscribeRequest, UnsubscribeParams, UnsubscribeRequest } from './ipc-subscribe.ts'
import type { PeerWhyResult } from './ipc-why.ts'

/** Index is the mode's number on the wire between daemons. */
export const ipcModes = ['reliable-ordered', 'reliable-unordered', 'unreliable', 'latest'] as const
export type IpcMode = (typeof ipcModes)[number]
/** Index is the lane's number in a message frame. */
export const ipcLanes = ['critical', 'high', 'normal', 'low'] as const
export type IpcLane = (typeof ipcLanes)[number]
export const ipcOverflows = ['block', 'drop-oldest', 'drop-newest', 'drop-lowest-lane'] as const
export type IpcOverflow = (typeof ipcOverflows)[number]
export const ipcPeerStates = ['connected', 'dialing', 'unreachable', 'offline'] as const
export type IpcPeerState = (typeof ipcPeerStates)[number]

/** `app:*`, `app:<name>`, `status`, `admin`. */
export type IpcScope = string

/** How many peers one answer of `peers` holds at most: 10,000 of them would not fit a JSON frame. */
export const PEERS_PAGE = 500
/** The same where their lanes are asked for. */
export const PEERS_PAGE_WITH_LANES = 100

export interface HelloParams {
  readonly protocol: number
  /** Program and version, for logs: `dice/0.3`. */
  readonly client?: string
  readonly app?: string
  /** An API key, `pk_…`. */
  readonly key?: string
  /** The `resume` of the last hello: goes on with the channels of a lost connection. */
  readonly resume?: string
  /** By channel, the number of the last message that came. */
  readonly received?: Readonly<Record<string, number>>
}
export interface HelloRequest {
  readonly protocol: number
  readonly client: string
  readonly app: string | undefined
  readonly key: string | undefined
  readonly resume: string | undefined
  readonly received: ReadonlyMap<number, number>
}
export interface HelloLimits {
  /** Bytes of one message. */
  readonly message: number
  readonly channels: number
  /** Bytes of one JSON text. */
  readonly json: number
  /** Requests without an answer. */
  readonly open: number
}
/** A channel that goes on. */
export interface ResumedChannel {
  readonly channel: number
  /** Tag of the last message that was taken over; 0 = none. What has a later one is to be sent again. */
  readonly acceptedTag: number
  /** The balance to go on with, in cost; it may be below zero. */
  readonly sendCredit: number
}
export interface HelloResult {
  readonly protocol: number
  readonly daemon: string
  readonly peerId: string
  /** Another one after the daemon was started anew. */
  readonly instance: string
  readonly scopes: readonly IpcScope[]
  readonly limits: HelloLimits
  /** Resumes this connection, should it be lost. */
  readonly resume?: string
  /** How long its channels wait then. */
  readonly lingerMs?: number
  readonly resumed: boolean
  readonly channels: readonly ResumedChannel[]
}

/** Messages of one lane: handed to a datagram, waiting or not acknowledged, and dropped by reason. */
export interface IpcLaneCount {
  readonly sent: number
  readonly queued: number
  readonly dropped: Readonly<Record<string, number>>
}
export type IpcLaneStats = Readonly<Record<IpcLane, IpcLaneCount>>

export interface StatusResult {
  readonly peerId: string
  readonly version: string
  readonly uptimeMs: number
  readonly sessions: number
  readonly paths: { readonly direct: number; readonly tcp: number; readonly relay: number; readonly turn: number; readonly ble: number }
  readonly addresses: readonly string[]
  readonly counters: Readonly<Record<string, number>>
  /** Of the whole daemon. */
  readonly lanes: IpcLaneStats
  /** Where servers outside see this node. */
  readonly stun?: IpcStunStatus
  readonly portMapping?: IpcPortMapping
  readonly ble?: IpcBleSummary
  /** What stands before this node. */
  readonly nat?: IpcOwnNat
  /** What does the work, and why not the addon. */
  readonly native?: { readonly crypto: 'addon' | 'node:crypto'; readonly udp: 'addon' | 'node:dgram'; readonly features: readonly string[]; readonly reason?: string }
}

export interface NetcheckParams {
  /** Also how long the NAT keeps a mapping: takes minutes. */
  readonly lifetime?: boolean
}

export interface PeersParams {
  readonly state?: IpcPeerState
  /** The `next` of the page before. */
  readonly after?: string
  /** With the messages of each peer by lane. */
  readonly lanes?: boolean
}
export interface PeerInfo {
  readonly id: string
  /** This connection's number for the peer: it stands in message frames. */
  readonly handle: number
  readonly name?: string
  readonly state: IpcPeerState
  /** `udp 192.0.2.1:7000`. */
  readonly path?: string
  readonly rttMs?: number
  /** Share of packets lost, 0 … 1. */
  readonly loss?: number
  /** Largest datagram that is sent on the path in use, bytes of UDP payload; of TCP, of one record. */
  readonly mtu?: number
  /** Open channels. */
  readonly channels?: number
  /** In this session; only where asked for, and lanes that were used. */
  readonly lanes?: Partial<IpcLaneStats>
  /** Unix milliseconds. */
  readonly since: number
}
export interface PeersResult {
  /** At most {@link PEERS_PAGE}, in order of id. */
  readonly peers: readonly PeerInfo[]
  /** There are more: ask again with `after` set to this. */
  readonly next?: string
}

export interface PeerAddParams {
  readonly id: string
  readonly name?: string
  /** `192.0.2.1:7000`, `[2001:db8::1]:7000`; at most 16. */
  readonly candidates?: readonly string[]
}
export interface PeerAddRequest {
  readonly id: string
  readonly name: string | undefined
  /** 18 bytes each (core/base/address). */
  readonly candidates: readonly Uint8Array[]
}
export interface PeerParams {
  readonly id: string
}
export interface PeerConnectParams {
  readonly id: string
  readonly timeoutMs?: number
}
export interface PeerConnectRequest {
  readonly id: string
  readonly timeoutMs: number
}
export interface PeerConnectResult {
  readonly handle: number
  readonly state: IpcPeerState
}
export interface PeerPingResult {
  readonly rttMs: readonly number[]
  readonly path: string
}

export type ListenFrom = 'roster' | 'any' | readonly string[]
export interface ListenParams {
  readonly app: string
  readonly from?: ListenFrom
  readonly credit?: number
}
export interface ListenRequest {
  readonly app: string
  readonly from: ListenFrom
  readonly credit: number
}
export interface UnlistenParams {
  readonly app: string
}

export interface ChannelOpenParams {
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane?: IpcLane
  /** Share among channels of the same lane, 1 … 255. */
  readonly weight?: number
  readonly overflow?: IpcOverflow
  /** Messages not sent by then are dropped, unless they carry a ttl of their own. */
  readonly deadlineMs?: number
  /** Base64 of at most 256 bytes for the remote app. */
  readonly meta?: string
  readonly credit?: number
}
export interface ChannelOpenRequest {
  readonly peer: string
  readonly app: string
  readonly mode: IpcMode
  readonly lane: IpcLane
  readonly weight: number
  readonly overflow: IpcOverflow
  /** 0 = none. */
  readonly deadlineMs: number
  readonly meta: Uint8Array
  readonly credit: number
}
export interface ChannelOpenResult {
  readonly channel: number
  readonly handle: number
  readonly sendCredit: number
  readonly maxMessage: number
}
export interface ChannelParams {
  readonly channel: number
}
export interface ChannelAcceptParams extends ChannelParams {
  readonly credit?: number
  readonly overflow?: IpcOverflow
  readonly deadlineMs?: number
}
export interface ChannelAcceptRequest {
  readonly channel: number
  /** `undefined`: what `listen` said. */
  readonly credit: number | undefined
  readonly overflow: IpcOverflow
  /** 0 = none. */
  readonly deadlineMs: number
}
export interface ChannelAcceptResult {
  readonly sendCredit: number
  readonly maxMessage: number
}
export interface ChannelRejectParams extends ChannelParams {
  readonly reason?: string
}
export interface ChannelRejectRequest {
  readonly channel: number
  readonly reason: string
}
export interface ChannelCloseParams extends ChannelParams {
  readonly abort?: boolean
  /** 0 = done, or the app's own, from 256 on. */
  readonly code?: number
  readonly reason?: string
}
export interface ChannelCloseRequest {
  readonly channel: number
  readonly abort: boolean
  readonly code: number
  readonly reason: string
}
export interface ChannelStatsResult {
  readonly sent: number
  readonly received: number
  readonly delivered: number
  readonly dropped: Readonly<Record<string, number>>
  readonly queued: number
  readonly queuedBytes: number
  readonly rttMs: number | null
  readonly lanes: IpcLaneStats
}

export interface InviteCreateParams {
  readonly uses?: number
  readonly expiresS?: number
  readonly name?: string
}
export interface InviteCreateRequest {
  readonly uses: number
  readonly expiresS: number
  readonly name: string | undefined
}
export interface InviteCreateResult {
  readonly link: string
  readonly id: string
}
export interface InviteJoinParams {
  readonly link: string
}
export interface InviteJoinResult {
  readonly peer: string
}
/** A reply to an invite: where who joined by it is, to be carried back by hand. */
export interface InviteReplyResult {
  readonly reply: string
}
export interface InviteInfo {
  readonly id: string
  readonly name?: string
  readonly uses: number
  /** Peer ids. */
  readonly spentBy: readonly string[]
  /** Unix milliseconds. */
  readonly expires: number
}
export interface InviteListResult {
  readonly invites: readonly InviteInfo[]
}
export interface InviteParams {
  readonly id: string
}

export interface KeysCreateParams {
  readonly name?: string
  readonly scopes: readonly IpcScope[]
}
export interface KeysCreateRequest {
  readonly name: string | undefined
  readonly scopes: readonly IpcScope[]
}
export interface KeysCreateResult {
  readonly id: string
  /** Shown this once: the daemon keeps only its hash. */
  readonly key: string
}
export interface ApiKeyInfo {
  readonly id: string
  readonly name?: string
  readonly scopes: readonly IpcScope[]
  /** Unix milliseconds. */
  readonly createdAt: number
}
export interface KeysListResult {
  readonly keys: readonly ApiKeyInfo[]
}
export interface KeyParams {
  readonly id: string
}

export interface ShutdownResult {
  /** The daemon's process, for whoever waits on the same machine until it is gone. */
  readonly pid?: number
}

export interface IpcMethods extends BleMethods {
  'hello': { params: HelloParams; request: HelloRequest; result: HelloResult }
  'status': { params: Nothing; request: Nothing; result: StatusResult }
  'peers': { params: PeersParams; request: { readonly state: IpcPeerState | undefined; readonly after: string | undefined; readonly lanes: boolean }; result: PeersResult }
  'peer.add': { params: PeerAddParams; request: PeerAddRequest; result: Nothing }
  'peer.remove': { params: PeerParams; request: PeerParams; result: Nothing }
  'peer.policy': { params: PeerPolicyParams; request: PeerPolicyRequest; result: PeerPolicyResult }
  'peer.connect': { params: PeerConnectParams; request: PeerConnectRequest; result: PeerConnectResult }
  'peer.disconnect': { params: PeerParams; request: PeerParams; result: Nothing }
  'peer.why': { params: PeerParams; request: PeerParams; result: PeerWhyResult }
  'netcheck': { params: NetcheckParams; request: Required<NetcheckParams>; result: NetcheckResult }
  'peer.ping': { params: PeerParams; request: PeerParams; result: PeerPingResult }
  'listen': { params: ListenParams; request: ListenRequest; result: Nothing }
  'unlisten': { params: UnlistenParams; request: UnlistenParams; result: Nothing }
  'channel.open': { params: ChannelOpenParams; request: ChannelOpenRequest; result: ChannelOpenResult }
  'channel.accept': { params: ChannelAcceptParams; request: ChannelAcceptRequest; result: ChannelAcceptResult }
  'channel.reject': { params: ChannelRejectParams; request: ChannelRejectRequest; result: Nothing }
  'channel.close': { params: ChannelCloseParams; request: ChannelCloseRequest; result: Nothing }
  'channel.stats': { params: ChannelParams; request: ChannelParams; result: ChannelStatsResult }
  'invite.create': { params: InviteCreateParams; request: InviteCreateRequest; result: InviteCreateResult }
  'invite.join': { params: InviteJoinParams; request: InviteJoinParams; result: InviteJoinResult }
  'invite.reply': { params: PeerParams; request: PeerParams; result: InviteReplyResult }
  'invite.accept': { params: InviteReplyResult; request: InviteReplyResult; result: InviteJoinResult }
  'invite.list': { params: Nothing; request: Nothing; result: InviteListResult }
  'invite.revoke': { params: InviteParams; request: InviteParams; result: Nothing }
  'keys.create': { params: KeysCreateParams; request: KeysCreateRequest; result: KeysCreateResult }
  'keys.list': { params: Nothing; request: Nothing; result: KeysListResult }
  'keys.revoke': { params: KeyParams; request: KeyParams; result: Nothing }
  'subscribe': { params: SubscribeParams; request: SubscribeRequest; result: Nothing }
  'unsubscribe': { params: UnsubscribeParams; request: UnsubscribeRequest; result: Nothing }
  'leave': { params: Nothing; request: Nothing; result: Nothing }
  'shutdown': { params: Nothing; request: Nothing; result: ShutdownResult }
}
export type IpcMethod = keyof IpcMethods
/** All but `hello`, which the connection itself answers. */
export type IpcCall = Exclude<IpcMethod, 'hello'>
export type IpcParams<M extends IpcMethod> = IpcMethods[M]['params']
export type IpcRequest<M extends IpcMethod> = IpcMethods[M]['request']
export type IpcResult<M extends IpcMethod> = IpcMethods[M]['result']

/**
 * What a client must be allowed to call each method. `app` means the scope of the app named, or of any app where none is; `topic` what the
 * topics named need (ipc-topics); `none` any client may.
 */
export const ipcMethodScopes: Readonly<Record<IpcCall, 'app' | 'status' | 'admin' | 'topic' | 'none'>> = {
  ...bleMethodScopes,
  'status': 'status', 'peers': 'status', 'netcheck': 'status',
  'peer.add': 'admin', 'peer.remove': 'admin', 'peer.policy': 'admin', 'peer.connect': 'app', 'peer.disconnect': 'admin', 'peer.why': 'status', 'peer.ping': 'status',
  'listen': 'app', 'unlisten': 'app',
  'channel.open': 'app', 'channel.accept': 'app', 'channel.reject': 'app', 'channel.close': 'app', 'channel.stats': 'app',
  'invite.create': 'admin', 'invite.join': 'admin', 'invite.reply': 'admin', 'invite.accept': 'admin', 'invite.list': 'admin', 'invite.revoke': 'admin',
  'keys.create': 'admin', 'keys.list': 'admin', 'keys.revoke': 'admin',
  'subscribe': 'topic', 'unsubscribe': 'none',
  'leave': 'none', 'shutdown': 'admin',
}

/** Methods of the specification that later versions bring: answered `method`, with a sentence that says so. */
export const laterMethods: ReadonlySet<string> = new Set([
  'config.reload', 'log.level',
  'secrets.set', 'secrets.list', 'secrets.remove',
])

/** How a channel ended. `app` is the app's own code, in `appCode`. */
export const channelEndCodes = ['done', 'no_app', 'refused', 'app_gone', 'limit', 'protocol', 'timeout', 'credit', 'reset', 'unreachable', 'closed', 'app'] as const
export type ChannelEndCode = (typeof channelEndCodes)[number]

/** Codes 0 … 6 of CHANNEL_CLOSE (WIRE.md §5). */
const wireEndCodes = ['done', 'no_app', 'refused', 'app_gone', 'limit', 'protocol', 'timeout'] as const
/** The app's own codes begin here. */
export const APP_CODE_MIN = 256
export const APP_CODE_MAX = 0xffff_ffff

/** The name of a CHANNEL_CLOSE code; one between ours and the app's, from a newer peer, is `closed`. */
export function channelEndCode(code: number): { readonly code: ChannelEndCode; readonly appCode?: number } {
  if (code >= APP_CODE_MIN) return { code: 'app', appCode: code }
  return { code: wireEndCodes[code] ?? 'closed' }
}

/** What `event.channel.closed` says besides the channel. */
export interface ChannelEnd {
  readonly code: ChannelEndCode
  readonly appCode?: number
  readonly reason: string
  readonly by: 'peer' | 'local' | 'daemon'
}

/** Of the client's own channels and connection; those of subscriptions are in ipc-topics. */
export interface IpcEvents {
  'event.channel.incoming': {
    readonly channel: number; readonly peer: string; readonly handle: number; readonly app: string
    readonly mode: IpcMode; readonly lane: IpcLane
    /** Base64. */
    readonly meta: string
  }
  'event.channel.closed': ChannelEnd & { readonly channel: number }
  /** The last thing the daemon says before it closes the connection. */
  'event.bye': { readonly code: ErrorCode; readonly reason: string; readonly retryMs: number }
}
export type IpcEventName = keyof IpcEvents
