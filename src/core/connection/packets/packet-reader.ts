import { MESSAGE_COST } from '../../base/domain.ts'
import { after, type Now } from '../../base/time.ts'
import { ByteReader } from '../../base/varint.ts'
import { fromUtf8 } from '../../base/bytes.ts'
import { PARTIAL_TIME } from '../../flow/receive-unreliable.ts'
import {
  RECEIVED_FLOW_CONTROL, RECEIVED_LIMIT, RECEIVED_NO_ROOM, RECEIVED_PROTOCOL, type ReceiveResult,
} from '../../flow/receive.ts'
import {
  closeCodes, FRAME_ACK, FRAME_ACK_ECN, FRAME_ACK_OTHER, FRAME_ACK_OTHER_ECN, FRAME_BLOCKED, FRAME_CHANNEL_ACCEPT, FRAME_CHANNEL_BLOCKED,
  FRAME_CHANNEL_CLOSE, FRAME_CHANNEL_OPEN, FRAME_CLOSE, FRAME_EXTENSION, FRAME_HANDSHAKE, FRAME_MAX_CHANNEL_DATA, FRAME_MAX_DATA, FRAME_MESSAGE,
  FRAME_OBSERVED_ADDRESS, FRAME_PADDING, FRAME_PATH_CHALLENGE, FRAME_PATH_RESPONSE, FRAME_PING, FRAME_SKIP, MESSAGE_FRAGMENT,
  MESSAGE_LENGTH, isGrease, readChannelClose, readChannelOpen, readWireAddress,
} from '../../wire/frame.ts'
import { FRAME_CANDIDATES, readCandidates } from '../../wire/candidates-frame.ts'
import { FRAME_PUNCH, readPunch } from '../../wire/punch-frame.ts'
import { FRAME_PAIR, readPair } from '../../wire/pair-frame.ts'
import { FRAME_PRESENCE_KEY, readPresenceKey } from '../../wire/presence-frame.ts'
import { readHandshakeFrame } from '../../wire/handshake-frame.ts'
import { readAck } from './acks.ts'
import { onCandidates } from '../paths/peer-candidates.ts'
import { onAcceptFrame, onAnswered, onCloseFrame, onOpenFrame, tryFinish } from '../channels/channels.ts'
import type { Channel } from '../channels/channel.ts'
import { wantAllData, wantData } from './control.ts'
import { countDrops } from '../channels/drops.ts'
import { consumedPassed, countReceived, raiseChannelLimit, raiseSessionLimit, receiveRoom } from './flow-control.ts'
import type { Keys } from '../keys/keys.ts'
import { onPairFrame } from '../pairing/pairing.ts'
import { onObservedAddress, onPathChallenge, onPathResponse } from '../paths/paths.ts'
import { onPeerProbes } from '../paths/probing.ts'
import { onPunch } from '../dialing/punch.ts'
import { onHandshakeFrame } from '../keys/rekey.ts'
import type { SessionPath } from '../paths/session-path.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** What a datagram was, as bits. */
export const READ_ELICITING = 1
/** An app frame: the keypair is dirty from now on. */
export const READ_APP = 2
/** Frames other than 0x00 … 0x0C: the peer uses this path, it does not only probe it. */
export const READ_USES_PATH = 4
/** Something found no room: the datagram is not acknowledged and comes again. */
export const READ_INCOMPLETE = 8
/** Acknowledge at once. */
export const READ_ACK_NOW = 16
/** CLOSE: the peer ended the session. `state.remoteClose` says why. */
export const READ_CLOSED = 32

const reader = new ByteReader(new Uint8Array(0))

/** What the last datagram with {@link READ_CLOSED} said. */
export const remoteClose = { code: 0, reason: '' }

/**
 * Reads the frames of one authenticated datagram in order (WIRE.md §5, Rules). At the first malformed or forbidden one
 * `state.failure` is set and reading ends. Returns READ_ bits.
 */
export function readFrames(state: SessionState, now: Now, keys: Keys, path: SessionPath, bytes: Uint8Array, offset: number, end: number): number {
  reader.reset(bytes, offset, end)
  let bits = 0
  while (reader.position < end && state.failure === undefined) {
    const type = bytes[reader.position]!
    if (type === FRAME_PADDING) {
      reader.position++
    } else if ((type & 0xfc) === FRAME_MESSAGE) {
      reader.position++
      bits |= READ_ELICITING | READ_APP | READ_USES_PATH | readMessage(state, now, type)
    } else if (type < FRAME_EXTENSION) {
      reader.position++
      bits |= readControl(state, now, keys, path, type)
    } else {
      bits |= READ_ELICITING | READ_USES_PATH | readExtension(state)
    }
    if (reader.failed) state.fail(closeCodes.frame_encoding, type, 'malformed frame')
  }
  return bits
}

