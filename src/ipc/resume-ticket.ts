import type { ResumeTokens } from './resume-tokens.ts'

/** The tokens of one session (WIRE.md §8.4): the one it was told last, and the one it came back with, which is good until its next frame. */
export class ResumeTicket<S> {
  readonly #tokens: ResumeTokens<S>
  #told: string | undefined
  #used: string | undefined

  constructor(tokens: ResumeTokens<S>) {
    this.#tokens = tokens
  }

  /** Whether the client was told how to come back. */
  get valid(): boolean {
    return this.#told !== undefined
  }

  issue(session: S): string {
    this.#told = this.#tokens.issue(session)
    return this.#told
  }

  /** The session came back with this one: of the two, the other is worth nothing any more. */
  use(token: string | undefined): void {
    const spare = this.#told === token ? this.#used : this.#told
    if (spare !== token) this.#tokens.revoke(spare)
    this.#used = token
  }

  /** A frame came: the client has read the answer with the new one. */
  confirm(): void {
    if (this.#used === undefined) return
    this.#tokens.revoke(this.#used)
    this.#used = undefined
  }

  drop(): void {
    this.#tokens.revoke(this.#told)
    this.#tokens.revoke(this.#used)
    this.#told = undefined
    this.#used = undefined
  }
}
