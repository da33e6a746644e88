import { ADDRESS_SIZE, encodeAddress } from '../../src/core/base/address.ts'
import { Arena } from '../../src/core/base/arena.ts'
import type { LinkId, LinkKind } from '../../src/core/base/domain.ts'
import { second, toInstant, toWallTime, type Now } from '../../src/core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../../src/core/connection/config.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { MessageBatch, ReceiveBatch, ReleaseBatch, TransmitBatch, type EndpointEvent, type InviteRecord, type LinkInfo, type PeerRecord } from '../../src/core/endpoint/contract.ts'
import { Endpoint } from '../../src/core/endpoint/endpoint.ts'
import type { PresenceKey } from '../../src/core/session/presence.ts'

/** A datagram that came out of an endpoint. */
export interface Sent {
  readonly link: LinkId
  readonly to: Uint8Array
  readonly bytes: Uint8Array
  /** Which address of ours it leaves from. */
  readonly local: number
  /** 0: the socket's own. */
  readonly ttl: number
}

export interface Incoming {
  readonly from: Uint8Array
  readonly bytes: Uint8Array
  readonly link?: LinkId
  /** Which address of ours it came to. */
  readonly local?: number
}

export const UDP: LinkId = 1 as LinkId
const RECEIVE_SLAB = 1 << 18
const TRANSMIT_SLAB = 1 << 18

export function address(host: string, port = 7000): Uint8Array {
  return encodeAddress(host, port)!
}

export interface LoneOptions {
  readonly provider: CryptoProvider
  readonly seed: Uint8Array
  readonly config?: Partial<CoreConfig>
  readonly peers?: readonly PeerRecord[]
  readonly invites?: readonly InviteRecord[]
  readonly presence?: readonly PresenceKey[]
  readonly memory?: number
  /** Since when it runs. By default long enough to be silent about indexes it does not know. */
  readonly age?: number
  /** Its socket sends with a TTL of the datagram's own. */
  readonly setsTtl?: boolean
}

/** An endpoint without a world: the test is its drivers, its clock and its peers, one datagram at a time. */
export class LoneEndpoint {
  readonly endpoint: Endpoint
  readonly events: EndpointEvent[] = []
  readonly messages: { readonly channel: number; readonly bytes: Uint8Array }[] = []
  /** Gives back at once what was delivered. */
  consumes = true
  mono: number = 1000 * second
  wall = 1_770_000_000_000
  readonly #receive = new ReceiveBatch(256)
  readonly #transmit = new TransmitBatch(256)
  readonly #messageBatch = new MessageBatch(256)
  readonly #releases = new ReleaseBatch(256)
  readonly #receiveSlab: number
  readonly #transmitSlab: number

  constructor(options: LoneOptions) {
    const arena = new Arena(options.memory ?? 4 << 20)
    this.endpoint = new Endpoint({
      provider: options.provider, seed: options.seed, arena, config: { ...defaultConfig, ...options.config }, peers: options.peers ?? [],
      invites: options.invites ?? [], presence: options.presence ?? [], resetKey: new Uint8Array(32).fill(0x77),
      now: { mono: toInstant(this.mono - (options.age ?? 960 * second)), wall: toWallTime(this.wall) },
    })
    this.#receiveSlab = arena.allocate(RECEIVE_SLAB)
    this.#transmitSlab = arena.allocate(TRANSMIT_SLAB)
    this.open(UDP, 'udp', options.setsTtl === true ? { setsTtl: true } : {})
  }

  get now(): Now {
    return { mono: toInstant(this.mono), wall: toWallTime(this.wall) }
  }

  get counters(): Readonly<Record<string, number>> {
    return this.endpoint.counters()
  }

  /** Received datagrams that were dropped, over all reasons. */
  get drops(): number {
    return Object.entries(this.counters).reduce((sum, [name, value]) => name.startsWith('drop_') ? sum + value : sum, 0)
  }

