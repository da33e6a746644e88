import { hciStatus } from '../../../core/wire/hci.ts'
import { RX_UUID, SERVICE_UUID, TX_UUID, type BackendEvent } from '../backend.ts'
import type { HciLink } from './host.ts'
import { StepTimer, type LinkTable, type ValueLink } from './link-table.ts'
import type { HciMultiplexer, Tap } from './multiplexer.ts'
import { forgetPeripheral, type Loaded, type Noble, type NobleCharacteristic, type NoblePeripheral } from './packages.ts'
import type { HciRadio } from './radio.ts'
import type { HciTime } from './transport.ts'

const uuid = (text: string): string => text.replaceAll('-', '')
const [SERVICE, RX, TX] = [uuid(SERVICE_UUID), uuid(RX_UUID), uuid(TX_UUID)]
/** Frames of the other until its link is open. The service, RX, TX and the first values are a dozen; noble asks on as long as it is told of more. */
const FRAMES_ASKING_MAX = 128
/** Dials that wait for their turn, since a controller makes one at a time. A further one fails. */
const DIALS_WAITING_MAX = 8
/** Intervals of 7.5 to 15 ms, in units of 1.25 ms: fast, and what phones allow. A link times out after 4 s, in units of 10 ms. */
const CONNECTION = { minInterval: 6, maxInterval: 12, latency: 0, timeout: 400 } as const

//  waiting ──▶ dialing ──────▶ asking ──────────────▶ open ──▶ (closed)
//     │          │ timed out      │ service, RX and TX found, TX subscribed
//     ▼          ▼                ▼
//   failed     failed          failed, and the link is ended
interface Dial {
  readonly address: string
  readonly timer: StepTimer
  state: 'waiting' | 'dialing' | 'asking' | 'open' | 'failed'
  peripheral: NoblePeripheral | undefined
  link: HciLink | undefined
  open: ValueLink | undefined
  /** Frames of the other before it was open. */
  frames: number
  /** Of a dial that has failed with a link: told when that has ended, so that the address can be dialed again at once. */
  reason: string
}

/** Links that this node dials, over noble. */
export class HciCentral {
  readonly tap: Tap
  readonly #noble: Noble
  readonly #time: HciTime
  readonly #links: LinkTable
  readonly #tell: (event: BackendEvent) => void
  /** BOUNDED by {@link DIALS_WAITING_MAX} and the controller's links. By address. */
  readonly #dials = new Map<string, Dial>()
  readonly #waiting: Dial[] = []
  #current: Dial | undefined
  #introduced: NoblePeripheral | undefined
  #multiplexer: HciMultiplexer | undefined
  #radio: HciRadio | undefined

