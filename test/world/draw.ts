import type { SeededRandom } from '../../src/sim/random.ts'

export const MILLISECOND = 1_000
export const SECOND = 1_000_000

/** One of them, each as likely as the others. */
export function pick<T>(random: SeededRandom, choices: readonly T[]): T {
  return choices[random.below(choices.length)]!
}

/** A whole number in low … high, both included. */
export function between(random: SeededRandom, low: number, high: number): number {
  return low + random.below(high - low + 1)
}

/** As {@link between}, but every order of magnitude is as likely as the next. */
export function spread(random: SeededRandom, low: number, high: number): number {
  return Math.floor(Math.exp(Math.log(low + 1) + random.unit() * (Math.log(high + 1) - Math.log(low + 1)))) - 1 + (random.chance(0.5) && low < high ? 1 : 0)
}
