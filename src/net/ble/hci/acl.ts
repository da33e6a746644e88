/** The data of links: frames of L2CAP out through a controller's few buffers, and in again from its pieces. */
import { readU16, writeU16 } from '../../../core/base/bytes.ts'
import { boundary, encodeAcl, L2CAP_HEADER_SIZE } from '../../../core/wire/hci.ts'

/** What waits of one link. The transport keeps to a few values, so this is met only by a peer that asks faster than it listens: its link is closed. */
const FRAMES_WAITING_MAX = 64
/** The longest frame we read: what the largest MTU needs, and room for signaling. A longer one closes the link. */
const FRAME_SIZE_MAX = 1024

/** Length and channel of an L2CAP frame (vol 3 part A §3.1), and its payload. */
export function l2capFrame(channel: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(L2CAP_HEADER_SIZE + payload.length)
  writeU16(frame, 0, payload.length)
  writeU16(frame, 2, channel)
  frame.set(payload, L2CAP_HEADER_SIZE)
  return frame
}

interface OutLink {
  /** BOUNDED by {@link FRAMES_WAITING_MAX}. The first may be begun. */
  readonly frames: { readonly bytes: Uint8Array; readonly isValue: boolean }[]
  /** Bytes of the first that the controller has. */
  offset: number
  /** Pieces that the controller has, oldest first: whether each ends a value. BOUNDED by the controller's buffers. */
  readonly held: boolean[]
}

/**
 * Shares the controller's buffers among the links: each may hold its part of them, so that one that nobody hears does not keep the others from sending.
 * Pieces of different frames of a link never mix.
 */
export class AclSender {
  readonly #write: (packet: Uint8Array) => void
  readonly #sent: (handle: number, values: number) => void
  readonly #links = new Map<number, OutLink>()
  #length = 27
  #count = 1
  #held = 0

  /** `sent` is told how many values are out of the controller. */
  constructor(write: (packet: Uint8Array) => void, sent: (handle: number, values: number) => void) {
    this.#write = write
    this.#sent = sent
  }

  /** As the controller has told. */
  setBuffers(length: number, count: number): void {
    this.#length = length
    this.#count = count
  }

  open(handle: number): void {
    this.#links.set(handle, { frames: [], offset: 0, held: [] })
  }

  /** What the controller held of it is free again, by the specification without being told. */
  close(handle: number): void {
    const link = this.#links.get(handle)
    if (link === undefined) return
    this.#held -= link.held.length
    this.#links.delete(handle)
    this.#pump()
  }

  reset(): void {
    this.#links.clear()
    this.#held = 0
  }

  send(handle: number, frame: Uint8Array, isValue: boolean): 'queued' | 'full' | 'closed' {
    const link = this.#links.get(handle)
    if (link === undefined) return 'closed'
    if (link.frames.length >= FRAMES_WAITING_MAX) return 'full'
    link.frames.push({ bytes: frame, isValue })
    this.#pump()
    return 'queued'
  }

  /** The controller is done with so many pieces. `false`: more than it held, which is not believed. */
  completed(handle: number, count: number): boolean {
    const link = this.#links.get(handle)
    if (link === undefined) return false
    const done = link.held.splice(0, count)
    this.#held -= done.length
    const values = done.filter(Boolean).length
    if (values > 0) this.#sent(handle, values)
    this.#pump()
    return done.length === count
  }

  #pump(): void {
    const share = this.#links.size === 1 ? this.#count : Math.max(1, Math.floor(this.#count / this.#links.size))
    for (let wrote = true; wrote;) {
      wrote = false
      for (const [handle, link] of this.#links) {
        if (this.#held >= this.#count) return
        if (link.frames.length === 0 || link.held.length >= share) continue
        this.#sendPiece(handle, link)
        wrote = true
      }
    }
  }

  #sendPiece(handle: number, link: OutLink): void {
    const { bytes, isValue } = link.frames[0]!
    const piece = bytes.subarray(link.offset, link.offset + this.#length)
    this.#write(encodeAcl(handle, link.offset === 0 ? boundary.firstFromHost : boundary.continuing, piece))
    link.offset += piece.length
    const isLast = link.offset >= bytes.length
    link.held.push(isLast && isValue)
    this.#held++
    if (!isLast) return
    link.frames.shift()
    link.offset = 0
  }
}

export interface Frame {
  readonly channel: number
  readonly payload: Uint8Array
}

/** Puts the frames of one link together from the pieces the controller gives. It keeps less than one frame. */
export class FrameReader {
  #frame: Uint8Array | undefined
  #filled = 0

  /** The payload is a view of bytes that nobody changes any more. */
  take(flag: number, piece: Uint8Array): Frame | 'more' | 'malformed' {
    if (flag === boundary.continuing) {
      if (this.#frame === undefined || piece.length > this.#frame.length - this.#filled) return 'malformed'
      this.#frame.set(piece, this.#filled)
      this.#filled += piece.length
    } else {
      // A frame that was begun and never ended is lost: that happens when a link was busy, and its ATT waits for an answer at most.
      if (piece.length < L2CAP_HEADER_SIZE) return 'malformed'
      const size = L2CAP_HEADER_SIZE + readU16(piece, 0)
      if (size > FRAME_SIZE_MAX || piece.length > size) return 'malformed'
      this.#frame = new Uint8Array(size)
      this.#frame.set(piece)
      this.#filled = piece.length
    }
    if (this.#filled < this.#frame.length) return 'more'
    const frame = this.#frame
    this.#frame = undefined
    return { channel: readU16(frame, 2), payload: frame.subarray(L2CAP_HEADER_SIZE) }
  }
}
