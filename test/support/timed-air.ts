import type { SeededRandom } from '../../src/sim/random.ts'
import type { Scheduler } from '../../src/sim/scheduler.ts'
import { VALUE_SIZE_MAX, VALUES_UNSENT_MAX, type AdapterState, type BackendCommand, type BackendEvent, type BleBackend, type Pace } from '../../src/net/ble/backend.ts'

const MILLISECOND = 1000
const MINUTE = 60_000_000
/** What the backend `hci` asks of a controller: time between advertisements, and the share of time in which it listens. */
const ADVERTISING: Readonly<Record<Pace, number>> = { fast: 100 * MILLISECOND, slow: 1000 * MILLISECOND }
/** Microseconds out of so many in which the receiver is on. */
const LISTENING: Readonly<Record<Pace, { readonly window: number; readonly period: number }>> = {
  fast: { window: 50 * MILLISECOND, period: 100 * MILLISECOND },
  slow: { window: 512 * MILLISECOND, period: 5120 * MILLISECOND },
}
/** Core, vol 6 part B §4.4.2.2: a random time is added to each. */
const ADVERTISING_JITTER = 10 * MILLISECOND
/** Service, characteristics, MTU and subscription: exchanges at one connection event each. */
const SETUP_EVENTS = 12
/** Resolvable private addresses change with the hint, and after this. */
const ADDRESS_LIFE = 15 * MINUTE
/** Opcode, handle and the header of L2CAP, which are carried with each value. */
const VALUE_OVERHEAD = 7

/** What the air is like. Times in microseconds. */
export interface TimedConditions {
  readonly interval: number
  /** Bytes per microsecond, each way, at the connection events. */
  readonly rate: number
  readonly mtu: number
  /** Without a connection event for so long, both sides find the link gone. */
  readonly supervision: number
  /** Share of advertisements that are not heard, and of connection events in which nothing gets through. */
  readonly loss: number
}

/** A phone-like link: 15 ms, 400 kbit/s, data length extension. */
export const phoneAir: TimedConditions = { interval: 15 * MILLISECOND, rate: 0.05, mtu: 247, supervision: 4000 * MILLISECOND, loss: 0.02 }

/**
 * Radios in virtual time, at the level of the contract of backends: advertisements at the pace that was asked for, windows in which they are heard, dials
 * one at a time, values at connection events, supervision timeouts, addresses that change. A user who breaks the contract fails the test.
 */
export class TimedAir {
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly radios: TimedRadio[] = []
  conditions: TimedConditions
  /** Of two radios, by their numbers. After a change {@link moved} is to be called. */
  reaches: (a: TimedRadio, b: TimedRadio) => boolean = () => true
  #addresses = 0

  constructor(scheduler: Scheduler, random: SeededRandom, conditions: TimedConditions = phoneAir) {
    this.scheduler = scheduler
    this.random = random
    this.conditions = conditions
  }

  add(): TimedRadio {
    const radio = new TimedRadio(this, this.radios.length)
    this.radios.push(radio)
    return radio
  }

  hears(a: TimedRadio, b: TimedRadio): boolean {
    return a !== b && a.state === 'on' && b.state === 'on' && this.reaches(a, b)
  }

  /** Somebody came or went: links of those that no longer hear each other end after a while. */
  moved(): void {
    for (const radio of this.radios) for (const end of radio.ends.values()) end.link.check()
  }

  nextAddress(): string {
    const number = ++this.#addresses
    return `4${(number >>> 20 & 15).toString(16)}:${[16, 12, 8, 4, 0].map((shift) => (number >>> shift & 255).toString(16).padStart(2, '0')).join(':')}`
  }
}

/** What one side gave to its controller, and the other has not got. */
interface End {
  readonly link: TimedLink
  readonly radio: TimedRadio
  readonly number: number
  readonly waiting: { readonly value: Uint8Array; left: number }[]
  unsent: number
}

class TimedLink {
  readonly #air: TimedAir
  readonly ends: readonly [End, End]
  readonly #openedAt: number
  #armed = false
  #lostAt: number | undefined
  open = true

  constructor(air: TimedAir, central: TimedRadio, peripheral: TimedRadio) {
    this.#air = air
    this.#openedAt = air.scheduler.now
    const end = (radio: TimedRadio): End => ({ link: this, radio, number: radio.nextLink(), waiting: [], unsent: 0 })
    this.ends = [end(central), end(peripheral)]
    for (const each of this.ends) each.radio.ends.set(each.number, each)
  }

