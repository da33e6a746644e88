/**
 * The JSON that commands print, described for programs: `npm run schemas` writes docs/schemas from here. Types hold each
 * schema to `results.ts` member by member, and the end-to-end tests hold it to what commands really print.
 */
import { z } from 'zod'
import { errorCodes } from '../core/base/errors.ts'
import { type IpcLaneCount, ipcLanes, type IpcLaneStats, ipcModes, ipcPeerStates } from '../core/wire/ipc/ipc-methods.ts'
import { ipcLogLevels } from '../core/wire/ipc/ipc-subscribe.ts'
import type { ApiKeyInfo, InviteCreateResult, InviteInfo, IpcPathPolicy, KeysCreateResult, LogEvent, PeerInfo, StatusResult } from '../client/client.ts'
import type { CommandResults, ConfigKey, ConfigProblem, ErrorResult, PingResult, PingSummary, ResultName, UpResult, WatchRates, WatchResult } from './results.ts'
import { blePowerSchema, bleStatusSchema, bleSummarySchema, nearbySchema, pairSchema } from './ble-schema.ts'
import { count, milliseconds, object, peerId, share, unixMs } from './schema-parts.ts'
import { natSchema, netcheckSchema, portMappingSchema, stunSchema } from './nat-schema.ts'
import { policyFrom, policyMembers, whySchema } from './why-schema.ts'

const up = object<UpResult>({
  kind: z.literal('ready'), peerId, udpPort: z.int().min(1).max(65_535), socket: z.string().describe('Path of the IPC socket'), pid: count,
  log: z.string().describe('Path of the log file; empty when it goes to standard error'),
})

const lane = object<IpcLaneCount>({ sent: count, queued: count.describe('Waiting, or not acknowledged'), dropped: z.record(z.string(), z.number()).describe('By reason') })

const status = object<StatusResult>({
  peerId, version: z.string(), uptimeMs: milliseconds, sessions: count,
  paths: object<StatusResult['paths']>({ direct: count, tcp: count, relay: count, turn: count, ble: count }).describe('Sessions by kind of path'),
  addresses: z.array(z.string()).describe('Where peers can reach this node'),
  counters: z.record(z.string(), z.number()).describe('Everything that is counted: docs/counters.md'),
  lanes: object<IpcLaneStats>({ critical: lane, high: lane, normal: lane, low: lane }).describe('Messages by lane'),
  stun: stunSchema.optional().describe('Where servers outside see this node'),
  portMapping: portMappingSchema.optional().describe('Ports of this node that its router lets in'),
  nat: natSchema.optional().describe('What stands before this node: UDP over IPv4, as far as it is known'),
  ble: bleSummarySchema.optional().describe('Bluetooth of this node'),
  native: object<NonNullable<StatusResult['native']>>({
    crypto: z.enum(['addon', 'node:crypto']).describe('What seals and opens datagrams'),
    udp: z.enum(['addon', 'node:dgram']).describe('What sends and receives them'),
    features: z.array(z.string()).describe('What the UDP socket does beyond plain datagrams: gso, gro, ecn, dontFragment, packetInfo (answers from the address that was written to), icmp (hears what routers say of datagrams)'),
    reason: z.string().optional().describe('Why the native addon does less than it could; absent when it does everything'),
  }).optional(),
})

const peer = object<PeerInfo>({
  id: peerId, handle: count.describe('Number of the peer on this IPC connection; of no use to a script'), name: z.string().optional(), state: z.enum(ipcPeerStates),
  path: z.string().optional().describe('Kind and address of the path in use: "udp 192.0.2.1:7000"'),
  rttMs: milliseconds.optional(), loss: share.optional().describe('Share of packets lost on the path in use'),
  mtu: count.optional().describe('Largest datagram that is sent on the path in use, bytes'), channels: count.optional().describe('Open channels'),
  lanes: z.partialRecord(z.enum(ipcLanes), lane).optional().describe('Messages by lane; only of programs that ask for it'), since: unixMs.describe('Since when it is in this state, Unix milliseconds'),
})

