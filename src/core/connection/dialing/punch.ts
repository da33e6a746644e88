import { after, millisecond, never, second, toInstant, type Duration, type Now } from '../../base/time.ts'
import { birthdayRole, GUESSES_MAX, meetingPoint, SOCKETS_MAX, type BirthdayRole } from '../../path/birthday.ts'
import { allows } from '../../path/path-policy.ts'
import { isHardMapping, type MappingClass } from '../../stun/nat-classes.ts'
import { punchMode, punchOp, type PunchFrame } from '../../wire/punch-frame.ts'
import { candidatesOf } from '../paths/peer-candidates.ts'
import { probeAt } from '../paths/probing.ts'
import { FIRST_TIME, OUTBOX_MAX, PunchState, type PunchPhase } from './punch-state.ts'
import { isFallback } from '../paths/selection.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** Between two rounds (WIRE.md §5), and so many in vain until something changes. */
const PAUSE: Duration = 30 * second
const ROUNDS_MAX = 3
/** How long the next frame of a round may take. */
const ANSWER_TIME: Duration = 5 * second
const ROUND_TIME: Duration = 10 * second
const BIRTHDAY_TIME: Duration = 35 * second
/** WIRE.md §5: challenges of a round go one after the other; five to an address that does not answer, a second apart. */
const PACE: Duration = 10 * millisecond
const PASSES = 5
const PASS_TIME: Duration = second
/** PUNCH frames of the peer in {@link FLOOD_TIME}; more are ignored. */
const FRAMES_MAX = 16
const FLOOD_TIME: Duration = 10 * second
/** Datagrams that show the peer which path is used. */
const SHOWS = 3
/** Bits of `nat`. */
const MAPPING = 3
/** A go that is put off for longer is no go. */
const DELAY_MAX: Duration = 5 * second

/** Bits of the byte `nat` for our own class; what is not told apart counts as the harder one. */
export function natByte(mapping: MappingClass): number {
  switch (mapping) {
    case 'none':
    case 'endpoint-independent':
      return 1
    case 'address-dependent':
      return 2
    case 'address-and-port-dependent':
    case 'dependent':
      return 3
    case 'unknown':
      return 0
  }
}

/** After every change of a session: arms the timer while it runs over a connection and UDP may be had, and ends a round that has found a path. */
export function updatePunch(state: SessionState, now: Now): void {
  const { punch } = state
  if (punch?.phase.kind === 'running' && !isFallback(state)) end(state, now, punch, state.active?.reliable === false)
  if (!isFallback(state) || !state.peerPunches || state.candidates === undefined || state.host.candidates.generation === 0) return
  const known = (state.punch ??= new PunchState(now.mono, state.lower))
  if (known.phase.kind === 'rest' && known.vain < ROUNDS_MAX) state.timers.setEarlier(timer.punch, known.wishAt)
}

export function onPunchTimer(state: SessionState, now: Now): void {
  const { punch } = state
  if (punch === undefined) return
  const { phase } = punch
  switch (phase.kind) {
    case 'rest':
      if (now.mono >= punch.wishAt && punch.vain < ROUNDS_MAX && isFallback(state)) wish(state, now, punch)
      return
    case 'running':
      run(state, now, punch, phase)
      return
    case 'waiting':
      if (now.mono >= phase.until) start(state, now, punch, phase.role)
      else state.timers.set(timer.punch, phase.until)
      return
    case 'asked':
    case 'ready':
      if (now.mono >= phase.until) rest(state, now, punch, true)
      else state.timers.set(timer.punch, phase.until)
  }
}

/** A PUNCH of the peer. What is of no round that goes on is counted and does nothing. */
export function onPunch(state: SessionState, now: Now, frame: PunchFrame): void {
  const punch = (state.punch ??= new PunchState(now.mono, state.lower))
  const { counters } = state.host
  counters.add('punches_received')
  if (now.mono - punch.heardSince >= FLOOD_TIME) {
    punch.heardSince = now.mono
    punch.heard = 0
  }
  if (++punch.heard === FRAMES_MAX + 1) state.host.emit({ kind: 'punch-flood', peer: state.peer })
  if (punch.heard > FRAMES_MAX || !take(state, now, punch, frame)) counters.add('punches_ignored')
  else if ((frame.nat & MAPPING) !== 0) state.host.noteHard(state.peer, (frame.nat & MAPPING) >= 2)
}

function take(state: SessionState, now: Now, punch: PunchState, frame: PunchFrame): boolean {
  const { phase } = punch
  if (frame.op === punchOp.ask) return state.lower ? onWish(state, now, punch) : onAsk(state, now, punch, frame)
  if (frame.round !== punch.round || frame.round === 0) return false
  // Both end a round at about the same moment, and say so.
  if (phase.kind === 'rest') return frame.op === punchOp.result || frame.op === punchOp.abort
  switch (frame.op) {
    case punchOp.ready:
      return phase.kind === 'asked' && onReady(state, now, punch, frame, now.mono - phase.askedAt)
    case punchOp.go:
      if (phase.kind !== 'ready' || frame.delay > DELAY_MAX) return false
      start(state, now, punch, (frame.mode & modesOf(state) & punchMode.birthday) === 0 ? undefined : roleBy(state, phase.nat))
      return true
    case punchOp.abort:
      rest(state, now, punch, true)
      return true
    case punchOp.result:
      // The peer is through. What we are asking ourselves may still find the way that it found.
      if (phase.kind === 'running' && frame.delay === 0) end(state, now, punch, false)
      return true
    default:
      return false
  }
}

