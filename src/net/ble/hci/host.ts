import { readU16, writeU16 } from '../../../core/base/bytes.ts'
import {
  ACL_HEADER_SIZE, addressText, encodeHciCommand, eventCode, hciStatus, leEvent, opcode, packetType, u16Bytes, type AddressType,
} from '../../../core/wire/hci.ts'
import type { DropReason } from '../backend.ts'
import { AclSender, FrameReader, l2capFrame } from './acl.ts'
import type { HciTime, HciTransport } from './transport.ts'

/** A controller answers within milliseconds; one that has not after this hangs. */
const ANSWER_MS = 2000
/** A link that was asked to end and does not within this is forgotten. More than any supervision timeout we ask for. */
const END_MS = 6000
/** Commands that wait for the controller: three of each link, and those of the radio, are far fewer. Who asks for more is in a loop, which ends with that. */
const COMMANDS_WAITING_MAX = 64
/** vol 4 part E §7.3.1 and §7.8.1: which events we want: what is of use without the classic radio, and of LE the first five and the change of lengths. */
const EVENT_MASK = Uint8Array.of(0xff, 0xff, 0xfb, 0xff, 0x07, 0xf8, 0xbf, 0x3d)
const LE_EVENT_MASK = Uint8Array.of(0x5f, 0, 0, 0, 0, 0, 0, 0)
/** vol 4 part E §6.27: bit of LE Set Data Length in the features of LE. */
const FEATURE_DATA_LENGTH = 0x20
const OCTETS_MAX = 251
const TIME_MAX = 2120

/** What a command was answered with. */
export interface Answer {
  readonly status: number
  readonly parameters: Uint8Array
}

/** vol 4 part E §7.7.65.1. */
const INTERVAL_UNIT_MS = 1.25

export interface HciLink {
  readonly handle: number
  readonly role: 'central' | 'peripheral'
  readonly address: string
  readonly addressType: AddressType
  /** From one connection event to the next, when it was opened. */
  readonly intervalMs: number
}

/** A controller that does what it should, and cannot be used. */
export class AdapterError extends Error {
  readonly code = 'unusable'
}

/** What happens at a controller. All of it is told while a packet is taken or later, none from inside a call to the host. */
export interface HostHandler {
  /** The event as it came is for the package that has the link. */
  opened(link: HciLink, packet: Uint8Array): void
  /** A create command came to nothing. */
  notOpened(status: number, packet: Uint8Array): void
  closed(link: HciLink, reason: number): void
  received(link: HciLink, channel: number, payload: Uint8Array): void
  sent(link: HciLink, values: number): void
  /** Advertising reports: the parameters after the number of reports. */
  reports(count: number, bytes: Uint8Array): void
  /** Any other event about a link. */
  linkEvent(link: HciLink, packet: Uint8Array): void
  /** Something that came made no sense and is gone. */
  dropped(reason: DropReason): void
  /** The controller cannot be used any more. Links are gone without being told one by one. */
  failed(why: string): void
}

interface Command {
  readonly code: number
  readonly packet: Uint8Array
  readonly answered: (answer: Answer) => void
}

interface OpenLink {
  readonly link: HciLink
  readonly reader: FrameReader
  cancelEnd: (() => void) | undefined
}

/** The host's side of one controller: commands one after the other, links and their data. It trusts nothing that the controller says. */
export class HciHost {
  readonly #transport: HciTransport
  readonly #handler: HostHandler
  readonly #time: HciTime
  readonly #acl: AclSender
  /** BOUNDED by what the controller opens; a handle has 12 bits. */
  readonly #links = new Map<number, OpenLink>()
  /** BOUNDED by {@link COMMANDS_WAITING_MAX}; full: the host fails. */
  readonly #waiting: Command[] = []
  #asked: Command | undefined
  /** How many commands the controller takes now. */
  #room = 1
  /** Of the controller's next word, when we wait for one: an answer, or that it takes commands again. */
  #cancelAnswer: (() => void) | undefined
  #failed = false
  #canLengthen = false
  address = ''
  /** Why it cannot be used any more; the handler hears of it a moment later. */
  failure: string | undefined

