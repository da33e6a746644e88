import { varintSize, writeVarint, type ByteReader } from '../base/varint.ts'

/** PRESENCE_KEY (WIRE.md §5): what the sender's friends know it by on the air. `0x31 | epoch vi | key 32` */
export const FRAME_PRESENCE_KEY = 0x31
const KEY_SIZE = 32

export interface PresenceKeyFrame {
  readonly epoch: number
  /** 32 bytes. */
  readonly key: Uint8Array
}

export function presenceKeySize({ epoch }: PresenceKeyFrame): number {
  return 1 + varintSize(epoch) + KEY_SIZE
}

export function writePresenceKey(bytes: Uint8Array, at: number, { epoch, key }: PresenceKeyFrame): number {
  bytes[at] = FRAME_PRESENCE_KEY
  const p = writeVarint(bytes, at + 1, epoch)
  bytes.set(key, p)
  return p + KEY_SIZE
}

/** Reads behind the type; `undefined` and `reader.failed` when it is malformed. The key is a copy. */
export function readPresenceKey(reader: ByteReader): PresenceKeyFrame | undefined {
  const epoch = reader.varint()
  const key = reader.view(KEY_SIZE)
  return reader.failed ? undefined : { epoch, key: key.slice() }
}
