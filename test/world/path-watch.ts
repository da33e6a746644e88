import { equalAddress } from '../../src/core/base/address.ts'
import type { PathRule } from '../../src/core/base/domain.ts'
import { overdueAt } from '../../src/core/connection/dialing/carrier-dials.ts'
import type { SessionState } from '../../src/core/connection/state.ts'
import { allows } from '../../src/core/path/path-policy.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import { hold } from './failure.ts'
import { coreOf } from './inspect.ts'
import type { Machine } from './machine.ts'
import { carriers, carrierOf, roadOf, type Carrier } from './roads.ts'
import type { World } from './world.ts'

/** What a move was: away from a UDP way that died in silence, from one that the system refuses, from a dead connection, back to UDP, or to Bluetooth. */
export type MoveKind = 'silent' | 'told' | 'connection' | 'back' | 'radio'

/** UDP is left for something that works within this (issue: UDP → TCP ≤ 2 s when it dies silently, ≤ 300 ms when the system says so)… */
const LEAVE_SILENT = 2 * SECOND
const LEAVE_TOLD = 300 * MILLISECOND
/** … a connection that stood by and had died unnoticed is asked first, and another one dialed when it is overdue … */
const ASKED_FIRST = 100 * MILLISECOND
/** … a connection later, since what waits in it is repeated by the system, and a PTO there is a second … */
const LEAVE_CONNECTION = 4 * SECOND
/** … and UDP that works again carries the traffic within this (issue: 5 s): probes of it are 2 s apart, and one may be lost. */
const RETURN_TIME = 5 * SECOND
/** A connection is dialed and asked in three round trips, and what the others need is counted in them as well. */
const ROUND_TRIPS: Readonly<Record<Exclude<MoveKind, 'radio'>, number>> = { silent: 4, told: 4, connection: 8, back: 2 }
/** Round trips up to this are within the figures. */
const SHORT_TRIP = 50 * MILLISECOND

/** Where a machine's traffic goes, and since when. */
interface Stand {
  readonly road: number
  readonly carrier: Carrier
  readonly since: number
}

/**
 * Watches the paths of a world in which one way always works: every move is to a path that the policy allows and is recorded with
 * its reason, a way that died is left in time, and UDP that works again is used again in time.
 */
export class PathWatch {
  readonly #world: World
  readonly #stands = new Map<Machine, Stand>()
  readonly #sessions = new Map<Machine, Uint8Array>()
  readonly #roundTrip: number

  constructor(world: World) {
    this.#world = world
    this.#roundTrip = Math.max(...world.plan.calm.map(({ delay, jitter }) => 2 * (delay + jitter)))
  }

  /** The longest that a move of this kind may take. */
  bound(kind: Exclude<MoveKind, 'radio'>): number {
    const least = { silent: LEAVE_SILENT, told: LEAVE_TOLD, connection: LEAVE_CONNECTION, back: RETURN_TIME }[kind]
    return least + ROUND_TRIPS[kind] * Math.max(0, this.#roundTrip - SHORT_TRIP)
  }

  onMove(machine: Machine, rule: PathRule, to: Uint8Array | undefined): void {
    const { now } = this.#world.scheduler
    const state = sessionOf(machine)
    const before = this.#stands.get(machine)
    this.#stands.delete(machine)
    this.#isRecorded(machine, rule, to)
    const active = state?.active
    // Of two moves in one turn the second is where it went.
    if (to === undefined || state === undefined || active === undefined || !equalAddress(active.address, 0, to, 0)) return
    hold(allows(machine.policy, active.kind), () => `machine ${machine.index} moves to ${active.kind}, which its policy forbids (${rule})`)
    const stand = { road: roadOf(to), carrier: carrierOf(active.kind), since: now }
    this.#stands.set(machine, stand)
    if (before !== undefined) this.#measure(machine, before, stand)
  }

  /** The same move is in the peer's record, with the same reason and the same moment. */
  #isRecorded(machine: Machine, rule: PathRule, to: Uint8Array | undefined): void {
    const { node } = machine
    const decisions = node.endpoint.peers().flatMap((peer) => node.endpoint.peerWhy(node.now(), peer)?.decisions ?? [])
    const recorded = decisions.some((decision) => decision.kind === 'path' && decision.rule === rule && decision.at === node.now().wall &&
      (to === undefined ? decision.to === undefined : decision.to !== undefined && equalAddress(decision.to.address, 0, to, 0)))
    hold(recorded, () => `machine ${machine.index} moves (${rule}) and does not record it`)
  }

  #measure(machine: Machine, before: Stand, after: Stand): void {
    const down = this.#downSince(machine, before)
    if (down !== undefined) this.#world.onMoved(this.#kindOf(machine, before), this.#world.scheduler.now - down)
    else if (before.carrier === 'tcp' && after.carrier === 'udp') {
      const up = this.#upSince(machine, after.road, after.carrier)
      const wished = Math.max(...this.#world.machines.map(({ policySince }) => policySince))
      if (up !== undefined) this.#world.onMoved('back', this.#world.scheduler.now - Math.max(before.since, up, wished))
    }
  }

