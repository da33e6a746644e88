import { readU16 } from '../../../core/base/bytes.ts'
import { addressBytes, encodeHciEvent, eventCode, hciStatus, l2capChannel, leEvent, opcode, packetType, u16Bytes, type AddressType } from '../../../core/wire/hci.ts'
import type { DropReason } from '../backend.ts'
import { judge } from './guard.ts'
import type { HciHost, HciLink, HostHandler } from './host.ts'
import type { PackageSocket } from './packages.ts'
import type { HciTime } from './transport.ts'

/** ATT opcodes (vol 3 part F §3.4.8) whose values are the transport's. */
const ATT = { notification: 0x1b, writeCommand: 0x52 } as const
/** A dial that was called off must end within this, or no other can begin. */
const CANCEL_MS = 3000
/** What the packages are told of their controller: Bluetooth 5, and buffers that are never short, since those of the real one are the multiplexer's. */
const VERSION = Uint8Array.of(9, 0, 0, 9, 0xff, 0xff, 0, 0)
const BUFFERS = Uint8Array.of(...u16Bytes(1021), 255)
/** Commands of the packages that go to the controller, since they speak of a link or of a dial. All others are answered here: nothing that a package thinks of scanning, advertising or resetting changes anything. */
const passed: ReadonlySet<number> = new Set([opcode.leCreateConnection, opcode.leCancelConnection, opcode.leUpdateConnection, opcode.readRssi])
/** Of the create command, where the type of the own address stands. */
const OWN_TYPE_AT = 4 + 12
const RANDOM_OWN_ADDRESS = 1

/** One copy of a package. */
export interface Tap {
  readonly role: 'central' | 'peripheral'
  readonly socket: PackageSocket
  /** Hands a frame to the package's GATT. */
  receive(link: HciLink, channel: number, payload: Buffer): void
  /** Called before the package hears of it; and after it has. */
  opened(link: HciLink): void
  closed(link: HciLink, reason: number): void
  sent(link: HciLink, values: number): void
  /** The package has thrown: its link is ended. */
  threw(link: HciLink | undefined, error: unknown): void
}

/**
 * Several copies of packages that know nothing of one another on one controller. Links that we dialed are noble's; each that dialed us gets a free copy of
 * bleno; a link is ended when there is none. Each copy sees a controller with its own links only. When the real controller fails and comes back, the copies
 * see their links end and nothing else.
 */
export class HciMultiplexer {
  readonly #central: Tap
  readonly #slots: readonly Tap[]
  /** Which copy has a link, by handle. */
  readonly #owners = new Map<number, { readonly tap: Tap; readonly link: HciLink }>()
  readonly #taken = new Set<Tap>()
  /** Links whose parameters are being changed: one command of each at a time. */
  readonly #updating = new Set<number>()
  readonly #time: HciTime
  #host: HciHost | undefined
  #isDialing = false
  #cancelWatch: (() => void) | undefined
  /** A dial has ended: with a link or with nothing. */
  onDialEnd: () => void = () => undefined
  /** Whether every slot is taken; told after each link that dialed us came or went. */
  onSlots: (full: boolean, came: boolean) => void = () => undefined
  /** A frame of a peer was not let through. */
  onDrop: (reason: DropReason) => void = () => undefined

  constructor(central: Tap, slots: readonly Tap[], time: HciTime) {
    this.#time = time
    this.#central = central
    this.#slots = slots
    for (const tap of [central, ...slots]) tap.socket.onWrite = (packet) => this.#fromPackage(tap, packet)
  }

  get linkCount(): number {
    return this.#owners.size
  }

  /** A controller that has begun. */
  attach(host: HciHost): void {
    this.#host = host
  }

