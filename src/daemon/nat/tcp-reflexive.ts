import type { LinkId } from '../../core/base/domain.ts'
import { equalAddress } from '../../core/base/address.ts'
import { Counters } from '../../core/base/counters.ts'
import { after, second, type Duration, type Now } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import { ReflexiveAddresses, type IpFamily, type Reflexive, type StunServer } from '../../core/stun/reflexive.ts'
import { STUN_SCHEDULE_STREAM } from '../../core/stun/schedule.ts'
import type { StunCounter } from '../../core/stun/transactions.ts'
import { StunStreams } from '../../net/stun-streams.ts'
import type { TcpSystem } from '../../net/tcp-system.ts'
import { Timer } from '../../platform/timer.ts'

/** There are no sockets to choose from. */
const LINK = 1 as LinkId
/** [P] A connection to the server that answered is held for so long, whoever relies on it: an invite often follows. */
const HELD: Duration = 50 * second

const names = {
  stun_requests: 'stun_tcp_requests', stun_repeats: undefined, stun_answers: 'stun_tcp_answers', stun_refusals: 'stun_tcp_refusals', stun_timeouts: 'stun_tcp_timeouts', stun_full: undefined,
  drop_stun: 'stun_tcp_dropped', drop_stun_forged: 'stun_tcp_dropped',
} as const satisfies Record<StunCounter, string | undefined>

export const stunTcpCounterNames = ['stun_tcp_requests', 'stun_tcp_answers', 'stun_tcp_refusals', 'stun_tcp_timeouts', 'stun_tcp_dropped', 'stun_tcp_lost'] as const
type StunTcpCounter = (typeof stunTcpCounterNames)[number]

export interface TcpReflexiveOptions {
  readonly provider: CryptoProvider
  readonly clock: { now(): Now }
  /** Whether this server must be asked by TCP: it can be, and the address of UDP does not tell that of TCP. */
  readonly needed: (server: Uint8Array) => boolean
  /** How often a server is asked again while somebody relies on the address; 0: never. */
  readonly refresh: Duration
  /** Whether somebody relies on the address now. */
  readonly wanted: () => boolean
  readonly changed: (family: IpFamily, address: Uint8Array | undefined, server: string) => void
}

/**
 * Where servers see the port that this node listens on by TCP: STUN over TCP, asked only where UDP does not tell. The rules are those of UDP (`core/stun`); the
 * connection to the server that answered is held while somebody relies on the address, and with it the mapping of the routers on the way.
 */
export class TcpReflexive {
  readonly #options: TcpReflexiveOptions
  readonly #reflexive: ReflexiveAddresses
  readonly #timer: Timer
  readonly #counters = new Counters<StunTcpCounter>(stunTcpCounterNames)
  #streams: StunStreams | undefined
  #servers: readonly StunServer[] = []

  constructor(options: TcpReflexiveOptions) {
    const { provider, clock, needed, refresh, wanted, changed } = options
    this.#options = options
    this.#reflexive = new ReflexiveAddresses({
      provider, unit: Math.random, refresh, wanted, changed, schedule: STUN_SCHEDULE_STREAM,
      linkTo: (server) => (this.#streams !== undefined && needed(server) ? LINK : undefined),
      send: (_link, to, message) => this.#streams?.send(to, message),
      count: (name) => {
        const own = names[name]
        if (own !== undefined) this.#counters.add(own)
      },
    })
    this.#timer = new Timer(clock, (now) => {
      this.#reflexive.handleTimeout(now)
      this.#settle(now)
    })
  }

  /** From now on servers may be asked, from this port. */
  start(system: TcpSystem, localPort: number): void {
    this.#streams = new StunStreams({
      received: (server, message) => this.#do((now) => this.#reflexive.handleDatagram(now, LINK, server, message, 0, message.length)),
      lost: (server) => {
        this.#counters.add('stun_tcp_lost')
        this.#do((now) => this.#reflexive.handleLost(now, LINK, server))
      },
    }, { system, localPort })
    this.#do((now) => this.#reflexive.setServers(now, this.#servers))
  }

  /** Whether it can ask at all: dials must be able to leave from the port that is listened on. */
  get able(): boolean {
    return this.#streams !== undefined
  }

  get addresses(): readonly Reflexive[] {
    return this.#reflexive.addresses
  }

  get asking(): boolean {
    return this.#reflexive.asking
  }

  setServers(servers: readonly StunServer[]): void {
    this.#servers = servers
    if (this.able) this.#do((now) => this.#reflexive.setServers(now, servers))
  }

  /** What is needed may have changed. */
  review(): void {
    if (this.able) this.#do((now) => this.#reflexive.review(now))
  }

  renew(): void {
    if (this.able) this.#do((now) => this.#reflexive.renew(now))
  }

  networkChanged(): void {
    if (!this.able) return
    // They were made from addresses that may be gone.
    this.#streams?.close()
    this.#do((now) => this.#reflexive.networkChanged(now))
  }

  counters(): Readonly<Record<string, number>> {
    return this.#counters.snapshot()
  }

  close(): void {
    this.#timer.stop()
    this.#streams?.close()
    this.#streams = undefined
  }

  #do(what: (now: Now) => void): void {
    if (this.#streams === undefined) return
    const now = this.#options.clock.now()
    what(now)
    this.#settle(now)
  }

  /** A connection stays while its server is asked, or holds the mapping that somebody relies on; a little longer, since an invite often follows. */
  #settle(now: Now): void {
    const { asked, addresses } = this.#reflexive
    const wanted = this.#options.wanted()
    const held = addresses.filter(({ at }) => wanted || now.mono < after(at, HELD)).map(({ serverAddress }) => serverAddress)
    this.#streams?.keep((server) => [...asked, ...held].some((other) => equalAddress(other, 0, server, 0)))
    this.#timer.arm(this.#reflexive.nextTimeout(), false)
  }
}
