import { isRoutable } from '../../core/base/address-class.ts'
import { portOf } from '../../core/base/address.ts'
import { Counters } from '../../core/base/counters.ts'
import type { Now } from '../../core/base/time.ts'
import type { ChannelHandle, EndpointContract, EndpointEvent, PeerHandle } from '../../core/endpoint/contract.ts'
import { channelCodes } from '../../core/wire/frame.ts'
import { decodeIntroduction, encodeIntroduction, INTRODUCE_APP, INTRODUCED_APP, type Introduction } from '../../core/wire/introduction.ts'

/** A dial that was not answered for so long asks for help; then again at this pace, so often. */
const FIRST_MS = 1500
const AGAIN_MS = 15_000
const ROUNDS_MAX = 6
/** Who dials anew meanwhile is helped sooner, but not more often than this. */
const WANTED_MS = 3000
/** Peers asked in one round, and peers that are looked for at once; more wait for their next dial. */
const ASKED_MAX = 3
const SOUGHT_MAX = 256
/** Introductions of one peer, asked for or brought, in ten seconds. */
const PER_PEER = 32
const PERIOD_MS = 10_000
/** Below this only what is known to be meant for peers: nobody is to be sent to a mail server. */
const PORT_LEAST = 1024
const PORTS_ALLOWED: readonly number[] = [443, 3478]
/** Of no client. */
const NOBODY = 0

export const introductionCounterNames = ['introductions_asked', 'introductions_forwarded', 'introductions_followed', 'introductions_refused'] as const

/** What this needs of the daemon. */
export interface IntroductionsHost {
  readonly endpoint: Pick<EndpointContract, 'peers' | 'peerStats' | 'findPeer' | 'connect' | 'noteWhereabouts' | 'openChannel' | 'rejectChannel'>
  now(): Now
  /** Drains the endpoint soon. */
  schedule(): void
}

export interface IntroductionsOptions {
  /** Whether this node introduces its peers to each other. */
  readonly serve: boolean
  /** Where this node may be reached, 18 bytes each, best first. */
  readonly addresses: () => readonly Uint8Array[]
  /** Each destination sees another port of this node. */
  readonly hard: () => boolean
  /** Dials again and again for a while, however quiet the dial had become. */
  readonly seek: (peer: PeerHandle) => void
}

interface Sought {
  rounds: number
  askedAt: number
  timer: NodeJS.Timeout
}

type ChannelEvent = Extract<EndpointEvent, { readonly kind: 'channel-incoming' | 'channel-closed' }>

/**
 * Introduction without infrastructure (decision 095): who cannot reach a peer asks others that it has sessions with; one that knows both
 * tells the peer where the asker is, and the peer's answer comes back the same way. Then both dial, and their routers let each other in.
 */
export class Introductions {
  readonly #host: IntroductionsHost
  readonly #options: IntroductionsOptions
  readonly #counters = new Counters(introductionCounterNames)
  readonly #sought = new Map<PeerHandle, Sought>()
  /** How often each peer was listened to since {@link #since}. */
  readonly #heard = new Map<PeerHandle, number>()
  #since = -Infinity
  /** Channels opened here to ask or to tell, each to the peer it goes to. They end with its answer. */
  readonly #channels = new Map<ChannelHandle, PeerHandle>()
  /** Said that they introduce nobody, in this session. */
  readonly #unwilling = new Set<PeerHandle>()
  #closed = false

  constructor(host: IntroductionsHost, options: IntroductionsOptions) {
    this.#host = host
    this.#options = options
  }

  stats(): Readonly<Record<string, number>> {
    return this.#counters.snapshot()
  }

