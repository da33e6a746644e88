import { deliveryModes, lanes, type ChannelHandle, type Overflow } from '../../base/domain.ts'
import { after, never, type Now } from '../../base/time.ts'
import { channelCodes, closeCodes, type ChannelCloseFrame, type ChannelOpenFrame } from '../../wire/frame.ts'
import { Channel, MODE_LATEST, MODE_UNRELIABLE, type ChannelIdentity } from './channel.ts'
import { wantControl, wantData } from '../packets/control.ts'
import { consumedPassed, leaveShare, moveShare, settleClosed, settleRest } from '../packets/flow-control.ts'
import type { ConnectionHost } from '../host.ts'
import { forgetQueue } from '../packets/send.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Consumer of channels that nobody accepted yet. */
export const UNDECIDED = -1
/** {@link Channel.closeVersion} */
const CLOSE_AFTER_QUEUE = 1
const CLOSE_ABORT = 2

export interface LocalChannelOptions {
  readonly app: string
  readonly mode: number
  readonly lane: number
  readonly weight: number
  readonly overflow: Overflow
  readonly meta: Uint8Array
  readonly credit: number
  readonly consumer: number
}

function create(state: SessionState, now: Now, identity: Omit<ChannelIdentity, 'handle'>, credit: number, consumer: number): Channel | undefined {
  const { host, limits } = state
  const share = state.share(consumer, now.mono)
  const channel = host.allocateChannel(state.slot, (handle: ChannelHandle) =>
    new Channel({ ...identity, handle }, credit, share, { send: limits.maxChannelData, receive: host.config.maxChannelData }, state))
  if (channel === undefined) {
    if (share.channels === 0) state.removeShare(consumer)
    return undefined
  }
  share.channels++
  state.addChannel(channel)
  return channel
}

/** Opens a channel to the peer; `undefined` at the peer's or our own limit of channels. */
export function openChannel(state: SessionState, now: Now, options: LocalChannelOptions): Channel | undefined {
  if (state.channels.size >= Math.min(state.limits.maxChannels, state.host.config.maxChannels)) return undefined
  const id = state.nextLocalChannel
  const channel = create(state, now, { ...options, id, local: true }, options.credit, options.consumer)
  if (channel === undefined) return undefined
  state.nextLocalChannel += 2
  channel.overflow = options.overflow
  channel.openWanted = true
  wantControl(state, channel)
  return channel
}

export function onOpenFrame(state: SessionState, now: Now, frame: ChannelOpenFrame): void {
  const isLocalId = (frame.channel % 2 === 0) === state.lower
  if (isLocalId || frame.channel >= 2 ** 31) {
    state.fail(closeCodes.protocol, 0x20, 'channel id of the wrong side')
    return
  }
  const index = Math.floor(frame.channel / 2)
  if (state.remoteSeen.add(index, index + 1) === 0) return
  // Gaps are channels whose OPEN was lost; more of them than channels can be open is a peer that plays.
  if (state.remoteSeen.count > state.host.config.maxChannels + 1) {
    state.fail(closeCodes.limit, 0x20, 'too many gaps in channel ids')
    return
  }
  if (state.channels.size >= 2 * state.host.config.maxChannels) {
    state.fail(closeCodes.limit, 0x20, 'too many channels')
    return
  }
  const known = frame.mode <= MODE_LATEST
  const channel = create(state, now, { id: frame.channel, local: false, app: frame.app, mode: known ? frame.mode : MODE_UNRELIABLE, lane: frame.lane, weight: frame.weight, meta: frame.meta }, 0, UNDECIDED)
  if (channel === undefined) {
    state.fail(closeCodes.limit, 0x20, 'no more channels on this node')
    return
  }
  channel.sendLimit += frame.credit
  channel.openAcked = true
  channel.state = 'incoming'
  if (state.restricted) {
    refuse(state, now, channel, channelCodes.refused, 'not paired')
    return
  }
  if (state.channels.size > state.host.config.maxChannels) {
    refuse(state, now, channel, channelCodes.limit, 'too many channels')
    return
  }
  if (!known) {
    // Of a later version. Its messages are ignored, as of any channel that is closed.
    refuse(state, now, channel, channelCodes.refused, 'unknown delivery mode')
    return
  }
  channel.deadline = after(now.mono, state.host.config.channelDecisionTime)
  state.timers.setEarlier(timer.channel, channel.deadline)
  state.host.emit({ kind: 'channel-incoming', channel: channel.handle, peer: state.peer, app: frame.app, mode: deliveryModes[frame.mode]!, lane: lanes[frame.lane]!, weight: frame.weight, meta: frame.meta })
}

