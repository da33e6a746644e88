/**
 * The Host Controller Interface of Bluetooth (Core 5.4, vol 4 part E) as far as a Low Energy host and a controller without the classic radio need it,
 * in H4 framing (vol 4 part A); little-endian:
 *
 *   1 command: opcode u16 | length u8 | parameters              4 event: code u8 | length u8 | parameters
 *   2 ACL: handle u12, boundary u2, broadcast u2 | length u16 | data        (3 SCO and 5 ISO are framed and left out)
 */
import { concat, readU16, writeU16 } from '../base/bytes.ts'

export const packetType = { command: 1, acl: 2, sco: 3, event: 4, iso: 5 } as const

export const opcode = {
  disconnect: 0x0406, readRemoteVersion: 0x041d,
  setEventMask: 0x0c01, reset: 0x0c03, readLeHostSupport: 0x0c6c, writeLeHostSupport: 0x0c6d,
  readLocalVersion: 0x1001, readLocalCommands: 0x1002, readLocalFeatures: 0x1003, readBufferSize: 0x1005, readAddress: 0x1009,
  readRssi: 0x1405,
  leSetEventMask: 0x2001, leReadBufferSize: 0x2002, leReadLocalFeatures: 0x2003, leSetRandomAddress: 0x2005,
  leSetAdvertisingParameters: 0x2006, leReadAdvertisingPower: 0x2007, leSetAdvertisingData: 0x2008, leSetScanResponse: 0x2009, leSetAdvertisingEnable: 0x200a,
  leSetScanParameters: 0x200b, leSetScanEnable: 0x200c, leCreateConnection: 0x200d, leCancelConnection: 0x200e,
  leUpdateConnection: 0x2013, leReadRemoteFeatures: 0x2016, leRandom: 0x2018, leEnableEncryption: 0x2019, leRefuseLongTermKey: 0x201b,
  leReadSupportedStates: 0x201c, leSetDataLength: 0x2022, leReadDefaultDataLength: 0x2023, leWriteDefaultDataLength: 0x2024, leReadMaximumDataLength: 0x202f,
} as const

export const eventCode = {
  disconnected: 0x05, encryptionChanged: 0x08, remoteVersion: 0x0c, commandComplete: 0x0e, commandStatus: 0x0f, hardwareError: 0x10, completedPackets: 0x13,
  dataOverflow: 0x1a, leMeta: 0x3e,
} as const

export const leEvent = { connected: 0x01, advertisingReport: 0x02, connectionUpdated: 0x03, remoteFeatures: 0x04, longTermKeyRequest: 0x05, dataLengthChanged: 0x07, enhancedConnected: 0x0a } as const

/** Status and reason codes (vol 1 part F). */
export const hciStatus = {
  success: 0x00, unknownCommand: 0x01, unknownConnection: 0x02, hardwareFailure: 0x03, connectionTimeout: 0x08, connectionLimit: 0x09, commandDisallowed: 0x0c,
  invalidParameters: 0x12, remoteEnded: 0x13, remoteLowResources: 0x14, localEnded: 0x16, unsupportedFeature: 0x1a, notEstablished: 0x3e,
} as const

/** Of the first ACL packet of an L2CAP frame: from the host; from the controller. And of all further ones. */
export const boundary = { firstFromHost: 0, continuing: 1, first: 2 } as const

/** L2CAP channels of an LE link (vol 3 part A §2.1). */
export const l2capChannel = { att: 4, signaling: 5, security: 6 } as const
export const L2CAP_HEADER_SIZE = 4
export const ACL_HEADER_SIZE = 5
export const ADDRESS_SIZE = 6

/** Whose address it is: made by a factory, or by this host. */
export type AddressType = 'public' | 'random'

/** What any of ours needs: an ACL packet of a controller without the classic radio holds at most 251 bytes, one with it 1021. A longer one is no packet. */
const ACL_LENGTH_MAX = 2048

export function encodeHciCommand(code: number, parameters: Uint8Array = new Uint8Array(0)): Uint8Array {
  return concat(Uint8Array.of(packetType.command, code & 0xff, code >>> 8, parameters.length), parameters)
}

export function encodeHciEvent(code: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const parameters = concat(...parts)
  return concat(Uint8Array.of(packetType.event, code, parameters.length), parameters)
}

export function encodeAcl(handle: number, flag: number, data: Uint8Array): Uint8Array {
  const packet = new Uint8Array(ACL_HEADER_SIZE + data.length)
  packet[0] = packetType.acl
  writeU16(packet, 1, handle | (flag << 12))
  writeU16(packet, 3, data.length)
  packet.set(data, ACL_HEADER_SIZE)
  return packet
}

export function u16Bytes(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >>> 8)
}

/** The six bytes of an address, which goes over the air and the wire backwards, as one writes it. */
export function addressText(bytes: Uint8Array, offset = 0): string {
  let text = ''
  for (let i = ADDRESS_SIZE - 1; i >= 0; i--) text += bytes[offset + i]!.toString(16).padStart(2, '0') + (i > 0 ? ':' : '')
  return text
}

/** `undefined` for what is no address. */
export function addressBytes(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  return Uint8Array.from(text.split(':').reverse(), (part) => Number.parseInt(part, 16))
}

/** Bytes of the packet that begins at `at`; 0: more bytes are needed to know; -1: none begins there. */
function packetSize(bytes: Uint8Array, at: number): number {
  const left = bytes.length - at
  switch (bytes[at]) {
    case packetType.command:
    case packetType.sco:
      return left < 4 ? 0 : 4 + bytes[at + 3]!
    case packetType.event:
      return left < 3 ? 0 : 3 + bytes[at + 2]!
    case packetType.acl:
    case packetType.iso: {
      if (left < ACL_HEADER_SIZE) return 0
      const length = readU16(bytes, at + 3) & (bytes[at] === packetType.iso ? 0x3fff : 0xffff)
      return length > ACL_LENGTH_MAX ? -1 : ACL_HEADER_SIZE + length
    }
    default:
      return -1
  }
}

/** Cuts an H4 stream into packets. It keeps less than one; out of step, which nothing can mend in H4, it takes no more. */
export class H4Reader {
  readonly #take: (packet: Uint8Array) => void
  #kept: Uint8Array = new Uint8Array(0)
  #broken = false

  /** `take` gets each packet with its type, as bytes of its own. */
  constructor(take: (packet: Uint8Array) => void) {
    this.#take = take
  }

  /** `false` once something was no packet. */
  push(chunk: Uint8Array): boolean {
    if (this.#broken) return false
    const bytes = this.#kept.length > 0 ? concat(this.#kept, chunk) : chunk
    let at = 0
    while (at < bytes.length) {
      const size = packetSize(bytes, at)
      if (size < 0) {
        this.#broken = true
        this.#kept = new Uint8Array(0)
        return false
      }
      if (size === 0 || bytes.length - at < size) break
      this.#take(new Uint8Array(bytes.subarray(at, at + size)))
      at += size
    }
    this.#kept = new Uint8Array(bytes.subarray(at))
    return true
  }
}
