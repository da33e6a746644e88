import { writeU32 } from '../../base/bytes.ts'
import type { Instant, Now } from '../../base/time.ts'
import { varintSize, writeVarint } from '../../base/varint.ts'
import {
  RECORD_ACCEPT, RECORD_BLOCKED, RECORD_CANDIDATES, RECORD_CHANNEL_BLOCKED, RECORD_CLOSE, RECORD_MAX_CHANNEL_DATA, RECORD_MAX_DATA, RECORD_OBSERVED, RECORD_OPEN, RECORD_PRESENCE,
} from '../../flow/sent-packets.ts'
import {
  channelCloseSize, channelOpenSize, FRAME_ACK, FRAME_ACK_OTHER, FRAME_BLOCKED, FRAME_CHANNEL_ACCEPT, FRAME_CHANNEL_BLOCKED,
  FRAME_MAX_CHANNEL_DATA, FRAME_MAX_DATA, FRAME_OBSERVED_ADDRESS, FRAME_PATH_CHALLENGE, FRAME_PATH_RESPONSE, FRAME_PING,
  writeChannelClose, writeChannelOpen, writeWireAddress, type ChannelCloseFrame, type ChannelOpenFrame,
} from '../../wire/frame.ts'
import { candidatesSize, writeCandidates } from '../../wire/candidates-frame.ts'
import { punchSize, writePunch } from '../../wire/punch-frame.ts'
import { presenceKeySize, writePresenceKey } from '../../wire/presence-frame.ts'
import { ACK_DELAY_UNIT } from './acks.ts'
import type { Channel } from '../channels/channel.ts'
import { counter } from '../host.ts'
import type { Keys } from '../keys/keys.ts'
import { packet, packetEmpty, packetFits, packetRoom } from './packet.ts'
import { writePairing } from '../pairing/pairing.ts'
import { mayChallenge } from '../paths/paths.ts'
import type { PunchState } from '../dialing/punch-state.ts'
import type { SessionPath } from '../paths/session-path.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** ACKs that go unacknowledged before one carries a PING, so that our ranges can be retired. */
const ACKS_BEFORE_PING = 16
const PATH_FRAME_SIZE = 9
const OBSERVED_SIZE_MAX = 28
/** Type and the longest varint. */
const NUMBER_FRAME_SIZE_MAX = 9

export function ackDue(state: SessionState): boolean {
  return state.current?.ackNow === true || state.previous?.ackNow === true
}

/** ACKs that are due, or that may ride along: of the current keys, then of the previous ones. */
export function writeAcks(state: SessionState, now: Now): void {
  const { current, previous } = state
  if (current !== undefined && current.ackPending > 0) writeAck(state, now, current, false)
  if (previous !== undefined && previous.ackPending > 0) writeAck(state, now, previous, true)
}

function writeAck(state: SessionState, now: Now, keys: Keys, other: boolean): void {
  const bytes = state.host.arena.bytes
  let p = packet.position
  if (packetRoom() < 5) return
  bytes[p++] = other ? FRAME_ACK_OTHER : FRAME_ACK
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
  if ((state.current?.ackPending ?? 0) === 0 && (state.previous?.ackPending ?? 0) === 0) state.timers.clear(timer.ack)
  state.host.counters.add(counter.acks_sent)
}

export function pathFramesWanted(path: SessionPath): boolean {
  return path.validation.wanted || path.responses.length > 0
}

