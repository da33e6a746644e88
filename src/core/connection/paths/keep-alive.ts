import { millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../../base/time.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** WIRE.md §6: 20 s ± 10 %. Without jitter all sessions of a node that came up together would ping together. */
const JITTER = 0.1
/** Sessions whose keep-alives fall into the same step ping together: one wake-up of the machine for all of them. */
const STEP: Duration = 50 * millisecond

/** On a connection no NAT forgets so soon: 60 s by default. */
const RELIABLE_FACTOR = 3

/** [P] A NAT that forgets within so short a time is met half-way: more often than this would wear out batteries. */
const KEEP_ALIVE_LEAST: Duration = 5 * second
/** [P] Of the time that a mapping was seen to last: one keep-alive may be late, and its jitter is a tenth. */
const FIT = 0.8

/** How long keep-alives may wait where a NAT was seen to keep what was silent for `alive`, and not much longer. */
export function fittedKeepAlive(alive: Duration): Duration {
  return Math.max(KEEP_ALIVE_LEAST, FIT * alive)
}

/** 0: none are sent. */
function period(state: SessionState): Duration {
  const { config: { keepAlive }, keepAliveMax } = state.host
  return state.active?.reliable === true ? keepAlive * RELIABLE_FACTOR : Math.min(keepAlive, keepAliveMax)
}

/** Arms the timer for a path that shall not fall idle, unless it is armed. */
export function scheduleKeepAlive(state: SessionState, now: Now): void {
  const keepAlive = period(state)
  if (keepAlive === 0 || state.active === undefined) {
    state.timers.clear(timer.keepAlive)
    return
  }
  if (state.timers.get(timer.keepAlive) !== never) return
  const jitter = 1 + JITTER * (2 * state.host.randomUnit() - 1)
  state.timers.set(timer.keepAlive, stepAfter(now.mono, keepAlive * jitter))
}

/** Armed once per period, not per datagram: a path that was used meanwhile just gets the rest of its own period. */
export function onKeepAlive(state: SessionState, now: Now): void {
  const keepAlive = period(state)
  const active = state.active
  if (active === undefined) return
  const quiet = now.mono - active.lastSentAt
  if (quiet >= keepAlive * (1 - JITTER)) showPath(state)
  else state.timers.set(timer.keepAlive, stepAfter(now.mono, keepAlive - quiet))
}

/**
 * Asks for a PING that says that this path is used, wherever it leaves from now: a NAT that forgot an idle session gives the next datagram
 * another port, and to a PING alone, which may be a mere question, the peer would answer at the old one.
 */
export function showPath(state: SessionState): void {
  state.pingWanted = true
  if (state.active?.reliable === false) state.pathShows = Math.max(state.pathShows, 1)
}

/** The last step within `duration` from now, at least one. */
function stepAfter(now: Instant, duration: Duration): Instant {
  const step = Math.floor((now + duration) / STEP) * STEP
  return toInstant(step > now ? step : now + STEP)
}
