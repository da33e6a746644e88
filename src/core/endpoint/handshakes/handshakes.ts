import { equalBytes, readU32, toHex } from '../../base/bytes.ts'
import { ADDRESS_SIZE } from '../../base/address.ts'
import { isReliable, type EndReason, type LinkId } from '../../base/domain.ts'
import { millisecond, type Instant, type Now } from '../../base/time.ts'
import type { PeerLimits } from '../../connection/config.ts'
import type { Connection } from '../../connection/connection.ts'
import { dialedOnly, dialedOthers, dialRtt, onCookie, quietDial } from '../../connection/dialing/dial.ts'
import type { LinkFacts } from '../../connection/host.ts'
import { Keys } from '../../connection/keys/keys.ts'
import type { HandshakeSource } from '../../connection/paths/reach.ts'
import { CookieJar } from '../../session/cookie-jar.ts'
import { Initiation } from '../../session/initiation.ts'
import { inviteProof, inviteTokenId, resetToken } from '../../session/macs.ts'
import type { SplitKeys } from '../../session/noise.ts'
import { builtSuiteMask, strongerInBoth, suiteMask, suiteOf, type Suite } from '../../session/suites.ts'
import { laterStamp } from '../../session/tai64n.ts'
import { MESSAGE_B, MESSAGE_C, type HandshakeFragment } from '../../wire/handshake-fragment.ts'
import { capabilities, type HandshakePayload, type InviteProof, type Limits } from '../../wire/handshake-payload.ts'
import type { HalfOpen } from './half-open.ts'
import type { HandshakeService, Node } from '../node.ts'
import type { PeerEntry } from '../roster.ts'
import type { XxAnswer, XxDial } from './xx-entries.ts'

const NO_SID = new Uint8Array(8)
/** A peer's max_ack_delay counts up to this: it stretches our probe timeouts, and with them how long a closed session is kept. */
const ACK_DELAY_MAX_MS = 1000
const SUITE: Suite = suiteOf(1)!

/** What we tell a peer we will take. */
export function ownLimits(node: Node): Limits {
  const { maxData, maxChannelData, maxMessage, maxChannels, maxAckDelay, maxDatagram, idleKeep } = node.config
  return {
    maxData, maxChannelData, maxMessage, maxChannels, maxAckDelayMs: Math.ceil(maxAckDelay / millisecond), maxDatagram,
    idleKeepS: Math.ceil(idleKeep / 1_000_000),
  }
}

export function peerLimits(limits: Limits): PeerLimits {
  const { maxData, maxChannelData, maxMessage, maxChannels, maxDatagram } = limits
  return { maxData, maxChannelData, maxMessage, maxChannels, maxDatagram, maxAckDelay: Math.min(limits.maxAckDelayMs, ACK_DELAY_MAX_MS) * millisecond }
}

/** The initiator's half of handshakes, and what both halves share: turning a finished handshake into keys of a session. */
export class Handshakes implements HandshakeService {
  readonly #node: Node
  readonly cookies: CookieJar = new CookieJar()
  /** What the last peer takes. */
  #limits: PeerLimits | undefined
  /** The responder's half: it forgets what it prepared when a session came up another way, or ended. */
  responder: {
    established(peer: PeerEntry): void
    ended(peer: PeerEntry): void
    sidFor(id: Uint8Array): Uint8Array | undefined
    linkClosed(link: LinkId): void
    onConfirmation(now: Now, answer: XxAnswer, fragment: HandshakeFragment, link: LinkId, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): void
  } | undefined
  /** The initiator's half of XX. */
  dialer: {
    onResponse(now: Now, dial: XxDial, fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): void
    onRepeatedResponse(now: Now, index: number): void
  } | undefined

  constructor(node: Node) {
    this.#node = node
  }

  beginInitiation(now: Now, peer: PeerEntry): Initiation | undefined {
    const node = this.#node
    const connection = peer.connection
    if (connection === undefined || node.shuttingDown) return undefined
    const stamp = node.roster.nextStamp(peer, now.wall)
    node.roster.note(peer, { lastSent: stamp })
    const index = node.index.draw()
    const initiation = new Initiation({
      provider: node.provider, identity: node.identity, suite: SUITE, responderId: peer.id, responderStatic: peer.staticKey,
      cookies: this.cookies,
      payload: { ...this.payload(index, stamp, connection.state.sidSelf, connection.state.sidPeer ?? NO_SID), invite: this.inviteFor(now, peer, stamp) },
    })
    node.index.set(index, { kind: 'initiation', initiation, connection })
    return initiation
  }

