import type { Pieces } from '../../base/pieces.ts'
import type { Instant, Now } from '../../base/time.ts'
import type { AeadBatch } from '../../crypto/aead-batch.ts'
import { writeClose } from '../../wire/frame.ts'
import { tryCloseFrame } from '../channels/channels.ts'
import { ackDue, openSize, pathFramesWanted, writeAcks, writeControl, writeOpen, writePathFrames, writePing } from './control-frames.ts'
import { maySendNew, noteBlocked, releaseHeldBack, sendAllowance } from './flow-control.ts'
import { counter } from '../host.ts'
import type { Keys } from '../keys/keys.ts'
import { doubtSize } from '../paths/mtu.ts'
import { writeMtuProbe } from '../paths/mtu-probe.ts'
import { beginPacket, finishPacket, hasSlabRoom, packet, packetEmpty, packetRoom, pushRow, TRANSPORT_OVERHEAD, type BurstSink } from './packet.ts'
import { writeRekey } from '../keys/rekey.ts'
import { settleQueue } from './send.ts'
import type { SessionPath } from '../paths/session-path.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** DESIGN §3: a burst is at most this many segments and bytes. */
const SEGMENTS_MAX = 64
const BURST_BYTES_MAX = 65_507
/** Below this much room no message frame is begun. */
const FRAME_ROOM_MIN = 16
/** Shortest plaintext. */
const PAD = 16
/** CLOSE with the longest reason; without one it fits any datagram. */
const CLOSE_SIZE_MAX = 272
/** A sender that waits for the pacer waits for this share of its window at once, at most so many datagrams: fewer wake-ups, no lumps. */
const PACE_SHARE = 1 / 8
const PACE_DATAGRAMS = 8

/**
 * Writes one burst for one path of the session into the sink and its rows into `seals` (sealed by the caller, all together).
 * Returns whether anything was written; call again until not. What keeps it from sending (window, pacing, a blocked link) has
 * set a timer or waits for an event.
 */
export function writeBurst(state: SessionState, now: Now, sink: BurstSink, seals: AeadBatch): boolean {
  const keys = state.current
  if (keys === undefined || keys.wiped || state.phase !== 'open' || sink.count >= sink.capacity) return false
  for (const path of state.paths) {
    if (path !== undefined && path !== state.active && pathFramesWanted(path) && writeProbe(state, now, keys, path, sink, seals)) return true
  }
  const active = state.active
  if (active === undefined) return false
  if (!active.validation.validated) return writeProbe(state, now, keys, active, sink, seals)
  return writeMtuProbe(state, now, keys, active, sink, seals) || writeActive(state, now, keys, active, sink, seals)
}

/**
 * The datagram of a path that carries no traffic: challenge, response; of one that shall and is not validated also ACKs and
 * PING (WIRE.md §5). Never more bytes than an unvalidated address has paid for. Not tracked: its challenge repeats itself, and
 * its silence is no loss.
 */
function writeProbe(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch): boolean {
  const active = path === state.active
  if (!pathFramesWanted(path) && !(active && (ackDue(state) || state.pingWanted))) return false
  const size = affordable(path)
  if (size < PAD || state.host.linkBlocked(path.link) || !hasSlabRoom(sink, size)) return false
  beginPacket(state, sink, size)
  writePathFrames(state, now, path, false)
  if (active) {
    writeAcks(state, now)
    if (state.pingWanted) writePing(state, now.mono)
  }
  if (packetEmpty()) return false
  const length = finishPacket(state, now, keys, path, sink, seals, 0, false)
  pushRow(state, now, sink, path, length, length)
  return true
}

/** Plaintext that may go to this address now. */
function affordable(path: SessionPath): number {
  return path.validation.validated ? path.size : Math.min(path.size, Math.floor((path.validation.budget - TRANSPORT_OVERHEAD) / PAD) * PAD)
}

