import type { Channel } from './channel.ts'
import type { SessionState } from './state.ts'

/** Brings the counters up to date with what the channel's receiver has dropped. */
export function countDrops(state: SessionState, channel: Channel): void {
  const { droppedNoCredit, droppedIncomplete } = channel.receiver
  const fresh = droppedNoCredit + droppedIncomplete - channel.countedDrops
  if (fresh === 0) return
  channel.countedDrops += fresh
  const noCredit = droppedNoCredit - (channel.dropped['no-credit'] ?? 0)
  const incomplete = fresh - noCredit
  if (noCredit > 0) {
    channel.dropped['no-credit'] = droppedNoCredit
    state.host.counters.add('messages_dropped_no_credit', noCredit)
  }
  if (incomplete > 0) state.host.counters.add('messages_dropped_reassembly', incomplete)
}
