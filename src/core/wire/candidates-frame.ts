import { varintSize, writeVarint, type ByteReader } from '../base/varint.ts'
import { readWireAddress, wireAddressSize, writeWireAddress } from './frame.ts'

/**
 * CANDIDATES (WIRE.md §5): where its sender may be reached, the whole list each time.
 *
 *   0x0D | gen vi | n vi (≤ 32) | n × (kind u8 | prio u8 | ttl u16 s | addr, or for a relay its id 32)
 */
export const FRAME_CANDIDATES = 0x0d
export const CANDIDATES_MAX = 32
/** A relay is named by its id. */
const KIND_RELAY = 6
const ID_SIZE = 32

/** Index is the number on the wire; 0 is none. */
export const candidateKinds = ['', 'host', 'reflexive', 'observed', 'mapped', 'turn', 'relay', 'tcp-host', 'tcp-mapped'] as const
export type CandidateKind = Exclude<(typeof candidateKinds)[number], '' | 'relay'>

export interface Candidate {
  readonly kind: CandidateKind
  /** 0 … 255, greater is better: the order in which it wants to be asked. */
  readonly priority: number
  readonly ttlS: number
  /** 18 bytes. */
  readonly address: Uint8Array
}

export interface CandidatesFrame {
  /** A list replaces those of lower generations. */
  readonly generation: number
  /** Without relays and kinds that are not known here: those are passed over. */
  readonly candidates: readonly Candidate[]
}

export function candidatesSize({ generation, candidates }: CandidatesFrame): number {
  return candidates.reduce((size, { address }) => size + 4 + wireAddressSize(address), 1 + varintSize(generation) + varintSize(candidates.length))
}

export function writeCandidates(bytes: Uint8Array, at: number, { generation, candidates }: CandidatesFrame): number {
  bytes[at] = FRAME_CANDIDATES
  let p = writeVarint(bytes, writeVarint(bytes, at + 1, generation), candidates.length)
  for (const { kind, priority, ttlS, address } of candidates) {
    bytes[p++] = candidateKinds.indexOf(kind)
    bytes[p++] = priority
    bytes[p++] = ttlS
    bytes[p++] = ttlS >>> 8
    p = writeWireAddress(bytes, p, address)
  }
  return p
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. */
export function readCandidates(reader: ByteReader): CandidatesFrame | undefined {
  const generation = reader.varint()
  const count = reader.varint()
  if (count > CANDIDATES_MAX) reader.failed = true
  const candidates: Candidate[] = []
  for (let i = 0; i < count && !reader.failed; i++) {
    const number = reader.u8()
    const priority = reader.u8()
    const ttlS = reader.u16()
    if (number === KIND_RELAY) {
      reader.view(ID_SIZE)
      continue
    }
    const address = readWireAddress(reader)
    const kind = candidateKinds[number]
    if (address !== undefined && kind !== undefined && kind !== '' && kind !== 'relay') candidates.push({ kind, priority, ttlS, address })
  }
  return reader.failed ? undefined : { generation, candidates }
}