/** Challenge, responses, observed address. `tracked`: this datagram is repeated when it is lost, so what it told needs no repetition otherwise. */
export function writePathFrames(state: SessionState, now: Now, path: SessionPath, tracked: boolean): void {
  const bytes = state.host.arena.bytes
  const validation = path.validation
  while (path.responses.length > 0 && packetRoom() >= PATH_FRAME_SIZE) {
    bytes[packet.position] = FRAME_PATH_RESPONSE
    bytes.set(path.responses.shift()!, packet.position + 1)
    // Gives the room back, which is for seventeen.
    if (path.responses.length === 0) path.responses.length = 0
    packet.position += PATH_FRAME_SIZE
    packet.eliciting = true
  }
  if (validation.wanted && packetRoom() >= PATH_FRAME_SIZE && mayChallenge(state, path)) {
    const data = state.host.randomBytes(8)
    bytes[packet.position] = FRAME_PATH_CHALLENGE
    bytes.set(data, packet.position + 1)
    packet.position += PATH_FRAME_SIZE
    validation.challenge(now.mono, data, path.recovery.rtt.pto(state.limits.maxAckDelay))
    packet.eliciting = true
  }
  if (!path.observedWanted || packetEmpty() || packetRoom() < OBSERVED_SIZE_MAX) return
  bytes[packet.position] = FRAME_OBSERVED_ADDRESS
  const p = writeVarint(bytes, packet.position + 1, state.observedNext++)
  packet.position = writeWireAddress(bytes, p, path.address)
  packet.eliciting = true
  if (!tracked) return
  path.observedWanted = false
  state.sent.addFrame(RECORD_OBSERVED, path.slot, 0, 0, 0)
}

export function writePing(state: SessionState, now: Instant): void {
  if (packetRoom() < 1) return
  state.host.arena.bytes[packet.position++] = FRAME_PING
  packet.eliciting = true
  state.pingWanted = false
  for (const ping of state.pings) {
    if (ping.order >= 0) continue
    ping.order = state.sent.next
    ping.sentAt = now
  }
}

/** Limits of the session, then what channels have to say, oldest wish first, as far as it fits. */
export function writeControl(state: SessionState, keys: Keys): void {
  if (state.maxDataWanted && packetRoom() >= NUMBER_FRAME_SIZE_MAX) {
    state.maxDataWanted = false
    writeSessionNumber(state, FRAME_MAX_DATA, state.receiveLimit, RECORD_MAX_DATA)
  }
  if (state.blockedWanted && packetRoom() >= NUMBER_FRAME_SIZE_MAX) {
    state.blockedWanted = false
    writeSessionNumber(state, FRAME_BLOCKED, state.blockedAt, RECORD_BLOCKED)
  }
  if (state.candidatesWanted) writeOwnCandidates(state)
  if (state.punch !== undefined) writePunches(state, state.punch)
  // The last yes makes the peer take us for a friend, whose key it then learns.
  if (state.pairing !== undefined) writePairing(state, state.pairing)
  if (state.presenceWanted) writeOwnPresence(state)
  for (;;) {
    const channel = state.control.peek()
    if (channel === undefined) return
    if (state.channels.get(channel.id) === channel && !writeChannelControl(state, keys, channel)) return
    state.control.shift()
    channel.controlListed = false
  }
}

/** Not repeated when it is lost: a round that hears nothing is over soon. */
function writePunches(state: SessionState, { outbox }: PunchState): void {
  for (let next = outbox[0]; next !== undefined && packetRoom() >= punchSize(next); next = outbox[0]) {
    packet.position = writePunch(state.host.arena.bytes, packet.position, next)
    packet.eliciting = true
    outbox.shift()
  }
}

/** The whole list; where it does not fit beside what else is due, it goes with the next datagram, and where it fits none, its best part does. */
function writeOwnCandidates(state: SessionState): void {
  let own = state.host.candidates
  while (!packetFits(candidatesSize(own))) {
    if (packet.eliciting) return
    own = { ...own, candidates: own.candidates.slice(0, -1) }
  }
  packet.position = writeCandidates(state.host.arena.bytes, packet.position, own)
  state.sent.addFrame(RECORD_CANDIDATES, own.generation, 0, 0, 0)
  state.candidatesWanted = false
  packet.eliciting = true
  packet.app = true
}

function writeOwnPresence(state: SessionState): void {
  const own = state.host.presenceFor(state.peer)
  if (own !== undefined && !packetFits(presenceKeySize(own))) return
  state.presenceWanted = false
  if (own === undefined) return
  packet.position = writePresenceKey(state.host.arena.bytes, packet.position, own)
  state.sent.addFrame(RECORD_PRESENCE, own.epoch, 0, 0, 0)
  packet.eliciting = true
  packet.app = true
}

