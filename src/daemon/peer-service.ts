import { formatAddress } from '../core/base/address.ts'
import { PosternError } from '../core/base/errors.ts'
import { millisecond } from '../core/base/time.ts'
import type { EndpointEvent, PeerHandle, PeerState, PeerStats } from '../core/endpoint/contract.ts'
import { PEERS_PAGE, PEERS_PAGE_WITH_LANES, type IpcPeerState, type PeerAddRequest, type PeerConnectRequest, type PeerConnectResult, type PeerInfo, type PeerPingResult, type PeersResult } from '../core/wire/ipc/ipc-methods.ts'
import type { Nothing } from '../core/wire/ipc/ipc-json.ts'
import { encodePeerId } from '../core/wire/peer-id.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import type { BleLinkFacts } from '../net/ble/ble-contract.ts'
import type { IpcClient } from '../ipc/handler.ts'
import { Introductions } from './nat/introductions.ts'
import { InviteService } from './invite-service.ts'
import { Meetings } from './nat/meetings.ts'
import { idBytes } from './router.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { PeerPaths, policyError, unknownPeer, type WayOut } from './peer-paths.ts'
import { Waiters } from './waiters.ts'

const PING_TIMEOUT_MS = 10_000
const SESSION_TIMEOUT_MS = 10_000
/** Both sides of an introduction know of it within a round trip. */
const INTRODUCED_MS = 60_000
const NOTHING: Nothing = {}

/** What leads to a peer of which no address is known. */
export interface NearbyRadio {
  /** Looks for it; whether it came into range. */
  appears(peer: PeerHandle, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean>
  /** There is an adapter that works. */
  readonly works: boolean
  linkFacts(address: Uint8Array): BleLinkFacts | undefined
}

export interface PeerServiceOptions {
  readonly provider: CryptoProvider
  /** Where peers can reach this node, 18 bytes each, best first. */
  readonly addresses: () => readonly Uint8Array[]
  /** Waits a moment for addresses that are being found out. */
  readonly freshen: () => Promise<void>
  /** Each destination sees another port of this node. */
  readonly hard: () => boolean
  readonly nat: WayOut
  readonly radio: NearbyRadio
  /** Whether this node introduces its peers to each other. */
  readonly introduces: boolean
  /** Everything noted so far is on disk. */
  readonly persisted: () => Promise<void>
  /** A peer came into the roster, left it, or has another name. */
  readonly onRoster: (id: string) => void
}

type PeerEvent = Extract<EndpointEvent, { readonly kind: 'peer' }>

/** Peers and what one asks about them: the methods of the IPC that are not about channels. */
export class PeerService {
  readonly #runtime: NodeRuntime
  readonly #options: PeerServiceOptions
  readonly #changes = new Waiters<PeerHandle, PeerEvent>()
  readonly #pongs = new Waiters<number, number | undefined>()
  /** The ways to peers: which may be taken, and why which is. */
  readonly paths: PeerPaths
  readonly invites: InviteService
  readonly introductions: Introductions
  readonly #meetings: Meetings

