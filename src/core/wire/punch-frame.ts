import { varintSize, writeVarint, type ByteReader } from '../base/varint.ts'

/**
 * PUNCH (WIRE.md §5): two that have a session agree on a moment at which both ask each other at all addresses.
 *
 *   0x0E | op u8 | round vi | mode u8 | nat u8 | delay vi (µs) | packets vi | sockets vi
 */
export const FRAME_PUNCH = 0x0e

/** Numbers on the wire; others are of later versions. */
export const punchOp = { ask: 0, ready: 1, go: 2, abort: 3, result: 4 } as const
/** Bits of `mode`; others are ignored. */
export const punchMode = { udp: 1, tcp: 2, birthday: 4, lowTtl: 8 } as const

export interface PunchFrame {
  readonly op: number
  /** Counted by the lower id, from 1 on; 0 in its peer's wish for one. */
  readonly round: number
  readonly mode: number
  /** Bits 0-1 mapping, 2-3 filtering of the sender's NAT: 0 not known, 1 endpoint-independent, 2 address-dependent, 3 address and port-dependent. */
  readonly nat: number
  /** go: half a round trip. result: round trip of the path that was found, 0: none. */
  readonly delay: number
  /** Birthday probing: how many at most; in a result how many there were. */
  readonly packets: number
  readonly sockets: number
}

export function punchSize({ round, delay, packets, sockets }: PunchFrame): number {
  return 4 + varintSize(round) + varintSize(delay) + varintSize(packets) + varintSize(sockets)
}

export function writePunch(bytes: Uint8Array, at: number, { op, round, mode, nat, delay, packets, sockets }: PunchFrame): number {
  bytes[at] = FRAME_PUNCH
  bytes[at + 1] = op
  const p = writeVarint(bytes, at + 2, round)
  bytes[p] = mode
  bytes[p + 1] = nat
  return writeVarint(bytes, writeVarint(bytes, writeVarint(bytes, p + 2, delay), packets), sockets)
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. */
export function readPunch(reader: ByteReader): PunchFrame | undefined {
  const op = reader.u8()
  const round = reader.varint()
  const mode = reader.u8()
  const nat = reader.u8()
  const delay = reader.varint()
  const packets = reader.varint()
  const sockets = reader.varint()
  return reader.failed ? undefined : { op, round, mode, nat, delay, packets, sockets }
}
