import { PosternError } from '../core/base/errors.ts'
import { after, millisecond, never, type Instant, type Now } from '../core/base/time.ts'
import { dropReason } from '../core/base/domain.ts'
import type { MessageRun } from '../core/base/message-run.ts'
import { MESSAGE_COST, MESSAGE_GAP_BEFORE, NOTICE_DROPPED, type ChannelHandle, type EndpointEvent, type MessageBatch, type NoticeBatch, type OutgoingMessage, type PeerHandle, type ReleaseBatch, type SendResult } from '../core/endpoint/contract.ts'
import { MESSAGE_GAP, LANE_OF_CHANNEL } from '../core/wire/ipc/ipc.ts'
import { channelEndCode, type ChannelAcceptRequest, type ChannelAcceptResult, type ChannelCloseRequest, type ChannelEnd, type ChannelOpenRequest, type ChannelOpenResult, type ChannelRejectRequest, type ChannelStatsResult, type ListenRequest } from '../core/wire/ipc/ipc-methods.ts'
import type { Nothing } from '../core/wire/ipc/ipc-json.ts'
import { channelCodes } from '../core/wire/frame.ts'
import { decodePeerId, encodePeerId } from '../core/wire/peer-id.ts'
import type { ClientEnd, IncomingMessage, IpcClient } from '../ipc/handler.ts'
import { endOf, openError } from './channel-ends.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { Route, RoutedClient, RouteTable, type ChannelInfo, type Parked } from './routes.ts'
import { Waiters } from './waiters.ts'

/** What a client may write before the daemon's queue gives room back, in cost per channel: one largest message, and a pipe's worth. */
const SEND_WINDOW = 1 << 20
/** Released room is told in steps of this share of the window: a client is never without, and a ping costs no credit frame. */
const CREDIT_STEP = SEND_WINDOW / 4
/** Bytes of messages that one client may have parked; beyond it its socket is not read. */
const PARKED_MAX = 1 << 20
const OPEN_TIMEOUT_MS = 15_000
/** After the core's own drain time a channel has ended one way or the other. */
const CLOSE_TIMEOUT_MS = 15_000

const NOTHING: Nothing = {}
const APP_GONE: ChannelEnd = { code: 'app_gone', reason: '', by: 'local' }

interface Listener {
  readonly owner: RoutedClient
  readonly request: ListenRequest
}

export interface RouterOptions {
  /** Apps that peers may open channels to: `*` or names. */
  readonly apps: readonly string[]
  readonly messageMax: number
  /** Ids of peers by handle and back, and a session to open a channel in. */
  readonly sessionWith: (peer: string, signal: AbortSignal) => Promise<PeerHandle>
  /** A channel came, opened or ended. */
  readonly onChannel: (channel: ChannelHandle, info: ChannelInfo) => void
  /** A peer of the roster asked for an app that it may have, and nobody listens as. */
  readonly onAppWanted: (app: string, peer: string) => void
}

/** Channels between clients and the endpoint: messages and credit both ways, listeners, and what ends with what. */
export class Router {
  readonly #runtime: NodeRuntime
  readonly #options: RouterOptions
  readonly #routes = new RouteTable()
  readonly #clients = new Map<IpcClient, RoutedClient>()
  readonly #listeners = new Map<string, Listener>()
  /** Channels that a client opened and the peer has not answered. */
  readonly #opening = new Waiters<ChannelHandle, ChannelOpenResult | PosternError>()
  readonly #closing = new Waiters<ChannelHandle, undefined>()
  readonly #message: OutgoingMessage = { bytes: new Uint8Array(0), offset: 0, length: 0, lane: LANE_OF_CHANNEL, tag: 0, confirm: false, deadline: never }

  constructor(runtime: NodeRuntime, options: RouterOptions) {
    this.#runtime = runtime
    this.#options = options
  }

  // ── from clients ────────────────────────────────────────────────────────────────────────────────────────────────────────

  clientOpened(client: IpcClient): void {
    this.#clients.set(client, new RoutedClient(client))
  }

