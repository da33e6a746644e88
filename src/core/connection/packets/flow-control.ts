import { MESSAGE_COST } from '../../base/domain.ts'
import type { Instant } from '../../base/time.ts'
import { wantAllData, wantControl } from './control.ts'
import type { Channel, ConsumerShare, SendStream } from '../channels/channel.ts'
import type { SessionState } from '../state.ts'

/** A consumer's unread cost up to this share of the session window holds the window; what is beyond it does not (WIRE.md §5). */
const CONSUMER_SHARE = 1 / 4
/**
 * [P] Of many consumers each has less: all of them together hold at most this share. A hundred programs that each read a moment late,
 * or give their credit back in steps, would else close the window for everybody, with nobody at fault.
 */
const ALL_CONSUMERS_SHARE = 1 / 2
/**
 * [P] All excess together lends at most so many windows. A peer that leaves holes makes its messages unreadable, and the slots
 * behind a hole are not in the arena: without a bound they would be, on 256 channels, 200 MB.
 */
const EXCESS_WINDOWS = 3
/** Limits are raised in steps of this share of the window, so that they cost few frames. */
const RAISE_STEP = 1 / 4
/** Normal and low lanes leave this share of the session window to critical and high ones. */
const RESERVED_SHARE = 1 / 4

function excessOf(state: SessionState, share: ConsumerShare): number {
  return Math.max(0, share.unread - state.shareMax)
}

/** A consumer came or went: the shares of all others are other ones. */
function recountShares(state: SessionState): void {
  if (state.shareCount === state.shares.size && state.shareMax > 0) return
  state.shareCount = state.shares.size
  state.shareMax = state.host.config.maxData * Math.min(CONSUMER_SHARE, ALL_CONSUMERS_SHARE / state.shareCount)
  state.excess = 0
  for (const share of state.shares.values()) state.excess += excessOf(state, share)
}

function addUnread(state: SessionState, share: ConsumerShare, cost: number): void {
  recountShares(state)
  const before = excessOf(state, share)
  share.unread += cost
  state.excess += excessOf(state, share) - before
}

/** Cost that the peer may still begin on this channel: what its CLOSE already counted, and what the limits leave beyond. */
export function receiveRoom(state: SessionState, channel: Channel): number {
  return channel.counted - channel.receiver.received + Math.min(channel.receiveLimit - channel.counted, state.receiveLimit - state.counted)
}

/** Counts cost that the channel's receiver has charged since the last call. */
export function countReceived(state: SessionState, channel: Channel): void {
  const cost = channel.receiver.received - channel.counted
  if (cost <= 0) return
  channel.counted += cost
  state.counted += cost
  addUnread(state, channel.share, cost)
  // What exceeds a consumer's share does not close the window for the others, from the moment it does.
  if (state.excess > 0) raiseSessionLimit(state, false)
}

/** The consumer took messages of this cost: the windows may reopen. */
export function consumedBy(state: SessionState, channel: Channel, cost: number, now: Instant): void {
  channel.share.readAt = now
  consumed(state, channel, cost)
}

function consumed(state: SessionState, channel: Channel, cost: number): void {
  const taken = Math.min(cost, channel.counted - channel.consumed)
  if (taken <= 0) return
  channel.consumed += taken
  state.consumed += taken
  addUnread(state, channel.share, -taken)
  raiseChannelLimit(state, channel, false)
  raiseSessionLimit(state, false)
}

/**
 * What a closed channel will never consume counts as consumed by the session, including messages that are still on their way
 * or were ignored: `cost` is the peer's own total (WIRE.md §5). False when it exceeds the credit we gave.
 */
export function settleClosed(state: SessionState, channel: Channel, cost: number): boolean {
  const uncounted = Math.max(0, cost - channel.counted)
  if (uncounted > Math.min(channel.receiveLimit - channel.counted, state.receiveLimit - state.counted)) return false
  channel.counted += uncounted
  state.counted += uncounted
  addUnread(state, channel.share, uncounted)
  raiseSessionLimit(state, false)
  return true
}

/** SKIPped messages of this cost were passed over: consumed, though nobody saw them. */
export function consumedPassed(state: SessionState, channel: Channel): void {
  const passed = channel.receiver.takePassed()
  if (passed > 0) consumed(state, channel, passed)
}

