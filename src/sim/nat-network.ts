import { hostOf, sameAddress, type Nat, type NatTransport } from './nat.ts'
import { CONNECT_TIME, SimNetwork, SYN_TIMES, type Receive } from './network.ts'
import type { SeededRandom } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import type { StreamSide } from './stream.ts'

/** A connection that is being dialed, by the addresses that its own system knows. */
interface Dialing {
  readonly local: Uint8Array
  readonly remote: Uint8Array
  open: boolean
  answered(side: StreamSide | 'refused' | 'no_answer'): void
}

/**
 * A public net with homes behind NATs on it, one behind another where a provider has its own: what the addresses of datagrams and SYNs become on
 * their way, and which of them get through. Machines of one home reach each other; nobody reaches a private address of another.
 */
export class NatNetwork extends SimNetwork {
  readonly #scheduler: Scheduler
  readonly #routers = new Map<string, Nat>()
  readonly #upstream = new Map<Nat, Nat>()
  readonly #byOutside = new Map<string, Nat>()
  readonly #dialing = new Set<Dialing>()
  /** From one home to another: less does not arrive. */
  hops = 16
  /** Datagrams and SYNs that a NAT let in, or did not. */
  passed = 0
  filtered = 0

  constructor(scheduler: Scheduler, random: SeededRandom) {
    super(scheduler, random)
    this.#scheduler = scheduler
  }

  /**
   * A home: machines behind a NAT, which may be behind that of a provider.
   *
   * @param hosts their addresses, with any port
   */
  home(hosts: readonly Uint8Array[], nat: Nat, provider?: Nat): void {
    for (const host of hosts) this.#routers.set(hostOf(host), nat)
    this.#byOutside.set(hostOf(nat.outside), nat)
    if (provider === undefined) return
    this.#upstream.set(nat, provider)
    this.#byOutside.set(hostOf(provider.outside), provider)
  }

  override send(from: Uint8Array, to: Uint8Array, datagram: Uint8Array, ttl = 0): boolean {
    const source = this.#outward(from, to, 'udp')
    const atHome = this.#routers.get(hostOf(to)) !== undefined
    return source === undefined || (ttl > 0 && ttl < this.hops && !atHome) || super.send(source, to, datagram)
  }

  protected override receiverOf(from: Uint8Array, to: Uint8Array): Receive | undefined {
    const target = this.#inward(from, to, 'udp')
    return target === undefined ? undefined : super.receiverOf(from, target)
  }

  override connect(from: Uint8Array, to: Uint8Array, answered: (side: StreamSide | 'refused' | 'no_answer') => void): () => void {
    const dialing: Dialing = {
      local: from.slice(), remote: to.slice(), open: true,
      answered: (side) => {
        this.#dialing.delete(dialing)
        if (dialing.open) answered(side)
        else if (typeof side !== 'string') side.forget()
        dialing.open = false
      },
    }
    this.#dialing.add(dialing)
    for (const time of SYN_TIMES) this.#later(time, () => { this.#syn(dialing) })
    this.#later(CONNECT_TIME, () => { dialing.answered('no_answer') })
    return () => {
      dialing.open = false
      this.#dialing.delete(dialing)
    }
  }

  /** Where it seems to come from, on the net on which it is delivered; `undefined`: it does not get that far. */
  #outward(from: Uint8Array, to: Uint8Array, transport: NatTransport): Uint8Array | undefined {
    const home = this.#routers.get(hostOf(to))
    let source: Uint8Array | undefined = from
    for (let nat = this.#routers.get(hostOf(from)); nat !== undefined; nat = this.#upstream.get(nat)) {
      if (home === nat) return source
      if (nat.owns(to) && !nat.turns(to)) return undefined
      source = nat.out(source, to, this.#scheduler.now, transport)
      if (source === undefined || nat.owns(to)) return source
    }
    const outside = this.#byOutside.get(hostOf(to))
    return home !== undefined || (outside !== undefined && this.#upstream.has(outside)) ? undefined : source
  }

  /** Whom it reaches behind the routers of its target. */
  #inward(from: Uint8Array, to: Uint8Array, transport: NatTransport): Uint8Array | undefined {
    let target: Uint8Array | undefined = to
    for (let nat = this.#byOutside.get(hostOf(to)); nat !== undefined; nat = this.#byOutside.get(hostOf(target))) {
      target = nat.in(from, target, this.#scheduler.now, transport)
      if (target === undefined) {
        this.filtered++
        return undefined
      }
      this.passed++
    }
    return target
  }

  #syn(dialing: Dialing): void {
    if (!dialing.open) return
    const { local, remote } = dialing
    const source = this.#outward(local, remote, 'tcp')?.slice()
    if (source === undefined) return
    const { delay } = this.conditions
    this.#later(delay, () => {
      const target = dialing.open ? this.#inward(source, remote, 'tcp') : undefined
      if (target !== undefined) this.#arrive(dialing, source, target, delay)
    })
  }

  /** A SYN is there: both dial each other (RFC 9293 §3.5), somebody listens, or a reset goes back. */
  #arrive(dialing: Dialing, source: Uint8Array, target: Uint8Array, delay: number): void {
    const { local, remote } = dialing
    const other = [...this.#dialing].find((their) => their !== dialing && their.open && sameAddress(their.local, target) && sameAddress(their.remote, source))
    const accept = this.listenerAt(target)
    if (other === undefined && accept === undefined) {
      this.#later(delay, () => { dialing.answered('refused') })
      return
    }
    const [near, far] = this.joinSides({ local, remote }, { local: target, remote: source })
    this.#later(delay, () => { dialing.answered(near) })
    if (other !== undefined) {
      this.#later(delay, () => { other.answered(far) })
      return
    }
    // With the ACK.
    this.#later(2 * delay, () => {
      if (near.state === 'gone' || far.state === 'gone') return
      if (this.listenerAt(target) === accept) accept!(far)
      else far.reset()
    })
  }

  #later(delay: number, act: () => void): void {
    this.#scheduler.at(this.#scheduler.now + delay, act)
  }
}
