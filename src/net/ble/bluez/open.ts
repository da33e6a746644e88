import type { BackendCommand, BackendEvent, BackendOptions, BleBackend } from '../backend.ts'
import { paceCosts } from '../../../core/ble/duty.ts'
import { RX_UUID, SERVICE_UUID, TX_UUID, type Pace } from '../backend.ts'
import { EventQueue } from '../hci/event-queue.ts'
import { LinkTable, type ValueLink } from '../hci/link-table.ts'
import { advertisementPath, applicationPath, BluezApplication } from './application.ts'
import { SystemBus, type BusMessage, type Properties } from './bus.ts'
import { explainEnhancedAtt, readConfiguration } from './enhanced-att.ts'
import { addressOfPath, BluezDevices, type Device } from './devices.ts'

const BLUEZ = 'org.bluez'
const ADAPTER = 'org.bluez.Adapter1'
const DEVICE = 'org.bluez.Device1'
const CHARACTERISTIC = 'org.bluez.GattCharacteristic1'
const OBJECTS = 'org.freedesktop.DBus.ObjectManager'
/** vol 3 part F §3.2.8, when bluetoothd does not say what was negotiated: before 5.62. */
const MTU_UNKNOWN = 23
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000
/** Dials at once: bluetoothd makes one after the other. */
const DIALS_MAX = 8

type Objects = Readonly<Record<string, Readonly<Record<string, Properties>>>>

interface Dial {
  readonly device: Device
  /** Goes on when the services are known. */
  resolved: (() => void) | undefined
  ended: ((reason: string) => void) | undefined
}

/**
 * The backend beside bluetoothd: no root, and headsets and keyboards go on. Links that we dial are objects of the bus; for those that dial us, bluetoothd has
 * one service for everybody and sends notifications to all who have subscribed, so one is served at a time.
 */
class BluezBackend implements BleBackend {
  readonly name = 'bluez'
  readonly #wanted: string | undefined
  readonly #events = new EventQueue()
  readonly #links: LinkTable
  readonly #devices = new BluezDevices()
  #bus: SystemBus | undefined
  #application: BluezApplication | undefined
  #adapter: string | undefined
  #modalias: unknown
  #state = ''
  #advertise: (BackendCommand & { kind: 'advertise' }) | undefined
  #isAdvertised = false
  #scan: (BackendCommand & { kind: 'scan' }) | undefined
  #isScanning = false
  /** The pace that the filter of the discovery was made for. */
  #scanPace: Pace | undefined
  /** It refused an advertisement with an interval. */
  #refusesInterval = false
  /** By the path of the device. BOUNDED by {@link DIALS_MAX}. */
  readonly #dials = new Map<string, Dial>()
  /** Links that we dialed: by the path of the device, and of its TX. */
  readonly #central = new Map<string, { readonly link: ValueLink; readonly tx: string }>()
  #inbound: { readonly device: string; readonly link: ValueLink } | undefined
  /** Devices that we dialed, which bluetoothd remembers for good from then on. BOUNDED by dials and links: who is in none of them leaves, here and there. */
  readonly #dialed = new Set<string>()
  /** One change of what the adapter does after the other. */
  #work: Promise<void> = Promise.resolve()
  #pauseMs = RETRY_MS_MIN
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(adapter: string | undefined) {
    this.#wanted = adapter
    this.#links = new LinkTable((event) => this.#events.tell(event))
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#events.setHandler(handler)
  }

