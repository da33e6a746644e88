import { concat, readU16 } from '../../../../src/core/base/bytes.ts'
import { boundary, encodeAcl, encodeHciEvent, eventCode, leEvent, opcode, packetType, u16Bytes } from '../../../../src/core/wire/hci.ts'
import { l2capFrame } from '../../../../src/net/ble/hci/acl.ts'
import type { HciTime, HciTransport } from '../../../../src/net/ble/hci/transport.ts'

/** A clock that goes when it is told to. */
export class PlayedTime implements HciTime {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>()
  /** Timers that ran: what a busy loop would make many of. */
  fired = 0

  now(): number {
    return this.#now
  }

  after(milliseconds: number, run: () => void): () => void {
    const timer = { at: this.#now + milliseconds, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  get waiting(): number {
    return this.#timers.size
  }

  /** In between, everything that waits for nothing but its turn has it. */
  async pass(milliseconds: number): Promise<void> {
    const until = this.#now + milliseconds
    await settle()
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = next.at
      this.fired++
      next.run()
      await settle()
    }
    this.#now = until
  }
}

/** A few turns of the loop: enough for what the packages put off. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise(setImmediate)
}

const VERSION = Uint8Array.of(9, 0, 0, 9, 0xff, 0xff, 0, 0)
const ADDRESS = Uint8Array.of(1, 0, 0, 0, 0xde, 0xc0)
export const BUFFERS = 4
const begun: ReadonlySet<number> = new Set([opcode.leCreateConnection, opcode.disconnect, opcode.leUpdateConnection])

/** The way to a controller that a test plays: it answers what must be answered, unless the test does it. */
export class PlayedController implements HciTransport {
  readonly commands: { readonly code: number; readonly parameters: Uint8Array }[] = []
  /** Frames that the host has sent, of each link. */
  readonly frames: Map<number, { readonly channel: number; readonly payload: Uint8Array }[]> = new Map()
  /** Pieces that it holds of each link, and the most that it held at once of all. */
  readonly heldOf: Map<number, number> = new Map()
  heldMost = 0
  isClosed = false
  /** Instead of the answers below. */
  onCommand: ((code: number, parameters: Uint8Array) => void) | undefined
  onFrame: (handle: number, channel: number, payload: Uint8Array) => void = () => undefined
  /** Whether pieces are done with as they come. */
  completes = true
  readonly #partial = new Map<number, Uint8Array>()
  #take: (packet: Uint8Array) => void = () => undefined
  #closed: (why: string) => void = () => undefined

  start(packet: (packet: Uint8Array) => void, closed: (why: string) => void): void {
    this.#take = packet
    this.#closed = closed
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#closed('closed')
  }

  /** It has gone. */
  end(why: string): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#closed(why)
  }

  write(packet: Uint8Array): void {
    if (packet[0] === packetType.acl) this.#data(packet)
    else {
      const [code, parameters] = [readU16(packet, 1), packet.slice(4)]
      this.commands.push({ code, parameters })
      if (this.onCommand === undefined) this.answer(code, parameters)
      else this.onCommand(code, parameters)
    }
  }

  answer(code: number, parameters: Uint8Array): void {
    if (begun.has(code)) this.later(() => this.status(code))
    else this.later(() => this.complete(code, 0, answers.get(code) ?? new Uint8Array(0)))
    if (code === opcode.disconnect) this.later(() => this.disconnected(readU16(parameters, 0)))
  }

  later(run: () => void): void {
    queueMicrotask(() => {
      if (!this.isClosed) run()
    })
  }

  /** Any bytes, as a packet. */
  say(packet: Uint8Array): void {
    if (!this.isClosed) this.#take(packet)
  }

  event(code: number, ...parts: readonly Uint8Array[]): void {
    this.say(encodeHciEvent(code, ...parts))
  }

  complete(code: number, status: number, parameters: Uint8Array = new Uint8Array(0), room = 1): void {
    this.event(eventCode.commandComplete, Uint8Array.of(room), u16Bytes(code), Uint8Array.of(status), parameters)
  }

  status(code: number, status = 0, room = 1): void {
    this.event(eventCode.commandStatus, Uint8Array.of(status, room), u16Bytes(code))
  }

  connected(handle: number, role: 'central' | 'peripheral', address: Uint8Array, status = 0): void {
    this.event(eventCode.leMeta, Uint8Array.of(leEvent.connected, status), u16Bytes(handle), Uint8Array.of(role === 'central' ? 0 : 1, 1), address, Uint8Array.of(6, 0, 0, 0, 0x90, 1, 0))
  }

  disconnected(handle: number, reason = 0x13): void {
    this.#partial.delete(handle)
    this.heldOf.delete(handle)
    this.event(eventCode.disconnected, Uint8Array.of(0), u16Bytes(handle), Uint8Array.of(reason))
  }

  completed(handle: number, count: number): void {
    this.event(eventCode.completedPackets, Uint8Array.of(1), u16Bytes(handle), u16Bytes(count))
  }

  report(address: Uint8Array, data: Uint8Array): void {
    this.event(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport, 1, 0, 1), address, Uint8Array.of(data.length), data, Uint8Array.of(0xc4))
  }

  /** A frame of the other side of a link, cut into pieces. */
  frame(handle: number, channel: number, payload: Uint8Array, size = 251): void {
    const bytes = l2capFrame(channel, payload)
    for (let at = 0; at < bytes.length; at += size) this.say(encodeAcl(handle, at === 0 ? boundary.first : boundary.continuing, bytes.subarray(at, at + size)))
  }

  att(handle: number, ...pdu: readonly number[]): void {
    this.frame(handle, 4, Uint8Array.from(pdu))
  }

  #data(packet: Uint8Array): void {
    const header = readU16(packet, 1)
    const handle = header & 0x0fff
    this.heldOf.set(handle, (this.heldOf.get(handle) ?? 0) + 1)
    let held = 0
    for (const count of this.heldOf.values()) held += count
    this.heldMost = Math.max(this.heldMost, held)
    const before = header >> 12 === boundary.continuing ? this.#partial.get(handle) ?? new Uint8Array(0) : new Uint8Array(0)
    const bytes = concat(before, packet.subarray(5))
    this.#partial.set(handle, bytes)
    if (bytes.length >= 4 && bytes.length === 4 + readU16(bytes, 0)) {
      const frame = { channel: readU16(bytes, 2), payload: bytes.slice(4) }
      const kept = this.frames.get(handle) ?? []
      if (kept.length < 20_000) kept.push(frame)
      this.frames.set(handle, kept)
      this.later(() => this.onFrame(handle, frame.channel, frame.payload))
    }
    if (this.completes) this.later(() => this.completePieces(handle, 1))
  }

  /** It is done with so many pieces, or with all that it has, and says that it is with so many. */
  completePieces(handle: number, count: number): void {
    this.heldOf.set(handle, Math.max(0, (this.heldOf.get(handle) ?? 0) - count))
    this.completed(handle, count)
  }
}

const answers: ReadonlyMap<number, Uint8Array> = new Map([
  [opcode.readLocalVersion, VERSION],
  [opcode.readAddress, ADDRESS],
  [opcode.leReadLocalFeatures, Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0, 0)],
  [opcode.leReadBufferSize, Uint8Array.of(251, 0, BUFFERS)],
  [opcode.readRssi, Uint8Array.of(0, 0, 0xc4)],
])
