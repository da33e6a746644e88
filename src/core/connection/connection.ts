import type { EndReason, LinkId, Overflow, SendResult } from '../base/domain.ts'
import { after, never, toInstant, type Instant, type Now } from '../base/time.ts'
import type { AeadBatch } from '../crypto/aead-batch.ts'
import type { RefusalReason } from '../path/attempts.ts'
import { allows, type PathPolicy } from '../path/path-policy.ts'
import { closeCodes, closeReason, type CloseReason } from '../wire/frame.ts'
import { onCarrierTimer, onLinkDialed, onLinkDialFailed, onNearby, updateCarriers } from './dialing/carriers.ts'
import { acceptChannel, closeChannel, endAllChannels, endConsumer, onChannelTimer, openChannel, rejectChannel, resumeDelivery, type LocalChannelOptions } from './channels/channels.ts'
import type { Channel } from './channels/channel.ts'
import { ackNow, decideAcks, noteReceived } from './packets/ack-timing.ts'
import type { PeerLimits } from './config.ts'
import { beginDial, dropTarget, endDial, onDialTimer, onSocketOpened } from './dialing/dial.ts'
import { onDeadlineTimer } from './channels/deadlines.ts'
import { countDrops } from './channels/drops.ts'
import { consumedBy } from './packets/flow-control.ts'
import type { ReadyMember } from './host.ts'
import { onKeepAlive, scheduleKeepAlive, showPath } from './paths/keep-alive.ts'
import { FAILED_OPENS_MAX, REKEY_MESSAGES, type Keys } from './keys/keys.ts'
import { installKeys, onWipeTimer, scheduleKeys, wipeAllKeys, wipeKeys } from './keys/key-slots.ts'
import { checkLiveness, nextLivenessCheck } from './paths/liveness.ts'
import { detectLoss, onProbeTimeout } from './packets/loss.ts'
import { noteTooLarge } from './paths/mtu.ts'
import { TRANSPORT_OVERHEAD, type BurstSink } from './packets/packet.ts'
import { confirmNext, forgetExchanges, onRekeyTimer } from './keys/rekey.ts'
import { READ_ACK_NOW, READ_APP, READ_CLOSED, READ_ELICITING, READ_INCOMPLETE, READ_USES_PATH, readFrames, remoteClose } from './packets/packet-reader.ts'
import { wantsToSend, writeBurst, writeCloseDatagram } from './packets/packet-writer.ts'
import { addHeardPath, dropLink, findPath, isAsked, nextPathTimeout, noteAnswer, onPathTimer, onPathUsed } from './paths/paths.ts'
import { onProbeTimer, scheduleProbing } from './paths/probing.ts'
import { onPunchTimer, updatePunch } from './dialing/punch.ts'
import { applyPolicy, insist, isLeft, lostPaths, onRefused, useSource, type HandshakeSource } from './paths/reach.ts'
import type { SessionPath } from './paths/session-path.ts'
import { sendMessage, type OutgoingMessage } from './packets/send.ts'
import { park, unpark } from './paths/resting.ts'
import { PINGS_MAX, QUIET_TIME, type SessionState } from './state.ts'
import { timer } from './timers.ts'

const CLOSING_PTOS = 3
/** Counters that one burst takes at most, those it leaves out included. */
const LAST_BURST = 128

/**
 * One session with one peer: composes keys, paths, flow and channels (`SessionState`) and says in which order they act.
 * The endpoint calls it and keeps its deadline; nothing here calls the endpoint back except through the host's notes.
 */
export class Connection implements ReadyMember {
  readonly state: SessionState
  /** Stands in the endpoint's ring of sessions with something to send. */
  ready = false
  /** Datagrams came in this batch: {@link afterBatch} is due. */
  touched = false

  constructor(state: SessionState) {
    this.state = state
  }

  get slot(): number {
    return this.state.slot
  }

  nextTimeout(): Instant {
    return this.state.timers.next()
  }

  /** Whether what it waits for next is its pacer. */
  get waitsForPacer(): boolean {
    const { timers } = this.state
    return timers.get(timer.pace) === timers.next()
  }

  /** Whether messages can get through now. */
  get reachable(): boolean {
    return this.state.phase === 'open' && this.state.active !== undefined && this.state.current !== undefined
  }

