import { never, toInstant, type Instant } from '../../base/time.ts'
import { RangeSet } from '../../flow/range-set.ts'
import type { RekeyInitiation } from '../../session/rekey.ts'
import type { HandshakeFrame, HandshakeFrameHead } from '../../wire/handshake-frame.ts'

/** Pieces of one message that may arrive with holes between them; beyond it the message is dropped. */
const HOLES_MAX = 32

/** A Noise message that goes out in frames until it is acknowledged or its exchange is over. */
interface Outgoing extends HandshakeFrameHead {
  /** What frame records call it. */
  readonly serial: number
  readonly bytes: Uint8Array
  /** Where the next frame begins; goes back when one is lost. */
  next: number
}

/** A Noise message that comes in frames. At most 2048 bytes. */
export class Arriving {
  readonly senderIndex: number
  readonly suite: number
  readonly bytes: Uint8Array
  readonly #ranges = new RangeSet()

  constructor(frame: HandshakeFrame) {
    this.senderIndex = frame.senderIndex
    this.suite = frame.suite
    this.bytes = new Uint8Array(frame.total)
  }

  isOf(frame: HandshakeFrame): boolean {
    return this.senderIndex === frame.senderIndex && this.suite === frame.suite && this.bytes.length === frame.total
  }

  /** Whether it is whole now; the first bytes win. */
  add(frame: HandshakeFrame): 'whole' | 'more' | 'too-many' {
    this.#ranges.gaps(frame.offset, frame.offset + frame.bytes.length, (lo, hi) => { this.bytes.set(frame.bytes.subarray(lo - frame.offset, hi - frame.offset), lo) })
    this.#ranges.add(frame.offset, frame.offset + frame.bytes.length)
    if (this.#ranges.count > HOLES_MAX) return 'too-many'
    return this.#ranges.prefix === this.bytes.length ? 'whole' : 'more'
  }
}

export interface Pending {
  readonly initiation: RekeyInitiation
  readonly until: Instant
  arriving: Arriving | undefined
  failures: number
}

/**
 * A session's rekey. Two exchanges at most: our own (`pending`) and the peer's (`arriving`, then the slot `next`).
 *
 *   initiator: idle ──timer──▶ pending ──B──▶ idle, new keys current        pending ──5 s──▶ pending, fresh
 *   responder: idle ──A──▶ next ──first datagram under it──▶ idle, new keys current        next ──10 s──▶ idle
 */
export class Rekeying {
  pending: Pending | undefined
  /** The peer's A, in pieces. */
  arriving: Arriving | undefined
  answeredAt: Instant = never
  /** Sender index of the last A that was read: copies of it are not read again. */
  answeredIndex = 0
  /** First attempt of ours since the last success. */
  tryingSince: Instant = never
  quietUntil: Instant = toInstant(0)
  /** Our A and our B. */
  readonly outgoing: Outgoing[] = []
  #serial = 0

  /** Whether frames are to be written. */
  get waits(): boolean {
    return this.outgoing.some(({ next, bytes }) => next < bytes.length)
  }

  put(head: HandshakeFrameHead, bytes: Uint8Array): void {
    this.drop(head.message)
    this.#serial = (this.#serial + 1) | 0
    this.outgoing.push({ ...head, serial: this.#serial, bytes, next: 0 })
  }

  drop(message: HandshakeFrameHead['message']): void {
    const at = this.outgoing.findIndex((outgoing) => outgoing.message === message)
    if (at >= 0) this.outgoing.splice(at, 1)
  }

  /** The frame with this part of an outgoing message was lost: it goes again from there. */
  lost(serial: number, offset: number): void {
    const outgoing = this.outgoing.find((candidate) => candidate.serial === serial)
    if (outgoing !== undefined) outgoing.next = Math.min(outgoing.next, offset)
  }
}

/** When the rekey timer has something to do, given when the current keys are due. `exchanging`: the peer's goes first, its end sets the timer anew. */
export function nextRekey(rekeying: Rekeying | undefined, due: Instant, exchanging: boolean): Instant {
  if (exchanging) return never
  if (rekeying === undefined) return due
  return rekeying.pending !== undefined ? rekeying.pending.until : toInstant(Math.max(due, rekeying.quietUntil))
}
