import type { Arena } from '../base/arena.ts'
import { assert } from '../base/assert.ts'
import { Counters } from '../base/counters.ts'
import { DeadlineHeap } from '../base/deadline-heap.ts'
import { compareBytes, equalBytes } from '../base/bytes.ts'
import type { ChannelHandle, EndReason, LinkId, PeerHandle, PeerState } from '../base/domain.ts'
import { BoundedQueue } from '../base/queue.ts'
import { never, toInstant, toWallTime, type Duration, type Instant, type Now } from '../base/time.ts'
import type { Channel } from '../connection/channels/channel.ts'
import { endKept } from '../connection/channels/channels.ts'
import type { CoreConfig } from '../connection/config.ts'
import { Connection } from '../connection/connection.ts'
import { offerCandidates } from '../connection/paths/peer-candidates.ts'
import { dropCounters } from '../connection/channels/drops.ts'
import type { SessionEvent } from '../connection/events.ts'
import { counterNames, type ConnectionHost, type CounterName, type LinkFacts, type ReadyMember, type RekeyService } from '../connection/host.ts'
import type { Keys } from '../connection/keys/keys.ts'
import type { CarrierKind } from '../connection/dialing/pending-dials.ts'
import { SessionState } from '../connection/state.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { Identity, IdValidator } from '../session/identity.ts'
import type { Initiation } from '../session/initiation.ts'
import type { PresenceKey } from '../session/presence.ts'
import { channelCodes } from '../wire/frame.ts'
import { ChannelTable } from './channel-table.ts'
import type { Attempts } from '../path/attempts.ts'
import { sameCandidates, type OwnCandidates } from '../path/candidates.ts'
import type { BirthdayRole } from '../path/birthday.ts'
import { ProbeBudget } from '../path/probe-budget.ts'
import type { Candidate } from '../wire/candidates-frame.ts'
import { PathLog, type PathDecision } from '../path/path-log.ts'
import type { EndpointEvent, InviteRecord, PeerRecord } from './contract.ts'
import { Deliveries } from './deliveries.ts'
import { LaneTally } from '../flow/lane-tally.ts'
import { Links } from './links.ts'
import { MemoryWatch } from './memory-watch.ts'
import { Notices } from './notices.ts'
import type { MappingClass } from '../stun/nat-classes.ts'
import type { StunContract, StunInputs } from '../stun/reflexive.ts'
import { Pairing } from './pairing.ts'
import { Presence } from './presence.ts'
import { RandomPool } from './random-pool.ts'
import { ReceiverIndex } from './receiver-index.ts'
import { Roster, type PeerEntry } from './roster.ts'
import type { XxService } from './handshakes/xx-entries.ts'

/** Handshake datagrams and cookies that wait for the next poll. */
const RAW_MAX = 1024
/** Events that wait to be polled. The pump drains them after every call, so this many in one call is a bug elsewhere. */
const EVENTS_MAX = 1 << 20
/** What channels without a session may hold of the arena, at one window each. */
const KEPT_SHARE = 1 / 8

export interface EndpointOptions {
  readonly provider: CryptoProvider
  /** 32 bytes; read, not kept. */
  readonly seed: Uint8Array
  readonly arena: Arena
  readonly config: CoreConfig
  readonly peers: readonly PeerRecord[]
  readonly invites: readonly InviteRecord[]
  /** Our presence keys, as `persist` gave them; drawn at need when absent. */
  readonly presence?: readonly PresenceKey[]
  /** 32 bytes: K_reset (WIRE.md §3.10). */
  readonly resetKey: Uint8Array
  readonly now: Now
}

export interface RawDatagram {
  readonly link: LinkId
  readonly address: Uint8Array
  readonly datagram: Uint8Array
  /** Which address of this machine it leaves from; 0: as the route says. */
  readonly local: number
  /** 0: the socket's own. */
  readonly ttl: number
}

