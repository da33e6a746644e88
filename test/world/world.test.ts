/**
 * Worlds: the shipping endpoint and pump in virtual time, over a network that a seed spoils, with every invariant looked at in
 * every step. POSTERN_WORLD_SEEDS=<n> runs more of them, POSTERN_WORLD_SEED=<seed> one, with its story.
 */
import { describe, expect, it } from 'vitest'
import { WorldFailure } from './failure.ts'
import { noTotals, runWorld, type Totals } from './world.ts'

const SEEDS = Number(process.env['POSTERN_WORLD_SEEDS'] ?? 300)
const CHUNK = 50
/** From here on, a run that lacks one of these has not tried what it should. */
const ENOUGH = 300
const replayed = process.env['POSTERN_WORLD_SEED']

/** Worlds that found something once. */
const regressions: readonly (readonly [seed: number, what: string])[] = []
/** Comes once in a thousand worlds, or needs a kind of path that worlds do not have yet. */
const rare: readonly (keyof Totals)[] = ['consumersGone', 'tier', 'policy', 'refused']

const sums: Totals = noTotals()

function runSeeds(seeds: readonly number[]): void {
  const failures: string[] = []
  for (const seed of seeds) {
    try {
      const { totals } = runWorld(seed)
      for (const name of Object.keys(totals) as (keyof Totals)[]) sums[name] += totals[name]
    } catch (error) {
      if (!(error instanceof WorldFailure)) throw error
      failures.push(error.message)
      if (replayed !== undefined) console.error(error.story.join('\n'), error.cause)
    }
  }
  expect(failures.join('\n')).toBe('')
}

describe.runIf(replayed !== undefined)('one world', () => {
  it(`seed ${replayed}`, () => runSeeds([Number(replayed)]), 60_000)
})

describe.runIf(replayed === undefined)('worlds', () => {
  it.each(regressions)('seed %d: %s', (seed) => { runSeeds([seed]) })

  for (let from = 1; from <= SEEDS; from += CHUNK) {
    const seeds = Array.from({ length: Math.min(CHUNK, SEEDS + 1 - from) }, (_, i) => from + i)
    it(`seeds ${from} … ${seeds.at(-1)}`, () => runSeeds(seeds), 120_000)
  }

  it('a seed gives the same world every time, with simulated and with real cryptography', () => {
    for (const seed of [5, 11, 26]) expect(runWorld(seed).fingerprint).toBe(runWorld(seed).fingerprint)
    expect(runWorld(5).fingerprint).not.toBe(runWorld(26).fingerprint)
  })

  it.runIf(SEEDS >= ENOUGH)('they tried what they are for', () => {
    console.info(`${SEEDS} worlds: ${JSON.stringify(sums)}`)
    for (const name of Object.keys(sums) as (keyof Totals)[]) expect(sums[name], name).toBeGreaterThan(rare.includes(name) ? -1 : 0)
  })
})
