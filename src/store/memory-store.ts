import type { PosternError } from '../core/base/errors.ts'
import { Entries, scanEntries } from './entries.ts'
import { checkKey, checkOperations, checkPrefix, closedError, copyBytes, copyOperations, type Change, type Entry, type Operation, type ScanOptions, type Store } from './store.ts'
import { Watchers } from './watchers.ts'

/**
 * A store that forgets: the state of simulated peers, which must not touch a disk ten thousand times. It obeys the same
 * conformance suite; "on disk" is one turn of the event loop. Unbounded but for its callers, and it never fails.
 */
export class MemoryStore implements Store {
  readonly failure: PosternError | undefined = undefined
  #entries = Entries.empty()
  readonly #watchers = new Watchers()
  /** Ends when the last write that was called is done. */
  #writes: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  async get(key: string): Promise<Uint8Array | undefined> {
    checkKey(key)
    this.#checkOpen()
    const value = this.#entries.get(key)
    return Promise.resolve(value === undefined ? undefined : copyBytes(value))
  }

  put(key: string, value: Uint8Array): Promise<void> {
    return this.batch([{ kind: 'put', key, value }])
  }

  delete(key: string): Promise<void> {
    return this.batch([{ kind: 'delete', key }])
  }

  async batch(operations: readonly Operation[]): Promise<void> {
    checkOperations(operations)
    this.#checkOpen()
    if (operations.length === 0) return
    const own = copyOperations(operations)
    this.#writes = this.#writes.then(() => new Promise(setImmediate)).then(() => {
      const next = this.#entries.copy()
      next.apply(own)
      this.#entries = next
      this.#watchers.tell(own)
    })
    await this.#writes
  }

  scan(prefix: string, options: ScanOptions = {}): AsyncIterable<Entry> {
    checkPrefix(prefix)
    return scanEntries(() => {
      this.#checkOpen()
      return this.#entries
    }, prefix, options)
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<Change> {
    checkPrefix(prefix)
    this.#checkOpen()
    return this.#watchers.add(prefix, signal)
  }

  close(): Promise<void> {
    this.#closing ??= this.#writes.then(() => {
      this.#watchers.end()
    })
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw closedError()
  }
}
