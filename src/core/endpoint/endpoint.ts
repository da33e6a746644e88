import { ADDRESS_SIZE } from '../base/address.ts'
import type { Arena } from '../base/arena.ts'
import { CHANNEL_SLOT_BITS, deliveryModes, lanes, type ChannelHandle, type LinkId, type LinkState, type Overflow, type PeerHandle, type SendResult } from '../base/domain.ts'
import type { MessageRun } from '../base/message-run.ts'
import { BoundedQueue } from '../base/queue.ts'
import { never, second, toInstant, type Instant, type Now } from '../base/time.ts'
import type { Channel } from '../connection/channels/channel.ts'
import type { Connection } from '../connection/connection.ts'
import { counter } from '../connection/host.ts'
import { sendRun } from '../connection/packets/send.ts'
import type { PathHint, RefusalReason } from '../path/attempts.ts'
import type { PathPolicy } from '../path/path-policy.ts'
import { CANDIDATES_MAX, type Candidate } from '../wire/candidates-frame.ts'
import { META_MAX, isAppName } from '../wire/frame.ts'
import type { InviteReply } from '../wire/invite-reply.ts'
import { BatchReader } from './batch-reader.ts'
import { connectPeer } from './connect.ts'
import type {
  ChannelOptions, ChannelStats, ConnectOptions, EndpointAction, EndpointContract, EndpointEvent, InviteRecord, LaneStats, LinkInfo, LinkUse, MeetOptions, MessageBatch, NoticeBatch,
  OutgoingMessage, PeerRecord, PeerStats, ReceiveBatch, ReleaseBatch, ReplyRefusal, TransmitBatch, Whereabouts,
} from './contract.ts'
import { Handshakes } from './handshakes/handshakes.ts'
import { onHints, onDialFailed, onLink, onNearby, onNetwork, onRefused } from './link-inputs.ts'
import { earliest, Node, type EndpointOptions } from './node.ts'
import { acceptReply, addPeer, removePeer, setPeerPolicy } from './peers.ts'
import { PUNCH_SLOT, Punching } from './punching.ts'
import { Radio } from './radio.ts'
import { Rekeys } from './handshakes/rekeys.ts'
import { Resets } from './resets.ts'
import { Responder } from './handshakes/responder.ts'
import { Seals } from './handshakes/seals.ts'
import { Shutdown } from './shutdown.ts'
import { channelStats, nodeLanes, peerStats } from './stats.ts'
import { StunService, STUN_SLOT } from './stun-service.ts'
import type { PeerWhy } from './why-contract.ts'
import { peerWhy } from './why.ts'
import { XxDialer } from './handshakes/xx-dialer.ts'

/** Slot of the endpoint's own deadlines in the heap. */
const HOUSEKEEPING = 0
/** With less of the slab left than this, a session that wrote nothing may only have lacked the room. */
const SLAB_ROOM_MIN = 17_000
/** One call looks at a session that is due at most about this often: should one be due for ever, the loop around it still turns. */
const TIMEOUTS_PER_SLOT = 4
const INVITE_CHECK = 60 * second

/** One local node: the contract's implementation. Every method changes state, then leaves what came of it to the polls. */
export class Endpoint implements EndpointContract {
  readonly arena: Arena
  readonly id: Uint8Array
  /** The tables behind the contract: for what is built on them in this folder, and for tests that look for leaks. Read only. */
  readonly node: Node
  readonly stun: StunService
  readonly radio: Radio
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #responder: Responder
  readonly #xx: XxDialer
  readonly #punching: Punching
  readonly #reader: BatchReader
  readonly #seals: Seals
  /** Ends of channels that wait for messages to be handed out first. */
  readonly #ends = new BoundedQueue<EndpointEvent>(1 << CHANNEL_SLOT_BITS)
  #inviteCheckAt: Instant
  readonly #shutdown: Shutdown
  #pingToken = 0

