/** A seeded stream of random numbers (xoshiro128**): the only randomness of a simulated world, so that a seed replays it. */
export class SeededRandom {
  readonly #state = new Uint32Array(4)

  constructor(seed: number) {
    // SplitMix32 spreads a small seed over the whole state.
    let x = seed >>> 0
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e37_79b9) >>> 0
      let z = x
      z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a_2d97)
      this.#state[i] = z ^ (z >>> 15)
    }
  }

  /** A uniform u32. */
  word(): number {
    const s = this.#state
    const product = Math.imul(s[1]!, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const t = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= t
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  /** 0 ≤ x < 1. */
  unit(): number {
    return this.word() / 0x1_0000_0000
  }

  /** A whole number in 0 … bound − 1. */
  below(bound: number): number {
    return Math.floor(this.unit() * bound)
  }

  chance(probability: number): boolean {
    return probability > 0 && this.unit() < probability
  }

  /** Exponentially distributed with this mean. */
  exponential(mean: number): number {
    return -Math.log(1 - this.unit()) * mean
  }

  fill(target: Uint8Array): Uint8Array {
    for (let i = 0; i < target.length; i++) target[i] = this.word()
    return target
  }

  /** A stream of its own, that takes nothing from this one but a seed. */
  fork(): SeededRandom {
    return new SeededRandom(this.word())
  }
}
