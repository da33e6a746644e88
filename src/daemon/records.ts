import { z } from 'zod'
import { formatAddress, parseAddress } from '../core/base/address.ts'
import { fromHex, fromUtf8, toHex, utf8 } from '../core/base/bytes.ts'
import { linkKinds } from '../core/base/domain.ts'
import { PosternError } from '../core/base/errors.ts'
import { toWallTime } from '../core/base/time.ts'
import type { InviteRecord, PeerRecord, PersistValue } from '../core/endpoint/contract.ts'
import { PRESENCE_KEYS_MAX, PRESENCE_KEY_SIZE, type PresenceKey } from '../core/session/presence.ts'
import { decodePeerId, encodePeerId } from '../core/wire/peer-id.ts'

/** Keys of the daemon's own entries in the store. Peers and invites are `peer/<id>` and `invite/<token id>`, as the core names them. */
export const storeKeys = { identity: 'node/identity', resetKey: 'node/reset-key', udpPort: 'node/udp-port', presence: 'node/presence', peers: 'peer/', invites: 'invite/', apiKeys: 'api-key/' } as const

/** Version of the JSON below. A reader takes what it knows and ignores members it does not. */
const RECORD_VERSION = 1

const hexBytes = (length: number): z.ZodType<Uint8Array> => z.string().transform((text, context): Uint8Array => {
  const bytes = fromHex(text)
  if (bytes?.length === length) return bytes
  context.addIssue({ code: 'custom', message: `${length} bytes in hexadecimal` })
  return z.NEVER
})
const id: z.ZodType<Uint8Array> = z.string().transform((text, context): Uint8Array => {
  const bytes = decodePeerId(text)
  if (bytes !== undefined) return bytes
  context.addIssue({ code: 'custom', message: 'a peer id' })
  return z.NEVER
})
const address: z.ZodType<Uint8Array> = z.string().transform((text, context): Uint8Array => {
  const bytes = parseAddress(text)
  if (bytes !== undefined) return bytes
  context.addIssue({ code: 'custom', message: 'an address' })
  return z.NEVER
})

// Also kinds that this version has not: who forbade a kind of path in a later one has not allowed it by going back.
const pathKind = z.enum(linkKinds)

const presenceKeys = z.array(z.object({ epoch: z.number().int().min(0), key: hexBytes(PRESENCE_KEY_SIZE) })).max(PRESENCE_KEYS_MAX)

const peerSchema = z.object({
  v: z.literal(RECORD_VERSION), id, name: z.string().optional(), addresses: z.array(address).max(16), addedAt: z.number(), connectedAt: z.number().optional(),
  hadSession: z.boolean(), greatest: hexBytes(12).optional(), lastSent: hexBytes(12).optional(),
  policy: z.object({ prefer: pathKind.optional(), only: pathKind.optional(), never: z.array(pathKind).max(linkKinds.length) }).optional(),
  presence: presenceKeys.optional(), invite: z.object({ token: hexBytes(16), expires: z.number() }).optional(),
})

const presenceSchema = z.object({ v: z.literal(RECORD_VERSION), keys: presenceKeys })

const inviteSchema = z.object({
  v: z.literal(RECORD_VERSION), token: hexBytes(16), expires: z.number(), name: z.string().optional(), spentBy: z.array(id), uses: z.number().int().min(1),
})

/** An API key as it is kept: what it is good for, and a hash of it. */
export interface ApiKeyRecord {
  readonly id: string
  readonly name: string | undefined
  readonly scopes: readonly string[]
  /** 32 bytes. */
  readonly hash: Uint8Array
  /** Unix milliseconds. */
  readonly createdAt: number
}

const apiKeySchema = z.object({
  v: z.literal(RECORD_VERSION), id: z.string(), name: z.string().optional(), scopes: z.array(z.string()), hash: hexBytes(32), createdAt: z.number(),
})

export function encodeApiKey({ id, name, scopes, hash, createdAt }: ApiKeyRecord): Uint8Array {
  return utf8(JSON.stringify({ v: RECORD_VERSION, id, name, scopes, hash: toHex(hash), createdAt }))
}

export function decodeApiKey(key: string, bytes: Uint8Array): ApiKeyRecord {
  const { id, name, scopes, hash, createdAt } = read(apiKeySchema, key, bytes)
  return { id, name, scopes, hash, createdAt }
}

export function encodeRecord(value: PersistValue): Uint8Array {
  return utf8(JSON.stringify(jsonOf(value)))
}

function jsonOf(value: PersistValue): object {
  switch (value.kind) {
    case 'peer': return peerJson(value.record)
    case 'invite': return inviteJson(value.record)
    case 'presence': return { v: RECORD_VERSION, keys: value.keys.map(keyJson) }
  }
}

function keyJson({ epoch, key }: PresenceKey): object {
  return { epoch, key: toHex(key) }
}

function peerJson(record: PeerRecord): object {
  const { name, greatest, lastSent, policy, presence, invite } = record
  return {
    v: RECORD_VERSION, id: encodePeerId(record.id), name, addresses: record.addresses.map((bytes) => formatAddress(bytes)), addedAt: record.addedAt,
    connectedAt: record.connectedAt, hadSession: record.hadSession, greatest: greatest === undefined ? undefined : toHex(greatest),
    lastSent: lastSent === undefined ? undefined : toHex(lastSent), policy, presence: presence?.map(keyJson), invite: invite === undefined ? undefined : { token: toHex(invite.token), expires: invite.expires },
  }
}

function inviteJson(record: InviteRecord): object {
  return { v: RECORD_VERSION, token: toHex(record.token), expires: record.expires, name: record.name, spentBy: record.spentBy.map(encodePeerId), uses: record.uses }
}

/** Throws `state_corrupt` for an entry that is not one: the file's seal was right, so a mistake of ours wrote it. */
export function decodePeer(key: string, bytes: Uint8Array): PeerRecord {
  const parsed = read(peerSchema, key, bytes)
  return {
    id: parsed.id, name: parsed.name, addresses: parsed.addresses, addedAt: toWallTime(parsed.addedAt), hadSession: parsed.hadSession,
    connectedAt: parsed.connectedAt === undefined ? undefined : toWallTime(parsed.connectedAt), greatest: parsed.greatest, lastSent: parsed.lastSent,
    policy: parsed.policy === undefined ? undefined : { prefer: parsed.policy.prefer, only: parsed.policy.only, never: parsed.policy.never },
    presence: parsed.presence, invite: parsed.invite === undefined ? undefined : { token: parsed.invite.token, expires: toWallTime(parsed.invite.expires) },
  }
}

export function decodePresence(key: string, bytes: Uint8Array): readonly PresenceKey[] {
  return read(presenceSchema, key, bytes).keys
}

export function decodeInvite(key: string, bytes: Uint8Array): InviteRecord {
  const { token, expires, name, spentBy, uses } = read(inviteSchema, key, bytes)
  return { token, expires: toWallTime(expires), name, spentBy, uses }
}

function read<T>(schema: z.ZodType<T>, key: string, bytes: Uint8Array): T {
  const text = fromUtf8(bytes)
  let json: unknown
  try {
    json = text === undefined ? undefined : JSON.parse(text)
  } catch {
    json = undefined
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  throw new PosternError('state_corrupt', `The entry ${key} of the state is not readable.`, {
    hint: 'Restore the state directory from a backup, or start with a new one (--dir).', details: { key },
  })
}
