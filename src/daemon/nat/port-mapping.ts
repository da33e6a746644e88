import { decodeAddress, formatAddress } from '../../core/base/address.ts'
import { never, type Now } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import { newPortMapCounters, type PortMapAction, type PortMapEvent } from '../../core/portmap/contract.ts'
import { PortMapper } from '../../core/portmap/mapper.ts'
import type { IpcPortMapping } from '../../core/wire/ipc/ipc-nat.ts'
import type { Transport } from '../../core/wire/pcp.ts'
import type { DatagramWay, Gateway, HttpOutcome } from '../../core/wire/port-map-io.ts'
import { PortMapDriver, type PortMapDriverHost, type PortMapDriverOptions } from '../../net/portmap/driver.ts'
import { Timer } from '../../platform/timer.ts'
import type { Config } from '../config/config-schema.ts'
import type { Log } from '../log/log.ts'

/** Whether the router may be asked for anything at all. */
export function portMappingEnabled({ enabled }: Config['portmap'], env: NodeJS.ProcessEnv = process.env): boolean {
  return enabled && env['POSTERN_PORTMAP'] !== '0'
}

export interface PortMappingOptions {
  readonly config: Pick<Config, 'portmap' | 'udp'>
  readonly clock: { now(): Now }
  readonly provider: Pick<CryptoProvider, 'random' | 'hmac'>
  /** 32 bytes that outlive the process. */
  readonly secret: Uint8Array
  readonly log: Pick<Log, 'info'>
  /** What the router lets in is another address than before, or none. */
  readonly changed?: () => void
  /** Only tests have any. */
  readonly driver?: PortMapDriverOptions
}

/** The mapper of the core on a real network: the node's ports mapped at the router while the daemon runs. */
export class PortMapping implements PortMapDriverHost {
  readonly #options: PortMappingOptions
  readonly #enabled: boolean
  readonly #timer: Timer
  readonly #driver: PortMapDriver
  readonly #external = new Map<Transport, Uint8Array>()
  #mapper: PortMapper | undefined
  #onStopped: (() => void) | undefined

  constructor(options: PortMappingOptions) {
    this.#options = options
    this.#enabled = portMappingEnabled(options.config.portmap)
    this.#timer = new Timer(options.clock, ({ mono }) => {
      this.#mapper?.handleTimeout(mono)
      this.#pump()
    })
    this.#driver = new PortMapDriver(this, options.driver)
  }

  /** Begins to ask, once the sockets are open; `ports` are those of the sockets. */
  start(ports: ReadonlyMap<Transport, number>): void {
    if (!this.#enabled) return
    const { config, provider, secret } = this.#options
    this.#mapper = new PortMapper({ provider, secret, ports, lifetime: config.portmap.lifetime })
    this.#driver.start()
  }

  /** The machine's addresses or routes are others than before. */
  networkChanged(): void {
    if (this.#mapper !== undefined) this.#driver.look()
  }

  /** What of this node the router lets in, 18 bytes each, by transport. */
  get external(): ReadonlyMap<Transport, Uint8Array> {
    return this.#external
  }

  /** Whether the router was asked and may still answer. */
  get searching(): boolean {
    return this.#mapper?.view(this.#options.clock.now().mono).state === 'searching'
  }

  counters(): Readonly<Record<string, number>> {
    return this.#mapper?.counters() ?? newPortMapCounters().snapshot()
  }

  status(): IpcPortMapping {
    if (this.#mapper === undefined) return { state: 'disabled', mapped: [] }
    const { state, protocol, router, mapped, reason } = this.#mapper.view(this.#options.clock.now().mono)
    return {
      state, mapped: mapped.map(({ transport, external, leftMs }) => ({ transport, external: formatAddress(external), leftMs })),
      ...(protocol === undefined ? {} : { protocol }), ...(router === undefined ? {} : { router: decodeAddress(router).host }), ...(reason === undefined ? {} : { reason }),
    }
  }

  /** Takes back what is mapped; a router that does not answer is waited for one second. */
  async close(): Promise<void> {
    const mapper = this.#mapper
    if (mapper !== undefined) {
      await new Promise<void>((resolve) => {
        this.#onStopped = resolve
        mapper.shutdown(this.#options.clock.now().mono)
        this.#pump()
      })
    }
    this.#timer.stop()
    this.#driver.close()
  }

  // ── what the driver tells ───────────────────────────────────────────────────────────────────────────────────────────────

  gateway(gateway: Gateway | undefined): void {
    const { bind } = this.#options.config.udp
    // A socket that does not listen there gets nothing from the router.
    const listens = gateway !== undefined && bind.some((host) => host === '::' || host === '0.0.0.0' || host === decodeAddress(gateway.local).host)
    this.#mapper?.setGateway(this.#options.clock.now().mono, listens ? gateway : undefined)
    this.#pump()
  }

  received(way: DatagramWay, from: Uint8Array, bytes: Uint8Array): void {
    this.#mapper?.handleDatagram(this.#options.clock.now().mono, way, from, bytes)
    this.#pump()
  }

  answered(token: number, outcome: HttpOutcome): void {
    this.#mapper?.handleHttp(this.#options.clock.now().mono, token, outcome)
    this.#pump()
  }

  #pump(): void {
    const mapper = this.#mapper
    if (mapper === undefined) return
    for (let action = mapper.pollAction(); action !== undefined; action = mapper.pollAction()) this.#carry(action)
    for (let event = mapper.pollEvent(); event !== undefined; event = mapper.pollEvent()) this.#on(event)
    this.#timer.arm(mapper.stopped ? never : mapper.nextTimeout(), false)
    if (mapper.stopped) this.#onStopped?.()
  }

  #carry(action: PortMapAction): void {
    if (action.kind === 'datagram') this.#driver.send(action.by, action.to, action.bytes)
    else this.#driver.request(action.token, action.url, action.soap)
  }

  #on(event: PortMapEvent): void {
    const { log } = this.#options
    if (event.kind === 'mapped') {
      this.#external.set(event.transport, event.external)
      log.info('port mapped', { transport: event.transport, external: formatAddress(event.external), protocol: event.protocol })
    } else {
      this.#external.delete(event.transport)
      log.info('port not mapped any more', { transport: event.transport, reason: event.reason })
    }
    this.#options.changed?.()
  }
}