  constructor(runtime: NodeRuntime, options: PeerServiceOptions) {
    this.#runtime = runtime
    this.#options = options
    this.paths = new PeerPaths(runtime, () => this.#durable(), options.nat, options.radio)
    this.#meetings = new Meetings((peer) => this.#redial(peer))
    this.invites = new InviteService(runtime, options, (peer, patienceMs) => this.#meet(peer, patienceMs, true), () => this.#durable())
    this.introductions = new Introductions(runtime, { serve: options.introduces, addresses: options.addresses, hard: options.hard, seek: (peer) => this.#meet(peer, INTRODUCED_MS, false) })
  }

  /** Somebody who was told by other ways where we are may come at any moment. */
  get meeting(): boolean {
    return this.#meetings.count > 0
  }

  onEvent(event: Extract<EndpointEvent, { readonly kind: 'peer' | 'pong' }>): void {
    if (event.kind === 'pong') this.#pongs.settle(event.token, event.rtt)
    else {
      if (event.state === 'connected') this.#meetings.end(event.peer)
      this.introductions.onPeer(event)
      this.#changes.settle(event.peer, event)
    }
  }

  /** Dials it again and again for a while, and guesses ports where one side is hard to find. */
  #meet(peer: PeerHandle, patienceMs: number, byHand: boolean): void {
    this.#meetings.begin(peer, patienceMs)
    this.#runtime.endpoint.meet(this.#runtime.now(), peer, { patience: patienceMs * millisecond, byHand })
    this.#runtime.schedule()
  }

  /** Makes the dial of a peer loud again; false: there is nothing to dial for any more. */
  #redial(peer: PeerHandle): boolean {
    const { endpoint } = this.#runtime
    const stats = endpoint.peerStats(peer)
    if (stats === undefined || stats.state === 'connected') return false
    const dialed = endpoint.connect(this.#runtime.now(), stats.id, { addresses: [], now: true, meeting: true })
    this.#runtime.schedule()
    return dialed !== undefined
  }

  // ── peers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  list(client: IpcClient, request: { readonly state: IpcPeerState | undefined; readonly after: string | undefined; readonly lanes: boolean }): PeersResult {
    const found: { readonly id: string; readonly stats: PeerStats }[] = []
    for (const handle of this.#runtime.endpoint.peers()) {
      const stats = this.#runtime.endpoint.peerStats(handle)
      if (stats === undefined || (request.state !== undefined && stats.state !== request.state)) continue
      const id = encodePeerId(stats.id)
      if (request.after === undefined || id > request.after) found.push({ id, stats })
    }
    found.sort((a, b) => (a.id < b.id ? -1 : 1))
    const page = found.slice(0, request.lanes ? PEERS_PAGE_WITH_LANES : PEERS_PAGE)
    const peers = page.map(({ id, stats }) => ({ ...peerInfo(client, id, stats), ...(request.lanes ? lanesOf(stats) : {}) }))
    const last = page.at(-1)
    return found.length > page.length && last !== undefined ? { peers, next: last.id } : { peers }
  }

  async add(request: PeerAddRequest): Promise<Nothing> {
    const added = this.#runtime.endpoint.addPeer(this.#runtime.now(), idBytes(request.id), { name: request.name, addresses: request.candidates, invite: undefined })
    if (added === undefined) throw new PosternError('bad_peer_id', `${request.id} is not the id of another node.`, { hint: 'Copy it from `postern id` on the other machine.' })
    this.#options.onRoster(request.id)
    await this.#durable()
    return NOTHING
  }

  async remove(id: string): Promise<Nothing> {
    if (!this.#runtime.endpoint.removePeer(this.#runtime.now(), idBytes(id))) throw unknownPeer(id)
    this.#options.onRoster(id)
    await this.#durable()
    return NOTHING
  }

  async connect(client: IpcClient, request: PeerConnectRequest, signal: AbortSignal): Promise<PeerConnectResult> {
    const peer = await this.session(request.id, request.timeoutMs, signal)
    return { handle: client.peerHandle(request.id), state: this.#runtime.endpoint.peerStats(peer)?.state ?? 'offline' }
  }

  /** A session with this peer, dialed if there is none. Rejects with `unreachable`, `refused`, `policy`, `timeout` or `bad_peer_id`. */
  async session(id: string, timeoutMs: number = SESSION_TIMEOUT_MS, signal?: AbortSignal): Promise<PeerHandle> {
    const { endpoint } = this.#runtime
    const peer = endpoint.connect(this.#runtime.now(), idBytes(id), { addresses: [], now: true })
    if (peer === undefined) throw new PosternError('bad_peer_id', `${id} is not the id of another node.`, { hint: 'Copy it from `postern id` on the other machine.' })
    const deadline = performance.now() + timeoutMs
    while (endpoint.peerStats(peer)?.state !== 'connected') {
      const changed = this.#changes.wait(peer, Math.max(1, deadline - performance.now()), signal, `Connecting to ${id}`)
      this.#runtime.schedule()
      const event = await changed.catch((error: unknown) => {
        throw error instanceof PosternError && error.code === 'timeout' ? this.#unreached(peer, id, timeoutMs) : error
      })
      if (event.reason === 'no_address') {
        if (!await this.#comesIntoRange(peer, deadline, signal)) throw this.#noWay(id)
        endpoint.connect(this.#runtime.now(), idBytes(id), { addresses: [], now: true })
        continue
      }
      if (event.state === 'offline' || (event.state === 'unreachable' && event.reason !== undefined)) throw connectError(id, event.state, event.reason)
    }
    return peer
  }

  /** A friend with whom there was no network yet, as after pairing, is found by its hint: it may take a moment until that is heard. */
  async #comesIntoRange(peer: PeerHandle, deadline: number, signal: AbortSignal | undefined): Promise<boolean> {
    const left = deadline - performance.now()
    return left > 0 && this.#runtime.endpoint.peerStats(peer)?.inRoster === true && await this.#options.radio.appears(peer, left, signal)
  }

  #noWay(id: string): PosternError {
    if (!this.#options.radio.works) return new PosternError('unreachable', `No address of ${id} is known.`, { hint: 'Join by an invite of that node, or add an address to it.' })
    return new PosternError('unreachable', `No address of ${id} is known, and it is not in range of Bluetooth.`, { hint: 'Who is in range: postern nearby. Or join by an invite of that node, or add an address to it.' })
  }

  #unreached(peer: PeerHandle, id: string, timeoutMs: number): PosternError {
    if (this.paths.leftByPolicy(peer)) return policyError(id)
    return new PosternError('unreachable', `${id} did not answer within ${timeoutMs / 1000} s.`, {
      hint: 'Is posternd running there, and do its addresses still hold? The daemon goes on trying; look at: postern peers',
    })
  }

  disconnect(id: string): Nothing {
    const peer = this.#runtime.endpoint.findPeer(idBytes(id))
    if (peer === undefined) throw unknownPeer(id)
    this.#runtime.endpoint.disconnect(this.#runtime.now(), peer)
    this.#runtime.schedule()
    return NOTHING
  }

  async ping(id: string, signal: AbortSignal): Promise<PeerPingResult> {
    const peer = await this.session(id, SESSION_TIMEOUT_MS, signal)
    const { endpoint } = this.#runtime
    const token = endpoint.ping(this.#runtime.now(), peer)
    if (token === undefined) throw new PosternError('limit', 'Too many pings to this peer wait for their answer.', { details: { limit: 'pings' } })
    const pong = this.#pongs.wait(token, PING_TIMEOUT_MS, signal, 'The ping')
    this.#runtime.schedule()
    const rtt = await pong
    if (rtt === undefined) throw new PosternError('unreachable', 'The session ended before the ping was answered.')
    return { rttMs: [rtt / millisecond], path: pathOf(endpoint.peerStats(peer)) ?? '' }
  }

  /** What was changed is taken over by the router and on disk. */
  async #durable(): Promise<void> {
    this.#runtime.pump.run()
    await this.#options.persisted()
  }
}

function connectError(id: string, state: PeerState, reason: string | undefined): PosternError {
  switch (reason) {
    case 'not_admitted':
    case 'refused':
    case 'revoked':
      return new PosternError('refused', `${id} refuses sessions with this node.`, { hint: 'Ask there for a new invite: postern invite' })
    case 'policy':
      return policyError(id)
    case 'downgrade':
    case 'suite':
      return new PosternError('downgrade', `${id} speaks no common cipher suite.`, { hint: 'Bring both nodes to the same version.' })
    case 'shutting_down':
      return new PosternError('unreachable', `${id} is shutting down.`)
    default:
      return new PosternError('unreachable', `${id} is ${state}${reason === undefined ? '' : ` (${reason})`}.`, { hint: 'Look at: postern peers' })
  }
}

/** `udp 192.0.2.1:7000` of the path in use. */
export function pathOf(stats: PeerStats | undefined): string | undefined {
  const active = stats?.paths.find((path) => path.active)
  return active === undefined ? undefined : `${active.kind} ${formatAddress(active.address)}`
}

/** Lanes that were used: most peers have one, and a page has many peers. */
function lanesOf({ lanes }: PeerStats): Pick<PeerInfo, 'lanes'> {
  if (lanes === undefined) return {}
  return { lanes: Object.fromEntries(Object.entries(lanes).filter(([, { sent, queued, dropped }]) => sent > 0 || queued > 0 || Object.keys(dropped).length > 0)) }
}

/** What a client is told of a peer. */
export function peerInfo(client: IpcClient, id: string, stats: PeerStats): PeerInfo {
  const active = stats.paths.find((path) => path.active)
  const path = pathOf(stats)
  return {
    id, handle: client.peerHandle(id), state: stats.state, since: stats.since, channels: stats.channels,
    ...(stats.name === undefined ? {} : { name: stats.name }),
    ...(path === undefined ? {} : { path }),
    ...(active?.rtt === undefined ? {} : { rttMs: active.rtt / millisecond }),
    ...(active === undefined ? {} : { loss: active.loss, mtu: active.datagramSize }),
  }
}
