import { equalBytes } from '../../base/bytes.ts'
import type { LinkId, PeerHandle } from '../../base/domain.ts'
import { after, millisecond, never, second, type Duration, type Instant, type Now } from '../../base/time.ts'
import { OPEN_KEY } from '../../session/macs.ts'
import { xxBinding } from '../../session/xx-binding.ts'
import { builtSuiteMask, strongerInBoth, suiteOf } from '../../session/suites.ts'
import { XxInitiation, type XxFault, type XxNode } from '../../session/xx.ts'
import type { HandshakeFragment } from '../../wire/handshake-fragment.ts'
import type { HandshakePayload } from '../../wire/handshake-payload.ts'
import { connectPeer } from '../connect.ts'
import type { LinkRefusal } from '../contract.ts'
import type { Handshakes } from './handshakes.ts'
import type { Link } from '../links.ts'
import { earliest, type Node } from '../node.ts'
import type { PeerEntry } from '../roster.ts'
import type { XxDial, XxService } from './xx-entries.ts'

const SUITE = suiteOf(2)!
/** Handshakes that may be under way; one more is refused. A radio has fewer links. */
const DIALS_MAX = 16
/** WIRE.md §3.7: a connection repeats by itself, so only a fresh A after 5 s, and an end after 10. */
const ATTEMPT_TIME: Duration = 5 * second
const DIAL_TIME: Duration = 10 * second
/** C is repeated until something of the responder opens. */
const CONFIRM_TIMES: readonly Duration[] = [500 * millisecond, 1500 * millisecond, 3500 * millisecond]
const REPEAT_PAUSE: Duration = 200 * millisecond

/** The initiator's half of XX: whom is at the other end of a connection (WIRE.md §3.8). */
export class XxDialer implements XxService {
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #xx: XxNode
  readonly #dials = new Map<LinkId, XxDial>()

  constructor(node: Node, handshakes: Handshakes) {
    this.#node = node
    this.#handshakes = handshakes
    this.#xx = { provider: node.provider, identity: node.identity, x25519Of: (id) => node.roster.find(id)?.staticKey ?? node.validator.x25519Of(id) }
  }

  get size(): number {
    return this.#dials.size
  }

