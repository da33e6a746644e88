/** A received message; the bytes are its own. */
export interface Message {
  readonly bytes: Uint8Array
  /** Counts the messages handed over on this channel, from 0. */
  readonly id: number
  /** At least one earlier message of this channel was dropped (unreliable and latest channels). */
  readonly gapBefore: boolean
}

/**
 * A received message as a hot path sees it: one object for all messages, over a buffer that is used again. Valid during the
 * call only; {@link copy} keeps the bytes.
 */
export class MessageView {
  /** The message is `bytes[offset … offset + length)`. */
  bytes: Uint8Array = new Uint8Array(0)
  offset = 0
  length = 0
  id = 0
  gapBefore = false

  /** The bytes as they lie there. */
  view(): Uint8Array {
    return this.bytes.subarray(this.offset, this.offset + this.length)
  }

  /** Bytes to keep. */
  copy(): Uint8Array {
    // Not `slice`: of a Buffer that is a view.
    return new Uint8Array(this.view())
  }
}

export type MessageHandler = (message: MessageView) => void
