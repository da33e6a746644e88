import { toInstant } from '../../src/core/base/time.ts'
import type { PowerMode } from '../../src/core/base/power-mode.ts'
import { bleRadioLimits, type BleRadioLimits } from '../../src/core/ble/limits.ts'
import type { FindFriend } from '../../src/core/ble/sightings.ts'
import type { LinkId, TransmitBatch } from '../../src/core/endpoint/contract.ts'
import type { BleBackend } from '../../src/net/ble/backend.ts'
import { BleDriver } from '../../src/net/ble/ble.ts'
import type { BleSystem } from '../../src/net/ble/ble-contract.ts'
import type { Task } from '../../src/sim/scheduler.ts'
import type { SimCarrier, SimNode } from '../../src/sim/sim-node.ts'
import type { SimTcpHost } from '../../src/sim/sim-tcp.ts'
import type { TimedRadio } from './timed-air.ts'

/** As in the daemon: hints change with the hour, here and there. */
const PRESENCE_TIME = 60_000_000

/** The driver of Bluetooth that ships, with its radio and links, in virtual time; and what the daemon does for it. */
export class TimedBle implements SimCarrier {
  readonly driver: BleDriver
  readonly radio: TimedRadio
  readonly #node: SimNode
  #stopped = false
  #asleep = false
  #missed: (() => void)[] = []
  #refreshDue = false
  readonly #find: FindFriend = (hint) => this.#node.endpoint.radio.findByHint(this.#node.now(), hint)

  constructor(host: SimTcpHost, node: SimNode, radio: TimedRadio, mode: PowerMode, limits: Partial<BleRadioLimits> = {}) {
    this.#node = node
    this.radio = radio
    this.driver = new BleDriver({
      ...host,
      nearby: (peer, address) => { node.act((endpoint, now) => { endpoint.handleNearby(now, peer, address) }) },
      adapter: () => undefined,
    }, { backend: () => this.#backend(), mode, radioLimits: { ...bleRadioLimits, ...limits }, system: this.#system() })
  }

  open(): void {
    this.driver.start().catch((error: unknown) => { throw error })
    this.#keep()
  }

  stop(): void {
    this.#stopped = true
    this.radio.stop()
  }

  setAsleep(asleep: boolean): void {
    this.#asleep = asleep
    if (!asleep) for (const missed of this.#missed.splice(0)) missed()
  }

  /** A presence key is another one, or somebody joined: looked at once per turn. */
  presenceChanged(): void {
    if (this.#refreshDue) return
    this.#refreshDue = true
    this.#later(0, () => { this.#refresh() })
  }

  dial(address: Uint8Array, token: number): void {
    if (this.driver.dial(address, token) !== 'dialing') this.#node.act((endpoint, now) => { endpoint.handleDialFailed(now, token, 'no_resources') })
  }

  cancelDial(token: number): void {
    this.driver.cancelDial(token)
  }

  confirm(link: LinkId): void {
    this.driver.confirm(link)
  }

  closeLink(link: LinkId): void {
    this.driver.closeLink(link)
  }

  send(batch: TransmitBatch, done: () => void): number {
    return this.driver.send(batch, done)
  }

  /** What the pipe brings waits for a process that sleeps. */
  #backend(): BleBackend {
    const { radio } = this
    return {
      name: radio.name,
      command: (command) => { radio.command(command) },
      onEvent: (handler) => { radio.onEvent((event) => { this.#run(() => { handler(event) }) }) },
      close: () => radio.close(),
    }
  }

  #run(act: () => void): void {
    if (this.#stopped) return
    if (this.#asleep) this.#missed.push(act)
    else act()
  }

  #keep(): void {
    this.#refresh()
    this.#later(PRESENCE_TIME, () => { this.#keep() })
  }

  #refresh(): void {
    this.#refreshDue = false
    this.driver.setHint(this.#node.act((endpoint, now) => endpoint.radio.hint(now)))
    this.driver.setFriends(this.#find)
  }

  #system(): BleSystem {
    const { scheduler, random } = this.radio.air
    return {
      now: () => toInstant(scheduler.now),
      setTimeout: (run, milliseconds) => this.#later(milliseconds * 1000, run),
      clearTimeout: (task) => { if (task !== undefined) scheduler.cancel(task as Task) },
      soon: (run) => { this.#later(0, run) },
      random: () => random.unit(),
    }
  }

  /** A process that sleeps runs what was due when it wakes. */
  #later(delay: number, run: () => void): Task {
    const { scheduler } = this.radio.air
    return scheduler.at(scheduler.now + delay, () => { this.#run(run) })
  }
}
