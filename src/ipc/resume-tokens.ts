import { createHash, randomBytes } from 'node:crypto'

const TOKEN_SIZE = 16

/**
 * Which session a resume token belongs to (WIRE.md §8.4). A session has at most two: the one it was told last, and the one it came
 * back with, which stays good until its next frame shows that the new one arrived. Tokens are looked up by their hash, so that the time
 * of a look-up says nothing about them.
 */
export class ResumeTokens<S> {
  readonly #sessions = new Map<string, S>()

  issue(session: S): string {
    const token = randomBytes(TOKEN_SIZE).toString('hex')
    this.#sessions.set(hashOf(token), session)
    return token
  }

  find(token: string): S | undefined {
    return this.#sessions.get(hashOf(token))
  }

  revoke(token: string | undefined): void {
    if (token !== undefined) this.#sessions.delete(hashOf(token))
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64')
}
