/** What {@link TopicQueue.take} hands out: a change to tell, how many were not told, or that all there is was told. */
export type TopicStep<K, C> =
  | { readonly kind: 'change'; readonly key: K; readonly change: C | undefined }
  | { readonly kind: 'lost'; readonly count: number }
  | { readonly kind: 'synced' }

export interface TopicQueueOptions<K, C> {
  /** Changes that wait. One more: see {@link TopicQueueOptions.keys}. */
  readonly capacity: number
  /** Of two changes of the same thing, what is to be told: the earlier one counts as lost. */
  readonly merge: (before: C, now: C) => C
  /**
   * Everything that has a state now, for a topic of things that do. When changes find no room they are dropped and counted, and the state
   * of everything is told anew. Where it is absent, the change that waited longest is dropped and counted.
   */
  readonly keys?: () => readonly K[]
}

/**
 * Changes of one topic on their way to one reader who may be slow: a thing that changes again before it was told waits once, as it
 * is now. Bounded in changes by `capacity`; during a pass over everything, it holds the list of keys besides.
 */
export class TopicQueue<K, C> {
  readonly #options: TopicQueueOptions<K, C>
  readonly #waiting = new Map<K, C>()
  #lost = 0
  #passDue = false
  #pass: readonly K[] | undefined
  #passed = 0

  constructor(options: TopicQueueOptions<K, C>) {
    this.#options = options
  }

  /** Tells the state of everything, from the next step on. */
  startPass(): void {
    this.#passDue = true
  }

  add(key: K, change: C): void {
    const { capacity, merge, keys } = this.#options
    const before = this.#waiting.get(key)
    if (before !== undefined) {
      this.#lost++
      this.#waiting.set(key, merge(before, change))
    } else if (this.#waiting.size < capacity) {
      this.#waiting.set(key, change)
    } else if (keys === undefined) {
      this.#dropOldest()
      this.#waiting.set(key, change)
    } else {
      this.#lost += this.#waiting.size + 1
      this.#waiting.clear()
      this.#passDue = true
    }
  }

  take(): TopicStep<K, C> | undefined {
    // Not in the middle of a pass: behind `lost`, the reader takes all it knows for old, also what this pass told.
    if (this.#pass !== undefined) return this.#nextOfPass(this.#pass)
    if (this.#lost > 0) {
      const count = this.#lost
      this.#lost = 0
      return { kind: 'lost', count }
    }
    if (this.#passDue) {
      this.#passDue = false
      // What waits is newer than the list, or part of it: told behind it, it is right either way.
      this.#pass = this.#options.keys?.() ?? []
      this.#passed = 0
      return this.#nextOfPass(this.#pass)
    }
    for (const [key, change] of this.#waiting) {
      this.#waiting.delete(key)
      return { kind: 'change', key, change }
    }
    return undefined
  }

  #nextOfPass(pass: readonly K[]): TopicStep<K, C> {
    if (this.#passed < pass.length) return { kind: 'change', key: pass[this.#passed++]!, change: undefined }
    this.#pass = undefined
    return { kind: 'synced' }
  }

  #dropOldest(): void {
    for (const key of this.#waiting.keys()) {
      this.#waiting.delete(key)
      this.#lost++
      return
    }
  }
}
