import { bleRadioLimits } from '../../src/core/ble/limits.ts'
import { BLE_DATAGRAM_MAX } from '../../src/core/ble/values.ts'
import type { Side } from './conversation.ts'
import { MILLISECOND, SECOND } from './draw.ts'
import { hold } from './failure.ts'
import { coreOf } from './inspect.ts'
import type { Machine } from './machine.ts'
import type { RadioPlan } from './plan.ts'
import { carriers } from './roads.ts'
import type { World } from './world.ts'

/** Of the issue: when the network dies, Bluetooth carries what is said within this … */
const FALLBACK_TIME = 3 * SECOND
/** … and a network that is back is used again within this, as after TCP. */
const RETURN_TIME = 5 * SECOND
/** Nothing has changed for so long: what is urgent waits for nothing but the air. */
const SETTLED = 6 * SECOND
/** Of what is said every 50 ms: two connection intervals, an ACK that waits, a lost event; and bulk in the same direction. */
const URGENT_TIME = 400 * MILLISECOND
const URGENT_EVENTS = 12

/** A message of a handshake, which waits for nobody. */
const HANDSHAKE_MAX = 400

/** Watches the radios of a world: what they hold, where the traffic goes, and how long it takes to get there. */
export class RadioWatch {
  readonly #world: World
  readonly #plan: RadioPlan
  /** When the network between the first two machines died, or came back, and when the air did; Infinity: it does not work. */
  #network: { readonly up: boolean; readonly since: number }
  #air: { readonly up: boolean; readonly since: number }

  constructor(world: World, plan: RadioPlan) {
    this.#world = world
    this.#plan = plan
    this.#network = this.#air = { up: true, since: world.scheduler.now }
  }

  get #watched(): boolean {
    return this.#world.plan.patience !== undefined
  }

  /** Every step now and then: the state of both ways, and the bounds of each radio. */
  look(): void {
    this.#note()
    for (const machine of this.#world.machines) if (machine.running) this.#checkBounds(machine)
    if (this.#watched) for (const machine of this.#world.machines) this.#checkReturn(machine)
  }

  onMove(machine: Machine): void {
    this.#note()
    const { now } = this.#world.scheduler
    if (this.#watched && kindOf(machine) === 'ble' && !this.#network.up) this.#world.onMoved('radio', now - Math.max(this.#network.since, this.#air.since))
  }

  /** What is said all the time came. */
  onHeard(side: Side): void {
    this.#note()
    const { now } = this.#world.scheduler
    const gap = now - (side.heardAt ?? now)
    const { air } = this.#plan
    if (this.#plan.clear) hold(gap <= FALLBACK_TIME, () => `machine ${side.machine.index} heard nothing for ${(gap / SECOND).toFixed(3)} s when the network died`)
    const settled = now - gap - Math.max(this.#network.since, this.#air.since) > SETTLED
    if (settled && air.loss < 0.1 && this.#world.plan.faults.every(({ kind }) => kind !== 'stall')) {
      hold(gap <= URGENT_TIME + URGENT_EVENTS * air.interval, () => `machine ${side.machine.index} waited ${(gap / SECOND).toFixed(3)} s for what is critical, although nothing was wrong`)
    }
  }

  #note(): void {
    const { now } = this.#world.scheduler
    const [a, b] = this.#world.machines as [Machine, Machine]
    const network = carriers.some((carrier) => this.#world.roads.openSince(a.index, b.index, 0, carrier) !== undefined)
    if (network !== this.#network.up) this.#network = { up: network, since: now }
    const air = a.radio !== undefined && b.radio !== undefined && this.#world.air?.hears(a.radio, b.radio) === true
    if (air !== this.#air.up) this.#air = { up: air, since: now }
  }

  #checkBounds(machine: Machine): void {
    const driver = machine.ble!.driver
    const links = driver.links()
    const out = links.filter(({ info }) => info.dialed).length
    hold(out <= bleRadioLimits.outMax && links.length - out <= bleRadioLimits.inMax, () => `machine ${machine.index} has ${links.length} links by radio, ${out} of which it dialed`)
    hold(driver.nearby().length <= bleRadioLimits.sightingsMax, () => `machine ${machine.index} remembers more devices than it may`)
  }

  /** After every turn: a core that heeds `writable` hands over one datagram; handshakes and goodbyes ask nobody. */
  checkUnsent(machine: Machine): void {
    for (const { unsent } of machine.ble!.driver.links()) hold(unsent <= BLE_DATAGRAM_MAX + HANDSHAKE_MAX, () => `machine ${machine.index}: ${unsent} bytes wait in a link`)
  }

  /** A network that works is used, not the radio. */
  #checkReturn(machine: Machine): void {
    const { now } = this.#world.scheduler
    if (!this.#network.up || kindOf(machine) !== 'ble') return
    const { delay, jitter } = this.#world.plan.calm[0]!
    const bound = RETURN_TIME + 4 * (delay + jitter) + SECOND
    hold(now - this.#network.since <= bound, () => `machine ${machine.index} is still on Bluetooth ${((now - this.#network.since) / SECOND).toFixed(3)} s after the network came back`)
  }
}

function kindOf(machine: Machine): string | undefined {
  return coreOf(machine.node.endpoint).sessions.find((found) => found?.state.phase === 'open')?.state.active?.kind
}
