import { concat, equalBytes, readU16 } from '../../core/base/bytes.ts'
import { ACL_HEADER_SIZE, boundary, encodeHciEvent, eventCode, hciStatus, leEvent, packetType, u16Bytes } from '../../core/wire/hci.ts'
import { commandTable } from './commands.ts'
import type { Advertising, End, HeardAdvertisement, Initiating, Medium, Radio, Scanning } from './parts.ts'

/** vol 6 part B §4.4.2.2: added to each advertising interval, so that two that began together part. */
const ADVERTISING_DELAY_MAX_MS = 10
/** Controllers remember few: a duplicate of an older one is told again. */
const DUPLICATES_MAX = 64
/** vol 4 part E §7.7.39 and §7.8.1: LE events are off until the host asks for them. */
const EVENT_MASK_DEFAULT = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0)
const LE_EVENT_MASK_DEFAULT = Uint8Array.of(0x1f, 0, 0, 0, 0, 0, 0, 0)

/** What the host did that a host must not do. A test looks here. */
export interface Violations {
  malformed: number
  unknownCommand: number
  unknownHandle: number
  /** More ACL packets than there are buffers; a longer one than a buffer. */
  overrun: number
  tooLong: number
}

/** An emulated LE controller: packets of HCI in with {@link AirController.write}, and out to the one handler. */
export class AirController implements Radio {
  readonly air: Medium
  readonly publicAddress: Uint8Array
  readonly violations: Violations = { malformed: 0, unknownCommand: 0, unknownHandle: 0, overrun: 0, tooLong: 0 }
  /** Nothing is heard of it and it hears nothing: the antenna is off. Its links time out. */
  radioOff = false
  /** It answers nothing and says nothing: firmware that hangs. */
  silent = false
  /** BOUNDED by the air's `linkCountMax`. By handle. */
  readonly ends: Map<number, End> = new Map()
  radioBusyUntil = 0

  randomAddress: Uint8Array | undefined
  eventMask: Uint8Array = EVENT_MASK_DEFAULT
  leEventMask: Uint8Array = LE_EVENT_MASK_DEFAULT
  advertising: Advertising = freshAdvertising()
  scanning: Scanning = freshScanning()
  initiating: Initiating | undefined
  defaultOctets = 27
  /** The status that the next command with this opcode is answered with, instead of being carried out. For tests. */
  readonly failNext: Map<number, number> = new Map()

  #handler: ((packet: Uint8Array) => void) | undefined
  /** BOUNDED by {@link DUPLICATES_MAX}, the oldest goes. */
  readonly #duplicates = new Set<string>()
  #cancelAdvertising: (() => void) | undefined
  /** Packets of each link that are done and not told yet: told together. */
  readonly #done = new Map<number, number>()
  #detached = false

  constructor(air: Medium, publicAddress: Uint8Array) {
    this.air = air
    this.publicAddress = publicAddress
  }

  onPacket(handler: (packet: Uint8Array) => void): void {
    this.#handler = handler
  }

  /** Pulled out: its links time out at the others, and nothing more is said. */
  detach(): void {
    this.reset()
    this.#detached = true
    this.air.remove(this)
  }

  /** The radio is interrupted: every link is gone at once, for both ends. */
  cutLinks(): void {
    for (const end of [...this.ends.values()]) end.link.end(undefined, hciStatus.connectionTimeout)
  }

  /** Says that it has failed, as firmware does before it hangs. */
  hardwareError(code: number): void {
    this.event(eventCode.hardwareError, Uint8Array.of(code))
  }

  write(packet: Uint8Array): void {
    if (this.silent || this.#detached) return
    switch (packet[0]) {
      case packetType.command:
        if (packet.length < 4 || packet.length !== 4 + packet[3]!) this.violations.malformed++
        else this.#command(readU16(packet, 1), packet.subarray(4))
        return
      case packetType.acl:
        if (packet.length < ACL_HEADER_SIZE || packet.length !== ACL_HEADER_SIZE + readU16(packet, 3)) this.violations.malformed++
        else this.#acl(packet)
        return
      default:
        this.violations.malformed++
    }
  }

  #command(code: number, parameters: Uint8Array): void {
    const command = commandTable.get(code)
    const failure = this.failNext.get(code)
    this.failNext.delete(code)
    if (command === undefined) {
      this.violations.unknownCommand++
      this.status(code, hciStatus.unknownCommand)
    } else if (failure !== undefined) command.refuse(this, code, failure)
    else if (parameters.length !== command.length) command.refuse(this, code, hciStatus.invalidParameters)
    else command.run(this, parameters, code)
  }