function readExtension(state: SessionState): number {
  const from = reader.position
  const type = reader.varint()
  // Frame types must use the shortest form: a longer one could hide a known type from a filter.
  if (reader.position - from !== (type < 0x40 ? 1 : type < 0x4000 ? 2 : type < 0x4000_0000 ? 4 : 8)) reader.failed = true
  if (type < FRAME_EXTENSION) reader.failed = true
  reader.skip(reader.varint())
  state.host.counters.add(isGrease(type) ? 'grease_skipped' : 'extensions_skipped')
  return 0
}

function channelFor(state: SessionState, id: number, type: number): Channel | undefined {
  const channel = state.channelById(id)
  if (channel !== undefined) return channel
  const local = (id % 2 === 0) === state.lower
  const known = local ? id < state.nextLocalChannel : state.remoteSeen.has(Math.floor(id / 2))
  // Closed earlier: ignored. Never opened: the peer contradicts itself, since OPEN comes with or before its messages.
  if (!known) state.fail(closeCodes.protocol, type, 'frame for a channel that was never opened')
  return undefined
}

function readMessage(state: SessionState, now: Now, type: number): number {
  const id = reader.varint()
  const message = reader.varint()
  const fragment = (type & MESSAGE_FRAGMENT) !== 0
  const at = fragment ? reader.varint() : 0
  let total = fragment ? reader.varint() : 0
  const length = (type & MESSAGE_LENGTH) !== 0 ? reader.varint() : reader.remaining
  const offset = reader.skip(length)
  if (!fragment) total = length
  if (reader.failed || at + length > total || (fragment && at + length === 0)) {
    reader.failed = true
    return 0
  }
  if (total > state.host.config.maxMessage) {
    state.fail(closeCodes.limit, type, 'message larger than max_message')
    return 0
  }
  const channel = channelFor(state, id, type)
  if (channel === undefined || channel.state === 'closed') return 0
  if (channel.state === 'opening') onAnswered(state, channel)
  const receiver = channel.receiver
  const room = channel.reliable ? receiveRoom(state, channel) : Infinity
  const result = fragment && length < total
    ? receiver.fragment(now.mono, message, offset, length, at, total, room, channel)
    : receiver.whole(now.mono, message, offset, length, room, channel)
  if (channel.reliable) countReceived(state, channel)
  else noteUnreliable(state, now, channel, fragment)
  if (channel.state === 'closing') tryFinish(state, channel)
  return resultBits(state, result, type) | (channel.lane === 0 ? READ_ACK_NOW : 0)
}

/** A reassembly is looked after when its time is over, and what was dropped is counted. */
function noteUnreliable(state: SessionState, now: Now, channel: Channel, fragment: boolean): void {
  if (fragment) state.timers.setEarlier(timer.reassembly, after(now.mono, PARTIAL_TIME))
  countDrops(state, channel)
}

function resultBits(state: SessionState, result: ReceiveResult, type: number): number {
  if (result === RECEIVED_NO_ROOM) return READ_INCOMPLETE
  if (result === RECEIVED_FLOW_CONTROL) state.fail(closeCodes.flow_control, type, 'more than the credit given')
  else if (result === RECEIVED_PROTOCOL) state.fail(closeCodes.protocol, type, 'message contradicts an earlier fragment')
  else if (result === RECEIVED_LIMIT) state.fail(closeCodes.limit, type, 'message in too many pieces or too far ahead')
  return 0
}

function readControl(state: SessionState, now: Now, keys: Keys, path: SessionPath, type: number): number {
  switch (type) {
    case FRAME_PING:
      // Nobody pings over a connection but who uses it. Over UDP the first datagrams to an address hold PINGs too.
      return READ_ELICITING | READ_ACK_NOW | (path.reliable ? READ_USES_PATH : 0)
    case FRAME_ACK:
    case FRAME_ACK_ECN:
      readAck(state, now, reader, keys, type === FRAME_ACK_ECN)
      return 0
    case FRAME_ACK_OTHER:
    case FRAME_ACK_OTHER_ECN:
      readAck(state, now, reader, state.keysByRemoteIndex(reader.u32()), type === FRAME_ACK_OTHER_ECN)
      return 0
    case FRAME_PATH_CHALLENGE:
      onPathChallenge(state, now, path, reader.view(8))
      onPeerProbes(state, path)
      return READ_ELICITING
    case FRAME_PATH_RESPONSE:
      onPathResponse(state, now, path, reader.view(8))
      return READ_ELICITING
    case FRAME_OBSERVED_ADDRESS:
      return readObserved(state, now)
    case FRAME_CANDIDATES: {
      const frame = readCandidates(reader)
      if (frame !== undefined) onCandidates(state, now, frame)
      return READ_ELICITING | READ_APP | READ_USES_PATH
    }
    case FRAME_PUNCH: {
      const frame = readPunch(reader)
      if (frame !== undefined) onPunch(state, now, frame)
      return READ_ELICITING
    }
    case FRAME_HANDSHAKE: {
      const frame = readHandshakeFrame(reader)
      if (frame !== undefined) onHandshakeFrame(state, now, keys, frame)
      return READ_ELICITING | READ_USES_PATH
    }
    case FRAME_CLOSE:
      return readClose()
    default:
      return readData(state, now, type)
  }
}

