import { never, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import type { ByteReader } from '../base/varint.ts'
import type { AckSample } from '../flow/congestion.ts'
import { PACKET_THRESHOLD } from '../flow/path-recovery.ts'
import {
  PACKET_ACKED, PACKET_LOST, PACKET_SENT, PACKET_SKIPPED,
  RECORD_ACCEPT, RECORD_BLOCKED, RECORD_CHANNEL_BLOCKED, RECORD_CLOSE, RECORD_FRAGMENT, RECORD_MAX_CHANNEL_DATA, RECORD_MAX_DATA,
  RECORD_OBSERVED, RECORD_OPEN, RECORD_RUN,
} from '../flow/sent-packets.ts'
import { closeCodes } from '../wire/frame.ts'
import { tryFinish } from './channels.ts'
import type { Channel } from './channel.ts'
import { settleQueue } from './send.ts'
import { wantControl, wantData } from './control.ts'
import type { Keys } from './keys.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

/** Units of the delay field of an ACK, microseconds. */
export const ACK_DELAY_UNIT: Duration = 8
/** Most ranges in one ACK frame. */
const RANGES_MAX = 64
/** [QR] §7.6: losses over this many probe timeouts with nothing acknowledged between are persistent congestion. */
const PERSISTENT_PTOS = 3

/** What one ACK frame changed on one path; reused. */
const sample: AckSample = { now: toInstant(0), bytes: 0, sentAt: toInstant(0), inFlight: 0, windowLimited: false, smoothedRtt: 0, minRtt: 0 }

/** Reads an ACK frame behind its type and keypair: `largest · delay · n · first · n × (gap, len)`. */
export function readAck(state: SessionState, now: Now, reader: ByteReader, keys: Keys | undefined, ecn: boolean): void {
  const largest = reader.varint()
  const delay = reader.varint() * ACK_DELAY_UNIT
  const count = reader.varint()
  const first = reader.varint()
  if (reader.failed || count >= RANGES_MAX || first > largest) {
    reader.failed = true
    return
  }
  const begin = keys === undefined ? undefined : beginAck(state, keys, largest)
  let high = largest
  let low = largest - first
  if (begin !== undefined) ackRange(state, begin, keys!, low, high)
  for (let i = 0; i < count; i++) {
    high = low - reader.varint() - 2
    low = high - reader.varint()
    // A read past the end gives 0 and goes on: the range is then harmless, and the frame is refused below.
    if (low < 0) {
      reader.failed = true
      return
    }
    if (begin !== undefined) ackRange(state, begin, keys!, low, high)
  }
  if (ecn) {
    reader.varint()
    reader.varint()
    reader.varint()
  }
  if (begin !== undefined) finishAck(state, now, begin, keys!, largest, delay)
}

/** Newly acknowledged bytes and the newest send time, per path slot, while one ACK frame is read. */
interface AckProgress {
  readonly bytes: Float64Array
  readonly newest: Float64Array
  newlyAcked: number
  largestWasNew: boolean
}
const progress: AckProgress = { bytes: new Float64Array(256), newest: new Float64Array(256), newlyAcked: 0, largestWasNew: false }

function beginAck(state: SessionState, keys: Keys, largest: number): AckProgress | undefined {
  if (largest >= keys.sendCounter) {
    state.fail(closeCodes.protocol, 0x02, 'ack of a packet never sent')
    return undefined
  }
  for (const path of state.paths) {
    if (path === undefined) continue
    progress.bytes[path.slot] = 0
    progress.newest[path.slot] = 0
  }
  progress.newlyAcked = 0
  const order = keys.orderBase + largest
  progress.largestWasNew = order >= state.sent.base && state.sent.state(order) === PACKET_SENT
  return progress
}

function ackRange(state: SessionState, ack: AckProgress, keys: Keys, low: number, high: number): void {
  const sent = state.sent
  const last = keys.orderBase + high
  for (let order = Math.max(keys.orderBase + low, sent.base); order <= last; order++) {
    const packet = sent.state(order)
    if (packet === PACKET_SENT) {
      const slot = sent.path(order)
      const path = state.paths[slot]
      if (path !== undefined) settle(path, sent.size(order), sent.pathSequence(order))
      ack.bytes[slot]! += sent.size(order)
      if (sent.time(order) > ack.newest[slot]!) ack.newest[slot] = sent.time(order)
      ack.newlyAcked++
      sent.setState(order, PACKET_ACKED)
      framesAcked(state, order)
    } else if (packet === PACKET_LOST) {
      // It was not lost after all: what it carried need not be sent again.
      sent.setState(order, PACKET_ACKED)
      framesAcked(state, order)
    } else if (packet === PACKET_SKIPPED) {
      state.fail(closeCodes.protocol, 0x02, 'ack of a packet that was skipped')
    }
  }
}

function settle(path: SessionPath, size: number, pathSequence: number): void {
  const recovery = path.recovery
  recovery.onSettled(size)
  if (!recovery.hasAcked || ((pathSequence - recovery.largestAcked) | 0) > 0) {
    recovery.largestAcked = pathSequence
    recovery.hasAcked = true
  }
}

function finishAck(state: SessionState, now: Now, ack: AckProgress, keys: Keys, largest: number, delay: Duration): void {
  if (ack.newlyAcked === 0) return
  const sent = state.sent
  const order = keys.orderBase + largest
  if (ack.largestWasNew) {
    const path = state.paths[sent.path(order)]
    const acked = sent.ackLargest(order)
    if (acked >= 0) keys.acks.retire(acked)
    keys.unackedAcks = 0
    path?.recovery.rtt.update(now.mono - sent.time(order), Math.min(delay, state.limits.maxAckDelay))
    answerPings(state, order, now)
  }
  sent.advanceFirstSent()
  for (const path of state.paths) {
    if (path === undefined || ack.bytes[path.slot] === 0) continue
    const recovery = path.recovery
    const bytes = ack.bytes[path.slot]!
    recovery.ptoCount = 0
    recovery.silentSince = recovery.outstanding > 0 ? now.mono : never
    sample.now = now.mono
    sample.bytes = bytes
    sample.sentAt = toInstant(ack.newest[path.slot]!)
    sample.inFlight = recovery.inFlight + bytes
    sample.windowLimited = recovery.windowLimited
    sample.smoothedRtt = recovery.rtt.smoothed
    sample.minRtt = recovery.rtt.min
    recovery.controller.onAcked(sample)
    detectLoss(state, now.mono, path)
  }
  sent.advanceBase(toInstant(now.mono - 2 * state.pto()))
  if (state.heldBack && (state.active?.recovery.outstanding ?? 0) === 0) {
    state.heldBack = false
    for (const channel of state.channels.values()) wantData(state, channel)
  }
  state.timers.clear(timer.pace)
}

function answerPings(state: SessionState, order: number, now: Now): void {
  while (state.pings.length > 0 && state.pings[0]!.order >= 0 && state.pings[0]!.order <= order) {
    const ping = state.pings.shift()!
    state.host.emit({ kind: 'pong', token: ping.token, peer: state.peer, rtt: now.mono - ping.sentAt })
  }
}

/** Packets of this path that later ones overtook count as lost: by number, or by time (RFC 9002 §6.1). */
export function detectLoss(state: SessionState, now: Instant, path: SessionPath): void {
  const recovery = path.recovery
  recovery.lossAt = never
  if (!recovery.hasAcked || recovery.outstanding === 0) return
  const sent = state.sent
  const delay = recovery.rtt.lossDelay()
  let bytes = 0
  let oldest: Instant = never
  let newest: Instant = toInstant(0)
  for (let order = sent.firstSent; order < sent.next; order++) {
    if (sent.state(order) !== PACKET_SENT || sent.path(order) !== path.slot) continue
    const behind = (recovery.largestAcked - sent.pathSequence(order)) | 0
    if (behind < 0) break
    const sentAt = sent.time(order)
    // Compared as the timer is set: `now - delay` may round to the other side, and the timer would fire for ever.
    if (behind < PACKET_THRESHOLD && sentAt + delay > now) {
      recovery.lossAt = toInstant(sentAt + delay)
      break
    }
    bytes += sent.size(order)
    if (sentAt < oldest) oldest = sentAt
    newest = sentAt
    declareLost(state, order, path)
  }
  if (bytes === 0) return
  const persistent = newest - oldest > PERSISTENT_PTOS * recovery.rtt.pto(state.limits.maxAckDelay) && recovery.rtt.hasSample
  recovery.controller.onLost(now, bytes, newest, persistent)
  sent.advanceFirstSent()
}

/** Takes a packet out of flight and puts its frames up for sending again. */
export function declareLost(state: SessionState, order: number, path: SessionPath): void {
  const sent = state.sent
  sent.setState(order, PACKET_LOST)
  path.recovery.onSettled(sent.size(order))
  path.recovery.packetsLost++
  state.host.counters.add('packets_lost')
  framesLost(state, order)
}

function channelOf(state: SessionState, id: number): Channel | undefined {
  if (state.lastChannel?.id === id) return state.lastChannel
  return state.channels.get(id)
}

function framesAcked(state: SessionState, order: number): void {
  const sent = state.sent
  const count = sent.frameCount(order)
  for (let k = 0; k < count; k++) {
    const at = sent.frameAt(order, k)
    const frames = sent.frames
    const channel = channelOf(state, frames[at + 1]!)
    if (channel === undefined) continue
    switch (frames[at]) {
      case RECORD_RUN:
        channel.queue.onAckedRun(frames[at + 2]!, frames[at + 3]!)
        noteRoom(state, channel)
        break
      case RECORD_FRAGMENT:
        channel.queue.onAckedFragment(frames[at + 2]!, frames[at + 3]!, frames[at + 4]!)
        noteRoom(state, channel)
        break
      case RECORD_OPEN:
        channel.openAcked = true
        break
      case RECORD_CLOSE:
        channel.closeAcked = true
        channel.closeWanted = false
        tryFinish(state, channel)
        break
      default:
        break
    }
  }
}

function noteRoom(state: SessionState, channel: Channel): void {
  settleQueue(state, channel)
  if (channel.state === 'closing' && channel.queue.messages === 0) tryFinish(state, channel)
}

function framesLost(state: SessionState, order: number): void {
  const sent = state.sent
  const count = sent.frameCount(order)
  for (let k = 0; k < count; k++) {
    const at = sent.frameAt(order, k)
    const frames = sent.frames
    const kind = frames[at]!
    if (kind === RECORD_MAX_DATA) state.maxDataWanted = true
    else if (kind === RECORD_BLOCKED) state.blockedWanted = state.blockedAt === state.sendLimit
    else if (kind === RECORD_OBSERVED) {
      const path = state.paths[frames[at + 1]!]
      if (path !== undefined) path.observedWanted = true
    } else channelFrameLost(state, kind, at)
  }
}

function channelFrameLost(state: SessionState, kind: number, at: number): void {
  const frames = state.sent.frames
  const channel = channelOf(state, frames[at + 1]!)
  if (channel === undefined) return
  switch (kind) {
    case RECORD_RUN:
      channel.queue.onLostRun(frames[at + 2]!, frames[at + 3]!)
      state.host.counters.add('frames_retransmitted', frames[at + 3]!)
      wantData(state, channel)
      break
    case RECORD_FRAGMENT:
      channel.queue.onLostFragment(frames[at + 2]!, frames[at + 3]!, frames[at + 4]!)
      state.host.counters.add('frames_retransmitted')
      wantData(state, channel)
      break
    case RECORD_OPEN:
      channel.openWanted = !channel.openAcked
      wantControl(state, channel)
      break
    case RECORD_ACCEPT:
      channel.acceptWanted = channel.state === 'open' || channel.state === 'closing'
      wantControl(state, channel)
      break
    case RECORD_CLOSE:
      channel.closeWanted = !channel.closeAcked
      wantControl(state, channel)
      break
    case RECORD_MAX_CHANNEL_DATA:
      channel.maxDataWanted = channel.state !== 'closed'
      wantControl(state, channel)
      break
    case RECORD_CHANNEL_BLOCKED:
      channel.blockedWanted = channel.blockedAt === channel.sendLimit
      wantControl(state, channel)
      break
    default:
      break
  }
}

/** A probe timeout: the oldest packets of the path are sent again and may go beyond the window (RFC 9002 §6.2.4). */
export function onProbeTimeout(state: SessionState, now: Instant, path: SessionPath): void {
  const recovery = path.recovery
  const active = path === state.active
  recovery.ptoCount++
  recovery.lastElicitingAt = now
  state.host.counters.add('probes_sent')
  const sent = state.sent
  const silentSince = recovery.silentSince
  // An old path gets no probes: what it carried goes out again on the path in use.
  let left = active ? 2 : Infinity
  for (let order = sent.firstSent; order < sent.next && left > 0; order++) {
    if (sent.state(order) !== PACKET_SENT || sent.path(order) !== path.slot) continue
    declareLost(state, order, path)
    left--
  }
  sent.advanceFirstSent()
  if (active) {
    state.probes = 2
    // Declaring the last one lost must neither stop the clock of liveness nor start it anew: the probes are outstanding soon.
    recovery.silentSince = silentSince === never ? now : silentSince
  }
}

/** The path is left: what is in flight on it goes out again elsewhere, and it is not the new path's congestion. */
export function abandonFlight(state: SessionState, path: SessionPath): void {
  const sent = state.sent
  for (let order = sent.firstSent; order < sent.next && path.recovery.outstanding > 0; order++) {
    if (sent.state(order) === PACKET_SENT && sent.path(order) === path.slot) declareLost(state, order, path)
  }
  path.recovery.lossAt = never
  sent.advanceFirstSent()
}

/** The keys are gone: what was sent under them and not acknowledged will not be (no congestion event, WIRE.md §3.11). */
export function giveUpKeys(state: SessionState, keys: Keys): void {
  const sent = state.sent
  const last = keys.orderBase + keys.sendCounter
  for (let order = Math.max(sent.firstSent, keys.orderBase); order < last && order < sent.next; order++) {
    if (sent.state(order) !== PACKET_SENT) continue
    const path = state.paths[sent.path(order)]
    if (path !== undefined) declareLost(state, order, path)
    else {
      sent.setState(order, PACKET_LOST)
      framesLost(state, order)
    }
  }
  sent.advanceFirstSent()
}
