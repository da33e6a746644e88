import type { Channel } from './channel.ts'
import type { SessionState } from './state.ts'

/** Puts a channel with a control frame to send into the session's list. */
export function wantControl(state: SessionState, channel: Channel): void {
  if (channel.controlListed) return
  channel.controlListed = true
  state.control.push(channel)
}

/** Puts a channel with messages to send into its lane. */
export function wantData(state: SessionState, channel: Channel): void {
  if (channel.hasData && channel.state !== 'closed') state.lanes.add(channel)
}
