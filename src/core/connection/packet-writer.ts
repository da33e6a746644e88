import { ADDRESS_SIZE } from '../base/address.ts'
import { writeU32, writeU64 } from '../base/bytes.ts'
import { never, type Instant, type Now } from '../base/time.ts'
import { varintSize, writeVarint } from '../base/varint.ts'
import type { AeadBatch } from '../crypto/aead-batch.ts'
import {
  RECORD_ACCEPT, RECORD_BLOCKED, RECORD_CHANNEL_BLOCKED, RECORD_CLOSE, RECORD_MAX_CHANNEL_DATA, RECORD_MAX_DATA, RECORD_OBSERVED, RECORD_OPEN,
} from '../flow/sent-packets.ts'
import {
  channelCloseSize, channelOpenSize, FRAME_ACK, FRAME_ACK_OTHER, FRAME_BLOCKED, FRAME_CHANNEL_ACCEPT, FRAME_CHANNEL_BLOCKED, FRAME_EXTENSION,
  FRAME_MAX_CHANNEL_DATA, FRAME_MAX_DATA, FRAME_OBSERVED_ADDRESS, FRAME_PATH_CHALLENGE, FRAME_PATH_RESPONSE, FRAME_PING,
  writeChannelClose, writeChannelOpen, writeClose, writeWireAddress, type ChannelCloseFrame, type ChannelOpenFrame,
} from '../wire/frame.ts'
import { ACK_DELAY_UNIT } from './acks.ts'
import { tryCloseFrame } from './channels.ts'
import type { Channel } from './channel.ts'
import { maySendNew, noteBlocked, sendAllowance } from './flow-control.ts'
import type { Keys } from './keys.ts'
import { TRANSPORT_OVERHEAD } from './paths.ts'
import { settleQueue } from './send.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from './state.ts'
import { timer } from './timers.ts'

const HEADER = 13
const TAG = 16
const TYPE_TRANSPORT = 0x62
/** DESIGN §3: a burst is at most this many segments and bytes. */
const SEGMENTS_MAX = 64
const BURST_BYTES_MAX = 65_507
/** WIRE.md §4: plaintext beyond this is filled to a multiple of 64, below to a multiple of 16. */
const FILL_FROM = 960
/** A datagram filled this far is padded to the burst's segment size; less ends the burst. */
const EQUAL_SHARE = 0.75
/** ACKs that go unacknowledged before one carries a PING, so that our ranges can be retired. */
const ACKS_BEFORE_PING = 16
/** One datagram in this many carries a grease frame. */
const GREASE_EVERY = 1000
/** Below this much room no message frame is begun. */
const FRAME_ROOM_MIN = 16

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
}

/** What one datagram in the making has so far; reused. */
const packet = { at: 0, body: 0, position: 0, end: 0, frameMark: 0, eliciting: false, app: false, ackLargest: -1 }

/**
 * Writes one burst for one path of the session into the sink and its rows into `seals` (sealed by the caller, all together).
 * Returns whether anything was written; call again until not. What keeps it from sending (window, pacing, a blocked link) has
 * set a timer or waits for an event.
 */
export function writeBurst(state: SessionState, now: Now, sink: BurstSink, seals: AeadBatch): boolean {
  const keys = state.current
  if (keys === undefined || keys.wiped || state.phase !== 'open' || sink.count >= sink.capacity) return false
  for (const path of state.paths) {
    if (path === undefined || path === state.active) continue
    if ((path.validation.wanted || path.responses.length > 0) && writeOne(state, now, keys, path, sink, seals)) return true
  }
  const active = state.active
  if (active === undefined || state.host.linkBlocked(active.link)) return false
  return writeActive(state, now, keys, active, sink, seals)
}

/** The datagram of a path that carries no traffic: challenge, response, acks. */
function writeOne(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch): boolean {
  if (state.host.linkBlocked(path.link) || !hasSlabRoom(sink, path.size)) return false
  begin(state, sink, path.size)
  writePathFrames(state, now, path)
  if (packet.position === packet.body) return false
  // Packets of a path that carries no traffic are not tracked: its challenge repeats itself, its silence is no loss.
  packet.eliciting = false
  const length = finish(state, now, keys, path, seals, 0)
  pushRow(sink, path, length, length)
  return true
}