function refuse(state: SessionState, now: Now, channel: Channel, code: number, reason: string): void {
  state.host.counters.add('channels_refused')
  abortChannel(state, now, channel, code, reason, 'local', false)
}

export function acceptChannel(state: SessionState, now: Now, channel: Channel, credit: number, consumer: number, overflow: Overflow): boolean {
  if (channel.state !== 'incoming') return false
  channel.state = 'open'
  channel.deadline = never
  channel.overflow = overflow
  moveShare(state, channel, consumer, now.mono)
  channel.acceptWanted = true
  wantControl(state, channel)
  channel.receiver.credit = credit
  resumeDelivery(state, channel)
  // The peer opened it, sent, and closed it before we looked: what it sent is delivered all the same.
  if (channel.closeRemote !== undefined) beginClosing(state, now, channel)
  return true
}

export function rejectChannel(state: SessionState, now: Now, channel: Channel, code: number, reason: string): void {
  if (channel.state === 'incoming') refuse(state, now, channel, code, reason)
}

export function onAcceptFrame(state: SessionState, id: number, credit: number): void {
  const channel = state.channels.get(id)
  if (channel?.local !== true || channel.accepted) return
  channel.accepted = true
  channel.sendLimit += credit
  onAnswered(state, channel)
  wantData(state, channel)
}

/** The peer speaks on a channel that we opened: it knows it and has accepted it. ACCEPT itself may still be on its way. */
export function onAnswered(state: SessionState, channel: Channel): void {
  if (!channel.local) return
  channel.openAcked = true
  channel.openWanted = false
  if (channel.state !== 'opening') return
  channel.state = 'open'
  state.host.emit({ kind: 'channel-open', channel: channel.handle, maxMessage: Math.min(state.limits.maxMessage, state.host.config.maxMessage) })
}

/** Local close. Without `abort` queued messages are sent first and the peer's are delivered up to its own close. */
export function closeChannel(state: SessionState, now: Now, channel: Channel, abort: boolean, code: number, reason: string): void {
  if (channel.outlives !== undefined) {
    channel.outlives = { code, reason, by: 'local' }
    endKept(state.host, channel)
    return
  }
  if (abort || channel.state === 'incoming') {
    if (channel.state !== 'closed') abortChannel(state, now, channel, code, reason, 'local', true)
    return
  }
  if (!channel.sendable) return
  channel.closeLocal = { abort: false, code, reason }
  beginClosing(state, now, channel)
}

function beginClosing(state: SessionState, now: Now, channel: Channel): void {
  channel.state = 'closing'
  channel.deadline = after(now.mono, state.host.config.channelDrainTime)
  state.timers.setEarlier(timer.channel, channel.deadline)
  tryCloseFrame(state, channel)
  tryFinish(state, channel)
}

/** CHANNEL_CLOSE says the number of messages sent, so it waits until all of them were sent once. */
export function tryCloseFrame(state: SessionState, channel: Channel): void {
  if (channel.state !== 'closing' || channel.closeVersion > 0 || channel.hasNew) return
  channel.closeVersion = CLOSE_AFTER_QUEUE
  channel.closeWanted = true
  wantControl(state, channel)
}

