import { ADDRESS_SIZE, isIPv4 } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import { writeU16 } from '../base/bytes.ts'
import { Counters } from '../base/counters.ts'
import type { Instant } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { HttpUrl } from '../wire/http-url.ts'
import type { SoapRequest } from '../wire/igd.ts'
import type { Transport } from '../wire/pcp.ts'
import type { DatagramWay, Gateway } from '../wire/port-map-io.ts'

/** Best first: PCP has a nonce and says when the router forgot, NAT-PMP only the latter, UPnP neither. */
export const mappingProtocols = ['pcp', 'nat-pmp', 'upnp'] as const
export type MappingProtocol = (typeof mappingProtocols)[number]

/** Whether a router between a private network and the Internet may be there. No other is ever asked for anything. */
export function isHomeGateway({ router, local }: Gateway): boolean {
  const near = (address: Uint8Array): boolean => ['private', 'shared', 'link-local', 'loopback'].includes(addressClass(address))
  return isIPv4(router) && isIPv4(local) && near(router) && near(local)
}

/** What only a driver can do. `http`: GET, or POST where there is a body; answered once by `handleHttp` with the same token. */
export type PortMapAction =
  | { readonly kind: 'datagram'; readonly by: Exclude<DatagramWay, 'announcement'>; readonly to: Uint8Array; readonly bytes: Uint8Array }
  | { readonly kind: 'http'; readonly token: number; readonly url: HttpUrl; readonly soap: SoapRequest | undefined }

/** Why there is no mapping. `silent`: nobody answered. */
export type MappingRefusal =
  | 'silent' | 'version' | 'not authorized' | 'network failure' | 'no resources' | 'another NAT is between' | 'refused' | 'broken answers' | 'port taken'
  | 'no external address' | 'external address is not public'

export type PortMapEvent =
  /** Datagrams and connections to `external` (18 bytes) reach our port, as far as the router says. Told again when the address changes. */
  | { readonly kind: 'mapped'; readonly transport: Transport; readonly external: Uint8Array; readonly protocol: MappingProtocol }
  | { readonly kind: 'unmapped'; readonly transport: Transport; readonly reason: 'network' | 'expired' | 'refused' | 'removed' }

/** What a client of one protocol tells the mapper. */
export type ClientEvent =
  | { readonly kind: 'present'; readonly protocol: MappingProtocol }
  | { readonly kind: 'absent'; readonly protocol: MappingProtocol; readonly reason: MappingRefusal }
  | { readonly kind: 'mapped'; readonly transport: Transport; readonly external: Uint8Array; readonly lifetime: number }
  | { readonly kind: 'refused'; readonly transport: Transport; readonly reason: MappingRefusal }
  | { readonly kind: 'released'; readonly transport: Transport }
  /** The external address of all mappings is another one now; 18 bytes with port 0. */
  | { readonly kind: 'moved'; readonly external: Uint8Array }
  /** The router lost its mappings. */
  | { readonly kind: 'restarted' }

export interface MappingRequest {
  readonly transport: Transport
  readonly internalPort: number
  /** What we had or would like. */
  readonly wish: { readonly port: number; readonly address: Uint8Array | undefined }
  /** Seconds. */
  readonly lifetime: number
}

/** One protocol towards one router. Each call but `stop` is answered by one event of its kind, sooner or later. */
export interface MappingClient {
  readonly protocol: MappingProtocol
  /** Asks whether the router speaks it, without making anything. */
  probe(now: Instant): void
  map(now: Instant, request: MappingRequest): void
  /** Takes a mapping back, or the wish for one. */
  release(now: Instant, transport: Transport, internalPort: number, external: Uint8Array | undefined): void
  /** Forgets what is under way: nothing more is said of it. */
  stop(): void
  nextTimeout(): Instant
  handleTimeout(now: Instant): void
}

const portMapCounterNames = [
  'portmap_rounds', 'portmap_datagrams_sent', 'portmap_http_requests', 'portmap_mapped', 'portmap_renewed', 'portmap_removed', 'portmap_expired', 'portmap_refused',
  'portmap_renewals_unanswered', 'portmap_router_restarts', 'portmap_network_changes', 'portmap_bad_external',
  'portmap_drop_source', 'portmap_drop_malformed', 'portmap_drop_nonce', 'portmap_drop_unexpected',
  'portmap_upnp_foreign', 'portmap_upnp_redirects', 'portmap_upnp_oversized', 'portmap_upnp_timeouts', 'portmap_upnp_broken',
] as const
export type PortMapCounter = (typeof portMapCounterNames)[number]

export function newPortMapCounters(): Counters<PortMapCounter> {
  return new Counters<PortMapCounter>(portMapCounterNames)
}

const POOL_SIZE = 64

/** What the parts of the mapper write into and draw from. */
export class MapperHost {
  readonly counters: Counters<PortMapCounter> = newPortMapCounters()
  /** BOUNDED by what one input can cause; drained after each. */
  readonly actions: PortMapAction[] = []
  /** BOUNDED likewise. */
  readonly told: ClientEvent[] = []
  readonly provider: Pick<CryptoProvider, 'random' | 'hmac'>
  readonly #pool = new Uint8Array(POOL_SIZE)
  #used = POOL_SIZE
  #token = 0

  constructor(provider: Pick<CryptoProvider, 'random' | 'hmac'>) {
    this.provider = provider
  }

  send(by: Exclude<DatagramWay, 'announcement'>, to: Uint8Array, bytes: Uint8Array): void {
    this.counters.add('portmap_datagrams_sent')
    this.actions.push({ kind: 'datagram', by, to, bytes })
  }

  /** The token that the answer will have. */
  http(request: { readonly url: HttpUrl; readonly soap: SoapRequest | undefined }): number {
    this.counters.add('portmap_http_requests')
    this.actions.push({ kind: 'http', token: ++this.#token, ...request })
    return this.#token
  }

  /** A random number in 0 ≤ x < 1. */
  unit(): number {
    if (this.#used === POOL_SIZE) {
      this.provider.random(this.#pool)
      this.#used = 0
    }
    const value = (this.#pool[this.#used]! << 8) | this.#pool[this.#used + 1]!
    this.#used += 2
    return value / 0x1_0000
  }
}

/** The same host with another port. */
export function withPort(address: Uint8Array, port: number): Uint8Array {
  const copy = address.slice(0, ADDRESS_SIZE)
  writeU16(copy, 16, port)
  return copy
}

export function sameHost(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) if (a[i] !== b[i]) return false
  return true
}
