import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import type { BackendEvent } from '../../../../src/net/ble/backend.ts'
import { CoreBluetoothBackend } from '../../../../src/net/ble/corebluetooth/open.ts'
import type { CoreBleno, CoreCharacteristicOptions, CoreNoble } from '../../../../src/net/ble/corebluetooth/packages.ts'
import type { HciTime } from '../../../../src/net/ble/hci/transport.ts'

const require = createRequire(import.meta.url)
export const SERVICE = '705f00018c2a4d39a2f06a5f1b0c9e01'
export const RX = '705f00028c2a4d39a2f06a5f1b0c9e01'
export const TX = '705f00038c2a4d39a2f06a5f1b0c9e01'

/** What noble's native binding for macOS has as methods, and tells as events (lib/mac/src/noble_mac.mm, callbacks.cc); under it the real noble runs. */
export class NobleMac extends EventEmitter {
  readonly calls: string[] = []
  readonly written: Buffer[] = []
  services: string[] = [SERVICE]
  answersConnect = true
  init(): void {
    this.calls.push('init')
  }

  startScanning(uuids: readonly string[], duplicates: boolean): void {
    this.calls.push(`scan ${uuids.join()} ${String(duplicates)}`)
  }

  stopScanning(): void {
    this.calls.push('stop scan')
  }

  connect(id: string): void {
    this.calls.push(`connect ${id}`)
    if (this.answersConnect) queueMicrotask(() => this.emit('connect', id, ''))
  }

  disconnect(id: string): void {
    this.calls.push(`disconnect ${id}`)
  }

  discoverServices(id: string): void {
    queueMicrotask(() => this.emit('servicesDiscover', id, this.services))
  }

  discoverCharacteristics(id: string, service: string): void {
    queueMicrotask(() => this.emit('characteristicsDiscover', id, service, [{ uuid: RX, properties: ['write'] }, { uuid: TX, properties: ['notify'] }]))
  }

  notify(id: string, service: string, characteristic: string): void {
    queueMicrotask(() => this.emit('notify', id, service, characteristic, true))
  }

  write(_id: string, _service: string, _characteristic: string, value: Buffer, withoutResponse: boolean): void {
    if (withoutResponse) throw new Error('would be dropped in silence')
    this.written.push(value)
  }

  discovers(id: string, manufacturerData?: Buffer): void {
    this.emit('discover', id, '', 'unknown', true, { serviceUuids: [SERVICE], manufacturerData }, -60)
  }
}

/** bleno as it is seen from above on macOS: its JavaScript loads a binding that cannot be replaced. */
export class FakeBleno extends EventEmitter {
  readonly calls: string[] = []
  readonly characteristics: CoreCharacteristicOptions[] = []
  readonly notified: Buffer[] = []
  readonly Characteristic: unknown
  readonly PrimaryService: unknown = EventEmitter

  constructor() {
    super()
    const { characteristics } = this
    this.Characteristic = class extends EventEmitter {
      constructor(options: CoreCharacteristicOptions) {
        super()
        characteristics.push(options)
      }
    }
  }

  setServices(): void {
    this.calls.push('services')
  }

  startAdvertising(name: string, uuids: readonly string[]): void {
    this.calls.push(`advertise '${name}' ${uuids.join()}`)
  }

  stopAdvertising(): void {
    this.calls.push('stop')
  }

  subscribe(valueSizeMax: number): void {
    this.characteristics.at(-1)!.onSubscribe!(valueSizeMax, (value) => this.notified.push(value))
  }

  unsubscribe(): void {
    this.characteristics.at(-1)!.onUnsubscribe!()
  }

  /** What the writer is answered. */
  write(value: Uint8Array): number {
    let result = -1
    this.characteristics.at(-2)!.onWriteRequest!(Buffer.from(value), 0, false, (given) => (result = given))
    return result
  }
}

class Time implements HciTime {
  #now = 0
  #timers: { readonly at: number; readonly run: () => void }[] = []
  now(): number {
    return this.#now
  }

  after(milliseconds: number, run: () => void): () => void {
    const timer = { at: this.#now + milliseconds, run }
    this.#timers.push(timer)
    return () => (this.#timers = this.#timers.filter((each) => each !== timer))
  }

  pass(milliseconds: number): void {
    this.#now += milliseconds
    const due = this.#timers.filter(({ at }) => at <= this.#now)
    this.#timers = this.#timers.filter(({ at }) => at > this.#now)
    for (const { run } of due) run()
  }
}

/** A Mac without a radio: the test plays that. */
export class Mac {
  readonly binding: NobleMac = new NobleMac()
  readonly bleno: FakeBleno = new FakeBleno()
  readonly noble: CoreNoble
  readonly time: Time = new Time()
  readonly events: BackendEvent[] = []
  readonly backend: CoreBluetoothBackend
  #addresses = 0

  constructor() {
    this.noble = (require('@abandonware/noble/with-bindings') as (binding: unknown) => CoreNoble)(this.binding)
    this.backend = new CoreBluetoothBackend({ noble: this.noble, bleno: this.bleno as unknown as CoreBleno }, this.time, () => `central-${++this.#addresses}`)
    this.backend.onEvent((event) => this.events.push(event))
  }

  power(state: string): void {
    this.binding.emit('stateChange', state)
    this.bleno.emit('stateChange', state)
  }

  /** The events since the last call, when everything that is under way has come about. */
  async told(): Promise<BackendEvent[]> {
    await new Promise((resolve) => setImmediate(resolve))
    return this.events.splice(0)
  }
}
