import { equalBytes, toHex } from '../../base/bytes.ts'
import { isReliable, type LinkId, type LinkKind } from '../../base/domain.ts'
import { after, never, second, type Duration, type Instant, type Now } from '../../base/time.ts'
import { sealCloseDatagram } from '../../session/sealed-close.ts'
import { XxResponse, type XxFault, type XxNode } from '../../session/xx.ts'
import type { Suite } from '../../session/suites.ts'
import type { HandshakeFragment } from '../../wire/handshake-fragment.ts'
import type { HandshakePayload } from '../../wire/handshake-payload.ts'
import { closeCodes } from '../../wire/frame.ts'
import type { DigestCache } from './digest-cache.ts'
import type { HalfOpen } from './half-open.ts'
import { sourceKeyOf, type Handshakes } from './handshakes.ts'
import type { Source } from './initiation-gate.ts'
import { earliest, type Node } from '../node.ts'
import type { XxAnswer } from './xx-entries.ts'

/** Unconfirmed handshakes: in all, and by Bluetooth (WIRE.md §7). Full: an A is dropped, and comes again when a place is free. */
const ANSWERS_MAX = 64
const ANSWERS_BLE_MAX = 4
const ANSWER_TIME: Duration = 10 * second
/** Copies of B for copies of its A. */
const COPIES_MAX = 4

/** A whole message A. */
export interface XxArrived {
  readonly message: Uint8Array
  readonly digest: Uint8Array
  readonly suite: Suite
  readonly senderIndex: number
  readonly count: number
  readonly source: Source
}

/** The responder's half of XX: B to who knows our presence key, or to anybody while a pairing window is open, and the verdict on C (WIRE.md §3.8). */
export class XxResponder {
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #digests: DigestCache
  readonly #xx: XxNode
  /** One per source, its newest. */
  readonly #answers = new Map<string, XxAnswer>()

  constructor(node: Node, handshakes: Handshakes, digests: DigestCache, x25519Of: XxNode['x25519Of']) {
    this.#node = node
    this.#handshakes = handshakes
    this.#digests = digests
    this.#xx = { provider: node.provider, identity: node.identity, x25519Of }
  }

  get size(): number {
    return this.#answers.size
  }

  /** A fragment of an A that was answered just now is answered from memory. */
  repeats(fragment: HandshakeFragment, source: Source): boolean {
    const answer = this.#answers.get(sourceKeyOf(source.kind, source.address, 0))
    if (answer === undefined || !equalBytes(answer.digest, fragment.digest) || answer.response.datagrams.length !== fragment.count) return false
    if (answer.copies >= COPIES_MAX) this.#node.counters.add('drop_replayed_handshake')
    else {
      answer.copies++
      this.#node.sendRaw(source.link, source.address, answer.response.datagrams[fragment.number]!, source.local)
    }
    return true
  }