  /** Whether this peer is expected at the other end of a connection, and has not answered yet. */
  isAsking(peer: PeerHandle): boolean {
    for (const { expected, confirmation } of this.#dials.values()) if (expected?.handle === peer && confirmation === undefined) return true
    return false
  }

  /** Begins, unless one is under way on this connection. False when there is no such connection, or no room. */
  begin(now: Now, id: LinkId, expected: PeerEntry | undefined): boolean {
    const link = this.#node.links.get(id)
    if (this.#dials.has(id)) return true
    if (link?.reliable !== true || link.closing || this.#dials.size >= DIALS_MAX || this.#node.shuttingDown) return false
    const dial: XxDial = { kind: 'xx-dial', link: id, expected, startedAt: now.mono, initiation: this.#initiate(now, link, expected, 0), attempts: 1, attemptAt: now.mono, confirmation: undefined }
    this.#dials.set(id, dial)
    this.#send(dial, link)
    return true
  }

  /** B for one of ours. */
  onResponse(now: Now, dial: XxDial, fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number): void {
    const result = dial.initiation.readResponse(fragment, bytes, offset, length)
    if (typeof result === 'string') this.#onFault(dial, result)
    else this.#onIdentified(now, dial, result.payload, result.remoteIndex)
  }

  /** B once more: C was lost. */
  onRepeatedResponse(now: Now, index: number): void {
    for (const dial of this.#dials.values()) {
      const { confirmation } = dial
      if (confirmation === undefined || dial.initiation.localIndex !== index || now.mono < after(confirmation.sentAt, REPEAT_PAUSE)) continue
      this.#sendConfirmation(now, dial)
    }
  }

  /** The connection is gone. */
  linkClosed(link: LinkId): void {
    this.#handshakes.responder?.linkClosed(link)
    const dial = this.#dials.get(link)
    if (dial !== undefined) this.#forget(dial)
  }

  handleTimeout(now: Now): void {
    for (const dial of [...this.#dials.values()]) {
      if (dial.confirmation !== undefined) this.#repeat(now, dial)
      else if (now.mono >= after(dial.startedAt, DIAL_TIME)) this.#fail(dial, 'no_answer')
      else if (now.mono >= after(dial.attemptAt, ATTEMPT_TIME)) this.#again(now, dial)
    }
    // The peer had no such session any more, and said so: another one is begun.
    for (const peer of this.#node.replaced.splice(0)) if (peer.connection === undefined && peer.inRoster) connectPeer(this.#node, now, peer.id, { addresses: [], now: true })
  }

  nextTimeout(now: Instant): Instant {
    if (this.#node.replaced.length > 0) return now
    let next = never
    for (const { startedAt, attemptAt, confirmation } of this.#dials.values()) {
      next = confirmation === undefined ? earliest(next, after(startedAt, DIAL_TIME), after(attemptAt, ATTEMPT_TIME)) : earliest(next, after(confirmation.at, CONFIRM_TIMES[confirmation.step]!))
    }
    return next
  }

  // ── one handshake ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #initiate(now: Now, link: Link | undefined, expected: PeerEntry | undefined, attempt: number): XxInitiation {
    const { index } = this.#node
    // The newest key we were told; the next attempt takes the one before, should the friend have lost the newest with its disk.
    const keys = expected?.record.presence ?? []
    const k = keys.length === 0 ? OPEN_KEY : keys[attempt % keys.length]!.key
    return new XxInitiation(this.#xx, SUITE, index.draw(), k, xxBinding(link?.info.nonce, now.wall))
  }

  #send(dial: XxDial, link: Link): void {
    this.#node.index.set(dial.initiation.localIndex, dial)
    for (const datagram of dial.initiation.datagrams(link.datagramMax)) this.#node.sendRaw(dial.link, link.info.remote!, datagram)
  }

  #again(now: Now, dial: XxDial): void {
    const link = this.#node.links.get(dial.link)
    this.#drop(dial)
    dial.initiation = this.#initiate(now, link, dial.expected, dial.attempts++)
    dial.attemptAt = now.mono
    if (link !== undefined) this.#send(dial, link)
  }

  #onFault(dial: XxDial, fault: XxFault): void {
    const { counters } = this.#node
    switch (fault) {
      case 'incomplete': return
      case 'duplicate': counters.add('drop_reassembly'); return
      case 'mac1': counters.add('drop_mac1'); return
      case 'digest': counters.add('drop_malformed_handshake'); return
      case 'noise': counters.add('drop_handshake_noise'); return
      default:
        // What is authentic is the responder's last word in this handshake.
        counters.add(fault === 'self' ? 'drop_self' : 'drop_handshake_payload')
        this.#fail(dial, fault === 'self' ? 'self' : 'malformed')
    }
  }

  /** B says who is there. Only now is it decided whether they may know who we are. */
  #onIdentified(now: Now, dial: XxDial, payload: HandshakePayload, remoteIndex: number): void {
    const node = this.#node
    const { expected } = dial
    if (payload.status !== 0) return this.#fail(dial, 'busy')
    if (strongerInBoth(SUITE, builtSuiteMask, payload.suites) !== undefined) return this.#fail(dial, 'suite')
    if (expected !== undefined && !equalBytes(expected.id, payload.id)) return this.#fail(dial, 'other')
    const known = node.roster.find(payload.id)
    // Who was dialed is not wanted any more: taken out of the roster, or its session ended, while B was on its way.
    if (expected !== undefined && (known !== expected || known.connection === undefined)) return this.#fail(dial, 'stranger')
    const at = node.links.get(dial.link)?.info.remote
    if (expected === undefined && known?.inRoster !== true && (at === undefined || !node.pairing.hasRoom(now, true, at, known?.handle))) return this.#fail(dial, 'stranger')
    const peer = known ?? node.roster.ensure(payload.id, now.wall)
    if (peer === undefined) return this.#fail(dial, 'busy')
    const link = node.links.get(dial.link)
    // A session that works takes the connection as one more way; a stranger who listens to all of this learns no more than before.
    if (peer.connection?.reachable === true) {
      this.#forget(dial)
      peer.connection.adoptLink(now, dial.link, link!.info.remote!)
      node.reschedule(peer.connection)
      this.#tell(dial, peer)
      return
    }
    this.#confirm(now, dial, peer, payload, remoteIndex)
  }

  /** C names a session of this peer that still lives here, or the one that begins. */
  #confirm(now: Now, dial: XxDial, peer: PeerEntry, payload: HandshakePayload, remoteIndex: number): void {
    const node = this.#node
    const { initiation } = dial
    const live = peer.connection?.state
    const continues = live?.sidPeer !== undefined
    const sidSelf = continues ? live.sidSelf : node.offeredSid
    const stamp = node.roster.nextStamp(peer, now.wall)
    const own = { ...this.#handshakes.payload(initiation.localIndex, stamp, sidSelf, continues ? live.sidPeer! : payload.sidSelf, SUITE), invite: this.#handshakes.inviteFor(now, peer, stamp) }
    const written = initiation.confirm(own, remoteIndex)
    if (written === undefined) return this.#fail(dial, 'malformed')
    const keys = this.#handshakes.complete(now, peer, dial.link, initiation.localIndex, remoteIndex, written.keys, payload, sidSelf, dial.expected === undefined)
    dial.confirmation = { datagrams: written.datagrams, keys, at: now.mono, step: 0, sentAt: now.mono }
    this.#sendConfirmation(now, dial)
    this.#tell(dial, peer)
  }

  #tell({ link }: XxDial, peer: PeerEntry): void {
    const address = this.#node.links.get(link)?.info.remote
    if (address !== undefined) this.#node.push({ kind: 'link-peer', link, address, peer: peer.handle })
  }

  #sendConfirmation(now: Now, dial: XxDial): void {
    const { confirmation } = dial
    const remote = this.#node.links.get(dial.link)?.info.remote
    if (confirmation === undefined || remote === undefined) return
    confirmation.sentAt = now.mono
    for (const datagram of confirmation.datagrams) this.#node.sendRaw(dial.link, remote, datagram)
  }

  #repeat(now: Now, dial: XxDial): void {
    const confirmation = dial.confirmation!
    const { keys } = confirmation
    if (keys.wiped || keys.replay.greatest >= 0) {
      this.#dials.delete(dial.link)
      return
    }
    if (now.mono < after(confirmation.at, CONFIRM_TIMES[confirmation.step]!)) return
    this.#sendConfirmation(now, dial)
    if (++confirmation.step === CONFIRM_TIMES.length) this.#dials.delete(dial.link)
  }

  #fail(dial: XxDial, reason: LinkRefusal): void {
    const node = this.#node
    node.counters.add('xx_refused')
    this.#forget(dial)
    const address = node.links.get(dial.link)?.info.remote
    node.links.end(dial.link)
    if (address !== undefined) node.push({ kind: 'link-refused', address, reason })
  }

  #forget(dial: XxDial): void {
    this.#dials.delete(dial.link)
    if (dial.confirmation === undefined) this.#drop(dial)
  }

  /** Gives the attempt's index back; after C it is that of the keys. */
  #drop({ initiation }: XxDial): void {
    initiation.wipe()
    this.#node.index.remove(0 as Instant, initiation.localIndex, false)
  }
}
