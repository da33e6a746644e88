import { createCipheriv, randomBytes } from 'node:crypto'
import { ADVERTISEMENT_SIZE_MAX, decodeBleAdvertisement, encodeBleAdvertisement, uuidBytes } from '../../../core/wire/ble-advertisement.ts'
import { ADDRESS_SIZE, addressText, hciStatus, opcode, u16Bytes, type AddressType } from '../../../core/wire/hci.ts'
import { equalBytes } from '../../../core/base/bytes.ts'
import { SERVICE_UUID, type Pace } from '../backend.ts'
import type { HciHost } from './host.ts'
import type { HciTime } from './transport.ts'

const service = uuidBytes(SERVICE_UUID)
/** In units of 0.625 ms: 100 ms and 1 s between advertisements. */
const ADVERTISING_INTERVAL: Readonly<Record<Pace, number>> = { fast: 0xa0, slow: 0x640 }
/**
 * Interval and window, in units of 0.625 ms: half of the time in pieces of 100 ms, or a fifth in pieces of 5.12 s. A slow window is 1.04 s long, more than from
 * one slow advertisement to the next: with a shorter one who is in range would be heard by chance.
 */
const SCANNING: Readonly<Record<Pace, readonly [interval: number, window: number]>> = { fast: [0xa0, 0x50], slow: [0x2000, 0x680] }
const PASSIVE = 0
const RANDOM_OWN_ADDRESS = 1
/** vol 3 part C, appendix A: how long a private address is used. */
const ADDRESS_LIFE_MS = 15 * 60_000
/** Addresses whose type is remembered, and which were told within the last second. Full, the one heard longest ago goes, and cannot be dialed until heard again. */
const HEARD_MAX = 1024
const REPEAT_MS = 1000
/** What the adapter has refused is tried again. */
const RETRY_MS = 5000
/** Reports of type ADV_IND and ADV_DIRECT_IND: those that can be connected to. Scan responses belong to no question of ours. */
const connectable: ReadonlySet<number> = new Set([0, 1])

export interface Sighting {
  readonly address: string
  readonly rssi: number
  readonly hint: Uint8Array | undefined
}

/** What a radio has to say. */
export interface RadioTells {
  sighted(sighting: Sighting): void
  fault(detail: string): void
  dropped(): void
}

/** What the radio should be doing. */
interface Wish {
  advertise: { readonly pace: Pace; readonly data: Uint8Array } | undefined
  scan: Pace | undefined
  /** Somebody is being dialed: not every controller can listen meanwhile. */
  dialing: boolean
  /** Nobody more can be let in. */
  full: boolean
}

/**
 * Advertising, scanning and the own address of a controller. It is told what should be and brings the controller there, one command after the other. The
 * address is a resolvable private one whose key nobody has (vol 6 part B §1.3.2.2), new with each hint and every quarter of an hour: the factory's address,
 * which the packages would show, is never in the air.
 */
export class HciRadio {
  readonly #host: HciHost
  readonly #time: HciTime
  readonly #tell: RadioTells
  readonly #wish: Wish = { advertise: undefined, scan: undefined, dialing: false, full: false }
  readonly #identityKey: Uint8Array = randomBytes(16)
  /** By address. BOUNDED by {@link HEARD_MAX}. */
  readonly #heard = new Map<string, { type: AddressType; toldAt: number }>()
  #isAdvertising = false
  /** How often advertising has ended by itself. */
  #endings = 0
  /** What the controller was told to scan at. */
  #scanning: Pace | undefined
  #advertised: Wish['advertise']
  #addressWanted = true
  #addressSetAt = 0
  #cancelAddress: (() => void) | undefined
  #cancelRetry: (() => void) | undefined
  /** Who waits until the controller does not scan. */
  #ready: (() => void) | undefined
  #running = false
  #again = false
  #stopped = false

  constructor(host: HciHost, time: HciTime, tell: RadioTells) {
    this.#host = host
    this.#time = time
    this.#tell = tell
  }