function writeActive(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch): boolean {
  const recovery = path.recovery
  const full = path.size + TRANSPORT_OVERHEAD
  const segmentsMax = Math.min(path.segmentsMax, SEGMENTS_MAX, Math.floor(BURST_BYTES_MAX / full), seals.capacity - seals.count)
  const paid = path.validation.budget >= full
  const mayTrack = state.sent.room && paid
  let budget = wantsToSend(state) ? sendBudget(state, now.mono, path, full, segmentsMax) : 0
  // A probe goes beyond the window, and nothing goes beyond what an unvalidated address has paid for.
  const sendable = mayTrack && wantsToSend(state) && (budget >= full || state.probes > 0 || state.pingWanted)
  const pathFrames = path.validation.wanted || path.responses.length > 0
  if (!sendable && !pathFrames && !ackDue(state)) return false
  const first = sink.used
  let segment = 0
  let segments = 0
  while (segments < segmentsMax && hasSlabRoom(sink, path.size)) {
    begin(state, sink, segment === 0 ? path.size : segment - TRANSPORT_OVERHEAD)
    if (segments === 0) {
      writeAcks(state, now)
      writePathFrames(state, now, path)
    }
    const mayElicit = paid && state.sent.room && (budget >= full || state.probes > 0)
    if (mayElicit) {
      writeControl(state, keys)
      writeMessages(state, keys)
      if (state.pingWanted || (state.probes > 0 && !packet.eliciting)) writePing(state, now.mono)
    } else if (state.pingWanted && mayTrack) {
      writePing(state, now.mono)
    }
    if (packet.position === packet.body) break
    if (packet.eliciting && state.probes > 0) state.probes--
    const length = finish(state, now, keys, path, seals, segment)
    segments++
    budget -= length
    if (segment === 0) segment = length
    if (length < segment || !mayElicit) break
  }
  if (segments === 0) return false
  recovery.windowLimited = budget < full && wantsToSend(state)
  pushRow(sink, path, sink.used - first, segment)
  return true
}

function ackDue(state: SessionState): boolean {
  return state.current?.ackNow === true || state.previous?.ackNow === true
}

/** Bytes of ack-eliciting datagrams that may go now; sets the pace timer when only the pacer says no. */
function sendBudget(state: SessionState, now: Instant, path: SessionPath, full: number, segmentsMax: number): number {
  const recovery = path.recovery
  const room = recovery.controller.window - recovery.inFlight
  if (room < full) {
    recovery.windowLimited = true
    return 0
  }
  const rtt = recovery.rtt.hasSample ? recovery.rtt.smoothed : 333_000
  const tokens = recovery.pacer.available(now, recovery.controller.window, rtt, recovery.controller.pacingRate, full, segmentsMax * full)
  if (tokens < full) {
    recovery.windowLimited = true
    state.timers.setEarlier(timer.pace, recovery.pacer.nextAt(Math.min(segmentsMax, 8) * full))
    return 0
  }
  return Math.min(room, tokens)
}

/** Whether there is anything ack-eliciting to send. */
export function wantsToSend(state: SessionState): boolean {
  return !state.lanes.empty || state.control.length > 0 || state.maxDataWanted || state.blockedWanted || state.pingWanted || state.probes > 0
}

function hasSlabRoom(sink: BurstSink, plaintext: number): boolean {
  return sink.used + plaintext + TRANSPORT_OVERHEAD <= sink.size
}

function begin(state: SessionState, sink: BurstSink, plaintext: number): void {
  packet.at = sink.base + sink.used
  packet.body = packet.at + HEADER
  packet.position = packet.body
  packet.end = packet.body + plaintext
  packet.frameMark = state.sent.frameMark
  packet.eliciting = false
  packet.app = false
  packet.ackLargest = -1
  writingTo = sink
}
let writingTo: BurstSink | undefined

