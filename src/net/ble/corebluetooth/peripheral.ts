import { RX_UUID, SERVICE_UUID, TX_UUID, type BackendEvent } from '../backend.ts'
import { StepTimer, type LinkTable, type ValueLink } from '../hci/link-table.ts'
import type { HciTime } from '../hci/transport.ts'
import type { CoreBleno } from './packages.ts'

/**
 * How long one notification is taken to need. CoreBluetooth says when its queue is full and bleno does not pass it on, so what is too much is lost in
 * silence: this is about one value in an interval between connection events. It was not measured.
 */
const NOTIFY_MS = 15
/** vol 3 part F §3.4.1.1. */
const ATT_OK = 0x00
const ATT_REFUSED = 0x03

/**
 * Those who dial this Mac: one at a time. bleno does not say who writes, who has subscribed and who leaves, and cannot send anybody away. Not run on hardware.
 */
export class CorePeripheralRole {
  readonly #bleno: CoreBleno
  readonly #links: LinkTable
  readonly #tell: (event: BackendEvent) => void
  readonly #timer: StepTimer
  readonly #newAddress: () => string
  #link: ValueLink | undefined
  #unsent = 0

  constructor(bleno: CoreBleno, links: LinkTable, tell: (event: BackendEvent) => void, time: HciTime, newAddress: () => string) {
    this.#bleno = bleno
    this.#links = links
    this.#tell = tell
    this.#timer = new StepTimer(time)
    this.#newAddress = newAddress
  }

  /** Anew whenever the adapter is on again: CoreBluetooth forgets services with the power. */
  serve(): void {
    const rx = new this.#bleno.Characteristic({
      uuid: RX_UUID,
      properties: ['write', 'writeWithoutResponse'],
      onWriteRequest: (value, _, __, done) => {
        const link = this.#link
        if (link !== undefined) this.#links.received(link, value)
        done(link === undefined ? ATT_REFUSED : ATT_OK)
      },
    })
    const tx = new this.#bleno.Characteristic({
      uuid: TX_UUID,
      properties: ['notify'],
      onSubscribe: (valueSizeMax, update) => this.#subscribed(valueSizeMax, update),
      // Of several who have subscribed it may have been any: the link is ended rather than kept with nobody at its end.
      onUnsubscribe: () => this.end('closed by the other'),
    })
    this.#bleno.setServices([new this.#bleno.PrimaryService({ uuid: SERVICE_UUID, characteristics: [rx, tx] })], (error) => {
      if (error instanceof Error) this.#tell({ kind: 'fault', code: 'refused', detail: `macOS does not take the service: ${error.message}` })
    })
  }

  /** The service alone: macOS lets nobody advertise manufacturer data, so there is no hint. The binding of bleno 0.6.2 does nothing when it is to stop. */
  advertise(on: boolean): void {
    if (on) this.#bleno.startAdvertising('', [SERVICE_UUID])
    else this.#bleno.stopAdvertising()
  }

  end(reason: string): void {
    const link = this.#link
    if (link === undefined) return
    this.#link = undefined
    this.#unsent = 0
    this.#timer.clear()
    this.#links.closed(link, reason)
  }

  #subscribed(valueSizeMax: number, update: (value: Buffer) => void): void {
    if (this.#link !== undefined) return
    const write = (value: Buffer): void => {
      update(value)
      if (++this.#unsent === 1) this.#pace()
    }
    this.#link = this.#links.open('peripheral', this.#newAddress(), valueSizeMax + 3, write, () => this.end('closed here'))
  }

  #pace(): void {
    this.#timer.set(NOTIFY_MS, () => {
      if (this.#link === undefined) return
      if (--this.#unsent > 0) this.#pace()
      this.#links.sent(this.#link, 1)
    })
  }
}
