import { never, toInstant, type Duration, type Now } from '../../base/time.ts'
import type { ByteReader } from '../../base/varint.ts'
import { ACK_RANGES_SENT } from '../../flow/ack-ranges.ts'
import { newAckSample } from '../../flow/congestion.ts'
import {
  PACKET_ACKED, PACKET_LOST, PACKET_NONE, PACKET_PROBED, PACKET_SENT, PACKET_SKIPPED, RECORD_CLOSE, RECORD_FRAGMENT, RECORD_HANDSHAKE, RECORD_KIND_MASK,
  RECORD_OPEN, RECORD_RUN, RECORD_SKIP,
} from '../../flow/sent-packets.ts'
import { ackDelayOn } from './ack-timing.ts'
import { closeCodes } from '../../wire/frame.ts'
import { tryFinish } from '../channels/channels.ts'
import { MODE_RELIABLE_UNORDERED, type Channel } from '../channels/channel.ts'
import { wantData } from './control.ts'
import type { Keys } from '../keys/keys.ts'
import { detectLoss } from './loss.ts'
import { settleQueue } from './send.ts'
import { noteSizeAcked, settleDoubt } from '../paths/mtu.ts'
import type { SessionPath } from '../paths/session-path.ts'
import { PATHS_MAX, type SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Units of the delay field of an ACK, microseconds. */
export const ACK_DELAY_UNIT: Duration = 8
/** Lost packets are remembered for this many probe timeouts: their ACK may still come and spare the repetition. */
const LOST_KEPT_PTOS = 2

/** What one ACK frame changed on one path; reused. */
const sample = newAckSample()

/** What one ACK frame says so far: per path slot, newly acknowledged bytes and the newest send time of them. Reused. */
const progress = {
  bytes: new Float64Array(PATHS_MAX),
  newest: new Float64Array(PATHS_MAX),
  /** The path whose newest packet is the greatest number, and what the peer says it waited with the ACK of that. */
  delayedSlot: -1,
  delay: 0,
  /** Ack-eliciting packets acknowledged for the first time. */
  eliciting: 0,
  /** The greatest number was not acknowledged before. */
  largestIsNew: false,
  /** The greatest number that the peer now knows we acknowledged; −1 for none. */
  retire: -1,
  /** Its messages were acknowledged, and what follows from that is still to be done: once for a run of packets, not for each. */
  channel: undefined as Channel | undefined,
}

/** Reads an ACK frame behind its type and keypair: `largest · delay · n · first · n × (gap, len)`. */
export function readAck(state: SessionState, now: Now, reader: ByteReader, keys: Keys | undefined, ecn: boolean): void {
  const largest = reader.varint()
  const delay = reader.varint() * ACK_DELAY_UNIT
  const count = reader.varint()
  const first = reader.varint()
  if (reader.failed || count > ACK_RANGES_SENT || first > largest) {
    reader.failed = true
    return
  }
  // An ACK of keys that are gone says nothing any more, but it is read to its end.
  const known = keys !== undefined && beginAck(state, keys, largest)
  let low = largest - first
  if (known) ackRange(state, now, keys, low, largest)
  for (let i = 0; i < count; i++) {
    const whole = reader.remaining >= 2
    const high = low - reader.varint() - 2
    low = high - reader.varint()
    if (low < 0 || !whole) {
      reader.failed = true
      return
    }
    if (known) ackRange(state, now, keys, low, high)
  }
  // Nothing is marked on the way out yet, so the three counters of ACK+ECN tell nothing.
  if (ecn) for (let i = 0; i < 3; i++) reader.varint()
  if (known) finishAck(state, now, keys, largest, delay)
}

function beginAck(state: SessionState, keys: Keys, largest: number): boolean {
  if (largest >= keys.sendCounter) {
    state.fail(closeCodes.protocol, 0x02, 'ack of a packet never sent')
    return false
  }
  progress.bytes.fill(0)
  progress.newest.fill(0)
  progress.eliciting = 0
  progress.retire = -1
  progress.delayedSlot = -1
  const order = keys.orderBase + largest
  progress.largestIsNew = order >= state.sent.base && state.sent.state(order) !== PACKET_ACKED
  return true
}

function ackRange(state: SessionState, now: Now, keys: Keys, low: number, high: number): void {
  markRange(state, now, keys, low, high)
  noteRoom(state, undefined)
}

function markRange(state: SessionState, now: Now, keys: Keys, low: number, high: number): void {
  const sent = state.sent
  const last = keys.orderBase + high
  for (let order = Math.max(keys.orderBase + low, sent.base); order <= last; order++) {
    const packet = sent.state(order)
    if (packet === PACKET_ACKED) continue
    if (packet === PACKET_SKIPPED) {
      state.fail(closeCodes.protocol, 0x02, 'ack of a packet that was skipped')
      return
    }
    sent.setState(order, PACKET_ACKED)
    if (sent.ackLargest(order) > progress.retire) progress.retire = sent.ackLargest(order)
    if (packet === PACKET_NONE) continue
    if (packet === PACKET_SENT || packet === PACKET_PROBED) settle(state, now, order)
    else if (packet === PACKET_LOST) notLost(state, now, order)
    // What was put up for sending again meanwhile need not be: it is acknowledged now.
    framesAcked(state, order)
  }
}

/** It was not lost after all, and its path lives. */
function notLost(state: SessionState, now: Now, order: number): void {
  state.host.counters.add('packets_lost_spurious')
  const path = state.paths[state.sent.path(order)]
  if (path === undefined || path.openedAt > state.sent.time(order)) return
  const { recovery } = path
  const size = state.sent.size(order)
  noteSizeAcked(state, path, now, order, size)
  recovery.rate.onSpurious(size)
  recovery.controller.onSpuriousLoss?.(now.mono, size)
  recovery.onAlive(now.mono)
  recovery.settleSilence()
}

function settle(state: SessionState, now: Now, order: number): void {
  const sent = state.sent
  const slot = sent.path(order)
  const size = sent.size(order)
  progress.eliciting++
  progress.bytes[slot]! += size
  if (sent.time(order) > progress.newest[slot]!) progress.newest[slot] = sent.time(order)
  const path = state.paths[slot]
  if (path === undefined) return
  const { recovery } = path
  recovery.onSettled(size)
  noteSizeAcked(state, path, now, order, size)
  recovery.rate.onAcked(order, size)
  const pathSequence = sent.pathSequence(order)
  if (!recovery.hasAcked || ((pathSequence - recovery.largestAcked) | 0) > 0) {
    recovery.largestAcked = pathSequence
    recovery.hasAcked = true
  }
}

function finishAck(state: SessionState, now: Now, keys: Keys, largest: number, delay: Duration): void {
  if (progress.retire >= 0) {
    keys.acks.retire(progress.retire)
    keys.unackedAcks = 0
  }
  if (progress.eliciting === 0) return
  const sent = state.sent
  if (progress.largestIsNew) {
    // [QR] §5.1: a sample needs the greatest number to be new and something ack-eliciting among what is.
    const order = keys.orderBase + largest
    const path = state.paths[sent.path(order)]
    if (path !== undefined && path.openedAt <= sent.time(order)) {
      progress.delayedSlot = path.slot
      progress.delay = Math.min(delay, Math.max(state.limits.maxAckDelay, ackDelayOn(path.kind, 0)))
      path.recovery.rtt.update(now.mono - sent.time(order), progress.delay)
    }
    answerPings(state, order, now)
  }
  sent.advanceFirstSent()
  for (const path of state.paths) {
    if (path !== undefined && progress.bytes[path.slot]! > 0) pathAcked(state, now, path)
  }
  sent.advanceBase(toInstant(now.mono - LOST_KEPT_PTOS * state.pto()))
}

function pathAcked(state: SessionState, now: Now, path: SessionPath): void {
  const recovery = path.recovery
  const bytes = progress.bytes[path.slot]!
  recovery.onAlive(now.mono)
  path.refusedAt = never
  sample.now = now.mono
  sample.bytes = bytes
  sample.sentAt = toInstant(progress.newest[path.slot]!)
  sample.inFlight = recovery.inFlight + bytes
  sample.rtt = Math.max(1, now.mono - sample.sentAt - (path.slot === progress.delayedSlot ? progress.delay : 0))
  sample.windowLimited = recovery.windowLimited
  sample.smoothedRtt = recovery.rtt.smoothed
  sample.minRtt = recovery.rtt.min
  recovery.rate.fill(state.sent, sample)
  recovery.controller.onAcked(sample)
  detectLoss(state, now, path)
  settleDoubt(state, path, now)
  recovery.settleSilence()
  if (path !== state.active) return
  state.probes = 0
  // The window moved: when the next burst may go is worked out anew.
  state.timers.clear(timer.pace)
}

function answerPings(state: SessionState, order: number, now: Now): void {
  while (state.pings.length > 0 && state.pings[0]!.order >= 0 && state.pings[0]!.order <= order) {
    const ping = state.pings.shift()!
    state.host.emit({ kind: 'pong', token: ping.token, peer: state.peer, rtt: now.mono - ping.sentAt })
  }
}

function framesAcked(state: SessionState, order: number): void {
  const sent = state.sent
  const count = sent.frameCount(order)
  for (let k = 0; k < count; k++) {
    const at = sent.frameAt(order, k)
    const frames = sent.frames
    if (frames[at] === RECORD_HANDSHAKE) continue
    const channel = state.channelById(frames[at + 1]!)
    if (channel === undefined) continue
    const kind = frames[at]!
    switch (kind & RECORD_KIND_MASK) {
      case RECORD_RUN:
        channel.queueOf(kind).onAckedRun(frames[at + 2]!, frames[at + 3]!)
        noteRoom(state, channel)
        break
      case RECORD_FRAGMENT:
        channel.queueOf(kind).onAckedFragment(frames[at + 2]!, frames[at + 3]!, frames[at + 4]!)
        noteRoom(state, channel)
        break
      case RECORD_SKIP:
        channel.queueOf(kind).onAckedSkip(frames[at + 2]!)
        noteRoom(state, channel)
        break
      case RECORD_OPEN:
        channel.openAcked = true
        channel.openWanted = false
        // Messages may have waited for it.
        wantData(state, channel)
        break
      case RECORD_CLOSE:
        // Which may end the channel.
        noteRoom(state, undefined)
        // Of an earlier CLOSE that an abort has overtaken, the ACK settles nothing.
        if (frames[at + 3] !== channel.closeVersion) break
        channel.closeAcked = true
        channel.closeWanted = false
        tryFinish(state, channel)
        break
      default:
        break
    }
  }
}

/** Messages of this channel were acknowledged, and of the one before no more are for now. */
function noteRoom(state: SessionState, next: Channel | undefined): void {
  const { channel } = progress
  if (channel === next) return
  progress.channel = next
  if (channel === undefined) return
  settleQueue(state, channel)
  // The window of ids may have moved.
  if (channel.mode === MODE_RELIABLE_UNORDERED) wantData(state, channel)
  if (channel.state === 'closing' && channel.queuedMessages === 0) tryFinish(state, channel)
}
