import { createHash, randomBytes } from 'node:crypto'
import { toHex } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import type { ApiKeyInfo, KeysCreateRequest, KeysCreateResult, KeysListResult } from '../core/wire/ipc/ipc-methods.ts'
import type { Grant } from '../ipc/handler.ts'
import type { Store } from '../store/store.ts'
import { decodeApiKey, encodeApiKey, storeKeys, type ApiKeyRecord } from './records.ts'

/** One more is refused with `limit`. */
export const API_KEYS_MAX = 256
const PREFIX = 'pk_'
const SECRET_SIZE = 32
const ID_SIZE = 8

/**
 * The keys by which programs show what they may do. A key is 256 random bits, so its plain SHA-256 is all that needs to be kept: there is
 * nothing to guess that a slow hash would protect, unlike with passwords. Keys are looked up by that hash; how long a look-up takes says
 * nothing about a key.
 */
export class ApiKeys {
  readonly #store: Store
  readonly #byHash = new Map<string, ApiKeyRecord>()

  private constructor(store: Store) {
    this.#store = store
  }

  static async load(store: Store): Promise<ApiKeys> {
    const keys = new ApiKeys(store)
    for await (const { key, value } of store.scan(storeKeys.apiKeys)) keys.#add(decodeApiKey(key, value))
    return keys
  }

  /** What the holder of a key may do; `undefined` for a text that is none, or was revoked. */
  grantOf(key: string): Grant | undefined {
    const record = this.#byHash.get(toHex(hashOf(key)))
    return record === undefined ? undefined : { key: record.id, scopes: record.scopes }
  }

  /** The key is good once it is on disk, and shown this once. */
  async create({ name, scopes }: KeysCreateRequest): Promise<KeysCreateResult> {
    if (scopes.length === 0) throw new PosternError('params', 'A key needs at least one scope.', { hint: 'status, admin, app:* or app:<name>', details: { member: 'scopes' } })
    if (this.#byHash.size >= API_KEYS_MAX) {
      throw new PosternError('limit', `There are ${API_KEYS_MAX} API keys, which is all there may be.`, { hint: 'Revoke some: postern keys list', details: { limit: 'keys', max: API_KEYS_MAX } })
    }
    const key = PREFIX + randomBytes(SECRET_SIZE).toString('base64url')
    const hash = hashOf(key)
    const record: ApiKeyRecord = { id: toHex(hash.subarray(0, ID_SIZE)), name, scopes: [...new Set(scopes)], hash, createdAt: Date.now() }
    // Counted before it is durable, so that many at once cannot pass the limit; the key is told to nobody until then.
    this.#add(record)
    try {
      await this.#store.put(storeKeys.apiKeys + record.id, encodeApiKey(record))
    } catch (error) {
      this.#byHash.delete(toHex(hash))
      throw error
    }
    return { id: record.id, key }
  }

  list(): KeysListResult {
    const keys = [...this.#byHash.values()].map(({ id, name, scopes, createdAt }): ApiKeyInfo => ({ id, ...(name === undefined ? {} : { name }), scopes, createdAt }))
    return { keys: keys.sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1)) }
  }

  /** It is refused from this call on, and stays so once this resolves. */
  async revoke(id: string): Promise<void> {
    const record = [...this.#byHash.values()].find((candidate) => candidate.id === id)
    if (record === undefined) throw new PosternError('params', `There is no API key ${id}.`, { hint: 'List them: postern keys list', details: { member: 'id' } })
    this.#byHash.delete(toHex(record.hash))
    await this.#store.delete(storeKeys.apiKeys + id)
  }

  #add(record: ApiKeyRecord): void {
    this.#byHash.set(toHex(record.hash), record)
  }
}

function hashOf(key: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update('postern api key v1\0').update(key).digest())
}