  #acl(packet: Uint8Array): void {
    const header = readU16(packet, 1)
    const end = this.ends.get(header & 0x0fff)
    const flag = (header >>> 12) & 3
    let used = 0
    for (const each of this.ends.values()) used += each.waiting.length
    if (end === undefined) this.violations.unknownHandle++
    else if (flag === 3 || header >>> 14 !== 0) this.violations.malformed++
    else if (packet.length - ACL_HEADER_SIZE > this.air.bufferLength) this.violations.tooLong++
    else if (used >= this.air.bufferCount) {
      this.violations.overrun++
      this.event(eventCode.dataOverflow, Uint8Array.of(1))
    } else end.link.send(end, flag === boundary.continuing ? boundary.continuing : boundary.first, packet.slice(ACL_HEADER_SIZE))
  }

  // To the host.

  emit(packet: Uint8Array): void {
    this.air.time.soon(() => {
      if (!this.silent && !this.#detached) this.#handler?.(packet)
    })
  }

  event(code: number, ...parts: readonly Uint8Array[]): void {
    const bit = code - 1
    if ((this.eventMask[bit >>> 3]! & (1 << (bit & 7))) === 0 && !alwaysTold.has(code)) return
    this.emit(encodeHciEvent(code, ...parts))
  }

  leMeta(code: number, ...parts: readonly Uint8Array[]): void {
    const bit = code - 1
    if ((this.leEventMask[bit >>> 3]! & (1 << (bit & 7))) !== 0) this.event(eventCode.leMeta, Uint8Array.of(code), ...parts)
  }

  complete(code: number, status: number, ...parts: readonly Uint8Array[]): void {
    this.event(eventCode.commandComplete, Uint8Array.of(1), u16Bytes(code), Uint8Array.of(status), ...parts)
  }

  status(code: number, status: number): void {
    this.event(eventCode.commandStatus, Uint8Array.of(status, 1), u16Bytes(code))
  }

  completed(handle: number, count: number): void {
    if (this.#done.size === 0) this.air.time.soon(() => this.#tellDone())
    this.#done.set(handle, (this.#done.get(handle) ?? 0) + count)
  }

  #tellDone(): void {
    // A link that has ended meanwhile gave its buffers back with that.
    const told = [...this.#done].filter(([handle]) => this.ends.has(handle))
    this.#done.clear()
    if (told.length > 0) this.event(eventCode.completedPackets, Uint8Array.of(told.length), ...told.map(([handle, count]) => concat(u16Bytes(handle), u16Bytes(count))))
  }

  ended(end: End, reason: number): void {
    if (!this.ends.delete(end.handle)) return
    this.event(eventCode.disconnected, Uint8Array.of(hciStatus.success), u16Bytes(end.handle), Uint8Array.of(reason))
  }

  // The radio.

  /** The address that goes over the air; `undefined` when a random one is wanted and none was set. */
  ownAddress(type: number): Uint8Array | undefined {
    return (type & 1) === 1 ? this.randomAddress : this.publicAddress
  }

  reset(): void {
    this.setAdvertising(false)
    for (const end of [...this.ends.values()]) end.link.abandon(end)
    this.ends.clear()
    this.#done.clear()
    this.#duplicates.clear()
    this.randomAddress = undefined
    this.eventMask = EVENT_MASK_DEFAULT
    this.leEventMask = LE_EVENT_MASK_DEFAULT
    this.advertising = freshAdvertising()
    this.scanning = freshScanning()
    this.initiating = undefined
    this.defaultOctets = 27
  }

  setScanning(on: boolean, dropDuplicates: boolean): void {
    this.scanning.on = on
    this.scanning.dropDuplicates = dropDuplicates
    this.#duplicates.clear()
  }

  setAdvertising(on: boolean): void {
    this.advertising.on = on
    this.#cancelAdvertising?.()
    this.#cancelAdvertising = undefined
    if (on) this.#nextAdvertisement(0)
  }

  #nextAdvertisement(wait: number): void {
    this.#cancelAdvertising = this.air.time.after(wait, () => {
      this.#advertise()
      if (!this.advertising.on) return
      const limit = this.air.advertisingIntervalMaxMs
      const interval = limit > 0 ? Math.min(limit, this.advertising.intervalMs) : this.advertising.intervalMs
      this.#nextAdvertisement(interval + this.air.random() * ADVERTISING_DELAY_MAX_MS)
    })
  }

  #advertise(): void {
    const own = this.ownAddress(this.advertising.ownType)
    if (own === undefined || this.radioOff || this.silent) return
    const ownType = this.advertising.ownType & 1
    for (const other of this.air.controllers) {
      if (other === this || (!other.scanning.on && other.initiating === undefined)) continue
      const rssi = this.air.heard(this, other)
      if (rssi === undefined || this.air.random() < this.air.advertisementLoss) continue
      const initiating = other.initiating
      if (isConnectable(this.advertising.type) && initiating?.peerType === ownType && equalBytes(initiating.peer, own)) {
        if (this.#accept(other, initiating)) return
      } else if (other.scanning.on && this.air.random() < other.scanning.share) other.hear({ type: this.advertising.type, addressType: ownType, address: own, data: this.advertising.data, scanResponse: this.advertising.scanResponse, rssi })
    }
  }

  hear({ type, addressType, address, data, scanResponse, rssi }: HeardAdvertisement): void {
    if (this.scanning.dropDuplicates) {
      const key = `${addressType} ${address.join()} ${data.join()}`
      if (this.#duplicates.has(key)) return
      this.#duplicates.add(key)
      if (this.#duplicates.size > DUPLICATES_MAX) this.#duplicates.delete(this.#duplicates.keys().next().value!)
    }
    const report = (kind: number, bytes: Uint8Array): void =>
      this.leMeta(leEvent.advertisingReport, Uint8Array.of(1, kind, addressType), address, Uint8Array.of(bytes.length), bytes, Uint8Array.of(rssi & 0xff))
    report(type, data)
    // Answers to scan requests come from those that can be scanned: ADV_IND and ADV_SCAN_IND.
    if (this.scanning.active && (type === 0 || type === 2)) report(4, scanResponse)
  }

  /** A central that waited for this address has it. Legacy advertising ends with that. */
  #accept(central: Radio, initiating: Initiating): boolean {
    if (this.ends.size >= this.air.linkCountMax || central.ends.size >= this.air.linkCountMax) return false
    const link = this.air.connect(central, this)
    central.initiating = undefined
    this.setAdvertising(false)
    central.ends.set(link.central.handle, link.central)
    this.ends.set(link.peripheral.handle, link.peripheral)
    const tail = concat(u16Bytes(initiating.interval), u16Bytes(initiating.latency), u16Bytes(initiating.supervision), Uint8Array.of(0))
    const own = central.ownAddress(initiating.ownType) ?? central.publicAddress
    this.leMeta(leEvent.connected, Uint8Array.of(0), u16Bytes(link.peripheral.handle), Uint8Array.of(1, initiating.ownType & 1), own, tail)
    central.leMeta(leEvent.connected, Uint8Array.of(0), u16Bytes(link.central.handle), Uint8Array.of(0, initiating.peerType), initiating.peer, tail)
    link.setParameters(initiating.interval, initiating.supervision)
    return true
  }

  /** The create command was called off, or could not be carried out. */
  endInitiating(status: number): void {
    const { initiating } = this
    if (initiating === undefined) return
    this.initiating = undefined
    const nothing = new Uint8Array(2 + 2 + 2 + 1)
    this.leMeta(leEvent.connected, Uint8Array.of(status), u16Bytes(0), Uint8Array.of(0, initiating.peerType), initiating.peer, nothing)
  }
}

const alwaysTold: ReadonlySet<number> = new Set([eventCode.commandComplete, eventCode.commandStatus, eventCode.completedPackets])

function isConnectable(type: number): boolean {
  return type === 0 || type === 1 || type === 4
}

function freshAdvertising(): Advertising {
  return { on: false, intervalMs: 1280, type: 0, ownType: 0, data: new Uint8Array(0), scanResponse: new Uint8Array(0) }
}

function freshScanning(): Scanning {
  return { on: false, active: false, ownType: 0, share: 1, dropDuplicates: false }
}