  endInitiation(initiation: Initiation): void {
    const entry = this.#node.index.get(initiation.localIndex)
    // After success the index names the keys: it stays.
    if (entry?.kind === 'initiation') this.#node.index.remove(0 as Instant, initiation.localIndex, false)
  }

  sessionEnded(peer: PeerEntry): void {
    this.responder?.ended(peer)
  }

  answeredSid(id: Uint8Array): Uint8Array | undefined {
    return this.responder?.sidFor(id)
  }

  /** The payload of A or B, without an invite. */
  payload(index: number, stamp: Uint8Array, sidSelf: Uint8Array, sidPeer: Uint8Array, suite: Suite = SUITE): Omit<HandshakePayload, 'id'> {
    const node = this.#node
    return {
      status: 0, suites: suite.family === 'IK' ? suiteMask([SUITE]) : builtSuiteMask, caps: capabilities.birthdayPunch, index, sidSelf, sidPeer, tai64n: stamp, limits: ownLimits(node), invite: undefined, extensions: [],
      resetToken: resetToken(node.provider, node.resetKey, index),
    }
  }

  /** Proof of the invite by which we joined this peer, while it lasts. */
  inviteFor(now: Now, peer: PeerEntry, stamp: Uint8Array): InviteProof | undefined {
    const held = peer.record.invite
    if (held === undefined || held.expires <= now.wall) return undefined
    const { provider, identity } = this.#node
    return { tokenId: inviteTokenId(provider, held.token), proof: inviteProof(provider, held.token, identity.id, peer.id, stamp) }
  }

  /** A fragment that is no A: of a B for one of our initiations, or of a C for one of our answers. */
  onAnswer(now: Now, fragment: HandshakeFragment, link: LinkId, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    const node = this.#node
    const entry = node.index.get(fragment.receiverIndex)
    if (entry?.kind === 'xx-dial' && fragment.message === MESSAGE_B && fragment.suite === entry.initiation.suite.number && link === entry.link) {
      this.dialer?.onResponse(now, entry, fragment, bytes, offset, length)
      return
    }
    if (entry?.kind === 'xx-answer' && fragment.message === MESSAGE_C && fragment.suite === entry.response.suite.number) {
      this.responder?.onConfirmation(now, entry, fragment, link, address, bytes, offset, length)
      return
    }
    if (entry?.kind === 'keys' && fragment.message === MESSAGE_B) this.dialer?.onRepeatedResponse(now, fragment.receiverIndex)
    if (entry?.kind !== 'initiation' || fragment.message !== MESSAGE_B || fragment.suite !== entry.initiation.suite.number) {
      node.counters.add('drop_unknown_index')
      return
    }
    const result = entry.initiation.readResponse(fragment, bytes, offset, length)
    switch (result.kind) {
      case 'accepted':
        this.#onAccepted(now, entry.connection, entry.initiation, result.keys, result.payload, result.remoteIndex, link, address)
        return
      case 'refused':
        this.#onRefused(now, entry.connection, result.status)
        return
      case 'incomplete':
        return
      default: {
        const counter = { duplicate: 'drop_reassembly', mac1: 'drop_mac1', digest: 'drop_malformed_handshake', noise: 'drop_handshake_noise' } as const
        node.counters.add(counter[result.kind])
      }
    }
  }

  onCookie(now: Now, address: Uint8Array, bytes: Uint8Array, offset: number): void {
    const node = this.#node
    const entry = node.index.get(readU32(bytes, offset + 4))
    if (entry?.kind !== 'initiation' || !onCookie(entry.connection.state, now, address, bytes, offset)) node.counters.add('drop_cookie')
    else node.reschedule(entry.connection)
  }

