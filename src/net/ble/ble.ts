import { assert } from '../../core/base/assert.ts'
import type { Counters } from '../../core/base/counters.ts'
import { PosternError } from '../../core/base/errors.ts'
import { never, type Instant } from '../../core/base/time.ts'
import type { PowerMode } from '../../core/base/power-mode.ts'
import { bleLinkLimits, bleRadioLimits, type BleLinkLimits } from '../../core/ble/limits.ts'
import { Radio, type RadioEvent } from '../../core/ble/radio.ts'
import type { FindFriend } from '../../core/ble/sightings.ts'
import type { LinkId, TransmitBatch } from '../../core/endpoint/contract.ts'
import type { ConnectionDriver, DialResult, DriverLink } from '../driver.ts'
import { bleAddressOf } from './addresses.ts'
import type { BackendEvent, BleBackend } from './backend.ts'
import { newBleCounters, type BleCounter } from './ble-counters.ts'
import { endCounter, endState, explainEnd, type BleEndReason } from './ble-end.ts'
import { bleSystem, type AdapterHealth, type BleHost, type BleLinkFacts, type BleOptions, type BleSystem, type NearbyDevice } from './ble-contract.ts'
import { DriverBleLink } from './ble-link.ts'
import { BleReceiver } from './ble-receiver.ts'

/** Before the backend's first word. */
const STARTING: AdapterHealth = { state: 'resetting', detail: 'not heard of yet' }

/** The longest that a timer may be set for: a clock that jumps is looked at anyway. */
const TIMER_MAX_MS = 60_000

//  closed ──start──▶ open ──close──▶ closing ──▶ closed
type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'open'; readonly backend: BleBackend }
  | { readonly kind: 'closing'; readonly backend: BleBackend; readonly closed: Promise<void> }

/**
 * Bluetooth LE (WIRE.md §7) over a {@link BleBackend}: every link on which both HELLOs were exchanged is a link of the host. Whom it may dial, how many
 * links it bears and when it listens is decided in core/ble. An adapter that goes is waited for: dials fail meanwhile, and nothing else does.
 */
export class BleDriver implements ConnectionDriver {
  readonly kind = 'ble' as const
  readonly #host: BleHost
  readonly #options: BleOptions
  readonly #system: BleSystem
  readonly #linkLimits: BleLinkLimits
  readonly #counters: Counters<BleCounter> = newBleCounters()
  readonly #receiver: BleReceiver
  readonly #radio: Radio
  #state: State = { kind: 'closed' }
  #adapter: AdapterHealth = STARTING
  #adapterTold: AdapterHealth = STARTING
  /** By the backend's number; as many as the radio admits, and those that are ending. */
  readonly #links = new Map<number, DriverBleLink>()
  readonly #byId = new Map<LinkId, DriverBleLink>()
  /** Texts of addresses that were dialed, by token. */
  readonly #dials = new Map<number, string>()
  #dones: (() => void)[] = []
  #turnDue = false
  #timer: unknown
  #onIdle: (() => void) | undefined
  readonly #turn = (): void => this.#onTurn()

  constructor(host: BleHost, options: BleOptions) {
    this.#host = host
    this.#options = options
    this.#system = options.system ?? bleSystem
    this.#linkLimits = { ...bleLinkLimits, ...options.linkLimits }
    this.#receiver = new BleReceiver(host, this.#counters)
    this.#radio = new Radio(options.mode, { ...bleRadioLimits, ...options.radioLimits }, () => this.#system.random())
  }

  get adapter(): AdapterHealth {
    return this.#adapter
  }

  get mode(): PowerMode {
    return this.#radio.mode
  }

  get searching(): boolean {
    return this.#radio.isSearching(this.#system.now())
  }

  get advertising(): boolean {
    return this.#radio.advertising
  }

  get scanning(): boolean {
    return this.#radio.scanning
  }

