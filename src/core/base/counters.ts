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

  /** By name, or by place in the list ({@link counterPlaces}) where it is done for every datagram: a Map look-up costs more than the rest. */
  add(counter: Name | number, amount = 1): void {
    this.#values[typeof counter === 'number' ? counter : this.#index.get(counter)!]! += amount
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

/** Name → place in the list: what {@link Counters.add} takes without looking anything up. */
export function counterPlaces<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, i) => [name, i])) as Record<Name, number>
}
