import { dropReason } from '../../base/domain.ts'
import type { Channel } from './channel.ts'
import { counter } from '../host.ts'
import type { SessionState } from '../state.ts'

/** Place of the counter of messages that the sender's side dropped, by `dropReasons`. */
export const dropCounters: readonly number[] = [
  counter.messages_lost, counter.messages_dropped_deadline, counter.messages_dropped_oldest, counter.messages_dropped_newest, counter.messages_dropped_lane,
  counter.messages_dropped_superseded, counter.messages_dropped_peer_gone, counter.messages_dropped_channel_closed, counter.messages_lost, counter.messages_dropped_no_credit,
]

/** Brings the counters up to date with what the channel's receiver has dropped. */
export function countDrops(state: SessionState, channel: Channel): void {
  const { droppedNoCredit, droppedIncomplete } = channel.receiver
  const noCredit = droppedNoCredit - channel.countedNoCredit
  const incomplete = droppedIncomplete - channel.countedIncomplete
  if (noCredit > 0) {
    channel.countedNoCredit = droppedNoCredit
    channel.tally.addDropped(channel.laneDefault, dropReason['no-credit'], noCredit)
    state.host.counters.add('messages_dropped_no_credit', noCredit)
  }
  if (incomplete > 0) {
    channel.countedIncomplete = droppedIncomplete
    channel.tally.addDropped(channel.laneDefault, dropReason.none, incomplete)
    state.host.counters.add('messages_dropped_reassembly', incomplete)
  }
}
