import type { EndpointEvent } from '../core/endpoint/contract.ts'
import type { Operation, Store } from '../store/store.ts'
import { encodeRecord } from './records.ts'

type Persist = Extract<EndpointEvent, { readonly kind: 'persist' }>

/** What need not be on disk before it is told waits this long for company. */
const LAZY_MS = 1000

/**
 * Writes the core's `persist` events: the last value of a key wins, what has a barrier at once and everything noted before it
 * together with it, the rest within a second. A failed write is reported once; from then on the state on disk is what it was.
 */
export class Persister {
  readonly #store: Store
  readonly #onFailure: (error: unknown) => void
  readonly #dirty = new Map<string, Persist>()
  #writing: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined

  constructor(store: Store, onFailure: (error: unknown) => void) {
    this.#store = store
    this.#onFailure = onFailure
  }

  /** Takes an event over. With a barrier, resolves when it is durable; rejects when the disk refuses. */
  add(event: Persist): Promise<void> | undefined {
    const known = this.#dirty.get(event.key)
    if (known === undefined || known.sequence < event.sequence) this.#dirty.set(event.key, event)
    if (event.barrier) return this.flush()
    this.#timer ??= setTimeout(() => {
      this.flush().catch(() => undefined)
    }, LAZY_MS).unref()
    return undefined
  }

  /** Resolves when everything taken so far is durable. */
  flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const operations: Operation[] = [...this.#dirty.values()].map(({ key, value }) => (value === undefined ? { kind: 'delete', key } : { kind: 'put', key, value: encodeRecord(value) }))
    this.#dirty.clear()
    if (operations.length === 0) return this.#writing
    const written = this.#store.batch(operations).catch((error: unknown) => {
      this.#onFailure(error)
      throw error
    })
    // One after the other: whoever flushes later must not be told before what was taken earlier is durable.
    this.#writing = Promise.all([this.#writing.catch(() => undefined), written]).then(() => undefined)
    this.#writing.catch(() => undefined)
    return this.#writing
  }
}
