import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'

/** One question; with two tries and the pauses of c-ares a name takes some 6 s at most. */
const TIMEOUT_MS = 2000
const TRIES = 2
/** Addresses of one name that are looked at. */
const ADDRESSES_MAX = 4

/**
 * Names to addresses, by DNS alone (c-ares) and not by the system's resolver: that one cannot be called off, and holds a thread of the pool in
 * which the disk is written. So a name in /etc/hosts is not seen.
 */
export class NameResolver {
  readonly #resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES })

  /** At most four addresses of each family, IPv4 first; none when the name has none, or nobody tells. Never rejects. */
  async resolve(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host]
    const [four, six] = await Promise.allSettled([this.#resolver.resolve4(host), this.#resolver.resolve6(host)])
    const of = (result: PromiseSettledResult<string[]>): readonly string[] => (result.status === 'fulfilled' ? result.value.slice(0, ADDRESSES_MAX) : [])
    return [...of(four), ...of(six)]
  }

  /** What is under way answers with nothing. */
  close(): void {
    this.#resolver.cancel()
  }
}
