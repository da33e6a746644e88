import { portOf } from '../base/address.ts'
import { equalBytes } from '../base/bytes.ts'
import { after, millisecond, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { decodeNatPmp } from '../wire/nat-pmp.ts'
import { decodePcp, PORT_MAP_SERVER_PORT, type Transport } from '../wire/pcp.ts'
import type { DatagramWay, Gateway, HttpOutcome } from '../wire/port-map-io.ts'
import { isHomeGateway, MapperHost, mappingProtocols, sameHost, type ClientEvent, type MappingClient, type MappingProtocol, type MappingRefusal, type PortMapAction, type PortMapCounter, type PortMapEvent } from './contract.ts'
import { MappedPorts, type MappedPortsOptions } from './mapped-ports.ts'
import { NatPmpClient } from './nat-pmp-client.ts'
import { PcpClient } from './pcp-client.ts'
import { nextRound, RESTART_PAUSE_MIN, RESTART_SPREAD } from './schedule.ts'
import { UpnpClient } from './upnp-client.ts'

/** [P] How long a worse protocol that answered waits for a better one. */
const GRACE: Duration = 300 * millisecond
/** [P] How long the router gets to confirm at the end that mappings are gone. They end by themselves as well. */
const RELEASE_MAX: Duration = second
export interface PortMapperOptions extends MappedPortsOptions {
  readonly provider: Pick<CryptoProvider, 'random' | 'hmac'>
  /** 32 bytes that outlive the process. */
  readonly secret: Uint8Array
}

/**
 *   off ──gateway──▶ probing ──one is chosen──▶ serving ──lost, expired, refused──▶ probing
 *                      │  ▲                                                          any ──gateway──▶ probing | off
 *            nobody,   ▼  │ pause over, or the router began anew                     any ──shutdown──▶ releasing ──▶ stopped
 *            no      resting
 */
type State =
  | { readonly kind: 'off' }
  | { readonly kind: 'probing'; readonly waiting: Set<MappingProtocol>; readonly present: Set<MappingProtocol>; decideAt: Instant }
  | { readonly kind: 'serving'; readonly ports: MappedPorts }
  | { readonly kind: 'resting'; until: Instant }
  | { readonly kind: 'releasing'; readonly left: Set<Transport>; readonly until: Instant }
  | { readonly kind: 'stopped' }

interface Clients {
  readonly gateway: Gateway
  readonly pcp: PcpClient
  readonly natPmp: NatPmpClient
  readonly upnp: UpnpClient
  readonly all: readonly MappingClient[]
}

export interface PortMapView {
  readonly state: 'off' | 'searching' | 'mapped' | 'none' | 'stopped'
  readonly protocol: MappingProtocol | undefined
  /** 18 bytes with port 0. */
  readonly router: Uint8Array | undefined
  readonly mapped: ReturnType<MappedPorts['held']>
  /** Why there is none. */
  readonly reason: MappingRefusal | undefined
}

/**
 * Keeps our ports mapped at the router, by whichever protocol it speaks, sans-IO. Call, then poll actions and events until there are none,
 * then arm a timer for `nextTimeout`.
 */
export class PortMapper {
  readonly #options: PortMapperOptions
  readonly #host: MapperHost
  readonly #events: PortMapEvent[] = []
  #clients: Clients | undefined
  #state: State = { kind: 'off' }
  #round = 0
  /** Of this round: protocols that said no, or mapped what is of no use. */
  readonly #refused = new Map<MappingProtocol, MappingRefusal>()
  #reason: MappingRefusal | undefined
  /** The external addresses that we had last, to be asked for again. */
  readonly #wishes = new Map<Transport, Uint8Array>()
  #restartedAt: Instant = toInstant(-Infinity)

  constructor(options: PortMapperOptions) {
    this.#options = options
    this.#host = new MapperHost(options.provider)
  }

  counters(): Record<PortMapCounter, number> {
    return this.#host.counters.snapshot()
  }

  /** The network as it is now; `undefined` without a default gateway. Nothing happens where it is as it was. */
  setGateway(now: Instant, gateway: Gateway | undefined): void {
    if (this.#state.kind === 'stopped' || this.#state.kind === 'releasing') return
    const before = this.#clients?.gateway
    const used = gateway !== undefined && isHomeGateway(gateway) ? gateway : undefined
    if (before === used || (before !== undefined && used !== undefined && equalBytes(before.router, used.router) && equalBytes(before.local, used.local))) return
    if (before !== undefined) this.#host.counters.add('portmap_network_changes')
    for (const client of this.#clients?.all ?? []) client.stop()
    if (this.#state.kind === 'serving') this.#state.ports.forget()
    this.#wishes.clear()
    this.#clients = used === undefined ? undefined : this.#clientsOf(used)
    this.#reason = undefined
    this.#restartedAt = toInstant(-Infinity)
    this.#state = { kind: 'off' }
    if (used !== undefined) this.#begin(now, 0)
    this.#drain(now)
  }

  handleDatagram(now: Instant, way: DatagramWay, from: Uint8Array, bytes: Uint8Array): void {
    const clients = this.#clients
    if (clients === undefined || !sameHost(from, clients.gateway.router) || (way !== 'search' && portOf(from) !== PORT_MAP_SERVER_PORT)) {
      this.#host.counters.add('portmap_drop_source')
      return
    }
    if (way === 'search') clients.upnp.handleDatagram(bytes)
    else if (way === 'announcement') this.#onAnnouncement(now, clients, bytes)
    else this.#onAnswer(now, clients, bytes)
    this.#drain(now)
  }

  handleHttp(now: Instant, token: number, outcome: HttpOutcome): void {
    this.#clients?.upnp.handleHttp(token, outcome)
    this.#drain(now)
  }

  handleTimeout(now: Instant): void {
    for (const client of this.#clients?.all ?? []) client.handleTimeout(now)
    this.#drain(now)
    const state = this.#state
    switch (state.kind) {
      case 'probing':
        if (now >= state.decideAt) this.#decide(now, state, true)
        break
      case 'resting':
        if (now >= state.until) this.#begin(now, this.#round + 1)
        break
      case 'serving':
        state.ports.handleTimeout(now)
        this.#check(now, state)
        break
      case 'releasing':
        if (now >= state.until) this.#stopped()
        break
      case 'off':
      case 'stopped':
        break
      default:
        state satisfies never
    }
    this.#drain(now)
  }

  nextTimeout(): Instant {
    let next = never
    const at = (time: Instant): void => {
      if (time < next) next = time
    }
    for (const client of this.#clients?.all ?? []) at(client.nextTimeout())
    const state = this.#state
    if (state.kind === 'probing') at(state.decideAt)
    if (state.kind === 'resting' || state.kind === 'releasing') at(state.until)
    if (state.kind === 'serving') at(state.ports.nextTimeout())
    return next
  }

  /** Takes back what is mapped; `stopped` within a second. */
  shutdown(now: Instant): void {
    const state = this.#state
    if (state.kind === 'releasing' || state.kind === 'stopped') return
    if (state.kind !== 'serving') {
      this.#stopped()
      return
    }
    const left = state.ports.release(now)
    this.#state = { kind: 'releasing', left, until: after(now, RELEASE_MAX) }
    if (left.size === 0) this.#stopped()
    this.#drain(now)
  }

  pollAction(): PortMapAction | undefined {
    return this.#host.actions.shift()
  }

  pollEvent(): PortMapEvent | undefined {
    return this.#events.shift()
  }

  get stopped(): boolean {
    return this.#state.kind === 'stopped'
  }

  view(now: Instant): PortMapView {
    const state = this.#state
    const mapped = state.kind === 'serving' ? state.ports.held(now) : []
    const kind = state.kind === 'off' || state.kind === 'stopped' ? state.kind : state.kind === 'resting' ? 'none' : mapped.length > 0 ? 'mapped' : 'searching'
    return { state: kind, protocol: state.kind === 'serving' ? state.ports.client.protocol : undefined, router: this.#clients?.gateway.router, mapped, reason: kind === 'none' ? this.#reason : undefined }
  }

  // ── which protocol ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #clientsOf(gateway: Gateway): Clients {
    const pcp = new PcpClient(this.#host, gateway, this.#options.secret)
    const natPmp = new NatPmpClient(this.#host, gateway)
    const upnp = new UpnpClient(this.#host, gateway)
    return { gateway, pcp, natPmp, upnp, all: [pcp, natPmp, upnp] }
  }

  #begin(now: Instant, round: number): void {
    this.#round = round
    this.#refused.clear()
    this.#host.counters.add('portmap_rounds')
    this.#probe(now)
  }

  /** Asks everybody who did not refuse in this round; at once, since most routers speak one of them only. */
  #probe(now: Instant): void {
    const asked = this.#clients!.all.filter(({ protocol }) => !this.#refused.has(protocol))
    if (asked.length === 0) {
      this.#rest(now)
      return
    }
    this.#state = { kind: 'probing', waiting: new Set(asked.map(({ protocol }) => protocol)), present: new Set(), decideAt: never }
    for (const client of asked) client.probe(now)
  }

  /** With the best that is there, if no better one may still answer, or nobody waits for it any longer (`late`). */
  #decide(now: Instant, state: Extract<State, { kind: 'probing' }>, late: boolean): void {
    const best = mappingProtocols.find((protocol) => state.present.has(protocol) || (!late && state.waiting.has(protocol)))
    if (best === undefined) {
      if (state.waiting.size === 0) this.#rest(now)
      return
    }
    if (!state.present.has(best)) {
      if (state.present.size > 0 && state.decideAt === never) state.decideAt = after(now, GRACE)
      return
    }
    for (const client of this.#clients!.all) if (client.protocol !== best) client.stop()
    const ports = new MappedPorts(this.#host, this.#clients!.all.find(({ protocol }) => protocol === best)!, this.#options, this.#wishes, this.#events)
    this.#state = { kind: 'serving', ports }
    ports.ask(now)
  }

  /** Goes on to the next protocol when this one has nothing for us any more. */
  #check(now: Instant, { ports }: Extract<State, { kind: 'serving' }>): void {
    const reason = ports.lost
    if (reason === undefined) return
    ports.client.stop()
    if (reason === 'expired') {
      this.#begin(now, 0)
      return
    }
    // The address is the router's, not the protocol's.
    for (const { protocol } of reason === 'external address is not public' ? this.#clients!.all : [ports.client]) this.#refused.set(protocol, reason)
    this.#probe(now)
  }

  #rest(now: Instant): void {
    for (const client of this.#clients!.all) client.stop()
    // The first to say more than nothing is who explains it.
    this.#reason = [...this.#refused.values()].find((reason) => reason !== 'silent' && reason !== 'version') ?? 'silent'
    this.#state = { kind: 'resting', until: nextRound(now, this.#round, this.#host.unit()) }
  }

  // ── what the clients tell ───────────────────────────────────────────────────────────────────────────────────────────────

  #drain(now: Instant): void {
    for (let event = this.#host.told.shift(); event !== undefined; event = this.#host.told.shift()) this.#onTold(now, event)
  }

  #onTold(now: Instant, event: ClientEvent): void {
    const state = this.#state
    switch (event.kind) {
      case 'present':
      case 'absent':
        if (state.kind !== 'probing') return
        state.waiting.delete(event.protocol)
        if (event.kind === 'present') state.present.add(event.protocol)
        else this.#refused.set(event.protocol, event.reason)
        this.#decide(now, state, false)
        return
      case 'mapped':
        if (state.kind !== 'serving') return
        state.ports.onMapped(now, event)
        if (state.ports.lost === undefined) this.#round = 0
        this.#check(now, state)
        return
      case 'refused':
        if (state.kind !== 'serving') return
        state.ports.onRefused(now, event.transport, event.reason)
        this.#check(now, state)
        return
      case 'moved':
        if (state.kind !== 'serving') return
        state.ports.onMoved(now, event.external)
        this.#check(now, state)
        return
      case 'restarted':
        if (state.kind === 'serving') state.ports.renewBy(this.#afterRestart(now))
        return
      case 'released':
        if (state.kind !== 'releasing') return
        state.left.delete(event.transport)
        this.#host.counters.add('portmap_removed')
        if (state.left.size === 0) this.#stopped()
        return
      default:
        event satisfies never
    }
  }

  /** Clients that answer to a restart all at once would be the router's first problem. */
  #afterRestart(now: Instant): Instant {
    // Said several times over.
    if (this.#restartedAt > now) return this.#restartedAt
    this.#host.counters.add('portmap_router_restarts')
    const again = toInstant(Math.max(now + this.#host.unit() * RESTART_SPREAD, this.#restartedAt + RESTART_PAUSE_MIN))
    this.#restartedAt = again
    return again
  }

  /** PCP and NAT-PMP share a port, and each says no in its own format to who asks in the other's. */
  #onAnswer(now: Instant, clients: Clients, bytes: Uint8Array): void {
    const pcp = decodePcp(bytes)
    if (pcp.kind === 'version' && pcp.offered !== 0) clients.natPmp.handleVersion()
    else if (pcp.kind === 'version' || bytes[0] !== 0) clients.pcp.handleDatagram(now, bytes)
    else clients.natPmp.handleDatagram(now, bytes)
  }

  /** Multicast by a router that began anew, or got another address (RFC 6887 §14.1, RFC 6886 §3.2.1): anybody on the link can say so. */
  #onAnnouncement(now: Instant, clients: Clients, bytes: Uint8Array): void {
    const pcp = decodePcp(bytes)
    const natPmp = decodeNatPmp(bytes)
    const external = natPmp.kind === 'address' ? natPmp.external : undefined
    if (pcp.kind !== 'announce' && external === undefined) {
      this.#host.counters.add('portmap_drop_malformed')
      return
    }
    const state = this.#state
    if (state.kind === 'resting') {
      state.until = toInstant(Math.min(state.until, this.#afterRestart(now)))
      return
    }
    if (state.kind !== 'serving') return
    const { client } = state.ports
    if (client === clients.pcp && pcp.kind === 'announce') clients.pcp.handleAnnouncement(now, pcp.epoch)
    else if (client === clients.natPmp && natPmp.kind === 'address' && external !== undefined) clients.natPmp.handleAnnouncement(now, natPmp.epoch, external)
    else if (client === clients.natPmp && pcp.kind === 'announce') clients.natPmp.handleForeignClock(now, pcp.epoch)
    // UPnP has no clock to compare with.
    else if (client === clients.upnp) state.ports.renewBy(this.#afterRestart(now))
  }

  #stopped(): void {
    for (const client of this.#clients?.all ?? []) client.stop()
    this.#state = { kind: 'stopped' }
  }
}