/** What the handshakes of an endpoint do for its sessions; set once they exist. */
export interface HandshakeService {
  beginInitiation(now: Now, peer: PeerEntry): Initiation | undefined
  endInitiation(initiation: Initiation): void
  /** The session with this peer is over, and no other took its place. */
  sessionEnded(peer: PeerEntry): void
  /** The session id under which an unconfirmed handshake of this peer was answered: the name of the session to come. */
  answeredSid(id: Uint8Array): Uint8Array | undefined
}

/** What an endpoint's sockets and sessions bring to the punching of ports; set once it exists. */
export interface PunchService {
  handleOpened(now: Now, link: LinkId, token: number | undefined): void
  handleClosed(now: Now, link: LinkId): void
  handleKnock(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void
  end(now: Now, peer: PeerHandle, outcome: 'met' | 'called_off' | 'in_vain'): void
  sessionEnded(now: Now, peer: PeerHandle): void
  /** For a session that runs over a connection; whether the round begins. */
  guess(now: Now, peer: PeerEntry, role: BirthdayRole, target: Uint8Array): boolean
}

/** The tables of one local node, and the host of its sessions. `Endpoint` decides, `Handshakes` answers, this keeps. */
export class Node implements ConnectionHost {
  readonly provider: CryptoProvider
  readonly arena: Arena
  readonly config: CoreConfig
  readonly counters: Counters<CounterName> = new Counters(counterNames)
  readonly identity: Identity
  readonly validator: IdValidator
  readonly resetKey: Uint8Array
  readonly roster: Roster
  readonly index: ReceiverIndex
  readonly channels: ChannelTable = new ChannelTable()
  readonly deliveries: Deliveries = new Deliveries()
  readonly notices: Notices = new Notices()
  readonly tally: LaneTally = new LaneTally(undefined)
  /** Slot 0 is the endpoint's own housekeeping, slot 1 STUN, slot 2 the punching of ports, the others are sessions. */
  readonly deadlines: DeadlineHeap = new DeadlineHeap()
  readonly sessions: (Connection | undefined)[] = [undefined, undefined, undefined]
  readonly events: BoundedQueue<EndpointEvent> = new BoundedQueue(EVENTS_MAX)
  readonly raw: BoundedQueue<RawDatagram> = new BoundedQueue(RAW_MAX)
  readonly ready: BoundedQueue<Connection> = new BoundedQueue(1 << 24)
  readonly released: Channel[] = []
  readonly memory: MemoryWatch
  readonly links: Links = new Links(this.counters)
  /** Sessions in the table. */
  sessionCount = 0
  /** Channels that outlived their sessions, oldest first; when there are too many, the oldest loses its messages and is told `limit`. */
  readonly #kept = new Set<Channel>()
  handshakes: HandshakeService | undefined
  rekeyService: RekeyService | undefined
  stun: (StunInputs & Pick<StunContract, 'mapping'>) | undefined
  punching: PunchService | undefined
  /** Peers whose session the other side did not know any more. */
  readonly replaced: PeerEntry[] = []
  readonly presence: Presence
  readonly pairing: Pairing = new Pairing(this)
  xx: XxService | undefined
  #offeredSid: Uint8Array | undefined
  shuttingDown = false
  udpBlocked = false
  keepAliveMax: Duration = never
  heardAt = 0
  candidates: OwnCandidates = { generation: 0, candidates: [] }
  readonly #probes = new ProbeBudget()
  readonly #freeSlots: number[] = []
  readonly #random: RandomPool

  constructor(options: EndpointOptions) {
    this.provider = options.provider
    this.#random = new RandomPool(options.provider)
    this.arena = options.arena
    this.config = options.config
    assert(options.config.maxMessage <= options.arena.blockMax, 'the arena has room for the largest message')
    this.memory = new MemoryWatch(options.arena, options.config.maxMessage)
    this.resetKey = options.resetKey
    this.identity = new Identity(options.provider, options.seed)
    this.validator = new IdValidator(options.provider)
    this.index = new ReceiverIndex(() => this.#random.word())
    this.roster = new Roster(this.identity, options.provider, this.validator, (event) => this.push(event))
    this.presence = new Presence(this, options.presence ?? [])
    this.roster.load(options.peers, options.invites, options.now.wall)
  }

  get rekeys(): RekeyService {
    assert(this.rekeyService !== undefined, 'the endpoint is whole')
    return this.rekeyService
  }

  /** How the NAT before us gives out ports. */
  get mapping(): MappingClass {
    return this.stun?.mapping ?? 'unknown'
  }

  // ── randomness ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  randomBytes(length: number): Uint8Array {
    return this.#random.bytes(length)
  }