function writeSessionNumber(state: SessionState, type: number, value: number, record: number): void {
  const bytes = state.host.arena.bytes
  bytes[packet.position] = type
  packet.position = writeVarint(bytes, packet.position + 1, value)
  state.sent.addFrame(record, 0, 0, 0, 0)
  packet.eliciting = true
}

/** False when the datagram is full before all of the channel's control frames are written. */
function writeChannelControl(state: SessionState, keys: Keys, channel: Channel): boolean {
  const others = channel.acceptWanted || channel.maxDataWanted || channel.blockedWanted || channel.closeWanted
  // Until OPEN is acknowledged every datagram that names the channel carries it: the peer knows no such channel otherwise.
  if ((channel.openWanted || (others && !channel.openAcked)) && !writeOpen(state, keys, channel)) return false
  if (channel.acceptWanted && !writeNumbers(state, channel, FRAME_CHANNEL_ACCEPT, 0, RECORD_ACCEPT)) return false
  channel.acceptWanted = false
  if (channel.maxDataWanted && !writeNumbers(state, channel, FRAME_MAX_CHANNEL_DATA, channel.receiveLimit, RECORD_MAX_CHANNEL_DATA)) return false
  channel.maxDataWanted = false
  if (channel.blockedWanted && !writeNumbers(state, channel, FRAME_CHANNEL_BLOCKED, channel.blockedAt, RECORD_CHANNEL_BLOCKED)) return false
  channel.blockedWanted = false
  return !channel.closeWanted || writeCloseFrame(state, channel)
}

function writeNumbers(state: SessionState, channel: Channel, type: number, value: number, record: number): boolean {
  if (packetRoom() < 1 + varintSize(channel.id) + varintSize(value)) return false
  const bytes = state.host.arena.bytes
  bytes[packet.position] = type
  packet.position = writeVarint(bytes, writeVarint(bytes, packet.position + 1, channel.id), value)
  state.sent.addFrame(record, channel.id, 0, 0, 0)
  packet.eliciting = true
  if (type === FRAME_CHANNEL_ACCEPT) packet.app = true
  return true
}

function openFrameOf(channel: Channel): ChannelOpenFrame {
  return { channel: channel.id, mode: channel.mode, lane: channel.laneDefault, weight: channel.weight, credit: 0, app: channel.app, meta: channel.meta }
}

/** Bytes that OPEN takes in every datagram of a channel that is not known to the peer yet. */
export function openSize(channel: Channel): number {
  return channelOpenSize(openFrameOf(channel))
}

/** Writes CHANNEL_OPEN unless this datagram has it; false when it does not fit. */
export function writeOpen(state: SessionState, keys: Keys, channel: Channel): boolean {
  const datagram = keys.orderBase + keys.sendCounter
  if (channel.openWrittenIn === datagram) return true
  const frame = openFrameOf(channel)
  if (!packetFits(channelOpenSize(frame))) return false
  packet.position = writeChannelOpen(state.host.arena.bytes, packet.position, frame)
  state.sent.addFrame(RECORD_OPEN, channel.id, 0, 0, 0)
  channel.openWanted = false
  channel.openWrittenIn = datagram
  packet.eliciting = true
  packet.app = true
  return true
}

function writeCloseFrame(state: SessionState, channel: Channel): boolean {
  const { abort, code, reason } = channel.closeLocal ?? { abort: false, code: 0, reason: '' }
  const frame: ChannelCloseFrame = { channel: channel.id, abort, code, final: channel.count.nextId, cost: channel.count.charged, reason }
  if (!packetFits(channelCloseSize(frame))) return false
  packet.position = writeChannelClose(state.host.arena.bytes, packet.position, frame)
  state.sent.addFrame(RECORD_CLOSE, channel.id, 0, channel.closeVersion, 0)
  channel.closeWanted = false
  packet.eliciting = true
  packet.app = true
  return true
}
