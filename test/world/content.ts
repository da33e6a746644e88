import { writeU32, readU32 } from '../../src/core/base/bytes.ts'
import { SeededRandom } from '../../src/sim/random.ts'

export const MESSAGE_MAX = 204_800
/** Shorter messages cannot say which they are. */
export const NAMED_MIN = 8
const POOL_SIZE = 2 * MESSAGE_MAX

const pool = Buffer.from(new SeededRandom(0x90).fill(new Uint8Array(POOL_SIZE)))
const scratch = Buffer.alloc(MESSAGE_MAX)

function poolAt(stream: number, number: number): number {
  return (stream * 104_729 + number * 7_919) % (POOL_SIZE - MESSAGE_MAX)
}

/** Message `number` of a stream: its name, then bytes that are its own. Valid until the next call. */
export function contentOf(stream: number, number: number, length: number): Uint8Array {
  const from = poolAt(stream, number)
  pool.copy(scratch, 0, from, from + length)
  if (length >= NAMED_MIN) {
    writeU32(scratch, 0, stream)
    writeU32(scratch, 4, number)
  }
  return scratch
}

export function isContent(bytes: Uint8Array, offset: number, length: number, stream: number, number: number): boolean {
  const from = poolAt(stream, number)
  const body = length >= NAMED_MIN ? NAMED_MIN : 0
  if (body > 0 && (readU32(bytes, offset) !== stream || readU32(bytes, offset + 4) !== number)) return false
  return pool.compare(bytes, offset + body, offset + length, from + body, from + length) === 0
}

/** The number that a message of at least {@link NAMED_MIN} bytes says it has. */
export function numberOf(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset + 4)
}
