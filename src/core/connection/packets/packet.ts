import { ADDRESS_SIZE } from '../../base/address.ts'
import { writeU32, writeU64 } from '../../base/bytes.ts'
import { toInstant, type Now } from '../../base/time.ts'
import { writeVarint } from '../../base/varint.ts'
import type { AeadBatch } from '../../crypto/aead-batch.ts'
import { FRAME_EXTENSION } from '../../wire/frame.ts'
import { counter } from '../host.ts'
import type { Keys } from '../keys/keys.ts'
import { makeSlot } from './loss.ts'
import type { SessionPath } from '../paths/session-path.ts'
import type { SessionState } from '../state.ts'

const HEADER = 13
const TAG = 16
/** Header and tag around the plaintext. */
export const TRANSPORT_OVERHEAD: number = HEADER + TAG
const TYPE_TRANSPORT = 0x62
/** WIRE.md §4: plaintext is padded to a multiple of 16, beyond this to a multiple of 64. */
const PAD = 16
const FILL_FROM = 960
/** A datagram filled this far is padded to the burst's segment size; less ends the burst. */
const EQUAL_SHARE = 0.75
const PAD_LOOP_MAX = 32
/** One ack-eliciting datagram in this many carries a grease frame. */
const GREASE_EVERY = 1000
const GREASE_SIZE_MAX = 24
/** WIRE.md §4: one counter in every 256 … 1024 is left out. */
const SKIP_MIN = 256
const SKIP_RANGE = 769
/** A packet without data looks for settled ones to forget when this many stand in the table. */
const TIDY_AT = 64

/** Where sealed bursts go: the slab and the rows of the pump's batch, in the words of the contract. */
export interface BurstSink {
  readonly base: number
  readonly size: number
  used: number
  count: number
  readonly capacity: number
  readonly link: Int32Array
  readonly path: Int32Array
  readonly address: Uint8Array
  readonly offset: Int32Array
  readonly length: Int32Array
  readonly segmentSize: Int32Array
  readonly ecn: Uint8Array
  readonly ttl: Uint8Array
  readonly local: Uint8Array
}

/** The one datagram in the making: frame writers append at `position`, up to `end`. */
export const packet = {
  at: 0, body: 0, position: 0, end: 0,
  /** How far {@link packetFits} may move the end for a frame that is longer than a usual datagram. */
  limit: 0,
  frameMark: 0, ackLargest: -1,
  /** It asks for an ACK and is tracked; on a path that carries no traffic it asks, but is not. */
  eliciting: false,
  /** An app frame is in it: the keypair becomes dirty. */
  app: false,
}

export function packetRoom(): number {
  return packet.end - packet.position
}

/** Whether a frame of this size fits. On a slow link one that is longer than a usual datagram goes alone, or with ACKs (WIRE.md §7). */
export function packetFits(size: number): boolean {
  if (packetRoom() >= size) return true
  const end = packet.body + ((packet.position - packet.body + size + PAD - 1) & -PAD)
  if (packet.eliciting || end > packet.limit) return false
  packet.end = end
  return true
}

export function packetEmpty(): boolean {
  return packet.position === packet.body
}

export function hasSlabRoom(sink: BurstSink, plaintext: number): boolean {
  return sink.used + plaintext + TRANSPORT_OVERHEAD <= sink.size
}

/** @param limit bytes of plaintext of the largest datagram, where a single long frame may go in one */
export function beginPacket(state: SessionState, sink: BurstSink, plaintext: number, limit: number = plaintext): void {
  packet.at = sink.base + sink.used
  packet.body = packet.at + HEADER
  packet.position = packet.body
  packet.end = packet.body + plaintext
  packet.limit = packet.body + Math.min(limit, sink.size - sink.used - TRANSPORT_OVERHEAD)
  packet.frameMark = state.sent.frameMark
  packet.ackLargest = -1
  packet.eliciting = false
  packet.app = false
}

/**
 * Pads, numbers and records the datagram, and puts it up for sealing. Returns its length.
 * @param segment length of the first datagram of the burst, 0 for the first itself
 * @param tracked whether loss and congestion look at it
 */
