/**
 * The two packages that know GATT: noble for links that we dialed, bleno for links that dialed us. They are written for a controller of their own each; here
 * they get a socket of ours instead ({@link PackageSocket}), behind which the multiplexer plays the controller. What they are known to do wrong is mended
 * where it is loaded or kept from them by the multiplexer:
 *
 * - without a Bluetooth socket in the kernel, `require` of them throws: the module with the socket is replaced before they look for it, so nothing native loads;
 * - bleno serves one link: each of several slots is a copy of its own, loaded with the cache of modules emptied;
 * - noble asks for an MTU of 256: it asks for 517;
 * - bleno tells everybody the name of this machine as the device name: it tells a word that is the same everywhere;
 * - both queue data without bounds and think that all buffers of the controller are theirs, and noble's queue throws when its link has gone meanwhile: frames
 *   go from their GATT straight to the multiplexer, which has both in one hand;
 * - noble keeps every address it has heard: it hears only those that are dialed, and forgets them with the link.
 */
import { EventEmitter } from 'node:events'
import { createRequire, Module } from 'node:module'
import { sep } from 'node:path'
import { MTU_MAX } from '../backend.ts'

const require = createRequire(import.meta.url)
const SOCKET_MODULE = '@abandonware/bluetooth-hci-socket'
const NOBLE = '@abandonware/noble'
const BLENO = '@abandonware/bleno'
const NOBLE_GATT = '@abandonware/noble/lib/hci-socket/gatt'
/** The GAP device name, which anybody who connects may read. */
const DEVICE_NAME = 'postern'

/** What stands in for the socket of the packages: events and answers in with `data`, commands out with `write`. */
export class PackageSocket extends EventEmitter {
  onWrite: (packet: Uint8Array) => void = () => undefined

  isDevUp(): boolean {
    return true
  }

  bindRaw(device?: number): number {
    return device ?? 0
  }

  bindUser(device?: number): number {
    return device ?? 0
  }

  bindControl(): number {
    return 0
  }

  setFilter(): void {
    // Everything that comes is meant for the package.
  }

  start(): void {
    // It is always started.
  }

  stop(): void {
    // It ends with the process.
  }

  write(packet: Uint8Array): void {
    this.onWrite(packet)
  }
}

type Listen = (event: string, listener: (...values: never[]) => void) => unknown
type FrameWriter = (handle: number, channel: number, payload: Uint8Array) => void

interface PackageHci {
  emit(event: 'aclDataPkt', handle: number, channel: number, payload: Buffer): unknown
}

export interface NobleCharacteristic {
  readonly uuid: string
  readonly on: Listen
  write(value: Buffer, withoutResponse: boolean): void
  subscribe(done: (error: Error | null | undefined) => void): void
}

export interface NobleService {
  readonly uuid: string
  discoverCharacteristics(uuids: readonly string[], done: (error: unknown, found: readonly NobleCharacteristic[]) => void): void
}

export interface NoblePeripheral {
  readonly id: string
  readonly address: string
  readonly mtu: number | null
  readonly state: string
  readonly once: Listen
  removeAllListeners(): unknown
  connect(parameters: object, done: (error: Error | null | undefined) => void): void
  cancelConnect(): void
  discoverServices(uuids: readonly string[], done: (error: unknown, found: readonly NobleService[]) => void): void
}

type Table = Record<string, unknown>

export interface Noble {
  readonly on: Listen
  startScanning(uuids: readonly string[], allowDuplicates: boolean): void
  _peripherals: Table
  _services: Table
  _characteristics: Table
  _descriptors: Table
  _discoveredPeripheralUUids: Table
  readonly _bindings: {
    readonly _hci: PackageHci & { writeAclDataPkt: FrameWriter }
    readonly _gap: { readonly _discoveries: Table }
    readonly _addresses: Table
    readonly _addresseTypes: Table
    readonly _connectable: Table
    readonly scannable: Table
  }
}

interface BlenoCharacteristicOptions {
  readonly uuid: string
  readonly properties: readonly string[]
  onWriteRequest?(value: Buffer, offset: number, withoutResponse: boolean, done: (result: number) => void): void
  onSubscribe?(valueSizeMax: number, update: (value: Buffer) => void): void
  onUnsubscribe?(): void
}

