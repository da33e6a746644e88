import { isIP } from 'node:net'
import { encodeAddress, type HostPort } from '../../core/base/address.ts'
import type { StunServer } from '../../core/stun/reflexive.ts'

/** [P] What the first names say is used after this, while slow ones are still waited for. */
const PATIENCE_MS = 1500
/** [P] A name without an address is asked for again after this, doubling; quiet where there is no network. */
const RETRY_FIRST_MS = 5000
const RETRY_MAX_MS = 15 * 60_000
/** [P] Servers move. */
const REFRESH_MS = 60 * 60_000

export interface StunNamesOptions {
  readonly servers: readonly HostPort[]
  readonly resolve: (host: string) => Promise<readonly string[]>
  readonly hasNetwork: () => boolean
  /** All that is known now, in the order of the configuration. */
  readonly apply: (servers: readonly StunServer[]) => void
  /** 0 ≤ x < 1. */
  readonly unit?: () => number
}

/** The addresses behind the configured servers, found and found again. */
export class StunNames {
  readonly #options: StunNamesOptions
  readonly #unit: () => number
  readonly #found = new Map<HostPort, readonly string[]>()
  #applied = ''
  #timer: NodeJS.Timeout | undefined
  #retryMs = RETRY_FIRST_MS
  /** Of the round under way: what an earlier one still says is old. */
  #round = 0
  #looking = false
  #closed = false

  constructor(options: StunNamesOptions) {
    this.#options = options
    this.#unit = options.unit ?? Math.random
  }

  start(): void {
    void this.#look()
  }

  /** Another network, other answers; and no reason to be quiet any more. */
  networkChanged(): void {
    this.#retryMs = RETRY_FIRST_MS
    void this.#look()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  /** A round is under way whose answers were not used yet. */
  get looking(): boolean {
    return this.#looking
  }

  /** Configured servers whose names have no address. */
  get unresolved(): readonly HostPort[] {
    return this.#options.servers.filter((server) => (this.#found.get(server) ?? []).length === 0)
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer)
    if (this.#closed || this.#options.servers.length === 0) return
    const round = ++this.#round
    const current = (): boolean => !this.#closed && round === this.#round
    const network = this.#options.hasNetwork()
    const askable = this.#options.servers.filter(({ host }) => network || isIP(host) !== 0)
    this.#looking = askable.length > 0
    if (this.#looking) {
      const names = askable.map(async (server) => {
        const addresses = await this.#options.resolve(server.host).catch((): readonly string[] => [])
        // A name that nobody tells just now keeps the addresses it had.
        if (current() && addresses.length > 0) this.#found.set(server, addresses)
      })
      const early = setTimeout(() => current() && this.#apply(), PATIENCE_MS)
      await Promise.all(names)
      clearTimeout(early)
      if (!current()) return
    }
    this.#apply()
    this.#again()
  }

  #again(): void {
    const whole = this.unresolved.length === 0
    const pause = whole ? REFRESH_MS : this.#retryMs
    this.#retryMs = whole ? RETRY_FIRST_MS : Math.min(RETRY_MAX_MS, 2 * this.#retryMs)
    this.#timer = setTimeout(() => void this.#look(), pause * (0.9 + 0.2 * this.#unit()))
    this.#timer.unref()
  }

  #apply(): void {
    this.#looking = false
    const servers = this.#options.servers.flatMap((server) => (this.#found.get(server) ?? []).flatMap((host) => {
      const address = encodeAddress(host, server.port)
      return address === undefined ? [] : [{ name: nameOf(server), address }]
    }))
    const text = servers.map(({ name, address }) => `${name} ${address.join()}`).join('\n')
    if (text === this.#applied) return
    this.#applied = text
    this.#options.apply(servers)
  }
}

export function nameOf({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
