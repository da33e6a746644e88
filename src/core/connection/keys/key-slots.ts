import { after, never, second, toInstant, type Duration, type Instant, type Now } from '../../base/time.ts'
import { giveUpKeys } from '../packets/loss.ts'
import type { Keys } from './keys.ts'
import { nextRekey } from './rekeying.ts'
import type { SessionState } from '../state.ts'
import { timer } from '../timers.ts'

/** WIRE.md §3.9: of two keypairs confirmed this close together, the one of the lower id's handshake is used. */
const CROSSING_TIME: Duration = 15 * second
/** §3.11: previous keys open this long, at least 3 PTO, at most a minute. */
const PREVIOUS_TIME: Duration = 10 * second
const PREVIOUS_TIME_MAX: Duration = 60 * second
/** The last initiator rekeys first; the other side waits this much longer. */
const RESPONDER_DELAY: Duration = 15 * second
const REKEY_JITTER: Duration = 5 * second
/** A dirty key lives at least this long after it became dirty. */
const DIRTY_REST: Duration = 60 * second
const CLEAN_JITTER = 0.1
/** `next` waits this long for its first datagram. */
const NEXT_TIME: Duration = 10 * second
/** [P] A path change does not replace keys that came this shortly before: paths may go back and forth. */
const EXPOSED_REST: Duration = 30 * second

/** Puts confirmed keys into the slots: they become current, or previous when {@link isSecond} says so. */
export function installKeys(state: SessionState, now: Now, keys: Keys): void {
  keys.confirmedAt = now.mono
  const current = state.current
  state.keysChanged = true
  if (current !== undefined && isSecond(now, keys, current)) {
    setPrevious(state, now, keys)
    return
  }
  if (current !== undefined) setPrevious(state, now, current)
  state.current = keys
  keys.orderBase = state.sent.next
}

/**
 * Whether `keys` only open: a crossing handshake of the lower id was confirmed just before, or they are older than those of
 * the same initiator, whose confirmation they overtook nowhere but on the wire.
 */
function isSecond(now: Now, keys: Keys, current: Keys): boolean {
  if (keys.rekey) return false
  if (keys.lowerInitiated === current.lowerInitiated) return keys.createdAt < current.createdAt
  return current.lowerInitiated && now.mono - current.confirmedAt < CROSSING_TIME
}

/** The path changed: who saw both could link them until the next keys. */
export function exposeKeys(state: SessionState): void {
  if (state.current === undefined) return
  state.current.exposed = true
  state.keysChanged = true
}

function setPrevious(state: SessionState, now: Now, keys: Keys): void {
  if (state.previous !== undefined) wipeKeys(state, now, state.previous)
  state.previous = keys
  keys.retireAt = after(now.mono, Math.min(PREVIOUS_TIME_MAX, Math.max(PREVIOUS_TIME, 3 * state.pto())))
}

/** A wiped keypair neither seals nor opens; what was in flight under it is lost. */
export function wipeKeys(state: SessionState, now: Now, keys: Keys): void {
  if (keys.wiped) return
  keys.wiped = true
  giveUpKeys(state, keys)
  if (state.current === keys) state.current = undefined
  if (state.previous === keys) state.previous = undefined
  if (state.next === keys) state.next = undefined
  state.host.releaseKeys(now, keys)
}

export function wipeAllKeys(state: SessionState, now: Now): void {
  if (state.next !== undefined) wipeKeys(state, now, state.next)
  if (state.previous !== undefined) wipeKeys(state, now, state.previous)
  if (state.current !== undefined) wipeKeys(state, now, state.current)
}

/** When current keys are to be replaced, by the side that began their handshake or, later, by the other. */
function rekeyAt(state: SessionState, keys: Keys): Instant {
  const { rekeyAfter, cleanRekeyAfter } = state.host.config
  const clean = keys.createdAt + cleanRekeyAfter * (1 + CLEAN_JITTER * (2 * keys.jitter - 1))
  if (keys.worn) return keys.confirmedAt
  const due = keys.dirtyAt === never ? clean : Math.max(keys.createdAt + rekeyAfter, keys.dirtyAt)
  if (keys.exposed && keys.confirmedAt + EXPOSED_REST < due) return after(keys.confirmedAt, EXPOSED_REST)
  return toInstant(due + keys.jitter * REKEY_JITTER + (keys.initiator ? 0 : RESPONDER_DELAY))
}

function wipeAt(state: SessionState, keys: Keys): Instant {
  const { rejectAfter, cleanWipeAfter, keyLifeMax } = state.host.config
  const worn = keys.dirtyAt === never ? keys.createdAt + cleanWipeAfter : Math.max(keys.createdAt + rejectAfter, keys.dirtyAt + DIRTY_REST)
  return toInstant(Math.min(worn, keys.createdAt + keyLifeMax, keys.retireAt))
}

/** Sets the `rekey` and `wipe` timers anew. */
export function scheduleKeys(state: SessionState): void {
  state.keysChanged = false
  const { current, previous, next } = state
  state.timers.set(timer.rekey, current === undefined ? never : nextRekey(state.rekeying, rekeyAt(state, current), next !== undefined))
  let wipe = never
  if (current !== undefined) wipe = wipeAt(state, current)
  if (previous !== undefined && wipeAt(state, previous) < wipe) wipe = wipeAt(state, previous)
  if (next !== undefined) wipe = toInstant(Math.min(wipe, next.createdAt + NEXT_TIME))
  state.timers.set(timer.wipe, wipe)
}

export function onWipeTimer(state: SessionState, now: Now): void {
  if (state.next !== undefined && state.next.createdAt + NEXT_TIME <= now.mono) wipeKeys(state, now, state.next)
  for (const keys of [state.previous, state.current]) {
    if (keys !== undefined && wipeAt(state, keys) <= now.mono) wipeKeys(state, now, keys)
  }
  state.keysChanged = true
}
