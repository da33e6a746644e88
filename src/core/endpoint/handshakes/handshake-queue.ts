import { assert } from '../../base/assert.ts'

const QUEUE_MAX = 64

export interface Queued {
  /** Source prefix as a table key. */
  readonly prefix: string
  /** Came from where a known peer was last seen. */
  readonly known: boolean
  /** Its source is proven, by mac2 or by the link. */
  readonly validated: boolean
}

/**
 * Messages A that wait for their share of the CPU (WIRE.md §3.5, step 8). Served: known peers' first, then those whose source
 * is proven, prefixes in turn. BOUNDED: when full, the newest of the prefix with most entries goes, of unproven ones if there
 * are any, so that neither a spoofer nor one place can crowd out the others.
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
    const next = this.#inTurn((entry) => entry.known) ?? this.#inTurn((entry) => entry.validated) ?? this.#inTurn(() => true)
    if (next === undefined) return undefined
    this.#entries.splice(this.#entries.indexOf(next), 1)
    this.#lastPrefix = next.prefix
    return next
  }

  clear(): void {
    this.#entries.length = 0
  }

  /** The oldest of a class that is of another prefix than the last one served, or the oldest. */
  #inTurn(belongs: (entry: T) => boolean): T | undefined {
    const entries = this.#entries.filter(belongs)
    return entries.find((entry) => entry.prefix !== this.#lastPrefix) ?? entries[0]
  }

  #victim(): number {
    const unproven = this.#entries.filter((entry) => !entry.validated)
    const candidates = unproven.length > 0 ? unproven : this.#entries
    const counts = new Map<string, number>()
    for (const { prefix } of candidates) counts.set(prefix, (counts.get(prefix) ?? 0) + 1)
    const most = Math.max(...counts.values())
    const victim = candidates.findLast((entry) => counts.get(entry.prefix) === most)
    assert(victim !== undefined, 'a full queue has somebody to lose')
    return this.#entries.indexOf(victim)
  }
}
