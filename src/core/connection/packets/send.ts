import { dropReason, MESSAGE_COST, type SendResult } from '../../base/domain.ts'
import type { MessageRun } from '../../base/message-run.ts'
import { never, type Instant } from '../../base/time.ts'
import { TELL_DELIVERED, TELL_DROP } from '../../flow/send-ring.ts'
import { LANE_OF_CHANNEL, MODE_LATEST, type Channel, type SendStream } from '../channels/channel.ts'
import { noteDeadline, wantData } from './control.ts'
import type { SessionState } from '../state.ts'

/** A blocked channel is told `writable` when its queue has fallen to this share of what it may hold. */
const WRITABLE_SHARE = 1 / 2
/** Channels that have nothing queued, because others filled the queue before they came, are told as soon as so much is free. */
const STARVING_ROOM = 1 / 8

/** A message to send. The object is the caller's and may be reused: the bytes are copied before `send` returns. */
export interface OutgoingMessage {
  bytes: Uint8Array
  offset: number
  length: number
  /** 0 … 3; 255 = the channel's. On ordered channels all go by the channel's. */
  lane: number
  /** The sender's own number, 0 … 2^32 − 1: a message that has one, or is to be confirmed, is named in a notice when it is dropped. */
  tag: number
  /** A notice is to say when it was delivered, too. */
  confirm: boolean
  /** {@link never} when it does not expire. */
  deadline: Instant
}

/**
 * Puts a message into the channel's queue. One channel may hold at most a fair share of the peer's ceilings, limit / (channels that
 * have or want something queued + 1), so that one app cannot fill the queue of all; an empty queue always takes one message below the ceiling. Without
 * room the channel's policy decides: the sender waits, or something is dropped.
 */
export function sendMessage(state: SessionState, now: Instant, channel: Channel, message: OutgoingMessage): SendResult {
  const { bytes, offset, length, tag, confirm, deadline } = message
  if (!channel.sendable) return 'closed'
  if (length > state.limits.maxMessage || length > state.host.config.maxMessage) return 'too-large'
  const stream = message.lane === LANE_OF_CHANNEL ? channel : channel.streamFor(message.lane)
  if (deadline <= now) return refuse(state, stream, message, dropReason.deadline)
  const short = state.host.memoryShort(state.memory.used)
  if ((short || !hasRoom(state, channel, length, 1)) && !makeRoom(state, stream, length)) return noRoom(state, stream, message, short)
  const tell = confirm ? TELL_DROP | TELL_DELIVERED : tag !== 0 ? TELL_DROP : 0
  while (!stream.queue.push(bytes, offset, length, tag, tell, deadline, channel.pushed)) {
    if (!dropOne(state, stream)) return noRoom(state, stream, message, true)
  }
  channel.pushed++
  if (channel.mode === MODE_LATEST) replaceOlder(state, channel, message.lane)
  if (deadline !== never) noteDeadline(state, deadline)
  if (channel.overflow === 'block' && channel.mode !== MODE_LATEST) accountOne(state, channel, length)
  else settleQueue(state, channel)
  wantData(state, channel)
  return 'queued'
}

/**
 * Puts messages of a run into the channel's queue that need no decision (there is room, whatever the policy), from the first on, and returns how many; what follows is for
 * {@link sendMessage}, which decides.
 */
export function sendRun(state: SessionState, channel: Channel, run: MessageRun): number {
  if (!channel.sendable || channel.mode === MODE_LATEST || state.host.memoryShort(state.memory.used)) return 0
  const { queueMessages, queueBytes, maxMessage } = state.host.config
  const own = channel.accountedMessages === 0 ? 1 : 0
  const parts = state.busyChannels + own + state.starving + 1
  if (run.longest > Math.min(state.limits.maxMessage, maxMessage) || state.queuedBytes + run.size > queueBytes || channel.queuedBytes + run.size > queueBytes / parts) return 0
  const count = Math.min(run.count, Math.floor(queueMessages / parts) - channel.queuedMessages, queueMessages - state.queuedMessages)
  let taken = 0
  while (taken < count) {
    const pushed = channel.queue.pushRun(run, taken, count - taken, channel.pushed)
    if (pushed === 0) break
    channel.pushed += pushed
    taken += pushed
  }
  if (taken > 0) {
    settleQueue(state, channel)
    wantData(state, channel)
  }
  return taken
}

/** Mode 3: the newest value takes the place of an unsent one, and goes by its own lane. */
function replaceOlder(state: SessionState, channel: Channel, lane: number): void {
  channel.queue.supersede()
  const wanted = lane === LANE_OF_CHANNEL ? channel.laneDefault : lane
  if (wanted === channel.lane) return
  state.lanes.remove(channel)
  channel.lane = wanted
  channel.queue.lane = wanted
}

/** Tries to make room for a message of this length as the channel's policy says. */
function makeRoom(state: SessionState, stream: SendStream, length: number): boolean {
  const { channel } = stream
  // It replaces one that waits, so the queue does not grow by a message.
  if (channel.mode === MODE_LATEST && channel.queue.unsent > 0 && !state.host.memoryShort(state.memory.used)) return true
  while (dropOne(state, stream)) {
    if (hasRoom(state, channel, length, 1) && !state.host.memoryShort(state.memory.used)) return true
  }
  return false
}

