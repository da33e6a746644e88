import type { WireConditions } from '../../src/sim/network.ts'
import type { Machine } from './machine.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import type { FaultPlan } from './plan.ts'
import type { World } from './world.ts'

const HOUR_MS = 3_600_000

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
    this.#world.tell(`${fault.kind} ${fault.node} ${fault.other} for ${(fault.duration / SECOND).toFixed(3)} s`)
    switch (fault.kind) {
      case 'cut': this.#cut(fault.duration, machine, other, true); return
      case 'half-cut': this.#cut(fault.duration, machine, other, false); return
      case 'storm': this.#storm(fault.duration, this.#world.plan.rough); return
      case 'rebind': if (machine.running) machine.rebind(choice < 0.3); return
      case 'relink': if (machine.running && !machine.asleep) machine.relink(); return
      case 'restart': this.#restart(fault.duration, machine); return
      case 'wall': machine.node.wallOffset += (choice - 0.5) * 48 * HOUR_MS; return
      case 'sleep': this.#sleep(fault.duration, machine); return
      case 'stall':
        machine.setStalled(true)
        this.#lasting(fault.duration, () => { machine.setStalled(false) })
        return
      case 'hold': this.#hold(fault.duration, machine, true); return
      case 'block': this.#block(fault.duration, machine); return
      case 'disconnect': if (machine.running && !machine.asleep) disconnect(machine, other); return
      case 'abort': this.#abort(machine, choice)
    }
  }

  /** Ends after `duration`, or when the world heals. */
  #lasting(duration: number, end: () => void): void {
    const once = (): void => { if (this.#ends.delete(once)) end() }
    this.#ends.add(once)
    this.#world.after(duration, once)
  }

  /** Machines change their addresses, so a cut is between machines, not between addresses. */
  #cut(duration: number, from: Machine, to: Machine, both: boolean): void {
    const before = this.#world.network.tap
    const cutting = (a: Uint8Array, b: Uint8Array): boolean => a[14] === from.index && b[14] === to.index
    let over = false
    this.#world.network.tap = (a, b, datagram) => (before?.(a, b, datagram) ?? true) && (over || !(cutting(a, b) || (both && cutting(b, a))))
    this.#lasting(duration, () => { over = true })
  }

  #storm(duration: number, conditions: WireConditions): void {
    this.#world.network.setConditions(conditions)
    this.#lasting(duration, () => { this.#world.network.setConditions(this.#world.plan.calm) })
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

