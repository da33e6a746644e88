import { z } from 'zod'
import type { HostPort } from '../../core/base/address.ts'
import { millisecond, second, type Duration } from '../../core/base/time.ts'
import { powerModes, type PowerMode } from '../../core/base/power-mode.ts'
import type { CoreConfig } from '../../core/connection/config.ts'
import { congestionNames, type CongestionName } from '../../core/flow/controllers.ts'
import { builtPathKinds, faultOf, type PathKind, type PathPolicy } from '../../core/path/path-policy.ts'
import { backendNames } from '../../net/ble/backend.ts'
import { advertised, duration, formatDuration, formatSize, ipLiteral, list, matching, oneOf, path, plainUrl, share, size, stunServer, wholeNumber, yesNo, type Parser } from './config-values.ts'

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]
export const logFormats = ['text', 'json'] as const
export type LogFormat = (typeof logFormats)[number]

/**
 * With whom a session is begun when they come into range. sessions: with whom there was one until a daemon stopped or the way was lost, and with whom there
 * was none yet · friends: with all in the roster · asked: only when a person or an app wants one
 */
export const connectWishes = ['sessions', 'friends', 'asked'] as const
export type ConnectWish = (typeof connectWishes)[number]

/** The daemon's configuration, checked and with every default filled in. Durations in microseconds, sizes in bytes; config/postern.toml says what each is for. */
export interface Config {
  readonly udp: {
    /** 0: drawn at the first start and kept in the state. */
    readonly port: number
    readonly bind: readonly string[]
    /** Addresses told to peers besides those of the interfaces; port 0 stands for the port of the socket. */
    readonly advertise: readonly HostPort[]
    readonly receiveBuffer: number
    /** The operator vouches that datagrams leave with DF. */
    readonly mtuDiscovery: boolean
    /** Whether ports are guessed where that alone leads to a peer. */
    readonly guessPorts: boolean
  }
  readonly transport: {
    readonly congestion: CongestionName
  }
  readonly tcp: {
    /** Off: neither listened on nor dialed. */
    readonly enabled: boolean
    readonly listen: boolean
    /** 0: the number of the UDP port. */
    readonly port: number
    readonly after: Duration
  }
  readonly stun: {
    readonly enabled: boolean
    readonly servers: readonly HostPort[]
    /** 0 = never. */
    readonly refresh: Duration
    /** Asked by netcheck for a page without content; `undefined`: nobody is. */
    readonly portal: string | undefined
  }
  readonly introduce: {
    /** Whether peers of the roster are told of each other by this node. */
    readonly serve: boolean
  }
  readonly portmap: {
    /** Off: the router is asked for nothing. */
    readonly enabled: boolean
    readonly lifetime: Duration
  }
  readonly ble: {
    /** auto: where a cheap look finds an adapter. */
    readonly enabled: (typeof bleSwitch)[number]
    readonly backend: (typeof bleBackends)[number]
    readonly adapter: string | undefined
    /** Of the virtual air. */
    readonly socket: string | undefined
    readonly mode: PowerMode
    /** Whether `nearby` lists devices that show no friend's hint. */
    readonly strangers: boolean
    /** With whom a session is begun when they come into range. */
    readonly connect: ConnectWish
    readonly linksOut: number
    readonly linksIn: number
  }
  readonly path: PathPolicy
  readonly store: {
    readonly key: 'file' | 'passphrase'
    readonly passphraseFile: string | undefined
  }
  readonly ipc: {
    readonly socket: string | undefined
    /** Users besides the daemon's own and root who may connect. */
    readonly uids: readonly number[]
    readonly uidScopes: readonly string[]
    readonly linger: Duration
  }
  readonly access: {
    readonly strangers: boolean
    /** Where handshakes are answered that do not name this node: by Bluetooth; everywhere, to who knows its presence key; everywhere, to all. */
    readonly acceptXx: CoreConfig['acceptXx']
    /** `*` or names. */
    readonly apps: readonly string[]
  }
  readonly limits: {
    /** A multiple of 16 MiB, so that the arena has its largest blocks. */
    readonly memory: number
    readonly message: number
    readonly channels: number
    readonly queueMessages: number
    readonly queueBytes: number
    readonly sessionWindow: number
    readonly channelWindow: number
    readonly handshakeCpuShare: number
  }
  readonly session: {
    readonly rekey: Duration
    readonly reject: Duration
    readonly clean: Duration
    readonly wipe: Duration
    readonly keyLife: Duration
    /** 0 = none. */
    readonly keepalive: Duration
    readonly idle: Duration
    readonly pathGone: Duration
    readonly attempt: Duration
    readonly giveUp: Duration
    readonly quietFirst: Duration
    readonly quietMax: Duration
    readonly ackDelay: Duration
    readonly channelDecision: Duration
    readonly channelDrain: Duration
  }
  readonly native: {
    /** Off: the twins in TypeScript do the work of the addon. */
    readonly enabled: boolean
  }
  readonly log: {
    readonly level: LogLevel
    readonly format: LogFormat
    /** `undefined` = standard error. */
    readonly file: string | undefined
  }
  readonly shutdown: {
    readonly drain: Duration
  }
}

