import { toInstant, type Instant } from '../../base/time.ts'
import type { SendQueue } from '../../flow/send-queue.ts'
import type { Channel } from '../channels/channel.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Puts a channel with a control frame to send into the session's list. */
export function wantControl(state: SessionState, channel: Channel): void {
  if (channel.controlListed) return
  channel.controlListed = true
  state.control.push(channel)
}

/** Puts what a channel has to send into its lanes. */
export function wantData(state: SessionState, channel: Channel): void {
  if (channel.state === 'closed') return
  for (const stream of channel.streams) if (stream.queue.hasLost || stream.queue.hasNew) state.lanes.add(stream)
}

/**
 * The session's window opened: all who have something to send get in line again, from the one whose turn it was. In the order of their numbers,
 * the first would be served after every opening and the last after none.
 */
export function wantAllData(state: SessionState): void {
  const turn = state.turn
  state.turn = undefined
  let found = false
  for (const channel of state.channels.values()) {
    found ||= channel === turn
    if (found) wantData(state, channel)
  }
  for (const channel of state.channels.values()) {
    if (channel === turn) break
    wantData(state, channel)
  }
}

/** Something with a deadline waits to be sent: its sender is to hear in time when it is late. */
export function noteDeadline(state: SessionState, deadline: Instant): void {
  state.timers.setEarlier(timer.deadline, deadline)
}

/** A message of this queue waits to be sent again, and may have a deadline: it is looked up at once. */
export function noteTimed(state: SessionState, queue: SendQueue): void {
  if (queue.hasTimed) state.timers.setEarlier(timer.deadline, toInstant(0))
}
