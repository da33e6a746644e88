/** What a client wrote, member by member, into typed requests. */
import { parseAddress } from '../../base/address.ts'
import type { PosternError } from '../../base/errors.ts'
import { powerModes } from '../../base/power-mode.ts'
import { CLIENT_CHANNELS_MAX, DELIVERY_CREDIT_DEFAULT } from './ipc.ts'
import type { JsonObject } from './ipc-json.ts'
import { MemberReader } from './ipc-members.ts'
import { APP_CODE_MAX, APP_CODE_MIN, ipcLanes, ipcModes, ipcOverflows, ipcPeerStates, type ChannelOpenRequest, type HelloRequest, type IpcCall, type IpcMethod, type IpcOverflow, type IpcRequest, type ListenFrom, type PeerAddRequest } from './ipc-methods.ts'
import { ipcLogLevels, ipcTopics, LOG_HISTORY, STATUS_INTERVAL_DEFAULT, STATUS_INTERVAL_MAX, STATUS_INTERVAL_MIN, type IpcTopic } from './ipc-subscribe.ts'
import { ipcPathKinds, type IpcPathPolicy, type PeerPolicyRequest } from './ipc-policy.ts'

const U32_MAX = 0xffff_ffff
/** A credit above this is refused: it bounds what the daemon may have on its way to one channel of a client. */
export const CREDIT_MAX = 16_777_216
export const NAME_BYTES_MAX = 64
/** `str` of WIRE.md §5 has one byte of length. */
export const REASON_BYTES_MAX = 255
export const META_BYTES_MAX = 256
/** WIRE.md §3.7: addresses are a stranger's wish. */
const CANDIDATES_MAX = 16
const LISTEN_IDS_MAX = 1024
/** Link of 16 addresses is about 520 characters. */
const LINK_BYTES_MAX = 1024
const SECRET_BYTES_MAX = 256
const TIMEOUT_DEFAULT_MS = 10_000
const TIMEOUT_MAX_MS = 120_000
const INVITE_USES_MAX = 256
const INVITE_DEFAULT_S = 86_400
const INVITE_MAX_S = 366 * 86_400
/** Scopes of one API key. */
const SCOPES_MAX = 64
const SCOPE = /^(status|admin|app:(\*|[a-z0-9._/-]{1,64}))$/
const WEIGHT_DEFAULT = 16
const PAIR_MIN_S = 10
const PAIR_MAX_S = 600
const PAIR_DEFAULT_S = 120

type Parser<M extends IpcMethod> = (members: MemberReader) => IpcRequest<M>

const nothing = {}

