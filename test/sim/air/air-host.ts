import { readU16 } from '../../../src/core/base/bytes.ts'
import { encodeAcl, encodeHciCommand, eventCode, leEvent, opcode, packetType, u16Bytes } from '../../../src/core/wire/hci.ts'
import { virtualAirTime } from '../../../src/sim/air/air-time.ts'
import { VirtualAir, type AirOptions } from '../../../src/sim/air/air.ts'
import type { AirController } from '../../../src/sim/air/controller.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { Scheduler } from '../../../src/sim/scheduler.ts'

/** A host that does what it is told, and keeps what it hears. */
export class TestHost {
  readonly controller: AirController
  readonly events: { readonly code: number; readonly parameters: Uint8Array }[] = []
  readonly data: { readonly handle: number; readonly flag: number; readonly data: Uint8Array; readonly at: number }[] = []
  completed = 0
  readonly #scheduler: Scheduler

  constructor(air: VirtualAir, scheduler: Scheduler) {
    this.controller = air.add()!
    this.#scheduler = scheduler
    this.controller.onPacket((packet) => this.#take(packet))
  }

  #take(packet: Uint8Array): void {
    if (packet[0] === packetType.acl) {
      this.data.push({ handle: readU16(packet, 1) & 0xfff, flag: readU16(packet, 1) >> 12, data: packet.subarray(5), at: this.#scheduler.now / 1000 })
      return
    }
    const parameters = packet.subarray(3)
    if (packet[1] === eventCode.completedPackets) for (let i = 0; i < parameters[0]!; i++) this.completed += readU16(parameters, 3 + 4 * i)
    this.events.push({ code: packet[1]!, parameters })
  }

  command(code: number, ...parameters: number[]): void {
    this.controller.write(encodeHciCommand(code, Uint8Array.from(parameters)))
  }

  /** A command, and the status it is answered with at once. */
  ask(code: number, ...parameters: number[]): number {
    const from = this.events.length
    this.command(code, ...parameters)
    this.#scheduler.run(1)
    const answer = this.events.slice(from).find(({ code: event, parameters: p }) => (event === eventCode.commandComplete && readU16(p, 1) === code) || (event === eventCode.commandStatus && readU16(p, 2) === code))
    if (answer === undefined) throw new Error(`no answer to 0x${code.toString(16)}`)
    return answer.code === eventCode.commandComplete ? answer.parameters[3]! : answer.parameters[0]!
  }

  /** The LE events with this code, without it. */
  le(code: number): Uint8Array[] {
    return this.events.filter((event) => event.code === eventCode.leMeta && event.parameters[0] === code).map((event) => event.parameters.subarray(1))
  }

  begin(): void {
    this.ask(opcode.reset)
    this.ask(opcode.setEventMask, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f)
    this.ask(opcode.leSetEventMask, 0xff, 0, 0, 0, 0, 0, 0, 0)
  }

  advertise(data: readonly number[] = [], type = 0): number {
    this.ask(opcode.leSetAdvertisingParameters, 0xa0, 0, 0xa0, 0, type, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0)
    this.ask(opcode.leSetAdvertisingData, data.length, ...data, ...new Uint8Array(31 - data.length))
    return this.ask(opcode.leSetAdvertisingEnable, 1)
  }

  scan(active: boolean, share = 1): number {
    this.ask(opcode.leSetScanParameters, active ? 1 : 0, 0xa0, 0, ...u16Bytes(0xa0 * share), 0, 0)
    return this.ask(opcode.leSetScanEnable, 1, 0)
  }

  /** Units are those of HCI: 1.25 ms and 10 ms. */
  dial(to: TestHost, interval = 12, supervision = 100): number {
    return this.ask(opcode.leCreateConnection, 0x60, 0, 0x30, 0, 0, 0, ...to.controller.publicAddress, 0, interval, 0, interval, 0, 0, 0, ...u16Bytes(supervision), 0, 0, 0, 0)
  }

  get handle(): number {
    return readU16(this.le(leEvent.connected).at(-1)!, 1)
  }

  send(data: Uint8Array, flag = 0, handle: number = this.handle): void {
    this.controller.write(encodeAcl(handle, flag, data))
  }

  get disconnections(): number[] {
    return this.events.filter((event) => event.code === eventCode.disconnected).map((event) => event.parameters[3]!)
  }
}

export interface TestAir {
  readonly air: VirtualAir
  readonly scheduler: Scheduler
  /** Runs so many milliseconds of virtual time. */
  readonly run: (milliseconds: number) => void
  readonly host: () => TestHost
  /** Two hosts with a link: the central first. */
  readonly pair: (interval?: number, supervision?: number) => [TestHost, TestHost]
}

export function testAir(options: Omit<AirOptions, 'time' | 'random'> = {}): TestAir {
  const scheduler = new Scheduler()
  const random = new SeededRandom(1)
  const air = new VirtualAir({ ...options, time: virtualAirTime(scheduler), random: () => random.unit() })
  const host = (): TestHost => {
    const made = new TestHost(air, scheduler)
    made.begin()
    return made
  }
  const run = (milliseconds: number): void => void scheduler.run(milliseconds * 1000)
  return {
    air, scheduler, run, host,
    pair: (interval?: number, supervision?: number) => {
      const [central, peripheral] = [host(), host()]
      peripheral.advertise()
      central.dial(peripheral, interval, supervision)
      run(200)
      return [central, peripheral]
    },
  }
}