  constructor(options: EndpointOptions) {
    this.node = new Node(options)
    this.#node = this.node
    this.arena = options.arena
    this.radio = new Radio(this.#node)
    this.#shutdown = new Shutdown(this.#node)
    this.#seals = new Seals(this.arena.bytes, options.provider)
    this.id = this.#node.identity.id
    this.#handshakes = new Handshakes(this.#node)
    this.#node.handshakes = this.#handshakes
    this.#xx = this.#node.xx = this.#handshakes.dialer = new XxDialer(this.#node, this.#handshakes)
    this.stun = this.#node.stun = new StunService(this.#node)
    this.#punching = this.#node.punching = new Punching(this.#node)
    this.#node.rekeyService = new Rekeys(this.#node, this.#handshakes)
    this.#responder = new Responder(this.#node, this.#handshakes, options.now)
    this.#reader = new BatchReader(this.#node, this.#handshakes, this.#responder, new Resets(this.#node, options.now))
    this.#inviteCheckAt = toInstant(options.now.mono + INVITE_CHECK)
    this.#scheduleHousekeeping(options.now)
  }

  // ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  handleDatagrams(now: Now, batch: ReceiveBatch): void {
    this.#node.deliveries.release()
    this.#reader.read(now, batch)
    this.#scheduleHousekeeping(now)
  }

