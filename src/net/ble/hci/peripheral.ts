import { RX_UUID, SERVICE_UUID, TX_UUID, type BackendEvent } from '../backend.ts'
import { reasonText } from './central.ts'
import type { HciLink } from './host.ts'
import { StepTimer, type LinkTable, type ValueLink } from './link-table.ts'
import type { HciMultiplexer, Tap } from './multiplexer.ts'
import type { Bleno, Loaded } from './packages.ts'
import type { HciTime } from './transport.ts'

/** Who has connected and not subscribed to TX within this wanted something else, or nothing. */
const SUBSCRIBE_MS = 10_000
/** vol 3 part F §3.4.1.1: how a write is answered that we do not take. */
const ATT_OK = 0x00
const ATT_REFUSED = 0x03

/** One copy of bleno: at most one link of somebody who dialed this node. */
export class HciSlot {
  readonly tap: Tap
  readonly #bleno: Bleno
  readonly #links: LinkTable
  readonly #timer: StepTimer
  #link: HciLink | undefined
  #open: ValueLink | undefined
  #multiplexer: HciMultiplexer | undefined

  constructor({ package: bleno, socket }: Loaded<Bleno>, links: LinkTable, tell: (event: BackendEvent) => void, time: HciTime) {
    this.#bleno = bleno
    this.#links = links
    this.#timer = new StepTimer(time)
    this.tap = {
      role: 'peripheral',
      socket,
      receive: (link, channel, payload) => void bleno._bindings._hci.emit('aclDataPkt', link.handle, channel, payload),
      opened: (link) => this.#opened(link),
      closed: (_, reason) => this.#closed(reason),
      sent: (_, values) => {
        if (this.#open !== undefined) this.#links.sent(this.#open, values)
      },
      threw: (link, error) => tell({ kind: 'fault', code: 'package', detail: `bleno${link === undefined ? '' : ` for ${link.address}`}: ${String(error)}` }),
    }
  }

  /** Waits until bleno thinks that its controller is on and has the service. */
  async begin(multiplexer: HciMultiplexer): Promise<void> {
    const bleno = this.#bleno
    this.#multiplexer = multiplexer
    bleno._bindings._hci.queueAclDataPkt = (handle, channel, payload) => multiplexer.sendFrame(this.tap, handle, channel, payload)
    bleno.on('mtuChange', (mtu: number) => {
      if (this.#open !== undefined) this.#links.setMtu(this.#open, mtu)
    })
    await new Promise<void>((resolve) => {
      bleno.on('stateChange', (state: string) => {
        if (state === 'poweredOn') resolve()
      })
    })
    const rx = new bleno.Characteristic({
      uuid: RX_UUID,
      properties: ['write', 'writeWithoutResponse'],
      onWriteRequest: (value, _, __, done) => {
        if (this.#open !== undefined) this.#links.received(this.#open, value)
        done(this.#open === undefined ? ATT_REFUSED : ATT_OK)
      },
    })
    const tx = new bleno.Characteristic({
      uuid: TX_UUID,
      properties: ['notify'],
      onSubscribe: (valueSizeMax, update) => this.#subscribed(valueSizeMax, update),
      onUnsubscribe: () => this.#disconnect(),
    })
    await new Promise<void>((resolve, reject) => {
      bleno.setServices([new bleno.PrimaryService({ uuid: SERVICE_UUID, characteristics: [rx, tx] })], (error) => (error instanceof Error ? reject(error) : resolve()))
    })
  }

  #opened(link: HciLink): void {
    this.#link = link
    this.#timer.set(SUBSCRIBE_MS, () => this.#disconnect())
  }

  #subscribed(valueSizeMax: number, update: (value: Buffer) => void): void {
    const link = this.#link
    if (link === undefined || this.#open !== undefined) return
    this.#timer.clear()
    // The answer to the subscription goes out first, so that the other has noted it before the first value arrives.
    queueMicrotask(() => {
      if (this.#link === link && this.#open === undefined) this.#open = this.#links.open('peripheral', link.address, valueSizeMax + 3, update, () => this.#disconnect(), link.intervalMs)
    })
  }

  #disconnect(): void {
    if (this.#link !== undefined) this.#multiplexer?.disconnect(this.#link.handle)
  }

  #closed(reason: number): void {
    this.#timer.clear()
    this.#link = undefined
    const open = this.#open
    this.#open = undefined
    if (open !== undefined) this.#links.closed(open, reasonText(reason))
  }
}