  advertise(on: boolean, hint: Uint8Array | undefined, pace: Pace): void {
    const data = encodeBleAdvertisement(service, hint)
    if (this.#wish.advertise !== undefined && !equalBytes(this.#wish.advertise.data, data)) this.#addressWanted = true
    this.#wish.advertise = on ? { pace, data } : undefined
    this.#apply()
  }

  scan(on: boolean, pace: Pace): void {
    this.#wish.scan = on ? pace : undefined
    this.#apply()
  }

  setFull(full: boolean): void {
    this.#wish.full = full
    this.#apply()
  }

  /** Before and after a create command. `ready` runs when the controller no longer scans. */
  beginDial(ready: () => void): void {
    this.#wish.dialing = true
    this.#ready = ready
    this.#apply()
  }

  endDial(): void {
    this.#wish.dialing = false
    this.#ready = undefined
    this.#apply()
  }

  /** The controller has stopped advertising by itself, since somebody connected. */
  advertisingEnded(): void {
    this.#endings++
    this.#isAdvertising = false
    this.#apply()
  }

  /** Of an address that was heard lately. */
  typeOf(address: string): AddressType | undefined {
    return this.#heard.get(address)?.type
  }

  stop(): void {
    this.#stopped = true
    this.#cancelAddress?.()
    this.#cancelRetry?.()
  }

  get heardCount(): number {
    return this.#heard.size
  }

  /** The parameters of a report event after their number. What makes no sense in it ends the reading, and what came before counts. */
  takeReports(count: number, bytes: Uint8Array): void {
    let at = 0
    for (let i = 0; i < count; i++) {
      const length = bytes[at + 8]
      if (length === undefined || at + 10 + length > bytes.length || length > ADVERTISEMENT_SIZE_MAX) {
        this.#tell.dropped()
        return
      }
      if (connectable.has(bytes[at]!)) this.#report(addressText(bytes, at + 2), (bytes[at + 1]! & 1) === 1 ? 'random' : 'public', bytes.subarray(at + 9, at + 9 + length), (bytes[at + 9 + length]! << 24) >> 24)
      at += 10 + length
    }
    if (at !== bytes.length) this.#tell.dropped()
  }

  #report(address: string, type: AddressType, data: Uint8Array, rssi: number): void {
    const advertisement = decodeBleAdvertisement(service, data)
    if (!advertisement.service) return
    const now = this.#time.now()
    const known = this.#heard.get(address)
    if (known !== undefined && now - known.toldAt < REPEAT_MS) return
    // Set anew, it is the youngest.
    this.#heard.delete(address)
    this.#heard.set(address, { type, toldAt: now })
    if (this.#heard.size > HEARD_MAX) this.#heard.delete(this.#heard.keys().next().value!)
    this.#tell.sighted({ address, rssi, hint: advertisement.hint })
  }

  /** Brings the controller to what should be; wishes that come meanwhile are met in a further round. */
  #apply(): void {
    this.#again = true
    if (this.#running || this.#stopped) return
    this.#running = true
    void this.#rounds().finally(() => {
      this.#running = false
      if (this.#again && !this.#stopped) this.#apply()
    })
  }

