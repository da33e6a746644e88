import { anyPath } from '../../src/core/path/path-policy.ts'
import { equalHost } from '../../src/sim/sim-tcp.ts'
import type { Machine } from './machine.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import type { FaultPlan } from './plan.ts'
import { carriers, ROADS, type Way } from './roads.ts'
import type { World } from './world.ts'

const HOUR_MS = 3_600_000
/** A datagram of the base size, 1152 and its header, always fits (WIRE.md §6). */
const LEAST_MTU = 1181
const allRoads = [0, 1]

/** What happens to a world, when its plan says so, and how it ends. */
export class Faults {
  readonly #world: World
  /** How to end each fault that still goes on. */
  readonly #ends = new Set<() => void>()

  constructor(world: World) {
    this.#world = world
    for (const fault of world.plan.faults) world.after(fault.at, () => { this.#strike(fault) })
  }

  /** Ends every fault that still goes on. */
  heal(): void {
    for (const end of [...this.#ends]) end()
  }

  #strike(fault: FaultPlan): void {
    const machine = this.#world.machines[fault.node]!
    const other = this.#world.machines[fault.other]!
    const { choice } = fault
    const what = fault.road === undefined ? '' : ` IPv${fault.road === 0 ? 4 : 6} ${fault.carrier ?? ''}`
    this.#world.tell(`${fault.kind}${what} ${fault.node} ${fault.other} for ${(fault.duration / SECOND).toFixed(3)} s`)
    switch (fault.kind) {
      case 'cut': this.#cut(fault.duration, machine, other, true); return
      case 'half-cut': this.#cut(fault.duration, machine, other, false); return
      case 'carrier': this.#carrier(fault, machine, other, 'cuts'); return
      case 'refuse': this.#carrier(fault, machine, other, 'refusals'); return
      case 'mtu': this.#mtu(fault, machine, other); return
      case 'reset': this.#reset(machine, other); return
      case 'storm': this.#storm(fault.duration); return
      case 'rebind': if (machine.running) machine.rebind(choice < 0.3); return
      case 'relink': if (machine.running && !machine.asleep) machine.relink(); return
      case 'restart': this.#restart(fault.duration, machine); return
      case 'wall': machine.node.wallOffset += (choice - 0.5) * 48 * HOUR_MS; return
      case 'sleep': this.#sleep(fault.duration, machine); return
      case 'policy': this.#policy(fault, machine, other); return
      case 'stall':
        machine.setStalled(true)
        this.#lasting(fault.duration, () => { machine.setStalled(false) })
        return
      case 'hold': this.#hold(fault.duration, machine, true); return
      case 'block': this.#block(fault.duration, machine); return
      case 'disconnect': if (machine.running && !machine.asleep) disconnect(machine, other); return
      case 'abort': this.#abort(machine, choice); return
      case 'range': this.#range(fault.duration, machine, other); return
      case 'adapter': this.#adapter(fault.duration, machine)
    }
  }

  /** Ends after `duration`, or when the world heals. */
  #lasting(duration: number, end: () => void): void {
    const once = (): void => { if (this.#ends.delete(once)) end() }
    this.#ends.add(once)
    this.#world.after(duration, once)
  }

  #cut(duration: number, from: Machine, to: Machine, both: boolean): void {
    const { roads } = this.#world
    const ways = both ? roads.between(from.index, to.index, allRoads, carriers) : allRoads.flatMap((road) => carriers.map((kind) => roads.way(from.index, to.index, road, kind)))
    this.#shut(duration, ways, 'cuts')
  }

  /** One kind of traffic stops: on one road, or where the plan does not say which, often on all of them. */
  #carrier(fault: FaultPlan, from: Machine, to: Machine, how: 'cuts' | 'refusals'): void {
    const kinds = how === 'refusals' ? ['udp' as const] : fault.carrier !== undefined ? [fault.carrier] : fault.choice < 0.7 ? ['udp' as const] : ['tcp' as const]
    const on = fault.road !== undefined ? [fault.road] : fault.choice * 10 % 1 < 0.5 ? allRoads : [Math.floor(fault.choice * 100) % ROADS]
    const { roads } = this.#world
    const ways = fault.oneWay === true ? on.flatMap((road) => kinds.map((kind) => roads.way(from.index, to.index, road, kind))) : roads.between(from.index, to.index, on, kinds)
    this.#shut(fault.duration, ways, how)
  }

  #shut(duration: number, ways: readonly Way[], how: 'cuts' | 'refusals'): void {
    const { roads, scheduler } = this.#world
    roads.change(ways, scheduler.now, how, 1)
    this.#lasting(duration, () => { roads.change(ways, scheduler.now, how, -1) })
  }

  /** A tunnel comes into the way: larger datagrams vanish. */
  #mtu(fault: FaultPlan, from: Machine, to: Machine): void {
    const ways = this.#world.roads.between(from.index, to.index, [fault.road ?? (fault.choice < 0.5 ? 0 : 1)], ['udp'])
    const before = ways[0]!.conditions.mtu
    const mtu = LEAST_MTU + Math.floor(fault.choice * Math.max(0, before - LEAST_MTU))
    for (const way of ways) way.conditions = { ...way.conditions, mtu }
    this.#lasting(fault.duration, () => { for (const way of ways) way.conditions = { ...way.conditions, mtu: before } })
  }

