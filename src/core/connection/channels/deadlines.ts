import { millisecond, toInstant, type Duration, type Now } from '../../base/time.ts'
import { tryCloseFrame, tryFinish } from './channels.ts'
import { wantData } from '../packets/control.ts'
import { settleQueue } from '../packets/send.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Deadlines are looked at when a datagram is packed, and at least this often: so many that are due together cost one look. */
const LOOK_INTERVAL: Duration = millisecond

/** Drops what is late, so that its sender is told even while nothing can be sent. */
export function onDeadlineTimer(state: SessionState, now: Now): void {
  let earliest = Infinity
  for (const channel of [...state.channels.values()]) {
    if (channel.state === 'closed') continue
    let next = Infinity
    for (const { queue } of channel.streams) next = Math.min(next, queue.expire(now.mono))
    earliest = Math.min(earliest, next)
    if (channel.released === 0) continue
    settleQueue(state, channel)
    // A begun message became a SKIP.
    wantData(state, channel)
    tryCloseFrame(state, channel)
    if (channel.state === 'closing') tryFinish(state, channel)
  }
  state.timers.set(timer.deadline, earliest === Infinity ? toInstant(Infinity) : toInstant(Math.max(earliest, now.mono + LOOK_INTERVAL)))
}