  constructor(transport: HciTransport, handler: HostHandler, time: HciTime) {
    this.#transport = transport
    this.#handler = handler
    this.#time = time
    this.#acl = new AclSender((packet) => this.#transport.write(packet), (handle, values) => {
      const open = this.#links.get(handle)
      if (open !== undefined) this.#handler.sent(open.link, values)
    })
    transport.start((packet) => this.#take(packet), (why) => this.#fail(why))
  }

  /** Resets the controller and learns what it can. Rejects when it is none for Low Energy; a failure of the way is told to the handler. */
  async begin(): Promise<void> {
    await this.#must(opcode.reset)
    const version = await this.#must(opcode.readLocalVersion)
    if (version[0]! < 6) throw new AdapterError('the adapter is older than Bluetooth 4.0 and has no Low Energy')
    await this.#must(opcode.setEventMask, EVENT_MASK)
    await this.#must(opcode.leSetEventMask, LE_EVENT_MASK)
    // A classic controller must be told that its host speaks LE; one without the classic radio may not know the command.
    await this.ask(opcode.writeLeHostSupport, Uint8Array.of(1, 0))
    this.address = addressText(await this.#must(opcode.readAddress))
    this.#canLengthen = ((await this.#must(opcode.leReadLocalFeatures))[0]! & FEATURE_DATA_LENGTH) !== 0
    const le = await this.#must(opcode.leReadBufferSize)
    if (readU16(le, 0) >= 27 && le[2]! > 0) this.#acl.setBuffers(readU16(le, 0), le[2]!)
    else {
      const shared = await this.#must(opcode.readBufferSize)
      if (readU16(shared, 0) < 27 || readU16(shared, 3) === 0) throw new AdapterError('the adapter has no buffers for data')
      this.#acl.setBuffers(readU16(shared, 0), readU16(shared, 3))
    }
  }

  async #must(code: number, parameters?: Uint8Array): Promise<Uint8Array> {
    const { status, parameters: answer } = await this.ask(code, parameters)
    if (status !== hciStatus.success) throw new AdapterError(`the adapter refuses command 0x${code.toString(16)} with 0x${status.toString(16)}`)
    const padded = new Uint8Array(Math.max(8, answer.length))
    padded.set(answer)
    return padded
  }

  ask(code: number, parameters?: Uint8Array): Promise<Answer> {
    return new Promise((resolve) => this.command(code, parameters, resolve))
  }

  /** `answered` is called while the answer is taken, so before anything that follows it; never, once the host has failed. */
  command(code: number, parameters: Uint8Array | undefined, answered: (answer: Answer) => void): void {
    if (this.#failed) return
    if (this.#waiting.length >= COMMANDS_WAITING_MAX) this.#fail('the adapter has not answered for too many commands')
    else {
      this.#waiting.push({ code, packet: encodeHciCommand(code, parameters), answered })
      this.#next()
    }
  }

  /** One frame of L2CAP. A link whose peer does not let us send what it asks for is closed. */
  send(handle: number, channel: number, payload: Uint8Array, isValue: boolean): void {
    if (this.#acl.send(handle, l2capFrame(channel, payload), isValue) === 'full') this.disconnect(handle)
  }

  disconnect(handle: number, reason: number = hciStatus.remoteEnded): void {
    const open = this.#links.get(handle)
    if (open === undefined || open.cancelEnd !== undefined) return
    open.cancelEnd = this.#time.after(END_MS, () => this.#close(handle, hciStatus.connectionTimeout))
    this.command(opcode.disconnect, Uint8Array.of(...u16Bytes(handle), reason), ({ status }) => {
      if (status === hciStatus.unknownConnection) this.#close(handle, hciStatus.connectionTimeout)
    })
  }

  /** Something that only the controller could have done has not happened. */
  giveUp(why: string): void {
    this.#fail(why)
  }

  /** Ends every link and puts the controller to rest; `done` when it has answered. */
  finish(done: () => void): void {
    for (const handle of this.#links.keys()) this.disconnect(handle)
    this.command(opcode.reset, undefined, done)
  }

  close(): void {
    this.#failed = true
    this.#cancelTimers()
    this.#transport.close()
  }

  #next(): void {
    if (this.#asked !== undefined || this.#waiting.length === 0) return
    if (this.#room === 0) {
      this.#cancelAnswer ??= this.#time.after(ANSWER_MS, () => this.#fail('the adapter takes no commands'))
      return
    }
    const command = this.#waiting.shift()!
    this.#asked = command
    this.#cancelAnswer?.()
    this.#cancelAnswer = this.#time.after(ANSWER_MS, () => this.#fail('the adapter does not answer'))
    this.#transport.write(command.packet)
  }

  #answer(code: number, room: number, answer: Answer): void {
    this.#room = Math.min(1, room)
    const asked = this.#asked
    if (asked?.code === code) {
      this.#cancelAnswer?.()
      this.#cancelAnswer = undefined
      this.#asked = undefined
      asked.answered(answer)
    } else if (code !== 0) this.#handler.dropped('hci')
    // 0 says only that there is room again.
    if (!this.#failed) this.#next()
  }

  /** Told later: whoever is calling does not expect that its links are gone when this returns. */
  #fail(why: string): void {
    if (this.#failed) return
    this.failure = why
    this.close()
    queueMicrotask(() => this.#handler.failed(why))
  }

  #cancelTimers(): void {
    this.#cancelAnswer?.()
    for (const { cancelEnd } of this.#links.values()) cancelEnd?.()
    this.#links.clear()
    this.#acl.reset()
    this.#waiting.length = 0
  }

  #take(packet: Uint8Array): void {
    if (this.#failed) return
    if (packet[0] === packetType.acl && packet.length >= ACL_HEADER_SIZE && packet.length === ACL_HEADER_SIZE + readU16(packet, 3)) this.#takeData(packet)
    else if (packet[0] === packetType.event && packet.length >= 3 && packet.length === 3 + packet[2]!) this.#takeEvent(packet)
    else this.#handler.dropped('hci')
  }

  #takeData(packet: Uint8Array): void {
    const header = readU16(packet, 1)
    const open = this.#links.get(header & 0x0fff)
    if (open === undefined) {
      this.#handler.dropped('hci')
      return
    }
    const frame = open.reader.take((header >>> 12) & 3, packet.subarray(ACL_HEADER_SIZE))
    if (frame === 'malformed') {
      this.#handler.dropped('l2cap')
      this.disconnect(open.link.handle)
    } else if (frame !== 'more') this.#handler.received(open.link, frame.channel, frame.payload)
  }

  #takeEvent(packet: Uint8Array): void {
    const p = packet.subarray(3)
    switch (packet[1]) {
      case eventCode.commandComplete:
        // Room, opcode, status, and what belongs to it; no status when there was no command.
        if (p.length < 3 || (p.length === 3 && readU16(p, 1) !== 0)) this.#handler.dropped('hci')
        else this.#answer(readU16(p, 1), p[0]!, { status: p[3] ?? hciStatus.success, parameters: p.slice(4) })
        return
      case eventCode.commandStatus:
        if (p.length < 4) this.#handler.dropped('hci')
        else this.#answer(readU16(p, 2), p[1]!, { status: p[0]!, parameters: new Uint8Array(0) })
        return
      case eventCode.disconnected:
        if (p.length < 4) this.#handler.dropped('hci')
        else if (p[0] === hciStatus.success) this.#close(readU16(p, 1) & 0x0fff, p[3]!)
        return
      case eventCode.completedPackets:
        if (p.length === 0 || p.length !== 1 + 4 * p[0]!) this.#handler.dropped('hci')
        else for (let at = 1; at < p.length; at += 4) if (!this.#acl.completed(readU16(p, at) & 0x0fff, readU16(p, at + 2))) this.#handler.dropped('hci')
        return
      case eventCode.encryptionChanged:
        this.#tellLink(p.length < 4 ? undefined : 1, packet)
        return
      case eventCode.hardwareError:
        this.#fail(`the adapter reports an error of its hardware, 0x${(p[0] ?? 0).toString(16)}`)
        return
      case eventCode.leMeta:
        this.#takeLowEnergy(packet, p.subarray(1))
        return
      default:
    }
  }

  /** `p`: after the code of the LE event. */
  #takeLowEnergy(packet: Uint8Array, p: Uint8Array): void {
    switch (packet[3]) {
      case leEvent.connected:
        if (p.length < 18 || (p[0] === hciStatus.success && p[3]! > 1)) this.#handler.dropped('hci')
        else if (p[0] !== hciStatus.success) this.#handler.notOpened(p[0]!, packet)
        else this.#open({ handle: readU16(p, 1) & 0x0fff, role: p[3] === 0 ? 'central' : 'peripheral', address: addressText(p, 5), addressType: (p[4]! & 1) === 1 ? 'random' : 'public', intervalMs: readU16(p, 11) * INTERVAL_UNIT_MS }, packet)
        return
      case leEvent.advertisingReport:
        if (p.length === 0) this.#handler.dropped('hci')
        else this.#handler.reports(p[0]!, p.subarray(1))
        return
      case leEvent.connectionUpdated:
        this.#tellLink(p.length < 9 ? undefined : 2, packet)
        return
      default:
    }
  }

  /** `at`: where the handle stands in the parameters; its upper bits mean nothing, and packages compare them. */
  #tellLink(at: number | undefined, packet: Uint8Array): void {
    const handle = at === undefined ? -1 : readU16(packet, 3 + at) & 0x0fff
    const open = this.#links.get(handle)
    if (at === undefined || open === undefined) {
      this.#handler.dropped('hci')
      return
    }
    writeU16(packet, 3 + at, handle)
    this.#handler.linkEvent(open.link, packet)
  }

  #open(link: HciLink, packet: Uint8Array): void {
    if (this.#links.has(link.handle)) {
      this.#handler.dropped('hci')
      return
    }
    writeU16(packet, 5, link.handle)
    this.#links.set(link.handle, { link, reader: new FrameReader(), cancelEnd: undefined })
    this.#acl.open(link.handle)
    // Longer packets of the link layer: eight times fewer of them. The other side agrees or not.
    if (this.#canLengthen && link.role === 'central') this.command(opcode.leSetDataLength, Uint8Array.of(...u16Bytes(link.handle), ...u16Bytes(OCTETS_MAX), ...u16Bytes(TIME_MAX)), () => undefined)
    this.#handler.opened(link, packet)
  }

  #close(handle: number, reason: number): void {
    const open = this.#links.get(handle)
    if (open === undefined) return
    open.cancelEnd?.()
    this.#links.delete(handle)
    this.#acl.close(handle)
    this.#handler.closed(open.link, reason)
  }
}