/** One key: how its value is read, and its default as one would write it in the file. */
function key<T>(parse: Parser<T>, initial: unknown): z.ZodType<T> {
  return z.unknown().transform((input, context): T => {
    const parsed = parse(input)
    if ('value' in parsed) return parsed.value
    context.addIssue({ code: 'custom', message: parsed.wrong })
    return z.NEVER
  }).prefault(initial)
}

/** What the wire can carry (core/wire/frame `isAppName`): a name that it cannot would silently stand for no app at all. */
const appName = '[a-z0-9._/-]{1,64}'

const udp = z.strictObject({
  port: key(wholeNumber(0, 65_535), 0),
  bind: key(list(ipLiteral, { min: 1, max: 16, of: 'IP addresses' }), ['::']),
  advertise: key(list(advertised, { min: 0, max: 16, of: 'addresses' }), []),
  receive_buffer: key(size({ min: '64KiB', max: '64MiB' }), '4MiB'),
  mtu_discovery: key(yesNo, false),
  guess_ports: key(yesNo, true),
}).transform((raw): Config['udp'] => ({ port: raw.port, bind: raw.bind, advertise: raw.advertise, receiveBuffer: raw.receive_buffer, mtuDiscovery: raw.mtu_discovery, guessPorts: raw.guess_ports }))

const transport = z.strictObject({
  congestion: key(oneOf(congestionNames), 'model'),
})

const tcp = z.strictObject({
  enabled: key(yesNo, true),
  listen: key(yesNo, true),
  port: key(wholeNumber(0, 65_535), 0),
  after: key(duration({ min: '0s', max: '1min' }), '1s'),
})

const stun = z.strictObject({
  enabled: key(yesNo, true),
  servers: key(list(stunServer, { min: 0, max: 8, of: 'servers' }), ['stun.cloudflare.com:3478', 'stun.l.google.com:19302', 'stun.voipgate.com:3478']),
  refresh: key(duration({ min: '1s', max: '10min', off: true }), '25s'),
  portal: key(plainUrl, 'http://connectivitycheck.gstatic.com/generate_204'),
})

const introduce = z.strictObject({
  serve: key(yesNo, true),
})

const portmap = z.strictObject({
  enabled: key(yesNo, true),
  lifetime: key(duration({ min: '10s', max: '24h', step: second }), '20min'),
})

const bleSwitch = ['auto', 'on', 'off'] as const
const bleBackends: readonly ['auto', ...typeof backendNames] = ['auto', ...backendNames]

const ble = z.strictObject({
  enabled: key(oneOf(bleSwitch), 'auto'),
  backend: key(oneOf(bleBackends), 'auto'),
  adapter: key(matching(/^(|hci\d{1,3})$/, 'the name of an adapter, such as "hci0", or ""'), ''),
  socket: key(path, ''),
  mode: key(oneOf(powerModes), 'active'),
  strangers: key(yesNo, false),
  connect: key(oneOf(connectWishes), 'sessions'),
  links_out: key(wholeNumber(0, 16), 6),
  links_in: key(wholeNumber(0, 16), 4),
}).transform((raw): Config['ble'] => ({
  enabled: raw.enabled, backend: raw.backend, adapter: raw.adapter === '' ? undefined : raw.adapter, socket: raw.socket, mode: raw.mode, strangers: raw.strangers, connect: raw.connect, linksOut: raw.links_out, linksIn: raw.links_in,
}))

const pathKind = oneOf(builtPathKinds)
const noPathKind: Parser<PathKind | undefined> = (input) => (input === '' ? { value: undefined } : pathKind(input))

