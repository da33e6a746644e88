import { equalBytes } from '../base/bytes.ts'
import { portOf } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import { after, millisecond, never, second, type Duration, type Instant } from '../base/time.ts'
import type { Transport } from '../wire/pcp.ts'
import { withPort, type ClientEvent, type MapperHost, type MappingClient, type MappingRefusal, type PortMapEvent } from './contract.ts'
import { renewalTime } from './schedule.ts'

/** [P] Seconds. A router that grants less than two renewals' time is renewed at that pace all the same. */
const LIFETIME_MIN = 8
/** RFC 6887 §15: what a router grants beyond a day is not relied on. */
const LIFETIME_MAX = 86_400
/** A candidate below these is one that no peer sends to (WIRE.md §5). */
const PORT_MIN = 1024
const PORTS_BELOW: readonly number[] = [443, 3478]

export interface MappedPortsOptions {
  /** Our own ports that are to be reached. */
  readonly ports: ReadonlyMap<Transport, number>
  /** What is asked for; a router may grant less. */
  readonly lifetime: Duration
}

/** What one port has at the router. `made` is when the router last said so. */
type Slot =
  | { readonly kind: 'asking' }
  | { readonly kind: 'held'; readonly external: Uint8Array; readonly madeAt: Instant; readonly lifetime: Duration; readonly renewAt: Instant; readonly attempt: number; readonly asking: boolean }
  | { readonly kind: 'lost'; readonly reason: MappingRefusal | 'expired' }

/** Our ports at a router that speaks one protocol: asked for, held and renewed, given back. */
export class MappedPorts {
  readonly client: MappingClient
  readonly #host: MapperHost
  readonly #options: MappedPortsOptions
  readonly #events: PortMapEvent[]
  /** The external addresses that we had last, to be asked for again; they outlive this object. */
  readonly #wishes: Map<Transport, Uint8Array>
  readonly #slots = new Map<Transport, Slot>()

  constructor(host: MapperHost, client: MappingClient, options: MappedPortsOptions, wishes: Map<Transport, Uint8Array>, events: PortMapEvent[]) {
    this.#host = host
    this.client = client
    this.#options = options
    this.#wishes = wishes
    this.#events = events
  }