/** Pads, numbers and records the datagram, and puts it up for sealing. Returns its length. */
function finish(state: SessionState, now: Now, keys: Keys, path: SessionPath, seals: AeadBatch, segment: number): number {
  const bytes = state.host.arena.bytes
  maybeGrease(state, bytes)
  const used = packet.position - packet.body
  const room = packet.end - packet.body
  let plain = Math.max(16, (used + 15) & ~15)
  if (used > FILL_FROM) plain = (used + 63) & ~63
  if (segment > 0 && used >= EQUAL_SHARE * room) plain = room
  plain = Math.min(plain, room)
  bytes.fill(0, packet.position, packet.body + plain)
  const counter = nextCounter(state, keys)
  bytes[packet.at] = TYPE_TRANSPORT
  writeU32(bytes, packet.at + 1, keys.remoteIndex)
  writeU64(bytes, packet.at + 5, counter)
  seals.push(keys.seal, counter, packet.body, plain)
  const length = HEADER + plain + TAG
  const recovery = path.recovery
  let pathSequence = 0
  if (packet.eliciting) {
    pathSequence = recovery.onSent(now.mono, length)
    recovery.pacer.spend(length)
  }
  state.sent.push(now.mono, length, path.slot, pathSequence, packet.frameMark, packet.ackLargest, packet.eliciting)
  if (!packet.eliciting) state.sent.advanceBase(never)
  if (packet.app && keys.dirtyAt === never) {
    keys.dirtyAt = now.mono
    state.keysChanged = true
  }
  if (!path.validation.validated) path.validation.bytesSent += length
  path.lastSentAt = now.mono
  state.lastSentAt = now.mono
  const counters = state.host.counters
  counters.add('datagrams_sent')
  counters.add('bytes_sent', length)
  writingTo!.used += length
  return length
}

function nextCounter(state: SessionState, keys: Keys): number {
  if (keys.sendCounter === keys.skipCounter) {
    if (keys.sendCounter > 0) {
      keys.sendCounter++
      state.sent.pushSkippedBefore(packet.frameMark)
    }
    keys.skipCounter += 256 + Math.floor(state.host.randomUnit() * 769)
  }
  return keys.sendCounter++
}

function pushRow(sink: BurstSink, path: SessionPath, length: number, segment: number): void {
  const i = sink.count++
  sink.link[i] = path.link
  sink.path[i] = path.slot
  sink.address.set(path.address, i * ADDRESS_SIZE)
  sink.offset[i] = sink.base + sink.used - length
  sink.length[i] = length
  sink.segmentSize[i] = segment
  sink.ecn[i] = 0
  sink.ttl[i] = 0
}

/** ACKs that are due, or that may ride along: of the current keys, then of the previous ones. */
function writeAcks(state: SessionState, now: Now): void {
  const current = state.current!
  const due = current.ackNow || current.ackPending > 0
  if (due) writeAck(state, now, current, false)
  const previous = state.previous
  if (previous !== undefined && (previous.ackNow || previous.ackPending > 0)) writeAck(state, now, previous, true)
}

function writeAck(state: SessionState, now: Now, keys: Keys, other: boolean): void {
  const bytes = state.host.arena.bytes
  let p = packet.position
  bytes[p] = other ? FRAME_ACK_OTHER : FRAME_ACK
  p++
  if (other) {
    writeU32(bytes, p, keys.localIndex)
    p += 4
  }
  const delay = Math.max(0, Math.round((now.mono - keys.largestAt) / ACK_DELAY_UNIT))
  const behind = keys.acks.write(bytes, p, packet.end, delay)
  if (behind === p) return
  packet.position = behind
  if (!other) packet.ackLargest = keys.acks.largest
  keys.ackNow = false
  keys.ackPending = 0
  keys.unackedAcks++
  if (keys.acks.count > 1 && keys.unackedAcks >= ACKS_BEFORE_PING && !other) {
    state.pingWanted = true
    keys.unackedAcks = 0
  }
  state.timers.clear(timer.ack)
  state.host.counters.add('acks_sent')
}

