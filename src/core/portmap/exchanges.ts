import { after, never, type Instant } from '../base/time.ts'
import type { MapperHost } from './contract.ts'
import { retryPause, TRIES_MAX } from './schedule.ts'

interface Exchange {
  readonly bytes: Uint8Array
  tries: number
  nextAt: Instant
}

/** Requests to one server that wait for an answer, at most one by key, and go out again until they are given up. */
export class Exchanges<Key> {
  readonly #host: MapperHost
  readonly #server: Uint8Array
  /** BOUNDED: the keys of a client are a handful. */
  readonly #open = new Map<Key, Exchange>()

  constructor(host: MapperHost, server: Uint8Array) {
    this.#host = host
    this.#server = server
  }

  /** Sends it, in place of an older request of the same key. */
  begin(now: Instant, key: Key, bytes: Uint8Array): void {
    this.#open.set(key, { bytes, tries: 1, nextAt: after(now, retryPause(1, this.#host.unit())) })
    this.#host.send('mapping', this.#server, bytes)
  }

  has(key: Key): boolean {
    return this.#open.has(key)
  }

  /** Whether it was under way. */
  end(key: Key): boolean {
    return this.#open.delete(key)
  }

  keys(): Key[] {
    return [...this.#open.keys()]
  }

  clear(): void {
    this.#open.clear()
  }

  nextTimeout(): Instant {
    let next = never
    for (const { nextAt } of this.#open.values()) if (nextAt < next) next = nextAt
    return next
  }

  /** Sends again what is due; returns those that nobody answered in all their tries. */
  handleTimeout(now: Instant): Key[] {
    const silent: Key[] = []
    for (const [key, exchange] of this.#open) {
      if (exchange.nextAt > now) continue
      if (exchange.tries >= TRIES_MAX) {
        this.#open.delete(key)
        silent.push(key)
        continue
      }
      exchange.tries++
      exchange.nextAt = after(now, retryPause(exchange.tries, this.#host.unit()))
      this.#host.send('mapping', this.#server, exchange.bytes)
    }
    return silent
  }
}
