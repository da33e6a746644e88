/** A first-in first-out queue of values with a bound; storage doubles on demand. When full, {@link push} refuses. */
export class BoundedQueue<T> {
  /** Made with the first value: most queues of most sessions never hold one. */
  #items: (T | undefined)[] = []
  #head = 0
  #size = 0
  readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get size(): number {
    return this.#size
  }

  /** Whether the value was taken: `false` when the queue is full, and nothing changed. */
  push(item: T): boolean {
    if (this.#size >= this.capacity) return false
    if (this.#size === this.#items.length) this.#grow()
    this.#items[(this.#head + this.#size++) & (this.#items.length - 1)] = item
    return true
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#items.length - 1)
    this.#size--
    return item
  }

  peek(): T | undefined {
    return this.#size === 0 ? undefined : this.#items[this.#head]
  }

  clear(): void {
    this.#items = []
    this.#head = 0
    this.#size = 0
  }

  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.#size; i++) yield this.#items[(this.#head + i) & (this.#items.length - 1)] as T
  }

  #grow(): void {
    const items = new Array<T | undefined>(this.#items.length === 0 ? Math.min(16, roundUp(this.capacity)) : this.#items.length * 2)
    for (let i = 0; i < this.#size; i++) items[i] = this.#items[(this.#head + i) & (this.#items.length - 1)]
    this.#items = items
    this.#head = 0
  }
}

function roundUp(value: number): number {
  let power = 1
  while (power < value) power *= 2
  return power
}