const parsers: { readonly [M in IpcMethod]: Parser<M> } = {
  'hello': parseHello,
  'status': () => nothing,
  'netcheck': (m) => ({ lifetime: m.optional('lifetime', (name) => m.boolean(name)) ?? false }),
  'ble.status': () => nothing,
  'ble.power': (m) => ({ mode: m.optional('mode', (name) => m.oneOf(name, powerModes)) }),
  'ble.nearby': () => nothing,
  'pair.start': (m) => ({ timeoutS: m.optional('timeoutS', (name) => m.integer(name, PAIR_MIN_S, PAIR_MAX_S)) ?? PAIR_DEFAULT_S }),
  'pair.status': () => nothing,
  'pair.answer': (m) => ({ ...parsePeer(m), same: m.boolean('same') }),
  'pair.stop': () => nothing,
  'peers': (m) => ({ state: m.optional('state', (name) => m.oneOf(name, ipcPeerStates)), after: m.optional('after', (name) => m.peerId(name)), lanes: m.optional('lanes', (name) => m.boolean(name)) ?? false }),
  'peer.add': parsePeerAdd,
  'peer.remove': parsePeer,
  'peer.policy': parsePeerPolicy,
  'peer.connect': (m) => {
    if (m.has('policy')) m.later('policy', '"policy"')
    return { id: m.peerId('id'), timeoutMs: m.optional('timeoutMs', (name) => m.integer(name, 1, TIMEOUT_MAX_MS)) ?? TIMEOUT_DEFAULT_MS }
  },
  'peer.disconnect': parsePeer,
  'peer.why': parsePeer,
  'peer.ping': parsePeer,
  'listen': (m) => ({ app: m.app('app'), from: m.optional('from', () => parseFrom(m)) ?? 'roster', credit: parseCredit(m) ?? DELIVERY_CREDIT_DEFAULT }),
  'unlisten': (m) => ({ app: m.app('app') }),
  'channel.open': parseChannelOpen,
  'channel.accept': (m) => ({ ...parseChannel(m), credit: parseCredit(m), ...parseSending(m) }),
  'channel.reject': (m) => ({ ...parseChannel(m), reason: parseReason(m) }),
  'channel.close': (m) => ({ ...parseChannel(m), abort: m.optional('abort', (name) => m.boolean(name)) ?? false, code: parseAppCode(m), reason: parseReason(m) }),
  'channel.stats': parseChannel,
  'invite.create': (m) => ({
    uses: m.optional('uses', (name) => m.integer(name, 1, INVITE_USES_MAX)) ?? 1,
    expiresS: m.optional('expiresS', (name) => m.integer(name, 1, INVITE_MAX_S)) ?? INVITE_DEFAULT_S,
    name: parseName(m),
  }),
  'invite.join': (m) => ({ link: m.text('link', LINK_BYTES_MAX) }),
  'invite.reply': parsePeer,
  'invite.accept': (m) => ({ reply: m.text('reply', LINK_BYTES_MAX) }),
  'invite.list': () => nothing,
  'invite.revoke': (m) => ({ id: m.text('id', NAME_BYTES_MAX) }),
  'keys.create': (m) => ({ name: parseName(m), scopes: m.list('scopes', SCOPES_MAX, 'scopes: status, admin, app:* or app:<name>', (value) => (typeof value === 'string' && SCOPE.test(value) ? value : undefined)) }),
  'keys.list': () => nothing,
  'keys.revoke': (m) => ({ id: m.text('id', NAME_BYTES_MAX) }),
  'subscribe': (m) => ({
    topics: parseTopics(m),
    intervalMs: m.optional('intervalMs', (name) => m.integer(name, STATUS_INTERVAL_MIN, STATUS_INTERVAL_MAX)) ?? STATUS_INTERVAL_DEFAULT,
    level: m.optional('level', (name) => m.oneOf(name, ipcLogLevels)) ?? 'info',
    lines: m.optional('lines', (name) => m.integer(name, 0, LOG_HISTORY)) ?? 0,
  }),
  'unsubscribe': (m) => ({ topics: m.optional('topics', () => parseTopics(m)) ?? ipcTopics }),
  'leave': () => nothing,
  'shutdown': () => nothing,
}

const calls: ReadonlySet<string> = new Set(Object.keys(parsers).filter((method) => method !== 'hello'))

/** Whether this version serves a method; `hello` is not one of them, as it is said once and first. */
export function isIpcCall(method: string): method is IpcCall {
  return calls.has(method)
}

/** The typed request, or the error to answer with: `params` or `bad_peer_id`, which names the first wrong member. */
export function parseParams<M extends IpcMethod>(method: M, params: JsonObject): { readonly request: IpcRequest<M> } | { readonly failure: PosternError } {
  const members = new MemberReader(params)
  const request = parsers[method](members)
  return members.failure === undefined ? { request } : { failure: members.failure }
}

function parseHello(m: MemberReader): HelloRequest {
  return {
    protocol: m.integer('protocol', 1, U32_MAX),
    client: m.optional('client', (name) => m.text(name, NAME_BYTES_MAX)) ?? '',
    app: m.optional('app', (name) => m.app(name)),
    key: m.optional('key', (name) => m.text(name, SECRET_BYTES_MAX)),
    resume: m.optional('resume', (name) => m.text(name, SECRET_BYTES_MAX)),
    received: m.optional('received', () => parseReceived(m)) ?? new Map(),
  }
}

/** `{"7": 41}`: by channel, the number of the last message. */
function parseReceived(m: MemberReader): ReadonlyMap<number, number> {
  const value = m.value('received')
  const received = new Map<number, number>()
  const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value as JsonObject) : undefined
  // Those that ended a moment ago are named too.
  if (entries === undefined || entries.length > 2 * CLIENT_CHANNELS_MAX) m.fail('received', 'an object of channels')
  for (const [key, last] of entries ?? []) {
    if (/^\d{1,10}$/.test(key) && typeof last === 'number' && Number.isInteger(last) && last >= 0 && last <= U32_MAX) received.set(Number(key), last)
    else m.fail('received', 'an object of channels, each with the number of its last message')
  }
  return received
}