function writeActive(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch): boolean {
  const recovery = path.recovery
  if (state.heldBack && recovery.outstanding === 0) releaseHeldBack(state)
  doubtSize(state, path, now.mono)
  const full = path.size + TRANSPORT_OVERHEAD
  const segmentsMax = Math.min(path.segmentsMax, SEGMENTS_MAX, Math.floor(BURST_BYTES_MAX / full), seals.capacity - seals.count)
  const wants = wantsToSend(state)
  const mayTrack = state.sent.room
  if (!wants) recovery.pacer.rest()
  // What flow control holds back stands in no lane: to the path that is a lack of data too.
  if (!(wants && mayTrack) && recovery.inFlight < recovery.controller.window) recovery.rate.markAppLimited(recovery.inFlight)
  let budget = wants && mayTrack ? sendBudget(state, now.mono, path, full, segmentsMax) : 0
  // Probes and PINGs go beyond the window.
  const sendable = wants && mayTrack && (budget >= full || state.probes > 0 || state.pingWanted)
  if ((!sendable && !pathFramesWanted(path) && !ackDue(state)) || state.host.linkBlocked(path.link)) return false
  const first = sink.used
  let segment = 0
  let segments = 0
  while (segments < segmentsMax && hasSlabRoom(sink, path.size)) {
    if (segment === 0) beginPacket(state, sink, path.size, path.sizeMax)
    else beginPacket(state, sink, segment - TRANSPORT_OVERHEAD)
    if (segments === 0) {
      writeAcks(state, now)
      writePathFrames(state, now, path, state.sent.room)
    }
    const mayElicit = state.sent.room && (budget >= full || state.probes > 0)
    if (mayElicit) writeTraffic(state, now, keys, path, seals.pieces)
    else if (state.pingWanted && state.sent.room) writePing(state, now.mono)
    if (packetEmpty()) break
    const length = finishPacket(state, now, keys, path, sink, seals, segment, state.sent.room)
    segments++
    budget -= length
    if (segment === 0) segment = length
    if (length < segment || !mayElicit) break
  }
  if (segments === 0) return false
  recovery.windowLimited = budget < full && wantsToSend(state)
  pushRow(state, now, sink, path, sink.used - first, segment)
  return true
}

/** Control frames and messages. The last probe of a probe timeout is a bare PING: a peer without memory for messages still acknowledges that. */
function writeTraffic(state: SessionState, now: Now, keys: Keys, path: SessionPath, pieces: Pieces): void {
  const probing = state.probes > 0
  if (state.probes !== 1) {
    writeRekey(state)
    writeControl(state, keys)
    writeMessages(state, now.mono, keys, path, pieces)
    // Channels that ran into their limit, or sent their last, have something to say now.
    if (state.control.size > 0 || state.blockedWanted) writeControl(state, keys)
  }
  if (state.pingWanted || (probing && !packet.eliciting)) writePing(state, now.mono)
  if (probing && packet.eliciting) state.probes--
}

/** Bytes of ack-eliciting datagrams that may go now; sets the pace timer when only the pacer says no. */
function sendBudget(state: SessionState, now: Instant, path: SessionPath, full: number, segmentsMax: number): number {
  const recovery = path.recovery
  const { window, pacingRate, sendQuantum } = recovery.controller
  const room = window - recovery.inFlight
  if (room < full) {
    recovery.windowLimited = true
    return 0
  }
  const tokens = recovery.pacer.available(now, window, recovery.rtt.estimate, pacingRate, full, segmentsMax * full)
  // Held by the machine, not by what the path carries: what is delivered now says nothing against the rate.
  if (recovery.pacer.overdue) recovery.rate.markAppLimited(recovery.inFlight)
  if (tokens < full) {
    recovery.windowLimited = true
    const quantum = sendQuantum === undefined ? Math.min(window * PACE_SHARE, Math.min(segmentsMax, PACE_DATAGRAMS) * full) : Math.min(sendQuantum, segmentsMax * full)
    // Never less than a datagram, also when datagrams have just become larger than the quantum: the bucket would hold it already, and the timer never rest.
    state.timers.setEarlier(timer.pace, recovery.pacer.nextAt(Math.max(quantum, full)))
    return 0
  }
  return Math.min(room, tokens)
}

