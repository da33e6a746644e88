import type { JsonObject } from '../core/wire/ipc/ipc-json.ts'
import type { ApiKeyInfo, IpcMethod, IpcParams, KeysCreateResult } from '../core/wire/ipc/ipc-methods.ts'
import { readObjects, readTexts } from './results.ts'

export interface KeyWaitOptions {
  readonly signal?: AbortSignal
}

/** The daemon's API keys. All of it needs the scope `admin`. */
export interface ApiKeys {
  /** Makes a key for `scopes`: `status`, `admin`, `app:*`, `app:<name>`. The text of the key is shown this once. */
  create(options: KeyWaitOptions & { readonly scopes: readonly string[]; readonly name?: string }): Promise<KeysCreateResult>
  list(options?: KeyWaitOptions): Promise<readonly ApiKeyInfo[]>
  /** Refuses a key from now on, and ends the connections that came with it. */
  revoke(id: string, options?: KeyWaitOptions): Promise<void>
}

type Call = <M extends IpcMethod, T>(method: M, params: IpcParams<M>, options: KeyWaitOptions, take: (result: JsonObject) => T) => Promise<T>

export function makeApiKeys(call: Call): ApiKeys {
  return {
    create: ({ scopes, name, ...options }) =>
      call('keys.create', { scopes, ...(name === undefined ? {} : { name }) }, options, (result) => readTexts('answer to keys.create', result, 'id', 'key')),
    list: (options = {}) => call('keys.list', {}, options, (result) => readObjects('answer to keys.list', result, 'keys') as unknown as readonly ApiKeyInfo[]),
    revoke: (id, options = {}) => call('keys.revoke', { id }, options, () => undefined),
  }
}