  hasRoomFor(source: Source): boolean {
    if (this.#answers.has(sourceKeyOf(source.kind, source.address, 0))) return true
    if (source.kind === 'ble' && this.#count('ble') >= ANSWERS_BLE_MAX) return false
    return this.#answers.size < ANSWERS_MAX
  }

  #count(kind: LinkKind): number {
    let count = 0
    for (const { source } of this.#answers.values()) if (source.kind === kind) count++
    return count
  }

  answer(now: Now, { message, digest, suite, senderIndex, count, source }: XxArrived): void {
    const node = this.#node
    const index = node.index.draw()
    const sid = node.offeredSid
    const stamp = node.roster.offerStamp(now.wall)
    const response = XxResponse.to(this.#xx, suite, message, senderIndex, count, this.#handshakes.payload(index, stamp, sid, new Uint8Array(8), suite))
    if (response === undefined) {
      node.counters.add('drop_handshake_noise')
      return
    }
    const sourceKey = sourceKeyOf(source.kind, source.address, 0)
    const before = this.#answers.get(sourceKey)
    if (before !== undefined) this.#drop(before)
    const answer: XxAnswer = { kind: 'xx-answer', source, sourceKey, response, digest, sid, stamp, createdAt: now.mono, copies: 0 }
    this.#answers.set(sourceKey, answer)
    node.index.set(index, answer)
    this.#digests.remember(digest, { suite: suite.number, senderIndex, count, size: message.length, half: undefined })
    for (const datagram of response.datagrams) node.sendRaw(source.link, source.address, datagram, source.local)
  }

  /** C: who it is, and whether they may come in. */
  onConfirmation(now: Now, answer: XxAnswer, fragment: HandshakeFragment, link: LinkId, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    const node = this.#node
    if (link !== answer.source.link || !equalBytes(address, answer.source.address)) {
      node.counters.add('drop_unknown_index')
      return
    }
    const result = answer.response.readConfirmation(fragment, bytes, offset, length)
    if (typeof result === 'string') {
      this.#onFault(answer, result)
      return
    }
    const { payload } = result
    this.#answers.delete(answer.sourceKey)
    const known = node.roster.find(payload.id)
    if (known !== undefined && !node.roster.isFresh(known, payload.tai64n)) {
      node.counters.add('drop_stale_handshake')
      this.#drop(answer)
      return
    }
    const verdict = this.#judge(now, answer, payload)
    if (verdict === 'admitted') this.#admit(now, answer, payload)
    else this.#refuse(now, answer, verdict)
  }

  #onFault(answer: XxAnswer, fault: XxFault): void {
    const { counters } = this.#node
    switch (fault) {
      case 'incomplete': return
      case 'duplicate': counters.add('drop_reassembly'); return
      case 'mac1': counters.add('drop_mac1'); return
      case 'digest': counters.add('drop_malformed_handshake'); return
      case 'noise': counters.add('drop_handshake_noise'); return
      default:
        counters.add(fault === 'self' ? 'drop_self' : 'drop_handshake_payload')
        this.#answers.delete(answer.sourceKey)
        this.#drop(answer)
    }
  }

  #judge(now: Now, answer: XxAnswer, payload: HandshakePayload): 'admitted' | 'not_admitted' | 'replaced' {
    const node = this.#node
    const peer = node.roster.find(payload.id)
    const welcome = peer?.inRoster === true || peer?.connection !== undefined || node.config.admitStrangers || node.pairing.hasRoom(now, false, answer.source.address, peer?.handle) || node.roster.admittingInvite(now, payload) !== undefined
    if (!welcome || (peer === undefined && !node.roster.hasRoom)) return 'not_admitted'
    if (equalBytes(payload.sidPeer, answer.sid)) return 'admitted'
    const live = peer?.connection?.state
    return live?.sidPeer !== undefined && equalBytes(live.sidPeer, payload.sidSelf) && equalBytes(live.sidSelf, payload.sidPeer) ? 'admitted' : 'replaced'
  }

  #admit(now: Now, answer: XxAnswer, payload: HandshakePayload): void {
    const node = this.#node
    const { response, source } = answer
    const known = node.roster.find(payload.id)
    const before = known?.connection
    const window = node.pairing.isOpen(now)
    const unknown = window && before?.state.restricted !== false
    const friend = known?.inRoster === true
    const lower = known?.lower ?? node.isLowerThan(payload.id)
    const split = response.split()
    const { h } = split
    const half: HalfOpen = {
      kind: 'half-open', payload, remoteStatic: new Uint8Array(0), sidSelf: payload.sidPeer, stamp: answer.stamp, peerKey: toHex(payload.id),
      keys: this.#handshakes.makeKeys(now, response.localIndex, response.remoteIndex, split, false, !lower, payload.resetToken),
      link: source.link, address: source.address, local: 0, sourceKey: answer.sourceKey, validated: true, single: true, digest: answer.digest, datagrams: response.datagrams,
      createdAt: answer.createdAt, inviteKey: node.roster.admittingInvite(now, payload), answers: 1 + answer.copies, answersBySource: new Map(), pairing: node.pairing.isOpen(now),
    }
    const connection = this.#handshakes.confirm(now, half, source.link, source.address, 0)
    if (connection !== undefined) {
      // A session that goes on is compared already; another one of the same stranger anew. Who came by an invite is a friend since.
      const stranger = unknown && node.roster.get(connection.state.peer)?.inRoster !== true
      if (stranger && connection !== before) node.pairing.begin(now, connection, h, false, source.address)
      if (friend && connection !== before) node.pairing.beginAgain(now, connection, h, false, source.address)
      node.takeOfferedSid(answer.sid)
      node.links.claimFor(source.link, connection)
      node.push({ kind: 'link-peer', link: source.link, address: source.address, peer: connection.state.peer })
      return
    }
    node.counters.add('drop_not_admitted')
    node.index.remove(now.mono, response.localIndex, false)
    node.provider.removeKey(half.keys.seal)
    node.provider.removeKey(half.keys.open)
  }

  /** C was authentic: they are told why nothing comes of it, and nothing is kept of them. */
  #refuse(now: Now, answer: XxAnswer, verdict: 'not_admitted' | 'replaced'): void {
    const node = this.#node
    const { response, source } = answer
    const keys = response.split()
    node.counters.add(verdict === 'not_admitted' ? 'drop_not_admitted' : 'xx_replaced')
    node.sendRaw(source.link, source.address, sealCloseDatagram(node.provider, keys.responderKey, response.remoteIndex, closeCodes[verdict]))
    keys.initiatorKey.fill(0)
    keys.responderKey.fill(0)
    node.index.remove(now.mono, response.localIndex, false)
  }

  #drop(answer: XxAnswer): void {
    answer.response.wipe()
    this.#node.index.remove(answer.createdAt, answer.response.localIndex, false)
  }

  /** The connection is gone: nobody can finish what was begun there, and its place is somebody else's. */
  linkClosed(link: LinkId): void {
    for (const answer of this.#answers.values()) {
      if (answer.source.link !== link || !isReliable(answer.source.kind)) continue
      this.#answers.delete(answer.sourceKey)
      this.#drop(answer)
    }
  }

  handleTimeout(now: Now): void {
    for (const answer of this.#answers.values()) {
      if (now.mono < after(answer.createdAt, ANSWER_TIME)) continue
      this.#answers.delete(answer.sourceKey)
      this.#drop(answer)
      // Nobody is on this connection but who did not finish: its place is somebody else's.
      if (this.#node.links.useOf(answer.source.link) === 'stranger') this.#node.links.end(answer.source.link)
    }
  }

  nextTimeout(): Instant {
    let next = never
    for (const { createdAt } of this.#answers.values()) next = earliest(next, after(createdAt, ANSWER_TIME))
    return next
  }
}