  async #rounds(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false
      await this.#round()
    }
  }

  async #round(): Promise<void> {
    const wish = this.#wish
    const scan = wish.dialing ? undefined : wish.scan
    const isDue = this.#addressWanted || this.#time.now() - this.#addressSetAt >= ADDRESS_LIFE_MS
    // An address cannot be changed while it is in use, and a dial may be using it. Until it is over nothing is advertised: the old address with a new hint
    // would tell that both are ours.
    const renew = isDue && !(wish.dialing && this.#ready === undefined)
    const advertise = wish.full || (isDue && !renew) ? undefined : wish.advertise
    if (this.#scanning !== undefined && (renew || scan !== this.#scanning)) await this.#stopScanning()
    if (this.#isAdvertising && (renew || advertise === undefined || advertise !== this.#advertised)) await this.#stopAdvertising()
    if (renew) await this.#renewAddress()
    const ready = wish.dialing ? this.#ready : undefined
    if (ready !== undefined) {
      this.#ready = undefined
      ready()
    }
    if (advertise !== undefined && !this.#isAdvertising && wish.advertise === advertise) await this.#startAdvertising(advertise)
    if (scan !== undefined && this.#scanning === undefined && !wish.dialing) await this.#startScanning(scan)
  }

  async #stopScanning(): Promise<void> {
    await this.#host.ask(opcode.leSetScanEnable, Uint8Array.of(0, 0))
    this.#scanning = undefined
  }

  async #stopAdvertising(): Promise<void> {
    await this.#host.ask(opcode.leSetAdvertisingEnable, Uint8Array.of(0))
    this.#isAdvertising = false
  }

  async #startAdvertising(wanted: NonNullable<Wish['advertise']>): Promise<void> {
    const interval = u16Bytes(ADVERTISING_INTERVAL[wanted.pace])
    const data = new Uint8Array(1 + ADVERTISEMENT_SIZE_MAX)
    data[0] = wanted.data.length
    data.set(wanted.data, 1)
    const parameters = Uint8Array.of(...interval, ...interval, 0, RANDOM_OWN_ADDRESS, 0, ...new Uint8Array(ADDRESS_SIZE), 7, 0)
    const isSet = await this.#isDone(opcode.leSetAdvertisingParameters, parameters) && await this.#isDone(opcode.leSetAdvertisingData, data) && await this.#isDone(opcode.leSetScanResponse, new Uint8Array(1 + ADVERTISEMENT_SIZE_MAX))
    const endings = this.#endings
    if (!isSet || !await this.#isDone(opcode.leSetAdvertisingEnable, Uint8Array.of(1))) return
    // Somebody may have connected before this went on.
    this.#isAdvertising = endings === this.#endings
    this.#advertised = wanted
  }

  async #startScanning(pace: Pace): Promise<void> {
    const [interval, window] = SCANNING[pace]
    const isSet = await this.#isDone(opcode.leSetScanParameters, Uint8Array.of(PASSIVE, ...u16Bytes(interval), ...u16Bytes(window), RANDOM_OWN_ADDRESS, 0))
    if (isSet && await this.#isDone(opcode.leSetScanEnable, Uint8Array.of(1, 0))) this.#scanning = pace
  }

  async #isDone(code: number, parameters: Uint8Array): Promise<boolean> {
    const { status } = await this.#host.ask(code, parameters)
    if (status === hciStatus.success) return true
    this.#tell.fault(`the adapter refuses command 0x${code.toString(16)} with 0x${status.toString(16)}`)
    this.#cancelRetry?.()
    this.#cancelRetry = this.#time.after(RETRY_MS, () => this.#apply())
    return false
  }

  async #renewAddress(): Promise<void> {
    if (!await this.#isDone(opcode.leSetRandomAddress, privateAddress(this.#identityKey))) return
    this.#addressWanted = false
    this.#addressSetAt = this.#time.now()
    this.#cancelAddress?.()
    this.#cancelAddress = this.#time.after(ADDRESS_LIFE_MS, () => this.#apply())
  }
}

/** vol 6 part B §1.3.2.2: 22 random bits under 01, and the low 24 bits of their cipher under the identity key; as HCI has it, backwards. */
export function privateAddress(identityKey: Uint8Array): Uint8Array {
  const random = randomBytes(3)
  random[2] = (random[2]! & 0x3f) | 0x40
  const block = new Uint8Array(16)
  block.set(Uint8Array.from(random).reverse(), 13)
  const hash = createCipheriv('aes-128-ecb', identityKey, null).update(block)
  return Uint8Array.of(hash[15]!, hash[14]!, hash[13]!, random[0]!, random[1]!, random[2])
}