function readData(state: SessionState, now: Now, type: number): number {
  switch (type) {
    case FRAME_MAX_DATA:
      onMaxData(state, reader.varint())
      return READ_ELICITING
    case FRAME_MAX_CHANNEL_DATA:
      onMaxChannelData(state, reader.varint(), reader.varint())
      return READ_ELICITING
    case FRAME_BLOCKED:
      reader.varint()
      state.peerBlocked = true
      raiseSessionLimit(state, true)
      return READ_ELICITING
    case FRAME_CHANNEL_BLOCKED:
      onChannelBlocked(state, reader.varint(), reader.varint())
      return READ_ELICITING
    case FRAME_SKIP:
      return readSkip(state)
    case FRAME_CHANNEL_OPEN: {
      const frame = readChannelOpen(reader)
      if (frame !== undefined) onOpenFrame(state, now, frame)
      return READ_ELICITING | READ_APP | READ_USES_PATH
    }
    case FRAME_CHANNEL_ACCEPT:
      onAccept(state, reader.varint(), reader.varint())
      return READ_ELICITING | READ_APP | READ_USES_PATH
    case FRAME_CHANNEL_CLOSE: {
      const frame = readChannelClose(reader)
      if (frame !== undefined && channelFor(state, frame.channel, type) !== undefined) onCloseFrame(state, now, frame)
      return READ_ELICITING | READ_APP | READ_USES_PATH
    }
    case FRAME_PRESENCE_KEY: {
      const frame = readPresenceKey(reader)
      if (frame !== undefined) state.host.learnPresence(state.peer, frame)
      return READ_ELICITING | READ_APP | READ_USES_PATH
    }
    case FRAME_PAIR: {
      const frame = readPair(reader)
      if (frame !== undefined) onPairFrame(state, frame.op, frame.data)
      return READ_ELICITING | READ_APP | READ_USES_PATH
    }
    default:
      state.fail(closeCodes.protocol, type, 'unknown frame')
      return 0
  }
}

function onMaxData(state: SessionState, total: number): void {
  if (reader.failed || total <= state.sendLimit) return
  state.sendLimit = total
  wantAllData(state)
}

function onAccept(state: SessionState, id: number, credit: number): void {
  if (reader.failed) return
  const channel = channelFor(state, id, FRAME_CHANNEL_ACCEPT)
  if (channel === undefined) return
  if (channel.local) onAcceptFrame(state, id, credit)
  else state.fail(closeCodes.protocol, FRAME_CHANNEL_ACCEPT, 'accept of a channel that the peer opened itself')
}

function onMaxChannelData(state: SessionState, id: number, total: number): void {
  if (reader.failed) return
  const channel = channelFor(state, id, FRAME_MAX_CHANNEL_DATA)
  if (channel === undefined || total <= channel.sendLimit) return
  channel.sendLimit = total
  wantData(state, channel)
}

function onChannelBlocked(state: SessionState, id: number, _limit: number): void {
  if (reader.failed) return
  const channel = channelFor(state, id, FRAME_CHANNEL_BLOCKED)
  if (channel === undefined) return
  channel.peerBlocked = true
  raiseChannelLimit(state, channel, true)
}

function readSkip(state: SessionState): number {
  const id = reader.varint()
  const message = reader.varint()
  const total = reader.varint()
  if (reader.failed) return 0
  const channel = channelFor(state, id, FRAME_SKIP)
  if (channel !== undefined && channel.state !== 'closed') {
    const room = channel.reliable ? receiveRoom(state, channel) : total + MESSAGE_COST
    resultBits(state, channel.receiver.skip(message, total, room, channel), FRAME_SKIP)
    if (channel.reliable) countReceived(state, channel)
    consumedPassed(state, channel)
    if (channel.state === 'closing') tryFinish(state, channel)
  }
  return READ_ELICITING | READ_APP | READ_USES_PATH
}

function readObserved(state: SessionState, now: Now): number {
  const sequence = reader.varint()
  const address = readWireAddress(reader)
  if (address !== undefined && !reader.failed) onObservedAddress(state, now, sequence, address)
  return READ_ELICITING
}

function readClose(): number {
  const code = reader.varint()
  reader.varint()
  const reason = fromUtf8(reader.view(reader.u8()))
  if (reader.failed || reason === undefined) {
    reader.failed = true
    return 0
  }
  remoteClose.code = code
  remoteClose.reason = reason
  return READ_CLOSED
}
