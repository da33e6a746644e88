import { ADDRESS_SIZE } from '../base/address.ts'
import type { Arena } from '../base/arena.ts'
import { deliveryModes, lanes, type ChannelHandle, type LinkId, type LinkState, type Overflow, type PeerHandle, type SendResult } from '../base/domain.ts'
import { never, second, toInstant, type Instant, type Now } from '../base/time.ts'
import { AeadBatch } from '../crypto/aead-batch.ts'
import type { Channel } from '../connection/channel.ts'
import type { Connection } from '../connection/connection.ts'
import { tellWritable } from '../connection/send.ts'
import { META_MAX, isAppName } from '../wire/frame.ts'
import { BatchReader } from './batch-reader.ts'
import type {
  ChannelOptions, ChannelStats, ConnectOptions, EndpointAction, EndpointContract, EndpointEvent, InviteRecord, LinkInfo, MessageBatch, OutgoingMessage,
  PeerRecord, PeerStats, ReceiveBatch, ReleaseBatch, TransmitBatch,
} from './contract.ts'
import { Handshakes } from './handshakes.ts'
import { earliest, Node, type EndpointOptions } from './node.ts'
import { Responder } from './responder.ts'
import { channelStats, peerStats } from './stats.ts'

/** Slot of the endpoint's own deadlines in the heap. */
const HOUSEKEEPING = 0
/** Datagrams sealed by one call into the provider. */
const SEALS_MAX = 256
const MEMORY_CHECK = 0.02 * second
const INVITE_CHECK = 60 * second

/** One local node: the contract's implementation. Every method changes state, then leaves what came of it to the polls. */
export class Endpoint implements EndpointContract {
  readonly arena: Arena
  readonly id: Uint8Array
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #responder: Responder
  readonly #reader: BatchReader
  readonly #seals = new AeadBatch(SEALS_MAX)
  #memoryCheckAt: Instant = never
  #inviteCheckAt: Instant
  #drainBy: Instant = never
  #drained = false
  #pingToken = 0

  constructor(options: EndpointOptions) {
    this.#node = new Node(options)
    this.arena = options.arena
    this.id = this.#node.identity.id
    this.#handshakes = new Handshakes(this.#node)
    this.#node.handshakes = this.#handshakes
    this.#responder = new Responder(this.#node, this.#handshakes, options.now)
    this.#reader = new BatchReader(this.#node, this.#handshakes, this.#responder)
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
    const node = this.#node
    switch (state) {
      case 'opened':
        if (info !== undefined) node.openLink(link, info)
        return
      case 'blocked':
        node.setBlocked(link, true)
        return
      case 'writable':
        node.setBlocked(link, false)
        for (const connection of node.sessions) if (connection?.state.active?.link === link) node.markReady(connection)
        return
      case 'failed':
      case 'closed':
        node.closeLink(link)
        for (const connection of node.sessions) {
          if (connection === undefined) continue
          connection.dropLink(now, link)
          node.reschedule(connection)
        }
    }
  }