  clientClosed(client: IpcClient, end: ClientEnd): void {
    const routed = this.#clients.get(client)
    if (routed === undefined) return
    this.#clients.delete(client)
    for (const app of routed.apps) this.#listeners.delete(app)
    const { endpoint } = this.#runtime
    for (const route of [...routed.routes]) {
      this.#forget(route, APP_GONE)
      endpoint.closeChannel(this.#runtime.now(), route.channel, { abort: true, code: channelCodes.app_gone, reason: end.code === 'closed' ? '' : end.reason })
    }
    this.#runtime.schedule()
  }

  /** Its connection is gone, its channels wait for it: nobody listens, and nothing is held back for the sake of a socket. */
  clientLost(client: IpcClient): void {
    const routed = this.#clients.get(client)
    if (routed === undefined) return
    for (const app of routed.apps) this.#listeners.delete(app)
    routed.apps.clear()
    this.onWritable(client)
  }

  /** The key was revoked: whoever came with it goes, and does not come back. */
  closeClientsOf(key: string): void {
    for (const client of [...this.#clients.keys()]) if (client.key === key) client.close('auth', 'The API key was revoked.')
  }

  channels(): readonly ChannelHandle[] {
    return this.#routes.channels()
  }

  channelInfo(channel: ChannelHandle): ChannelInfo | undefined {
    return this.#routes.get(channel)?.info()
  }

  /** Everything that clients wrote has found room in the endpoint. */
  get settled(): boolean {
    for (const routed of this.#clients.values()) if (routed.parkedBytes > 0 || routed.paused) return false
    return true
  }

  listen(client: IpcClient, request: ListenRequest): Nothing {
    if (this.#listeners.has(request.app)) throw new PosternError('app_taken', `Another program listens for ${request.app} already.`, { hint: 'Stop it, or listen for another app name.' })
    const routed = this.#clients.get(client)!
    routed.apps.add(request.app)
    this.#listeners.set(request.app, { owner: routed, request })
    return NOTHING
  }

  unlisten(client: IpcClient, app: string): Nothing {
    const listener = this.#listeners.get(app)
    if (listener?.owner.client === client) {
      this.#listeners.delete(app)
      listener.owner.apps.delete(app)
    }
    return NOTHING
  }

  async open(client: IpcClient, request: ChannelOpenRequest, signal: AbortSignal): Promise<ChannelOpenResult> {
    const peer = await this.#options.sessionWith(request.peer, signal)
    const routed = this.#clients.get(client)
    if (routed === undefined) throw new PosternError('aborted', 'The client is gone.')
    const { endpoint } = this.#runtime
    const { app, mode, lane, weight, overflow, meta, credit } = request
    const channel = endpoint.openChannel(this.#runtime.now(), peer, { app, mode, lane, weight, overflow, meta, credit, consumer: client.id })
    if (channel === 'unreachable') throw new PosternError('unreachable', 'There is no session with this peer.', { hint: 'Look at: postern peers' })
    if (channel === 'limit') throw new PosternError('limit', 'There are as many channels with this peer as there may be.', { details: { limit: 'channels' } })
    const route = new Route(channel, routed, { peer: request.peer, app, mode, lane, openedBy: 'local' })
    route.drops = overflow !== 'block'
    const number = client.addChannel({ peer: request.peer, context: channel, mode, credit, deadlineMs: request.deadlineMs })
    if (number === undefined) {
      endpoint.closeChannel(this.#runtime.now(), channel, { abort: true, code: channelCodes.limit, reason: '' })
      this.#runtime.schedule()
      throw new PosternError('limit', 'This program has as many channels as it may have.', { details: { limit: 'channels' } })
    }
    route.number = number
    this.#add(route)
    this.#runtime.schedule()
    try {
      const answer = await this.#opening.wait(channel, OPEN_TIMEOUT_MS, signal, 'Opening the channel')
      if (answer instanceof PosternError) throw answer
      return answer
    } catch (error) {
      if (this.#routes.get(channel) === route) this.#abandon(route, channelCodes.timeout)
      throw error
    }
  }

  accept(client: IpcClient, request: ChannelAcceptRequest): ChannelAcceptResult {
    const route = this.#routeOf(client, request.channel)
    const { endpoint } = this.#runtime
    const credit = request.credit ?? this.#creditOf(route)
    if (!endpoint.acceptChannel(this.#runtime.now(), route.channel, { credit, consumer: client.id, overflow: request.overflow })) {
      throw new PosternError('unknown_channel', 'This channel has been decided already.')
    }
    route.drops = request.overflow !== 'block'
    if (route.owner.held) endpoint.holdChannel(this.#runtime.now(), route.channel, true)
    this.#opened(route)
    this.#runtime.schedule()
    return { sendCredit: SEND_WINDOW, maxMessage: this.#options.messageMax }
  }

  reject(client: IpcClient, request: ChannelRejectRequest): Nothing {
    const route = this.#routeOf(client, request.channel)
    this.#forget(route, { code: 'refused', reason: request.reason, by: 'local' })
    this.#runtime.endpoint.rejectChannel(this.#runtime.now(), route.channel, channelCodes.refused, request.reason)
    this.#runtime.schedule()
    return NOTHING
  }

  async close(client: IpcClient, request: ChannelCloseRequest, signal: AbortSignal): Promise<Nothing> {
    const route = this.#routeOf(client, request.channel)
    const closed = this.#closing.wait(route.channel, CLOSE_TIMEOUT_MS, signal, 'Closing the channel')
    // What the client wrote before it closed goes first, also what still waits for room in the queue.
    route.afterParked = () => this.#runtime.endpoint.closeChannel(this.#runtime.now(), route.channel, request)
    if (request.abort) this.#dropParked(route, dropReason['channel-closed'])
    this.#tellParked(route)
    this.#runtime.schedule()
    await closed
    return NOTHING
  }

  stats(client: IpcClient, number: number): ChannelStatsResult {
    const stats = this.#runtime.endpoint.channelStats(this.#routeOf(client, number).channel)
    if (stats === undefined) throw new PosternError('unknown_channel', 'There is no such channel.')
    const { sent, received, delivered, dropped, queued, queuedBytes, rtt, lanes } = stats
    return { sent, received, delivered, dropped, queued, queuedBytes, rttMs: rtt === undefined ? null : rtt / millisecond, lanes }
  }

  /** Whether the message was taken; see `IpcHandler.onMessage`. */
  onMessage(client: IpcClient, message: IncomingMessage): boolean {
    const route = this.#routes.get(message.context as ChannelHandle)
    if (route?.owner.client !== client) return true
    const routed = route.owner
    const now = this.#runtime.turnTime()
    const deadline = message.ttlMs === 0 ? never : after(now.mono, message.ttlMs * millisecond)
    if (route.parked.length === 0) {
      const result = this.#send(now, route, message.bytes, message.offset, message.length, message.lane, message.tag, message.confirm, deadline)
      if (result !== 'blocked') return true
    }
    if (routed.parkedBytes + message.length > PARKED_MAX && routed.parkedBytes > 0) {
      routed.paused = true
      return false
    }
    const bytes = new Uint8Array(message.bytes.subarray(message.offset, message.offset + message.length))
    route.parked.push({ bytes, lane: message.lane, tag: message.tag, confirm: message.confirm, deadline })
    routed.parkedBytes += bytes.length + MESSAGE_COST
    return true
  }

  /** How many were taken; see `IpcHandler.onRun`. */
  onRun(client: IpcClient, context: number, run: MessageRun): number {
    const route = this.#routes.get(context as ChannelHandle)
    if (route?.owner.client !== client || route.parked.length > 0) return 0
    this.#runtime.schedule()
    const taken = this.#runtime.endpoint.sendRun(route.channel, run)
    if (route.drops && taken > 0) {
      route.owed += run.sizeOf(taken) + taken * MESSAGE_COST
      this.#giveCredit(route)
    }
    return taken
  }

  onCredit(context: number, cost: number): void {
    this.#runtime.endpoint.consume(this.#runtime.turnTime(), context as ChannelHandle, cost)
  }

  /** The client broke a rule of this channel and was told so: the peer's side ends too. */
  onBroken(context: number): void {
    const route = this.#routes.get(context as ChannelHandle)
    if (route !== undefined) this.#abandon(route, channelCodes.app_gone)
  }

  onWritable(client: IpcClient): void {
    const routed = this.#clients.get(client)
    if (routed?.held !== true) return
    routed.held = false
    for (const route of routed.routes) this.#runtime.endpoint.holdChannel(this.#runtime.now(), route.channel, false)
    this.#runtime.schedule()
  }

  // ── from the endpoint ───────────────────────────────────────────────────────────────────────────────────────────────────

  onMessages(batch: MessageBatch): void {
    for (let from = 0; from < batch.count;) {
      const channel = batch.channel[from]! as ChannelHandle
      let to = from + 1
      while (to < batch.count && batch.channel[to] === channel) to++
      this.#deliver(channel, batch, from, to)
      from = to
    }
  }

  #deliver(channel: ChannelHandle, batch: MessageBatch, from: number, to: number): void {
    const { endpoint } = this.#runtime
    const { bytes } = endpoint.arena
    const route = this.#routes.get(channel)
    let i = from
    if (route !== undefined && to - from > 1) i += route.owner.client.sendRun(route.number, bytes, batch, from, to)
    for (; i < to; i++) {
      const length = batch.length[i]!
      const flags = (batch.flags[i]! & MESSAGE_GAP_BEFORE) !== 0 ? MESSAGE_GAP : 0
      if (route?.owner.client.sendMessage(route.number, flags, bytes, batch.offset[i]!, length) === 'queued') continue
      // Its client is gone: nobody will give this credit back.
      endpoint.consume(this.#runtime.now(), channel, length + MESSAGE_COST)
    }
    if (route?.owner.client.congested === true) this.#hold(route.owner)
  }

  onReleases(batch: ReleaseBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const route = this.#routes.get(batch.channel[i]! as ChannelHandle)
      if (route === undefined || route.drops) continue
      route.owed += batch.cost[i]!
      this.#giveCredit(route)
    }
  }

  onNotices(batch: NoticeBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const route = this.#routes.get(batch.channel[i]! as ChannelHandle)
      route?.owner.client.sendNotice(route.number, batch.what[i]!, batch.reason[i]!, batch.firstTag[i]!, batch.lastTag[i]!)
    }
  }

  onEvent(event: Extract<EndpointEvent, { readonly kind: 'channel-incoming' | 'channel-open' | 'channel-closed' | 'writable' }>): void {
    switch (event.kind) {
      case 'channel-incoming':
        this.#incoming(event)
        return
      case 'channel-open': {
        const route = this.#routes.get(event.channel)
        if (route === undefined) return
        const { client } = route.owner
        this.#opened(route)
        if (route.owner.held) this.#runtime.endpoint.holdChannel(this.#runtime.now(), route.channel, true)
        this.#opening.settle(event.channel, { channel: route.number, handle: client.peerHandle(route.peer), sendCredit: SEND_WINDOW, maxMessage: event.maxMessage })
        return
      }
      case 'channel-closed':
        this.#closed(event)
        return
      case 'writable':
        this.#writable(event.channel)
    }
  }

  #incoming(event: Extract<EndpointEvent, { readonly kind: 'channel-incoming' }>): void {
    const { endpoint } = this.#runtime
    const listener = this.#listeners.get(event.app)
    const peer = endpoint.peerStats(event.peer)
    const reject = (code: number, reason: string): void => endpoint.rejectChannel(this.#runtime.now(), event.channel, code, reason)
    const allowed = this.#options.apps.includes('*') || this.#options.apps.includes(event.app)
    if (listener === undefined || peer === undefined || !allowed) {
      if (allowed && peer?.inRoster === true) this.#options.onAppWanted(event.app, encodePeerId(peer.id))
      reject(channelCodes.no_app, '')
      return
    }
    const id = encodePeerId(peer.id)
    const { from, credit } = listener.request
    if (from === 'roster' ? !peer.inRoster : from !== 'any' && !from.includes(id)) {
      reject(channelCodes.refused, '')
      return
    }
    const { app, mode, lane, meta } = event
    const route = new Route(event.channel, listener.owner, { peer: id, app, mode, lane, openedBy: 'peer' })
    const number = listener.owner.client.offerChannel({ peer: id, context: event.channel, mode, credit, deadlineMs: 0, app, lane, meta })
    if (number === undefined) {
      reject(channelCodes.limit, '')
      return
    }
    route.number = number
    this.#add(route)
  }

  #closed(event: Extract<EndpointEvent, { readonly kind: 'channel-closed' }>): void {
    const route = this.#routes.get(event.channel)
    if (route === undefined) return
    this.#dropParked(route, event.by === 'session' ? dropReason['peer-gone'] : dropReason['channel-closed'])
    const end = endOf(event)
    this.#forget(route, end)
    if (this.#opening.has(event.channel)) {
      this.#opening.settle(event.channel, openError(end))
      route.owner.client.closeChannel(route.number, end)
      return
    }
    this.#closing.settle(event.channel, undefined)
    route.owner.client.closeChannel(route.number, end)
  }

  #writable(channel: ChannelHandle): void {
    const route = this.#routes.get(channel)
    if (route === undefined) return
    while (route.parked.length > 0) {
      const { bytes, lane, tag, confirm, deadline } = route.parked[0]!
      if (this.#send(this.#runtime.turnTime(), route, bytes, 0, bytes.length, lane, tag, confirm, deadline) === 'blocked') break
      this.#unpark(route, route.parked.shift()!)
    }
    this.#tellParked(route)
  }

  #tellParked(route: Route): void {
    if (route.parked.length > 0 || route.afterParked === undefined) return
    const then = route.afterParked
    route.afterParked = undefined
    then()
  }

  // ── between ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #send(now: Now, route: Route, bytes: Uint8Array, offset: number, length: number, lane: number, tag: number, confirm: boolean, deadline: Instant): SendResult {
    const message = this.#message
    message.bytes = bytes
    message.offset = offset
    message.length = length
    message.lane = lane
    message.tag = tag
    message.confirm = confirm
    message.deadline = deadline
    const result = this.#runtime.endpoint.send(now, route.channel, message)
    switch (result) {
      case 'queued':
      case 'dropped':
        if (!route.drops) break
        route.owed += length + MESSAGE_COST
        this.#giveCredit(route)
        break
      case 'too-large':
        this.#tellDropped(route, dropReason['too-large-for-path'], tag, confirm)
        this.#runtime.endpoint.closeChannel(now, route.channel, { abort: true, code: channelCodes.limit, reason: 'message larger than maxMessage' })
        break
      case 'closed':
        this.#tellDropped(route, dropReason['channel-closed'], tag, confirm)
        break
      case 'blocked':
    }
    return result
  }

  /** A message that the endpoint never took. */
  #tellDropped(route: Route, reason: number, tag: number, confirm: boolean): void {
    if (confirm || tag !== 0) route.owner.client.sendNotice(route.number, NOTICE_DROPPED, reason, tag, tag)
  }

  #dropParked(route: Route, reason: number): void {
    for (const parked of route.parked.splice(0)) {
      this.#tellDropped(route, reason, parked.tag, parked.confirm)
      this.#unpark(route, parked)
    }
  }

  #unpark(route: Route, parked: Parked): void {
    const { owner } = route
    owner.parkedBytes -= parked.bytes.length + MESSAGE_COST
    if (!owner.paused || owner.parkedBytes > PARKED_MAX / 2) return
    owner.paused = false
    owner.client.resume()
  }

  #giveCredit(route: Route): void {
    if (route.owed < CREDIT_STEP || route.number === 0) return
    route.owner.client.sendCredit(route.number, route.owed)
    route.owed = 0
  }

  #hold(routed: RoutedClient): void {
    if (routed.held) return
    routed.held = true
    for (const route of routed.routes) this.#runtime.endpoint.holdChannel(this.#runtime.now(), route.channel, true)
  }

  #add(route: Route): void {
    this.#routes.add(route)
    route.owner.routes.add(route)
    this.#options.onChannel(route.channel, route.info())
  }

