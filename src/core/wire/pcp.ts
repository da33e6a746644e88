/**
 * The Port Control Protocol (RFC 6887), the client's part of MAP and ANNOUNCE, big-endian. Options are neither sent (so no
 * THIRD_PARTY: a host maps for itself only) nor read.
 *
 *   request:   0 version u8 = 2 | 1 opcode u8 | 2 reserved u16 | 4 lifetime u32 s | 8 client's address 16 | 24 opcode's data
 *   response:  0 version u8 = 2 | 1 0x80 + opcode u8 | 2 reserved u8 | 3 result u8 | 4 lifetime u32 s | 8 epoch u32 s | 12 reserved 12 | 24 opcode's data
 *   MAP:       0 nonce 12 | 12 protocol u8 | 13 reserved 3 | 16 internal port u16 | 18 external port u16 | 20 external address 16
 *   ANNOUNCE:  no data
 */
import { ADDRESS_SIZE, isIPv4, portOf } from '../base/address.ts'
import { writeU16 } from '../base/bytes.ts'
import { readU16BE, readU32BE, writeU16BE, writeU32BE } from './big-endian.ts'

/** Where servers of PCP and NAT-PMP listen (RFC 6887 §19.1, RFC 6886 §3.1), and where both multicast to, at 224.0.0.1. */
export const PORT_MAP_SERVER_PORT = 5351
export const PORT_MAP_CLIENT_PORT = 5350

/** RFC 6887 §7: no message is longer, and each is a multiple of four. */
export const PCP_SIZE_MAX = 1100
export const PCP_NONCE_SIZE = 12

const VERSION = 2
const RESPONSE = 0x80
const OPCODE_ANNOUNCE = 0
const OPCODE_MAP = 1
const HEADER_SIZE = 24
const MAP_SIZE = 36

/** Of IANA, as they stand in MAP. */
export const transportNumbers = { udp: 17, tcp: 6 } as const
export type Transport = keyof typeof transportNumbers

/** RFC 6887 §7.4; index is the code. */
export const pcpResults = [
  'success', 'unsupported version', 'not authorized', 'malformed request', 'unsupported opcode', 'unsupported option', 'malformed option', 'network failure',
  'no resources', 'unsupported protocol', 'quota exceeded', 'cannot provide the external port', 'another NAT is between', 'excessive remote peers',
] as const

export interface PcpMapRequest {
  /** Seconds; 0 removes the mapping. */
  readonly lifetime: number
  /** Our own address as the router sees it, 18 bytes; its port is the internal port. */
  readonly internal: Uint8Array
  readonly nonce: Uint8Array
  readonly transport: Transport
  /** What we had, or would like; port 0 or no address (18 bytes; its own port means nothing): whatever the router likes. */
  readonly suggested: { readonly port: number; readonly address: Uint8Array | undefined }
}

export type PcpResponse =
  | { readonly kind: 'announce'; readonly result: number; readonly lifetime: number; readonly epoch: number }
  | {
    readonly kind: 'map'
    readonly result: number
    /** Seconds; of an error, how long to expect it. */
    readonly lifetime: number
    readonly epoch: number
    /** A view of the datagram. */
    readonly nonce: Uint8Array
    readonly transport: Transport
    readonly internalPort: number
    /** 18 bytes, a copy. */
    readonly external: Uint8Array
  }
  /**
   * The server does not speak the version that it was asked in, but `offered` (RFC 6887 §9 and appendix A): 0, in the format of NAT-PMP, is the
   * answer to PCP from a server of NAT-PMP only, any other the answer to NAT-PMP from a server of PCP only.
   */
  | { readonly kind: 'version'; readonly offered: number }
  | { readonly kind: 'malformed'; readonly where: 'size' | 'version' | 'request' | 'opcode' | 'transport' }

export function encodePcpAnnounce(client: Uint8Array): Uint8Array {
  return header(OPCODE_ANNOUNCE, 0, client, HEADER_SIZE)
}

export function encodePcpMap(request: PcpMapRequest): Uint8Array {
  const bytes = header(OPCODE_MAP, request.lifetime, request.internal, HEADER_SIZE + MAP_SIZE)
  bytes.set(request.nonce, HEADER_SIZE)
  bytes[HEADER_SIZE + 12] = transportNumbers[request.transport]
  writeU16BE(bytes, HEADER_SIZE + 16, portOf(request.internal))
  writeU16BE(bytes, HEADER_SIZE + 18, request.suggested.port)
  const { address } = request.suggested
  if (address !== undefined) bytes.set(address.subarray(0, 16), HEADER_SIZE + 20)
  // "Any" is of the family that is asked for (§11.1).
  else if (isIPv4(request.internal)) bytes.set([0xff, 0xff], HEADER_SIZE + 30)
  return bytes
}

function header(opcode: number, lifetime: number, client: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes[0] = VERSION
  bytes[1] = opcode
  writeU32BE(bytes, 4, lifetime)
  bytes.set(client.subarray(0, 16), 8)
  return bytes
}

/** Reads any bytes. */
export function decodePcp(bytes: Uint8Array): PcpResponse {
  if (bytes.length < 4) return malformed('size')
  if (bytes[0] === 0 && bytes[1]! >= RESPONSE && readU16BE(bytes, 2) === 1) return { kind: 'version', offered: 0 }
  if (bytes[1]! < RESPONSE) return malformed('request')
  if (bytes[0] !== 0 && bytes[3] === 1) return { kind: 'version', offered: bytes[0]! }
  if (bytes[0] !== VERSION) return malformed('version')
  if (bytes.length < HEADER_SIZE || bytes.length > PCP_SIZE_MAX || bytes.length % 4 !== 0) return malformed('size')
  const result = bytes[3]!
  const lifetime = readU32BE(bytes, 4)
  const epoch = readU32BE(bytes, 8)
  const opcode = bytes[1]! - RESPONSE
  if (opcode === OPCODE_ANNOUNCE) return { kind: 'announce', result, lifetime, epoch }
  if (opcode !== OPCODE_MAP) return malformed('opcode')
  if (bytes.length < HEADER_SIZE + MAP_SIZE) return malformed('size')
  const transport = bytes[HEADER_SIZE + 12] === transportNumbers.udp ? 'udp' : bytes[HEADER_SIZE + 12] === transportNumbers.tcp ? 'tcp' : undefined
  if (transport === undefined) return malformed('transport')
  const external = new Uint8Array(ADDRESS_SIZE)
  external.set(bytes.subarray(HEADER_SIZE + 20, HEADER_SIZE + 36))
  writeU16(external, 16, readU16BE(bytes, HEADER_SIZE + 18))
  return {
    kind: 'map', result, lifetime, epoch, nonce: bytes.subarray(HEADER_SIZE, HEADER_SIZE + PCP_NONCE_SIZE), transport,
    internalPort: readU16BE(bytes, HEADER_SIZE + 16), external,
  }
}

function malformed(where: Extract<PcpResponse, { kind: 'malformed' }>['where']): PcpResponse {
  return { kind: 'malformed', where }
}
