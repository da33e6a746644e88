import { copyBytes, type Entry, type Operation, type ScanOptions } from './store.ts'

/** Bytes an entry takes in the sealed body besides its key and value: key size u16, value size u32. */
export const ENTRY_OVERHEAD = 6

/**
 * Negative, zero or positive as the UTF-8 bytes of `a` are before, equal to or behind those of `b`. JavaScript compares UTF-16
 * units, where a surrogate (U+10000 and above) comes before U+E000 … U+FFFF; in UTF-8 it comes behind.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i)
    const right = b.charCodeAt(i)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

function rank(unit: number): number {
  return unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}

/**
 * Keys in order with their values: the memory of a store. A store publishes one and from then on changes only copies
 * ({@link Entries.copy}), so whoever holds one holds a moment: that is what makes a scan consistent. A copy costs O(n), which
 * an engine that writes everything anyway does not feel. The bound on the size is the engine's.
 */
export class Entries {
  readonly #values: Map<string, Uint8Array>
  readonly #keys: string[]
  #size: number

  private constructor(values: Map<string, Uint8Array>, keys: string[], size: number) {
    this.#values = values
    this.#keys = keys
    this.#size = size
  }

  static empty(): Entries {
    return new Entries(new Map(), [], 0)
  }

  copy(): Entries {
    return new Entries(new Map(this.#values), this.#keys.slice(), this.#size)
  }

  get count(): number {
    return this.#keys.length
  }

  /** Bytes of all entries in the sealed body, {@link ENTRY_OVERHEAD} included. */
  get size(): number {
    return this.#size
  }

  /** The value itself, not a copy. */
  get(key: string): Uint8Array | undefined {
    return this.#values.get(key)
  }

  /** Applies operations in order and keeps their values. */
  apply(operations: readonly Operation[]): void {
    for (const operation of operations) {
      if (operation.kind === 'put') this.#put(operation.key, operation.value)
      else this.#delete(operation.key)
    }
  }

  /** The operations that undo `operations`, to be computed before these are applied. */
  inverse(operations: readonly Operation[]): Operation[] {
    return operations.map(({ key }) => {
      const value = this.#values.get(key)
      return value === undefined ? { kind: 'delete', key } : { kind: 'put', key, value }
    })
  }

  /** In key order; values are not copies. */
  *all(): Generator<Entry> {
    for (const key of this.#keys) yield { key, value: this.#values.get(key)! }
  }

  /** What {@link ScanOptions} asks for, in key order; values are copies. */
  *scan(prefix: string, options: ScanOptions): Generator<Entry> {
    const { after, limit = Infinity } = options
    let i = this.#indexOf(prefix)
    if (after !== undefined) {
      const behind = this.#indexOf(after)
      i = Math.max(i, this.#keys[behind] === after ? behind + 1 : behind)
    }
    for (let given = 0; given < limit && i < this.#keys.length; given++, i++) {
      const key = this.#keys[i]!
      if (!key.startsWith(prefix)) return
      yield { key, value: copyBytes(this.#values.get(key)!) }
    }
  }

  #put(key: string, value: Uint8Array): void {
    const before = this.#values.get(key)
    if (before === undefined) {
      // Loading comes in key order, so the end is looked at first.
      const last = this.#keys.at(-1)
      if (last === undefined || compareKeys(last, key) < 0) this.#keys.push(key)
      else this.#keys.splice(this.#indexOf(key), 0, key)
      this.#size += ENTRY_OVERHEAD + Buffer.byteLength(key)
    }
    this.#size += value.length - (before?.length ?? 0)
    this.#values.set(key, value)
  }

  #delete(key: string): void {
    const before = this.#values.get(key)
    if (before === undefined) return
    this.#values.delete(key)
    this.#keys.splice(this.#indexOf(key), 1)
    this.#size -= ENTRY_OVERHEAD + Buffer.byteLength(key) + before.length
  }

  /** Index of the first key that is not before `key`. */
  #indexOf(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareKeys(this.#keys[middle]!, key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Entries handed out between two turns of the event loop, so that a long scan never stalls it. */
const SCAN_STRIDE = 1024

/** {@link Store.scan} over entries that are read at the first `next()`. */
export async function* scanEntries(current: () => Entries, prefix: string, options: ScanOptions): AsyncGenerator<Entry> {
  const { signal } = options
  signal?.throwIfAborted()
  let given = 0
  for (const entry of current().scan(prefix, options)) {
    if (++given % SCAN_STRIDE === 0) await new Promise(setImmediate)
    signal?.throwIfAborted()
    yield entry
  }
}
