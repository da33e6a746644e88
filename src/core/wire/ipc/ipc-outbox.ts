import {
  encodeCredit, encodeManyHead, encodeMessageHead, FRAME_HEADER_SIZE, KIND_JSON, LANE_OF_CHANNEL, manyFrameSize, MESSAGE_COST, messageFrameSize, writeFrameHead, writeNotice, type ManyEntry,
} from './ipc.ts'
import type { RetainedMessages } from './ipc-retained.ts'

/**
 * Frames are gathered in buffers of this size and written together: one write per frame is 8 to 17 times slower, a 64 KiB
 * buffer carries 9 million 100-byte frames a second (research/perf/ipc). Also the most that is handed to a socket at once, so
 * that "no progress" is seen within one such piece.
 */
export const BATCH_SIZE = 65_536
/**
 * Behind it each buffer has room for the same again: many small messages are copied there together, and from there one by one into their frames.
 * A copy within a buffer costs a third of one from another, which needs a view.
 */
const STAGE_SIZE = BATCH_SIZE
const BUFFER_SIZE = BATCH_SIZE + STAGE_SIZE
const CREDIT_FRAME_SIZE = 13
const NOTICE_FRAME_SIZE = 21

/** Spare batch buffers, shared by all connections of a process, so that an idle connection holds none. Keeps at most `spareMax`. */
export class IpcBatchPool {
  readonly #spare: Uint8Array[] = []
  readonly #spareMax: number

  constructor(spareMax = 64) {
    this.#spareMax = spareMax
  }

  take(): Uint8Array {
    return this.#spare.pop() ?? new Uint8Array(BUFFER_SIZE)
  }

  give(batch: Uint8Array): void {
    if (this.#spare.length < this.#spareMax) this.#spare.push(batch)
  }
}

/** Bytes to write next. The object is the caller's and filled again and again. */
export class IpcSlice {
  bytes: Uint8Array = new Uint8Array(0)
  offset = 0
  length = 0
}

interface Batch {
  readonly bytes: Uint8Array
  /** It has a buffer of the pool; else it is one large frame. */
  readonly shared: boolean
  end: number
  events: number
}

/** Messages by their columns; see `MessageBatch`. */
export interface MessageRows {
  readonly offset: Int32Array
  readonly length: Int32Array
}

/**
 * Frames on their way to a socket, in order. Appending never refuses: the owner looks at {@link size} and {@link events} and
 * keeps its own bounds. {@link take} lends the next piece to the socket, {@link sent} says that the socket is done with it; one piece
 * at a time. While a piece is lent, appending goes on behind it.
 *
 * No batch ends inside a frame: a frame that does not fit opens the next batch, and one larger than a batch has its own.
 * So whole batches can be dropped ({@link dropQueued}) and the stream stays readable.
 */
export class IpcOutbox {
  /** Bytes appended and not yet sent. */
  size = 0
  /** Events among them. */
  events = 0
  readonly #pool: IpcBatchPool
  readonly #queue: Batch[] = []
  #last: Batch | undefined
  #sent = 0
  #lent = 0

  constructor(pool: IpcBatchPool) {
    this.#pool = pool
  }

  appendJson(text: Uint8Array, isEvent: boolean): void {
    const batch = this.#room(FRAME_HEADER_SIZE + text.length)
    writeFrameHead(batch.bytes, batch.end, KIND_JSON, text.length)
    batch.bytes.set(text, batch.end + FRAME_HEADER_SIZE)
    if (isEvent) {
      batch.events++
      this.events++
    }
    this.#appended(batch, FRAME_HEADER_SIZE + text.length)
  }

  /** A message frame (layout of {@link encodeMessageHead}); the app's bytes are copied. */
  appendMessage(channel: number, flags: number, lane: number, first: number, second: number, source: Uint8Array, offset: number, length: number): void {
    const size = messageFrameSize(length)
    const batch = this.#room(size)
    const at = encodeMessageHead(batch.bytes, batch.end, length, channel, flags, lane, first, second)
    batch.bytes.set(length === source.length ? source : source.subarray(offset, offset + length), at)
    this.#appended(batch, size)
  }

  /**
   * Message frames of one channel around the bytes of rows `from` to `to`, with `second` counting up from `id`; they go by their channel's lane, without flags.
   * What is written is copied into `kept` as well.
   */
  appendRun(channel: number, first: number, id: number, source: Uint8Array, rows: MessageRows, from: number, to: number, kept: RetainedMessages | undefined): void {
    const { length } = rows
    let i = from
    while (i < to) {
      const batch = this.#room(messageFrameSize(length[i]!))
      const start = batch.end
      let stop = i
      let end = start
      let cost = 0
      while (stop < to && (stop === i || end + messageFrameSize(length[stop]!) <= BATCH_SIZE)) {
        end += messageFrameSize(length[stop]!)
        cost += length[stop]! + MESSAGE_COST
        stop++
      }
      this.#writeRun(batch, channel, first, id + (i - from), source, rows, i, stop)
      this.#appended(batch, end - start)
      kept?.pushFrames(batch.bytes, start, end, stop - i, cost)
      i = stop
    }
  }