  /** Now and then: nobody stays on a way that is dead, or on a connection, for longer than allowed. */
  look(): void {
    for (const machine of this.#world.machines) {
      const state = sessionOf(machine)
      const stand = this.#stands.get(machine)
      if (state?.sidPeer === undefined) continue
      this.#isOneSession(machine, state)
      if (stand === undefined) continue
      this.#hasLeft(machine, stand)
      if (stand.carrier === 'tcp') this.#hasReturned(machine, stand, state)
    }
  }

  #isOneSession(machine: Machine, state: SessionState): void {
    const first = this.#sessions.get(machine)
    if (first === undefined) this.#sessions.set(machine, state.sidSelf.slice())
    else hold(first.every((byte, i) => byte === state.sidSelf[i]), () => `machine ${machine.index} has another session than before although a path worked all the time`)
  }

  #hasLeft(machine: Machine, stand: Stand): void {
    const { now } = this.#world.scheduler
    const kind = this.#kindOf(machine, stand)
    const down = this.#downSince(machine, stand)
    if (down === undefined || now - down <= this.bound(kind)) return
    const peer = this.#world.machines[this.#other(machine)]!
    // Only time in which another way was there counts.
    const others = this.#ways(machine).filter(({ road, carrier }) => (road !== stand.road || carrier !== stand.carrier) && allows(machine.policy, carrier) && allows(peer.policy, carrier))
    const up = Math.min(...others.map(({ road, carrier }) => this.#upSince(machine, road, carrier) ?? Infinity))
    // A change of address meanwhile severs the connection that was about to take over, which then has to be found out itself.
    const moved = Math.max(machine.movedAt, peer.movedAt)
    const waited = now - Math.max(down, up, machine.policySince, peer.policySince, moved)
    const asked = this.#hasDeadStandby(machine) || this.#hasDeadStandby(peer) ? ASKED_FIRST + 2 * this.#roundTrip : 0
    hold(waited <= this.bound(moved > down ? 'connection' : kind) + asked, () => `machine ${machine.index} stays on a dead way (IPv${stand.road === 0 ? 4 : 6} ${stand.carrier}, ${kind}) for ${(waited / SECOND).toFixed(3)} s`)
  }

  /** A connection beside the path in use was asked whether it works, and did not answer in time. */
  #hasDeadStandby(machine: Machine): boolean {
    const state = sessionOf(machine)
    const { mono } = machine.node.now()
    return state?.paths.some((path) => path?.reliable === true && path !== state.active && (path.validation.unanswered || mono >= overdueAt(path))) === true
  }

  #hasReturned(machine: Machine, stand: Stand, state: SessionState): void {
    const { now } = this.#world.scheduler
    const other = this.#world.machines[this.#other(machine)]!
    if (!allows(machine.policy, 'udp') || !allows(other.policy, 'udp') || machine.policy.prefer === 'tcp') return
    for (const { road, carrier } of this.#ways(machine)) {
      if (carrier !== 'udp') continue
      const up = this.#upSince(machine, road, carrier)
      if (up === undefined) continue
      const since = Math.max(up, stand.since, machine.policySince, other.policySince)
      if (now - since <= this.bound('back')) continue
      // An address rests after it swallowed data again and again, and one that never was the peer's is asked every 30 s only.
      const known = state.remotes?.all.some(({ address, quarantinedUntil, proven }) => proven && roadOf(address) === road && quarantinedUntil <= now) === true
      hold(!known, () => `machine ${machine.index} is still on a connection ${((now - since) / SECOND).toFixed(3)} s after UDP (IPv${road === 0 ? 4 : 6}) works again`)
    }
  }

  #ways(machine: Machine): readonly { readonly road: number; readonly carrier: Carrier }[] {
    return machine.addresses.flatMap((_, road) => carriers.map((carrier) => ({ road, carrier })))
  }

  #kindOf(machine: Machine, { road, carrier }: Stand): Exclude<MoveKind, 'radio'> {
    if (carrier === 'tcp') return 'connection'
    // Where the other has just moved to, only the other knows: that it hears nothing any more must do for both.
    if (this.#world.machines[this.#other(machine)]!.movedAt > this.#world.scheduler.now - 2 * LEAVE_SILENT) return 'silent'
    return this.#world.roads.way(machine.index, this.#other(machine), road, carrier).refusals > 0 ? 'told' : 'silent'
  }

  #other(machine: Machine): number {
    return 1 - machine.index
  }

  /**
   * Since when nothing of what goes there arrives. What UDP brings there is acknowledged on whatever way the other uses; a connection
   * needs both directions.
   */
  #downSince(machine: Machine, { road, carrier, since }: Stand): number | undefined {
    const shut = this.#world.roads.shutSince(machine.index, this.#other(machine), road, carrier, carrier === 'tcp')
    return shut === undefined ? undefined : Math.max(shut, since)
  }

  #upSince(machine: Machine, road: number, carrier: Carrier): number | undefined {
    return this.#world.roads.openSince(machine.index, this.#other(machine), road, carrier)
  }
}

function sessionOf(machine: Machine): SessionState | undefined {
  const connection = coreOf(machine.node.endpoint).sessions.find((found) => found !== undefined)
  return connection?.state.phase === 'open' ? connection.state : undefined
}
