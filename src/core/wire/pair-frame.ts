import type { ByteReader } from '../base/varint.ts'

/**
 * PAIR: a step of pairing by a short code (decision 112), only in sessions that began with XX in a pairing window.
 *
 *   0x32 | op u8 (0 commit, 1 nonce, 2 reveal, 3 accept, 4 reject) | commit 32, or nonce 16, or nothing
 */
export const FRAME_PAIR = 0x32

export const pairOps = ['commit', 'nonce', 'reveal', 'accept', 'reject'] as const
export type PairOp = (typeof pairOps)[number]

const sizes: Readonly<Record<PairOp, number>> = { commit: 32, nonce: 16, reveal: 16, accept: 0, reject: 0 }

export function pairDataSize(op: PairOp): number {
  return sizes[op]
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. The data is a view. */
export function readPair(reader: ByteReader): { readonly op: PairOp; readonly data: Uint8Array } | undefined {
  const op = pairOps[reader.u8()]
  if (op === undefined) {
    reader.failed = true
    return undefined
  }
  const data = reader.view(sizes[op])
  return reader.failed ? undefined : { op, data }
}
