import { IpcFrameReader, type IpcBodyLimits, type IpcReadResult } from '../core/wire/ipc/ipc-reader.ts'

/** Frames out of the chunks of a socket, one at a time, so that reading can stop between any two and a frame can be offered again. */
export class FrameIntake {
  readonly reader: IpcFrameReader
  /** Chunks behind the one in the reader. The driver stops the socket when reading pauses, so there is hardly ever one. */
  readonly #waiting: Uint8Array[] = []
  #again = false

  constructor(limits: IpcBodyLimits) {
    this.reader = new IpcFrameReader(limits)
  }

  /** Keeps the chunk until it was read. */
  push(chunk: Uint8Array): void {
    this.#waiting.push(chunk)
  }

  /** The next frame is in `reader`, or the same one after {@link again}. `more`: all chunks were read. */
  next(): IpcReadResult {
    if (this.#again) {
      this.#again = false
      return 'frame'
    }
    for (;;) {
      const result = this.reader.next()
      if (result !== 'more') return result
      const chunk = this.#waiting.shift()
      if (chunk === undefined) return 'more'
      this.reader.push(chunk)
    }
  }

  /** The frame in the reader was not taken: {@link next} hands it out once more. */
  again(): void {
    this.#again = true
  }

  /** Kinds of later versions skipped since the last call. */
  takeIgnored(): number {
    const { ignored } = this.reader
    this.reader.ignored = 0
    return ignored
  }

  clear(): void {
    this.#waiting.length = 0
    this.#again = false
  }
}
