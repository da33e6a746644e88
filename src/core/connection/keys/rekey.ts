/** The rekey inside a session (WIRE.md §3.11): HANDSHAKE frames out and in, whose turn it is, and the slot `next`. */
import { after, never, second, toInstant, type Duration, type Now } from '../../base/time.ts'
import { RECORD_HANDSHAKE } from '../../flow/sent-packets.ts'
import { suiteOf } from '../../session/suites.ts'
import { MESSAGE_A, MESSAGE_B } from '../../wire/handshake-fragment.ts'
import { handshakePieceSize, writeHandshakeFrame, type HandshakeFrame } from '../../wire/handshake-frame.ts'
import { installKeys, wipeKeys } from './key-slots.ts'
import type { Keys } from './keys.ts'
import { packet, packetRoom } from '../packets/packet.ts'
import { Arriving, Rekeying } from './rekeying.ts'
import type { SessionState } from '../state.ts'

/** A pending A lives this long, with the jitter of an outer attempt; then a fresh one goes. */
const ATTEMPT_TIME: Duration = 5 * second
const ATTEMPT_JITTER = 0.334 * second
/** One A of the peer is answered in this time at most: each costs four DH. */
const ANSWER_PAUSE: Duration = 5 * second
/** After this long without an answer attempts come rarely. [P] */
const LOUD_TIME: Duration = 90 * second
const QUIET_PAUSE: Duration = 60 * second
/** Messages B that may fail one attempt: each costs two DH. */
const FAILURES_MAX = 4

// ── our own ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The `rekey` timer: a first or a fresh A. Without a path it waits: coming back sets the timer anew. */
export function onRekeyTimer(state: SessionState, now: Now): void {
  if (state.phase !== 'open' || state.current === undefined || state.next !== undefined || state.sidPeer === undefined) return
  const rekeying = state.rekeying ??= new Rekeying()
  if (rekeying.pending !== undefined && now.mono >= rekeying.pending.until) {
    state.host.counters.add('rekeys_unanswered')
    dropPending(state, rekeying)
  }
  if (rekeying.pending === undefined && now.mono >= rekeying.quietUntil && state.active !== undefined) begin(state, now, rekeying, state.sidPeer)
}

function begin(state: SessionState, now: Now, rekeying: Rekeying, sidPeer: Uint8Array): void {
  state.keysChanged = true
  if (rekeying.tryingSince === never) rekeying.tryingSince = now.mono
  const quiet = now.mono >= after(rekeying.tryingSince, LOUD_TIME)
  const initiation = state.host.rekeys.begin(now, state.slot, state.peer, state.sidSelf, sidPeer)
  if (initiation === undefined || quiet) rekeying.quietUntil = after(now.mono, QUIET_PAUSE)
  if (initiation === undefined) return
  state.host.counters.add('rekeys_begun')
  rekeying.pending = { initiation, until: after(now.mono, ATTEMPT_TIME + state.host.randomUnit() * ATTEMPT_JITTER), arriving: undefined, failures: 0 }
  rekeying.put({ message: MESSAGE_A, suite: initiation.suite.number, senderIndex: initiation.localIndex, receiverIndex: 0 }, initiation.message)
}

function onResponse(state: SessionState, now: Now, frame: HandshakeFrame): void {
  const rekeying = state.rekeying
  const pending = rekeying?.pending
  if (rekeying === undefined || pending === undefined || frame.receiverIndex !== pending.initiation.localIndex || frame.suite !== pending.initiation.suite.number || pending.failures >= FAILURES_MAX) {
    state.host.counters.add('rekeys_ignored')
    return
  }
  if (pending.arriving?.isOf(frame) !== true) pending.arriving = new Arriving(frame)
  const { arriving } = pending
  const added = arriving.add(frame)
  if (added === 'more') return
  pending.arriving = undefined
  const result = added === 'too-many' ? 'noise' : pending.initiation.readResponse(arriving.bytes, arriving.senderIndex)
  if (typeof result === 'string') {
    state.host.counters.add('rekeys_failed')
    pending.failures++
    // An authentic contradiction ends the attempt; the next one comes at its usual time.
    if (result === 'refused') pending.failures = FAILURES_MAX
    return
  }
  const keys = state.host.rekeys.finish(now, state.slot, pending.initiation, result, arriving.senderIndex)
  rekeying.pending = undefined
  settle(state, now, keys)
  // The first datagram under the new keys confirms them to the peer, so it goes at once.
  state.pingWanted = true
}

