/** Most ranges one message may be in pieces of (WIRE.md §5); more is LIMIT. */
export const RANGES_MAX = 1024

/**
 * Half-open ranges of bytes or numbers, disjoint and ascending. Fragments mostly arrive in order, so extending the last or
 * only range is the fast path and costs no allocation.
 */
export class RangeSet {
  /** lo, hi, lo, hi, … */
  #bounds: number[] = []

  /** How many disjoint ranges there are. */
  get count(): number {
    return this.#bounds.length / 2
  }

  /** End of the range that begins at 0; 0 when there is none. */
  get prefix(): number {
    return this.#bounds.length > 0 && this.#bounds[0] === 0 ? this.#bounds[1]! : 0
  }

  /** One past the greatest member; 0 when empty. */
  get end(): number {
    return this.#bounds.length === 0 ? 0 : this.#bounds[this.#bounds.length - 1]!
  }

  /** Adds [lo, hi) and returns how many of its members are new. */
  add(lo: number, hi: number): number {
    if (hi <= lo) return 0
    const bounds = this.#bounds
    const n = bounds.length
    if (n === 0 || lo > bounds[n - 1]!) {
      bounds.push(lo, hi)
      return hi - lo
    }
    if (lo === bounds[n - 1]!) {
      bounds[n - 1] = hi
      return hi - lo
    }
    return this.#merge(lo, hi)
  }

  has(value: number): boolean {
    const bounds = this.#bounds
    for (let i = bounds.length - 2; i >= 0; i -= 2) {
      if (value >= bounds[i]!) return value < bounds[i + 1]!
    }
    return false
  }

  covers(lo: number, hi: number): boolean {
    if (hi <= lo) return true
    const bounds = this.#bounds
    for (let i = bounds.length - 2; i >= 0; i -= 2) {
      if (lo >= bounds[i]!) return hi <= bounds[i + 1]!
    }
    return false
  }

  /** Calls `visit` for each part of [lo, hi) that is not in the set. */
  gaps(lo: number, hi: number, visit: (lo: number, hi: number) => void): void {
    let from = lo
    const bounds = this.#bounds
    for (let i = 0; i < bounds.length && from < hi; i += 2) {
      if (bounds[i + 1]! <= from) continue
      if (bounds[i]! > from) visit(from, Math.min(hi, bounds[i]!))
      from = Math.max(from, bounds[i + 1]!)
    }
    if (from < hi) visit(from, hi)
  }

  #merge(lo: number, hi: number): number {
    const bounds = this.#bounds
    let first = 0
    while (bounds[first + 1]! < lo) first += 2
    let after = first
    let overlap = 0
    let low = lo
    let high = hi
    while (after < bounds.length && bounds[after]! <= hi) {
      overlap += Math.max(0, Math.min(hi, bounds[after + 1]!) - Math.max(lo, bounds[after]!))
      low = Math.min(low, bounds[after]!)
      high = Math.max(high, bounds[after + 1]!)
      after += 2
    }
    bounds.splice(first, after - first, low, high)
    return hi - lo - overlap
  }
}
