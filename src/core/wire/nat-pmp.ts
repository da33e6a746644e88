/**
 * NAT-PMP (RFC 6886), the client's part, big-endian. Version 0 of the protocol that PCP is version 2 of: same ports, IPv4 only.
 *
 *   request for the address:   0 version u8 = 0 | 1 opcode u8 = 0
 *   its response, multicast as well when the router begins:
 *                              0 version | 1 128 | 2 result u16 | 4 epoch u32 s | 8 external IPv4 address 4
 *   request for a mapping:     0 version | 1 opcode u8: 1 UDP, 2 TCP | 2 reserved u16 | 4 internal port u16 | 6 external port u16 | 8 lifetime u32 s
 *   its response:              0 version | 1 128 + opcode | 2 result u16 | 4 epoch u32 s | 8 internal port u16 | 10 external port u16 | 12 lifetime u32 s
 */
import { ADDRESS_SIZE } from '../base/address.ts'
import { readU16BE, readU32BE, writeU16BE, writeU32BE } from './big-endian.ts'
import type { Transport } from './pcp.ts'

const RESPONSE = 128
const OPCODE_ADDRESS = 0
const opcodes: Readonly<Record<Transport, number>> = { udp: 1, tcp: 2 }

/** RFC 6886 §3.5; index is the code. */
export const natPmpResults = ['success', 'unsupported version', 'not authorized', 'network failure', 'no resources', 'unsupported opcode'] as const

export interface NatPmpMapRequest {
  readonly transport: Transport
  readonly internalPort: number
  /** A wish; 0 when the mapping is removed. */
  readonly externalPort: number
  /** Seconds; 0 removes the mapping. */
  readonly lifetime: number
}

export type NatPmpResponse =
  /** `external`: 18 bytes with port 0, of a success only. */
  | { readonly kind: 'address'; readonly result: number; readonly epoch: number; readonly external: Uint8Array | undefined }
  /** Of an error that was cut short, `internalPort` is unknown. */
  | {
    readonly kind: 'map'
    readonly transport: Transport
    readonly result: number
    readonly epoch: number
    readonly internalPort: number | undefined
    readonly externalPort: number
    readonly lifetime: number
  }
  | { readonly kind: 'malformed'; readonly where: 'size' | 'version' | 'request' | 'opcode' }

export function encodeNatPmpAddress(): Uint8Array {
  return Uint8Array.of(0, OPCODE_ADDRESS)
}

export function encodeNatPmpMap(request: NatPmpMapRequest): Uint8Array {
  const bytes = new Uint8Array(12)
  bytes[1] = opcodes[request.transport]
  writeU16BE(bytes, 4, request.internalPort)
  writeU16BE(bytes, 6, request.externalPort)
  writeU32BE(bytes, 8, request.lifetime)
  return bytes
}

/** Reads any bytes. */
export function decodeNatPmp(bytes: Uint8Array): NatPmpResponse {
  if (bytes.length < 8) return malformed('size')
  if (bytes[0] !== 0) return malformed('version')
  if (bytes[1]! < RESPONSE) return malformed('request')
  const opcode = bytes[1]! - RESPONSE
  const result = readU16BE(bytes, 2)
  const epoch = readU32BE(bytes, 4)
  if (opcode === OPCODE_ADDRESS) {
    if (result !== 0) return { kind: 'address', result, epoch, external: undefined }
    return bytes.length < 12 ? malformed('size') : { kind: 'address', result, epoch, external: mapped(bytes.subarray(8, 12)) }
  }
  const transport = opcode === opcodes.udp ? 'udp' : opcode === opcodes.tcp ? 'tcp' : undefined
  if (transport === undefined) return malformed('opcode')
  if (bytes.length >= 16) return { kind: 'map', transport, result, epoch, internalPort: readU16BE(bytes, 8), externalPort: readU16BE(bytes, 10), lifetime: readU32BE(bytes, 12) }
  return result === 0 ? malformed('size') : { kind: 'map', transport, result, epoch, internalPort: undefined, externalPort: 0, lifetime: 0 }
}

function mapped(ip: Uint8Array): Uint8Array {
  const address = new Uint8Array(ADDRESS_SIZE)
  address.set([0xff, 0xff], 10)
  address.set(ip, 12)
  return address
}

function malformed(where: Extract<NatPmpResponse, { kind: 'malformed' }>['where']): NatPmpResponse {
  return { kind: 'malformed', where }
}
