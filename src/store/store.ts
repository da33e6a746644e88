import { PosternError } from '../core/base/errors.ts'

/** Largest key in UTF-8 bytes; the smallest is 1. */
export const KEY_SIZE_MAX = 512
/** Largest value in bytes; it may be empty. */
export const VALUE_SIZE_MAX: number = 1024 * 1024
/** Most operations of one {@link Store.batch}. */
export const BATCH_COUNT_MAX = 4096
/** Most bytes of keys and values in one {@link Store.batch}. */
export const BATCH_SIZE_MAX: number = 8 * 1024 * 1024
/** Changes a watcher may be behind; see {@link Change}. */
export const WATCH_BACKLOG_MAX = 1024
/** Watchers a store serves at once; one more is refused with `limit`. */
export const WATCHER_COUNT_MAX = 256

export interface Put { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array }
export interface Delete { readonly kind: 'delete'; readonly key: string }
export type Operation = Put | Delete

export interface Entry { readonly key: string; readonly value: Uint8Array }

/**
 * What a watcher is told, in the order in which it became durable. A change names its key only: read the value when it is
 * needed, it may have changed again. `lost` says that the watcher was more than {@link WATCH_BACKLOG_MAX} changes behind (or
 * that the backend lost sight of them): what waited is gone, scan again; the changes that follow are complete.
 */
export type Change = { readonly kind: 'put' | 'delete'; readonly key: string } | { readonly kind: 'lost' }

export interface ScanOptions {
  /** Only keys behind this one: with `limit`, the way to read in pages. */
  readonly after?: string
  /** At most this many entries. */
  readonly limit?: number
  /** Ends the scan by throwing its reason. */
  readonly signal?: AbortSignal
}

/**
 * What the daemon remembers: a map from keys to bytes, sorted by the UTF-8 bytes of the key. One daemon owns one store.
 *
 * - A write resolves when it is on disk, not before, and becomes visible to reads and watchers at that moment. Writes take
 *   effect in the order in which they were called; the ones in flight together share one trip to the disk.
 * - Bytes are copied in and out: the caller may reuse what it gave and change what it got.
 * - A write that rejects changed nothing that a read can see. Only when it set {@link Store.failure} may it yet be there after a
 *   restart: an error between "written" and "known to be written" leaves that open.
 *
 * Rejections are {@link PosternError}s: `params` a key that is empty or not well-formed; `limit` too large a key, value, batch,
 * store or backlog of writes; `closed` after {@link Store.close}; `unwritable` and `disk` when the machine refuses, and for
 * every write after {@link Store.failure} is set.
 */
export interface Store extends AsyncDisposable {
  get(key: string): Promise<Uint8Array | undefined>
  put(key: string, value: Uint8Array): Promise<void>
  /** Deleting what is not there is no error. */
  delete(key: string): Promise<void>
  /** All operations or none, applied in their order: of two on one key the later wins. An empty batch does nothing. */
  batch(operations: readonly Operation[]): Promise<void>

  /** Entries whose key begins with `prefix` ('' is all), in key order, all as they were at the moment of the first `next()`. */
  scan(prefix: string, options?: ScanOptions): AsyncIterable<Entry>

  /**
   * Changes of keys that begin with `prefix`, from the call on. Ends when `signal` aborts, the loop is left or the store closes.
   * To mirror a prefix without a gap: watch, then scan, then apply the changes.
   */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<Change>

  /**
   * Set once a write failed in a way that leaves unknown what is on disk. Reads go on answering what was durable before; every
   * further write rejects with this error; only opening the store anew helps.
   */
  readonly failure: PosternError | undefined

  /** Finishes the writes that were called, ends watchers, releases everything. Never rejects; a second call waits for the first. */
  close(): Promise<void>
}

/** Lone surrogates have no UTF-8 form, so two different strings would become one key. */
const LONE_SURROGATE = /\p{Surrogate}/u

/** The UTF-8 size of a key. Throws `params` or `limit` when it is not one. */
export function checkKey(key: string): number {
  if (key === '' || LONE_SURROGATE.test(key)) throw new PosternError('params', 'A key of the store is a text that is not empty and well-formed.')
  const size = Buffer.byteLength(key)
  if (size > KEY_SIZE_MAX) throw new PosternError('limit', `A key of the store has at most ${KEY_SIZE_MAX} bytes; this one has ${size}.`, { details: { limit: KEY_SIZE_MAX } })
  return size
}

/** Throws `params` when `prefix` is not the beginning of a key. */
export function checkPrefix(prefix: string): void {
  if (LONE_SURROGATE.test(prefix)) throw new PosternError('params', 'A prefix of keys is well-formed text.')
}

/** Throws `params` or `limit` when the operations are not a batch. */
export function checkOperations(operations: readonly Operation[]): void {
  if (operations.length > BATCH_COUNT_MAX) {
    throw new PosternError('limit', `A batch has at most ${BATCH_COUNT_MAX} operations; this one has ${operations.length}.`, { details: { limit: BATCH_COUNT_MAX } })
  }
  let size = 0
  for (const operation of operations) {
    size += checkKey(operation.key)
    if (operation.kind === 'delete') continue
    size += operation.value.length
    if (operation.value.length > VALUE_SIZE_MAX) {
      throw new PosternError('limit', `A value of the store has at most ${VALUE_SIZE_MAX} bytes; this one has ${operation.value.length}.`, { details: { limit: VALUE_SIZE_MAX } })
    }
  }
  if (size > BATCH_SIZE_MAX) throw new PosternError('limit', `A batch has at most ${BATCH_SIZE_MAX} bytes; this one has ${size}.`, { details: { limit: BATCH_SIZE_MAX } })
}

/** The same operations with their own copy of every value, so that the caller may reuse its bytes. */
export function copyOperations(operations: readonly Operation[]): Operation[] {
  return operations.map((operation) => (operation.kind === 'put' ? { kind: 'put', key: operation.key, value: copyBytes(operation.value) } : operation))
}

/** A copy whatever the bytes are: `slice` of a Buffer, which callers may well hand in, is a view. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

export function closedError(): PosternError {
  return new PosternError('closed', 'The store is closed.')
}
