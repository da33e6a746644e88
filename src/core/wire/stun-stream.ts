import { concat } from '../base/bytes.ts'
import { STUN_HEADER_SIZE, STUN_MAGIC_COOKIE } from './stun.ts'

/** [P] A longer message is none that answers a Binding request. */
export const STUN_STREAM_MESSAGE_MAX = 2048

/**
 * STUN messages out of a byte stream (RFC 8489 §6.2.2): one behind the other, each as long as its header says. Holds at most one message that is not complete;
 * a stream in which something else stands is `malformed` from there on, since where the next message begins is not known any more.
 */
export class StunStream {
  #held: Uint8Array = new Uint8Array(0)
  #malformed = false

  /** The messages that these bytes complete, in order, as copies; then `malformed`, if the stream is. */
  feed(bytes: Uint8Array): (Uint8Array | 'malformed')[] {
    const found: (Uint8Array | 'malformed')[] = []
    let rest = this.#held.length === 0 ? bytes : concat(this.#held, bytes)
    while (!this.#malformed && rest.length >= STUN_HEADER_SIZE) {
      const size = sizeOf(rest)
      if (size === undefined) {
        this.#malformed = true
        found.push('malformed')
      } else if (rest.length < size) {
        break
      } else {
        found.push(rest.slice(0, size))
        rest = rest.subarray(size)
      }
    }
    this.#held = this.#malformed ? new Uint8Array(0) : rest.slice()
    return found
  }
}

/** Of the message that begins here, header included; `undefined` where none does. */
function sizeOf(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, STUN_HEADER_SIZE)
  const size = STUN_HEADER_SIZE + view.getUint16(2)
  const begins = bytes[0]! < 0x40 && size % 4 === 0 && view.getUint32(4) === STUN_MAGIC_COOKIE
  return begins && size <= STUN_STREAM_MESSAGE_MAX ? size : undefined
}