  /** B is authentic, but it refuses or contradicts its A: the attempt is over. */
  #onRefused(now: Now, connection: Connection, status: number): void {
    const node = this.#node
    const peer = node.roster.get(connection.state.peer)
    node.counters.add('handshakes_refused')
    quietDial(connection.state, now)
    node.reschedule(connection)
    if (peer !== undefined && !connection.reachable) node.tellPeer(now, peer, 'unreachable', status === 2 ? 'not_admitted' : status === 1 ? 'busy' : status === 3 ? 'suite' : 'refused')
  }

  #onAccepted(now: Now, dialing: Connection, initiation: Initiation, split: SplitKeys, payload: HandshakePayload, remoteIndex: number, link: LinkId, address: Uint8Array): void {
    const node = this.#node
    const peer = node.roster.get(dialing.state.peer)
    const dial = dialing.state.dial
    if (peer?.connection !== dialing || dial === undefined || !equalBytes(payload.sidPeer, dialing.state.sidSelf)) {
      this.#onRefused(now, dialing, -1)
      return
    }
    if (strongerInBoth(initiation.suite, builtSuiteMask, payload.suites) !== undefined) {
      this.#onRefused(now, dialing, 3)
      return
    }
    const same = dialing.state.sidPeer === undefined || equalBytes(dialing.state.sidPeer, payload.sidSelf)
    if (!same && dialing.state.restricted) {
      this.#onRefused(now, dialing, -1)
      return
    }
    const source: HandshakeSource = { link, address, validated: isReliable(node.link(link)?.kind) || dialedOnly(dial, address), rtt: dialRtt(dial, now.mono, link, address), others: dialedOthers(dial, address) }
    const keys = this.makeKeys(now, initiation.localIndex, remoteIndex, split, true, peer.lower, payload.resetToken)
    const connection = same ? dialing : this.#succeed(now, peer, dialing, dialing.state.sidSelf)
    node.roster.note(peer, { greatest: laterStamp(peer.record.greatest, payload.tai64n) })
    node.index.set(initiation.localIndex, { kind: 'keys', keys, connection })
    this.#install(now, peer, connection, keys, payload, source, same ? undefined : 'peer_restarted')
  }

  /** The keys of a finished handshake, in the provider's slots. */
  makeKeys(now: Now, localIndex: number, remoteIndex: number, split: SplitKeys, initiator: boolean, lowerInitiated: boolean, remoteResetToken: Uint8Array, rekey = false): Keys {
    const node = this.#node
    const keys = new Keys({
      localIndex, remoteIndex, initiator, lowerInitiated, rekey, now: now.mono, remoteResetToken, jitter: node.randomUnit(),
      seal: node.provider.addKey(initiator ? split.initiatorKey : split.responderKey),
      open: node.provider.addKey(initiator ? split.responderKey : split.initiatorKey),
    })
    split.initiatorKey.fill(0)
    split.responderKey.fill(0)
    return keys
  }

  /** The first datagram under a half-open's keys authenticated: only now is A acted on (WIRE.md §3.8). Undefined when it may not be any more. */
  confirm(now: Now, half: HalfOpen, link: LinkId, address: Uint8Array, addressOffset: number): Connection | undefined {
    const node = this.#node
    const peer = node.shuttingDown ? undefined : node.roster.ensure(half.payload.id, now.wall)
    if (peer === undefined) return undefined
    const existing = peer.connection
    const live = existing?.state.sidPeer
    const same = existing !== undefined && live !== undefined && equalBytes(live, half.payload.sidSelf) && equalBytes(existing.state.sidSelf, half.sidSelf)
    // A late confirmation of the live session only brings older keys, but one of another session would end the live one.
    if (!same && !node.roster.isFresh(peer, half.payload.tai64n)) return undefined
    if (!this.#admit(now, peer, half, same)) {
      node.roster.release(peer)
      return undefined
    }
    node.roster.note(peer, { greatest: laterStamp(peer.record.greatest, half.payload.tai64n), lastSent: laterStamp(peer.record.lastSent, half.stamp) })
    const connection = existing === undefined ? this.#begin(now, peer, half.sidSelf)
      : same || live === undefined ? existing : this.#succeed(now, peer, existing, half.sidSelf)
    // A session that was only being dialed takes the name under which the peer was answered.
    connection.state.sidSelf = half.sidSelf
    peer.sidSelf = half.sidSelf
    node.index.set(half.keys.localIndex, { kind: 'keys', keys: half.keys, connection })
    this.#install(now, peer, connection, half.keys, half.payload, this.#sourceOf(now, half, link, address, addressOffset), connection === existing || existing === undefined ? undefined : 'peer_restarted')
    return connection
  }

  /** Roster peers and strangers where they are welcome come in; others spend the invite that admitted them, once more checked. */
  #admit(now: Now, peer: PeerEntry, half: HalfOpen, same: boolean): boolean {
    const node = this.#node
    if (peer.inRoster) return true
    const invite = half.inviteKey === undefined ? undefined : node.roster.spendInvite(peer, half.inviteKey)
    // Who compares a code has one session for that: another one would be free of it.
    const welcome = same || peer.connection?.state.restricted === false
    if (invite === undefined) return node.config.admitStrangers || welcome || (half.pairing === true && node.pairing.hasRoom(now, false, half.address, peer.handle))
    node.roster.add(peer, { name: invite.name }, [])
    node.push({ kind: 'peer-joined', peer: peer.handle, invite: inviteTokenId(node.provider, invite.token) })
    return true
  }

  /** C was sent: the session with whom B named has these keys, and continues if it lives here. `anybody`: nobody in particular was dialed. */
  complete(now: Now, peer: PeerEntry, link: LinkId, localIndex: number, remoteIndex: number, split: SplitKeys, payload: HandshakePayload, sidSelf: Uint8Array, anybody: boolean): Keys {
    const node = this.#node
    const { h } = split
    const keys = this.makeKeys(now, localIndex, remoteIndex, split, true, peer.lower, payload.resetToken)
    node.roster.note(peer, { greatest: laterStamp(peer.record.greatest, payload.tai64n) })
    peer.sidSelf = sidSelf
    const connection = peer.connection ?? node.createSession(now, peer)
    connection.state.sidSelf = sidSelf
    node.takeOfferedSid(sidSelf)
    node.index.set(localIndex, { kind: 'keys', keys, connection })
    node.links.claimFor(link, connection)
    const address = node.links.get(link)!.info.remote!
    const fresh = connection.state.phase === 'dialing' && node.pairing.isOpen(now)
    this.#install(now, peer, connection, keys, payload, { link, address, validated: true, rtt: undefined, others: [] }, undefined)
    if (fresh && !peer.inRoster) node.pairing.begin(now, connection, h, true, address)
    // Who holds an invite of theirs is let in by it.
    else if (fresh && anybody && peer.record.invite === undefined) node.pairing.beginAgain(now, connection, h, true, address)
    return keys
  }

  #sourceOf(now: Now, half: HalfOpen, link: LinkId, address: Uint8Array, addressOffset: number): HandshakeSource {
    const from = address.slice(addressOffset, addressOffset + ADDRESS_SIZE)
    const sameSource = half.link === link && equalBytes(half.address, from)
    return {
      link, address: from, validated: isReliable(this.#node.link(link)?.kind) || (sameSource && (half.single || half.validated)),
      // With B sent more than once it is unknown which copy was answered (Karn).
      rtt: half.answers <= half.datagrams.length ? now.mono - half.createdAt : undefined,
      others: sameSource || isReliable(this.#node.link(half.link)?.kind) ? [] : [{ link: half.link, address: half.address }],
    }
  }

  #begin(now: Now, peer: PeerEntry, sidSelf: Uint8Array): Connection {
    peer.sidSelf = sidSelf
    return this.#node.createSession(now, peer)
  }

  /** Other session ids than those of the live pair: the peer has begun a new session, and the old one ends. */
  #succeed(now: Now, peer: PeerEntry, connection: Connection, sidSelf: Uint8Array): Connection {
    this.#node.counters.add('sessions_restarted')
    connection.replace(now, 'peer_restarted')
    return this.#begin(now, peer, sidSelf)
  }

  /** Peers of one kind say the same: the object is shared. */
  #limitsOf(said: Limits): PeerLimits {
    const limits = peerLimits(said)
    if (this.#limits === undefined || !sameLimits(this.#limits, limits)) this.#limits = limits
    return this.#limits
  }

  #install(now: Now, peer: PeerEntry, connection: Connection, keys: Keys, payload: HandshakePayload, source: HandshakeSource, reason: EndReason | undefined): void {
    const node = this.#node
    const first = connection.state.sidPeer === undefined
    node.counters.add('handshakes_completed')
    if (first) {
      node.counters.add('sessions_opened')
      if (peer.inRoster) node.roster.note(peer, { connectedAt: now.wall, hadSession: true })
    }
    // An address that proved nothing may be a racer's: it is remembered when it is validated.
    if (source.validated && isDialable(node.link(source.link))) node.roster.noteAddress(peer, source.address)
    connection.state.peerPunches = (payload.caps & capabilities.birthdayPunch) !== 0
    connection.install(now, keys, payload.sidSelf, this.#limitsOf(payload.limits), source, reason)
    node.reschedule(connection)
    this.responder?.established(peer)
  }
}

function sameLimits(a: PeerLimits, b: PeerLimits): boolean {
  return a.maxData === b.maxData && a.maxChannelData === b.maxChannelData && a.maxMessage === b.maxMessage && a.maxChannels === b.maxChannels
    && a.maxAckDelay === b.maxAckDelay && a.maxDatagram === b.maxDatagram
}

export function sourceKeyOf(kind: string, address: Uint8Array, offset: number): string {
  return `${kind}/${toHex(address.subarray(offset, offset + ADDRESS_SIZE))}`
}

/** Whether the peer can be reached again at the far end of this link. */
function isDialable(link: LinkFacts | undefined): boolean {
  return link !== undefined && link.kind !== 'ble' && (link.dialed || !isReliable(link.kind))
}
