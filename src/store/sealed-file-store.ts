import { join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import type { Entries} from './entries.ts';
import { scanEntries } from './entries.ts'
import { explain, nodeFs, removeLeftovers, type Fs } from './fs.ts'
import { slotKinds, type KeySource } from './keys.ts'
import { makeSeal, makeState, openState, readState, STATE_FILE, STATE_SIZE_MAX, writeState, type OpenState, type Seal } from './state-file.ts'
import { checkKey, checkOperations, checkPrefix, closedError, copyBytes, copyOperations, type Change, type Entry, type Operation, type ScanOptions, type Store } from './store.ts'
import { Watchers } from './watchers.ts'

/** Bounds on what waits for the next write (as much again may be in the one under way); a write beyond is refused with `limit`. */
export const BACKLOG_COUNT_MAX = 65_536
export const BACKLOG_SIZE_MAX: number = 32 * 1024 * 1024

export interface SealedFileOptions {
  /** An existing directory that nobody else writes in: take the instance lock first. */
  readonly directory: string
  /** Used to open, in this order; for a new store one slot is made for each. */
  readonly keys: readonly KeySource[]
  readonly fs?: Fs
  /** Bytes of all entries together, at most {@link STATE_SIZE_MAX}. */
  readonly sizeMax?: number
}

interface WriteRequest {
  readonly operations: readonly Operation[]
  readonly seal: Seal | undefined
  readonly size: number
  readonly resolve: () => void
  readonly reject: (error: PosternError) => void
}

/**
 * The whole state in one AES-256-GCM file (layout: sealed-file.ts), replaced atomically: temporary file, fsync, rename, fsync of
 * the directory. A crash leaves the old file or the new one, never a mixture. Cost is O(state) per write, so this engine is for
 * some thousand entries; writes in flight share one file (group commit).
 *
 * Failures while writing: before the fsync the attempt is dropped, its writes reject and the next may succeed (disk full). From
 * the fsync on nobody knows what is on disk: Linux marks pages clean after a failed fsync, so a second one "succeeds" without
 * them. The store then refuses writes for good ({@link Store.failure}).
 */
export class SealedFileStore implements Store {
  /** Whether there was no state before. */
  readonly created: boolean
  readonly #state: OpenState
  readonly #watchers = new Watchers()
  /** Bounded by BACKLOG_COUNT_MAX and BACKLOG_SIZE_MAX; when full, refuse. */
  #backlog: WriteRequest[] = []
  #backlogSize = 0
  #writing: Promise<void> | undefined
  #failure: PosternError | undefined
  #closing: Promise<void> | undefined

  private constructor(state: OpenState, created: boolean) {
    this.#state = state
    this.created = created
  }

  /**
   * Opens the state file of a directory or makes it. Rejects, with the file untouched: `state_corrupt` damaged or not ours;
   * `state_version` written by a later version; `state_key`, `passphrase` see keys.ts; `unwritable`, `disk` the machine refused.
   */
  static async open(options: SealedFileOptions): Promise<SealedFileStore> {
    const { directory: directoryPath, keys, fs = nodeFs, sizeMax = STATE_SIZE_MAX } = options
    const path = join(directoryPath, STATE_FILE)
    try {
      // Held open, so that running out of file descriptors cannot come between a rename and its fsync.
      const directory = await fs.open(directoryPath, 'directory')
      try {
        const bytes = await readState(fs, path, sizeMax)
        const place = { fs, directoryPath, directory, sizeMax }
        const state = bytes === undefined ? await makeState(place, keys) : await openState(place, keys, path, bytes)
        await removeLeftovers(fs, path)
        if (bytes === undefined) {
          const written = await writeState(state, state.entries, state.seal)
          if (written.kind === 'failed') throw written.reason
        }
        return new SealedFileStore(state, bytes === undefined)
      } catch (error) {
        await directory.close().catch(() => undefined)
        throw error
      }
    } catch (error) {
      throw explain(error, `open the state file ${path}`, directoryPath)
    }
  }

  get failure(): PosternError | undefined {
    return this.#failure
  }

  /** How often the file was written since it exists. */
  get generation(): number {
    return this.#state.generation
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    checkKey(key)
    this.#checkOpen()
    const value = this.#state.entries.get(key)
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
    if (operations.length > 0) await this.#enqueue(copyOperations(operations), undefined)
  }

  scan(prefix: string, options: ScanOptions = {}): AsyncIterable<Entry> {
    checkPrefix(prefix)
    return scanEntries(() => {
      this.#checkOpen()
      return this.#state.entries
    }, prefix, options)
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<Change> {
    checkPrefix(prefix)
    this.#checkOpen()
    return this.#watchers.add(prefix, signal)
  }

  /**
   * Seals the state under a new data key with one slot per source, and resolves when that is on disk: from then on only these
   * keys open it (a copy of the old file still opens with the old ones). `state_version` when a slot would be lost that only a
   * later version understands.
   */
  async changeKeys(keys: readonly KeySource[]): Promise<void> {
    this.#checkOpen()
    const { fs, storeId, seal } = this.#state
    const known: readonly number[] = Object.values(slotKinds)
    if (seal.slots.some(({ kind }) => !known.includes(kind))) {
      throw new PosternError('state_version', 'The state has a key that only a newer version of posternd understands.', { hint: 'Change the keys with the newer version.' })
    }
    const next = await makeSeal(fs, keys, storeId, seal.dataKeyVersion + 1)
    this.#checkOpen()
    await this.#enqueue([], next)
  }

  close(): Promise<void> {
    this.#closing ??= this.#shut()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shut(): Promise<void> {
    await this.#writing
    this.#watchers.end()
    // Everything is on disk: an error of this close takes nothing back.
    await this.#state.directory.close().catch(() => undefined)
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw closedError()
  }

  #enqueue(operations: readonly Operation[], seal: Seal | undefined): Promise<void> {
    const size = operations.reduce((sum, operation) => sum + (operation.kind === 'put' ? operation.value.length : 0), 0)
    if (this.#backlog.length >= BACKLOG_COUNT_MAX || this.#backlogSize + size > BACKLOG_SIZE_MAX) {
      return Promise.reject(new PosternError('limit', 'Too many writes are waiting for the disk.', { details: { limit: BACKLOG_SIZE_MAX } }))
    }
    return new Promise((resolve, reject) => {
      this.#backlog.push({ operations, seal, size, resolve, reject })
      this.#backlogSize += size
      this.#writing ??= this.#writeBacklog()
    })
  }

  /** Never rejects: every failure goes to the writes it concerns. */
  async #writeBacklog(): Promise<void> {
    // One turn of the loop, so that the writes of everybody in this turn share the first file.
    await new Promise(setImmediate)
    while (this.#backlog.length > 0) {
      const group = this.#backlog
      this.#backlog = []
      this.#backlogSize = 0
      await this.#commit(group)
    }
    this.#writing = undefined
  }

  async #commit(group: readonly WriteRequest[]): Promise<void> {
    const entries = this.#state.entries.copy()
    const accepted: WriteRequest[] = []
    for (const request of group) {
      const refusal = this.#failure ?? applyWithin(entries, request.operations, this.#state.sizeMax)
      if (refusal === undefined) accepted.push(request)
      else request.reject(refusal)
    }
    if (accepted.length === 0) return
    const seal = accepted.findLast((request) => request.seal !== undefined)?.seal ?? this.#state.seal
    const written = await writeState(this.#state, entries, seal)
    if (written.kind === 'failed') {
      if (written.isUncertain) this.#failure = written.reason
      for (const request of accepted) request.reject(written.reason)
      return
    }
    for (const request of accepted) {
      this.#watchers.tell(request.operations)
      request.resolve()
    }
  }
}

/** Applies operations unless the state would grow beyond its bound; deleting always goes. */
function applyWithin(entries: Entries, operations: readonly Operation[], sizeMax: number): PosternError | undefined {
  const before = entries.size
  const undo = entries.inverse(operations)
  entries.apply(operations)
  if (entries.size <= Math.max(sizeMax, before)) return undefined
  entries.apply(undo)
  return new PosternError('limit', `The state would be larger than ${sizeMax} bytes.`, { hint: 'Remove peers or invites that are no longer needed.', details: { limit: sizeMax } })
}

