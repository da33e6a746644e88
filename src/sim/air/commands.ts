/** The commands of an emulated controller (Core 5.4, vol 4 part E §7): their length, their checks and what they do. */
import { concat, readU16 } from '../../core/base/bytes.ts'
import { ADVERTISEMENT_SIZE_MAX } from '../../core/wire/ble-advertisement.ts'
import { eventCode, hciStatus, leEvent, opcode, u16Bytes } from '../../core/wire/hci.ts'
import type { Radio } from './parts.ts'

interface Command {
  readonly length: number
  run(controller: Radio, parameters: Uint8Array, code: number): void
  /** As it is answered when it is not carried out: with the event that its answer comes in. */
  refuse(controller: Radio, code: number, status: number): void
}

const OK = hciStatus.success
/** What the emulator says of itself: Core 5.4, the company that stands for none. */
const VERSION = Uint8Array.of(0x0d, 0, 0, 0x0d, 0xff, 0xff, 0, 0)
/** Longer packets of the link layer; nothing else. */
const LE_FEATURES = Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0, 0)
/** No classic radio; LE in controller and host. */
const FEATURES = Uint8Array.of(0, 0, 0, 0, 0x60, 0, 0, 0)
const OCTETS_MIN = 27
const OCTETS_MAX = 251
const TIME_MIN = 328
const TIME_MAX = 17_040
const DATA_SIZE = 1 + ADVERTISEMENT_SIZE_MAX
/** vol 4 part E §7.1.6: what a host may give for ending a link. */
const endReasons: ReadonlySet<number> = new Set([0x05, 0x13, 0x14, 0x15, 0x1a, 0x29, 0x3b])

/** Answered with Command Complete: `run` returns the status, or status and further parameters. */
function immediate(length: number, run: (controller: Radio, parameters: Uint8Array) => number | readonly [number, ...Uint8Array[]]): Command {
  return {
    length,
    run: (controller, parameters, code) => {
      const answer = run(controller, parameters)
      if (typeof answer === 'number') controller.complete(code, answer)
      else controller.complete(code, answer[0], ...answer.slice(1) as Uint8Array[])
    },
    refuse: (controller, code, status) => controller.complete(code, status),
  }
}

/** Answered with Command Status, and with an event of its own when it is done: `begin` returns the status and what follows. */
function delayed(length: number, begin: (controller: Radio, parameters: Uint8Array) => number | (() => void)): Command {
  return {
    length,
    run: (controller, parameters, code) => {
      const follows = begin(controller, parameters)
      controller.status(code, typeof follows === 'number' ? follows : OK)
      if (typeof follows !== 'number') follows()
    },
    refuse: (controller, code, status) => controller.status(code, status),
  }
}

function within(value: number, low: number, high: number): boolean {
  return value >= low && value <= high
}

function setDataLength(controller: Radio, handle: number, octets: number): void {
  const end = controller.ends.get(handle)
  if (end === undefined || end.octets === octets) return
  for (const each of [end, end.peer]) {
    each.octets = octets
    const time = (octets + 14) * 8
    each.controller.leMeta(leEvent.dataLengthChanged, u16Bytes(each.handle), u16Bytes(octets), u16Bytes(time), u16Bytes(octets), u16Bytes(time))
  }
}

/** vol 4 part E §7.8.12: the supervision timeout must be longer than the time between two events in which the peripheral listens. */
function areConnectionParameters(low: number, high: number, latency: number, supervision: number): boolean {
  return within(low, 6, 3200) && within(high, low, 3200) && latency <= 499 && within(supervision, 10, 3200) && supervision * 10 > (1 + latency) * high * 1.25 * 2
}

function createConnection(controller: Radio, p: Uint8Array): number | (() => void) {
  const [interval, window, policy, peerType, ownType] = [readU16(p, 0), readU16(p, 2), p[4]!, p[5]!, p[12]!]
  const [low, high, latency, supervision] = [readU16(p, 13), readU16(p, 15), readU16(p, 17), readU16(p, 19)]
  if (controller.initiating !== undefined) return hciStatus.commandDisallowed
  if (!within(interval, 4, 0x4000) || !within(window, 4, interval) || policy !== 0 || peerType > 3 || ownType > 3) return hciStatus.invalidParameters
  if (!areConnectionParameters(low, high, latency, supervision) || controller.ownAddress(ownType) === undefined) return hciStatus.invalidParameters
  if (controller.ends.size >= controller.air.linkCountMax) return hciStatus.connectionLimit
  return () => {
    controller.initiating = { peerType: peerType & 1, peer: p.slice(6, 12), ownType, interval: high, latency, supervision }
  }
}