export function onCloseFrame(state: SessionState, now: Now, frame: ChannelCloseFrame): void {
  const channel = state.channels.get(frame.channel)
  // Of two CLOSEs the first counts, unless the second aborts what the first left to be finished.
  if (channel === undefined || (channel.closeRemote !== undefined && (channel.closeRemote.abort || !frame.abort))) return
  if (channel.reliable && !settleClosed(state, channel, frame.cost)) {
    state.fail(closeCodes.flow_control, 0x22, 'cost beyond credit')
    return
  }
  channel.closeRemote = frame
  // A channel that was not accepted is closed by abort: any other CLOSE says that it was.
  if (frame.abort) channel.openAcked = true
  else onAnswered(state, channel)
  if (channel.state === 'closed') tryRemove(state, channel)
  else if (frame.abort) abortChannel(state, now, channel, frame.code, frame.reason, 'peer', true)
  else if (channel.state === 'opening' || channel.state === 'open') beginClosing(state, now, channel)
  else tryFinish(state, channel)
}

/** Ends both directions now: queues go, the peer is told, and with `tell` the owner is. */
function abortChannel(state: SessionState, now: Now, channel: Channel, code: number, reason: string, by: 'peer' | 'local' | 'session', tell: boolean): void {
  channel.closeLocal = { abort: true, code: by === 'peer' ? channelCodes.done : code, reason: by === 'peer' ? '' : reason }
  leaveLanes(state, channel)
  channel.clearQueues('channel-closed')
  forgetQueue(state, channel)
  channel.receiver.clear()
  channel.acceptWanted = false
  channel.maxDataWanted = false
  channel.blockedWanted = false
  channel.state = 'closed'
  channel.deadline = after(now.mono, state.host.config.channelDrainTime)
  state.timers.setEarlier(timer.channel, channel.deadline)
  settleRest(state, channel)
  channel.closeVersion = CLOSE_ABORT
  channel.closeWanted = true
  channel.closeAcked = false
  wantControl(state, channel)
  state.host.noteReleased(channel)
  if (tell) state.host.emit({ kind: 'channel-closed', channel: channel.handle, code, reason, by })
  tryRemove(state, channel)
}

/** A closing channel is over when both CLOSEs are through, all of ours is acknowledged and all of the peer's handed over. */
export function tryFinish(state: SessionState, channel: Channel): void {
  if (channel.state === 'closed') {
    tryRemove(state, channel)
    return
  }
  if (channel.state !== 'closing' || !channel.closeAcked || channel.closeRemote === undefined) return
  if (channel.queuedMessages > 0 || !channel.receiver.finished(channel.closeRemote.final)) return
  channel.state = 'closed'
  const byPeer = channel.closeLocal === undefined
  const { code, reason } = channel.closeLocal ?? channel.closeRemote
  settleRest(state, channel)
  state.host.emit({ kind: 'channel-closed', channel: channel.handle, code, reason, by: byPeer ? 'peer' : 'local' })
  tryRemove(state, channel)
}

/** Forgets a closed channel once the peer knows and has told its own total. */
function tryRemove(state: SessionState, channel: Channel): void {
  if (channel.state !== 'closed' || !channel.closeAcked || channel.closeRemote === undefined) return
  remove(state, channel)
}

function remove(state: SessionState, channel: Channel): void {
  leave(state, channel)
  channel.receiver.clear()
  state.host.releaseChannel(channel)
}

function leaveLanes(state: SessionState, channel: Channel): void {
  for (const stream of channel.streams) state.lanes.remove(stream)
}

/** The session is done with it. */
function leave(state: SessionState, channel: Channel): void {
  settleRest(state, channel)
  // A channel that closed has nothing queued any more: if there is, its session ends.
  channel.clearQueues('peer-gone')
  forgetQueue(state, channel)
  leaveLanes(state, channel)
  leaveShare(state, channel.share)
  state.removeChannel(channel.id)
  if (state.lastChannel === channel) state.lastChannel = undefined
}

