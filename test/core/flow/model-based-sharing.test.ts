import { describe, expect, it } from 'vitest'
import { Cubic } from '../../../src/core/flow/cubic.ts'
import { ModelBased } from '../../../src/core/flow/model-based.ts'
import { bdp, jain, LinkModel, megabits, millisecond, percentile, second, type FlowOptions, type LinkOptions } from './link-model.ts'

const DATAGRAM = 1181
const MODEL = 'model'
const CUBIC = 'cubic'
type Kind = typeof MODEL | typeof CUBIC

interface Sharing {
  /** Shares of the link in each of the intervals asked for. */
  readonly shares: number[][]
  readonly p50: number
}

/** Flows of some kinds on one link; what each had of it in the intervals [from, to], in seconds. */
function share(link: LinkOptions, kinds: readonly Kind[], intervals: readonly (readonly [number, number])[], options: readonly Partial<FlowOptions>[], seed: number): Sharing {
  const model = new LinkModel(link, seed)
  const flows = kinds.map((kind, i) => model.flow({ controller: kind === MODEL ? new ModelBased(DATAGRAM, 100 * seed + i) : new Cubic(DATAGRAM), ...options[i] }))
  model.run(intervals[0]![0] * second)
  model.link.takeDelays()
  model.run((intervals.at(-1)![1] - intervals[0]![0]) * second)
  const shares = intervals.map(([from, to]) => flows.map((flow) => flow.throughput(from * second, to * second) / link.rate))
  return { shares, p50: percentile(model.link.takeDelays(), 0.5) / 1000 }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

describe('ModelBased: flows that share a link', () => {
  it('divides the link evenly among two, also with one that comes 10 s late', () => {
    for (const [rate, rttMs, depth, loss, seeds] of [[20, 40, 0.25, 0, [1]], [20, 40, 1, 0, [1, 2]], [20, 40, 3, 0, [3]], [20, 40, 1, 0.02, [1, 2]], [100, 20, 1, 0, [1]], [5, 80, 1, 0.01, [2]]] as const) {
      for (const seed of seeds) {
        const link = { rate: megabits(rate), delay: rttMs * 500, queueBytes: depth * bdp(rate, rttMs), loss }
        const { shares: [soon, later], p50 } = share(link, [MODEL, MODEL], [[12, 20], [20, 40]], [{}, { startAt: 10 * second }], seed)
        expect(jain(soon!), `${rate} Mbit/s, buffer ${depth}, seed ${seed}, soon`).toBeGreaterThan(0.8)
        expect(jain(later!), `${rate} Mbit/s, buffer ${depth}, seed ${seed}, later`).toBeGreaterThan(0.87)
        expect(sum(later!)).toBeGreaterThan(0.9 - loss)
        expect(p50).toBeLessThan(0.6 * rttMs)
      }
    }
  })

  it('divides it among eight that come one after another, and keeps no more than the pipe in the buffer', () => {
    for (const depth of [1, 3]) {
      const link = { rate: megabits(40), delay: 20 * millisecond, queueBytes: depth * bdp(40, 40) }
      const kinds = Array.from({ length: 8 }, (): Kind => MODEL)
      const { shares: [shares], p50 } = share(link, kinds, [[30, 60]], kinds.map((_, i) => ({ startAt: i * 2 * second })), 1)
      expect(jain(shares!)).toBeGreaterThan(0.85)
      expect(sum(shares!)).toBeGreaterThan(0.95)
      expect(p50).toBeLessThan(80)
    }
  })

  it('is not too unfair to a longer path', () => {
    for (const depth of [1, 3]) {
      const link = { rate: megabits(20), delay: 20 * millisecond, queueBytes: depth * bdp(20, 40) }
      const { shares: [shares] } = share(link, [MODEL, MODEL], [[10, 40]], [{}, { backDelay: 80 * millisecond }], 1)
      expect(jain(shares!)).toBeGreaterThan(0.7)
    }
  })

  it('neither starves CUBIC nor is starved by it', () => {
    for (const depth of [0.25, 1, 5]) {
      for (const first of [MODEL, CUBIC] as const) {
        const link = { rate: megabits(20), delay: 20 * millisecond, queueBytes: depth * bdp(20, 40) }
        const options = first === MODEL ? [{}, { startAt: 5 * second }] : [{ startAt: 5 * second }, {}]
        const { shares: [shares] } = share(link, [MODEL, CUBIC], [[10, 40]], options, 1)
        expect(Math.min(...shares!), `buffer ${depth}, ${first} first`).toBeGreaterThan(0.15)
        expect(sum(shares!)).toBeGreaterThan(0.95)
      }
    }
  })
})