  close(): void {
    this.#closed = true
    for (const peer of [...this.#sought.keys()]) this.#found(peer)
  }

  onPeer({ peer, state, reason }: Extract<EndpointEvent, { readonly kind: 'peer' }>): void {
    if (this.#closed) return
    if (state === 'connected') {
      this.#found(peer)
      return
    }
    this.#unwilling.delete(peer)
    if (state === 'dialing') this.#seek(peer, FIRST_MS)
    else if (state === 'offline' && reason === 'no_address') this.#seek(peer, 0)
    else if (state === 'offline') this.#found(peer)
  }

  /** True when the channel is one of these, and dealt with. */
  onChannel(event: ChannelEvent): boolean {
    if (event.kind === 'channel-closed') {
      const peer = this.#channels.get(event.channel)
      if (peer === undefined) return false
      this.#channels.delete(event.channel)
      if (event.code === channelCodes.no_app) this.#unwilling.add(peer)
      return true
    }
    if (event.app !== INTRODUCE_APP && event.app !== INTRODUCED_APP) return false
    const refused = this.#closed || (event.app === INTRODUCE_APP && !this.#options.serve)
    // Whether the other one is here, or knows the asker, is nobody's business: the answer is the same.
    this.#host.endpoint.rejectChannel(this.#host.now(), event.channel, refused ? channelCodes.no_app : channelCodes.done, '')
    if (!refused && !(event.app === INTRODUCE_APP ? this.#forward(event.peer, event.meta) : this.#follow(event.peer, event.meta))) this.#counters.add('introductions_refused')
    this.#host.schedule()
    return true
  }

  #seek(peer: PeerHandle, afterMs: number): void {
    const sought = this.#sought.get(peer)
    if (sought !== undefined) {
      // Somebody wants it again: that is no round of ours.
      if (sought.rounds > 0 && performance.now() - sought.askedAt >= WANTED_MS) this.#ask(peer)
      return
    }
    if (this.#sought.size >= SOUGHT_MAX || this.#host.endpoint.peerStats(peer)?.inRoster !== true) return
    this.#sought.set(peer, { rounds: 0, askedAt: 0, timer: setTimeout(() => this.#ask(peer), afterMs).unref() })
  }

  #found(peer: PeerHandle): void {
    clearTimeout(this.#sought.get(peer)?.timer)
    this.#sought.delete(peer)
  }

  /** One round: others that may know the peer are asked. */
  #ask(peer: PeerHandle): void {
    const sought = this.#sought.get(peer)
    const stats = this.#host.endpoint.peerStats(peer)
    if (sought === undefined) return
    if (stats?.inRoster !== true || stats.state === 'connected' || sought.rounds >= ROUNDS_MAX) {
      this.#found(peer)
      return
    }
    sought.rounds++
    sought.askedAt = performance.now()
    clearTimeout(sought.timer)
    sought.timer = setTimeout(() => this.#ask(peer), AGAIN_MS).unref()
    const meta = encodeIntroduction({ answer: false, hard: this.#options.hard(), id: stats.id, addresses: this.#options.addresses() })
    let asked = 0
    for (const helper of this.#host.endpoint.peers()) {
      if (asked === ASKED_MAX) break
      if (helper !== peer && !this.#unwilling.has(helper) && this.#open(helper, INTRODUCE_APP, meta)) asked++
    }
    if (asked > 0) this.#counters.add('introductions_asked', asked)
  }

  /** A peer of ours would like to meet another one. */
  #forward(from: PeerHandle, meta: Uint8Array): boolean {
    const wish = this.#read(from, meta)
    const asker = this.#host.endpoint.peerStats(from)
    const target = wish === undefined ? undefined : this.#host.endpoint.findPeer(wish.id)
    if (wish === undefined || asker === undefined || target === undefined || target === from) return false
    if (!this.#open(target, INTRODUCED_APP, encodeIntroduction({ ...wish, id: asker.id }))) return false
    this.#counters.add('introductions_forwarded')
    return true
  }

  /** One that knows us both tells where a peer of ours is. */
  #follow(from: PeerHandle, meta: Uint8Array): boolean {
    const told = this.#read(from, meta)
    const { endpoint } = this.#host
    const peer = told === undefined ? undefined : endpoint.findPeer(told.id)
    const stats = peer === undefined ? undefined : endpoint.peerStats(peer)
    if (told === undefined || peer === undefined || stats?.inRoster !== true) return false
    if (stats.state === 'connected') return true
    const addresses = told.addresses.filter(mayBeTried)
    endpoint.noteWhereabouts(peer, { hard: told.hard, addresses })
    if (addresses.length > 0) endpoint.connect(this.#host.now(), told.id, { addresses, now: true })
    this.#options.seek(peer)
    this.#counters.add('introductions_followed')
    if (!told.answer) this.#open(from, INTRODUCE_APP, encodeIntroduction({ answer: true, hard: this.#options.hard(), id: told.id, addresses: this.#options.addresses() }))
    return true
  }

  /** What a peer of the roster says, unless it says too much. */
  #read(from: PeerHandle, meta: Uint8Array): Introduction | undefined {
    if (this.#host.endpoint.peerStats(from)?.inRoster !== true || !this.#mayBeHeard(from)) return undefined
    return decodeIntroduction(meta)
  }

  #mayBeHeard(peer: PeerHandle): boolean {
    const now = performance.now()
    if (now - this.#since >= PERIOD_MS) {
      this.#since = now
      this.#heard.clear()
    }
    const heard = (this.#heard.get(peer) ?? 0) + 1
    this.#heard.set(peer, heard)
    return heard <= PER_PEER
  }

  #open(peer: PeerHandle, app: string, meta: Uint8Array): boolean {
    const stats = this.#host.endpoint.peerStats(peer)
    if (stats?.inRoster !== true || stats.state !== 'connected') return false
    const channel = this.#host.endpoint.openChannel(this.#host.now(), peer, { app, mode: 'reliable-ordered', lane: 'high', weight: 16, overflow: 'block', meta, credit: 0, consumer: NOBODY })
    if (typeof channel === 'string') return false
    this.#channels.set(channel, peer)
    this.#host.schedule()
    return true
  }
}

/** An address that a third one names: a host's own, and a port that peers use. */
function mayBeTried(address: Uint8Array): boolean {
  const port = portOf(address)
  return isRoutable(address) && (port >= PORT_LEAST || PORTS_ALLOWED.includes(port))
}