function updateConnection(controller: Radio, p: Uint8Array): number | (() => void) {
  const end = controller.ends.get(readU16(p, 0))
  const [low, high, latency, supervision] = [readU16(p, 2), readU16(p, 4), readU16(p, 6), readU16(p, 8)]
  if (end === undefined) return hciStatus.unknownConnection
  if (!areConnectionParameters(low, high, latency, supervision)) return hciStatus.invalidParameters
  return () => {
    end.link.setParameters(high, supervision)
    for (const each of [end, end.peer]) each.controller.leMeta(leEvent.connectionUpdated, Uint8Array.of(OK), u16Bytes(each.handle), u16Bytes(high), u16Bytes(latency), u16Bytes(supervision))
  }
}

function setAdvertisingParameters(controller: Radio, p: Uint8Array): number {
  const [low, high, type, ownType, map, policy] = [readU16(p, 0), readU16(p, 2), p[4]!, p[5]!, p[13]!, p[14]!]
  if (controller.advertising.on) return hciStatus.commandDisallowed
  const low0 = type === 0 || type === 4 ? 0x20 : 0
  if (!within(low, low0, 0x4000) || !within(high, low, 0x4000) || type > 4 || ownType > 3 || !within(map, 1, 7) || policy > 3) return hciStatus.invalidParameters
  Object.assign(controller.advertising, { intervalMs: high * 0.625, type, ownType })
  return OK
}

function setScanParameters(controller: Radio, p: Uint8Array): number {
  const [type, interval, window, ownType, policy] = [p[0]!, readU16(p, 1), readU16(p, 3), p[5]!, p[6]!]
  if (controller.scanning.on) return hciStatus.commandDisallowed
  if (type > 1 || !within(interval, 4, 0x4000) || !within(window, 4, interval) || ownType > 3 || policy > 3) return hciStatus.invalidParameters
  Object.assign(controller.scanning, { active: type === 1, share: window / interval, ownType })
  return OK
}

/** On or off, where the random address must be known if it is to be used. */
function enable(on: number, known: boolean, run: () => void): number {
  if (on > 1 || (on === 1 && !known)) return hciStatus.invalidParameters
  run()
  return OK
}

function withEnd(controller: Radio, p: Uint8Array, run: () => number | (() => void)): number | (() => void) {
  return controller.ends.has(readU16(p, 0)) ? run() : hciStatus.unknownConnection
}

const { success, invalidParameters, unknownConnection, commandDisallowed, unsupportedFeature } = hciStatus

