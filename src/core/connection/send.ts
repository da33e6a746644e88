import type { SendResult } from '../base/domain.ts'
import { wantData } from './control.ts'
import type { Channel } from './channel.ts'
import type { SessionState } from './state.ts'

/** A blocked channel is told `writable` when its queue has fallen to this share of what it may hold. */
const WRITABLE_SHARE = 1 / 2

/**
 * Puts a message into the channel's queue. One channel may hold at most a fair share of the peer's ceilings, limit / (busy
 * channels + 1), so that one app cannot fill the queue of all; an empty queue always takes one message below the ceiling.
 */
export function sendMessage(state: SessionState, channel: Channel, bytes: Uint8Array, offset: number, length: number): SendResult {
  if (!channel.sendable) return 'closed'
  if (length > state.limits.maxMessage || length > state.host.config.maxMessage) return 'too-large'
  if (!hasRoom(state, channel, length, 1)) return blocked(state, channel)
  if (state.host.memoryShort(state.memory.used)) {
    state.host.waitForMemory(channel)
    return blocked(state, channel)
  }
  if (!channel.queue.push(bytes, offset, length)) {
    state.host.waitForMemory(channel)
    return blocked(state, channel)
  }
  account(state, channel)
  wantData(state, channel)
  return 'queued'
}

function blocked(state: SessionState, channel: Channel): SendResult {
  state.host.counters.add('sends_blocked')
  if (!channel.writableOwed) {
    channel.writableOwed = true
    state.owed++
  }
  return 'blocked'
}

/** Whether the channel may hold `length` more bytes within `share` of what is its own. */
function hasRoom(state: SessionState, channel: Channel, length: number, share: number): boolean {
  const { queueMessages, queueBytes } = state.host.config
  if (state.queuedMessages >= queueMessages || (state.queuedBytes + length > queueBytes && state.queuedMessages > 0)) return false
  if (channel.queue.messages === 0) return true
  const parts = state.busyChannels + 1
  return channel.queue.messages < (share * queueMessages) / parts && channel.queue.bytes + length <= (share * queueBytes) / parts
}

/** Brings the session's totals up to date with the channel's queue. */
function account(state: SessionState, channel: Channel): void {
  const { messages, bytes } = channel.queue
  if ((messages > 0) !== (channel.accountedMessages > 0)) state.busyChannels += messages > 0 ? 1 : -1
  state.queuedMessages += messages - channel.accountedMessages
  state.queuedBytes += bytes - channel.accountedBytes
  channel.accountedMessages = messages
  channel.accountedBytes = bytes
}

/** After messages left the queue: the room goes back to whom it belongs, and blocked channels are told. */
export function settleQueue(state: SessionState, channel: Channel): void {
  account(state, channel)
  if (channel.queue.released > 0) state.host.noteReleased(channel)
  if (state.owed === 0) return
  if (channel.writableOwed) tellWritable(state, channel)
  tellOthers(state)
}

/** Channels that were blocked by what others had queued hear of the room that these gave back, when half of it is free. */
function tellOthers(state: SessionState): void {
  if (state.owed === 0 || state.queuedMessages > state.host.config.queueMessages * WRITABLE_SHARE || state.queuedBytes > state.host.config.queueBytes * WRITABLE_SHARE) return
  for (const other of state.channels.values()) {
    if (other.writableOwed) tellWritable(state, other)
  }
}

/** Says `writable` if there is room now. */
export function tellWritable(state: SessionState, channel: Channel): void {
  if (!channel.writableOwed || !hasRoom(state, channel, 0, WRITABLE_SHARE) || state.host.memoryShort(state.memory.used)) return
  channel.writableOwed = false
  state.owed--
  state.host.emit({ kind: 'writable', channel: channel.handle })
}

/** The channel ends: nothing of it is owed or counted any more. */
export function forgetQueue(state: SessionState, channel: Channel): void {
  account(state, channel)
  if (channel.writableOwed) {
    channel.writableOwed = false
    state.owed--
  }
  tellOthers(state)
}
