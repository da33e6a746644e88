import { isIPv4 } from '../base/address.ts'
import { second, type Duration, type Instant } from '../base/time.ts'

/** WIRE.md §5: probes to addresses that peers name, over all sessions: so many a second to one network of theirs. */
const PER_SECOND = 20
/** [P] Networks that are counted; when full, nobody else is asked until the second is over. */
const NETWORKS_MAX = 1024
const WINDOW: Duration = second
/** Bytes of the 18 that name the network: /24, /48. */
const PREFIX_IPV4 = 15
const PREFIX_IPV6 = 6

/** Keeps peers that name a victim's addresses from making many sessions ask there. */
export class ProbeBudget {
  readonly #counts = new Map<string, number>()
  #since: Instant | undefined

  /** Whether one more probe may go to this address now; it is counted. */
  take(now: Instant, address: Uint8Array): boolean {
    if (this.#since === undefined || now - this.#since >= WINDOW) {
      this.#counts.clear()
      this.#since = now
    }
    const network = String.fromCharCode(...address.subarray(0, isIPv4(address) ? PREFIX_IPV4 : PREFIX_IPV6))
    const count = this.#counts.get(network)
    if (count === undefined ? this.#counts.size >= NETWORKS_MAX : count >= PER_SECOND) return false
    this.#counts.set(network, (count ?? 0) + 1)
    return true
  }
}
