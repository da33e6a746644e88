/** What the daemon answered, read with the same care as what a client sends: it may be another version. */
import { PosternError } from '../core/base/errors.ts'
import type { JsonObject } from '../core/wire/ipc/ipc-json.ts'
import { MemberReader } from '../core/wire/ipc/ipc-members.ts'
import { channelEndCodes, ipcLanes, ipcModes, type ChannelAcceptResult, type ChannelOpenResult, type HelloLimits, type HelloResult, type IpcEvents, type ResumedChannel } from '../core/wire/ipc/ipc-methods.ts'
import { ipcTopics } from '../core/wire/ipc/ipc-subscribe.ts'
import type { TopicEvent, TopicEventName } from '../core/wire/ipc/ipc-topics.ts'

const U32_MAX = 0xffff_ffff
const TEXT_MAX = 4096
/** WIRE.md §8.4. */
const LINGER_DEFAULT_MS = 10_000

function read<T>(what: string, members: JsonObject, parse: (m: MemberReader) => T): T {
  const reader = new MemberReader(members)
  const value = parse(reader)
  if (reader.failure === undefined) return value
  throw new PosternError('protocol', `The daemon's ${what} cannot be read: ${reader.failure.message}`, { hint: 'Daemon and client may be of versions that do not fit.' })
}

export function readHello(result: JsonObject): HelloResult {
  return read('answer to hello', result, (m) => {
    const limits = read('limits', objectOf(m.value('limits')), readLimits)
    return {
      protocol: m.integer('protocol', 1, U32_MAX),
      daemon: m.text('daemon', TEXT_MAX),
      peerId: m.peerId('peerId'),
      instance: m.text('instance', TEXT_MAX),
      scopes: m.list('scopes', 1024, 'scopes', (value) => (typeof value === 'string' ? value : undefined)),
      limits,
      ...m.optional('resume', (name) => ({ resume: m.text(name, TEXT_MAX), lingerMs: m.optional('lingerMs', (member) => m.integer(member, 0, U32_MAX)) ?? LINGER_DEFAULT_MS })),
      resumed: m.optional('resumed', (name) => m.boolean(name)) ?? false,
      channels: m.optional('channels', (name) => m.list(name, 1_000_000, 'channels', (value) => read('channels', objectOf(value), readResumed))) ?? [],
    }
  })
}

export function readChannelOpen(result: JsonObject): ChannelOpenResult {
  return read('answer to channel.open', result, (m) => ({
    channel: m.integer('channel', 1, U32_MAX), handle: m.integer('handle', 0, U32_MAX), ...readAccount(m),
  }))
}

export function readChannelAccept(result: JsonObject): ChannelAcceptResult {
  return read('answer to channel.accept', result, readAccount)
}

export function readIncoming(params: JsonObject): Omit<IpcEvents['event.channel.incoming'], 'meta'> & { readonly meta: Uint8Array } {
  return read('event.channel.incoming', params, (m) => ({
    channel: m.integer('channel', 1, U32_MAX), peer: m.peerId('peer'), handle: m.integer('handle', 0, U32_MAX), app: m.app('app'),
    mode: m.oneOf('mode', ipcModes), lane: m.oneOf('lane', ipcLanes), meta: m.base64('meta', TEXT_MAX),
  }))
}

export function readClosed(params: JsonObject): IpcEvents['event.channel.closed'] {
  return read('event.channel.closed', params, (m) => {
    const code = channelEndCodes.find((known) => known === m.value('code')) ?? 'closed'
    const appCode = m.optional('appCode', (name) => m.integer(name, 0, U32_MAX))
    return {
      channel: m.integer('channel', 1, U32_MAX), code, ...(appCode === undefined ? {} : { appCode }),
      reason: m.optional('reason', (name) => m.text(name, TEXT_MAX)) ?? '', by: m.oneOf('by', ['peer', 'local', 'daemon']),
    }
  })
}

export function readBye(params: JsonObject): { readonly code: string; readonly reason: string; readonly retryMs: number } {
  return read('event.bye', params, (m) => ({
    code: m.text('code', TEXT_MAX),
    reason: m.optional('reason', (name) => m.text(name, TEXT_MAX)) ?? '',
    retryMs: m.optional('retryMs', (name) => m.integer(name, 0, U32_MAX)) ?? 0,
  }))
}

const topicEventNames: readonly TopicEventName[] = ['event.peer', 'event.path', 'event.status', 'event.channel', 'event.app.wanted', 'event.log', 'event.ble.adapter', 'event.ble.device', 'event.ble.link', 'event.ble.pairing', 'event.synced', 'event.lost']

/** An event of a topic; `undefined` for one of a later version. What it says is the daemon's word, for people to look at. */
export function readTopicEvent(name: string, params: JsonObject): TopicEvent | undefined {
  const known = topicEventNames.find((candidate) => candidate === name)
  if (known === undefined) return undefined
  if (known === 'event.synced' || known === 'event.lost') {
    const topic = ipcTopics.find((candidate) => candidate === params['topic'])
    if (topic === undefined) return undefined
    return known === 'event.synced' ? { name: known, params: { topic } } : { name: known, params: { topic, count: read(known, params, (m) => m.integer('count', 0, U32_MAX)) } }
  }
  return { name: known, params: params as unknown } as TopicEvent
}

/** Text members of a small result. */
export function readTexts<Name extends string>(what: string, result: JsonObject, ...names: readonly Name[]): Record<Name, string> {
  return read(what, result, (m) => Object.fromEntries(names.map((name) => [name, m.text(name, TEXT_MAX)])) as Record<Name, string>)
}

/** An array member of objects; their own members are the daemon's word. */
export function readObjects(what: string, result: JsonObject, name: string): readonly JsonObject[] {
  return read(what, result, (m) => m.list(name, 1_000_000, 'objects', (value) => (typeof value === 'object' && value !== null ? (value as JsonObject) : undefined)))
}

function readLimits(m: MemberReader): HelloLimits {
  const count = (name: string): number => m.integer(name, 1, U32_MAX)
  return { message: count('message'), channels: count('channels'), json: count('json'), open: count('open') }
}

function readResumed(m: MemberReader): ResumedChannel {
  return { channel: m.integer('channel', 1, U32_MAX), acceptedTag: m.integer('acceptedTag', 0, U32_MAX), sendCredit: m.integer('sendCredit', -U32_MAX, U32_MAX) }
}

function readAccount(m: MemberReader): ChannelAcceptResult {
  return { sendCredit: m.integer('sendCredit', 0, U32_MAX), maxMessage: m.integer('maxMessage', 1, U32_MAX) }
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
