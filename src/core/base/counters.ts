/**
 * Everything that is counted, by name, from the first day: what was dropped and why, what went wrong, what was done. A fixed
 * list, so that a counter cannot be misspelt and `status` shows the ones that are still zero.
 */
export class Counters<Name extends string> {
  readonly #index: ReadonlyMap<Name, number>
  readonly #values: Float64Array

  constructor(names: readonly Name[]) {
    this.#index = new Map(names.map((name, i) => [name, i]))
    this.#values = new Float64Array(names.length)
  }

  add(name: Name, amount = 1): void {
    this.#values[this.#index.get(name)!]! += amount
  }

  get(name: Name): number {
    return this.#values[this.#index.get(name)!]!
  }

  /** A copy, in the order of the list. */
  snapshot(): Record<Name, number> {
    const entries: [Name, number][] = []
    for (const [name, i] of this.#index) entries.push([name, this.#values[i]!])
    return Object.fromEntries(entries) as Record<Name, number>
  }
}