  handleTimeout(now: Now): void {
    const node = this.#node
    for (;;) {
      const slot = node.deadlines.due(now.mono)
      if (slot < 0) break
      if (slot === HOUSEKEEPING) {
        this.#housekeep(now)
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

  // ── peers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  connect(now: Now, id: Uint8Array, options: ConnectOptions): PeerHandle | undefined {
    const node = this.#node
    const peer = node.shuttingDown ? undefined : node.roster.ensure(id, now.wall)
    if (peer === undefined) return undefined
    if (peer.connection?.reachable === true) return peer.handle
    const connection = peer.connection ?? node.createSession(now, peer)
    const dialing = connection.dial(now, [...options.addresses, ...peer.record.addresses])
    if (!dialing) {
      if (connection.state.phase === 'dialing') {
        connection.replace(now, 'no_address')
        // A stranger without an address is forgotten at once; its handle stays good for this answer only.
        return peer.handle
      }
    } else if (connection.state.phase === 'dialing') {
      node.tellPeer(now, peer, 'dialing', undefined)
    }
    node.reschedule(connection)
    return peer.handle
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

  setLocalCandidates(_now: Now, _addresses: readonly Uint8Array[]): void {
    // Candidates travel from the issue on that brings hole punching; until then invites carry them.
  }

  addPeer(now: Now, id: Uint8Array, options: { readonly name: string | undefined; readonly addresses: readonly Uint8Array[]; readonly invite: PeerRecord['invite'] }): PeerHandle | undefined {
    const peer = this.#node.roster.ensure(id, now.wall)
    if (peer === undefined) return undefined
    this.#node.roster.add(peer, { name: options.name ?? peer.record.name, invite: options.invite ?? peer.record.invite }, options.addresses)
    return peer.handle
  }

  removePeer(now: Now, id: Uint8Array): boolean {
    const peer = this.#node.roster.find(id)
    if (peer?.inRoster !== true) return false
    this.#node.roster.remove(peer)
    const connection = peer.connection
    if (connection === undefined) {
      this.#node.roster.release(peer)
      return true
    }
    connection.close(now, 'revoked', '')
    this.#node.reschedule(connection)
    return true
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

  peers(): readonly PeerHandle[] {
    return this.#node.roster.handles()
  }

  findPeer(id: Uint8Array): PeerHandle | undefined {
    return this.#node.roster.find(id)?.handle
  }

  peerStats(peer: PeerHandle): PeerStats | undefined {
    const entry = this.#node.roster.get(peer)
    return entry === undefined ? undefined : peerStats(this.#node, entry)
  }

  counters(): Readonly<Record<string, number>> {
    return this.#node.counters.snapshot()
  }

  /** How full the tables are that strangers can write to, and those behind them: each is bounded. */
  tables(): Readonly<Record<string, number>> {
    const { index, raw, roster, sessions } = this.#node
    return { ...this.#responder.sizes, indexes: index.size, raw: raw.size, peers: roster.size, sessions: sessions.filter((session) => session !== undefined).length }
  }

  // ── channels ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  openChannel(now: Now, peer: PeerHandle, options: ChannelOptions): ChannelHandle | 'unreachable' | 'limit' {
    const connection = this.#node.roster.get(peer)?.connection
    if (connection?.state.phase !== 'open' || !isAppName(options.app) || options.meta.length > META_MAX) return 'unreachable'
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

  send(_now: Now, handle: ChannelHandle, message: OutgoingMessage): SendResult {
    const channel = this.#node.channels.get(handle)
    if (channel === undefined) return 'closed'
    const result = this.#node.channels.owner(handle).send(channel, message.bytes, message.offset, message.length)
    if (result === 'blocked' && this.#node.memoryWaiters.size > 0 && this.#memoryCheckAt === never) this.#armMemoryCheck(_now)
    return result
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
      const before = this.#seals.count
      if (before > SEALS_MAX - 64) this.#seal()
      const wrote = connection.transmit(now, batch, this.#seals)
      if (wrote) {
        connection.afterTransmit(now)
        node.markReady(connection)
      }
      node.reschedule(connection)
      if (!wrote && batch.size - batch.used < 1500) {
        node.markReady(connection)
        break
      }
    }
    this.#seal()
    return batch.count
  }

  #seal(): void {
    if (this.#seals.count === 0) return
    this.#node.provider.sealBatch(this.arena.bytes, this.#seals)
    this.#seals.count = 0
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
      batch.ttl[i] = 0
    }
  }

  pollMessages(now: Now, batch: MessageBatch): number {
    const count = this.#node.deliveries.poll(batch)
    if (count > 0) this.#node.counters.add('messages_received', count)
    if (this.#node.memoryWaiters.size > 0) this.#tellMemory(now)
    return count
  }

  pollReleases(batch: ReleaseBatch): number {
    const released = this.#node.released
    const count = Math.min(batch.capacity, released.length)
    for (let i = 0; i < count; i++) {
      const channel = released[i]!
      channel.releaseListed = false
      batch.channel[i] = channel.handle
      batch.cost[i] = channel.queue.released
      channel.queue.released = 0
    }
    released.splice(0, count)
    batch.count = count
    return count
  }

  pollEvent(): EndpointEvent | undefined {
    return this.#node.events.shift()
  }

  pollAction(): EndpointAction | undefined {
    return undefined
  }

  // ── the endpoint's own affairs ──────────────────────────────────────────────────────────────────────────────────────────

  shutdown(now: Now, deadline: Instant): void {
    const node = this.#node
    if (node.shuttingDown) return
    this.#drainBy = deadline
    for (const connection of node.sessions) {
      if (connection === undefined) continue
      for (const channel of [...connection.state.channels.values()]) connection.closeChannel(now, channel, false, 0, 'shutting down')
      node.reschedule(connection)
    }
    this.#checkDrained(now)
    this.#scheduleHousekeeping(now)
  }

  /** Channels drain first, then sessions say goodbye, then nothing is left. */
  #checkDrained(now: Now): void {
    const node = this.#node
    if (this.#drainBy === never || this.#drained) return
    const open = node.sessions.filter((connection) => connection !== undefined)
    const draining = open.some((connection) => connection.state.channels.size > 0 && connection.reachable)
    if (draining && now.mono < this.#drainBy) return
    if (!node.shuttingDown) {
      node.shuttingDown = true
      for (const connection of open) {
        connection.close(now, 'shutting_down', '')
        node.reschedule(connection)
      }
    }
    const left = node.sessions.some((connection) => connection !== undefined && connection.state.closeWantedAt !== never)
    if (left && now.mono < this.#drainBy) return
    this.#drained = true
    node.push({ kind: 'drained' })
  }

  #housekeep(now: Now): void {
    this.#responder.handleTimeout(now)
    if (now.mono >= this.#memoryCheckAt) this.#tellMemory(now)
    if (now.mono >= this.#inviteCheckAt) {
      this.#node.roster.expireInvites(now)
      this.#inviteCheckAt = toInstant(now.mono + INVITE_CHECK)
    }
    this.#checkDrained(now)
    this.#scheduleHousekeeping(now)
  }

  #armMemoryCheck(now: Now): void {
    this.#memoryCheckAt = toInstant(now.mono + MEMORY_CHECK)
    this.#scheduleHousekeeping(now)
  }

  /** Channels that waited for the arena are told when it has room again. */
  #tellMemory(now: Now): void {
    const node = this.#node
    this.#memoryCheckAt = never
    for (const channel of node.memoryWaiters) {
      tellWritable(node.channels.owner(channel.handle).state, channel)
      if (!channel.writableOwed) node.memoryWaiters.delete(channel)
    }
    if (node.memoryWaiters.size > 0) this.#armMemoryCheck(now)
  }

  #scheduleHousekeeping(now: Now): void {
    const drain = this.#drainBy === never || this.#drained ? never : toInstant(Math.min(this.#drainBy, now.mono + MEMORY_CHECK))
    this.#node.deadlines.set(HOUSEKEEPING, earliest(this.#responder.nextTimeout(now.mono), this.#memoryCheckAt, this.#inviteCheckAt, drain))
  }
}

