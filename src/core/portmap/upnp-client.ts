import { decodeAddress, encodeAddress, isIPv4, formatAddress } from '../base/address.ts'
import { after, never, second, type Duration, type Instant } from '../base/time.ts'
import type { HttpUrl } from '../wire/http-url.ts'
import { decodeDescription, decodeSoap, encodeAddMapping, encodeDeleteMapping, encodeGetExternalAddress, externalAddressOf, igdErrors, type IgdService, type SoapAnswer, type SoapRequest } from '../wire/igd.ts'
import type { Transport } from '../wire/pcp.ts'
import { decodeSsdpAnswer, encodeSearch, gatewayTypes, SSDP_GROUP, SSDP_PORT } from '../wire/ssdp.ts'
import type { Gateway, HttpOutcome } from '../wire/port-map-io.ts'
import { sameHost, withPort, type MapperHost, type MappingClient, type MappingRefusal, type MappingRequest } from './contract.ts'

/** Searches go out at 0, 1 and 3 s; given up at 7 s, a second behind the last answer that MX allows. */
const SEARCH_PAUSES: readonly Duration[] = [second, 2 * second, 4 * second]
/** [P] Descriptions of one router that are tried, and services of one description. */
const LOCATIONS_MAX = 4
/** [P] External ports that are tried where others have theirs already. */
const PORTS_MAX = 4
const PORT_MIN = 1024

type Operation =
  | { readonly kind: 'describe'; readonly location: HttpUrl }
  | { readonly kind: 'address'; readonly service: IgdService }
  | { readonly kind: 'add'; readonly request: MappingRequest; readonly externalPort: number; readonly lease: number; readonly ports: number }
  | { readonly kind: 'remove'; readonly transport: Transport; readonly externalPort: number }

/**
 * UPnP-IGD towards one router: search, description, and SOAP requests one after the other. Only the default gateway itself is
 * listened to and asked: what it names on other hosts is not looked at.
 */
export class UpnpClient implements MappingClient {
  readonly protocol = 'upnp' as const
  readonly #host: MapperHost
  readonly #gateway: Gateway
  #search: { tries: number; nextAt: Instant } | undefined
  /** BOUNDED: {@link LOCATIONS_MAX}; later ones are passed over. */
  readonly #locations = new Set<string>()
  /** BOUNDED: what the locations and services of one probe make, then a map or removal for each transport. */
  readonly #queue: Operation[] = []
  #running: { readonly token: number; readonly operation: Operation } | undefined
  #service: IgdService | undefined
  #external: Uint8Array | undefined
  #probing = false
  #lastFault: MappingRefusal = 'silent'

  constructor(host: MapperHost, gateway: Gateway) {
    this.#host = host
    this.#gateway = gateway
  }

  probe(now: Instant): void {
    this.stop()
    this.#probing = true
    this.#lastFault = 'silent'
    this.#service = undefined
    this.#external = undefined
    this.#locations.clear()
    this.#search = { tries: 0, nextAt: now }
    this.handleTimeout(now)
  }