export interface Bleno {
  readonly on: Listen
  readonly Characteristic: new (options: BlenoCharacteristicOptions) => object
  readonly PrimaryService: new (options: { readonly uuid: string; readonly characteristics: readonly object[] }) => object
  setServices(services: readonly object[], done: (error: Error | null | undefined) => void): void
  readonly _bindings: {
    readonly _hci: PackageHci & { queueAclDataPkt: FrameWriter }
    readonly _gatt: { maxMtu: number }
  }
}

export interface Loaded<Package> {
  readonly package: Package
  readonly socket: PackageSocket
}

/** A package is not installed, or is not the one this was written for. */
export class PackageError extends Error {
  readonly code = 'unsupported'
}

/** Loads a copy of a package whose socket is ours. */
function loadCopy(name: string): { readonly exports: unknown; readonly socket: PackageSocket } {
  const sockets: PackageSocket[] = []
  try {
    const file = require.resolve(SOCKET_MODULE)
    for (const key of Object.keys(require.cache)) if (key.includes(`${sep}@abandonware${sep}`)) Reflect.deleteProperty(require.cache, key)
    const stand = new Module(file)
    stand.filename = file
    stand.loaded = true
    stand.exports = class extends PackageSocket {
      constructor() {
        super()
        sockets.push(this)
      }
    }
    require.cache[file] = stand
    const exports: unknown = require(name)
    // bleno makes a socket for the kernel's management first; what it says there is for nobody.
    const socket = sockets.at(-1)
    if (socket === undefined) throw new PackageError(`${name} did not ask for a socket`)
    return { exports, socket }
  } catch (error) {
    if (error instanceof PackageError) throw error
    const code = (error as { code?: unknown }).code
    if (code === 'MODULE_NOT_FOUND') throw new PackageError(`the package ${name} is not installed; it is optional, and \`npm install\` without \`--omit=optional\` brings it`)
    throw new PackageError(`the package ${name} cannot be loaded: ${String(error)}`)
  }
}

function isObject(value: unknown, ...functions: readonly string[]): value is Table {
  return typeof value === 'object' && value !== null && functions.every((name) => typeof (value as Table)[name] === 'function')
}

/** Set before the packages read them. On the user channel they ask nobody whether the adapter is up, and noble answers requests for other intervals. */
function setEnvironment(): void {
  process.env['HCI_CHANNEL_USER'] = '1'
  process.env['BLENO_DEVICE_NAME'] = DEVICE_NAME
  delete process.env['NOBLE_MULTI_ROLE']
}

export function loadNoble(): Loaded<Noble> {
  setEnvironment()
  const { exports, socket } = loadCopy(NOBLE)
  const bindings = isObject(exports, 'startScanning', 'on') ? exports['_bindings'] : undefined
  if (!isObject(bindings) || !isObject(bindings['_hci'], 'writeAclDataPkt', 'emit') || !isObject(bindings['_gap'])) throw new PackageError(`${NOBLE} is not the version this was written for`)
  const gatt = require(NOBLE_GATT) as { prototype: { exchangeMtu: (this: { _desired_mtu: number }) => void } }
  const { exchangeMtu } = gatt.prototype
  gatt.prototype.exchangeMtu = function () {
    this._desired_mtu = MTU_MAX
    exchangeMtu.call(this)
  }
  return { package: exports as Noble, socket }
}

export function loadBleno(): Loaded<Bleno> {
  setEnvironment()
  const { exports, socket } = loadCopy(BLENO)
  const bindings = isObject(exports, 'setServices', 'on') ? exports['_bindings'] : undefined
  if (!isObject(bindings) || !isObject(bindings['_hci'], 'queueAclDataPkt', 'emit') || !isObject(bindings['_gatt'])) throw new PackageError(`${BLENO} is not the version this was written for`)
  const bleno = exports as Bleno
  bleno._bindings._gatt.maxMtu = MTU_MAX
  return { package: bleno, socket }
}

/** noble forgets a peripheral: what it keeps of one that was discovered or connected. */
export function forgetPeripheral(noble: Noble, id: string, address: string): void {
  const { _bindings: bindings } = noble
  for (const table of [noble._peripherals, noble._services, noble._characteristics, noble._descriptors, noble._discoveredPeripheralUUids]) Reflect.deleteProperty(table, id)
  for (const table of [bindings._addresses, bindings._addresseTypes, bindings._connectable, bindings.scannable]) Reflect.deleteProperty(table, id)
  Reflect.deleteProperty(bindings._gap._discoveries, address)
}