const inviteInfo = object<InviteInfo>({
  id: z.string(), name: z.string().optional(), uses: count.describe('How many nodes may use it'), spentBy: z.array(peerId).describe('Who used it'), expires: unixMs,
})

const apiKey = object<ApiKeyInfo>({ id: z.string(), name: z.string().optional(), scopes: z.array(z.string()).describe('What it is good for'), createdAt: unixMs })

const summary = object<PingSummary>({
  kind: z.literal('summary'), peer: peerId, sent: count, answered: count, loss: share, elapsedMs: milliseconds,
  minMs: milliseconds.optional(), avgMs: milliseconds.optional(), maxMs: milliseconds.optional(),
  jitterMs: milliseconds.optional().describe('Mean difference between one round trip and the next'),
})

const ping: z.ZodType<PingResult> = z.union([
  object<Extract<PingResult, { kind: 'pong' }>>({ kind: z.literal('pong'), peer: peerId, sequence: count, rttMs: milliseconds, path: z.string() }),
  object<Extract<PingResult, { kind: 'lost' }>>({ kind: z.literal('lost'), peer: peerId, sequence: count, code: z.enum(errorCodes) }),
  summary,
])

const listen: z.ZodType<CommandResults['listen']> = z.union([
  object<{ readonly peer: string; readonly app: string; readonly text: string }>({ peer: peerId, app: z.string(), text: z.string() }),
  object<{ readonly peer: string; readonly app: string; readonly base64: string }>({ peer: peerId, app: z.string(), base64: z.base64().describe('A message that is not UTF-8 text') }),
])

const logLine = object<LogEvent>({
  time: z.iso.datetime(), level: z.enum(ipcLogLevels), part: z.string().optional().describe('Part of the daemon'), message: z.string().describe('A constant sentence'), fields: z.record(z.string(), z.unknown()).describe('What varies'),
})

const perSecond = z.number().min(0)
const watch = object<WatchResult>({
  at: unixMs, peerId, version: z.string(), uptimeMs: milliseconds, sessions: count,
  rates: object<WatchRates>({
    messagesReceived: perSecond, messagesSent: perSecond, datagramsReceived: perSecond, datagramsSent: perSecond, bytesReceived: perSecond, bytesSent: perSecond, packetsLost: perSecond,
  }).optional().describe('Per second since the line before; missing in the first'),
  lanes: object<IpcLaneStats>({ critical: lane, high: lane, normal: lane, low: lane }).describe('Messages by lane'), ble: bleSummarySchema.optional().describe('Bluetooth of this node'),
  peers: z.array(peer).describe('The connected first, then by name'),
})

const policy = object<CommandResults['peers-policy']>({ peer: peerId, policy: object<IpcPathPolicy>(policyMembers), from: policyFrom })

const configKey = object<ConfigKey>({
  key: z.string().describe('section.key'), value: z.unknown().describe('As it is written in TOML, or would be'),
  from: z.enum(['default', 'file', 'option']), line: count.optional().describe('Line of the file, from 1'), option: z.string().optional().describe('The option that set it'),
})

const configProblem = object<ConfigProblem>({
  source: z.string().describe('The file, or the option of the command line'), line: count.optional(), key: z.string().optional(), message: z.string(),
})

const file = z.string().nullable().describe('The file that was read; null when there is none')

/** A title for each: what of which command it is. */
export const resultTitles: Readonly<Record<ResultName, string>> = {
  'up': 'postern up', 'down': 'postern down', 'status': 'postern status', 'id': 'postern id',
  'netcheck': 'postern netcheck', 'ble-status': 'postern ble status', 'ble-power': 'postern ble power', 'nearby': 'postern nearby, each line with --watch', 'pair': 'postern pair, each line', 'invite': 'postern invite', 'invite-list': 'postern invite --list', 'invite-revoke': 'postern invite --revoke', 'join': 'postern join', 'accept': 'postern accept',
  'peers': 'postern peers', 'peers-add': 'postern peers add', 'peers-remove': 'postern peers remove', 'peers-rename': 'postern peers rename', 'peers-policy': 'postern peers policy', 'why': 'postern why',
  'ping': 'postern ping, each line', 'watch': 'postern watch, each line', 'send': 'postern send', 'listen': 'postern listen, each line', 'log': 'postern log, each line', 'keys-create': 'postern keys create', 'keys-list': 'postern keys list', 'keys-revoke': 'postern keys revoke',
  'config-check': 'postern config check', 'config-show': 'postern config show', 'error': 'any command that fails',
}