  map(_now: Instant, request: MappingRequest): void {
    // The router's address may have changed since; it is not in the answer to a mapping.
    if (this.#service !== undefined && !this.#queue.some(({ kind }) => kind === 'address')) this.#queue.push({ kind: 'address', service: this.#service })
    this.#queue.push({ kind: 'add', request, externalPort: request.wish.port, lease: request.lifetime, ports: 1 })
    this.#next()
  }

  release(_now: Instant, transport: Transport, _internalPort: number, external: Uint8Array | undefined): void {
    for (let i = this.#queue.length - 1; i >= 0; i--) {
      const waiting = this.#queue[i]!
      if (waiting.kind === 'add' && waiting.request.transport === transport) this.#queue.splice(i, 1)
    }
    if (external === undefined || this.#service === undefined) this.#host.told.push({ kind: 'released', transport })
    else this.#queue.push({ kind: 'remove', transport, externalPort: decodeAddress(external).port })
    this.#next()
  }

  stop(): void {
    this.#search = undefined
    this.#probing = false
    this.#queue.length = 0
    this.#running = undefined
  }

  nextTimeout(): Instant {
    return this.#search?.nextAt ?? never
  }

  handleTimeout(now: Instant): void {
    const search = this.#search
    if (search === undefined || now < search.nextAt) return
    const pause = SEARCH_PAUSES[search.tries]
    if (pause === undefined) {
      this.#search = undefined
      this.#settle()
      return
    }
    search.tries++
    search.nextAt = after(now, pause)
    // Some routers hear the group alone, some networks let only the router itself be asked.
    for (const type of gatewayTypes) {
      this.#host.send('search', encodeAddress(SSDP_GROUP, SSDP_PORT)!, encodeSearch(type))
      this.#host.send('search', withPort(this.#gateway.router, SSDP_PORT), encodeSearch(type))
    }
  }

  /** From the router: who else answers was dropped before. */
  handleDatagram(bytes: Uint8Array): void {
    const answer = decodeSsdpAnswer(bytes)
    if (answer.kind === 'malformed') this.#host.counters.add('portmap_drop_malformed')
    if (answer.kind !== 'found') return
    if (!this.#probing) {
      this.#host.counters.add('portmap_drop_unexpected')
      return
    }
    if (!this.#isRouter(answer.location)) return
    const key = formatAddress(answer.location.address) + answer.location.path
    if (this.#locations.has(key) || this.#locations.size >= LOCATIONS_MAX) return
    this.#locations.add(key)
    this.#queue.push({ kind: 'describe', location: answer.location })
    this.#next()
  }

  handleHttp(token: number, outcome: HttpOutcome): void {
    const running = this.#running
    if (running?.token !== token) return
    this.#running = undefined
    const { operation } = running
    if (operation.kind === 'describe') this.#onDescription(operation.location, this.#bodyOf(outcome))
    else this.#onSoap(operation, outcome)
    this.#next()
    this.#settle()
  }

  #onDescription(location: HttpUrl, body: string | undefined): void {
    if (body === undefined || this.#service !== undefined) return
    const description = decodeDescription(body, location)
    if (description.kind === 'malformed') {
      this.#broken()
      return
    }
    for (const service of description.services) if (this.#isRouter(service.control)) this.#queue.push({ kind: 'address', service })
  }

  #onSoap(operation: Exclude<Operation, { kind: 'describe' }>, outcome: HttpOutcome): void {
    const action = operation.kind === 'address' ? 'GetExternalIPAddress' : operation.kind === 'add' ? 'AddPortMapping' : 'DeletePortMapping'
    const body = this.#bodyOf(outcome)
    const answer = body === undefined ? undefined : decodeSoap(body, action)
    if (answer?.kind === 'malformed') this.#broken()
    switch (operation.kind) {
      case 'address':
        this.#onAddress(operation.service, answer)
        return
      case 'add':
        this.#onAdded(operation, answer)
        return
      case 'remove':
        this.#host.told.push({ kind: 'released', transport: operation.transport })
    }
  }

  #onAddress(service: IgdService, answer: SoapAnswer | undefined): void {
    const external = answer?.kind === 'done' ? externalAddressOf(answer.values) : undefined
    if (external === undefined || !isIPv4(external) || external.subarray(12, 16).every((byte) => byte === 0)) {
      if (answer !== undefined && answer.kind !== 'malformed') this.#lastFault = 'no external address'
      return
    }
    const moved = this.#external !== undefined && !sameHost(this.#external, external)
    this.#external = external
    this.#service ??= service
    if (this.#probing) {
      this.#probing = false
      this.#search = undefined
      this.#queue.length = 0
      this.#host.told.push({ kind: 'present', protocol: 'upnp' })
    } else if (moved) this.#host.told.push({ kind: 'moved', external })
  }

  #onAdded(operation: Extract<Operation, { kind: 'add' }>, answer: SoapAnswer | undefined): void {
    const { request, externalPort, lease, ports } = operation
    const { transport } = request
    if (answer?.kind === 'done') {
      if (this.#external === undefined) this.#host.told.push({ kind: 'refused', transport, reason: 'no external address' })
      else this.#host.told.push({ kind: 'mapped', transport, external: withPort(this.#external, externalPort), lifetime: request.lifetime })
      return
    }
    const code = answer?.kind === 'error' ? answer.code : undefined
    if (code === igdErrors.permanentOnly && lease !== 0) this.#queue.unshift({ ...operation, lease: 0 })
    else if (code === igdErrors.conflict && ports < PORTS_MAX) this.#queue.unshift({ ...operation, ports: ports + 1, externalPort: PORT_MIN + Math.floor(this.#host.unit() * (0x1_0000 - PORT_MIN)) })
    else if (code === igdErrors.samePorts && externalPort !== request.internalPort) this.#queue.unshift({ ...operation, externalPort: request.internalPort, ports: PORTS_MAX })
    else this.#host.told.push({ kind: 'refused', transport, reason: answer === undefined ? 'silent' : answer.kind === 'malformed' ? 'broken answers' : reasonOf(code) })
  }

  /** Whether the router names itself; what it names elsewhere is counted and left alone. */
  #isRouter({ address }: HttpUrl): boolean {
    if (sameHost(address, this.#gateway.router)) return true
    this.#host.counters.add('portmap_upnp_foreign')
    this.#lastFault = 'broken answers'
    return false
  }

  /** Of an answer that may mean something: 200, and 500 for what SOAP calls a fault. */
  #bodyOf(outcome: HttpOutcome): string | undefined {
    if (outcome.kind === 'answer' && (outcome.status === 200 || outcome.status === 500)) return outcome.body
    const { counters } = this.#host
    if (outcome.kind === 'answer' && outcome.status >= 300 && outcome.status < 400) counters.add('portmap_upnp_redirects')
    else if (outcome.kind === 'answer') counters.add('portmap_upnp_broken')
    else counters.add(outcome.reason === 'oversized' ? 'portmap_upnp_oversized' : outcome.reason === 'timeout' ? 'portmap_upnp_timeouts' : 'portmap_upnp_broken')
    if (outcome.kind === 'answer' || outcome.reason !== 'timeout') this.#lastFault = 'broken answers'
    return undefined
  }

  #broken(): void {
    this.#host.counters.add('portmap_upnp_broken')
    this.#lastFault = 'broken answers'
  }

  #next(): void {
    if (this.#running !== undefined) return
    const operation = this.#queue.shift()
    if (operation === undefined) return
    this.#running = { token: this.#host.http(this.#requestOf(operation)), operation }
  }

  #requestOf(operation: Operation): { readonly url: HttpUrl; readonly soap: SoapRequest | undefined } {
    if (operation.kind === 'describe') return { url: operation.location, soap: undefined }
    const service = operation.kind === 'address' ? operation.service : this.#service!
    const { type, control } = service
    switch (operation.kind) {
      case 'address':
        return { url: control, soap: encodeGetExternalAddress(type) }
      case 'remove':
        return { url: control, soap: encodeDeleteMapping(type, operation.transport, operation.externalPort) }
      case 'add': {
        const { transport, internalPort } = operation.request
        const mapping = { transport, internalPort, externalPort: operation.externalPort, internalHost: decodeAddress(this.#gateway.local).host, lease: operation.lease }
        return { url: control, soap: encodeAddMapping(type, mapping) }
      }
    }
  }

  /** Says no when the search is over and nothing is left to try. */
  #settle(): void {
    if (!this.#probing || this.#search !== undefined || this.#running !== undefined || this.#queue.length > 0) return
    this.#probing = false
    this.#host.told.push({ kind: 'absent', protocol: 'upnp', reason: this.#lastFault })
  }
}

/** IGD 2 §2.5.16, UDA 2.0 §3.2.2: error codes of AddPortMapping. */
function reasonOf(code: number | undefined): MappingRefusal {
  switch (code) {
    case 606:
      return 'not authorized'
    case igdErrors.conflict:
      return 'port taken'
    case 728:
      return 'no resources'
    default:
      return 'refused'
  }
}