  constructor({ package: noble, socket }: Loaded<Noble>, links: LinkTable, tell: (event: BackendEvent) => void, time: HciTime) {
    this.#noble = noble
    this.#links = links
    this.#tell = tell
    this.#time = time
    this.tap = {
      role: 'central',
      socket,
      receive: (link, channel, payload) => {
        if (this.#isEndless(link)) return
        noble._bindings._hci.emit('aclDataPkt', link.handle, channel, payload)
      },
      opened: (link) => this.#opened(link),
      closed: (link, reason) => this.#closed(link, reason),
      sent: (link, values) => {
        const open = this.#dialOf(link)?.open
        if (open !== undefined) this.#links.sent(open, values)
      },
      threw: (link, error) => this.#tell({ kind: 'fault', code: 'package', detail: `noble${link === undefined ? '' : ` for ${link.address}`}: ${String(error)}` }),
    }
  }

  /** Waits until noble thinks that its controller is on. */
  async begin(multiplexer: HciMultiplexer): Promise<void> {
    const noble = this.#noble
    this.#multiplexer = multiplexer
    multiplexer.onDialEnd = () => this.#dialEnded()
    noble._bindings._hci.writeAclDataPkt = (handle, channel, payload) => multiplexer.sendFrame(this.tap, handle, channel, payload)
    noble.on('warning', () => undefined)
    noble.on('discover', (peripheral: NoblePeripheral) => {
      this.#introduced = peripheral
    })
    await new Promise<void>((resolve) => {
      noble.on('stateChange', (state: string) => {
        if (state === 'poweredOn') resolve()
      })
    })
    // noble drops what is discovered until it scans.
    noble.startScanning([], true)
  }

  /** What noble keeps of addresses. */
  get peripheralCount(): number {
    return Object.keys(this.#noble._peripherals).length + Object.keys(this.#noble._bindings._gap._discoveries).length
  }

  setRadio(radio: HciRadio | undefined): void {
    this.#radio = radio
  }

  connect(address: string, timeoutMs: number): void {
    const dial: Dial = { address, timer: new StepTimer(this.#time), state: 'waiting', peripheral: undefined, link: undefined, open: undefined, frames: 0, reason: '' }
    if (this.#radio?.typeOf(address) === undefined) this.#tell({ kind: 'connectFailed', address, reason: 'not heard' })
    else if (this.#dials.has(address)) this.#tell({ kind: 'connectFailed', address, reason: 'already connected or being dialed' })
    else if (this.#waiting.length >= DIALS_WAITING_MAX) this.#tell({ kind: 'connectFailed', address, reason: 'too many dials' })
    else {
      this.#dials.set(address, dial)
      this.#waiting.push(dial)
      dial.timer.set(timeoutMs, () => this.#fail(dial, 'timed out'))
      this.#next()
    }
  }

  /** The controller has gone: dials that wait cannot be made, those under way end with it. */
  failAll(reason: string): void {
    for (const dial of [...this.#dials.values()]) if (dial.state !== 'open') this.#fail(dial, reason)
    // One that waited for the radio to be free waits for nothing any more.
    if (this.#current !== undefined) this.#dialEnded()
  }

  #isEndless(link: HciLink): boolean {
    const dial = this.#dialOf(link)
    if (dial === undefined || dial.state === 'open' || ++dial.frames <= FRAMES_ASKING_MAX) return false
    this.#fail(dial, 'the other does not come to an end with what it offers')
    return true
  }

  #dialOf(link: HciLink): Dial | undefined {
    const dial = this.#dials.get(link.address)
    return dial?.link === link ? dial : undefined
  }

  #next(): void {
    if (this.#current !== undefined || this.#radio === undefined) return
    const dial = this.#waiting.shift()
    if (dial === undefined) return
    this.#current = dial
    this.#radio.beginDial(() => this.#begin(dial))
  }

  /** The controller is free for it. */
  #begin(dial: Dial): void {
    const type = this.#radio?.typeOf(dial.address)
    if (dial.state === 'waiting' && type !== undefined) {
      this.#introduced = undefined
      this.#multiplexer?.introduce(dial.address, type)
      dial.peripheral = this.#introduced
    }
    const { peripheral } = dial
    if (dial.state !== 'waiting' || peripheral === undefined) {
      this.#fail(dial, 'not heard any more')
      this.#dialEnded()
      return
    }
    dial.state = 'dialing'
    peripheral.connect(CONNECTION, (error) => {
      if (dial.state !== 'dialing') return
      if (error instanceof Error) this.#fail(dial, error.message)
      else this.#ask(dial, peripheral)
    })
  }

  /** The link is there, and noble has asked for an MTU already: everything else comes after the answer to that. */
  #ask(dial: Dial, peripheral: NoblePeripheral): void {
    dial.state = 'asking'
    const needed = <Found>(found: Found | undefined, what: string): found is Found => {
      if (found === undefined) this.#fail(dial, `the other has no ${what}`)
      return found !== undefined && dial.state === 'asking'
    }
    peripheral.discoverServices([SERVICE], (_, services) => {
      const service = services.find((each) => each.uuid === SERVICE)
      if (!needed(service, 'service of ours')) return
      service.discoverCharacteristics([RX, TX], (__, characteristics) => {
        const rx = characteristics.find((each) => each.uuid === RX)
        const tx = characteristics.find((each) => each.uuid === TX)
        if (needed(rx, 'RX') && needed(tx, 'TX')) tx.subscribe((error) => {
          if (error instanceof Error) this.#fail(dial, error.message)
          else if (dial.state === 'asking') this.#open(dial, peripheral, rx, tx)
        })
      })
    })
  }

  #open(dial: Dial, peripheral: NoblePeripheral, rx: NobleCharacteristic, tx: NobleCharacteristic): void {
    const { link } = dial
    if (link === undefined) return
    dial.state = 'open'
    dial.timer.clear()
    const open = this.#links.open('central', dial.address, peripheral.mtu ?? 0, (value) => rx.write(value, true), () => this.#multiplexer?.disconnect(link.handle), link.intervalMs)
    dial.open = open
    tx.on('data', (value: Buffer) => this.#links.received(open, value))
  }

  #fail(dial: Dial, reason: string): void {
    const { state, peripheral, link } = dial
    if (state === 'failed' || state === 'open') return
    dial.state = 'failed'
    dial.timer.clear()
    const at = this.#waiting.indexOf(dial)
    if (at >= 0) this.#waiting.splice(at, 1)
    if (link !== undefined) {
      dial.reason = reason
      this.#multiplexer?.disconnect(link.handle)
      return
    }
    if (state === 'dialing') peripheral?.cancelConnect()
    if (this.#dials.get(dial.address) === dial) this.#dials.delete(dial.address)
    // What noble has of one that is being called off is forgotten when the controller has ended it.
    if (this.#current !== dial) this.#forget(dial)
    this.#tell({ kind: 'connectFailed', address: dial.address, reason })
  }

  #opened(link: HciLink): void {
    const dial = this.#current
    if (dial?.address === link.address) {
      dial.link = link
      if (dial.state === 'dialing') return
    }
    // It was called off while it came about.
    this.#multiplexer?.disconnect(link.handle)
  }

  /** The controller has made the link or given up, or it came to neither. */
  #dialEnded(): void {
    const dial = this.#current
    // A link that came about although it was called off has to end first: noble knows one at a time of an address.
    if (dial?.state === 'failed' && dial.link !== undefined) return
    this.#current = undefined
    this.#radio?.endDial()
    if (dial !== undefined && dial.link === undefined) {
      if (dial.state !== 'failed') this.#fail(dial, 'the adapter could not connect')
      this.#forget(dial)
    }
    this.#next()
  }

  #closed(link: HciLink, reason: number): void {
    const dial = this.#current?.link === link ? this.#current : this.#dialOf(link)
    if (dial === undefined) return
    const wasCalledOff = dial.state === 'failed' && dial.reason === ''
    dial.state = 'failed'
    dial.link = undefined
    this.#forget(dial)
    if (dial.open !== undefined) this.#links.closed(dial.open, reasonText(reason))
    else if (!wasCalledOff) this.#tell({ kind: 'connectFailed', address: dial.address, reason: dial.reason === '' ? reasonText(reason) : dial.reason })
    if (this.#current === dial) this.#dialEnded()
  }

  #forget(dial: Dial): void {
    if (this.#dials.get(dial.address) === dial) this.#dials.delete(dial.address)
    dial.timer.clear()
    const { peripheral } = dial
    if (peripheral === undefined) return
    peripheral.removeAllListeners()
    forgetPeripheral(this.#noble, peripheral.id, peripheral.address)
  }
}

/** Why a link has ended, for people. */
export function reasonText(reason: number): string {
  switch (reason) {
    case hciStatus.connectionTimeout:
      return 'out of range'
    case hciStatus.remoteEnded:
    case hciStatus.remoteLowResources:
      return 'closed by the other'
    case hciStatus.localEnded:
      return 'closed here'
    case hciStatus.hardwareFailure:
      return 'the adapter has gone'
    default:
      return `ended with 0x${reason.toString(16)}`
  }
}