  // ── handshakes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Tries to reach the peer at these addresses. False when there is no usable one. `meeting`: the peer dials us at the same time. */
  dial(now: Now, addresses: readonly Uint8Array[], meeting = false): boolean {
    return beginDial(this.state, now, addresses, false, meeting)
  }

  /** A handshake was confirmed: its keys are used from now on. `reason` says why a new session took an old one's place. */
  install(now: Now, keys: Keys, sidPeer: Uint8Array, limits: PeerLimits, source: HandshakeSource, reason: EndReason | undefined): void {
    const state = this.state
    const first = state.phase === 'dialing'
    if (first) {
      state.early = false
      state.phase = 'open'
      state.openedAt = now.mono
      state.sidPeer = sidPeer
      state.limits = limits
      state.sendLimit = limits.maxData
      state.presenceWanted = state.host.presenceFor(state.peer) !== undefined
    }
    forgetExchanges(state, now)
    installKeys(state, now, keys)
    endDial(state, now, source.link)
    useSource(state, now, source, keys.initiator)
    state.lastReceivedAt = now.mono
    if (keys.initiator) state.pingWanted = true
    noteAnswer(state, now, source.link, source.address)
    if (first) state.host.sessionChanged(now, state.peer, reason)
    this.update(now)
  }

  // ── datagrams ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram that authenticated under `keys` and is no replay; frames at `[offset, end)`. */
  onDatagram(now: Now, keys: Keys, number: number, newest: boolean, link: LinkId, address: Uint8Array, addressOffset: number, offset: number, end: number): void {
    const state = this.state
    if (state.phase !== 'open') {
      state.host.counters.add('drop_closed')
      if (state.phase === 'closing') this.#repeatClose(now)
      return
    }
    if (keys === state.next) confirmNext(state, now, keys)
    const path = findPath(state, link, address, addressOffset) ?? this.#newPath(now, link, address, addressOffset)
    if (path === undefined) return
    if (newest) path.heardAt = state.host.heardAt
    if (!path.validation.validated) path.validation.bytesReceived += end - offset + TRANSPORT_OVERHEAD
    state.lastReceivedAt = now.mono
    const bits = readFrames(state, now, keys, path, state.host.arena.bytes, offset, end)
    if ((bits & READ_CLOSED) !== 0) {
      this.#ended(now, closeReason(remoteClose.code))
      return
    }
    if ((bits & READ_APP) !== 0 && keys.dirtyAt === never) {
      keys.dirtyAt = now.mono
      state.keysChanged = true
    }
    if ((bits & READ_INCOMPLETE) !== 0) state.host.noteNoRoom(now)
    else noteReceived(now, keys, number, newest, (bits & READ_ELICITING) !== 0, (bits & READ_ACK_NOW) !== 0)
    if (path !== state.active) onPathUsed(state, now, path, newest && (bits & READ_USES_PATH) !== 0)
  }