/** Whether there is anything ack-eliciting to send. */
export function wantsToSend(state: SessionState): boolean {
  return !state.lanes.empty || state.control.size > 0 || state.maxDataWanted || state.blockedWanted || state.candidatesWanted || state.presenceWanted || (state.pairing?.wanted ?? 0) > 0 || (state.punch !== undefined && state.punch.outbox.length > 0) || state.pingWanted || state.probes > 0 || state.rekeying?.waits === true
}

/** Fills the datagram with messages: lanes by priority, lost ones before new ones within a channel. */
function writeMessages(state: SessionState, now: Instant, keys: Keys, path: SessionPath, pieces: Pieces): void {
  const { lanes, sent } = state
  let urgent = false
  while (packetRoom() > FRAME_ROOM_MIN) {
    const stream = lanes.next()
    if (stream === undefined) return
    const { channel, queue } = stream
    // On a slow link what fills the datagram up arrives before what is urgent in it is whole.
    if (urgent && stream.lane > 0) return
    let capacity = path.size
    if (!channel.openAcked) {
      capacity -= openSize(channel)
      // No room beside OPEN: it goes alone, and the messages wait until it is known.
      if (capacity < FRAME_ROOM_MIN) {
        lanes.remove(stream)
        continue
      }
      if (!writeOpen(state, keys, channel)) return
    }
    const before = packet.position
    let p = before
    if (queue.hasLost) p = queue.packLost(pieces, p, packet.end, capacity, sent, now)
    if (queue.hasNew && !queue.hasLost) {
      const messages = channel.count.nextId
      channel.updateIdLimit()
      p = queue.packNew(pieces, p, packet.end, capacity, sendAllowance(state, stream), lanes.allowance(stream), sent, now)
      state.charged += queue.chargedNow
      const count = channel.count.nextId - messages
      // Most datagrams of a large message begin none.
      if (count > 0) {
        state.host.counters.add(counter.messages_sent, count)
        channel.tally.addSent(stream.lane, count)
      }
    }
    // Sent and not to be repeated, or late and dropped.
    if (queue.released > 0) settleQueue(state, channel)
    packet.position = p
    if (p > before) {
      packet.eliciting = true
      packet.app = true
      lanes.spent(stream, p - before)
      urgent ||= path.slow && stream.lane === 0
    }
    const more = queue.hasLost || maySendNew(state, stream)
    if (!more) {
      lanes.remove(stream)
      if (queue.hasNew) noteBlocked(state, stream)
      else tryCloseFrame(state, channel)
    } else if (p === before) {
      // It has more, but not for the room that is left.
      return
    }
  }
}

/** A datagram with nothing but CLOSE, on the path in use; false when there is none or no room. */
export function writeCloseDatagram(state: SessionState, now: Now, sink: BurstSink, seals: AeadBatch): boolean {
  const keys = state.current
  const path = state.active
  if (keys === undefined || keys.wiped || path === undefined || state.failure === undefined || sink.count >= sink.capacity) return false
  const size = affordable(path)
  if (size < PAD || !hasSlabRoom(sink, size) || state.host.linkBlocked(path.link)) return false
  beginPacket(state, sink, size)
  const { code, frameType, reason } = state.failure
  packet.position = writeClose(state.host.arena.bytes, packet.position, code, frameType, size < CLOSE_SIZE_MAX ? '' : reason)
  const length = finishPacket(state, now, keys, path, sink, seals, 0, false)
  pushRow(state, now, sink, path, length, length)
  return true
}
