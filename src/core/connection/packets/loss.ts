import { never, toInstant, type Instant, type Now } from '../../base/time.ts'
import type { LossSample } from '../../flow/congestion.ts'
import { PACKET_THRESHOLD } from '../../flow/path-recovery.ts'
import {
  PACKET_ACKED, PACKET_LOST, PACKET_PROBED, PACKET_SENT,
  RECORD_ACCEPT, RECORD_BLOCKED, RECORD_CHANNEL_BLOCKED, RECORD_CLOSE, RECORD_FRAGMENT, RECORD_HANDSHAKE, RECORD_KIND_MASK, RECORD_MAX_CHANNEL_DATA,
  RECORD_CANDIDATES, RECORD_MAX_DATA, RECORD_OBSERVED, RECORD_OPEN, RECORD_PAIR, RECORD_PRESENCE, RECORD_RUN, RECORD_SKIP,
} from '../../flow/sent-packets.ts'
import { MODE_UNRELIABLE } from '../channels/channel.ts'
import { tryFinish } from '../channels/channels.ts'
import { noteTimed, wantControl, wantData } from './control.ts'
import { counter } from '../host.ts'
import type { Keys } from '../keys/keys.ts'
import { noteSizeLost } from '../paths/mtu.ts'
import { settleQueue } from './send.ts'
import type { SessionPath } from '../paths/session-path.ts'
import type { SessionState } from '../state.ts'

/** [QR] §7.6: losses over this many probe timeouts with nothing acknowledged between are persistent congestion. */
const PERSISTENT_PTOS = 3
/** Packets that a probe timeout puts up for sending again, and probes it sends: the second is a bare PING. */
const PROBES = 2

/** What one lost packet tells; reused. */
const loss: LossSample = { now: toInstant(0), bytes: 0, txInFlight: 0, lost: 0 }

/** Why the frames of a packet are looked at: it is lost; it may be, and is repeated as a probe; it was a probe's pattern before and is lost now. */
const LOST = 0
const PROBED = 1
const LOST_AFTER_PROBE = 2
type Loss = typeof LOST | typeof PROBED | typeof LOST_AFTER_PROBE

/** Packets of this path that later ones overtook count as lost: by number, or by time ([QR] §6.1). */
export function detectLoss(state: SessionState, now: Now, path: SessionPath): void {
  const recovery = path.recovery
  recovery.lossAt = never
  if (!recovery.hasAcked || recovery.outstanding === 0) return
  const sent = state.sent
  const delay = recovery.lossDelay()
  const threshold = recovery.reliable ? Infinity : PACKET_THRESHOLD
  let bytes = 0
  let newest = 0
  // The longest stretch of time of losses with nothing acknowledged between them.
  let from = Infinity
  let stretch = 0
  for (let order = sent.firstSent; order < sent.next; order++) {
    const packet = sent.state(order)
    if (packet === PACKET_ACKED && sent.path(order) === path.slot) from = Infinity
    if ((packet !== PACKET_SENT && packet !== PACKET_PROBED) || sent.path(order) !== path.slot) continue
    const behind = (recovery.largestAcked - sent.pathSequence(order)) | 0
    if (behind < 0) break
    const sentAt = sent.time(order)
    if (behind < threshold && sentAt + delay > now.mono) {
      recovery.lossAt = toInstant(sentAt + delay)
      break
    }
    const size = sent.size(order)
    // [Q] §14.4: the loss of a probe of the path MTU is no sign of congestion.
    if (noteSizeLost(state, path, now, order, size, sentAt)) {
      declareLost(state, order, path)
      continue
    }
    bytes += size
    newest = sentAt
    if (from === Infinity) from = sentAt
    stretch = Math.max(stretch, sentAt - from)
    declareLost(state, order, path)
    if (recovery.controller.onPacketLost === undefined) continue
    loss.now = now.mono
    recovery.rate.fillLoss(sent, loss, order)
    recovery.controller.onPacketLost(loss)
  }
  sent.advanceFirstSent()
  if (bytes === 0) return
  const persistent = recovery.rtt.hasSample && stretch > PERSISTENT_PTOS * recovery.rtt.pto(state.limits.maxAckDelay)
  recovery.controller.onLost(now.mono, bytes, toInstant(newest), persistent)
  if (persistent) recovery.rtt.forgetMin()
}

/** Takes a packet out of flight and puts its frames up for sending again, unless a probe timeout did that before. */
function declareLost(state: SessionState, order: number, path: SessionPath | undefined): void {
  const sent = state.sent
  const probed = sent.state(order) === PACKET_PROBED
  sent.setState(order, PACKET_LOST)
  if (path !== undefined) {
    path.recovery.onSettled(sent.size(order))
    path.recovery.packetsLost++
    path.recovery.rate.onLost(sent.size(order))
  }
  state.host.counters.add(counter.packets_lost)
  framesLost(state, order, probed ? LOST_AFTER_PROBE : LOST)
}

/**
 * A probe timeout ([QR] §6.2.4). What the oldest packets carry goes out again and may go beyond the window. They stay in
 * flight: whether they are lost, and what that says of the network, is decided when something is acknowledged.
 */
export function onProbeTimeout(state: SessionState, now: Instant, path: SessionPath): void {
  const recovery = path.recovery
  recovery.ptoCount++
  recovery.lastElicitingAt = now
  if (path !== state.active) {
    // An old path gets no probes: what it carried goes out again on the path in use.
    abandonFlight(state, path)
    return
  }
  if (path.reliable) {
    // Nothing need go again: a bare PING asks for the acknowledgements, which may have taken a path that is dead.
    state.host.counters.add('probes_sent')
    state.probes = 1
    return
  }
  state.host.counters.add('probes_sent', PROBES)
  state.probes = PROBES
  // What is acknowledged nowhere may come from another address than the peer knows: a bare PING alone would not make it follow.
  state.pathShows = Math.max(state.pathShows, PROBES)
  const sent = state.sent
  let left = PROBES
  for (let order = sent.firstSent; order < sent.next && left > 0; order++) {
    if (sent.state(order) !== PACKET_SENT || sent.path(order) !== path.slot) continue
    sent.setState(order, PACKET_PROBED)
    framesLost(state, order, PROBED)
    left--
  }
}