const pathPolicy = z.strictObject({
  prefer: key(noPathKind, ''),
  only: key(noPathKind, ''),
  never: key(list(pathKind, { min: 0, max: builtPathKinds.length, of: 'kinds of path' }), []),
}).superRefine((raw, context) => {
  const fault = faultOf(raw)
  if (fault !== undefined) context.addIssue({ code: 'custom', path: [fault.member], params: { against: fault.against }, message: fault.message })
})

const store = z.strictObject({
  key: key(oneOf(['file', 'passphrase'], { quiet: true }), 'file'),
  passphrase_file: key(path, ''),
}).transform((raw): Config['store'] => ({ key: raw.key, passphraseFile: raw.passphrase_file }))

const ipc = z.strictObject({
  socket: key(path, ''),
  uids: key(list(wholeNumber(0, 4_294_967_294), { min: 0, max: 64, of: 'numbers of users' }), []),
  uid_scopes: key(list(matching(new RegExp(`^(status|admin|app:(\\*|${appName}))$`), '"status", "admin", "app:*" or "app:<name>" with a name of 1 to 64 of a-z 0-9 . _ / -'), { min: 0, max: 64, of: 'scopes' }), ['app:*', 'status', 'admin']),
  linger: key(duration({ min: '0s', max: '10min' }), '10s'),
}).transform((raw): Config['ipc'] => ({ socket: raw.socket, uids: raw.uids, uidScopes: raw.uid_scopes, linger: raw.linger }))

const access = z.strictObject({
  strangers: key(yesNo, false),
  accept_xx: key(oneOf(['ble', 'all', 'open']), 'ble'),
  apps: key(list(matching(new RegExp(`^(\\*|${appName})$`), '"*" or the name of an app, which is 1 to 64 of a-z 0-9 . _ / -'), { min: 0, max: 256, of: 'apps' }), ['*']),
}).transform((raw): Config['access'] => ({ strangers: raw.strangers, acceptXx: raw.accept_xx, apps: raw.apps }))

// Where two keys contradict each other, `against` names the second: the line of whichever was written is the one to show.

/** What a queue or a window counts for a message besides its bytes (WIRE.md §8.3). */
const MESSAGE_COST = 32

const limits = z.strictObject({
  memory: key(size({ min: '64MiB', max: '1984MiB', multiple: '16MiB' }), '256MiB'),
  message: key(size({ min: '1KiB', max: '1MiB' }), '1MiB'),
  channels: key(wholeNumber(1, 4096), 256),
  queue_messages: key(wholeNumber(16, 1_000_000), 32_768),
  queue_bytes: key(size({ min: '64KiB', max: '1GiB' }), '8MiB'),
  session_window: key(size({ min: '64KiB', max: '1GiB' }), '8MiB'),
  channel_window: key(size({ min: '64KiB', max: '1GiB' }), '2MiB'),
  handshake_cpu_share: key(share(0.01, 1), 0.25),
}).superRefine((raw, context) => {
  const atLeast = (name: 'queue_bytes' | 'channel_window' | 'session_window', least: number, why: string): void => {
    if (raw[name] < least) context.addIssue({ code: 'custom', path: [name], params: { against: name === 'session_window' ? 'channel_window' : 'message' }, message: `must be at least ${formatSize(least)}, ${why}, but is ${formatSize(raw[name])}` })
  }
  atLeast('queue_bytes', raw.message + MESSAGE_COST, 'one message of [limits] message and 32 bytes')
  atLeast('channel_window', raw.message + MESSAGE_COST, 'one message of [limits] message and 32 bytes')
  atLeast('session_window', raw.channel_window, 'as much as channel_window')
  if (raw.queue_bytes > raw.memory) context.addIssue({ code: 'custom', path: ['queue_bytes'], params: { against: 'memory' }, message: `must not be more than memory, which is ${formatSize(raw.memory)}, but is ${formatSize(raw.queue_bytes)}` })
}).transform((raw): Config['limits'] => ({
  memory: raw.memory, message: raw.message, channels: raw.channels, queueMessages: raw.queue_messages, queueBytes: raw.queue_bytes,
  sessionWindow: raw.session_window, channelWindow: raw.channel_window, handshakeCpuShare: raw.handshake_cpu_share,
}))

