import { assert } from '../base/assert.ts'

const QUEUE_MAX = 64

export interface Queued {
  /** Source prefix as a table key. */
  readonly prefix: string
  /** Came from where a known peer was last seen. */
  readonly known: boolean
}

/**
 * Messages A that wait for their share of the CPU (WIRE.md §3.5, step 8). BOUNDED: when full, the newest of the prefix with
 * most entries goes, so that one place cannot crowd out the others. Served: known peers' first, then prefixes in turn.
 */
export class HandshakeQueue<T extends Queued> {
  readonly #entries: T[] = []
  #lastPrefix = ''

  get size(): number {
    return this.#entries.length
  }

  /** Returns whether nobody had to go for it. */
  push(entry: T): boolean {
    this.#entries.push(entry)
    if (this.#entries.length <= QUEUE_MAX) return true
    this.#entries.splice(this.#victim(), 1)
    return false
  }

  shift(): T | undefined {
    let at = this.#entries.findIndex((entry) => entry.known)
    if (at < 0) at = this.#entries.findIndex((entry) => entry.prefix !== this.#lastPrefix)
    const next = this.#entries.splice(Math.max(at, 0), 1)[0]
    if (next !== undefined) this.#lastPrefix = next.prefix
    return next
  }

  clear(): void {
    this.#entries.length = 0
  }

  #victim(): number {
    const counts = new Map<string, number>()
    let largest = ''
    for (const { prefix } of this.#entries) {
      const count = (counts.get(prefix) ?? 0) + 1
      counts.set(prefix, count)
      if (count >= (counts.get(largest) ?? 0)) largest = prefix
    }
    const at = this.#entries.findLastIndex((entry) => entry.prefix === largest)
    assert(at >= 0, 'a full queue has a largest prefix')
    return at
  }
}