  /** The controller has failed or is given back: every link has ended. */
  detach(reason: number): void {
    this.#host = undefined
    for (const { link } of [...this.#owners.values()]) this.#close(link, reason)
    if (this.#isDialing) this.#dialEnded(encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connected, hciStatus.hardwareFailure), new Uint8Array(17)))
  }

  disconnect(handle: number): void {
    this.#host?.disconnect(handle)
  }

  /** noble hears of somebody, as it must before it can dial: an advertisement and a scan response, of which it tells after the second. */
  introduce(address: string, type: AddressType): void {
    const who = addressBytes(address)
    if (who === undefined) return
    const report = (kind: number): void => this.#deliver(this.#central, encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport, 1, kind, type === 'random' ? 1 : 0), who, Uint8Array.of(0, 0)))
    report(0)
    report(4)
  }

  /** What the host of the controller tells. */
  handler(): Omit<HostHandler, 'failed' | 'reports' | 'dropped'> {
    return {
      opened: (link, packet) => this.#open(link, packet),
      notOpened: (_, packet) => this.#dialEnded(packet),
      closed: (link, reason) => this.#close(link, reason),
      received: (link, channel, payload) => this.#receive(link, channel, payload),
      sent: (link, values) => this.#owners.get(link.handle)?.tap.sent(link, values),
      linkEvent: (link, packet) => {
        if (packet[1] === eventCode.leMeta && packet[3] === leEvent.connectionUpdated) this.#updating.delete(link.handle)
        const owner = this.#owners.get(link.handle)
        if (owner !== undefined) this.#deliver(owner.tap, packet)
      },
    }
  }

  /** A frame of a package's GATT for its link. */
  sendFrame(tap: Tap, handle: number, channel: number, payload: Uint8Array): void {
    if (this.#owners.get(handle)?.tap !== tap) return
    const isValue = channel === l2capChannel.att && (payload[0] === ATT.writeCommand || payload[0] === ATT.notification)
    this.#host?.send(handle, channel, payload, isValue)
  }

  #open(link: HciLink, packet: Uint8Array): void {
    const tap = link.role === 'central' ? this.#central : this.#slots.find((slot) => !this.#taken.has(slot))
    if (tap === undefined) {
      this.#host?.disconnect(link.handle, hciStatus.remoteLowResources)
      this.onSlots(true, true)
      return
    }
    this.#owners.set(link.handle, { tap, link })
    if (tap.role === 'peripheral') this.#taken.add(tap)
    else this.#setDialing(false)
    tap.opened(link)
    this.#deliver(tap, packet)
    if (tap.role === 'central') this.onDialEnd()
    else this.onSlots(this.#taken.size === this.#slots.length, true)
  }

  #dialEnded(packet: Uint8Array): void {
    if (!this.#isDialing) return
    this.#setDialing(false)
    this.#deliver(this.#central, packet)
    this.onDialEnd()
  }

  #close(link: HciLink, reason: number): void {
    const owner = this.#owners.get(link.handle)
    if (owner === undefined) return
    this.#owners.delete(link.handle)
    this.#updating.delete(link.handle)
    this.#taken.delete(owner.tap)
    this.#deliver(owner.tap, encodeHciEvent(eventCode.disconnected, Uint8Array.of(hciStatus.success), u16Bytes(link.handle), Uint8Array.of(reason)))
    owner.tap.closed(link, reason)
    if (owner.tap.role === 'peripheral') this.onSlots(false, false)
  }

  #receive(link: HciLink, channel: number, payload: Uint8Array): void {
    const owner = this.#owners.get(link.handle)
    if (owner === undefined) return
    const verdict = judge(link.role, channel, payload, this.#updating.has(link.handle))
    if (verdict !== 'pass') {
      this.onDrop('end' in verdict ? verdict.end : verdict.drop)
      if ('end' in verdict) this.#host?.disconnect(link.handle)
      else if (verdict.answer !== undefined) this.#host?.send(link.handle, channel, verdict.answer, false)
      return
    }
    try {
      owner.tap.receive(link, channel, Buffer.from(payload.buffer, payload.byteOffset, payload.length))
    } catch (error) {
      owner.tap.threw(link, error)
      this.#host?.disconnect(link.handle)
    }
  }

  #deliver(tap: Tap, packet: Uint8Array): void {
    try {
      tap.socket.emit('data', Buffer.from(packet))
    } catch (error) {
      tap.threw(undefined, error)
    }
  }

  #fromPackage(tap: Tap, packet: Uint8Array): void {
    if (packet[0] !== packetType.command || packet.length < 4) return
    const code = readU16(packet, 1)
    if (code === opcode.disconnect) {
      const handle = packet.length >= 6 ? readU16(packet, 4) : -1
      if (this.#owners.get(handle)?.tap === tap) this.disconnect(handle)
    } else if (!passed.has(code)) this.#answer(tap, code, answers.get(code)?.() ?? new Uint8Array(0))
    else if (this.#host === undefined) this.#status(tap, code, hciStatus.hardwareFailure)
    else if (code === opcode.leCreateConnection) this.#create(tap, packet)
    else if (code === opcode.leCancelConnection) this.#cancel()
    else this.#ofLink(tap, code, packet)
  }

  /** Commands about one link: from the copy that has it, and one change at a time. */
  #ofLink(tap: Tap, code: number, packet: Uint8Array): void {
    const handle = packet.length >= 6 ? readU16(packet, 4) : -1
    if (this.#owners.get(handle)?.tap !== tap || (code === opcode.leUpdateConnection && this.#updating.has(handle))) return
    if (code === opcode.leUpdateConnection) this.#updating.add(handle)
    this.#host?.command(code, packet.slice(4), ({ status, parameters }) => {
      if (code === opcode.leUpdateConnection && status !== hciStatus.success) this.#updating.delete(handle)
      if (code === opcode.readRssi && status === hciStatus.success) this.#answer(tap, code, parameters)
    })
  }

  #create(tap: Tap, packet: Uint8Array): void {
    const parameters = packet.slice(4)
    if (parameters.length > OWN_TYPE_AT - 4) parameters[OWN_TYPE_AT - 4] = RANDOM_OWN_ADDRESS
    this.#setDialing(true)
    this.#host?.command(opcode.leCreateConnection, parameters, ({ status }) => {
      if (status === hciStatus.success || !this.#isDialing) return
      this.#setDialing(false)
      this.#status(tap, opcode.leCreateConnection, status)
      this.onDialEnd()
    })
  }

  #cancel(): void {
    const host = this.#host
    if (!this.#isDialing || host === undefined) return
    this.#cancelWatch?.()
    this.#cancelWatch = this.#time.after(CANCEL_MS, () => {
      if (this.#isDialing) host.giveUp('the adapter does not end a dial that was called off')
    })
    host.command(opcode.leCancelConnection, undefined, () => undefined)
  }

  #setDialing(dialing: boolean): void {
    this.#isDialing = dialing
    this.#cancelWatch?.()
  }

  /** After the package has returned: it does not expect an answer from inside its own call. */
  #answer(tap: Tap, code: number, parameters: Uint8Array): void {
    queueMicrotask(() => this.#deliver(tap, encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1), u16Bytes(code), Uint8Array.of(hciStatus.success), parameters)))
  }

  #status(tap: Tap, code: number, status: number): void {
    queueMicrotask(() => this.#deliver(tap, encodeHciEvent(eventCode.commandStatus, Uint8Array.of(status, 1), u16Bytes(code))))
  }
}

/** What the packages read from their controller. The address is nobody's: the real one is changed often, and they use it for pairing only. */
const answers: ReadonlyMap<number, () => Uint8Array> = new Map<number, () => Uint8Array>([
  [opcode.readLocalVersion, () => VERSION],
  [opcode.readAddress, () => new Uint8Array(6)],
  [opcode.leReadBufferSize, () => BUFFERS],
  [opcode.readBufferSize, () => Uint8Array.of(...u16Bytes(1021), 0, ...u16Bytes(255), 0, 0)],
  [opcode.readLeHostSupport, () => Uint8Array.of(1, 0)],
  [opcode.readLocalCommands, () => new Uint8Array(64)],
])