  /** Opens the backend; whether there is an adapter is told by {@link BleHost.adapter}. */
  async start(): Promise<void> {
    while (this.#state.kind === 'closing') await this.#state.closed
    if (this.#state.kind === 'open') return
    this.#receiver.open()
    const backend = this.#options.backend()
    this.#state = { kind: 'open', backend }
    backend.onEvent((event) => this.#onEvent(event))
    this.#wake()
  }

  // ── the radio ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  setHint(hint: Uint8Array | undefined): void {
    this.#radio.setHint(hint)
    this.#wake()
  }

  /** Whose hints are whose from now on. */
  setFriends(find: FindFriend): void {
    this.#radio.setFriends(this.#system.now(), find)
    this.#wake()
  }

  setMode(mode: PowerMode): void {
    this.#radio.setMode(this.#system.now(), mode)
    this.#wake()
  }

  /** Looks hard for half a minute. */
  search(): void {
    this.#radio.search(this.#system.now())
    this.#wake()
  }

  /** Who was heard lately, the strongest first. */
  nearby(): readonly NearbyDevice[] {
    const now = this.#system.now()
    return [...this.#radio.sightings].filter((sighting) => this.#radio.sightings.isFresh(sighting, now))
      .map(({ address, peer, hint, rssi, seenAt }) => ({ address, peer, hint, rssi: Math.round(rssi), age: now - seenAt })).sort((a, b) => b.rssi - a.rssi)
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  dial(address: Uint8Array, token: number): DialResult {
    if (this.#state.kind !== 'open') return 'closed'
    const known = [...this.#radio.sightings].find((sighting) => sameBytes(bleAddressOf(sighting.address), address))
    if (known === undefined) {
      this.#counters.add('ble_dials_refused')
      return 'closed'
    }
    const result = this.#radio.dial(this.#system.now(), known.address, token, known.peer !== undefined)
    this.#counters.add(result === 'dialing' ? 'ble_dials' : 'ble_dials_refused')
    if (result === 'dialing') this.#dials.set(token, known.address)
    this.#wake()
    return result === 'off' ? 'closed' : result
  }

  cancelDial(token: number): void {
    this.#radio.cancelDial(token)
    for (const link of this.#links.values()) if (link.token === token && link.id === undefined) link.ended ??= { reason: 'cancelled', detail: '' }
    this.#wake()
  }

  confirm(id: LinkId): void {
    const link = this.#byId.get(id)
    if (link === undefined || link.confirmed) return
    link.confirmed = true
    link.machine.confirm()
    this.#radio.handleConfirmed(link.number)
    this.#counters.add('ble_confirmed')
  }

  closeLink(id: LinkId): void {
    this.#byId.get(id)?.machine.close(this.#system.now(), 'done')
    this.#wake()
  }

  pause(id: LinkId): void {
    this.#byId.get(id)?.machine.pause()
    this.#counters.add('ble_paused')
  }

  resume(id: LinkId): void {
    this.#byId.get(id)?.machine.resume()
    this.#wake()
  }

  // ── Driver ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  send(batch: TransmitBatch, done: () => void): number {
    const now = this.#system.now()
    let taken = 0
    for (let row = 0; row < batch.count; row++) {
      const link = this.#byId.get(batch.link[row]! as LinkId)
      if (link === undefined || link.ended !== undefined) continue
      taken++
      this.#sendRow(now, link, batch, row)
    }
    this.#dones.push(done)
    this.#wake()
    return taken
  }

  /** What the radio knows of the link to this address. */
  linkFacts(remote: Uint8Array): BleLinkFacts | undefined {
    const link = [...this.#byId.values()].find((candidate) => sameBytes(candidate.remote, remote))
    if (link === undefined) return undefined
    const sighting = this.#radio.sightings.get(link.address)
    const heard = sighting !== undefined && this.#radio.sightings.isFresh(sighting, this.#system.now()) ? { rssi: Math.round(sighting.rssi) } : {}
    return { ...heard, mtu: link.machine.mtu, ...(link.intervalMs === undefined ? {} : { intervalMs: link.intervalMs }) }
  }

  links(): readonly DriverLink[] {
    return [...this.#byId.values()].map(({ id, info, machine }) => ({ id: id!, info: info!, receiveBuffer: undefined, sendBuffer: undefined, unsent: machine.unsentBytes }))
  }

  stats(): Readonly<Record<string, number>> {
    return this.#counters.snapshot()
  }

  /** Links say BYE first, within {@link BleLinkLimits.linger}; then the adapter is given back. */
  async close(): Promise<void> {
    if (this.#state.kind === 'open') this.#state = { kind: 'closing', backend: this.#state.backend, closed: this.#shut(this.#state.backend) }
    if (this.#state.kind === 'closing') await this.#state.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shut(backend: BleBackend): Promise<void> {
    const now = this.#system.now()
    for (const link of this.#links.values()) {
      if (link.id === undefined) link.ended ??= { reason: 'driver_closed', detail: '' }
      else link.machine.close(now, 'stopping')
    }
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve
      this.#wake()
    })
    this.#radio.handleAdapter(this.#system.now(), false)
    while (this.#radio.pollEvent() !== undefined);
    for (const [token, address] of this.#dials) this.#failDial(token, address, 'driver_closed', '')
    await backend.close()
    this.#system.clearTimeout(this.#timer)
    this.#receiver.close()
    this.#adapter = this.#adapterTold = STARTING
    this.#state = { kind: 'closed' }
  }

  #sendRow(now: Instant, link: DriverBleLink, batch: TransmitBatch, row: number): void {
    const segmentSize = batch.segmentSize[row]!
    const end = batch.offset[row]! + batch.length[row]!
    assert(batch.offset[row]! >= batch.base && end <= batch.base + batch.size && segmentSize > 0, 'transmit row lies in its slab')
    for (let offset = batch.offset[row]!; offset < end; offset += segmentSize) {
      const datagram = this.#host.arena.bytes.subarray(offset, Math.min(offset + segmentSize, end))
      if (link.machine.send(now, datagram) !== 'queued') {
        this.#counters.add('ble_overflow_datagrams')
        continue
      }
      this.#counters.add('ble_sent_datagrams')
      this.#counters.add('ble_sent_bytes', datagram.length)
      link.owed = true
    }
    this.#flush(now, link)
  }

  // ── the backend ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #onEvent(event: BackendEvent): void {
    if (this.#state.kind === 'closed') return
    const now = this.#system.now()
    this.#wake()
    switch (event.kind) {
      case 'adapter': return this.#onAdapter(now, event)
      case 'seen':
        this.#counters.add('ble_advertisements')
        return this.#radio.handleSeen(now, event.address, event.rssi, event.hint)
      case 'opened': return this.#onOpened(now, event)
      case 'dropped': return this.#counters.add(`ble_dropped_${event.reason}`, event.count)
      case 'connectFailed': return this.#radio.handleConnectFailed(now, event.address, event.reason)
      case 'fault':
        this.#adapter = { state: this.#adapter.state, detail: event.detail }
        return
      default: return this.#onLinkEvent(now, event)
    }
  }

  #onAdapter(now: Instant, { state, detail }: Extract<BackendEvent, { kind: 'adapter' }>): void {
    this.#counters.add('ble_adapter_changes')
    this.#adapter = { state, detail }
    if (state !== 'on') for (const link of this.#links.values()) link.ended ??= { reason: 'off', detail }
    this.#radio.handleAdapter(now, state === 'on')
  }

  #onOpened(now: Instant, event: Extract<BackendEvent, { kind: 'opened' }>): void {
    // The link of that number would never be told as ended.
    if (this.#links.has(event.link)) return this.#counters.add('ble_refused')
    const { admit, token, evict } = { evict: undefined, ...this.#radio.handleOpened(now, event.link, event.role === 'central', event.address) }
    const evicted = evict === undefined ? undefined : this.#links.get(evict)
    if (evicted !== undefined) evicted.ended ??= { reason: 'evicted', detail: '' }
    if (!admit || this.#state.kind !== 'open') {
      this.#counters.add('ble_refused')
      if (this.#state.kind !== 'closed') this.#state.backend.command({ kind: 'disconnect', link: event.link })
      if (token !== undefined) this.#failDial(token, event.address, 'refused', 'there are too many links')
      return
    }
    this.#links.set(event.link, new DriverBleLink(now, event, token, this.#linkLimits))
  }

  #onLinkEvent(now: Instant, event: Extract<BackendEvent, { readonly link: number }>): void {
    const link = this.#links.get(event.link)
    if (link === undefined) return
    switch (event.kind) {
      case 'mtu':
        link.machine.setMtu(event.mtu)
        break
      case 'received':
        this.#counters.add('ble_received_values')
        link.machine.handleValue(now, event.value)
        break
      case 'sent':
        link.machine.handleSent(now, event.count)
        break
      case 'closed':
        link.ended ??= link.machine.end === 'local' ? { reason: 'local', detail: '' } : { reason: link.machine.end ?? 'lost', detail: event.reason }
        break
      default:
    }
    if (link.ended === undefined) this.#flush(now, link)
  }

  /** Gives the controller what it may have. */
  #flush(now: Instant, link: DriverBleLink): void {
    if (this.#state.kind === 'closed') return
    for (let value = link.machine.pollValue(now); value !== undefined; value = link.machine.pollValue(now)) {
      this.#counters.add('ble_sent_values')
      this.#state.backend.command({ kind: 'send', link: link.number, value })
    }
  }

  // ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #wake(): void {
    if (this.#turnDue) return
    this.#turnDue = true
    this.#system.soon(this.#turn)
  }

  #onTurn(): void {
    this.#turnDue = false
    const now = this.#system.now()
    const { kind } = this.#state
    if (kind !== 'closed') {
      this.#radio.handleTimeout(now)
      for (const link of this.#links.values()) this.#turnLink(now, link)
      if (kind === 'open') this.#receiver.flush()
      this.#tellEnds(now)
      for (const link of this.#byId.values()) this.#tellWritability(link)
      this.#turnRadio(now)
      this.#arm()
    }
    const dones = this.#dones
    this.#dones = []
    for (const done of dones) done()
    if (this.#onIdle === undefined || this.#links.size > 0 || this.#dones.length > 0) return
    this.#onIdle()
    this.#onIdle = undefined
  }

  #turnLink(now: Instant, link: DriverBleLink): void {
    link.machine.handleTimeout(now)
    if (link.ended === undefined) this.#flush(now, link)
    if (this.#state.kind === 'open' && link.machine.isOpen && link.id === undefined && link.ended === undefined) this.#tellOpened(link)
    if (link.id === undefined || this.#state.kind !== 'open') return
    for (let datagram = link.machine.pollDatagram(); datagram !== undefined; datagram = link.machine.pollDatagram()) this.#receiver.add(link.id, link.remote, datagram)
    if (link.ended === undefined) this.#flush(now, link)
  }

  #tellOpened(link: DriverBleLink): void {
    const info = link.makeInfo()
    this.#counters.add('ble_opened')
    if (link.token !== undefined) this.#dials.delete(link.token)
    link.id = link.token === undefined ? this.#host.opened(info) : this.#host.opened(info, link.token)
    this.#byId.set(link.id, link)
  }

  /** After the datagrams that came before. */
  #tellEnds(now: Instant): void {
    for (const link of [...this.#links.values()]) {
      const end = link.ended ?? (link.machine.ended === undefined ? undefined : { reason: link.machine.ended, detail: '' })
      if (end === undefined) continue
      this.#links.delete(link.number)
      if (this.#state.kind !== 'closed') this.#state.backend.command({ kind: 'disconnect', link: link.number })
      this.#radio.handleClosed(now, link.number, end.reason === 'local')
      this.#counters.add(endCounter(end.reason))
      this.#counters.add('ble_dropped_datagrams', link.machine.dropped)
      this.#counters.add('ble_unsent_lost_bytes', link.machine.unsentBytes)
      if (link.id === undefined) {
        if (link.token !== undefined) this.#failDial(link.token, link.address, end.reason, end.detail)
        continue
      }
      this.#byId.delete(link.id)
      const wanted = link.machine.end === 'local' || endState(end.reason) === 'closed'
      this.#counters.add(wanted ? 'ble_closed' : 'ble_failed')
      this.#host.changed(link.id, wanted ? 'closed' : 'failed', explainEnd(link.machine.end === 'local' ? 'local' : end.reason, link.address, end.detail))
    }
  }

  #tellWritability(link: DriverBleLink): void {
    if (!link.machine.isOpen) return
    const { writable } = link.machine
    if (!writable && !link.blocked) {
      link.blocked = true
      this.#counters.add('ble_blocked')
      this.#host.changed(link.id!, 'blocked', undefined)
    } else if (writable && (link.blocked || link.owed)) {
      link.blocked = false
      link.owed = false
      this.#host.changed(link.id!, 'writable', undefined)
    }
  }

  #turnRadio(now: Instant): void {
    if (this.#state.kind === 'open') {
      for (let command = this.#radio.pollCommand(now); command !== undefined; command = this.#radio.pollCommand(now)) this.#state.backend.command(command)
    }
    for (let event = this.#radio.pollEvent(); event !== undefined; event = this.#radio.pollEvent()) this.#tellRadio(event)
    if (this.#adapterTold === this.#adapter) return
    this.#adapterTold = this.#adapter
    this.#host.adapter(this.#adapter.state, this.#adapter.detail)
  }

  #tellRadio(event: RadioEvent): void {
    if (event.kind === 'nearby') this.#host.nearby(event.peer, event.address === undefined ? undefined : bleAddressOf(event.address))
    else this.#failDial(event.token, this.#dials.get(event.token) ?? '', event.reason, event.detail)
  }

  #failDial(token: number, address: string, reason: BleEndReason, detail: string): void {
    if (!this.#dials.delete(token)) return
    this.#counters.add('ble_dials_failed')
    this.#counters.add(endCounter(reason))
    const cause = explainEnd(reason === 'local' ? 'lost' : reason, address, detail)
    assert(cause instanceof PosternError, 'a dial fails for a reason')
    this.#host.dialFailed(token, cause)
  }

  #arm(): void {
    this.#system.clearTimeout(this.#timer)
    const now = this.#system.now()
    let next: number = this.#radio.nextTimeout(now)
    for (const { machine } of this.#links.values()) next = Math.min(next, machine.nextTimeout())
    if (next === never) return
    this.#timer = this.#system.setTimeout(this.#turn, Math.min(TIMER_MAX_MS, Math.max(1, Math.ceil((next - now) / 1000))))
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
