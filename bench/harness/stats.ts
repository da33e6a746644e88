/** Ratio of neighbouring buckets: a percentile is within a quarter of a per cent. */
const STEP = Math.log(1.005)
/** 1 ns … 1000 s. */
const BUCKETS = Math.ceil(Math.log(1e12) / STEP) + 1

/** Durations by how often they came: bounded, and the same whether a thousand or a hundred million were recorded. */
export class Histogram {
  readonly counts: Float64Array

  constructor(counts: Float64Array = new Float64Array(BUCKETS)) {
    this.counts = counts
  }

  /** @param ns anything outside 1 ns … 1000 s counts as the nearest. */
  record(ns: number): void {
    const bucket = ns < 1 ? 0 : Math.min(BUCKETS - 1, Math.round(Math.log(ns) / STEP))
    this.counts[bucket]!++
  }

  add(other: Histogram): void {
    for (let i = 0; i < BUCKETS; i++) this.counts[i]! += other.counts[i]!
  }

  clear(): void {
    this.counts.fill(0)
  }

  get size(): number {
    return this.counts.reduce((sum, count) => sum + count, 0)
  }

  /** Nanoseconds that a share of all recorded durations does not exceed; `undefined` when nothing was recorded. */
  percentile(share: number): number | undefined {
    let left = this.size * share
    if (left === 0) return undefined
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.counts[i]!
      if (left <= 0) return Math.exp(i * STEP)
    }
    return Math.exp((BUCKETS - 1) * STEP)
  }
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** @param values at least one */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}
