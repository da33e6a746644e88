import { RX_UUID, SERVICE_UUID, TX_UUID } from '../backend.ts'
import { NO_COMPANY_ID } from '../../../core/wire/ble-advertisement.ts'
import type { BusMessage, Properties, Reply, SystemBus, Variant } from './bus.ts'

const ROOT = '/postern'
const SERVICE = `${ROOT}/service`
const RX = `${SERVICE}/rx`
const TX = `${SERVICE}/tx`
const ADVERTISEMENT = `${ROOT}/advertisement`
const PROPERTIES = 'org.freedesktop.DBus.Properties'
const CHARACTERISTIC = 'org.bluez.GattCharacteristic1'
const OK: Reply = { signature: '', body: [] }

/** What the objects need of the bus. */
export type ServingBus = Pick<SystemBus, 'variant' | 'serve' | 'signal'>

export const applicationPath: string = ROOT
export const advertisementPath: string = ADVERTISEMENT

/** What bluetoothd tells of who uses the service. */
export interface ServiceHandler {
  /** `device` is the path of the one who wrote. False: it is nobody we have room for. */
  written(device: string, value: Uint8Array, mtu: number | undefined): boolean
  unsubscribed(): void
}

/** The objects on the bus that bluetoothd makes a GATT service and an advertisement of (org.bluez.GattManager, org.bluez.LEAdvertisingManager). */
export class BluezApplication {
  readonly #bus: ServingBus
  readonly #handler: ServiceHandler
  readonly #objects: ReadonlyMap<string, Readonly<Record<string, () => Properties>>>
  #hint: Uint8Array | undefined
  #intervalMs: number | undefined
  isNotifying = false

  constructor(bus: ServingBus, handler: ServiceHandler) {
    this.#bus = bus
    this.#handler = handler
    const v = (signature: string, value: unknown): Variant => bus.variant(signature, value)
    const characteristic = (uuid: string, flags: readonly string[]): Properties => ({ UUID: v('s', uuid), Service: v('o', SERVICE), Flags: v('as', flags) })
    this.#objects = new Map<string, Readonly<Record<string, () => Properties>>>([
      [SERVICE, { 'org.bluez.GattService1': () => ({ UUID: v('s', SERVICE_UUID), Primary: v('b', true) }) }],
      [RX, { [CHARACTERISTIC]: () => characteristic(RX_UUID, ['write', 'write-without-response']) }],
      [TX, { [CHARACTERISTIC]: () => characteristic(TX_UUID, ['notify']) }],
      [ADVERTISEMENT, { 'org.bluez.LEAdvertisement1': () => this.#advertisement() }],
    ])
    bus.serve((message) => this.#answer(message))
  }

  setHint(hint: Uint8Array | undefined): void {
    this.#hint = hint
  }

  /** How often it is to be shown; `undefined`: as often as bluetoothd likes. Those before 5.56 do not look at it. */
  setInterval(milliseconds: number | undefined): void {
    this.#intervalMs = milliseconds
  }

  /** To everybody who has subscribed: bluetoothd does not let one choose. */
  notify(value: Uint8Array): void {
    this.#bus.signal(TX, PROPERTIES, 'PropertiesChanged', 'sa{sv}as', [CHARACTERISTIC, { Value: this.#bus.variant('ay', Buffer.from(value)) }, []])
  }

  /** Nothing but the service and the hint: no name, and bluetoothd adds the flags only. */
  #advertisement(): Properties {
    const v = (signature: string, value: unknown): Variant => this.#bus.variant(signature, value)
    const interval = this.#intervalMs === undefined ? {} : { MinInterval: v('u', this.#intervalMs), MaxInterval: v('u', this.#intervalMs) }
    const data = { Type: v('s', 'peripheral'), ServiceUUIDs: v('as', [SERVICE_UUID]), Discoverable: v('b', true), ...interval }
    return this.#hint === undefined ? data : { ...data, ManufacturerData: v('a{qv}', { [NO_COMPANY_ID]: v('ay', Buffer.from(this.#hint)) }) }
  }

  #answer(message: BusMessage): Reply | undefined {
    if (message.path === ROOT && message.member === 'GetManagedObjects') return { signature: 'a{oa{sa{sv}}}', body: [this.#managedObjects()] }
    const object = this.#objects.get(message.path)
    if (object === undefined) return undefined
    if (message.interface === PROPERTIES) return this.#property(object, message)
    switch (`${message.path} ${message.member}`) {
      case `${RX} WriteValue`:
        return this.#write(message)
      case `${TX} StartNotify`:
        this.isNotifying = true
        return OK
      case `${TX} StopNotify`:
        this.isNotifying = false
        this.#handler.unsubscribed()
        return OK
      case `${ADVERTISEMENT} Release`:
        return OK
      default:
        return undefined
    }
  }

  #managedObjects(): Record<string, Record<string, Properties>> {
    return Object.fromEntries([...this.#objects].filter(([path]) => path !== ADVERTISEMENT).map(([path, interfaces]) => [path, Object.fromEntries(Object.entries(interfaces).map(([name, properties]) => [name, properties()]))]))
  }

  #property(object: Readonly<Record<string, () => Properties>>, { member, body }: BusMessage): Reply | undefined {
    const properties = object[String(body[0])]?.()
    if (properties === undefined) return { error: 'org.freedesktop.DBus.Error.UnknownInterface', text: 'no such interface' }
    if (member === 'GetAll') return { signature: 'a{sv}', body: [properties] }
    const one = member === 'Get' ? properties[String(body[1])] : undefined
    return one === undefined ? { error: 'org.freedesktop.DBus.Error.UnknownProperty', text: 'no such property' } : { signature: 'v', body: [one] }
  }

  #write({ body }: BusMessage): Reply {
    const [value, options] = body as [Uint8Array, Properties]
    const device = options['device']?.value
    const mtu = options['mtu']?.value
    const isTaken = typeof device === 'string' && this.#handler.written(device, new Uint8Array(value), typeof mtu === 'number' ? mtu : undefined)
    return isTaken ? OK : { error: 'org.bluez.Error.NotPermitted', text: 'somebody else is being served' }
  }
}
