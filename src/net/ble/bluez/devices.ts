import { HINT_SIZE, SERVICE_UUID } from '../backend.ts'
import { NO_COMPANY_ID } from '../../../core/wire/ble-advertisement.ts'
import type { Properties } from './bus.ts'

/** What is known of others. bluetoothd forgets those that are not heard for a while and says so; beyond this many, the one heard longest ago is forgotten here. */
const DEVICES_MAX = 1024

export interface Device {
  readonly path: string
  readonly address: string
  rssi: number
  hint: Uint8Array | undefined
  hasService: boolean
  isConnected: boolean
  isResolved: boolean
  /** Paired with this machine, or trusted by its person. */
  isKept: boolean
}

/** `/org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF` has the address in its name. */
export function addressOfPath(path: string): string | undefined {
  return /\/dev_([0-9A-F]{2}(?:_[0-9A-F]{2}){5})$/.exec(path)?.[1]?.replaceAll('_', ':').toLowerCase()
}

function variantIn(dictionary: unknown, key: string): unknown {
  return dictionary !== null && typeof dictionary === 'object' ? ((dictionary as Properties)[key] as { value?: unknown } | undefined)?.value : undefined
}

/** From the advertisement's manufacturer data, or from service data for those that can put it nowhere else. */
function hintOf(properties: Properties): Uint8Array | undefined {
  for (const bytes of [variantIn(properties['ManufacturerData']?.value, String(NO_COMPANY_ID)), variantIn(properties['ServiceData']?.value, SERVICE_UUID)]) {
    if (bytes instanceof Uint8Array && bytes.length === HINT_SIZE) return new Uint8Array(bytes)
  }
  return undefined
}

/** The devices of one adapter, as bluetoothd tells of them. */
export class BluezDevices {
  /** By path. BOUNDED by {@link DEVICES_MAX}. */
  readonly #devices = new Map<string, Device>()

  get(path: string): Device | undefined {
    return this.#devices.get(path)
  }

  find(address: string): Device | undefined {
    for (const device of this.#devices.values()) if (device.address === address) return device
    return undefined
  }

  get size(): number {
    return this.#devices.size
  }

  clear(): void {
    this.#devices.clear()
  }

  remove(path: string): Device | undefined {
    const device = this.#devices.get(path)
    this.#devices.delete(path)
    return device
  }

  /** Takes all or some properties of org.bluez.Device1. True when it was heard just now. */
  update(path: string, properties: Properties): { readonly device: Device; readonly isHeard: boolean } | undefined {
    const address = addressOfPath(path)
    if (address === undefined) return undefined
    const device = this.#devices.get(path) ?? { path, address, rssi: 127, hint: undefined, hasService: false, isConnected: false, isResolved: false, isKept: false }
    this.#devices.delete(path)
    this.#devices.set(path, device)
    if (this.#devices.size > DEVICES_MAX) this.#devices.delete(this.#devices.keys().next().value!)
    const { RSSI: rssi, UUIDs: uuids, Connected: connected, ServicesResolved: resolved } = properties
    if (typeof rssi?.value === 'number') device.rssi = rssi.value
    if (Array.isArray(uuids?.value)) device.hasService ||= uuids.value.includes(SERVICE_UUID)
    device.hint = hintOf(properties) ?? device.hint
    if (typeof connected?.value === 'boolean') device.isConnected = connected.value
    if (typeof resolved?.value === 'boolean') device.isResolved = resolved.value
    // bluetoothd 5.66 does not always say that a device is connected, only that its services are known.
    if (resolved?.value === true && connected?.value !== false) device.isConnected = true
    if (!device.isConnected) device.isResolved = false
    for (const name of ['Paired', 'Trusted']) if (properties[name]?.value === true) device.isKept = true
    return { device, isHeard: device.hasService && (rssi !== undefined || properties['ManufacturerData'] !== undefined) }
  }
}
