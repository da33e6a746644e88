import { PosternError } from '../core/base/errors.ts'
import { WATCHER_COUNT_MAX, WATCH_BACKLOG_MAX, type Change, type Operation } from './store.ts'

/** Everyone who watches one store. Bounded: {@link WATCHER_COUNT_MAX} watchers of {@link WATCH_BACKLOG_MAX} changes each. */
export class Watchers {
  readonly #watchers = new Set<Watcher>()

  /** A watcher of `prefix` from now on. Throws `limit` when there are too many. */
  add(prefix: string, signal: AbortSignal): AsyncIterable<Change> {
    if (this.#watchers.size >= WATCHER_COUNT_MAX) {
      throw new PosternError('limit', `A store serves at most ${WATCHER_COUNT_MAX} watchers.`, { details: { limit: WATCHER_COUNT_MAX } })
    }
    const watcher = new Watcher(prefix, signal, () => this.#watchers.delete(watcher))
    if (!signal.aborted) this.#watchers.add(watcher)
    return watcher
  }

  /** Tells what became durable. */
  tell(operations: readonly Operation[]): void {
    for (const watcher of this.#watchers) {
      for (const { kind, key } of operations) watcher.tell(kind, key)
    }
  }

  /** Ends all of them; what waits is still delivered. */
  end(): void {
    for (const watcher of this.#watchers) watcher.end()
  }
}

class Watcher implements AsyncIterableIterator<Change> {
  readonly #prefix: string
  readonly #signal: AbortSignal
  readonly #forget: () => void
  /** At most {@link WATCH_BACKLOG_MAX}: when full, all of it is replaced by one `lost`. */
  #waiting: Change[] = []
  /** Calls of `next` that wait for a change; a `for await` loop has at most one. */
  readonly #asking: ((result: IteratorResult<Change, undefined>) => void)[] = []
  #ended = false
  readonly #abort = (): void => {
    this.#waiting = []
    this.end()
  }

  constructor(prefix: string, signal: AbortSignal, forget: () => void) {
    this.#prefix = prefix
    this.#signal = signal
    this.#forget = forget
    if (signal.aborted) this.#ended = true
    else signal.addEventListener('abort', this.#abort, { once: true })
  }

  tell(kind: 'put' | 'delete', key: string): void {
    if (!key.startsWith(this.#prefix)) return
    const asking = this.#asking.shift()
    if (asking !== undefined) {
      asking({ done: false, value: { kind, key } })
      return
    }
    if (this.#waiting.length >= WATCH_BACKLOG_MAX) this.#waiting = [{ kind: 'lost' }]
    else this.#waiting.push({ kind, key })
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#signal.removeEventListener('abort', this.#abort)
    this.#forget()
    for (const asking of this.#asking.splice(0)) asking({ done: true, value: undefined })
  }

  next(): Promise<IteratorResult<Change, undefined>> {
    const value = this.#waiting.shift()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#asking.push(resolve))
  }

  /** The loop was left. */
  return(): Promise<IteratorResult<Change, undefined>> {
    this.#abort()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