  open(link: LinkId, kind: LinkKind, more: Partial<LinkInfo> = {}): void {
    this.endpoint.handleLink(this.now, link, 'opened', { kind, local: new Uint8Array(ADDRESS_SIZE), dualStack: true, datagramMax: 65_507, segmentsMax: 64, ...more })
  }

  /** All of one batch, as from one turn of a socket. Returns what is sent because of it. */
  receive(...datagrams: readonly Incoming[]): Sent[] {
    const batch = this.#receive
    batch.count = 0
    let at = this.#receiveSlab
    for (const { from, bytes, link, local } of datagrams) {
      this.endpoint.arena.bytes.set(bytes, at)
      batch.push(link ?? UDP, from, at, bytes.length)
      batch.local[batch.count - 1] = local ?? 0
      at += bytes.length
    }
    this.endpoint.handleDatagrams(this.now, batch)
    return this.drain()
  }

  /** One row of many equal segments, as GRO gives it. */
  receiveSegments(from: Uint8Array, bytes: Uint8Array, segmentSize: number): Sent[] {
    const batch = this.#receive
    batch.count = 0
    this.endpoint.arena.bytes.set(bytes, this.#receiveSlab)
    batch.push(UDP, from, this.#receiveSlab, bytes.length)
    batch.segmentSize[0] = segmentSize
    this.endpoint.handleDatagrams(this.now, batch)
    return this.drain()
  }

  /** Lets time pass, running every timer on its moment. */
  advance(duration: number): Sent[] {
    const until = this.mono + duration
    const sent = this.drain()
    for (let next = this.endpoint.nextTimeout(); next <= until; next = this.endpoint.nextTimeout()) {
      this.#moveTo(Math.max(next, this.mono))
      this.endpoint.handleTimeout(this.now)
      sent.push(...this.drain())
    }
    this.#moveTo(until)
    return sent
  }

  act<T>(action: (endpoint: Endpoint, now: Now) => T): T {
    return action(this.endpoint, this.now)
  }

  /** Everything that wants to come out now. */
  drain(): Sent[] {
    const sent: Sent[] = []
    for (;;) {
      while (this.endpoint.pollMessages(this.now, this.#messageBatch) > 0) this.#takeMessages()
      while (this.endpoint.pollReleases(this.#releases) > 0) continue
      for (let event = this.endpoint.pollEvent(); event !== undefined; event = this.endpoint.pollEvent()) this.events.push(event)
      this.#transmit.reset(this.#transmitSlab, TRANSMIT_SLAB)
      if (this.endpoint.pollTransmits(this.now, this.#transmit) === 0) return sent
      this.#collect(sent)
    }
  }

  #moveTo(mono: number): void {
    this.wall += (mono - this.mono) / 1000
    this.mono = mono
  }

  #takeMessages(): void {
    const batch = this.#messageBatch
    for (let i = 0; i < batch.count; i++) {
      const channel = batch.channel[i]!
      this.messages.push({ channel, bytes: this.endpoint.arena.bytes.slice(batch.offset[i], batch.offset[i]! + batch.length[i]!) })
      if (this.consumes) this.endpoint.consume(this.now, channel as never, batch.length[i]! + 32)
    }
  }

  #collect(sent: Sent[]): void {
    const batch = this.#transmit
    for (let row = 0; row < batch.count; row++) {
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) {
        sent.push({
          link: batch.link[row]! as LinkId, to: batch.address.slice(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE),
          bytes: this.endpoint.arena.bytes.slice(offset, Math.min(offset + batch.segmentSize[row]!, end)), local: batch.local[row]!, ttl: batch.ttl[row]!,
        })
      }
    }
  }
}

/** A roster entry as the store would give it. */
export function peerRecord(id: Uint8Array, change: Partial<PeerRecord> = {}): PeerRecord {
  return { id, name: undefined, addresses: [], addedAt: toWallTime(0), connectedAt: undefined, hadSession: false, greatest: undefined, lastSent: undefined, policy: undefined, invite: undefined, ...change }
}