/** By opcode. Everything else is an unknown command. */
export const commandTable: ReadonlyMap<number, Command> = new Map<number, Command>([
  [opcode.disconnect, delayed(3, (c, p) => {
    const end = c.ends.get(readU16(p, 0))
    if (end === undefined) return unknownConnection
    return endReasons.has(p[2]!) ? () => end.link.end(end, p[2]!) : invalidParameters
  })],
  [opcode.readRemoteVersion, delayed(2, (c, p) => withEnd(c, p, () => () => c.event(eventCode.remoteVersion, Uint8Array.of(success), p, Uint8Array.of(0x0d, 0xff, 0xff, 0, 0))))],
  [opcode.setEventMask, immediate(8, (c, p) => {
    c.eventMask = p.slice()
    return success
  })],
  [opcode.reset, immediate(0, (c) => {
    c.reset()
    return success
  })],
  [opcode.readLeHostSupport, immediate(0, () => [success, Uint8Array.of(1, 0)])],
  [opcode.writeLeHostSupport, immediate(2, () => success)],
  [opcode.readLocalVersion, immediate(0, () => [success, VERSION])],
  [opcode.readLocalCommands, immediate(0, () => [success, supportedCommands()])],
  [opcode.readLocalFeatures, immediate(0, () => [success, FEATURES])],
  // No buffers of the classic radio: those of LE are told by the LE command.
  [opcode.readBufferSize, immediate(0, () => [success, Uint8Array.of(0, 0, 0, 0, 0, 0, 0)])],
  [opcode.readAddress, immediate(0, (c) => [success, c.publicAddress])],
  [opcode.readRssi, immediate(2, (c, p) => {
    const end = c.ends.get(readU16(p, 0))
    if (end === undefined) return [unknownConnection, p, Uint8Array.of(0)]
    return [success, p, Uint8Array.of((c.air.heard(end.peer.controller, c) ?? 127) & 0xff)]
  })],
  [opcode.leSetEventMask, immediate(8, (c, p) => {
    c.leEventMask = p.slice()
    return success
  })],
  [opcode.leReadBufferSize, immediate(0, (c) => [success, u16Bytes(c.air.bufferLength), Uint8Array.of(c.air.bufferCount)])],
  [opcode.leReadLocalFeatures, immediate(0, () => [success, LE_FEATURES])],
  [opcode.leSetRandomAddress, immediate(6, (c, p) => {
    if (c.advertising.on || c.scanning.on || c.initiating !== undefined) return commandDisallowed
    c.randomAddress = p.slice()
    return success
  })],
  [opcode.leSetAdvertisingParameters, immediate(15, setAdvertisingParameters)],
  [opcode.leReadAdvertisingPower, immediate(0, () => [success, Uint8Array.of(0)])],
  [opcode.leSetAdvertisingData, immediate(DATA_SIZE, (c, p) => {
    if (p[0]! > ADVERTISEMENT_SIZE_MAX) return invalidParameters
    c.advertising.data = p.slice(1, 1 + p[0]!)
    return success
  })],
  [opcode.leSetScanResponse, immediate(DATA_SIZE, (c, p) => {
    if (p[0]! > ADVERTISEMENT_SIZE_MAX) return invalidParameters
    c.advertising.scanResponse = p.slice(1, 1 + p[0]!)
    return success
  })],
  [opcode.leSetAdvertisingEnable, immediate(1, (c, p) => enable(p[0]!, c.ownAddress(c.advertising.ownType) !== undefined, () => c.setAdvertising(p[0] === 1)))],
  [opcode.leSetScanParameters, immediate(7, setScanParameters)],
  [opcode.leSetScanEnable, immediate(2, (c, p) => (p[1]! > 1 ? invalidParameters : enable(p[0]!, !c.scanning.active || c.ownAddress(c.scanning.ownType) !== undefined, () => c.setScanning(p[0] === 1, p[1] === 1))))],
  [opcode.leCreateConnection, delayed(25, createConnection)],
  [opcode.leCancelConnection, immediate(0, (c) => {
    if (c.initiating === undefined) return commandDisallowed
    c.air.time.soon(() => c.endInitiating(unknownConnection))
    return success
  })],
  [opcode.leUpdateConnection, delayed(14, updateConnection)],
  [opcode.leReadRemoteFeatures, delayed(2, (c, p) => withEnd(c, p, () => () => c.leMeta(leEvent.remoteFeatures, Uint8Array.of(success), p, LE_FEATURES)))],
  [opcode.leRandom, immediate(0, (c) => [success, Uint8Array.from({ length: 8 }, () => Math.floor(c.air.random() * 256))])],
  [opcode.leEnableEncryption, delayed(28, (c, p) => withEnd(c, p, () => unsupportedFeature))],
  [opcode.leReadSupportedStates, immediate(0, () => [success, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0x03, 0, 0)])],
  [opcode.leSetDataLength, immediate(6, (c, p) => {
    const [handle, octets, time] = [readU16(p, 0), readU16(p, 2), readU16(p, 4)]
    if (!c.ends.has(handle)) return [unknownConnection, u16Bytes(handle)]
    if (!within(octets, OCTETS_MIN, OCTETS_MAX) || !within(time, TIME_MIN, TIME_MAX)) return [invalidParameters, u16Bytes(handle)]
    c.air.time.soon(() => setDataLength(c, handle, octets))
    return [success, u16Bytes(handle)]
  })],
  [opcode.leReadDefaultDataLength, immediate(0, (c) => [success, u16Bytes(c.defaultOctets), u16Bytes(TIME_MIN)])],
  [opcode.leWriteDefaultDataLength, immediate(4, (c, p) => {
    if (!within(readU16(p, 0), OCTETS_MIN, OCTETS_MAX) || !within(readU16(p, 2), TIME_MIN, TIME_MAX)) return invalidParameters
    c.defaultOctets = readU16(p, 0)
    return success
  })],
  [opcode.leReadMaximumDataLength, immediate(0, () => [success, concat(...[OCTETS_MAX, 2120, OCTETS_MAX, 2120].map(u16Bytes))])],
])

/** The bits of vol 4 part E §6.27 for what the table holds; extended scanning and advertising are not among them. */
function supportedCommands(): Uint8Array {
  const bits = new Uint8Array(64)
  const set = (octet: number, ...which: readonly number[]): void => {
    for (const bit of which) bits[octet]! |= 1 << bit
  }
  set(0, 5)
  set(2, 7)
  set(5, 6, 7)
  set(14, 3, 5, 7)
  set(15, 1, 5)
  set(24, 5, 6)
  set(25, 0, 1, 2, 4, 5, 6, 7)
  set(26, 0, 1, 2, 3, 4, 5)
  set(27, 2, 5, 7)
  set(28, 0, 2, 3)
  set(33, 6, 7)
  set(34, 0)
  set(35, 3)
  return bits
}
