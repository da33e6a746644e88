import { HINT_SIZE, MTU_MIN, RX_UUID, SERVICE_UUID, TX_UUID, type BackendEvent } from '../backend.ts'
import { StepTimer, type LinkTable, type ValueLink } from '../hci/link-table.ts'
import type { HciTime } from '../hci/transport.ts'
import { forgetDevice, type CoreCharacteristic, type CoreNoble, type CorePeripheral } from './packages.ts'

const uuid = (text: string): string => text.replaceAll('-', '')
const [SERVICE, RX, TX] = [uuid(SERVICE_UUID), uuid(RX_UUID), uuid(TX_UUID)]
const DIALS_MAX = 8
/** Devices heard that can be dialed; the one heard first goes, and is heard again if it is there. */
const HEARD_MAX = 1024
/** vol 3 part F §3.3.3: a transaction that takes longer has failed. */
const WRITE_MS = 30_000

//  dialing ──▶ asking (service, RX and TX, subscription) ──▶ open ──▶ ended          ended: from anywhere
interface Dial {
  readonly address: string
  readonly peripheral: CorePeripheral
  readonly timer: StepTimer
  state: 'dialing' | 'asking' | 'open' | 'ended'
  link: ValueLink | undefined
  /** Values that wait for the answer to the first. BOUNDED by what a link may have unsent. */
  readonly unwritten: Buffer[]
}

/** Links that this Mac dials. Not run on hardware. */
export class CoreCentral {
  readonly #noble: CoreNoble
  readonly #links: LinkTable
  readonly #tell: (event: BackendEvent) => void
  readonly #time: HciTime
  /** BOUNDED by {@link HEARD_MAX}. */
  readonly #heard = new Map<string, CorePeripheral>()
  /** Under way and open. BOUNDED by {@link DIALS_MAX} and what the transport keeps open. */
  readonly #dials = new Map<string, Dial>()

  constructor(noble: CoreNoble, links: LinkTable, tell: (event: BackendEvent) => void, time: HciTime) {
    this.#noble = noble
    this.#links = links
    this.#tell = tell
    this.#time = time
    noble.on('warning', () => undefined)
    noble.on('discover', (peripheral: CorePeripheral) => this.#discovered(peripheral))
  }

  get heardCount(): number {
    return this.#heard.size
  }

  scan(on: boolean): void {
    if (on) this.#noble.startScanning([SERVICE], true)
    else this.#noble.stopScanning()
  }

  connect(address: string, timeoutMs: number): void {
    const peripheral = this.#heard.get(address)
    const failed = (reason: string): void => this.#tell({ kind: 'connectFailed', address, reason })
    if (peripheral === undefined) return failed('not heard')
    if (this.#dials.has(address)) return failed('already connected or being dialed')
    if ([...this.#dials.values()].filter(({ state }) => state !== 'open').length >= DIALS_MAX) return failed('too many dials')
    const dial: Dial = { address, peripheral, timer: new StepTimer(this.#time), state: 'dialing', link: undefined, unwritten: [] }
    this.#dials.set(address, dial)
    // CoreBluetooth dials for ever.
    dial.timer.set(timeoutMs, () => this.#end(dial, 'timed out'))
    peripheral.once('disconnect', () => this.#end(dial, 'closed by the other, or out of range'))
    peripheral.connect({}, (error) => {
      if (dial.state !== 'dialing') return
      if (error === undefined || error === null || error === '') this.#ask(dial)
      else this.#end(dial, error instanceof Error ? error.message : error)
    })
  }

  endAll(reason: string): void {
    for (const dial of [...this.#dials.values()]) this.#end(dial, reason)
  }

  #discovered(peripheral: CorePeripheral): void {
    const { id, rssi, advertisement } = peripheral
    this.#heard.delete(id)
    this.#heard.set(id, peripheral)
    if (this.#heard.size > HEARD_MAX) {
      const [oldest] = this.#heard.keys()
      this.#heard.delete(oldest!)
      if (!this.#dials.has(oldest!)) forgetDevice(this.#noble, oldest!)
    }
    this.#tell({ kind: 'seen', address: id, rssi: Math.max(-127, Math.min(20, Math.round(rssi))), hint: hintOf(advertisement.manufacturerData) })
  }

  #ask(dial: Dial): void {
    dial.state = 'asking'
    const found = <Found>(each: Found | undefined, what: string): each is Found => {
      if (dial.state !== 'asking') return false
      if (each === undefined) this.#end(dial, `the other has no ${what}`)
      return each !== undefined
    }
    dial.peripheral.discoverServices([SERVICE], (_, services) => {
      const service = services.find((each) => each.uuid === SERVICE)
      if (!found(service, 'service of ours')) return
      service.discoverCharacteristics([RX, TX], (__, characteristics) => {
        const rx = characteristics.find((each) => each.uuid === RX)
        const tx = characteristics.find((each) => each.uuid === TX)
        if (!found(rx, 'RX') || !found(tx, 'TX')) return
        tx.subscribe((error) => {
          if (error instanceof Error) this.#end(dial, error.message)
          else if (dial.state === 'asking') this.#open(dial, rx, tx)
        })
      })
    })
  }

  #open(dial: Dial, rx: CoreCharacteristic, tx: CoreCharacteristic): void {
    dial.state = 'open'
    dial.timer.clear()
    const write = (value: Buffer): void => {
      if (dial.unwritten.push(value) === 1) this.#write(dial, rx)
    }
    // noble does not tell the MTU that macOS has negotiated: it is the least until a value shows that it is more.
    dial.link = this.#links.open('central', dial.address, MTU_MIN, write, () => this.#end(dial, 'closed here'))
    tx.on('data', (value: Buffer) => this.#received(dial, value))
  }

  /** With an answer: CoreBluetooth drops writes without one when it is full, and noble does not tell. */
  #write(dial: Dial, rx: CoreCharacteristic): void {
    dial.timer.set(WRITE_MS, () => this.#end(dial, 'a write was not answered'))
    rx.write(dial.unwritten[0]!, false, () => {
      if (dial.state !== 'open' || dial.link === undefined) return
      dial.timer.clear()
      dial.unwritten.shift()
      if (dial.unwritten.length > 0) this.#write(dial, rx)
      this.#links.sent(dial.link, 1)
    })
  }

  #received(dial: Dial, value: Buffer): void {
    if (dial.state !== 'open' || dial.link === undefined) return
    // Both sides have the same MTU, so it is as large as what the other could send.
    if (value.length + 3 > dial.link.mtu) this.#links.setMtu(dial.link, value.length + 3)
    this.#links.received(dial.link, value)
  }

  #end(dial: Dial, reason: string): void {
    if (dial.state === 'ended') return
    dial.state = 'ended'
    dial.timer.clear()
    this.#dials.delete(dial.address)
    dial.peripheral.removeAllListeners()
    dial.peripheral.disconnect()
    if (dial.link === undefined) this.#tell({ kind: 'connectFailed', address: dial.address, reason })
    else this.#links.closed(dial.link, reason)
  }
}

/** Company 0xffff, little endian, and the hint. */
function hintOf(data: Uint8Array | undefined): Uint8Array | undefined {
  if (data?.length !== 2 + HINT_SIZE || data[0] !== 0xff || data[1] !== 0xff) return undefined
  return new Uint8Array(data.subarray(2))
}