  handleLink(now: Now, link: LinkId, state: LinkState, info?: LinkInfo): void {
    onLink(this.#node, now, link, state, info)
    this.#scheduleHousekeeping(now)
  }

  handleDialFailed(now: Now, token: number, reason: RefusalReason = 'failed'): void {
    onDialFailed(this.#node, now, token, reason)
  }

  handleRefused(now: Now, link: LinkId, addresses: readonly Uint8Array[], reason: RefusalReason = 'unreachable'): void {
    onRefused(this.#node, now, link, addresses, reason)
  }

  handleHints(now: Now, link: LinkId, hints: readonly PathHint[]): void {
    onHints(this.#node, now, link, hints)
  }

  handleNetworkChange(now: Now): void {
    onNetwork(this.#node, now)
  }

  handleNearby(now: Now, peer: PeerHandle, address: Uint8Array | undefined): void {
    onNearby(this.#node, now, peer, address)
  }

  handleTooLarge(now: Now, link: LinkId, length: number): void {
    for (const connection of this.#node.sessions) connection?.onTooLarge(now, link, length)
  }

  handleTimeout(now: Now): void {
    const node = this.#node
    for (let left = TIMEOUTS_PER_SLOT * (node.deadlines.size + 1); left > 0; left--) {
      const slot = node.deadlines.due(now.mono)
      if (slot < 0) break
      if (slot === HOUSEKEEPING) {
        this.#housekeep(now)
        continue
      }
      if (slot === STUN_SLOT) {
        this.stun.handleTimeout(now)
        continue
      }
      if (slot === PUNCH_SLOT) {
        this.#punching.handleTimeout(now)
        continue
      }
      const connection = node.sessions[slot]
      if (connection === undefined) {
        node.deadlines.clear(slot)
        continue
      }
      connection.handleTimeout(now)
      node.reschedule(connection)
    }
  }

  nextTimeout(): Instant {
    return this.#node.deadlines.next()
  }

  nextTimeoutIsPacing(): boolean {
    const { deadlines, sessions } = this.#node
    return sessions[deadlines.first]?.waitsForPacer ?? false
  }

  // ── peers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  connect(now: Now, id: Uint8Array, options: ConnectOptions): PeerHandle | undefined {
    return connectPeer(this.#node, now, id, options)
  }

  disconnect(now: Now, peer: PeerHandle): void {
    const connection = this.#node.roster.get(peer)?.connection
    if (connection === undefined) return
    connection.close(now, 'done', '')
    this.#node.reschedule(connection)
  }

  ping(now: Now, peer: PeerHandle): number | undefined {
    const connection = this.#node.roster.get(peer)?.connection
    if (connection === undefined) return undefined
    const token = ++this.#pingToken
    if (!connection.ping(now, token)) return undefined
    this.#node.reschedule(connection)
    return token
  }

  setLocalCandidates(now: Now, candidates: readonly Candidate[]): void {
    this.#node.setCandidates(now, candidates.slice(0, CANDIDATES_MAX))
  }

  addPeer(now: Now, id: Uint8Array, options: { readonly name: string | undefined; readonly addresses: readonly Uint8Array[]; readonly invite: PeerRecord['invite'] }): PeerHandle | undefined {
    return addPeer(this.#node, now, id, options)
  }

  removePeer(now: Now, id: Uint8Array): boolean {
    return removePeer(this.#node, now, id)
  }

  setPeerPolicy(now: Now, id: Uint8Array, policy: PathPolicy | undefined): 'set' | 'unknown' | 'nothing-left' {
    return setPeerPolicy(this.#node, now, id, policy)
  }

  addInvite(_now: Now, invite: InviteRecord): boolean {
    return this.#node.roster.addInvite(invite)
  }

  revokeInvite(_now: Now, token: Uint8Array): boolean {
    return this.#node.roster.revokeInvite(token)
  }

  invites(): readonly InviteRecord[] {
    return this.#node.roster.invites()
  }

  acceptReply(now: Now, reply: InviteReply): PeerHandle | ReplyRefusal {
    return acceptReply(this.#node, now, reply)
  }

  noteWhereabouts(peer: PeerHandle, whereabouts: Whereabouts, byHand = false): void {
    const entry = this.#node.roster.get(peer)
    if (entry === undefined) return
    entry.whereabouts = whereabouts
    if (byHand) entry.toldByHand = whereabouts
  }

  meet(now: Now, peer: PeerHandle, options: MeetOptions): void {
    const entry = this.#node.roster.get(peer)
    if (entry !== undefined) this.#punching.meet(now, entry, options)
  }

  joinedBy(peer: PeerHandle): PeerRecord['invite'] {
    return this.#node.roster.get(peer)?.record.invite
  }

  peers(): readonly PeerHandle[] {
    return this.#node.roster.handles()
  }

  findPeer(id: Uint8Array): PeerHandle | undefined {
    return this.#node.roster.find(id)?.handle
  }

  peerId(peer: PeerHandle): string | undefined {
    return this.#node.roster.get(peer)?.key
  }

  peerStats(peer: PeerHandle): PeerStats | undefined {
    const entry = this.#node.roster.get(peer)
    return entry === undefined ? undefined : peerStats(this.#node, entry)
  }

  peerWhy(now: Now, peer: PeerHandle): PeerWhy | undefined {
    const entry = this.#node.roster.get(peer)
    return entry === undefined ? undefined : peerWhy(this.#node, entry, now)
  }

  linkUse(link: LinkId): LinkUse | undefined {
    return this.#node.links.useOf(link)
  }

  counters(): Readonly<Record<string, number>> {
    return this.#node.counters.snapshot()
  }

  laneStats(): LaneStats {
    return nodeLanes(this.#node)
  }

  /** How full the tables are that strangers can write to, and those behind them: each is bounded. */
  tables(): Readonly<Record<string, number>> {
    const { index, raw, roster, sessions } = this.#node
    return { ...this.#responder.sizes, indexes: index.size, raw: raw.size, peers: roster.size, sessions: sessions.filter((session) => session !== undefined).length }
  }

  // ── channels ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  openChannel(now: Now, peer: PeerHandle, options: ChannelOptions): ChannelHandle | 'unreachable' | 'limit' {
    const connection = this.#node.roster.get(peer)?.connection
    if (this.#node.shuttingDown || connection?.state.phase !== 'open' || connection.state.restricted || !isAppName(options.app) || options.meta.length > META_MAX) return 'unreachable'
    const mode = deliveryModes.indexOf(options.mode)
    const channel = connection.openChannel(now, { ...options, mode, lane: lanes.indexOf(options.lane) })
    this.#node.reschedule(connection)
    return channel === undefined ? 'limit' : channel.handle
  }

  acceptChannel(now: Now, handle: ChannelHandle, options: { readonly credit: number; readonly consumer: number; readonly overflow: Overflow }): boolean {
    const channel = this.#node.channels.get(handle)
    if (channel === undefined) return false
    return this.#with(now, channel, (connection) => connection.acceptChannel(now, channel, options.credit, options.consumer, options.overflow))
  }

  rejectChannel(now: Now, handle: ChannelHandle, code: number, reason: string): void {
    const channel = this.#node.channels.get(handle)
    if (channel !== undefined) this.#with(now, channel, (connection) => { connection.rejectChannel(now, channel, code, reason) })
  }

  closeChannel(now: Now, handle: ChannelHandle, options: { readonly abort: boolean; readonly code: number; readonly reason: string }): void {
    const channel = this.#node.channels.get(handle)
    if (channel !== undefined) this.#with(now, channel, (connection) => { connection.closeChannel(now, channel, options.abort, options.code, options.reason) })
  }

  holdChannel(now: Now, handle: ChannelHandle, held: boolean): void {
    const channel = this.#node.channels.get(handle)
    if (channel !== undefined && channel.receiver.held !== held) this.#with(now, channel, (connection) => { connection.holdChannel(now, channel, held) })
  }

  channelStats(handle: ChannelHandle): ChannelStats | undefined {
    const channel = this.#node.channels.get(handle)
    return channel === undefined ? undefined : channelStats(channel, this.#node.channels.owner(handle))
  }

  send(now: Now, handle: ChannelHandle, message: OutgoingMessage): SendResult {
    const channel = this.#node.channels.get(handle)
    if (channel === undefined) return 'closed'
    const connection = this.#node.channels.owner(handle)
    const result = connection.send(now, channel, message)
    if (message.deadline !== never) this.#node.reschedule(connection)
    if (result === 'blocked') {
      this.#node.memory.arm(now)
      this.#scheduleHousekeeping(now)
    }
    return result
  }

  sendRun(handle: ChannelHandle, run: MessageRun): number {
    const channel = this.#node.channels.get(handle)
    if (channel === undefined) return 0
    const connection = this.#node.channels.owner(handle)
    this.#node.markReady(connection)
    return sendRun(connection.state, channel, run)
  }

  sendMany(now: Now, channels: readonly ChannelHandle[], message: OutgoingMessage, results: SendResult[]): void {
    results.length = channels.length
    for (let i = 0; i < channels.length; i++) results[i] = this.send(now, channels[i]!, message)
  }

  consume(now: Now, handle: ChannelHandle, cost: number): void {
    const channel = this.#node.channels.get(handle)
    if (channel === undefined) return
    const connection = this.#node.channels.owner(handle)
    connection.consume(now, channel, cost)
    this.#node.reschedule(connection)
  }

  #with<T>(_now: Now, channel: Channel, act: (connection: Connection) => T): T {
    const connection = this.#node.channels.owner(channel.handle)
    const result = act(connection)
    this.#node.reschedule(connection)
    return result
  }

  // ── polls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  pollTransmits(now: Now, batch: TransmitBatch): number {
    const node = this.#node
    this.#pollRaw(batch)
    // Each session in the ring gets one burst per round; who could not send leaves it.
    for (let left = node.ready.size; left > 0 && batch.count < batch.capacity; left--) {
      const connection = node.ready.shift()!
      connection.ready = false
      if (node.sessions[connection.slot] !== connection) continue
      this.#seals.makeRoom()
      const wrote = connection.transmit(now, batch, this.#seals.batch)
      if (wrote) node.links.wrote(batch.link[batch.count - 1]! as LinkId)
      const cramped = !wrote && batch.used > 0 && batch.size - batch.used < SLAB_ROOM_MIN
      if (wrote || cramped) node.markReady(connection)
      node.reschedule(connection)
      if (cramped) break
    }
    this.#seals.run()
    return batch.count
  }

  #pollRaw(batch: TransmitBatch): void {
    const raw = this.#node.raw
    for (;;) {
      const next = raw.peek()
      if (next === undefined || batch.count >= batch.capacity || batch.used + next.datagram.length > batch.size) return
      raw.shift()
      if (this.#node.link(next.link) === undefined) continue
      const i = batch.count++
      const offset = batch.base + batch.used
      this.arena.bytes.set(next.datagram, offset)
      batch.used += next.datagram.length
      batch.link[i] = next.link
      batch.path[i] = -1
      batch.address.set(next.address.subarray(0, ADDRESS_SIZE), i * ADDRESS_SIZE)
      batch.offset[i] = offset
      batch.length[i] = next.datagram.length
      batch.segmentSize[i] = next.datagram.length
      batch.ecn[i] = 0
      batch.ttl[i] = next.ttl
      batch.local[i] = next.local
    }
  }

  pollMessages(_now: Now, batch: MessageBatch): number {
    const count = this.#node.deliveries.poll(batch)
    if (count > 0) this.#node.counters.add(counter.messages_received, count)
    return count
  }

  pollReleases(batch: ReleaseBatch): number {
    const released = this.#node.released
    batch.count = 0
    if (released.length === 0) return 0
    const count = Math.min(batch.capacity, released.length)
    for (let i = 0; i < count; i++) {
      const channel = released[i]!
      channel.releaseListed = false
      batch.channel[i] = channel.handle
      batch.cost[i] = channel.takeReleased()
    }
    released.splice(0, count)
    batch.count = count
    return count
  }

  pollNotices(batch: NoticeBatch): number {
    const { notices, counters } = this.#node
    if (notices.lost > 0) {
      counters.add('notices_lost', notices.lost)
      notices.lost = 0
    }
    return notices.poll(batch)
  }

  pollEvent(): EndpointEvent | undefined {
    const { events, deliveries, notices } = this.#node
    const settled = deliveries.empty && notices.empty
    if (settled && this.#ends.size > 0) return this.#ends.shift()
    for (;;) {
      const event = events.shift()
      // What came on a channel, and what became of what was sent on it, is handed out before its end is told. Other events pass: the beginning of another channel
      // must be told before the messages that are waited for here.
      if (event?.kind !== 'channel-closed' || settled) return event
      this.#ends.push(event)
    }
  }

  pollAction(): EndpointAction | undefined {
    return this.#node.links.pollAction()
  }

  // ── the endpoint's own affairs ──────────────────────────────────────────────────────────────────────────────────────────

  shutdown(now: Now, deadline: Instant): void {
    if (!this.#shutdown.begin(now, deadline)) return
    this.stun.setServers(now, [])
    this.#punching.close(now)
    this.#scheduleHousekeeping(now)
  }

  #housekeep(now: Now): void {
    const node = this.#node
    this.#responder.handleTimeout(now)
    this.#xx.handleTimeout(now)
    node.pairing.handleTimeout(now)
    const gone = node.memory.handleTimeout(now, node.sessions, (channel) => node.channels.owner(channel.handle))
    if (gone !== undefined) this.#endConsumer(now, gone)
    if (now.mono >= this.#inviteCheckAt) {
      node.roster.expireInvites(now)
      this.#inviteCheckAt = toInstant(now.mono + INVITE_CHECK)
    }
    this.#shutdown.advance(now)
    this.#scheduleHousekeeping(now)
  }

  /** Memory is short, and this consumer holds up the most of it without reading. */
  #endConsumer(now: Now, consumer: number): void {
    const node = this.#node
    node.counters.add('consumers_gone')
    for (const connection of node.sessions) {
      if (connection?.state.shares.has(consumer) !== true) continue
      connection.endConsumer(now, consumer)
      node.reschedule(connection)
    }
  }

  #scheduleHousekeeping(now: Now): void {
    const node = this.#node
    node.deadlines.set(HOUSEKEEPING, earliest(this.#responder.nextTimeout(now.mono), node.memory.nextTimeout(), this.#inviteCheckAt, this.#xx.nextTimeout(now.mono), node.pairing.nextTimeout(), this.#shutdown.nextTimeout(now.mono)))
  }
}
