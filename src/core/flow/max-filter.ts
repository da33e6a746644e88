/**
 * Greatest value of the current and the previous period; the owner says when a period ends. This is all that
 * draft-ietf-ccwg-bbr ("Tracking Time for the BBR.max_bw Max Filter") asks for the bandwidth, whose periods are ProbeBW cycles.
 * A value is remembered for one to two periods.
 */
export class MaxFilter {
  #current = 0
  #previous = 0

  get value(): number {
    return Math.max(this.#current, this.#previous)
  }

  update(value: number): void {
    if (value > this.#current) this.#current = value
  }

  /** A period ends: what the one before it held is forgotten. */
  advance(): void {
    this.#previous = this.#current
    this.#current = 0
  }

  reset(value: number): void {
    this.#current = value
    this.#previous = 0
  }
}
