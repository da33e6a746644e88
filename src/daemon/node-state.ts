import { randomBytes } from 'node:crypto'
import { readU16, writeU16 } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import type { InviteRecord, PeerRecord } from '../core/endpoint/contract.ts'
import type { PresenceKey } from '../core/session/presence.ts'
import type { Operation, Store } from '../store/store.ts'
import { decodeInvite, decodePeer, decodePresence, storeKeys } from './records.ts'

/** What the daemon reads from its store before it builds the endpoint. */
export interface NodeState {
  /** 32 bytes; the caller wipes it once the identity is made. */
  readonly seed: Uint8Array
  readonly resetKey: Uint8Array
  /** 0 before the first start with a drawn port. */
  readonly udpPort: number
  readonly presence: readonly PresenceKey[]
  readonly peers: readonly PeerRecord[]
  readonly invites: readonly InviteRecord[]
  /** The identity was made just now. */
  readonly fresh: boolean
}

/** Reads the state, and makes identity and keys at the first start: durable before they are used. */
export async function loadNodeState(store: Store): Promise<NodeState> {
  const [identity, reset, port, presence] = await Promise.all([storeKeys.identity, storeKeys.resetKey, storeKeys.udpPort, storeKeys.presence].map((key) => store.get(key)))
  const seed = identity ?? new Uint8Array(randomBytes(32))
  const resetKey = reset ?? new Uint8Array(randomBytes(32))
  if (seed.length !== 32 || resetKey.length !== 32) {
    throw new PosternError('state_corrupt', 'The identity in the state is not readable.', { hint: 'Restore the state directory from a backup, or start with a new one (--dir).' })
  }
  const made: Operation[] = []
  if (identity === undefined) made.push({ kind: 'put', key: storeKeys.identity, value: seed })
  if (reset === undefined) made.push({ kind: 'put', key: storeKeys.resetKey, value: resetKey })
  if (made.length > 0) await store.batch(made)
  const peers: PeerRecord[] = []
  for await (const { key, value } of store.scan(storeKeys.peers)) peers.push(decodePeer(key, value))
  const invites: InviteRecord[] = []
  for await (const { key, value } of store.scan(storeKeys.invites)) invites.push(decodeInvite(key, value))
  return { seed, resetKey, udpPort: port?.length === 2 ? readU16(port, 0) : 0, presence: presence === undefined ? [] : decodePresence(storeKeys.presence, presence), peers, invites, fresh: identity === undefined }
}

/** Keeps the drawn port, so that peers find this node again after a restart. */
export async function storeUdpPort(store: Store, port: number): Promise<void> {
  const value = new Uint8Array(2)
  writeU16(value, 0, port)
  await store.put(storeKeys.udpPort, value)
}