  #newPath(now: Now, link: LinkId, address: Uint8Array, offset: number): SessionPath | undefined {
    const state = this.state
    const path = addHeardPath(state, now, link, address, offset)
    // Until the peer has answered on it, a connection counts among the strangers' and is closed after 10 s.
    if (path?.reliable === true) path.validation.begin()
    if (path !== undefined) return path
    const facts = state.host.link(link)
    const forbidden = facts !== undefined && !allows(state.policy, facts.kind)
    state.host.counters.add(facts === undefined ? 'drop_link_unknown' : forbidden ? 'drop_path_policy' : 'drop_path_limit')
    if (forbidden) insist(state, now)
    return undefined
  }

  /** A datagram for these keys did not authenticate. */
  onFailedOpen(now: Now, keys: Keys): void {
    keys.failedOpens++
    if (keys.failedOpens >= FAILED_OPENS_MAX) {
      wipeKeys(this.state, now, keys)
      this.update(now)
    }
  }

  /** All datagrams of a batch were read: decide about acknowledgements, then timers. */
  afterBatch(now: Now): void {
    if (this.state.phase === 'open') decideAcks(this.state, now)
    this.update(now)
  }

  // ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Everything that is due. Spurious calls change nothing. */
  handleTimeout(now: Now): void {
    const state = this.state
    const timers = state.timers
    if (timers.take(timer.closing, now.mono)) {
      this.#gone(now)
      return
    }
    if (timers.take(timer.ack, now.mono)) ackNow(state)
    if (timers.take(timer.loss, now.mono)) this.#onLossTimer(now)
    timers.take(timer.pace, now.mono)
    if (timers.take(timer.keepAlive, now.mono)) onKeepAlive(state, now)
    if (timers.take(timer.path, now.mono)) onPathTimer(state, now)
    if (isLeft(state, now.mono)) lostPaths(state, now, 'policy')
    if (timers.take(timer.liveness, now.mono) && checkLiveness(state, now) === 'gone') lostPaths(this.state, now)
    if (timers.take(timer.reassembly, now.mono)) this.#onReassemblyTimer(now.mono)
    if (timers.take(timer.channel, now.mono)) onChannelTimer(state, now)
    if (timers.take(timer.rekey, now.mono)) onRekeyTimer(state, now)
    if (timers.take(timer.wipe, now.mono)) onWipeTimer(state, now)
    if (timers.take(timer.dial, now.mono)) onDialTimer(state, now)
    if (timers.take(timer.carrier, now.mono)) onCarrierTimer(state, now)
    if (timers.take(timer.probe, now.mono)) onProbeTimer(state, now)
    if (timers.take(timer.punch, now.mono)) onPunchTimer(state, now)
    if (timers.take(timer.idle, now.mono)) this.#onIdleTimer(now)
    if (timers.take(timer.deadline, now.mono)) onDeadlineTimer(state, now)
    this.update(now)
  }

  /** Brings the timers up to date after any change; every public method that changes something ends with it. */
  update(now: Now): void {
    const state = this.state
    if (state.failure !== undefined && state.phase === 'open') this.#fail(now)
    if (state.phase !== 'open') {
      state.host.markReady(this)
      return
    }
    if (state.keysChanged) scheduleKeys(state)
    this.#setLossTimer()
    updateCarriers(state, now)
    nextPathTimeout(state, now)
    nextLivenessCheck(state)
    scheduleKeepAlive(state, now)
    scheduleProbing(state, now)
    updatePunch(state, now)
    // Keys that wore out before a rekey got through are as good as no path, and the clock of the idle keep begins.
    if ((state.current === undefined || (state.active === undefined && !isAsked(state))) && (state.dial === undefined || state.dial.rekey)) lostPaths(this.state, now)
    if (state.timers.get(timer.idle) === never && !state.parked) state.timers.set(timer.idle, after(now.mono, QUIET_TIME))
    state.host.markReady(this)
  }

  #setLossTimer(): void {
    const state = this.state
    let loss = never
    for (const path of state.paths) {
      if (path === undefined) continue
      const at = path.recovery.timeout(state.limits.maxAckDelay)
      if (at < loss) loss = at
    }
    state.timers.set(timer.loss, loss)
  }

  #onLossTimer(now: Now): void {
    const state = this.state
    for (const path of state.paths) {
      if (path === undefined || path.recovery.timeout(state.limits.maxAckDelay) > now.mono) continue
      if (path.recovery.lossAt <= now.mono) detectLoss(state, now, path)
      else onProbeTimeout(state, now.mono, path)
    }
    state.sent.advanceBase(toInstant(now.mono - 2 * state.pto()))
  }

  #onReassemblyTimer(now: Instant): void {
    let next = Infinity
    for (const channel of this.state.channels.values()) {
      next = Math.min(next, channel.receiver.expire(now))
      countDrops(this.state, channel)
    }
    this.state.timers.set(timer.reassembly, toInstant(next))
  }

  #onIdleTimer(now: Now): void {
    const state = this.state
    if (state.unreachableSince !== never && now.mono >= after(state.unreachableSince, state.host.config.idleKeep)) {
      this.close(now, 'idle', 'no path')
      return
    }
    const last = Math.max(state.lastSentAt === never ? 0 : state.lastSentAt, state.lastReceivedAt === never ? 0 : state.lastReceivedAt)
    const quiet = now.mono >= last + QUIET_TIME && state.queuedMessages === 0
    if (quiet) {
      for (const channel of state.channels.values()) {
        channel.trim()
      }
      state.sent.advanceBase(now.mono)
      state.sent.shrink()
    }
    // A quiet session with a path needs no further look until something is sent.
    if (quiet && state.unreachableSince === never) return park(state)
    // Looked at again when it can have become quiet: a whole period from now would be nearly twice the time.
    state.timers.set(timer.idle, toInstant(now.mono < last + QUIET_TIME ? last + QUIET_TIME : now.mono + QUIET_TIME))
  }

  // ── channels and messages ───────────────────────────────────────────────────────────────────────────────────────────────

  openChannel(now: Now, options: LocalChannelOptions): Channel | undefined {
    const channel = openChannel(this.state, now, options)
    this.update(now)
    return channel
  }

  acceptChannel(now: Now, channel: Channel, credit: number, consumer: number, overflow: Overflow): boolean {
    const accepted = acceptChannel(this.state, now, channel, credit, consumer, overflow)
    this.update(now)
    return accepted
  }

  rejectChannel(now: Now, channel: Channel, code: number, reason: string): void {
    rejectChannel(this.state, now, channel, code, reason)
    this.update(now)
  }

  closeChannel(now: Now, channel: Channel, abort: boolean, code: number, reason: string): void {
    closeChannel(this.state, now, channel, abort, code, reason)
    this.update(now)
  }

  holdChannel(now: Now, channel: Channel, held: boolean): void {
    channel.receiver.held = held
    if (held) return
    resumeDelivery(this.state, channel)
    this.update(now)
  }

  send(now: Now, channel: Channel, message: OutgoingMessage): SendResult {
    const result = sendMessage(this.state, now.mono, channel, message)
    if (!this.ready) this.state.host.markReady(this)
    return result
  }

  /** On the way of every message: no timer but those of what it causes to be sent can change. */
  consume(now: Now, channel: Channel, cost: number): void {
    channel.receiver.credit += cost
    consumedBy(this.state, channel, cost, now.mono)
    resumeDelivery(this.state, channel)
    if (!this.ready && wantsToSend(this.state)) this.state.host.markReady(this)
  }

  /** The consumer is gone, or never reads while memory is short. */
  endConsumer(now: Now, consumer: number): void {
    endConsumer(this.state, now, consumer)
    this.update(now)
  }

  /** Asks for a PONG event with this token; false when too many wait. */
  ping(now: Now, token: number): boolean {
    const state = this.state
    if (state.phase !== 'open' || state.pings.length >= PINGS_MAX) return false
    state.pings.push({ token, order: -1, sentAt: now.mono })
    showPath(state)
    this.update(now)
    return true
  }

  // ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Writes one burst; false when there is nothing that may go now. */
  transmit(now: Now, sink: BurstSink, seals: AeadBatch): boolean {
    const state = this.state
    if (state.phase === 'open') return this.#transmitOpen(now, sink, seals)
    if (state.phase !== 'closing' || state.closeWantedAt > now.mono) return false
    if (!writeCloseDatagram(state, now, sink, seals)) return false
    state.closeWantedAt = never
    state.closeSentAt = now.mono
    return true
  }

  #transmitOpen(now: Now, sink: BurstSink, seals: AeadBatch): boolean {
    const state = this.state
    if (state.current?.worn === true) this.#onWorn(now, state.current)
    if (state.parked && wantsToSend(state)) unpark(state, now)
    if (!writeBurst(state, now, sink, seals)) return false
    this.#setLossTimer()
    if (state.keysChanged) scheduleKeys(state)
    nextPathTimeout(state, now)
    if (state.timers.get(timer.liveness) === never) nextLivenessCheck(state)
    if (state.parked) unpark(state, now)
    return true
  }

  /** Used up, or nearly: a rekey is due at once; at the very end nothing more is sealed. */
  #onWorn(now: Now, keys: Keys): void {
    if (keys.sendCounter >= REKEY_MESSAGES - LAST_BURST) wipeKeys(this.state, now, keys)
    else if (this.state.rekeying?.pending === undefined) this.state.keysChanged = true
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Tells the peer and ends: for 3 PTO what still comes is answered with the same CLOSE. */
  close(now: Now, reason: CloseReason, text: string): void {
    if (this.state.phase === 'closing' || this.state.phase === 'closed') return
    if (this.state.phase === 'dialing') {
      this.#ended(now, reason)
      return
    }
    this.state.failure ??= { code: closeCodes[reason], frameType: 0, reason: text }
    this.#fail(now)
    this.state.host.markReady(this)
  }

  /** Whether a CLOSE is still to be sent. */
  get saysGoodbye(): boolean {
    return this.state.phase === 'closing' && this.state.closeSentAt === never
  }

  /** Ends without a word: the peer is another session already. */
  replace(now: Now, reason: EndReason): void {
    this.#ended(now, reason)
  }

  socketOpened(now: Now): void {
    onSocketOpened(this.state, now)
    this.update(now)
  }

  /** A connection that this session asked for is open, or was not to be had. */
  linkDialed(now: Now, token: number, link: LinkId): void {
    onLinkDialed(this.state, now, token, link)
    this.update(now)
  }

  linkDialFailed(now: Now, token: number, reason: RefusalReason): void {
    onLinkDialFailed(this.state, now, token, reason)
    this.update(now)
  }

  /** The system would not send to these addresses: 18 bytes by themselves as a string. Returns whether that concerns this session. */
  refused(now: Now, link: LinkId, addresses: ReadonlyMap<string, Uint8Array>, reason: RefusalReason): boolean {
    if (!onRefused(this.state, now, link, addresses, reason)) return false
    this.update(now)
    return true
  }

  /** The peer is at the far end of this connection, as a handshake there showed: one more way for the session. */
  adoptLink(now: Now, link: LinkId, address: Uint8Array): void {
    const path = findPath(this.state, link, address, 0) ?? addHeardPath(this.state, now, link, address, 0)
    path?.validation.begin()
    if (path === undefined) this.state.host.closeLink(link)
    this.update(now)
  }

  /** The peer came into range of the radio, or left it. */
  nearby(now: Now): void {
    onNearby(this.state, now)
    this.update(now)
  }

  setPolicy(now: Now, policy: PathPolicy): void {
    applyPolicy(this.state, now, policy)
    this.update(now)
  }

  /** What was refused is declared lost as anything is that does not arrive; from now on less is sent. */
  onTooLarge(now: Now, link: LinkId, length: number): void {
    for (const path of this.state.paths) if (path?.link === link) noteTooLarge(this.state, path, now, length)
  }

  dropLink(now: Now, link: LinkId): void {
    const state = this.state
    dropTarget(state, link)
    dropLink(state, now, link)
    if (state.phase === 'open' && state.active === undefined) lostPaths(this.state, now)
    this.update(now)
  }

  #fail(now: Now): void {
    const state = this.state
    const reason = closeReason(state.failure!.code)
    if (reason === 'protocol' || reason === 'frame_encoding' || reason === 'flow_control' || reason === 'limit') state.host.counters.add(`close_${reason}`)
    const deadline = after(now.mono, CLOSING_PTOS * state.pto())
    state.phase = 'closing'
    forgetExchanges(state, now)
    endDial(state, now)
    endAllChannels(state, state.failure!.code, reason)
    this.#failPings()
    state.timers.clearAll()
    state.host.sessionEnded(now, this.slot, reason)
    // Without keys or a path nobody can be told.
    if (state.current === undefined || state.active === undefined) {
      this.#gone(now)
      return
    }
    state.closeWantedAt = now.mono
    state.timers.set(timer.closing, deadline)
  }

  /** What still comes is answered with the same CLOSE, at most once per probe timeout (WIRE.md §5). */
  #repeatClose(now: Now): void {
    const state = this.state
    if (state.closeWantedAt !== never) return
    state.closeWantedAt = toInstant(Math.max(now.mono, state.closeSentAt + state.pto()))
    state.timers.set(timer.pace, state.closeWantedAt)
  }

  #ended(now: Now, reason: EndReason): void {
    const state = this.state
    if (state.phase === 'closed') return
    const told = state.phase === 'closing'
    // Nothing that is told from here on finds a session that could still be used.
    state.phase = 'closing'
    forgetExchanges(state, now)
    endDial(state, now)
    endAllChannels(state, 0, reason)
    this.#failPings()
    if (!told) state.host.sessionEnded(now, this.slot, reason)
    this.#gone(now)
  }

  #failPings(): void {
    for (const ping of this.state.pings.splice(0)) this.state.host.emit({ kind: 'pong', token: ping.token, peer: this.state.peer, rtt: undefined })
  }

  #gone(now: Now): void {
    const state = this.state
    if (state.phase === 'closed') return
    state.phase = 'closed'
    wipeAllKeys(state, now)
    state.timers.clearAll()
    state.active = undefined
    state.host.sessionGone(this.slot)
  }
}