  #writeRun(batch: Batch, channel: number, first: number, id: number, source: Uint8Array, { offset, length }: MessageRows, from: number, to: number): void {
    const { bytes } = batch
    const low = offset[from]!
    const high = offset[to - 1]! + length[to - 1]!
    const staged = batch.shared && to - from > 1 && high > low && high - low <= STAGE_SIZE
    if (staged) bytes.set(source.subarray(low, high), BATCH_SIZE)
    let at = batch.end
    for (let i = from; i < to; i++) {
      const begin = offset[i]!
      const size = length[i]!
      at = encodeMessageHead(bytes, at, size, channel, 0, LANE_OF_CHANNEL, first, (id + i - from) >>> 0)
      if (staged && begin >= low && begin + size <= high) bytes.copyWithin(at, BATCH_SIZE + begin - low, BATCH_SIZE + begin - low + size)
      else bytes.set(source.subarray(begin, begin + size), at)
      at += size
    }
  }

  /** One message for many channels (layout of {@link encodeManyHead}); the app's bytes are copied, once. */
  appendMany(entries: readonly ManyEntry[], flags: number, lane: number, ttlMs: number, source: Uint8Array): void {
    const size = manyFrameSize(entries.length, source.length)
    const batch = this.#room(size)
    batch.bytes.set(source, encodeManyHead(batch.bytes, batch.end, source.length, flags, lane, ttlMs, entries))
    this.#appended(batch, size)
  }

  appendCredit(channel: number, add: number): void {
    const batch = this.#room(CREDIT_FRAME_SIZE)
    encodeCredit(batch.bytes, batch.end, channel, add)
    this.#appended(batch, CREDIT_FRAME_SIZE)
  }

  /** `what` and `reason` are the numbers in the frame. */
  appendNotice(channel: number, what: number, reason: number, firstTag: number, lastTag: number): void {
    const batch = this.#room(NOTICE_FRAME_SIZE)
    writeNotice(batch.bytes, batch.end, channel, what, reason, firstTag, lastTag)
    this.#appended(batch, NOTICE_FRAME_SIZE)
  }

  /** A whole frame that was encoded elsewhere. */
  appendFrame(frame: Uint8Array): void {
    const batch = this.#room(frame.length)
    batch.bytes.set(frame, batch.end)
    this.#appended(batch, frame.length)
  }

  /** Lends the next piece: `false` when there is none, or the one before is still out. */
  take(slice: IpcSlice): boolean {
    const head = this.#queue[0]
    if (head === undefined || this.#lent > 0) return false
    slice.bytes = head.bytes
    slice.offset = this.#sent
    slice.length = Math.min(head.end - this.#sent, BATCH_SIZE)
    this.#lent = slice.length
    return true
  }

  /** The lent piece was written whole; its buffer is used again. */
  sent(): void {
    const head = this.#queue[0]
    if (head === undefined) return
    this.#sent += this.#lent
    this.size -= this.#lent
    this.#lent = 0
    if (this.#sent === head.end) this.#finishHead(head)
  }

  /** Forgets what was not begun: what remains ends with a whole frame. For a reader that gets one last event. */
  dropQueued(): void {
    const head = this.#queue[0]
    if (head === undefined) return
    const begun = this.#sent + this.#lent
    for (const batch of this.#queue.splice(begun > 0 ? 1 : 0)) this.#release(batch, batch.end)
    this.#last = undefined
    if (begun === 0) return
    // A lent piece of a shared batch ends with a frame; a frame with its own batch must go out whole.
    if (head.shared) {
      this.size -= head.end - begun
      head.end = begun
    }
    if (this.#lent === 0 && this.#sent === head.end) this.#finishHead(head)
  }

  /** Forgets everything. A piece that is lent stays valid for the socket: its buffer is not used again. */
  clear(): void {
    for (const batch of this.#queue.splice(this.#lent > 0 ? 1 : 0)) this.#release(batch, 0)
    this.#queue.length = 0
    this.#last = undefined
    this.size = 0
    this.events = 0
    this.#sent = 0
    this.#lent = 0
  }

  #room(size: number): Batch {
    const last = this.#last
    if (last !== undefined && last.end + size <= BATCH_SIZE) return last
    const shared = size <= BATCH_SIZE
    const batch: Batch = { bytes: shared ? this.#pool.take() : new Uint8Array(size), shared, end: 0, events: 0 }
    this.#queue.push(batch)
    this.#last = batch
    return batch
  }

  #appended(batch: Batch, size: number): void {
    batch.end += size
    this.size += size
  }

  #finishHead(head: Batch): void {
    this.#queue.shift()
    this.#sent = 0
    if (this.#last === head) this.#last = undefined
    this.#release(head, 0)
  }

  #release(batch: Batch, unsent: number): void {
    this.size -= unsent
    this.events -= batch.events
    if (batch.shared) this.#pool.give(batch.bytes)
  }
}