  command(command: BackendCommand): void {
    if (!this.#closed) this.#events.inside(() => this.#run(command))
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    const bus = this.#bus
    if (bus === undefined) return
    const devices = [...this.#central.keys(), ...(this.#inbound === undefined ? [] : [this.#inbound.device])]
    // bluetoothd takes back what a connection to the bus has registered, when that closes.
    await Promise.allSettled(devices.map((path) => this.#hangUp(bus, path, 1000)))
    bus.close()
  }

  #run(command: BackendCommand): void {
    switch (command.kind) {
      case 'advertise':
        this.#advertise = command
        this.#apply()
        return
      case 'scan':
        this.#scan = command
        this.#apply()
        return
      case 'connect':
        void this.#connect(command.address.toLowerCase(), command.timeoutMs)
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

  // The bus and the adapter.

  async attach(): Promise<void> {
    try {
      this.#bus = await SystemBus.open((why) => this.#lost(why))
      this.#application = new BluezApplication(this.#bus, {
        written: (device, value, mtu) => this.#written(device, value, mtu),
        unsubscribed: () => this.#endInbound('closed by the other'),
      })
      await this.#bus.listen(`type='signal',sender='${BLUEZ}'`, (message) => this.#heard(message))
      await this.#bus.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'AddMatch', 's', [`type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${BLUEZ}'`])
      await this.#findAdapter()
      this.#pauseMs = RETRY_MS_MIN
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'unsupported') throw error
      this.#lost(`there is no message bus: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  #lost(why: string): void {
    this.#bus?.close()
    this.#bus = undefined
    this.#adapterGone('absent', why)
    if (this.#closed) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.attach(), this.#pauseMs)
    this.#pauseMs = Math.min(RETRY_MS_MAX, 2 * this.#pauseMs)
  }

  async #findAdapter(): Promise<void> {
    const bus = this.#bus
    if (bus === undefined) return
    let objects: Objects
    try {
      objects = (await bus.call(BLUEZ, '/', OBJECTS, 'GetManagedObjects'))[0] as Objects
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      this.#adapterGone(/AccessDenied|not allowed/i.test(text) ? 'no_permission' : 'absent', `bluetoothd does not answer: ${text}`)
      return
    }
    const found = Object.entries(objects).find(([path, interfaces]) => interfaces[ADAPTER] !== undefined && interfaces['org.bluez.GattManager1'] !== undefined && (this.#wanted === undefined || path.endsWith(`/${this.#wanted}`)))
    if (found === undefined) {
      this.#adapterGone('absent', `bluetoothd has no adapter${this.#wanted === undefined ? '' : ` ${this.#wanted}`} for Low Energy`)
      return
    }
    this.#adapter = found[0]
    this.#modalias = found[1][ADAPTER]!['Modalias']?.value
    for (const [path, interfaces] of Object.entries(objects)) if (interfaces[DEVICE] !== undefined) this.#deviceChanged(path, interfaces[DEVICE])
    await this.#power(found[1][ADAPTER]!)
  }

  async #power(properties: Properties): Promise<void> {
    const adapter = this.#adapter
    if (adapter === undefined || this.#bus === undefined) return
    const powered = properties['Powered']?.value
    if (powered === false) {
      const isBlocked = properties['PowerState']?.value === 'off-blocked'
      this.#adapterGone(isBlocked ? 'blocked' : 'off', isBlocked ? '`rfkill unblock bluetooth` unblocks it' : '`bluetoothctl power on` switches it on', adapter)
    }
    if (powered !== true || this.#state === 'on') return
    try {
      await this.#bus.call(BLUEZ, adapter, 'org.bluez.GattManager1', 'RegisterApplication', 'oa{sv}', [applicationPath, {}])
    } catch (error) {
      if (!String(error).includes('Already')) {
        this.#events.tell({ kind: 'fault', code: 'refused', detail: `bluetoothd does not take the service: ${String(error)}` })
        return
      }
    }
    const warning = explainEnhancedAtt(this.#modalias, readConfiguration())
    this.#setState('on', `bluez ${adapter.split('/').at(-1) ?? ''}${warning === undefined ? '' : `; ${warning}`}`)
    this.#apply()
  }

  #setState(state: 'on' | 'off' | 'absent' | 'no_permission' | 'blocked', detail: string): void {
    if (this.#state === state) return
    this.#state = state
    this.#events.tell({ kind: 'adapter', state, detail })
  }

  #adapterGone(state: 'off' | 'absent' | 'no_permission' | 'blocked', detail: string, adapter?: string): void {
    this.#adapter = adapter
    this.#isAdvertised = this.#isScanning = false
    for (const dial of this.#dials.values()) dial.ended?.('the adapter has gone')
    for (const path of [...this.#central.keys()]) this.#endCentral(path, 'the adapter has gone')
    this.#endInbound('the adapter has gone')
    this.#dialed.clear()
    this.#devices.clear()
    this.#setState(state, detail)
  }

  #heard(message: BusMessage): void {
    const [first, second] = message.body
    if (message.member === 'NameOwnerChanged' && first === BLUEZ) {
      this.#adapterGone('absent', 'bluetoothd has ended')
      if (message.body[2] !== '') void this.#findAdapter()
    } else if (message.member === 'InterfacesAdded' && typeof first === 'string') {
      const interfaces = second as Readonly<Record<string, Properties>>
      if (interfaces[DEVICE] !== undefined) this.#deviceChanged(first, interfaces[DEVICE])
      if (interfaces[ADAPTER] !== undefined && this.#adapter === undefined) void this.#findAdapter()
    } else if (message.member === 'InterfacesRemoved' && typeof first === 'string') {
      if (first === this.#adapter && (second as string[]).includes(ADAPTER)) this.#adapterGone('absent', 'the adapter was pulled out')
      else this.#deviceGone(first, second as string[])
    } else if (message.member === 'PropertiesChanged') this.#changed(message.path, String(first), second as Properties)
  }

  #changed(path: string, interfaceName: string, properties: Properties): void {
    if (interfaceName === ADAPTER && path === this.#adapter) void this.#power(properties)
    else if (interfaceName === DEVICE) this.#deviceChanged(path, properties)
    else if (interfaceName === CHARACTERISTIC) {
      const value = properties['Value']?.value
      const central = value instanceof Uint8Array ? [...this.#central.values()].find(({ tx }) => tx === path) : undefined
      if (central !== undefined) this.#links.received(central.link, value as Uint8Array)
    }
  }

  #deviceChanged(path: string, properties: Properties): void {
    if (this.#adapter === undefined || !path.startsWith(`${this.#adapter}/`)) return
    const updated = this.#devices.update(path, properties)
    if (updated === undefined) return
    const { device } = updated
    if (updated.isHeard && this.#isScanning) this.#events.tell({ kind: 'seen', address: device.address, rssi: device.rssi, hint: device.hint })
    if (device.isResolved) this.#dials.get(path)?.resolved?.()
    if (properties['Connected']?.value !== false) return
    this.#dials.get(path)?.ended?.('closed by the other')
    this.#endCentral(path, 'closed by the other')
    if (this.#inbound?.device === path) this.#endInbound('closed by the other')
  }

  #deviceGone(path: string, interfaces: readonly string[]): void {
    if (!interfaces.includes(DEVICE) || this.#devices.remove(path) === undefined) return
    this.#dials.get(path)?.ended?.('not heard any more')
    this.#endCentral(path, 'out of range')
    if (this.#inbound?.device === path) this.#endInbound('out of range')
  }

  // What the adapter does.

  #apply(): void {
    this.#work = this.#work.then(() => this.#bring()).catch((error: unknown) => this.#events.tell({ kind: 'fault', code: 'refused', detail: String(error) }))
  }

  async #bring(): Promise<void> {
    const [bus, adapter, application] = [this.#bus, this.#adapter, this.#application]
    if (bus === undefined || adapter === undefined || application === undefined || this.#state !== 'on') return
    const [advertise, scan] = [this.#advertise, this.#scan]
    if (this.#isAdvertised) await bus.call(BLUEZ, adapter, 'org.bluez.LEAdvertisingManager1', 'UnregisterAdvertisement', 'o', [advertisementPath]).catch(() => undefined)
    this.#isAdvertised = false
    if (advertise?.on === true && this.#inbound === undefined) {
      application.setHint(advertise.hint)
      await this.#register(bus, adapter, application, advertise.pace)
      this.#isAdvertised = true
    }
    if (scan?.on === true && (!this.#isScanning || this.#scanPace !== scan.pace)) {
      // bluetoothd listens as it likes while a window is open. Slowly, it need tell of each device only once in a window.
      const filter = { UUIDs: bus.variant('as', [SERVICE_UUID]), Transport: bus.variant('s', 'le'), DuplicateData: bus.variant('b', scan.pace === 'fast') }
      await bus.call(BLUEZ, adapter, ADAPTER, 'SetDiscoveryFilter', 'a{sv}', [filter])
      this.#scanPace = scan.pace
    }
    if (this.#isScanning === (scan?.on === true)) return
    this.#isScanning = scan?.on === true
    await bus.call(BLUEZ, adapter, ADAPTER, this.#isScanning ? 'StartDiscovery' : 'StopDiscovery')
  }

  async #register(bus: SystemBus, adapter: string, application: BluezApplication, pace: Pace): Promise<void> {
    const register = (): Promise<unknown> => bus.call(BLUEZ, adapter, 'org.bluez.LEAdvertisingManager1', 'RegisterAdvertisement', 'oa{sv}', [advertisementPath, {}])
    application.setInterval(this.#refusesInterval ? undefined : paceCosts[pace].advertiseMs)
    try {
      await register()
    } catch (error) {
      if (this.#refusesInterval) throw error
      application.setInterval(undefined)
      await register()
      // Not where nothing at all is taken: then the interval was not to blame.
      this.#refusesInterval = true
    }
  }

  // Links that we dial.

  async #connect(address: string, timeoutMs: number): Promise<void> {
    const device = this.#devices.find(address)
    const refusal = device === undefined || this.#bus === undefined ? 'not heard' : this.#isUsed(device.path) ? 'already connected or being dialed' : this.#dials.size >= DIALS_MAX ? 'too many dials' : undefined
    if (device === undefined || this.#bus === undefined || refusal !== undefined) {
      this.#events.tell({ kind: 'connectFailed', address, reason: refusal ?? 'not heard' })
      return
    }
    const dial: Dial = { device, resolved: undefined, ended: undefined }
    this.#dials.set(device.path, dial)
    let timer: NodeJS.Timeout | undefined
    const ended = new Promise<never>((_, reject) => {
      dial.ended = (reason) => reject(new Error(reason))
      timer = setTimeout(() => reject(new Error('timed out')), timeoutMs)
    })
    ended.catch(() => undefined)
    try {
      await Promise.race([this.#dial(this.#bus, dial, timeoutMs), ended])
    } catch (error) {
      this.#events.tell({ kind: 'connectFailed', address, reason: error instanceof Error ? error.message : String(error) })
    } finally {
      clearTimeout(timer)
      this.#dials.delete(device.path)
      this.#forget(device.path)
    }
  }

  async #dial(bus: SystemBus, dial: Dial, timeoutMs: number): Promise<void> {
    const { path, address } = dial.device
    // The kernel connects only between two of its searches, which last ten seconds: whoever dials has stopped ours, and that must have come there.
    await this.#work
    if (this.#dials.get(path) !== dial) throw new Error('given up before the radio was free')
    this.#dialed.add(path)
    const resolved = new Promise<void>((resolve) => {
      dial.resolved = resolve
    })
    const connected = bus.call(BLUEZ, path, DEVICE, 'Connect', '', [], timeoutMs)
    // Two that dial each other have one connection, and only one of them an answer. What has changed meanwhile is asked, since not everything is told.
    await Promise.race([resolved, connected.then(async () => {
      this.#deviceChanged(path, (await bus.call(BLUEZ, path, 'org.freedesktop.DBus.Properties', 'GetAll', 's', [DEVICE]))[0] as Properties)
      if (!dial.device.isResolved) await resolved
    })])
    const objects = (await bus.call(BLUEZ, '/', OBJECTS, 'GetManagedObjects'))[0] as Objects
    const find = (uuid: string): [string, Properties] => {
      const found = Object.entries(objects).find(([at, interfaces]) => at.startsWith(`${path}/`) && interfaces[CHARACTERISTIC]?.['UUID']?.value === uuid)
      if (found === undefined) throw new Error('the other has no service of ours')
      return [found[0], found[1][CHARACTERISTIC]!]
    }
    const [[rx], [tx, properties]] = [find(RX_UUID), find(TX_UUID)]
    await bus.call(BLUEZ, tx, CHARACTERISTIC, 'StartNotify')
    if (!dial.device.isConnected || this.#dials.get(path) !== dial) throw new Error('closed by the other')
    const mtu = properties['MTU']?.value
    const options = { type: bus.variant('s', 'command') }
    const link: ValueLink = this.#links.open('central', address, typeof mtu === 'number' ? mtu : MTU_UNKNOWN, (value) => {
      bus.call(BLUEZ, rx, CHARACTERISTIC, 'WriteValue', 'aya{sv}', [value, options]).then(() => this.#links.sent(link, 1), () => link.disconnect())
    }, () => {
      if (this.#inbound?.device === path) void bus.call(BLUEZ, tx, CHARACTERISTIC, 'StopNotify').catch(() => undefined)
      this.#endCentral(path, 'closed here')
    })
    this.#central.set(path, { link, tx })
  }

  #endCentral(path: string, reason: string): void {
    const central = this.#central.get(path)
    if (!this.#central.delete(path)) return
    this.#links.closed(central!.link, reason)
    this.#forget(path)
  }

  // One connection carries a link in each direction, if both sides dialed; it goes with the last of them.

  #isUsed(path: string): boolean {
    return this.#central.has(path) || this.#dials.has(path) || this.#inbound?.device === path
  }

  #forget(path: string): void {
    const bus = this.#bus
    if (bus !== undefined && !this.#isUsed(path) && this.#devices.get(path) !== undefined) void this.#hangUp(bus, path).catch(() => undefined)
  }

  /** Who was dialed is also taken from bluetoothd's list, which would grow with every address that a peer has had; but nobody whom the person of this machine has put there. */
  async #hangUp(bus: SystemBus, path: string, milliseconds?: number): Promise<void> {
    const isOurs = this.#dialed.delete(path) && this.#devices.get(path)?.isKept !== true
    if (isOurs && this.#adapter !== undefined) await bus.call(BLUEZ, this.#adapter, ADAPTER, 'RemoveDevice', 'o', [path], milliseconds)
    else await bus.call(BLUEZ, path, DEVICE, 'Disconnect', '', [], milliseconds)
  }

  // The one who dials us.

  #written(device: string, value: Uint8Array, mtu: number | undefined): boolean {
    const bus = this.#bus
    if (bus === undefined || (this.#inbound !== undefined && this.#inbound.device !== device)) return false
    const address = addressOfPath(device)
    if (address === undefined || !(this.#application?.isNotifying ?? false)) return false
    if (this.#inbound === undefined) {
      const link = this.#links.open('peripheral', address, mtu ?? MTU_UNKNOWN, (bytes) => {
        this.#application?.notify(bytes)
        // bluetoothd reads what we say in order: when it answers this, it has the notification.
        bus.call(BLUEZ, '/', 'org.freedesktop.DBus.Peer', 'Ping').then(() => this.#links.sent(link, 1), () => link.disconnect())
      }, () => this.#endInbound('closed here'))
      this.#inbound = { device, link }
      // Nobody else is let in meanwhile.
      this.#apply()
    }
    this.#links.received(this.#inbound.link, value)
    return true
  }

  #endInbound(reason: string): void {
    const inbound = this.#inbound
    this.#inbound = undefined
    if (inbound === undefined) return
    this.#links.closed(inbound.link, reason)
    this.#forget(inbound.device)
    this.#apply()
  }
}

/** `bluez`: beside bluetoothd, over the system's message bus. */
export async function openBackend(options: BackendOptions): Promise<BleBackend> {
  const backend = new BluezBackend(options.adapter)
  await backend.attach()
  return backend
}