/** Drops the unsent message that must go first before this stream's next one; false when the policy names none. */
function dropOne(state: SessionState, { channel, lane }: SendStream): boolean {
  let victim: SendStream | undefined
  for (const candidate of channel.streams) {
    if (candidate.queue.unsent === 0) continue
    if (channel.overflow === 'drop-oldest') {
      if (victim === undefined || candidate.queue.oldestOrder < victim.queue.oldestOrder) victim = candidate
    } else if (channel.overflow === 'drop-lowest-lane') {
      if (candidate.lane >= (victim?.lane ?? lane)) victim = candidate
    }
  }
  if (victim === undefined) return false
  victim.queue.dropOldest(channel.overflow === 'drop-oldest' ? dropReason['drop-oldest'] : dropReason.lane)
  account(state, channel)
  return true
}

/** There is no room: the sender waits, or, by policy, this message is the one that goes. */
function noRoom(state: SessionState, stream: SendStream, message: OutgoingMessage, memory: boolean): SendResult {
  switch (stream.channel.overflow) {
    case 'block':
      if (memory) state.host.waitForMemory(stream.channel)
      return blocked(state, stream.channel)
    case 'drop-oldest':
      return refuse(state, stream, message, dropReason['drop-oldest'])
    case 'drop-newest':
      return refuse(state, stream, message, dropReason['drop-newest'])
    case 'drop-lowest-lane':
      return refuse(state, stream, message, dropReason.lane)
  }
}

/** Taken and dropped at once: its cost comes back like that of one that was sent. */
function refuse(state: SessionState, { channel, queue, lane }: SendStream, message: OutgoingMessage, reason: number): SendResult {
  channel.onMessageDropped(lane, reason, message.tag, message.confirm || message.tag !== 0)
  queue.released += message.length + MESSAGE_COST
  settleQueue(state, channel)
  return 'dropped'
}

function blocked(state: SessionState, channel: Channel): SendResult {
  state.host.counters.add('sends_blocked')
  if (!channel.writableOwed) setOwed(state, channel, true)
  return 'blocked'
}

function setOwed(state: SessionState, channel: Channel, owed: boolean): void {
  channel.writableOwed = owed
  state.owed += owed ? 1 : -1
  if (channel.accountedMessages === 0) state.starving += owed ? 1 : -1
}

/** Whether the channel may hold `length` more bytes within `share` of what is its own. */
function hasRoom(state: SessionState, channel: Channel, length: number, share: number): boolean {
  const { queueMessages, queueBytes } = state.host.config
  if (state.queuedMessages >= queueMessages || (state.queuedBytes + length > queueBytes && state.queuedMessages > 0)) return false
  const messages = channel.queuedMessages
  if (messages === 0) return true
  const parts = state.busyChannels + state.starving + 1
  return messages * parts < share * queueMessages && (channel.queuedBytes + length) * parts <= share * queueBytes
}

/** Brings the session's totals up to date with the channel's queue. */
function account(state: SessionState, channel: Channel): void {
  const messages = channel.queuedMessages
  const bytes = channel.queuedBytes
  if ((messages > 0) !== (channel.accountedMessages > 0)) {
    state.busyChannels += messages > 0 ? 1 : -1
    if (channel.writableOwed) state.starving += messages > 0 ? -1 : 1
  }
  state.queuedMessages += messages - channel.accountedMessages
  state.queuedBytes += bytes - channel.accountedBytes
  channel.accountedMessages = messages
  channel.accountedBytes = bytes
}

/** As {@link account}, of one more message: to a queue that is not empty nothing else changes. */
function accountOne(state: SessionState, channel: Channel, length: number): void {
  if (channel.accountedMessages === 0) {
    account(state, channel)
    return
  }
  state.queuedMessages++
  state.queuedBytes += length
  channel.accountedMessages++
  channel.accountedBytes += length
}

/** After messages left the queue: the room goes back to whom it belongs, and blocked channels are told. */
export function settleQueue(state: SessionState, channel: Channel): void {
  account(state, channel)
  if (channel.released > 0) state.host.noteReleased(channel)
  if (state.owed === 0) return
  if (channel.writableOwed) tellWritable(state, channel)
  tellOthers(state)
}

/**
 * Channels that were blocked by what others had queued hear of the room that these gave back, when half of it is free. Those that have
 * nothing queued hear of it before: else whoever came first would send half a queue before they send their first message.
 */
function tellOthers(state: SessionState): void {
  if (state.owed === 0) return
  const { queueMessages, queueBytes } = state.host.config
  const used = Math.max(state.queuedMessages / queueMessages, state.queuedBytes / queueBytes)
  if (used > (state.starving > 0 ? 1 - STARVING_ROOM : WRITABLE_SHARE)) return
  for (const other of state.channels.values()) {
    if (other.writableOwed && (used <= WRITABLE_SHARE || other.accountedMessages === 0)) tellWritable(state, other)
  }
}

/** Says `writable` if there is room now. */
export function tellWritable(state: SessionState, channel: Channel): void {
  if (!channel.writableOwed || !hasRoom(state, channel, 0, WRITABLE_SHARE) || state.host.memoryShort(state.memory.used)) return
  setOwed(state, channel, false)
  state.host.emit({ kind: 'writable', channel: channel.handle })
}

/** The channel ends: nothing of it is owed or counted any more. */
export function forgetQueue(state: SessionState, channel: Channel): void {
  account(state, channel)
  if (channel.writableOwed) setOwed(state, channel, false)
  tellOthers(state)
}