/** The path is left: what is in flight on it goes out again elsewhere, and it is not the new path's congestion. */
export function abandonFlight(state: SessionState, path: SessionPath): void {
  const sent = state.sent
  for (let order = sent.firstSent; order < sent.next && path.recovery.outstanding > 0; order++) {
    if (sent.inFlight(order) && sent.path(order) === path.slot) declareLost(state, order, path)
  }
  path.recovery.lossAt = never
  path.recovery.settleSilence()
  sent.advanceFirstSent()
}

/** The keys are gone: what was sent under them and not acknowledged will not be (no congestion event, WIRE.md §3.11). */
export function giveUpKeys(state: SessionState, keys: Keys): void {
  const sent = state.sent
  const last = Math.min(keys.orderBase + keys.sendCounter, sent.next)
  for (let order = Math.max(sent.firstSent, keys.orderBase); order < last; order++) {
    if (sent.inFlight(order)) declareLost(state, order, state.paths[sent.path(order)])
  }
  for (const path of state.paths) path?.recovery.settleSilence()
  sent.advanceFirstSent()
}

/**
 * Makes a slot for one more packet. Mere ACKs are not held back by a full table, so when the oldest packet in flight has been
 * overtaken by thousands of them it is taken for lost.
 */
export function makeSlot(state: SessionState): void {
  const sent = state.sent
  while (sent.full) {
    if (sent.firstSent < sent.next && sent.inFlight(sent.firstSent)) {
      const path = state.paths[sent.path(sent.firstSent)]
      declareLost(state, sent.firstSent, path)
      path?.recovery.settleSilence()
    }
    sent.advanceFirstSent()
    sent.advanceBase(never)
  }
}

function framesLost(state: SessionState, order: number, loss: Loss): void {
  const sent = state.sent
  const count = sent.frameCount(order)
  for (let k = 0; k < count; k++) {
    const at = sent.frameAt(order, k)
    const frames = sent.frames
    const kind = frames[at]! & RECORD_KIND_MASK
    if (kind === RECORD_RUN || kind === RECORD_FRAGMENT || kind === RECORD_SKIP) messageLost(state, frames[at]!, at, loss)
    else if (loss === LOST_AFTER_PROBE) continue
    else if (kind === RECORD_MAX_DATA) state.maxDataWanted = true
    else if (kind === RECORD_CANDIDATES) state.candidatesWanted ||= frames[at + 1] === state.host.candidates.generation
    else if (kind === RECORD_PRESENCE) state.presenceWanted ||= frames[at + 1] === state.host.presenceFor(state.peer)?.epoch
    else if (kind === RECORD_PAIR && state.pairing !== undefined) state.pairing.wanted |= 1 << frames[at + 1]!
    else if (kind === RECORD_BLOCKED) state.blockedWanted = state.blockedAt === state.sendLimit
    else if (kind === RECORD_OBSERVED) {
      const path = state.paths[frames[at + 1]!]
      if (path !== undefined) path.observedWanted = true
    } else if (kind === RECORD_HANDSHAKE) state.rekeying?.lost(frames[at + 1]!, frames[at + 3]!)
    else channelFrameLost(state, kind, at)
  }
}

/** What is repeated goes out again, at a probe already; what is not was lost only when its packet is. */
function messageLost(state: SessionState, kind: number, at: number, loss: Loss): void {
  const frames = state.sent.frames
  const channel = state.channelById(frames[at + 1]!)
  if (channel === undefined || channel.state === 'closed' || loss === (channel.mode === MODE_UNRELIABLE ? PROBED : LOST_AFTER_PROBE)) return
  const queue = channel.queueOf(kind)
  const record = kind & RECORD_KIND_MASK
  if (record === RECORD_RUN) queue.onLostRun(frames[at + 2]!, frames[at + 3]!)
  else if (record === RECORD_FRAGMENT) queue.onLostFragment(frames[at + 2]!, frames[at + 3]!, frames[at + 4]!)
  else queue.onLostSkip(frames[at + 2]!)
  if (channel.mode !== MODE_UNRELIABLE) state.host.counters.add(counter.frames_retransmitted, record === RECORD_RUN ? frames[at + 3] : 1)
  noteTimed(state, queue)
  wantData(state, channel)
  if (queue.released === 0) return
  settleQueue(state, channel)
  if (channel.state === 'closing' && channel.queuedMessages === 0) tryFinish(state, channel)
}

function channelFrameLost(state: SessionState, kind: number, at: number): void {
  const frames = state.sent.frames
  const channel = state.channelById(frames[at + 1]!)
  if (channel === undefined) return
  switch (kind) {
    case RECORD_OPEN:
      channel.openWanted = !channel.openAcked
      break
    case RECORD_ACCEPT:
      channel.acceptWanted = channel.state === 'open' || channel.state === 'closing'
      break
    case RECORD_CLOSE:
      channel.closeWanted = !channel.closeAcked && frames[at + 3] === channel.closeVersion
      break
    case RECORD_MAX_CHANNEL_DATA:
      channel.maxDataWanted = channel.state !== 'closed'
      break
    case RECORD_CHANNEL_BLOCKED:
      channel.blockedWanted = channel.blockedAt === channel.sendLimit
      break
    default:
      return
  }
  wantControl(state, channel)
}