/** Undecided channels time out; closing ones that did not drain are aborted. One that only waits for its own consumer to read stays. */
export function onChannelTimer(state: SessionState, now: Now): void {
  let next = never
  for (const channel of [...state.channels.values()]) {
    if (channel.deadline <= now.mono) expire(state, now, channel)
    if (state.channels.get(channel.id) === channel && channel.deadline < next) next = channel.deadline
  }
  state.timers.set(timer.channel, next)
}

function expire(state: SessionState, now: Now, channel: Channel): void {
  channel.deadline = never
  if (channel.state === 'incoming') {
    state.host.counters.add('channels_timed_out')
    abortChannel(state, now, channel, channelCodes.timeout, 'nobody decided', 'local', true)
  } else if (channel.state === 'closing' && (channel.queuedMessages > 0 || !channel.closeAcked || channel.closeRemote === undefined)) {
    // Not the code it was closed with: that would say that all of it arrived.
    abortChannel(state, now, channel, channelCodes.timeout, 'did not drain', 'local', true)
  } else if (channel.state === 'closed') {
    // The peer has not answered yet. The session decides whether it lives; this channel only costs a table entry until then.
    channel.deadline = after(now.mono, state.host.config.channelDrainTime)
  }
}

/** A consumer is gone, or never reads while memory is short: its channels of this session end. */
export function endConsumer(state: SessionState, now: Now, consumer: number): void {
  for (const channel of [...state.channels.values()]) {
    if (channel.share.consumer === consumer && channel.state !== 'closed') abortChannel(state, now, channel, channelCodes.app_gone, 'does not read', 'session', true)
  }
}

/**
 * The session is over: every channel ends with it. What came whole and in order was acknowledged, so the sender counts on it:
 * such a channel outlives its session until its consumer has taken the rest.
 */
export function endAllChannels(state: SessionState, code: number, reason: string): void {
  // Nobody is told of room in a channel that ends in the same breath.
  for (const channel of state.channels.values()) channel.writableOwed = false
  state.owed = 0
  state.starving = 0
  for (const channel of [...state.channels.values()]) {
    const told = channel.state === 'closed'
    const decided = channel.state === 'open' || channel.state === 'closing'
    const outcome = lastWord(channel) ?? { code, reason, by: 'session' }
    channel.state = 'closed'
    if (decided && channel.receiver.waiting) {
      leave(state, channel)
      channel.outlives = outcome
      state.host.keepChannel(channel)
      continue
    }
    remove(state, channel)
    if (!told) state.host.emit({ kind: 'channel-closed', channel: channel.handle, ...outcome })
  }
  state.control.clear()
}

/** How a channel ends whose close had gone through but for the last acknowledgements; `undefined` when it had not. Seals its receiver. */
function lastWord(channel: Channel): { readonly code: number; readonly reason: string; readonly by: 'peer' | 'local' } | undefined {
  const whole = channel.receiver.seal()
  const { closeLocal, closeRemote } = channel
  if (channel.state !== 'closing' || closeRemote === undefined || closeRemote.final > whole || channel.queuedMessages > 0) return undefined
  const { code, reason } = closeLocal ?? closeRemote
  return { code, reason, by: closeLocal === undefined ? 'peer' : 'local' }
}

/** Ends a channel that outlived its session. */
export function endKept(host: ConnectionHost, channel: Channel): void {
  const outcome = channel.outlives
  if (outcome === undefined) return
  channel.outlives = undefined
  channel.receiver.clear()
  host.releaseChannel(channel)
  host.emit({ kind: 'channel-closed', channel: channel.handle, ...outcome })
}

/** Hands over what waits, after credit came, the hold ended or a hole was filled. */
export function resumeDelivery(state: SessionState, channel: Channel): void {
  const receiver = channel.receiver
  receiver.resume(channel)
  if (channel.outlives !== undefined) {
    if (!receiver.waiting) endKept(state.host, channel)
    return
  }
  consumedPassed(state, channel)
  if (channel.state === 'closing') tryFinish(state, channel)
}