  /** The user of a machine changes his mind about the kinds of path, and changes it back. */
  #policy(fault: FaultPlan, machine: Machine, other: Machine): void {
    machine.setPolicy(other, fault.policy ?? anyPath)
    this.#lasting(fault.duration, () => { machine.setPolicy(other, anyPath) })
  }

  /** The two no longer hear each other. */
  #range(duration: number, machine: Machine, other: Machine): void {
    const { air } = this.#world
    if (air === undefined) return
    const before = air.reaches
    air.reaches = (a, b) => before(a, b) && !((a === machine.radio && b === other.radio) || (a === other.radio && b === machine.radio))
    const without = air.reaches
    air.moved()
    this.#lasting(duration, () => {
      // Of ranges that overlap the last one to end gives them all back.
      air.reaches = air.reaches === without ? before : () => true
      air.moved()
    })
  }

  /** Pulled out, and plugged in again. */
  #adapter(duration: number, machine: Machine): void {
    if (machine.radio === undefined || !machine.running) return
    machine.radio.setState('absent')
    this.#lasting(duration, () => { if (machine.running) machine.radio?.setState('on') })
  }

  #reset(machine: Machine, other: Machine): void {
    if (machine.running) machine.node.resetConnections((remote) => other.addresses.some((address) => equalHost(address, remote)))
  }

  #storm(duration: number): void {
    const { roads, plan } = this.#world
    roads.setConditions(plan.rough)
    this.#lasting(duration, () => { roads.setConditions(plan.calm) })
  }

  #restart(duration: number, machine: Machine): void {
    if (!machine.running) return
    this.#world.totals.restarts++
    machine.kill()
    this.#lasting(duration, () => { machine.start() })
  }

  #sleep(duration: number, machine: Machine): void {
    if (machine.asleep) return
    machine.sleep()
    this.#lasting(duration, () => { machine.awake() })
  }

  #hold(duration: number, machine: Machine, held: boolean): void {
    for (const { handle } of machine.sides.values()) {
      if (handle !== undefined) machine.node.act((endpoint, now) => { endpoint.holdChannel(now, handle, held) })
    }
    if (held) this.#lasting(duration, () => { this.#hold(0, machine, false) })
  }

  #block(duration: number, machine: Machine): void {
    if (!machine.running || machine.asleep) return
    const { node } = machine
    node.setBlocked(true)
    this.#lasting(Math.min(duration, 2000 * MILLISECOND), () => { if (!node.stopped) node.setBlocked(false) })
  }

  #abort(machine: Machine, choice: number): void {
    const sides = [...machine.sides.values()]
    const side = sides[Math.floor(choice * sides.length)]
    if (side?.handle !== undefined && !machine.asleep) machine.abort(side)
  }
}

function disconnect(machine: Machine, other: Machine): void {
  const peer = machine.node.endpoint.findPeer(other.id)
  if (peer !== undefined) machine.node.act((endpoint, now) => { endpoint.disconnect(now, peer) })
}

