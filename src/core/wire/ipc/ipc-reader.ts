import { readU32 } from '../../base/bytes.ts'
import type { MessageRun } from '../../base/message-run.ts'
import {
  CLIENT_CHANNELS_MAX, CREDIT_BODY_SIZE, FRAME_HEADER_SIZE, KIND_CREDIT, KIND_IGNORED_MIN, KIND_JSON, KIND_MANY, KIND_MESSAGE, KIND_NOTICE, LANE_OF_CHANNEL, MANY_ENTRY_SIZE, MANY_HEADER_SIZE, MESSAGE_COST, MESSAGE_HEADER_SIZE,
  NOTICE_BODY_SIZE,
} from './ipc.ts'

/** Largest bodies by kind. */
export interface IpcBodyLimits {
  readonly json: number
  /** Of an app's message, without the 16 bytes before it. */
  readonly message: number
}

/** A carry buffer up to this size is kept from frame to frame; a larger one goes with its frame. */
const CARRY_KEPT = 65_536
const CARRY_MIN = 1024
/** In a message's body. */
const TAG_AT = 8
const TTL_AT = 12

export type IpcReadResult = 'frame' | 'more' | 'malformed'

/**
 * Cuts a byte stream into frames. {@link push} a chunk, then call {@link next} until it says `more`; after `frame` the body is
 * `bytes[offset … offset + length)`, valid until the next call. Frames that lie whole in a chunk are not copied; the rest of a
 * chunk is carried over to the next one, in a buffer that grows only with bytes that really came, so a client holds no
 * more of our memory than it sent. `malformed` is final, and {@link where} says why.
 */
export class IpcFrameReader {
  kind = 0
  bytes: Uint8Array
  offset = 0
  length = 0
  where = ''
  /** Kinds of later versions that were skipped. */
  ignored = 0
  #limits: IpcBodyLimits
  #chunk: Uint8Array
  #at = 0
  #end = 0
  #carry: Uint8Array = new Uint8Array(0)
  #carried = 0
  /** Bytes of a skipped frame that are still to come. */
  #skip = 0
  #failed = false

  constructor(limits: IpcBodyLimits) {
    this.#limits = limits
    this.#chunk = this.#carry
    this.bytes = this.#carry
  }

  /** Takes effect from the next frame on. */
  set limits(limits: IpcBodyLimits) {
    this.#limits = limits
  }

  /** Whether the stream stands inside a frame: an end here is a sender that died mid-frame. */
  get midFrame(): boolean {
    return this.#carried > 0 || this.#skip > 0
  }

  /** Bytes held between chunks. */
  get carried(): number {
    return this.#carried
  }

  /** Takes the next chunk. The reader looks at it until {@link next} says `more`, and the one before must have come to that. */
  push(chunk: Uint8Array, start = 0, end: number = chunk.length): void {
    this.#chunk = chunk
    this.#at = start
    this.#end = end
  }