/** Everything the channel still holds counts as consumed: its messages are gone or handed over. */
export function settleRest(state: SessionState, channel: Channel): void {
  consumed(state, channel, channel.counted - channel.consumed)
}

/** Moves a channel's unread cost to the consumer that accepted it. */
export function moveShare(state: SessionState, channel: Channel, consumer: number, now: Instant): void {
  const unread = channel.counted - channel.consumed
  addUnread(state, channel.share, -unread)
  leaveShare(state, channel.share)
  channel.share = state.share(consumer, now)
  channel.share.channels++
  addUnread(state, channel.share, unread)
}

export function leaveShare(state: SessionState, share: ConsumerShare): void {
  share.channels--
  if (share.channels <= 0 && share.unread === 0) state.removeShare(share.consumer)
}

/**
 * Whether a window with nothing unread in it leaves less than the longest message: the peer would have to say BLOCKED and lose a
 * round trip. With windows of more than 4/3 of a message this never is so, and a raise for each message would cost a frame.
 */
function isTight(state: SessionState, room: number): boolean {
  return room < state.host.config.maxMessage + MESSAGE_COST
}

/** `forced`: the peer said BLOCKED, any raise helps it. A closing peer still sends what it had queued. */
export function raiseChannelLimit(state: SessionState, channel: Channel, forced: boolean): void {
  if (channel.state === 'closed' || channel.closeRemote !== undefined) return
  const window = state.host.config.maxChannelData
  const step = channel.consumed + window - channel.receiveLimit
  const soon = forced || channel.peerBlocked || (channel.consumed === channel.counted && isTight(state, channel.receiveLimit - channel.counted))
  if (step <= 0 || (step < window * RAISE_STEP && !soon)) return
  channel.receiveLimit += step
  channel.peerBlocked = false
  channel.maxDataWanted = true
  wantControl(state, channel)
}

export function raiseSessionLimit(state: SessionState, forced: boolean): void {
  const window = state.host.config.maxData
  const step = state.consumed + Math.min(state.excess, EXCESS_WINDOWS * window) + window - state.receiveLimit
  const soon = forced || state.peerBlocked || (state.consumed === state.counted && isTight(state, state.receiveLimit - state.counted))
  if (step <= 0 || (step < window * RAISE_STEP && !soon)) return
  state.receiveLimit += step
  state.peerBlocked = false
  state.maxDataWanted = true
}

/** Cost of new messages that this channel may begin now; 0 or less: blocked. Infinity outside flow control. */
export function sendAllowance(state: SessionState, { channel, lane }: SendStream): number {
  if (!channel.reliable) return Infinity
  let session = state.sendLimit - state.charged
  if (lane >= 2 && (state.active?.recovery.outstanding ?? 0) > 0) session -= state.limits.maxData * RESERVED_SHARE
  return Math.min(channel.sendLimit - channel.count.charged, session)
}

/** Nothing is outstanding any more: the last quarter is free for the channels that were held back from it. */
export function releaseHeldBack(state: SessionState): void {
  state.heldBack = false
  wantAllData(state)
}

/** Whether the stream's next new message fits its allowance and the window of ids. */
export function maySendNew(state: SessionState, stream: SendStream): boolean {
  const queue = stream.queue
  if (!queue.hasNew) return false
  if (queue.nextOffset > 0) return true
  return queue.nextLength + MESSAGE_COST <= sendAllowance(state, stream) && queue.count.nextId < queue.count.idLimit
}

/** Tells the peer, once per limit, why nothing comes. */
export function noteBlocked(state: SessionState, { channel, queue }: SendStream): void {
  if (!channel.reliable) return
  const cost = queue.nextLength + MESSAGE_COST
  if (channel.count.charged + cost > channel.sendLimit && channel.blockedAt !== channel.sendLimit) {
    channel.blockedAt = channel.sendLimit
    channel.blockedWanted = true
    wantControl(state, channel)
  }
  // The first that the session's window stops is the one whose turn it was.
  if (channel.count.charged + cost <= channel.sendLimit) state.turn ??= channel
  if (state.charged + cost <= state.sendLimit) state.heldBack = true
  else if (state.blockedAt !== state.sendLimit) {
    state.blockedAt = state.sendLimit
    state.blockedWanted = true
  }
}