  #opened(route: Route): void {
    route.open = true
    this.#options.onChannel(route.channel, route.info())
  }

  #forget(route: Route, end: ChannelEnd): void {
    this.#options.onChannel(route.channel, route.info(end))
    this.#routes.remove(route)
    route.owner.routes.delete(route)
    for (const parked of route.parked.splice(0)) this.#unpark(route, parked)
  }

  /** Ends a channel whose client will not be told by an event. */
  #abandon(route: Route, code: number): void {
    this.#forget(route, { ...channelEndCode(code), reason: '', by: 'daemon' })
    this.#closing.settle(route.channel, undefined)
    this.#runtime.endpoint.closeChannel(this.#runtime.now(), route.channel, { abort: true, code, reason: '' })
    this.#runtime.schedule()
  }

  #routeOf(client: IpcClient, number: number): Route {
    const context = client.channelContext(number)
    const route = context === undefined ? undefined : this.#routes.get(context as ChannelHandle)
    if (route?.owner.client !== client) throw new PosternError('unknown_channel', `There is no channel ${number}.`)
    return route
  }

  #creditOf(route: Route): number {
    for (const { owner, request } of this.#listeners.values()) if (owner === route.owner) return request.credit
    return SEND_WINDOW / 4
  }

}

/** Ids in requests were parsed before; this keeps the two forms apart by type. */
export function idBytes(peer: string): Uint8Array {
  const id = decodePeerId(peer)
  if (id === undefined) throw new PosternError('bad_peer_id', `${peer} is not a peer id.`, { hint: 'A peer id has 52 characters: postern id' })
  return id
}
