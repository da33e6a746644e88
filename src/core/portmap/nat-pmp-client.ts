import type { Instant } from '../base/time.ts'
import { decodeNatPmp, encodeNatPmpAddress, encodeNatPmpMap, type NatPmpResponse } from '../wire/nat-pmp.ts'
import { PORT_MAP_SERVER_PORT, type Transport } from '../wire/pcp.ts'
import type { Gateway } from '../wire/port-map-io.ts'
import { sameHost, withPort, type MapperHost, type MappingClient, type MappingRefusal, type MappingRequest } from './contract.ts'
import { natPmpRestarted, type Epoch } from './epoch.ts'
import { Exchanges } from './exchanges.ts'

type Key = 'address' | Transport

/** NAT-PMP (RFC 6886) towards one router. It has no nonce: an answer counts for what is asked, while it is asked. */
export class NatPmpClient implements MappingClient {
  readonly protocol = 'nat-pmp' as const
  readonly #host: MapperHost
  readonly #exchanges: Exchanges<Key>
  readonly #asked = new Map<Transport, { readonly internalPort: number; readonly releasing: boolean }>()
  #probing = false
  #external: Uint8Array | undefined
  #epoch: Epoch | undefined

  constructor(host: MapperHost, gateway: Gateway) {
    this.#host = host
    this.#exchanges = new Exchanges(host, withPort(gateway.router, PORT_MAP_SERVER_PORT))
  }

  probe(now: Instant): void {
    this.#probing = true
    this.#exchanges.begin(now, 'address', encodeNatPmpAddress())
  }

  map(now: Instant, { transport, internalPort, wish, lifetime }: MappingRequest): void {
    this.#asked.set(transport, { internalPort, releasing: false })
    // The router's address may have changed since; it is not in the answer to this.
    if (!this.#exchanges.has('address')) this.#exchanges.begin(now, 'address', encodeNatPmpAddress())
    this.#exchanges.begin(now, transport, encodeNatPmpMap({ transport, internalPort, externalPort: wish.port, lifetime }))
  }

  release(now: Instant, transport: Transport, internalPort: number): void {
    this.#asked.set(transport, { internalPort, releasing: true })
    this.#exchanges.begin(now, transport, encodeNatPmpMap({ transport, internalPort, externalPort: 0, lifetime: 0 }))
  }

  stop(): void {
    this.#probing = false
    this.#exchanges.clear()
  }

  nextTimeout(): Instant {
    return this.#exchanges.nextTimeout()
  }

  handleTimeout(now: Instant): void {
    for (const key of this.#exchanges.handleTimeout(now)) {
      if (key !== 'address') this.#answered(key, 'silent')
      else if (this.#probing) this.#probed('silent')
    }
  }

  /** The server speaks another version only. */
  handleVersion(): void {
    if (!this.#probing || !this.#exchanges.end('address')) this.#host.counters.add('portmap_drop_unexpected')
    else this.#probed('version')
  }

  handleDatagram(now: Instant, bytes: Uint8Array): void {
    const response = decodeNatPmp(bytes)
    switch (response.kind) {
      case 'malformed':
        this.#host.counters.add('portmap_drop_malformed')
        return
      case 'address':
        if (!this.#exchanges.end('address')) {
          this.#host.counters.add('portmap_drop_unexpected')
          return
        }
        if (response.external !== undefined) this.handleAnnouncement(now, response.epoch, response.external)
        if (this.#probing) this.#probed(response.external === undefined ? reasonOf(response.result) : undefined)
        return
      case 'map':
        this.#onMap(now, response)
    }
  }

  /** The router's clock and address, as they stood in an answer or were multicast. */
  handleAnnouncement(now: Instant, epoch: number, external: Uint8Array): void {
    this.#onEpoch(now, epoch)
    const moved = this.#external !== undefined && !sameHost(this.#external, external)
    this.#external = external
    if (moved) this.#host.told.push({ kind: 'moved', external })
  }

  /** The router's clock as PCP shows it: some announce themselves by that alone. It need not be the clock of NAT-PMP, so it is not kept. */
  handleForeignClock(now: Instant, epoch: number): void {
    if (!natPmpRestarted(this.#epoch, epoch, now)) return
    this.#epoch = undefined
    this.#host.told.push({ kind: 'restarted' })
  }

  #onMap(now: Instant, response: Extract<NatPmpResponse, { kind: 'map' }>): void {
    const { transport, result, internalPort, externalPort, lifetime } = response
    const asked = this.#asked.get(transport)
    // An answer to a removal has lifetime 0, and only that one.
    const fits = asked !== undefined && (internalPort === undefined || internalPort === asked.internalPort) && (result !== 0 || asked.releasing === (lifetime === 0))
    if (!fits || !this.#exchanges.end(transport)) {
      this.#host.counters.add('portmap_drop_unexpected')
      return
    }
    if (result !== 0 || asked.releasing) {
      this.#answered(transport, reasonOf(result))
      return
    }
    this.#onEpoch(now, response.epoch)
    if (this.#external === undefined) this.#answered(transport, 'no external address')
    else this.#host.told.push({ kind: 'mapped', transport, external: withPort(this.#external, externalPort), lifetime })
  }

  #onEpoch(now: Instant, epoch: number): void {
    if (natPmpRestarted(this.#epoch, epoch, now)) this.#host.told.push({ kind: 'restarted' })
    this.#epoch = { value: epoch, at: now }
  }

  #probed(reason: MappingRefusal | undefined): void {
    this.#probing = false
    this.#host.told.push(reason === undefined ? { kind: 'present', protocol: 'nat-pmp' } : { kind: 'absent', protocol: 'nat-pmp', reason })
  }

  #answered(transport: Transport, reason: MappingRefusal): void {
    this.#host.told.push(this.#asked.get(transport)?.releasing === true ? { kind: 'released', transport } : { kind: 'refused', transport, reason })
  }
}

/** RFC 6886 §3.5. */
function reasonOf(result: number): MappingRefusal {
  switch (result) {
    case 1:
      return 'version'
    case 2:
      return 'not authorized'
    case 3:
      return 'network failure'
    case 4:
      return 'no resources'
    default:
      return 'refused'
  }
}