  randomUnit(): number {
    return this.#random.word() / 0x1_0000_0000
  }

  // ── links ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A spare socket that is being closed gets no new paths. */
  link(id: LinkId): LinkFacts | undefined {
    const link = this.links.get(id)
    return link?.spare === true && link.closing ? undefined : link
  }

  linkBlocked(id: LinkId): boolean {
    return this.links.get(id)?.blocked === true
  }

  mayProbe(now: Now, address: Uint8Array): boolean {
    if (this.#probes.take(now.mono, address)) return true
    this.counters.add('probes_withheld')
    return false
  }

  /** Peers with a session are told at once, others when they have one. */
  guess(now: Now, peer: PeerHandle, role: BirthdayRole, target: Uint8Array): boolean {
    const entry = this.roster.get(peer)
    return entry !== undefined && this.punching?.guess(now, entry, role, target) === true
  }

  noteHard(peer: PeerHandle, hard: boolean): void {
    const entry = this.roster.get(peer)
    if (entry !== undefined && entry.whereabouts?.hard !== hard) entry.whereabouts = { hard, addresses: entry.whereabouts?.addresses ?? [] }
  }

  endGuessing(now: Now, peer: PeerHandle, found: boolean): void {
    this.punching?.end(now, peer, found ? 'met' : 'in_vain')
  }

  setCandidates(now: Now, candidates: readonly Candidate[]): void {
    if (sameCandidates(this.candidates.candidates, candidates)) return
    this.candidates = { generation: this.candidates.generation + 1, candidates }
    for (const connection of this.sessions) {
      if (connection === undefined) continue
      connection.state.candidatesWanted = true
      connection.state.punch?.changed()
      offerCandidates(connection.state, now)
      this.markReady(connection)
    }
  }

  linksTo(address: Uint8Array): readonly LinkId[] {
    return this.links.to(address)
  }

  dialLink(slot: number, peer: PeerHandle, transport: CarrierKind, address: Uint8Array): number {
    return this.links.dial(this.sessions[slot]!, peer, transport, address)
  }

  cancelDial(token: number): void {
    this.links.cancel(token)
  }

  openScout(slot: number): number {
    return this.links.openScout(this.sessions[slot]!)
  }

  confirmLink(link: LinkId): void {
    this.links.confirm(link)
  }

  closeLink(link: LinkId): void {
    this.links.end(link)
  }

  addressesOf(peer: PeerHandle): readonly Uint8Array[] {
    return this.roster.get(peer)?.record.addresses ?? []
  }

  nearbyOf(peer: PeerHandle): Uint8Array | undefined {
    return this.roster.get(peer)?.nearby
  }

  noteDecision(peer: PeerHandle, decision: PathDecision): void {
    const entry = this.roster.get(peer)
    if (entry !== undefined) (entry.pathLog ??= new PathLog()).add(decision)
  }

  trying(peer: PeerHandle): Attempts | undefined {
    const entry = this.roster.get(peer)
    return entry === undefined ? undefined : (entry.pathLog ??= new PathLog()).makeAttempts()
  }

  tried(peer: PeerHandle): Attempts | undefined {
    return this.roster.get(peer)?.pathLog?.attempts
  }

  // ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  createSession(now: Now, peer: PeerEntry): Connection {
    const slot = this.#freeSlots.pop() ?? this.sessions.length
    peer.sidSelf ??= this.sidFor(peer.id)
    const connection = new Connection(new SessionState(this, slot, peer.handle, peer.lower, peer.sidSelf, now.mono))
    connection.state.policy = peer.record.policy ?? this.config.pathPolicy
    this.sessions[slot] = connection
    this.sessionCount++
    peer.connection = connection
    return connection
  }

