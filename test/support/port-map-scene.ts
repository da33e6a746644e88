import { expect } from 'vitest'
import { decodeAddress, formatAddress } from '../../src/core/base/address.ts'
import { millisecond, minute, second, toInstant, type Instant } from '../../src/core/base/time.ts'
import { PortMapper } from '../../src/core/portmap/mapper.ts'
import type { PortMapAction } from '../../src/core/portmap/contract.ts'
import type { DatagramWay, Gateway } from '../../src/core/wire/port-map-io.ts'
import type { Transport } from '../../src/core/wire/pcp.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { repeated } from './bytes.ts'
import { HomeRouter, host, type HomeRouterSettings } from './home-router.ts'
import { node } from './providers.ts'

export const LOCAL = '192.168.1.7'
const HOP = 2 * millisecond

/** A mapper and a router on one clock; answers take 2 ms, those of its web server `webPause`. */
export class PortMapScene {
  readonly router: HomeRouter
  readonly mapper: PortMapper
  readonly told: string[] = []
  readonly sent: PortMapAction[] = []
  /** When each line of `router.asked` came. */
  readonly askedAt: Instant[] = []
  now: Instant = toInstant(0)
  readonly #coming: { readonly at: number; readonly run: () => void }[] = []
  readonly #random: SeededRandom
  readonly #webPause: number

  constructor(settings: HomeRouterSettings = {}, options: { readonly seed?: number; readonly tcp?: boolean; readonly lifetime?: number; readonly webPause?: number } = {}) {
    this.#random = new SeededRandom(options.seed ?? 1)
    this.#webPause = options.webPause ?? HOP
    this.router = new HomeRouter(settings)
    const ports = new Map<Transport, number>([['udp', 7000], ...(options.tcp === true ? [['tcp', 7000] as const] : [])])
    this.mapper = new PortMapper({
      provider: {
        random: (target) => {
          for (let i = 0; i < target.length; i++) target[i] = this.#random.below(256)
          return target
        },
        hmac: (key, ...parts) => node.hmac(key, ...parts),
      },
      secret: repeated(7), ports, lifetime: options.lifetime ?? 20 * minute,
    })
  }

  get gateway(): Gateway {
    return { router: host(this.router.address), local: host(LOCAL) }
  }

  get seconds(): number {
    return this.now / second
  }

  join(): this {
    this.act(() => this.mapper.setGateway(this.now, this.gateway))
    return this
  }

  act(call: () => void): void {
    call()
    this.#drain()
  }

  /** To the mapper, by the way it would come. */
  receive(way: DatagramWay, from: string, port: number, bytes: Uint8Array): void {
    this.act(() => this.mapper.handleDatagram(this.now, way, host(from, port), bytes))
  }

  run(duration: number): this {
    const end = this.now + duration
    for (;;) {
      const coming = Math.min(...this.#coming.map(({ at }) => at))
      const next = Math.min(coming, this.mapper.nextTimeout())
      if (next > end) break
      expect(next).toBeGreaterThanOrEqual(this.now)
      this.now = toInstant(next)
      const due = this.#coming.filter(({ at }) => at <= next)
      for (const one of due) this.#coming.splice(this.#coming.indexOf(one), 1)
      if (due.length === 0) this.act(() => this.mapper.handleTimeout(this.now))
      for (const { run } of due) this.act(run)
    }
    this.now = toInstant(end)
    return this
  }

  /** When the router was asked for a mapping, or to renew one. */
  get mapTimes(): number[] {
    return this.askedAt.filter((_, i) => / (?:map|add) /.test(this.router.asked[i]!))
  }

  count(name: keyof ReturnType<PortMapper['counters']>): number {
    return this.mapper.counters()[name]
  }

  get mapped(): string[] {
    return this.mapper.view(this.now).mapped.map(({ transport, external }) => `${transport} ${formatAddress(external)}`)
  }

  #drain(): void {
    for (let action = this.mapper.pollAction(); action !== undefined; action = this.mapper.pollAction()) this.#carry(action)
    for (let event = this.mapper.pollEvent(); event !== undefined; event = this.mapper.pollEvent()) {
      this.told.push(event.kind === 'mapped' ? `mapped ${event.transport} ${formatAddress(event.external)} ${event.protocol}` : `unmapped ${event.transport} ${event.reason}`)
    }
  }

  #carry(action: PortMapAction): void {
    this.sent.push(action)
    this.#exchange(action)
    while (this.askedAt.length < this.router.asked.length) this.askedAt.push(this.now)
  }

  #exchange(action: PortMapAction): void {
    const later = (run: () => void, pause = HOP): void => void this.#coming.push({ at: this.now + pause, run })
    if (action.kind === 'http') {
      const outcome = this.router.http(action.url, action.soap, LOCAL)
      later(() => this.mapper.handleHttp(this.now, action.token, outcome), this.#webPause)
      return
    }
    const { host: to, port } = decodeAddress(action.to)
    if (to !== this.router.address && to !== '239.255.255.250') throw new Error(`sent to ${to}`)
    for (const answer of this.router.datagram(this.seconds, port, LOCAL, action.bytes)) later(() => this.mapper.handleDatagram(this.now, action.by, host(this.router.address, port), answer))
  }
}