export function finishPacket(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch, segment: number, tracked: boolean): number {
  const bytes = state.host.arena.bytes
  const elicits = tracked && packet.eliciting
  if (elicits) maybeGrease(state, bytes)
  const used = packet.position - packet.body
  const room = packet.end - packet.body
  let plain = Math.max(PAD, (used + PAD - 1) & ~(PAD - 1))
  if (used > FILL_FROM) plain = (used + 63) & ~63
  if (segment > 0 && used >= EQUAL_SHARE * room) plain = room
  plain = Math.min(plain, room)
  zero(bytes, packet.position, packet.body + plain)
  const number = nextCounter(state, keys)
  bytes[packet.at] = TYPE_TRANSPORT
  writeU32(bytes, packet.at + 1, keys.remoteIndex)
  writeU64(bytes, packet.at + 5, number)
  seals.push(keys.seal, number, packet.body, plain)
  const length = TRANSPORT_OVERHEAD + plain
  record(state, now, path, length, elicits)
  if (packet.app && keys.dirtyAt > now.mono) {
    keys.dirtyAt = now.mono
    state.keysChanged = true
  }
  sink.used += length
  return length
}

/** A full datagram has nothing to pad, most others a few bytes: a call of `fill` costs more than those. */
function zero(bytes: Uint8Array, from: number, to: number): void {
  if (to - from > PAD_LOOP_MAX) bytes.fill(0, from, to)
  else for (let p = from; p < to; p++) bytes[p] = 0
}

function record(state: SessionState, now: Now, path: SessionPath, length: number, elicits: boolean): void {
  const { sent } = state
  const recovery = path.recovery
  const inFlight = recovery.inFlight
  let pathSequence = 0
  if (elicits) {
    pathSequence = recovery.onSent(now.mono, length)
    recovery.pacer.spend(length)
  } else if (sent.tracked >= TIDY_AT) {
    sent.advanceBase(toInstant(now.mono - 2 * state.pto()))
  }
  if (sent.full) makeSlot(state)
  sent.push(now.mono, length, path.slot, pathSequence, packet.frameMark, packet.ackLargest, elicits)
  if (elicits) recovery.rate.onSent(sent, now.mono, sent.next - 1, inFlight, length)
}

function nextCounter(state: SessionState, keys: Keys): number {
  if (keys.sendCounter === keys.skipCounter) {
    if (keys.sendCounter > 0) {
      if (state.sent.full) makeSlot(state)
      keys.sendCounter++
      state.sent.pushSkippedBefore(packet.frameMark)
    }
    keys.skipCounter += SKIP_MIN + Math.floor(state.host.randomUnit() * SKIP_RANGE)
  }
  return keys.sendCounter++
}

function maybeGrease(state: SessionState, bytes: Uint8Array): void {
  const shows = state.pathShows > 0
  if (packetRoom() < GREASE_SIZE_MAX || (!shows && state.host.randomUnit() * GREASE_EVERY >= 1)) return
  if (shows) state.pathShows--
  const type = FRAME_EXTENSION + 31 * (1 + Math.floor(state.host.randomUnit() * 64))
  // At full length where the peer may not know the address yet: it answers with no more bytes than it got, and has a response and a challenge to send.
  const body = state.host.randomBytes(shows ? 16 : Math.floor(state.host.randomUnit() * 17))
  let p = writeVarint(bytes, packet.position, type)
  p = writeVarint(bytes, p, body.length)
  bytes.set(body, p)
  packet.position = p + body.length
}

/** One row for the last `length` bytes of the slab, in segments of `segment`: a burst is written. What is counted of its datagrams is counted here. */
export function pushRow(state: SessionState, now: Now, sink: BurstSink, path: SessionPath, length: number, segment: number): void {
  if (!path.validation.validated) path.validation.bytesSent += length
  path.lastSentAt = now.mono
  state.lastSentAt = now.mono
  state.host.counters.add(counter.datagrams_sent, Math.ceil(length / segment))
  state.host.counters.add(counter.bytes_sent, length)
  const i = sink.count++
  sink.link[i] = path.link
  sink.path[i] = path.slot
  sink.address.set(path.address, i * ADDRESS_SIZE)
  sink.offset[i] = sink.base + sink.used - length
  sink.length[i] = length
  sink.segmentSize[i] = segment
  sink.ecn[i] = 0
  sink.ttl[i] = 0
  sink.local[i] = path.local
}