  /** Our session id towards a peer that has none yet: the one an answer already named, or a new one. */
  sidFor(id: Uint8Array): Uint8Array {
    return this.handshakes?.answeredSid(id) ?? this.#random.sid()
  }

  /**
   * Our name for the session that XX may come to: whoever begins one knows nothing of the other yet. The same for all until it is used, so that two handshakes
   * that cross name the same session from both sides.
   */
  get offeredSid(): Uint8Array {
    return this.#offeredSid ??= this.#random.sid()
  }

  takeOfferedSid(sid: Uint8Array): void {
    if (this.#offeredSid !== undefined && equalBytes(this.#offeredSid, sid)) this.#offeredSid = undefined
  }

  isLowerThan(id: Uint8Array): boolean {
    return compareBytes(this.identity.id, id) < 0
  }

  identifyLink(now: Now, link: LinkId, peer: PeerHandle): boolean {
    const entry = this.roster.get(peer)
    return entry !== undefined && this.xx?.begin(now, link, entry) === true
  }

  identifying(peer: PeerHandle): boolean {
    return this.xx?.isAsking(peer) === true
  }

  presenceFor(peer: PeerHandle): PresenceKey | undefined {
    return this.config.ble && this.roster.get(peer)?.inRoster === true ? this.presence.current : undefined
  }

  learnPresence(peer: PeerHandle, key: PresenceKey): void {
    const entry = this.roster.get(peer)
    if (entry?.inRoster !== true) {
      if (this.pairing.keepPresence(peer, key)) return
      this.counters.add('presence_refused')
      return
    }
    this.counters.add('presence_received')
    this.presence.learn(entry, key)
  }

  paired(peer: PeerHandle): void {
    this.pairing.done(peer)
  }

  /** Our presence key is another one: friends are told. */
  presenceChanged(): void {
    for (const connection of this.sessions) {
      if (connection === undefined) continue
      connection.state.presenceWanted = this.presenceFor(connection.state.peer) !== undefined
      if (connection.state.presenceWanted) this.markReady(connection)
    }
  }

  beginInitiation(now: Now, peer: PeerHandle): Initiation | undefined {
    const entry = this.roster.get(peer)
    return entry === undefined ? undefined : this.handshakes?.beginInitiation(now, entry)
  }

  endInitiation(initiation: Initiation): void {
    this.handshakes?.endInitiation(initiation)
  }

  redial(now: Now, peer: PeerHandle, addresses: readonly Uint8Array[]): void {
    const entry = this.roster.get(peer)
    if (entry?.connection !== undefined && !this.shuttingDown) entry.connection.dial(now, [...addresses, ...entry.record.addresses])
  }

  dialGaveUp(now: Now, peer: PeerHandle): void {
    const entry = this.roster.get(peer)
    if (entry?.connection?.reachable === false) this.tellPeer(now, entry, 'unreachable', 'timeout')
  }

  sessionChanged(now: Now, peer: PeerHandle, reason: EndReason | undefined): void {
    const entry = this.roster.get(peer)
    if (entry === undefined) return
    if (entry.connection?.reachable === true) this.punching?.end(now, peer, 'met')
    this.tellPeer(now, entry, stateOf(entry), reason)
  }

  sessionEnded(now: Now, slot: number, reason: EndReason): void {
    const connection = this.sessions[slot]
    if (connection === undefined) return
    const entry = this.roster.get(connection.state.peer)
    this.counters.add('sessions_closed')
    if (entry?.connection !== connection) return
    entry.connection = undefined
    entry.sidSelf = undefined
    this.pairing.ended(entry.handle)
    this.punching?.sessionEnded(now, entry.handle)
    // The peer restarted: another session takes over at once, and says so itself.
    if (reason === 'peer_restarted') return
    this.handshakes?.sessionEnded(entry)
    if (reason === 'replaced' && entry.inRoster) this.replaced.push(entry)
    if (reason === 'done' || reason === 'removed') this.roster.note(entry, { hadSession: false, connectedAt: entry.record.connectedAt ?? now.wall })
    this.tellPeer(now, entry, 'offline', reason)
    this.roster.release(entry)
  }

  sessionGone(slot: number): void {
    const connection = this.sessions[slot]
    if (connection !== undefined) this.links.release(connection)
    this.sessions[slot] = undefined
    this.sessionCount--
    this.deadlines.clear(slot)
    this.#freeSlots.push(slot)
  }

  pathValidated(peer: PeerHandle, address: Uint8Array): void {
    const entry = this.roster.get(peer)
    if (entry !== undefined) this.roster.noteAddress(entry, address)
  }

  releaseKeys(now: Now, keys: Keys): void {
    this.index.remove(now.mono, keys.localIndex, true)
    this.provider.removeKey(keys.seal)
    this.provider.removeKey(keys.open)
  }

  markReady(member: ReadyMember): void {
    if (member.ready) return
    const connection = this.sessions[member.slot]
    if (connection !== member) return
    member.ready = true
    this.ready.push(connection)
  }

  /** The session's deadline may have moved. */
  reschedule(connection: Connection): void {
    if (this.sessions[connection.slot] === connection) this.deadlines.set(connection.slot, connection.nextTimeout())
  }

  // ── channels and memory ─────────────────────────────────────────────────────────────────────────────────────────────────

  allocateChannel(slot: number, create: (handle: ChannelHandle) => Channel): Channel | undefined {
    const connection = this.sessions[slot]
    return connection === undefined ? undefined : this.channels.add(connection, create)
  }

  releaseChannel(channel: Channel): void {
    this.memory.forget(channel)
    this.#kept.delete(channel)
    this.channels.remove(channel)
  }

  keepChannel(channel: Channel): void {
    const max = Math.floor((this.arena.capacity * KEPT_SHARE) / this.config.maxChannelData)
    this.#kept.add(channel)
    for (const oldest of this.#kept) {
      if (this.#kept.size <= max) return
      // Not as it would have ended: that may say that all was handed over.
      oldest.outlives = { code: channelCodes.limit, reason: 'too many unread', by: 'session' }
      endKept(this, oldest)
    }
  }

  countDropped(reason: number): void {
    this.counters.add(dropCounters[reason]!)
  }

  noteReleased(channel: Channel): void {
    if (channel.releaseListed) return
    channel.releaseListed = true
    this.released.push(channel)
  }

  memoryShort(held: number): boolean {
    return this.memory.short(held, this.sessionCount)
  }

  waitForMemory(channel: Channel): void {
    this.memory.wait(channel)
  }

  noteNoRoom(now: Now): void {
    this.counters.add('drop_no_room')
    this.memory.noteNoRoom(now)
  }

  // ── what goes out ───────────────────────────────────────────────────────────────────────────────────────────────────────

  sendRaw(link: LinkId, address: Uint8Array, datagram: Uint8Array, local = 0, ttl = 0): void {
    if (!this.raw.push({ link, address, datagram, local, ttl })) this.counters.add('raw_queue_full')
  }

  emit(event: SessionEvent): void {
    this.push(event)
  }

  push(event: EndpointEvent): void {
    this.events.push(event)
  }

  tellPeer(now: Now, peer: PeerEntry, state: PeerState, reason: EndReason | undefined): void {
    peer.stateSince = now.wall
    if (reason !== undefined) this.noteDecision(peer.handle, { kind: 'end', at: toWallTime(now.wall), state, reason, count: 1 })
    this.push({ kind: 'peer', peer: peer.handle, state, reason })
  }
}

export function stateOf(peer: PeerEntry): PeerState {
  const connection = peer.connection
  if (connection === undefined) return 'offline'
  if (connection.reachable) return 'connected'
  if (connection.state.phase === 'dialing') return connection.state.dial !== undefined && connection.state.dial.quiet > 0 ? 'unreachable' : 'dialing'
  return 'unreachable'
}

export function earliest(...instants: readonly Instant[]): Instant {
  return toInstant(Math.min(...instants))
}
