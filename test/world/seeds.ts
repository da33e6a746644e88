import { expect, it } from 'vitest'
import { WorldFailure } from './failure.ts'
import type { MoveKind } from './path-watch.ts'
import { noTotals, runWorld, type Totals, type WorldKind } from './world.ts'

const CHUNK = 50
/** From here on, a run that lacks one of these has not tried what it should. */
const ENOUGH = 100
const replayed = process.env['POSTERN_WORLD_SEED']

/** Tests for seeds 1 … n of one kind of world, or for the one that is asked for. `rare`: totals that may be zero after all of them. */
export function testWorlds(kind: WorldKind, seedCount: number, rare: readonly (keyof Totals)[]): void {
  const sums = noTotals()
  const times: Record<MoveKind, number[]> = { silent: [], told: [], connection: [], back: [], radio: [] }
  const run = (seeds: readonly number[]): void => {
    const failures: string[] = []
    for (const seed of seeds) {
      try {
        const { totals, moves } = runWorld(seed, kind)
        for (const name of Object.keys(moves) as MoveKind[]) times[name].push(...moves[name])
        for (const name of Object.keys(totals) as (keyof Totals)[]) sums[name] = name === 'longestGap' ? Math.max(sums[name], totals[name]) : sums[name] + totals[name]
      } catch (error) {
        if (!(error instanceof WorldFailure)) throw error
        failures.push(error.message)
        if (replayed !== undefined) console.error(error.story.join('\n'), error.cause)
      }
    }
    expect(failures.join('\n')).toBe('')
  }
  if (replayed !== undefined) {
    it(`seed ${replayed}`, () => { run([Number(replayed)]) }, 60_000)
    return
  }
  const count = Number(process.env['POSTERN_WORLD_SEEDS'] ?? seedCount)
  for (let from = 1; from <= count; from += CHUNK) {
    const seeds = Array.from({ length: Math.min(CHUNK, count + 1 - from) }, (_, i) => from + i)
    it(`seeds ${from} … ${seeds.at(-1)}`, () => { run(seeds) }, 240_000)
  }
  it.runIf(count >= ENOUGH)('they tried what they are for', () => {
    console.info(`${count} worlds (${kind}): ${JSON.stringify(sums)}`)
    for (const [name, values] of Object.entries(times)) if (values.length > 0) console.info(`moves, ${name}: ${percentiles(values)}`)
    for (const name of Object.keys(sums) as (keyof Totals)[]) expect(sums[name], name).toBeGreaterThan(rare.includes(name) ? -1 : 0)
  })
}

function percentiles(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b)
  return `${sorted.length}: ${[0.5, 0.9, 0.99, 1].map((share) => `p${100 * share} ${(sorted[Math.ceil(share * sorted.length) - 1]! / 1000).toFixed(0)} ms`).join(', ')}`
}