function writePathFrames(state: SessionState, now: Now, path: SessionPath): void {
  const bytes = state.host.arena.bytes
  const validation = path.validation
  while (path.responses.length > 0 && packet.end - packet.position >= 9 && validation.budget >= 64) {
    bytes[packet.position] = FRAME_PATH_RESPONSE
    bytes.set(path.responses.shift()!, packet.position + 1)
    packet.position += 9
    markEliciting(state)
  }
  if (validation.wanted && packet.end - packet.position >= 9) {
    const data = state.host.randomBytes(8)
    bytes[packet.position] = FRAME_PATH_CHALLENGE
    bytes.set(data, packet.position + 1)
    packet.position += 9
    validation.challenge(now.mono, data, path.recovery.rtt.pto(state.limits.maxAckDelay))
    markEliciting(state)
  }
  if (path.observedWanted && packet.position > packet.body && packet.end - packet.position >= 30) {
    path.observedWanted = false
    bytes[packet.position] = FRAME_OBSERVED_ADDRESS
    const p = writeVarint(bytes, packet.position + 1, state.observedNext++)
    packet.position = writeWireAddress(bytes, p, path.address)
    state.sent.addFrame(RECORD_OBSERVED, path.slot, 0, 0, 0)
    markEliciting(state)
  }
}

function markEliciting(state: SessionState): void {
  // Packets to an unvalidated path, and what finds no place in the table of sent packets, are not tracked for loss.
  if (state.sent.room) packet.eliciting = true
}

function writePing(state: SessionState, now: Instant): void {
  if (packet.end - packet.position < 1) return
  state.host.arena.bytes[packet.position++] = FRAME_PING
  packet.eliciting = true
  state.pingWanted = false
  for (const ping of state.pings) {
    if (ping.order >= 0) continue
    ping.order = state.sent.next
    ping.sentAt = now
  }
}

function writeControl(state: SessionState, keys: Keys): void {
  const bytes = state.host.arena.bytes
  if (state.maxDataWanted && packet.end - packet.position >= 9) {
    state.maxDataWanted = false
    bytes[packet.position] = FRAME_MAX_DATA
    packet.position = writeVarint(bytes, packet.position + 1, state.receiveLimit)
    state.sent.addFrame(RECORD_MAX_DATA, 0, 0, 0, 0)
    packet.eliciting = true
  }
  if (state.blockedWanted && packet.end - packet.position >= 9) {
    state.blockedWanted = false
    bytes[packet.position] = FRAME_BLOCKED
    packet.position = writeVarint(bytes, packet.position + 1, state.blockedAt)
    state.sent.addFrame(RECORD_BLOCKED, 0, 0, 0, 0)
    packet.eliciting = true
  }
  while (state.control.length > 0) {
    const channel = state.control[0]!
    if (!writeChannelControl(state, keys, channel)) return
    state.control.shift()
    channel.controlListed = false
  }
}

/** False when the datagram is full before all of the channel's control frames are written. */
function writeChannelControl(state: SessionState, keys: Keys, channel: Channel): boolean {
  if (channel.openWanted && !writeOpen(state, keys, channel)) return false
  if (channel.acceptWanted && !writeNumbers(state, channel, FRAME_CHANNEL_ACCEPT, 0, RECORD_ACCEPT)) return false
  channel.acceptWanted = false
  if (channel.maxDataWanted && !writeNumbers(state, channel, FRAME_MAX_CHANNEL_DATA, channel.receiveLimit, RECORD_MAX_CHANNEL_DATA)) return false
  channel.maxDataWanted = false
  if (channel.blockedWanted && !writeNumbers(state, channel, FRAME_CHANNEL_BLOCKED, channel.blockedAt, RECORD_CHANNEL_BLOCKED)) return false
  channel.blockedWanted = false
  // A channel that is closed before its OPEN was acknowledged is opened and closed in one datagram.
  if (channel.closeWanted && !channel.openAcked && !writeOpen(state, keys, channel)) return false
  return !channel.closeWanted || writeCloseFrame(state, channel)
}

function writeNumbers(state: SessionState, channel: Channel, type: number, value: number, record: number): boolean {
  if (packet.end - packet.position < 1 + varintSize(channel.id) + varintSize(value)) return false
  const bytes = state.host.arena.bytes
  bytes[packet.position] = type
  packet.position = writeVarint(bytes, writeVarint(bytes, packet.position + 1, channel.id), value)
  state.sent.addFrame(record, channel.id, 0, 0, 0)
  packet.eliciting = true
  if (type === FRAME_CHANNEL_ACCEPT) packet.app = true
  return true
}