function parsePeerAdd(m: MemberReader): PeerAddRequest {
  // What would limit or redirect a peer is refused rather than ignored: who sets it relies on it.
  for (const name of ['relays', 'apps']) if (m.has(name)) m.later(name, `"${name}"`)
  const address = (value: unknown): Uint8Array | undefined => (typeof value === 'string' ? parseAddress(value) : undefined)
  return {
    id: m.peerId('id'),
    name: parseName(m),
    candidates: m.optional('candidates', (name) => m.list(name, CANDIDATES_MAX, 'addresses like 192.0.2.1:7000 or [2001:db8::1]:7000', address)) ?? [],
  }
}

/** What is written is the whole policy. Whether its parts fit together is the daemon's to say. */
function parsePeerPolicy(m: MemberReader): PeerPolicyRequest {
  const kind = (value: unknown): IpcPathPolicy['prefer'] => ipcPathKinds.find((known) => known === value)
  const id = m.peerId('id')
  const prefer = m.optional('prefer', (name) => m.oneOf(name, ipcPathKinds))
  const only = m.optional('only', (name) => m.oneOf(name, ipcPathKinds))
  const never = m.optional('never', (name) => m.list(name, ipcPathKinds.length, `of ${ipcPathKinds.join(', ')}`, kind))
  const written = prefer !== undefined || only !== undefined || never !== undefined
  if (m.optional('default', (name) => m.boolean(name)) === true) {
    if (written) m.fail('default', 'the only member besides id: it stands for what the configuration says')
    return { id, change: 'default' }
  }
  if (!written) return { id, change: undefined }
  return { id, change: { ...(prefer === undefined ? {} : { prefer }), ...(only === undefined ? {} : { only }), never: never ?? [] } }
}

function parseChannelOpen(m: MemberReader): ChannelOpenRequest {
  return {
    peer: m.peerId('peer'),
    app: m.app('app'),
    mode: m.oneOf('mode', ipcModes),
    lane: m.optional('lane', (name) => m.oneOf(name, ipcLanes)) ?? 'normal',
    weight: m.optional('weight', (name) => m.integer(name, 1, 255)) ?? WEIGHT_DEFAULT,
    ...parseSending(m),
    meta: m.optional('meta', (name) => m.base64(name, META_BYTES_MAX)) ?? new Uint8Array(0),
    credit: parseCredit(m) ?? DELIVERY_CREDIT_DEFAULT,
  }
}

/** What holds for the messages that this side of a channel sends. */
function parseSending(m: MemberReader): { readonly overflow: IpcOverflow; readonly deadlineMs: number } {
  return {
    overflow: m.optional('overflow', (name) => m.oneOf(name, ipcOverflows)) ?? 'block',
    deadlineMs: m.optional('deadlineMs', (name) => m.integer(name, 1, U32_MAX)) ?? 0,
  }
}

function parseFrom(m: MemberReader): ListenFrom {
  const from = m.value('from')
  if (from === 'roster' || from === 'any') return from
  if (Array.isArray(from)) return m.peerIds('from', LISTEN_IDS_MAX)
  m.fail('from', '"roster", "any" or an array of peer ids')
  return []
}

function parseTopics(m: MemberReader): readonly IpcTopic[] {
  const topics = m.list('topics', ipcTopics.length, `topics: ${ipcTopics.join(', ')}`, (value) => ipcTopics.find((topic) => topic === value))
  if (topics.length === 0) m.fail('topics', 'at least one topic')
  return topics
}

function parsePeer(m: MemberReader): { readonly id: string } {
  return { id: m.peerId('id') }
}

function parseChannel(m: MemberReader): { readonly channel: number } {
  return { channel: m.integer('channel', 0, U32_MAX) }
}

function parseCredit(m: MemberReader): number | undefined {
  return m.optional('credit', (name) => m.integer(name, 0, CREDIT_MAX))
}

function parseReason(m: MemberReader): string {
  return m.optional('reason', (name) => m.text(name, REASON_BYTES_MAX)) ?? ''
}

function parseName(m: MemberReader): string | undefined {
  return m.optional('name', (name) => m.text(name, NAME_BYTES_MAX))
}

function parseAppCode(m: MemberReader): number {
  const code = m.optional('code', (name) => m.integer(name, 0, APP_CODE_MAX)) ?? 0
  if (code !== 0 && code < APP_CODE_MIN) m.fail('code', `0 or an app's own code from ${APP_CODE_MIN} on`)
  return code
}