// ── the peer's ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function onInitiation(state: SessionState, now: Now, frame: HandshakeFrame): void {
  const rekeying = state.rekeying ??= new Rekeying()
  const tooSoon = rekeying.answeredAt !== never && now.mono < after(rekeying.answeredAt, ANSWER_PAUSE)
  // Both began: the lower id's A wins, the other one stays unanswered.
  const ours = state.lower && rekeying.pending !== undefined
  if (tooSoon || ours || frame.senderIndex === rekeying.answeredIndex || suiteOf(frame.suite)?.built !== true || state.sidPeer === undefined) {
    state.host.counters.add('rekeys_ignored')
    return
  }
  if (rekeying.arriving?.isOf(frame) !== true) rekeying.arriving = new Arriving(frame)
  const { arriving } = rekeying
  const added = arriving.add(frame)
  if (added === 'more') return
  rekeying.arriving = undefined
  if (added === 'whole') answer(state, now, rekeying, arriving, state.sidPeer)
  else state.host.counters.add('rekeys_failed')
}

function answer(state: SessionState, now: Now, rekeying: Rekeying, arriving: Arriving, sidPeer: Uint8Array): void {
  // Also after a failure: each reading costs.
  rekeying.answeredAt = now.mono
  rekeying.answeredIndex = arriving.senderIndex
  const answered = state.host.rekeys.answer(now, state.slot, state.peer, state.sidSelf, sidPeer, arriving.suite, arriving.bytes, arriving.senderIndex)
  if (answered === undefined) {
    state.host.counters.add('rekeys_failed')
    return
  }
  dropPending(state, rekeying)
  if (state.next !== undefined) wipeKeys(state, now, state.next)
  rekeying.drop(MESSAGE_B)
  state.next = answered.keys
  state.keysChanged = true
  rekeying.put({ message: MESSAGE_B, suite: arriving.suite, senderIndex: answered.keys.localIndex, receiverIndex: arriving.senderIndex }, answered.message)
}

/** The first datagram under `next` opened: the peer has the keys, and they are used from now on. */
export function confirmNext(state: SessionState, now: Now, keys: Keys): void {
  state.next = undefined
  settle(state, now, keys)
}

function settle(state: SessionState, now: Now, keys: Keys): void {
  state.host.counters.add('rekeys_completed')
  state.host.counters.add('handshakes_completed')
  installKeys(state, now, keys)
  forgetExchanges(state, now)
}

/** Other keys came, or the session ends: what is under way is of no use any more. */
export function forgetExchanges(state: SessionState, now: Now): void {
  if (state.next !== undefined) wipeKeys(state, now, state.next)
  const rekeying = state.rekeying
  if (rekeying === undefined) return
  dropPending(state, rekeying)
  rekeying.arriving = undefined
  rekeying.drop(MESSAGE_B)
  rekeying.tryingSince = never
  rekeying.quietUntil = toInstant(0)
}

// ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A HANDSHAKE frame under `keys`. Only the current ones are replaced: what still comes under others belongs to an exchange that is over. */
export function onHandshakeFrame(state: SessionState, now: Now, keys: Keys, frame: HandshakeFrame): void {
  if (keys !== state.current) state.host.counters.add('rekeys_ignored')
  else if (frame.message === MESSAGE_A) onInitiation(state, now, frame)
  else onResponse(state, now, frame)
}

/** Writes what fits of the messages that are to go. */
export function writeRekey(state: SessionState): void {
  if (state.rekeying === undefined) return
  for (const outgoing of state.rekeying.outgoing) {
    if (outgoing.next === outgoing.bytes.length) continue
    const length = handshakePieceSize(packetRoom(), outgoing.bytes.length, outgoing.next)
    if (length === 0) return
    packet.position = writeHandshakeFrame(state.host.arena.bytes, packet.position, outgoing, outgoing.bytes, outgoing.next, length)
    state.sent.addFrame(RECORD_HANDSHAKE, outgoing.serial, 0, outgoing.next, 0)
    outgoing.next += length
    packet.eliciting = true
  }
}

function dropPending(state: SessionState, rekeying: Rekeying): void {
  rekeying.drop(MESSAGE_A)
  if (rekeying.pending === undefined) return
  rekeying.pending.initiation.wipe()
  state.host.rekeys.end(rekeying.pending.initiation)
  rekeying.pending = undefined
  state.keysChanged = true
}