  next(): IpcReadResult {
    for (;;) {
      if (this.#failed) return 'malformed'
      if (this.#skip > 0 && !this.#skipOn()) return 'more'
      const result = this.#carried > 0 ? this.#fromCarry() : this.#fromChunk()
      if (result !== 'again') return result
    }
  }

  /**
   * Begins a run with the message frame just read, and adds those that lie whole behind it in the same chunk while they are plain and like it: of the same channel,
   * by its lane, without flags and ttl, with a tag or without, of at most `sizeMax` bytes, and while `balance`, which each reduces by its cost, is
   * above 0. {@link next} goes on behind the last; {@link stepBack} gives back what was not taken.
   */
  nextRun(run: MessageRun, balance: number, sizeMax: number): void {
    const bytes = this.bytes
    const first = this.offset
    const channel = readU32(bytes, first)
    const tagged = readU32(bytes, first + TAG_AT) !== 0
    run.begin(bytes)
    run.add(first + MESSAGE_HEADER_SIZE, this.length - MESSAGE_HEADER_SIZE, readU32(bytes, first + TAG_AT))
    if (bytes !== this.#chunk) return // It was carried over, and lies elsewhere.
    const bodyMax = MESSAGE_HEADER_SIZE + Math.min(sizeMax, this.#limits.message)
    const end = this.#end
    let left = balance - (this.length - MESSAGE_HEADER_SIZE + MESSAGE_COST)
    let at = this.#at
    while (left > 0 && run.count < run.capacity && end - at >= FRAME_HEADER_SIZE + MESSAGE_HEADER_SIZE) {
      const body = at + FRAME_HEADER_SIZE
      const length = readU32(bytes, at) - 1
      if (bytes[at + 4] !== KIND_MESSAGE || length < MESSAGE_HEADER_SIZE || length > bodyMax || body + length > end) break
      const tag = readU32(bytes, body + TAG_AT)
      if (readU32(bytes, body) !== channel || bytes[body + 4] !== 0 || bytes[body + 5] !== LANE_OF_CHANNEL || readU32(bytes, body + TTL_AT) !== 0 || (tag !== 0) !== tagged) break
      run.add(body + MESSAGE_HEADER_SIZE, length - MESSAGE_HEADER_SIZE, tag)
      left -= length - MESSAGE_HEADER_SIZE + MESSAGE_COST
      at = body + length
    }
    this.#at = at
  }

  /** The messages of the run just read from row `taken` on are to be read again; the first of it is still in the reader. */
  stepBack(run: MessageRun, taken: number): void {
    if (taken < run.count) this.#at = run.offset[taken]! - MESSAGE_HEADER_SIZE - FRAME_HEADER_SIZE
  }

  #fromChunk(): IpcReadResult | 'again' {
    const at = this.#at
    const available = this.#end - at
    if (available < FRAME_HEADER_SIZE) return this.#keepRest()
    const len = readU32(this.#chunk, at)
    const kind = this.#chunk[at + 4]!
    if (kind >= KIND_IGNORED_MIN && this.#fits(kind, len)) return this.#startSkip(len + 4)
    if (!this.#fits(kind, len)) return 'malformed'
    if (available < len + 4) return this.#keepRest()
    this.#at = at + 4 + len
    return this.#deliver(kind, this.#chunk, at + FRAME_HEADER_SIZE, len - 1)
  }

  #fromCarry(): IpcReadResult | 'again' {
    if (this.#carried < FRAME_HEADER_SIZE && !this.#fill(FRAME_HEADER_SIZE)) return 'more'
    const len = readU32(this.#carry, 0)
    const kind = this.#carry[4]!
    if (!this.#fits(kind, len)) return 'malformed'
    if (kind >= KIND_IGNORED_MIN) {
      const rest = len + 4 - this.#carried
      this.#carried = 0
      return this.#startSkip(rest)
    }
    if (!this.#fill(len + 4)) return 'more'
    this.#carried = 0
    const whole = this.#carry
    if (whole.length > CARRY_KEPT) this.#carry = new Uint8Array(0)
    return this.#deliver(kind, whole, FRAME_HEADER_SIZE, len - 1)
  }

  #deliver(kind: number, bytes: Uint8Array, offset: number, length: number): 'frame' {
    this.kind = kind
    this.bytes = bytes
    this.offset = offset
    this.length = length
    return 'frame'
  }

  /** Whether a frame of this kind may have this `len`; if not, the reader has failed. */
  #fits(kind: number, len: number): boolean {
    const max = this.#bodyMax(kind)
    if (max < 0) this.where = `frame kind ${kind}`
    else if (len < 1) this.where = 'frame length 0'
    else if (len - 1 > max) this.where = `frame length ${len} above ${max + 1}`
    else return true
    this.#failed = true
    return false
  }

  #bodyMax(kind: number): number {
    const { json, message } = this.#limits
    switch (kind) {
      case KIND_JSON: return json
      case KIND_MESSAGE: return message + MESSAGE_HEADER_SIZE
      case KIND_CREDIT: return CREDIT_BODY_SIZE
      case KIND_NOTICE: return NOTICE_BODY_SIZE
      case KIND_MANY: return message + MANY_HEADER_SIZE + MANY_ENTRY_SIZE * CLIENT_CHANNELS_MAX
      default: return kind >= KIND_IGNORED_MIN ? Math.max(json, message + MESSAGE_HEADER_SIZE) : -1
    }
  }

  #startSkip(count: number): 'again' {
    this.ignored++
    this.#skip = count
    return 'again'
  }

  /** Whether the skipped frame is now behind us. */
  #skipOn(): boolean {
    const step = Math.min(this.#skip, this.#end - this.#at)
    this.#at += step
    this.#skip -= step
    return this.#skip === 0
  }

  #keepRest(): 'more' {
    this.#fill(this.#end - this.#at)
    return 'more'
  }

  /** Moves bytes of the chunk behind the carried ones until there are `wanted`: whether there are. */
  #fill(wanted: number): boolean {
    const take = Math.min(wanted - this.#carried, this.#end - this.#at)
    const needed = this.#carried + take
    if (needed > this.#carry.length) {
      // Grown with what came, not with what was announced: 256 clients that announce 1 MiB each cost nothing.
      const carry = new Uint8Array(Math.max(CARRY_MIN, needed, Math.min(wanted, 2 * this.#carry.length)))
      carry.set(this.#carry.subarray(0, this.#carried))
      this.#carry = carry
    }
    if (take > 0) this.#carry.set(this.#chunk.subarray(this.#at, this.#at + take), this.#carried)
    this.#at += take
    this.#carried = needed
    return needed >= wanted
  }
}