  ask(now: Instant): void {
    for (const transport of this.#options.ports.keys()) this.#ask(now, transport, { kind: 'asking' })
  }

  /**
   * Why nothing is held and nothing is asked for any more; `undefined` while there is hope. A mapping that expired says most: this router did
   * map. Another one may have expired before it and been asked for again in its company, in vain, which is silence, not a refusal.
   */
  get lost(): MappingRefusal | 'expired' | undefined {
    let reason: MappingRefusal | 'expired' | undefined
    for (const slot of this.#slots.values()) {
      if (slot.kind !== 'lost') return undefined
      if (reason === undefined || slot.reason === 'expired') reason = slot.reason
    }
    return reason
  }

  held(now: Instant): { readonly transport: Transport; readonly external: Uint8Array; readonly leftMs: number }[] {
    const held: { transport: Transport; external: Uint8Array; leftMs: number }[] = []
    for (const [transport, slot] of this.#slots) {
      if (slot.kind === 'held') held.push({ transport, external: slot.external, leftMs: Math.max(0, Math.round((slot.madeAt + slot.lifetime - now) / millisecond)) })
    }
    return held
  }

  nextTimeout(): Instant {
    let next = never
    for (const slot of this.#slots.values()) {
      if (slot.kind !== 'held') continue
      const expiresAt = after(slot.madeAt, slot.lifetime)
      const due = !slot.asking && slot.renewAt < expiresAt ? slot.renewAt : expiresAt
      if (due < next) next = due
    }
    return next
  }

  handleTimeout(now: Instant): void {
    for (const [transport, slot] of [...this.#slots]) {
      if (slot.kind !== 'held') continue
      if (now >= slot.madeAt + slot.lifetime) {
        this.#host.counters.add('portmap_expired')
        this.#lose(transport, 'expired', 'expired')
      } else if (!slot.asking && now >= slot.renewAt) {
        this.#ask(now, transport, { ...slot, asking: true })
        // Who was refused beside it is asked again in its company.
        for (const [other, { kind }] of [...this.#slots]) if (kind === 'lost') this.#ask(now, other, { kind: 'asking' })
      }
    }
  }

  onMapped(now: Instant, { transport, external, lifetime }: Extract<ClientEvent, { kind: 'mapped' }>): void {
    const before = this.#slots.get(transport)
    if (before === undefined || before.kind === 'lost') return
    if (!isReachable(external)) {
      this.#useless(now, transport, external)
      return
    }
    this.#host.counters.add(before.kind === 'held' ? 'portmap_renewed' : 'portmap_mapped')
    const granted = Math.max(LIFETIME_MIN, Math.min(lifetime, LIFETIME_MAX)) * second
    this.#slots.set(transport, { kind: 'held', external, madeAt: now, lifetime: granted, renewAt: renewalTime(now, now, granted, 0, this.#host.unit()), attempt: 0, asking: false })
    if (before.kind !== 'held' || !equalBytes(before.external, external)) this.#tell(transport, external)
  }

  onRefused(now: Instant, transport: Transport, reason: MappingRefusal): void {
    const slot = this.#slots.get(transport)
    // It expired while the router was asked: nobody waits for this answer.
    if (slot === undefined || slot.kind === 'lost') return
    if (slot.kind === 'held' && reason === 'silent') {
      // It stands until it expires; the router may only be slow.
      this.#host.counters.add('portmap_renewals_unanswered')
      const attempt = slot.attempt + 1
      this.#slots.set(transport, { ...slot, attempt, asking: false, renewAt: renewalTime(slot.madeAt, now, slot.lifetime, attempt, this.#host.unit()) })
      return
    }
    this.#host.counters.add('portmap_refused')
    this.#lose(transport, reason, 'refused')
  }

  /** The router has another address: mappings are what they were, at that address. */
  onMoved(now: Instant, address: Uint8Array): void {
    for (const [transport, slot] of [...this.#slots]) {
      if (slot.kind !== 'held') continue
      const external = withPort(address, portOf(slot.external))
      if (isReachable(external)) {
        this.#slots.set(transport, { ...slot, external })
        this.#tell(transport, external)
      } else this.#useless(now, transport, slot.external)
    }
  }

  /** The router may have lost them. */
  renewBy(time: Instant): void {
    for (const [transport, slot] of this.#slots) if (slot.kind === 'held' && slot.renewAt > time) this.#slots.set(transport, { ...slot, renewAt: time })
  }

  /** Takes everything back; returns what the client will say to be released. */
  release(now: Instant): Set<Transport> {
    const left = new Set<Transport>()
    for (const [transport, slot] of [...this.#slots]) {
      // What is only asked for may be granted already: the answer may be on its way.
      if (slot.kind === 'lost') continue
      left.add(transport)
      this.client.release(now, transport, this.#options.ports.get(transport)!, slot.kind === 'held' ? slot.external : undefined)
      if (slot.kind === 'held') this.#events.push({ kind: 'unmapped', transport, reason: 'removed' })
    }
    return left
  }

  /** Without a word to the router: it is not ours any more. */
  forget(): void {
    for (const [transport, slot] of this.#slots) if (slot.kind === 'held') this.#events.push({ kind: 'unmapped', transport, reason: 'network' })
  }

  #ask(now: Instant, transport: Transport, slot: Slot): void {
    this.#slots.set(transport, slot)
    const internalPort = this.#options.ports.get(transport)!
    const had = this.#wishes.get(transport)
    // Peers try UDP and TCP at the same address: the port of one is the wish for the other.
    const other = this.#wishes.get(transport === 'udp' ? 'tcp' : 'udp')
    const port = had !== undefined ? portOf(had) : other !== undefined ? portOf(other) : internalPort
    this.client.map(now, { transport, internalPort, wish: { port, address: had }, lifetime: Math.round(this.#options.lifetime / second) })
  }

  #tell(transport: Transport, external: Uint8Array): void {
    this.#wishes.set(transport, external)
    this.#events.push({ kind: 'mapped', transport, external, protocol: this.client.protocol })
  }

  /** Mapped to where nobody can come from: taken back. */
  #useless(now: Instant, transport: Transport, external: Uint8Array): void {
    this.#host.counters.add('portmap_bad_external')
    this.client.release(now, transport, this.#options.ports.get(transport)!, external)
    this.#lose(transport, 'external address is not public', 'refused')
  }

  #lose(transport: Transport, reason: MappingRefusal | 'expired', told: 'expired' | 'refused'): void {
    if (this.#slots.get(transport)?.kind === 'held') this.#events.push({ kind: 'unmapped', transport, reason: told })
    this.#slots.set(transport, { kind: 'lost', reason })
  }
}

/** Whether peers elsewhere may try it: a router behind another NAT names an address that means something else to them. */
function isReachable(external: Uint8Array): boolean {
  const port = portOf(external)
  return addressClass(external) === 'global' && (port >= PORT_MIN || PORTS_BELOW.includes(port))
}