export const resultSchemas: { readonly [Name in ResultName]: z.ZodType<CommandResults[Name]> } = {
  'up': up,
  'down': object<CommandResults['down']>({ stopped: z.literal(true) }),
  'status': status,
  'id': object<CommandResults['id']>({ peerId }),
  'invite': object<InviteCreateResult>({ link: z.string().startsWith('postern:1/'), id: z.string().describe('The invite\'s own name, for --revoke') }),
  'invite-list': object<CommandResults['invite-list']>({ invites: z.array(inviteInfo) }),
  'invite-revoke': object<CommandResults['invite-revoke']>({ revoked: z.string() }),
  'join': object<CommandResults['join']>({
    peer: peerId, connected: z.boolean().describe('false: not yet; the daemon goes on trying'),
    reply: z.string().startsWith('postern:r1/').optional().describe('When it is not connected: for `postern accept` where the invite was made'),
  }),
  'accept': object<CommandResults['accept']>({ peer: peerId, connected: z.boolean().describe('false: not yet; the daemon goes on trying') }),
  'peers': object<CommandResults['peers']>({ peers: z.array(peer) }),
  'peers-add': object<CommandResults['peers-add']>({ added: peerId, name: z.string().optional() }),
  'peers-remove': object<CommandResults['peers-remove']>({ removed: peerId }),
  'peers-rename': object<CommandResults['peers-rename']>({ renamed: peerId, name: z.string() }),
  'peers-policy': policy,
  'why': whySchema,
  'netcheck': netcheckSchema,
  'ble-status': bleStatusSchema,
  'ble-power': blePowerSchema,
  'nearby': nearbySchema,
  'pair': pairSchema,
  'ping': ping,
  'watch': watch,
  'send': object<CommandResults['send']>({ peer: peerId, app: z.string(), bytes: count, mode: z.enum(ipcModes), outcome: z.literal('delivered').describe('The peer\'s daemon has it') }),
  'listen': listen,
  'log': logLine,
  'keys-create': object<KeysCreateResult>({ id: z.string().describe('The key\'s own name, for revoke'), key: z.string().startsWith('pk_').describe('The key; shown this once') }),
  'keys-list': object<CommandResults['keys-list']>({ keys: z.array(apiKey) }),
  'keys-revoke': object<CommandResults['keys-revoke']>({ revoked: z.string() }),
  'config-check': object<CommandResults['config-check']>({ valid: z.literal(true), file, set: count.describe('How many keys are not left at their defaults'), warnings: z.array(z.string()) }),
  'config-show': object<CommandResults['config-show']>({ file, keys: z.array(configKey) }),
  'error': object<ErrorResult>({
    error: object<ErrorResult['error']>({
      code: z.enum(errorCodes).describe('Stable: docs/errors.md'), message: z.string(), hint: z.string().optional().describe('What to do'),
      problems: z.array(configProblem).optional().describe('Everything that is wrong with a configuration, in the order of the file'),
    }),
  }),
}

/** The text of docs/schemas/<name>.schema.json. Members may be added in later versions, so unknown ones are allowed. */
export function schemaText(name: ResultName): string {
  const schema = z.toJSONSchema(resultSchemas[name], { target: 'draft-2020-12', io: 'input' })
  return `${JSON.stringify({ $schema: schema.$schema, title: resultTitles[name], ...schema }, undefined, 2)}\n`
}
