/**
 * noble and bleno over their own bindings for macOS: as much of their interface as is used. Nothing here was run on a Mac; what is relied on was read in the
 * sources of noble 1.9.2-26 and bleno 0.6.2 (lib/mac/src). Both bindings have to be compiled by hand (docs/ble.md).
 */
import { createRequire } from 'node:module'
import { PackageError } from '../hci/packages.ts'

type Listen = (event: string, listener: (...values: never[]) => void) => unknown
type Table = Record<string, unknown>

export interface CoreCharacteristic {
  readonly uuid: string
  readonly on: Listen
  /** Called once, at the next answer to any write of this characteristic: so there is one at a time. */
  write(value: Buffer, withoutResponse: boolean, done: () => void): void
  subscribe(done: (error: Error | null | undefined) => void): void
}

export interface CoreService {
  readonly uuid: string
  discoverCharacteristics(uuids: readonly string[], done: (error: unknown, found: readonly CoreCharacteristic[]) => void): void
}

export interface CorePeripheral {
  /** The name that this Mac has for the device: macOS tells no addresses. */
  readonly id: string
  readonly rssi: number
  readonly advertisement: { readonly manufacturerData?: Uint8Array | undefined }
  readonly once: Listen
  removeAllListeners(): unknown
  connect(parameters: object, done: (error: Error | string | null | undefined) => void): void
  /** Also ends a dial under way: the binding for macOS lacks `cancelConnect`, and noble's throws there. */
  disconnect(): void
  discoverServices(uuids: readonly string[], done: (error: unknown, found: readonly CoreService[]) => void): void
}

export interface CoreNoble {
  readonly on: Listen
  startScanning(uuids: readonly string[], allowDuplicates: boolean): void
  stopScanning(): void
  _peripherals: Table
  _services: Table
  _characteristics: Table
  _descriptors: Table
  _discoveredPeripheralUUids: Table
}

export interface CoreCharacteristicOptions {
  readonly uuid: string
  readonly properties: readonly string[]
  onWriteRequest?(value: Buffer, offset: number, withoutResponse: boolean, done: (result: number) => void): void
  onSubscribe?(valueSizeMax: number, update: (value: Buffer) => void): void
  onUnsubscribe?(): void
}

export interface CoreBleno {
  readonly on: Listen
  readonly Characteristic: new (options: CoreCharacteristicOptions) => object
  readonly PrimaryService: new (options: { readonly uuid: string; readonly characteristics: readonly object[] }) => object
  setServices(services: readonly object[], done: (error: Error | null | undefined) => void): void
  startAdvertising(name: string, serviceUuids: readonly string[]): void
  stopAdvertising(): void
}

export interface CorePackages {
  readonly noble: CoreNoble
  readonly bleno: CoreBleno
}

/** What a package needs to be usable here. */
const needed = { '@abandonware/noble': ['on', 'startScanning', 'stopScanning'], '@abandonware/bleno': ['on', 'setServices', 'startAdvertising'] } as const

/** Loads one of them, or says how it is made to work. */
export function loadCorePackage(name: keyof typeof needed, load: (name: string) => unknown): Table {
  let loaded: unknown
  try {
    loaded = load(name)
  } catch (error) {
    const text = error instanceof Error ? error.message.split('\n', 1)[0]! : String(error)
    if (text.includes(`'${name}'`)) throw new PackageError(`the package ${name} is not installed; it is optional, and \`npm install\` without \`--omit=optional\` brings it`)
    throw new PackageError(`the package ${name} cannot be loaded (${text}); on macOS its binding has to be compiled: \`npx node-gyp rebuild\` in node_modules/${name}`)
  }
  const table = loaded as Table
  if (!needed[name].every((each) => typeof table[each] === 'function')) throw new PackageError(`${name} is not the version this was written for`)
  return table
}

export function loadCorePackages(platform: NodeJS.Platform = process.platform, load: (name: string) => unknown = createRequire(import.meta.url)): CorePackages {
  if (platform !== 'darwin') throw new PackageError('the backend corebluetooth is for macOS; Linux has bluez and hci')
  return { noble: loadCorePackage('@abandonware/noble', load) as unknown as CoreNoble, bleno: loadCorePackage('@abandonware/bleno', load) as unknown as CoreBleno }
}

/** noble keeps each device that it has heard for ever. */
export function forgetDevice(noble: CoreNoble, id: string): void {
  for (const table of [noble._peripherals, noble._services, noble._characteristics, noble._descriptors, noble._discoveredPeripheralUUids]) Reflect.deleteProperty(table, id)
}