/** Writes CHANNEL_OPEN unless this datagram has it; false when it does not fit. */
function writeOpen(state: SessionState, keys: Keys, channel: Channel): boolean {
  if (channel.openWrittenIn === keys.orderBase + keys.sendCounter) return true
  const frame: ChannelOpenFrame = { channel: channel.id, mode: channel.mode, lane: channel.lane, weight: channel.weight, credit: 0, app: channel.app, meta: channel.meta }
  if (packet.end - packet.position < channelOpenSize(frame)) return false
  packet.position = writeChannelOpen(state.host.arena.bytes, packet.position, frame)
  state.sent.addFrame(RECORD_OPEN, channel.id, 0, 0, 0)
  channel.openWanted = false
  channel.openWrittenIn = keys.orderBase + keys.sendCounter
  packet.eliciting = true
  packet.app = true
  return true
}

function writeCloseFrame(state: SessionState, channel: Channel): boolean {
  const { abort, code, reason } = channel.closeLocal ?? { abort: false, code: 0, reason: '' }
  const frame: ChannelCloseFrame = { channel: channel.id, abort, code, final: channel.queue.nextId, cost: channel.queue.charged, reason }
  if (packet.end - packet.position < channelCloseSize(frame)) return false
  packet.position = writeChannelClose(state.host.arena.bytes, packet.position, frame)
  state.sent.addFrame(RECORD_CLOSE, channel.id, 0, 0, 0)
  channel.closeWanted = false
  packet.eliciting = true
  packet.app = true
  return true
}

/** Fills the datagram with messages: lanes by priority, lost ones before new ones within a channel. */
function writeMessages(state: SessionState, keys: Keys): void {
  const { lanes, sent } = state
  const bytes = state.host.arena.bytes
  while (packet.end - packet.position > FRAME_ROOM_MIN) {
    const channel = lanes.next()
    if (channel === undefined) return
    if (!channel.openAcked && !writeOpen(state, keys, channel)) return
    const queue = channel.queue
    const before = packet.position
    const capacity = packet.end - packet.body
    let p = before
    if (queue.hasLost) p = queue.packLost(bytes, p, packet.end, capacity, sent)
    if (queue.hasNew && !queue.hasLost) {
      const messages = queue.nextId
      p = queue.packNew(bytes, p, packet.end, capacity, sendAllowance(state, channel), lanes.allowance(channel), sent)
      state.charged += queue.chargedNow
      state.host.counters.add('messages_sent', queue.nextId - messages)
      if (!channel.reliable) settleQueue(state, channel)
    }
    packet.position = p
    if (p > before) {
      packet.eliciting = true
      packet.app = true
      lanes.spent(channel, p - before)
    }
    const more = queue.hasLost || maySendNew(state, channel)
    if (!more) {
      lanes.remove(channel)
      if (queue.hasNew) noteBlocked(state, channel)
      else tryCloseFrame(state, channel)
    } else if (p === before) {
      // It has more, but not for the room that is left.
      return
    }
  }
}

function maybeGrease(state: SessionState, bytes: Uint8Array): void {
  if (packet.end - packet.position < 24 || !packet.eliciting || state.host.randomUnit() * GREASE_EVERY >= 1) return
  const type = FRAME_EXTENSION + 31 * (1 + Math.floor(state.host.randomUnit() * 64))
  const body = state.host.randomBytes(Math.floor(state.host.randomUnit() * 17))
  let p = writeVarint(bytes, packet.position, type)
  p = writeVarint(bytes, p, body.length)
  bytes.set(body, p)
  packet.position = p + body.length
}

/** A datagram with nothing but CLOSE, on the path in use; false when there is none or no room. */
export function writeCloseDatagram(state: SessionState, now: Now, sink: BurstSink, seals: AeadBatch): boolean {
  const keys = state.current
  const path = state.active
  if (keys === undefined || keys.wiped || path === undefined || state.failure === undefined || !hasSlabRoom(sink, path.size)) return false
  begin(state, sink, path.size)
  packet.position = writeClose(state.host.arena.bytes, packet.position, state.failure.code, state.failure.frameType, state.failure.reason)
  const length = finish(state, now, keys, path, seals, 0)
  pushRow(sink, path, length, length)
  return true
}

