import type { AdapterState, BackendCommand, BackendEvent, BleBackend } from '../../src/net/ble/backend.ts'
import { HINT_SIZE, VALUE_SIZE_MAX, VALUES_UNSENT_MAX } from '../../src/net/ble/backend.ts'

interface AirLink {
  readonly number: number
  readonly node: TestRadio
  readonly other: TestRadio
  otherNumber: number
  /** Values that the controller holds. */
  readonly waiting: Uint8Array[]
  unsent: number
}

/**
 * Radios in one process, at the level of the contract of backends: values arrive one turn of the loop after they were sent. What a real controller does to
 * packets is not here; what any backend does to its user is, and a user who breaks the contract fails the test.
 */
export class TestAir {
  readonly radios: TestRadio[] = []
  #links = 0
  mtu = 185
  /** Whether two radios hear each other. */
  inRange: (a: TestRadio, b: TestRadio) => boolean = () => true

  add(address: string): TestRadio {
    const radio = new TestRadio(this, address)
    this.radios.push(radio)
    return radio
  }

  nextLink(): number {
    return ++this.#links
  }
}

export class TestRadio implements BleBackend {
  readonly name = 'virtual' as const
  readonly air: TestAir
  readonly address: string
  readonly commands: BackendCommand[] = []
  readonly links: Map<number, AirLink> = new Map<number, AirLink>()
  advertising: Extract<BackendCommand, { kind: 'advertise' }> | undefined
  scanning = false
  /** Takes values and says nothing of them. */
  stalled = false
  /** Dials are neither answered nor refused. */
  deaf = false
  state: AdapterState = 'on'
  closed = false
  #handler: ((event: BackendEvent) => void) | undefined
  #beacon: NodeJS.Timeout | undefined

  constructor(air: TestAir, address: string) {
    this.air = air
    this.address = address
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#handler = handler
    this.closed = false
    this.say({ kind: 'adapter', state: this.state, detail: '' })
    this.#beacon = setInterval(() => this.#advertise(), 20)
    this.#beacon.unref()
  }

  /** Later, as from a pipe. */
  say(event: BackendEvent): void {
    setImmediate(() => {
      if (!this.closed) this.#handler?.(event)
    })
  }

  command(command: BackendCommand): void {
    this.commands.push(command)
    if (this.state !== 'on') return
    switch (command.kind) {
      case 'advertise':
        if (command.hint !== undefined && command.hint.length !== HINT_SIZE) throw new Error('a hint has six bytes')
        this.advertising = command
        return this.#advertise()
      case 'scan':
        this.scanning = command.on
        return
      case 'connect': return this.#connect(command.address)
      case 'disconnect': return this.disconnect(command.link, 'disconnected here', 'disconnected there')
      case 'send': return this.#send(command.link, command.value)
      case 'stop': throw new Error('stop is for processes')
      default: command satisfies never
    }
  }

  close(): Promise<void> {
    this.#drop('closed')
    this.closed = true
    clearInterval(this.#beacon)
    return Promise.resolve()
  }

  setState(state: AdapterState, detail: string): void {
    this.state = state
    if (state !== 'on') this.#drop(detail)
    this.say({ kind: 'adapter', state, detail })
  }

  /** The controller is done with what waits. */
  release(): void {
    this.stalled = false
    for (const link of this.links.values()) for (const value of link.waiting.splice(0)) this.#pass(link, value)
  }

  disconnect(number: number, here: string, there: string): void {
    const link = this.links.get(number)
    if (link === undefined) return
    this.links.delete(number)
    link.other.links.delete(link.otherNumber)
    this.say({ kind: 'closed', link: number, reason: here })
    link.other.say({ kind: 'closed', link: link.otherNumber, reason: there })
  }

  /** All links are lost, and the driver hears of it now. */
  lose(): void {
    for (const { number, other, otherNumber } of [...this.links.values()]) {
      this.links.delete(number)
      other.links.delete(otherNumber)
      this.#handler?.({ kind: 'closed', link: number, reason: 'connection timeout' })
      other.say({ kind: 'closed', link: otherNumber, reason: 'connection timeout' })
    }
  }

  /** A link with a radio that has no driver: the test plays it. Returns the number that the driver here knows it by. */
  knock(address: string, mtu: number = this.air.mtu): number {
    const number = this.air.nextLink()
    this.say({ kind: 'opened', link: number, role: 'peripheral', address, mtu })
    return number
  }

  #drop(reason: string): void {
    for (const number of [...this.links.keys()]) this.disconnect(number, reason, 'connection timeout')
    this.advertising = undefined
    this.scanning = false
  }

  #advertise(): void {
    const { advertising } = this
    if (advertising?.on !== true) return
    for (const other of this.air.radios) {
      if (other !== this && other.scanning && this.air.inRange(this, other)) other.say({ kind: 'seen', address: this.address, rssi: -60, hint: advertising.hint })
    }
  }

  #connect(address: string): void {
    if (this.deaf) return
    const other = this.air.radios.find((radio) => radio.address === address && radio.advertising?.on === true && this.air.inRange(this, radio))
    if (other === undefined) return this.say({ kind: 'connectFailed', address, reason: 'nobody answered' })
    const [number, otherNumber] = [this.air.nextLink(), this.air.nextLink()]
    this.links.set(number, { number, node: this, other, otherNumber, waiting: [], unsent: 0 })
    other.links.set(otherNumber, { number: otherNumber, node: other, other: this, otherNumber: number, waiting: [], unsent: 0 })
    this.say({ kind: 'opened', link: number, role: 'central', address, mtu: this.air.mtu })
    other.say({ kind: 'opened', link: otherNumber, role: 'peripheral', address: this.address, mtu: this.air.mtu })
  }

  #send(number: number, value: Uint8Array): void {
    const link = this.links.get(number)
    if (value.length > Math.min(VALUE_SIZE_MAX, this.air.mtu - 3)) throw new Error(`a value of ${value.length} bytes does not fit`)
    if (link === undefined) return
    if (++link.unsent > VALUES_UNSENT_MAX) throw new Error('more values than the controller takes')
    if (this.stalled) link.waiting.push(value)
    else this.#pass(link, value)
  }

  #pass(link: AirLink, value: Uint8Array): void {
    const copy = new Uint8Array(value)
    setImmediate(() => {
      if (!this.links.has(link.number)) return
      link.unsent--
      this.#handler?.({ kind: 'sent', link: link.number, count: 1 })
      if (link.other.links.has(link.otherNumber)) link.other.#handler?.({ kind: 'received', link: link.otherNumber, value: copy })
    })
  }
}