  other(end: End): End {
    return end === this.ends[0] ? this.ends[1] : this.ends[0]
  }

  get #reachable(): boolean {
    return this.#air.hears(this.ends[0].radio, this.ends[1].radio)
  }

  /** At the next connection event something moves. */
  arm(): void {
    if (this.#armed || !this.open) return
    this.#armed = true
    const { scheduler, conditions } = this.#air
    const next = this.#openedAt + (Math.floor((scheduler.now - this.#openedAt) / conditions.interval) + 1) * conditions.interval
    scheduler.at(next, () => { this.#event() })
  }

  #event(): void {
    this.#armed = false
    if (!this.open) return
    const { conditions, random } = this.#air
    if (!this.#reachable) return this.check()
    if (!random.chance(conditions.loss)) for (const end of this.ends) this.#move(end, conditions.interval * conditions.rate)
    if (this.ends.some(({ waiting }) => waiting.length > 0)) this.arm()
  }

  #move(end: End, room: number): void {
    let left = room
    let count = 0
    const other = this.other(end)
    while (left > 0 && end.waiting.length > 0) {
      const first = end.waiting[0]!
      const part = Math.min(left, first.left)
      left -= part
      first.left -= part
      if (first.left > 0) break
      end.waiting.shift()
      end.unsent--
      count++
      other.radio.say({ kind: 'received', link: other.number, value: first.value })
    }
    if (count > 0) end.radio.say({ kind: 'sent', link: end.number, count })
  }

  /** Whether the two still hear each other; if not, the link is over when the supervision timeout has passed. */
  check(): void {
    if (!this.open) return
    if (this.#reachable) {
      if (this.#lostAt !== undefined) this.arm()
      this.#lostAt = undefined
      return
    }
    if (this.#lostAt !== undefined) return
    const lostAt = this.#lostAt = this.#air.scheduler.now
    this.#air.scheduler.at(lostAt + this.#air.conditions.supervision, () => {
      if (this.#lostAt === lostAt) this.#end('connection timeout', 'connection timeout', undefined)
    })
  }

  /** By one side's wish: the other hears of it at the next event, or finds it out. */
  close(end: End): void {
    if (!this.open) return
    const { scheduler, conditions } = this.#air
    if (this.#reachable) return this.#end('disconnected here', 'disconnected there', end)
    this.open = false
    this.#forget(end, 'disconnected here')
    const other = this.other(end)
    scheduler.at(scheduler.now + conditions.supervision, () => { this.#forget(other, 'connection timeout') })
  }

  #end(here: string, there: string, by: End | undefined): void {
    this.open = false
    for (const end of this.ends) this.#forget(end, by === end ? here : there)
  }

  #forget(end: End, reason: string): void {
    if (end.radio.ends.delete(end.number)) end.radio.say({ kind: 'closed', link: end.number, reason })
  }
}

export class TimedRadio implements BleBackend {
  readonly name = 'virtual' as const
  readonly air: TimedAir
  readonly index: number
  readonly ends: Map<number, End> = new Map()
  address: string
  state: AdapterState = 'on'
  /** Links that were ever open here, and that ended. */
  opened = 0
  #handler: ((event: BackendEvent) => void) | undefined
  #links = 0
  #advertising: Extract<BackendCommand, { kind: 'advertise' }> | undefined
  #scanning: { readonly pace: Pace; readonly since: number } | undefined
  #connecting: { readonly address: string; readonly until: number } | undefined
  #addressAt = 0
  /** Of the advertiser that runs now: earlier ones find another. */
  #beacon = 0

  constructor(air: TimedAir, index: number) {
    this.air = air
    this.index = index
    this.address = air.nextAddress()
  }

  nextLink(): number {
    return ++this.#links
  }

  get advertising(): boolean {
    return this.#advertising?.on === true
  }

  get pace(): Pace {
    return this.#advertising?.pace ?? 'slow'
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#handler = handler
    this.say({ kind: 'adapter', state: this.state, detail: '' })
  }

  /** Later, as from a pipe. */
  say(event: BackendEvent): void {
    this.air.scheduler.at(this.air.scheduler.now, () => { this.#handler?.(event) })
  }

  command(command: BackendCommand): void {
    if (this.state !== 'on') return
    switch (command.kind) {
      case 'advertise': return this.#advertise(command)
      case 'scan':
        this.#scanning = command.on ? { pace: command.pace, since: this.air.scheduler.now } : undefined
        return
      case 'connect':
        if (this.#connecting !== undefined) throw new Error('a controller dials one at a time')
        this.#connecting = { address: command.address, until: this.air.scheduler.now + command.timeoutMs * MILLISECOND }
        return this.#dial()
      case 'disconnect': {
        const end = this.ends.get(command.link)
        end?.link.close(end)
        return
      }
      case 'send': return this.#send(command.link, command.value)
      case 'stop': throw new Error('stop is for processes')
      default: command satisfies never
    }
  }

  close(): Promise<void> {
    this.stop()
    return Promise.resolve()
  }

  /** As SIGKILL. */
  stop(): void {
    this.setState('absent')
    this.#handler = undefined
  }

  /** Without an adapter there are no links: others find that out when the supervision timeout has passed. */
  setState(state: AdapterState): void {
    this.state = state
    if (state !== 'on') {
      this.#advertising = undefined
      this.#scanning = undefined
      this.#connecting = undefined
      this.#beacon++
      for (const end of [...this.ends.values()]) end.link.close(end)
    }
    this.say({ kind: 'adapter', state, detail: '' })
  }

  #advertise(command: Extract<BackendCommand, { kind: 'advertise' }>): void {
    if (command.hint?.join() !== this.#advertising?.hint?.join()) this.#changeAddress()
    this.#advertising = command
    const beacon = ++this.#beacon
    if (command.on) this.#next(beacon, ADVERTISING[command.pace])
  }

  #changeAddress(): void {
    this.#addressAt = this.air.scheduler.now
    this.address = this.air.nextAddress()
  }

  #next(beacon: number, interval: number): void {
    const { scheduler, random } = this.air
    scheduler.at(scheduler.now + interval + random.unit() * ADVERTISING_JITTER, () => {
      if (beacon !== this.#beacon) return
      if (scheduler.now - this.#addressAt > ADDRESS_LIFE) this.#changeAddress()
      for (const other of this.air.radios) if (other.#listens && this.air.hears(this, other) && !random.chance(this.air.conditions.loss)) this.#show(other)
      this.#next(beacon, interval)
    })
  }

  #show(other: TimedRadio): void {
    other.say({ kind: 'seen', address: this.address, rssi: -50 - ((this.index * 7 + other.index * 7) % 40), hint: this.#advertising?.hint })
  }

  /** Whether the receiver is on now, and hears an advertisement. */
  get #listens(): boolean {
    if (this.#scanning === undefined || this.state !== 'on') return false
    const { window, period } = LISTENING[this.#scanning.pace]
    return (this.air.scheduler.now - this.#scanning.since) % period < window
  }

  /** A controller that dials hears the next advertisement of the one it waits for. */
  #dial(): void {
    const dial = this.#connecting
    if (dial === undefined) return
    const { scheduler, random, conditions } = this.air
    const other = this.air.radios.find(({ address }) => address === dial.address)
    const pace = other?.pace ?? 'slow'
    const at = Math.min(dial.until, scheduler.now + random.unit() * ADVERTISING[pace])
    scheduler.at(at, () => {
      if (this.#connecting !== dial) return
      if (other?.advertising === true && other.address === dial.address && this.air.hears(this, other) && !random.chance(conditions.loss)) this.#join(other)
      else if (scheduler.now < dial.until) return this.#dial()
      else this.say({ kind: 'connectFailed', address: dial.address, reason: 'nobody answered' })
      this.#connecting = undefined
    })
  }

  #join(other: TimedRadio): void {
    const { scheduler, conditions } = this.air
    const link = new TimedLink(this.air, this, other)
    const dialed = other.address
    const own = this.address
    scheduler.at(scheduler.now + SETUP_EVENTS * conditions.interval, () => {
      const [near, far] = link.ends
      if (!link.open) return this.say({ kind: 'connectFailed', address: dialed, reason: 'the link was lost before it was ready' })
      this.opened++
      other.opened++
      this.say({ kind: 'opened', link: near.number, role: 'central', address: dialed, mtu: conditions.mtu })
      other.say({ kind: 'opened', link: far.number, role: 'peripheral', address: own, mtu: conditions.mtu })
    })
  }

  #send(number: number, value: Uint8Array): void {
    const end = this.ends.get(number)
    if (value.length > Math.min(VALUE_SIZE_MAX, this.air.conditions.mtu - 3)) throw new Error(`a value of ${value.length} bytes does not fit`)
    if (end === undefined) return
    if (++end.unsent > VALUES_UNSENT_MAX) throw new Error('more values than the controller takes')
    end.waiting.push({ value: new Uint8Array(value), left: value.length + VALUE_OVERHEAD })
    end.link.arm()
  }
}
