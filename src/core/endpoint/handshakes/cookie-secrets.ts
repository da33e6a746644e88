import type { LinkKind } from '../../base/domain.ts'
import { second, toInstant, type Duration, type Instant } from '../../base/time.ts'
import type { CryptoProvider } from '../../crypto/provider.ts'
import { computeCookie, verifyMac2 } from '../../session/macs.ts'

/** WIRE.md §3.6: a secret makes cookies for 120 s, and verifies them for 120 s more. */
const SECRET_LIFE: Duration = 120 * second

/** The secrets behind our cookies: a cookie proves one address for at most 240 s. */
export class CookieSecrets {
  readonly #provider: CryptoProvider
  #current: Uint8Array
  #before: Uint8Array
  #since: Instant

  constructor(provider: CryptoProvider, now: Instant) {
    this.#provider = provider
    this.#current = provider.random(new Uint8Array(32))
    this.#before = provider.random(new Uint8Array(32))
    this.#since = now
  }

  cookieOf(now: Instant, kind: LinkKind, address: Uint8Array): Uint8Array {
    this.#rotate(now)
    return computeCookie(this.#provider, this.#current, kind, address)
  }

  /** Whether mac2 of the well-formed fragment of A at `start` was made with a cookie of this address. */
  verify(now: Instant, kind: LinkKind, address: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    this.#rotate(now)
    return [this.#current, this.#before].some((secret) => verifyMac2(this.#provider, bytes, start, length, computeCookie(this.#provider, secret, kind, address)))
  }

  /** Periods are counted from the first moment on, not from the last use: a quiet node's secrets age all the same. */
  #rotate(now: Instant): void {
    const periods = Math.floor((now - this.#since) / SECRET_LIFE)
    if (periods < 1) return
    this.#before.fill(0)
    this.#before = periods === 1 ? this.#current : this.#provider.random(new Uint8Array(32))
    this.#current = this.#provider.random(new Uint8Array(32))
    this.#since = toInstant(this.#since + periods * SECRET_LIFE)
  }
}
