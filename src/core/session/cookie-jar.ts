import { toBinaryString } from '../base/bytes.ts'
import { second, type Duration, type Instant } from '../base/time.ts'

/** WIRE.md §3.6: an initiator uses a cookie this long. */
const COOKIE_USE: Duration = 120 * second
const COOKIES_MAX = 1024

/**
 * The cookies that responders gave us. They outlive attempts and sessions: whoever comes back to a node under load within two minutes
 * need not ask twice. BOUNDED: the oldest goes, and its next use costs one more round trip.
 */
export class CookieJar {
  /** By the responder's id and the address that gave it: one address may be the home of many nodes. */
  readonly #cookies = new Map<string, { readonly cookie: Uint8Array; readonly at: Instant }>()

  get size(): number {
    return this.#cookies.size
  }

  get(now: Instant, responderId: Uint8Array, address: Uint8Array): Uint8Array | undefined {
    if (this.#cookies.size === 0) return undefined
    const held = this.#cookies.get(keyOf(responderId, address))
    return held !== undefined && now - held.at < COOKIE_USE ? held.cookie : undefined
  }

  put(now: Instant, responderId: Uint8Array, address: Uint8Array, cookie: Uint8Array): void {
    const key = keyOf(responderId, address)
    this.#cookies.delete(key)
    this.#cookies.set(key, { cookie, at: now })
    if (this.#cookies.size <= COOKIES_MAX) return
    const oldest = this.#cookies.keys().next()
    if (oldest.done === false) this.#cookies.delete(oldest.value)
  }
}

function keyOf(responderId: Uint8Array, address: Uint8Array): string {
  return toBinaryString(responderId) + toBinaryString(address)
}
