import { randomBytes } from 'node:crypto'
import type { AdapterState, BackendCommand, BackendEvent, BackendOptions, BleBackend } from '../backend.ts'
import { EventQueue } from '../hci/event-queue.ts'
import { LinkTable } from '../hci/link-table.ts'
import { hciTime, type HciTime } from '../hci/transport.ts'
import { CoreCentral } from './central.ts'
import { loadCorePackages, type CorePackages } from './packages.ts'
import { CorePeripheralRole } from './peripheral.ts'

/** What CoreBluetooth calls the states of its managers. */
const states: Readonly<Record<string, readonly [AdapterState, string]>> = {
  poweredOn: ['on', 'CoreBluetooth'],
  poweredOff: ['off', 'Bluetooth is switched off in the settings'],
  unauthorized: ['no_permission', 'macOS does not let this program use Bluetooth: System Settings, Privacy & Security, Bluetooth'],
  unsupported: ['absent', 'this Mac has no Bluetooth Low Energy'],
  resetting: ['resetting', 'CoreBluetooth starts again'],
}
const UNKNOWN = ['resetting', 'CoreBluetooth has not said yet how the adapter is'] as const

/**
 * `corebluetooth`: noble and bleno over their own bindings for macOS. **Not run on hardware**: written after the sources of the packages and tested with what
 * plays them (test/net/ble/corebluetooth). How often the radio listens and shows itself is the system's affair, so a pace changes nothing.
 */
export class CoreBluetoothBackend implements BleBackend {
  readonly name = 'corebluetooth'
  readonly #events = new EventQueue()
  readonly #central: CoreCentral
  readonly #peripheral: CorePeripheralRole
  readonly #links: LinkTable
  #state: AdapterState | undefined
  #isServing = false
  #isAdvertised = false
  #isScanning = false
  #wantsAdvertising = false
  #wantsScan = false

  constructor({ noble, bleno }: CorePackages, time: HciTime, newAddress: () => string) {
    const tell = (event: BackendEvent): void => this.#events.tell(event)
    this.#links = new LinkTable(tell)
    this.#central = new CoreCentral(noble, this.#links, tell, time)
    this.#peripheral = new CorePeripheralRole(bleno, this.#links, tell, time, newAddress)
    this.#setState(...UNKNOWN)
    bleno.on('stateChange', (state: string) => this.#setServing(state === 'poweredOn'))
    noble.on('stateChange', (state: string) => this.#setState(...(states[state] ?? UNKNOWN)))
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#events.setHandler(handler)
  }

  command(command: BackendCommand): void {
    this.#events.inside(() => this.#run(command))
  }

  close(): Promise<void> {
    this.#wantsAdvertising = this.#wantsScan = false
    this.#apply()
    this.#endAll('closed here')
    return Promise.resolve()
  }

  #run(command: BackendCommand): void {
    switch (command.kind) {
      case 'advertise':
        this.#wantsAdvertising = command.on
        this.#apply()
        return
      case 'scan':
        this.#wantsScan = command.on
        this.#apply()
        return
      case 'connect':
        if (this.#state === 'on') this.#central.connect(command.address, command.timeoutMs)
        else this.#events.tell({ kind: 'connectFailed', address: command.address, reason: 'the adapter does not work' })
        return
      case 'disconnect':
        this.#links.disconnect(command.link)
        return
      case 'send':
        this.#links.send(command.link, command.value)
        return
      case 'stop':
        void this.close()
        return
      default:
        command satisfies never
    }
  }

  #setState(state: AdapterState, detail: string): void {
    if (state === this.#state) return
    this.#state = state
    if (state !== 'on') {
      this.#isScanning = false
      this.#endAll('the adapter has gone')
    }
    this.#events.tell({ kind: 'adapter', state, detail })
    this.#apply()
  }

  /** bleno has a manager of its own, which is on a little earlier or later than noble's. */
  #setServing(isOn: boolean): void {
    if (isOn === this.#isServing) return
    this.#isServing = isOn
    this.#isAdvertised = false
    if (isOn) this.#peripheral.serve()
    else this.#peripheral.end('the adapter has gone')
    this.#apply()
  }

  #apply(): void {
    if (this.#isServing && this.#wantsAdvertising !== this.#isAdvertised) {
      this.#isAdvertised = this.#wantsAdvertising
      this.#peripheral.advertise(this.#isAdvertised)
    }
    if (this.#state === 'on' && this.#wantsScan !== this.#isScanning) {
      this.#isScanning = this.#wantsScan
      this.#central.scan(this.#isScanning)
    }
  }

  #endAll(reason: string): void {
    this.#central.endAll(reason)
    this.#peripheral.end(reason)
  }
}

/** Those who dial us have no name here: each link gets one. */
const newAddress = (): string => `central-${randomBytes(8).toString('hex')}`

export function openBackend(_options: BackendOptions): Promise<BleBackend> {
  return new Promise((resolve) => resolve(new CoreBluetoothBackend(loadCorePackages(), hciTime, newAddress)))
}
