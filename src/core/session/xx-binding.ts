/**
 * What message A of XX is made for (decision 127). A has no time in it, and who answers one names itself to whoever holds the ephemeral key: a recorded A that
 * is answered says that the same node is here again. So mac1 of A covers what makes it good once: on a Bluetooth link the nonce of the side that was dialed,
 * which is another one on each link. Where a carriage has none, the hour.
 */
import { writeU32 } from '../base/bytes.ts'
import type { WallTime } from '../base/time.ts'
import { hourOf } from './presence.ts'

/** What the initiator binds A to. */
export function xxBinding(nonce: Uint8Array | undefined, wall: WallTime): Uint8Array {
  return nonce ?? hourBytes(hourOf(wall))
}

/** What the responder takes, the likeliest first: this link's nonce and nothing else, or this hour, the one before and the one after. */
export function xxBindings(nonce: Uint8Array | undefined, wall: WallTime): readonly Uint8Array[] {
  if (nonce !== undefined) return [nonce]
  const hour = hourOf(wall)
  return [hour, hour - 1, hour + 1].map(hourBytes)
}

/** Four bytes, and a nonce has eight: one is never taken for the other. */
function hourBytes(hour: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32(bytes, 0, hour)
  return bytes
}