// ── agreeing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The leader asks; the other one asks to be asked. */
function wish(state: SessionState, now: Now, punch: PunchState): void {
  if (!state.lower) {
    say(state, { op: punchOp.ask, round: 0, mode: modesOf(state) })
    punch.vain++
    punch.wishAt = after(now.mono, PAUSE)
    return
  }
  punch.round++
  punch.phase = { kind: 'asked', askedAt: now.mono, until: after(now.mono, ANSWER_TIME) }
  say(state, { op: punchOp.ask, round: punch.round, mode: modesOf(state) })
  state.timers.set(timer.punch, after(now.mono, ANSWER_TIME))
}

function onWish(state: SessionState, now: Now, punch: PunchState): boolean {
  if (punch.phase.kind !== 'rest' || !mayBegin(state, now, punch)) return false
  wish(state, now, punch)
  return true
}

function onAsk(state: SessionState, now: Now, punch: PunchState, { round, nat }: PunchFrame): boolean {
  if (round <= punch.round || punch.phase.kind === 'running') return false
  punch.round = round
  if (!mayBegin(state, now, punch)) {
    say(state, { op: punchOp.abort, round })
    return false
  }
  punch.phase = { kind: 'ready', nat, until: after(now.mono, ANSWER_TIME) }
  say(state, { op: punchOp.ready, round, mode: modesOf(state) })
  state.timers.set(timer.punch, after(now.mono, ANSWER_TIME))
  return true
}

/** The peer's clock of rounds may run a little before ours. */
function mayBegin(state: SessionState, now: Now, punch: PunchState): boolean {
  return allows(state.policy, 'udp') && state.active?.reliable !== false && now.mono >= punch.nextAt - FIRST_TIME
}

function onReady(state: SessionState, now: Now, punch: PunchState, frame: PunchFrame, rtt: Duration): boolean {
  const role = (frame.mode & modesOf(state) & punchMode.birthday) === 0 ? undefined : roleBy(state, frame.nat)
  const delay = Math.round(rtt / 2)
  say(state, { op: punchOp.go, round: punch.round, mode: punchMode.udp | (role === undefined ? 0 : punchMode.birthday), delay })
  punch.phase = { kind: 'waiting', role, until: after(now.mono, delay) }
  state.timers.set(timer.punch, after(now.mono, delay))
  return true
}

/** What this side takes part in. */
function modesOf({ host }: SessionState): number {
  return punchMode.udp | (host.config.guessPorts ? punchMode.birthday : 0)
}

/** Our part in birthday probing, by both classes. What is not known counts as easy. */
function roleBy(state: SessionState, peerNat: number): BirthdayRole | undefined {
  return birthdayRole(isHardMapping(state.host.mapping), (peerNat & MAPPING) >= 2)
}

function say(state: SessionState, frame: Pick<PunchFrame, 'op' | 'round'> & Partial<PunchFrame>): void {
  const { punch, host } = state
  if (punch === undefined || punch.outbox.length >= OUTBOX_MAX) return
  host.counters.add('punches_sent')
  punch.outbox.push({ mode: 0, nat: natByte(host.mapping), delay: 0, packets: GUESSES_MAX, sockets: SOCKETS_MAX, ...frame })
}

// ── a round ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

function start(state: SessionState, now: Now, punch: PunchState, role: BirthdayRole | undefined): void {
  state.host.counters.add('punches_begun')
  const target = role === undefined ? undefined : meetingPoint(state.candidates?.seen ?? [])
  const guessing = role !== undefined && target !== undefined && state.host.guess(now, state.peer, role, target)
  punch.phase = {
    kind: 'running', guessing, startedAt: now.mono, until: after(now.mono, guessing ? BIRTHDAY_TIME : ROUND_TIME), targets: candidatesOf(state, now), sent: 0, nextAt: now.mono,
  }
  run(state, now, punch, punch.phase)
}

/** One challenge at a time to every address, the peer's wish of an order first; then all of them again. */
function run(state: SessionState, now: Now, punch: PunchState, phase: Extract<PunchPhase, { kind: 'running' }>): void {
  if (now.mono >= phase.until) {
    end(state, now, punch, false)
    return
  }
  const { length } = phase.targets
  if (now.mono >= phase.nextAt && length > 0) {
    const link = state.host.linksTo(phase.targets[phase.sent % length]!)[0]
    if (link !== undefined) probeAt(state, now, link, phase.targets[phase.sent % length]!, false)
    phase.sent++
    const pass = Math.floor(phase.sent / length)
    phase.nextAt = pass >= PASSES ? never : toInstant(Math.max(after(now.mono, PACE), phase.sent % length === 0 ? after(phase.startedAt, pass * PASS_TIME) : 0))
  }
  state.timers.set(timer.punch, toInstant(Math.min(phase.until, length > 0 ? phase.nextAt : never)))
}

function end(state: SessionState, now: Now, punch: PunchState, found: boolean): void {
  const { phase } = punch
  if (phase.kind !== 'running') return
  state.host.counters.add(found ? 'punches_met' : 'punches_in_vain')
  const { active } = state
  const rtt = found && active?.recovery.rtt.hasSample === true ? Math.max(1, Math.round(active.recovery.rtt.smoothed)) : found ? 1 : 0
  say(state, { op: punchOp.result, round: punch.round, delay: rtt, packets: phase.sent, sockets: 0 })
  rest(state, now, punch, !found)
  if (found) {
    // A question alone moves nobody: the peer is shown that this path is used, also when there is nothing to say.
    state.pingWanted = true
    state.pathShows = SHOWS
  }
  if (phase.guessing) state.host.endGuessing(now, state.peer, found)
}

function rest(state: SessionState, now: Now, punch: PunchState, inVain: boolean): void {
  punch.phase = { kind: 'rest' }
  punch.vain = inVain ? punch.vain + 1 : 0
  punch.pause(after(now.mono, PAUSE))
  state.timers.clear(timer.punch)
}