const session = z.strictObject({
  rekey: key(duration({ min: '1s', max: '1h' }), '120s'),
  reject: key(duration({ min: '2s', max: '2h' }), '180s'),
  clean: key(duration({ min: '2s', max: '12h' }), '1h'),
  wipe: key(duration({ min: '3s', max: '24h' }), '2h'),
  key_life: key(duration({ min: '4s', max: '24h' }), '24h'),
  keepalive: key(duration({ min: '1s', max: '10min', off: true }), '20s'),
  idle: key(duration({ min: '1s', max: '24h', step: second }), '10min'),
  path_gone: key(duration({ min: '1s', max: '10min' }), '10s'),
  attempt: key(duration({ min: '500ms', max: '1min' }), '5s'),
  give_up: key(duration({ min: '1s', max: '1h' }), '90s'),
  quiet_first: key(duration({ min: '1s', max: '1h' }), '30s'),
  quiet_max: key(duration({ min: '1s', max: '24h' }), '15min'),
  ack_delay: key(duration({ min: '1ms', max: '100ms', step: millisecond }), '10ms'),
  channel_decision: key(duration({ min: '1s', max: '10min' }), '10s'),
  channel_drain: key(duration({ min: '1s', max: '10min' }), '10s'),
}).superRefine((raw, context) => {
  const order = ['rekey', 'reject', 'clean', 'wipe', 'key_life'] as const
  const ascending = (low: keyof typeof raw, high: keyof typeof raw, strict: boolean): void => {
    if (raw[low] < raw[high] || (!strict && raw[low] === raw[high])) return
    context.addIssue({ code: 'custom', path: [high], params: { against: low }, message: `must be ${strict ? 'longer than' : 'at least as long as'} ${low}, which is "${formatDuration(raw[low])}", but is "${formatDuration(raw[high])}"` })
  }
  ascending('rekey', 'reject', true)
  for (let i = 2; i < order.length; i++) ascending(order[i - 1]!, order[i]!, false)
  ascending('attempt', 'give_up', false)
  ascending('quiet_first', 'quiet_max', false)
}).transform((raw): Config['session'] => ({
  rekey: raw.rekey, reject: raw.reject, clean: raw.clean, wipe: raw.wipe, keyLife: raw.key_life, keepalive: raw.keepalive, idle: raw.idle, pathGone: raw.path_gone,
  attempt: raw.attempt, giveUp: raw.give_up, quietFirst: raw.quiet_first, quietMax: raw.quiet_max, ackDelay: raw.ack_delay,
  channelDecision: raw.channel_decision, channelDrain: raw.channel_drain,
}))

const native = z.strictObject({
  enabled: key(yesNo, true),
})

const log = z.strictObject({
  level: key(oneOf(logLevels), 'info'),
  format: key(oneOf(logFormats), 'text'),
  file: key(path, ''),
})

const shutdown = z.strictObject({
  drain: key(duration({ min: '0s', max: '10min' }), '5s'),
})

const sections = { udp, transport, tcp, stun, portmap, introduce, ble, path: pathPolicy, store, ipc, access, limits, session, native, log, shutdown }

/** A section that is not written is one whose keys all have their defaults. */
function section<T>(schema: z.ZodType<T>): z.ZodType<T> {
  return z.preprocess((input) => (input === undefined ? {} : input), schema)
}

/** Reads a parsed TOML document. */
export const configSchema: z.ZodType<Config> = z.strictObject({
  udp: section(udp), transport: section(transport), tcp: section(tcp), stun: section(stun), portmap: section(portmap), introduce: section(introduce), ble: section(ble), path: section(pathPolicy), store: section(store), ipc: section(ipc),
  access: section(access),
  limits: section(limits), session: section(session), native: section(native), log: section(log), shutdown: section(shutdown),
})

/** Every key that may be written, by section. */
export const configKeys: Readonly<Record<string, readonly string[]>> = Object.fromEntries(Object.entries(sections).map(([name, schema]) => [name, keysOf(schema)]))

/** What stands for a key that is not written, as one would write it. */
export const configDefaults: Readonly<Record<string, Readonly<Record<string, unknown>>>> = Object.fromEntries(Object.entries(sections).map(([name, schema]) => [name, defaultsOf(schema)]))

type SectionSchema = (typeof sections)[keyof typeof sections]

function shapeOf(schema: SectionSchema): Readonly<Record<string, z.ZodType>> {
  return 'in' in schema ? schema.in.shape : schema.shape
}

function keysOf(schema: SectionSchema): readonly string[] {
  return Object.keys(shapeOf(schema))
}

function defaultsOf(schema: SectionSchema): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(shapeOf(schema)).map(([name, value]) => [name, value instanceof z.ZodPrefault ? value.def.defaultValue : undefined]))
}
