import type { EndReason, LinkId, Overflow, SendResult } from '../base/domain.ts'
import { after, millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import type { AeadBatch } from '../crypto/aead-batch.ts'
import { closeCodes, closeReason, type CloseReason } from '../wire/frame.ts'
import { detectLoss, onProbeTimeout } from './acks.ts'
import { acceptChannel, closeChannel, endAllChannels, onChannelTimer, openChannel, rejectChannel, resumeDelivery, type LocalChannelOptions } from './channels.ts'
import type { Channel } from './channel.ts'
import type { PeerLimits } from './config.ts'
import { beginDial, endDial, onDialTimer } from './dial.ts'
import { consumed } from './flow-control.ts'
import type { ReadyMember } from './host.ts'
import { FAILED_OPENS_MAX, type Keys } from './keys.ts'
import { installKeys, onWipeTimer, scheduleKeys, wipeAllKeys, wipeKeys } from './key-slots.ts'
import { READ_ACK_NOW, READ_APP, READ_CLOSED, READ_ELICITING, READ_INCOMPLETE, READ_USES_PATH, readFrames, remoteClose } from './packet-reader.ts'
import { writeBurst, writeCloseDatagram, type BurstSink } from './packet-writer.ts'
import { addPath, checkLiveness, dropLink, findPath, forgetPath, nextLivenessCheck, nextPathTimeout, onPathTimer, onPathUsed, refillResponses, switchTo } from './paths.ts'
import { sendMessage } from './send.ts'
import { PINGS_MAX, type SessionState } from './state.ts'
import { timer } from './timers.ts'

/** Every second ack-eliciting packet is acknowledged at once (WIRE.md §6). */
const ACK_EVERY = 2
const KEEP_ALIVE_JITTER = 0.1
/** A session without traffic for this long gives its rings and blocks back. */
const QUIET_TIME: Duration = 5 * second
const CLOSING_PTOS = 3
/** Deadline of the `idle` timer of a session that is already as small as it gets: set, and never due. */
const PARKED: Instant = toInstant(Number.MAX_VALUE)

/** Where a handshake's confirming datagram or its B came from, and what that proves. */
export interface HandshakeSource {
  readonly link: LinkId
  readonly address: Uint8Array
  /** The handshake used this one address only, or its mac2 verified there. */
  readonly validated: boolean
  readonly rtt: Duration | undefined
  /** Where else this handshake went or came from: used if this address turns out to be nobody's. */
  readonly others: readonly { readonly link: LinkId; readonly address: Uint8Array }[]
}

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

  /** Whether messages can get through now. */
  get reachable(): boolean {
    return this.state.phase === 'open' && this.state.active !== undefined && this.state.current !== undefined
  }

  // ── handshakes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Tries to reach the peer at these addresses. False when there is no usable one. */
  dial(now: Now, addresses: readonly Uint8Array[]): boolean {
    return beginDial(this.state, now, addresses, false)
  }

  /** A handshake was confirmed: its keys are used from now on. `reason` says why a new session took an old one's place. */
  install(now: Now, keys: Keys, sidPeer: Uint8Array, limits: PeerLimits, source: HandshakeSource, reason: EndReason | undefined): void {
    const state = this.state
    const first = state.phase === 'dialing'
    if (first) {
      state.phase = 'open'
      state.openedAt = now.mono
      state.sidPeer = sidPeer
      state.limits = limits
      state.sendLimit = limits.maxData
    }
    installKeys(state, now, keys)
    endDial(state)
    this.#useSource(now, source)
    state.lastReceivedAt = now.mono
    if (keys.initiator) state.pingWanted = true
    if (first) state.host.sessionChanged(now, state.peer, reason)
    this.update(now)
  }

  #useSource(now: Now, source: HandshakeSource): void {
    const state = this.state
    const path = findPath(state, source.link, source.address, 0) ?? addPath(state, source.link, source.address, 0)
    if (path === undefined) return
    if (source.rtt !== undefined && !path.recovery.rtt.hasSample) path.recovery.rtt.update(source.rtt, 0)
    if (source.validated) path.validation.validate()
    else for (const { link, address } of source.others) if (findPath(state, link, address, 0) === undefined) addPath(state, link, address, 0)
    // Both sides challenge in their first datagram: a raced copy from a false address never answers.
    if (!path.validation.pending) path.validation.begin()
    if (state.active === undefined) {
      const wasUnreachable = state.unreachableSince !== never
      switchTo(state, now, path, 'first')
      if (wasUnreachable) state.host.sessionChanged(now, state.peer, undefined)
    }
  }

  // ── datagrams ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram that authenticated under `keys` and is no replay; frames at `[offset, end)`. */
  onDatagram(now: Now, keys: Keys, counter: number, newest: boolean, link: LinkId, address: Uint8Array, addressOffset: number, offset: number, end: number): void {
    const state = this.state
    if (state.phase !== 'open') {
      state.host.counters.add('drop_closed')
      if (state.phase === 'closing') this.#repeatClose(now)
      return
    }
    const path = findPath(state, link, address, addressOffset) ?? addPath(state, link, address, addressOffset)
    if (path === undefined) return
    if (!path.validation.validated) path.validation.bytesReceived += end - offset + 29
    path.lastReceivedAt = now.mono
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
    if ((bits & READ_INCOMPLETE) !== 0) state.host.counters.add('drop_no_room')
    else this.#noteReceived(now, keys, counter, newest, bits)
    if (path !== state.active) onPathUsed(state, now, path, newest && (bits & READ_USES_PATH) !== 0)
  }

  #noteReceived(now: Now, keys: Keys, counter: number, newest: boolean, bits: number): void {
    const inOrder = keys.acks.insert(counter)
    if (newest) keys.largestAt = now.mono
    if ((bits & READ_ELICITING) === 0) return
    keys.ackPending++
    if (!inOrder || (bits & READ_ACK_NOW) !== 0) keys.ackNow = true
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
    const state = this.state
    for (const keys of [state.current, state.previous]) {
      if (keys === undefined || keys.ackPending === 0) continue
      if (keys.ackPending >= ACK_EVERY) keys.ackNow = true
      else if (!keys.ackNow) state.timers.setEarlier(timer.ack, after(now.mono, state.host.config.maxAckDelay))
    }
    refillResponses(state, now)
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
    if (timers.take(timer.ack, now.mono)) this.#ackNow()
    if (timers.take(timer.loss, now.mono)) this.#onLossTimer(now.mono)
    timers.take(timer.pace, now.mono)
    if (timers.take(timer.keepAlive, now.mono)) this.#onKeepAlive(now)
    if (timers.take(timer.path, now.mono)) onPathTimer(state, now)
    if (timers.take(timer.liveness, now.mono) && checkLiveness(state, now) === 'gone') this.#lostPaths(now)
    if (timers.take(timer.reassembly, now.mono)) this.#onReassemblyTimer(now.mono)
    if (timers.take(timer.channel, now.mono)) onChannelTimer(state, now)
    if (timers.take(timer.rekey, now.mono)) this.#onRekeyTimer(now)
    if (timers.take(timer.wipe, now.mono)) onWipeTimer(state, now)
    if (timers.take(timer.dial, now.mono)) onDialTimer(state, now)
    if (timers.take(timer.idle, now.mono)) this.#onIdleTimer(now)
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
    let loss = never
    for (const path of state.paths) {
      if (path === undefined) continue
      const at = path.recovery.timeout(state.limits.maxAckDelay)
      if (at < loss) loss = at
    }
    state.timers.set(timer.loss, loss)
    nextPathTimeout(state)
    nextLivenessCheck(state)
    this.#scheduleKeepAlive(now)
    // The keys wore out before a rekey got through: as good as no path, and the clock of the idle keep begins.
    if (state.current === undefined && (state.dial === undefined || state.dial.rekey)) this.#lostPaths(now)
    if (state.timers.get(timer.idle) === never) state.timers.set(timer.idle, after(now.mono, QUIET_TIME))
    state.host.markReady(this)
  }

  #scheduleKeepAlive(now: Now): void {
    const { keepAlive } = this.state.host.config
    const state = this.state
    if (keepAlive === 0 || state.active === undefined) {
      state.timers.clear(timer.keepAlive)
      return
    }
    if (state.timers.get(timer.keepAlive) !== never) return
    const jitter = 1 + KEEP_ALIVE_JITTER * (2 * state.host.randomUnit() - 1)
    state.timers.set(timer.keepAlive, after(now.mono, keepAlive * jitter))
  }

  /** Armed once per period, not per datagram: a path that was used meanwhile just gets the next period. */
  #onKeepAlive(now: Now): void {
    const state = this.state
    const { keepAlive } = state.host.config
    const last = Math.max(state.lastSentAt === never ? 0 : state.lastSentAt, state.openedAt)
    const quiet = now.mono - last
    if (quiet >= keepAlive * (1 - KEEP_ALIVE_JITTER)) state.pingWanted = true
    else state.timers.set(timer.keepAlive, after(now.mono, Math.max(keepAlive - quiet, millisecond)))
  }

  #ackNow(): void {
    for (const keys of [this.state.current, this.state.previous]) {
      if (keys !== undefined && keys.ackPending > 0) keys.ackNow = true
    }
  }

  #onLossTimer(now: Instant): void {
    const state = this.state
    for (const path of state.paths) {
      if (path === undefined || path.recovery.timeout(state.limits.maxAckDelay) > now) continue
      if (path.recovery.lossAt <= now) detectLoss(state, now, path)
      else onProbeTimeout(state, now, path)
    }
    state.sent.advanceBase(toInstant(now - 2 * state.pto()))
  }

  #onReassemblyTimer(now: Instant): void {
    let next = Infinity
    for (const channel of this.state.channels.values()) next = Math.min(next, channel.receiver.expire(now))
    this.state.timers.set(timer.reassembly, toInstant(next))
  }

  /** Until rekeying inside the session is built, a session whose keys are old makes a new outer handshake with its sids. */
  #onRekeyTimer(now: Now): void {
    const state = this.state
    if (state.phase === 'open' && state.dial === undefined && state.active !== undefined) beginDial(state, now, [state.active.address], true)
  }

  #onIdleTimer(now: Now): void {
    const state = this.state
    if (state.unreachableSince !== never && now.mono - state.unreachableSince >= state.host.config.idleKeep) {
      this.close(now, 'idle', 'no path')
      return
    }
    const last = Math.max(state.lastSentAt === never ? 0 : state.lastSentAt, state.lastReceivedAt === never ? 0 : state.lastReceivedAt)
    const quiet = now.mono - last >= QUIET_TIME && state.queuedMessages === 0
    if (quiet) {
      for (const channel of state.channels.values()) channel.queue.trim()
      state.sent.advanceBase(now.mono)
      state.sent.shrink()
    }
    // A quiet session with a path needs no further look: `update` arms the timer again with the next event.
    state.timers.set(timer.idle, quiet && state.unreachableSince === never ? PARKED : after(now.mono, QUIET_TIME))
  }

  /** No path is left: the session is kept, its queues too, and the peer is dialed. */
  #lostPaths(now: Now): void {
    const state = this.state
    const before = state.active
    const addresses: Uint8Array[] = []
    for (const path of state.paths) {
      if (path === undefined) continue
      addresses.push(path.address)
      forgetPath(state, path)
    }
    state.active = undefined
    if (state.unreachableSince === never) {
      state.unreachableSince = now.mono
      state.timers.set(timer.idle, after(now.mono, QUIET_TIME))
      if (before !== undefined) state.host.emit({ kind: 'path', peer: state.peer, from: before.address, to: undefined, link: before.kind, rtt: undefined, rule: 'black_hole' })
      state.host.sessionChanged(now, state.peer, 'timeout')
    }
    state.host.redial(now, state.peer, addresses)
  }

  // ── channels and messages ───────────────────────────────────────────────────────────────────────────────────────────────

  openChannel(now: Now, options: LocalChannelOptions): Channel | undefined {
    const channel = openChannel(this.state, options)
    this.update(now)
    return channel
  }

  acceptChannel(now: Now, channel: Channel, credit: number, consumer: number, overflow: Overflow): boolean {
    const accepted = acceptChannel(this.state, channel, credit, consumer, overflow)
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

  send(channel: Channel, bytes: Uint8Array, offset: number, length: number): SendResult {
    const result = sendMessage(this.state, channel, bytes, offset, length)
    if (!this.ready) this.state.host.markReady(this)
    return result
  }

  consume(now: Now, channel: Channel, cost: number): void {
    channel.receiver.credit += cost
    consumed(this.state, channel, cost)
    resumeDelivery(this.state, channel)
    this.update(now)
  }

  /** Asks for a PONG event with this token; false when too many wait. */
  ping(now: Now, token: number): boolean {
    const state = this.state
    if (state.phase !== 'open' || state.pings.length >= PINGS_MAX) return false
    state.pings.push({ token, order: -1, sentAt: now.mono })
    state.pingWanted = true
    this.update(now)
    return true
  }

  // ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Writes one burst; false when there is nothing that may go now. */
  transmit(now: Now, sink: BurstSink, seals: AeadBatch): boolean {
    const state = this.state
    if (state.phase === 'open') return writeBurst(state, now, sink, seals)
    if (state.phase !== 'closing' || state.closeWantedAt > now.mono) return false
    if (!writeCloseDatagram(state, now, sink, seals)) return false
    state.closeWantedAt = never
    return true
  }

  /** After bursts were written: their timers. */
  afterTransmit(now: Now): void {
    const state = this.state
    if (state.phase !== 'open') return
    let loss = never
    for (const path of state.paths) {
      if (path === undefined) continue
      const at = path.recovery.timeout(state.limits.maxAckDelay)
      if (at < loss) loss = at
    }
    state.timers.set(timer.loss, loss)
    if (state.keysChanged) scheduleKeys(state)
    nextPathTimeout(state)
    if (state.timers.get(timer.liveness) === never) nextLivenessCheck(state)
    if (state.timers.get(timer.idle) === PARKED) state.timers.set(timer.idle, after(now.mono, QUIET_TIME))
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

  /** Ends without a word: the peer is another session already. */
  replace(now: Now, reason: EndReason): void {
    this.#ended(now, reason)
  }

  dropLink(now: Now, link: LinkId): void {
    const state = this.state
    dropLink(state, now, link)
    if (state.phase === 'open' && state.active === undefined) this.#lostPaths(now)
    this.update(now)
  }

  #fail(now: Now): void {
    const state = this.state
    const reason = closeReason(state.failure!.code)
    if (reason === 'protocol' || reason === 'frame_encoding' || reason === 'flow_control' || reason === 'limit') state.host.counters.add(`close_${reason}`)
    const deadline = after(now.mono, CLOSING_PTOS * state.pto())
    state.phase = 'closing'
    endDial(state)
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

  #repeatClose(now: Now): void {
    const state = this.state
    if (state.closeWantedAt !== never) return
    state.closeWantedAt = after(now.mono, state.pto())
    state.host.markReady(this)
  }

  #ended(now: Now, reason: EndReason): void {
    const state = this.state
    const told = state.phase === 'closing'
    endDial(state)
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

