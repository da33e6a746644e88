import { compareBytes, equalBytes, toHex, wipe } from '../../base/bytes.ts'
import type { LinkId } from '../../base/domain.ts'
import { millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../../base/time.ts'
import { dialBack, suspendDial } from '../../connection/dialing/dial.ts'
import { readInitiation, writeResponse, type Admission, type InitiationFault, type ReadInitiation } from '../../session/response.ts'
import { stampOf } from '../../session/tai64n.ts'
import { builtSuiteMask, strongerInBoth, type Suite } from '../../session/suites.ts'
import { handshakeStatus } from '../../wire/handshake-payload.ts'
import type { HandshakeFragment } from '../../wire/handshake-fragment.ts'
import { DigestCache, isCopyOf } from './digest-cache.ts'
import { HalfOpenTable, mayAnswer, type HalfOpen } from './half-open.ts'
import { HandshakeQueue, type Queued } from './handshake-queue.ts'
import { sourceKeyOf, type Handshakes } from './handshakes.ts'
import { InitiationGate, type Source } from './initiation-gate.ts'
import { LoadMeter } from './load.ts'
import { earliest, type Node } from '../node.ts'
import { prefixKey } from './reassembly-table.ts'
import type { PeerEntry } from '../roster.ts'
import type { XxAnswer } from './xx-entries.ts'
import { XxResponder, type XxArrived } from './xx-responder.ts'

const KNOWN_LOOKED_AT = 256
const STASH_TIME: Duration = second
/** Hashes of reading A and writing B. */
const HANDSHAKE_HASHES = 60

/** A whole message A with what its datagrams said: what waits for its share of the CPU, or for a crossing dial to fail. */
interface Arrived extends Queued {
  readonly message: Uint8Array
  readonly digest: Uint8Array
  readonly suite: Suite
  readonly senderIndex: number
  readonly count: number
  readonly source: Source
  /** mac2 proved the source. */
  readonly validated: boolean
}

interface Stashed {
  readonly peer: PeerEntry
  readonly arrived: Arrived
  readonly read: ReadInitiation
  readonly until: Instant
}

/** The responder's half of handshakes: message A from the cheapest check to the half-open entry (WIRE.md §3.5). */
export class Responder {
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #load: LoadMeter
  readonly #gate: InitiationGate
  readonly #halfOpen: HalfOpenTable
  readonly #digests = new DigestCache()
  readonly #queue = new HandshakeQueue<Arrived>()
  /** One A per peer that waits for our own dial to it (we are the lower id). BOUNDED by the sessions being dialed. */
  readonly #stash = new Map<string, Stashed>()
  readonly #handshakeCost: Duration
  readonly #xx: XxResponder

  constructor(node: Node, handshakes: Handshakes, now: Now) {
    this.#node = node
    this.#handshakes = handshakes
    this.#load = new LoadMeter(now.mono, node.config.handshakeShare, () => node.randomUnit())
    this.#halfOpen = new HalfOpenTable((entry) => { this.#freeHalfOpen(entry) })
    this.#xx = new XxResponder(node, handshakes, this.#digests, (id) => node.roster.find(id)?.staticKey ?? node.validator.x25519Of(id))
    this.#gate = new InitiationGate(node, this.#load, () => this.#halfOpen.unvalidated, now)
    const { x25519, x25519Generate, x25519Import, hash } = node.provider.costs
    this.#handshakeCost = 4 * x25519 + x25519Generate + 2 * x25519Import + HANDSHAKE_HASHES * hash
    handshakes.responder = this
  }

  /** Sizes of the tables, for bounds to be looked at. */
  get sizes(): Readonly<Record<'halfOpen' | 'unvalidated' | 'digests' | 'reassembly' | 'queue' | 'stash' | 'xx', number>> {
    return {
      halfOpen: this.#halfOpen.size, unvalidated: this.#halfOpen.unvalidated, digests: this.#digests.size, reassembly: this.#gate.reassembly.size,
      queue: this.#queue.size, stash: this.#stash.size, xx: this.#xx.size,
    }
  }

  // ── from the cheapest check to the whole message ────────────────────────────────────────────────────────────────────────

  /** A well-formed fragment of A: steps 2 to 7 of WIRE.md §3.5, and step 8 when there is CPU for it. */
  onInitiation(now: Now, fragment: HandshakeFragment, source: Source, bytes: Uint8Array, offset: number, length: number): void {
    if (this.#node.shuttingDown) {
      this.#node.counters.add('drop_closed')
      return
    }
    const passed = this.#gate.pass(now, fragment, source, bytes, offset, length)
    const xx = passed?.suite.family === 'XX'
    if (passed === undefined || (xx && this.#xx.repeats(fragment, source)) || this.#isCopy(fragment, source, length)) return
    const message = this.#gate.assemble(now, fragment, source, passed)
    if (message === undefined) return
    if (xx) {
      this.#arriveXx(now, { message, digest: fragment.digest.slice(), suite: passed.suite, senderIndex: fragment.senderIndex, count: fragment.count, source })
      return
    }
    this.#arrive(now, {
      message, digest: fragment.digest.slice(), suite: passed.suite, senderIndex: fragment.senderIndex, count: fragment.count, source,
      validated: passed.proven, prefix: prefixKey(source.address), known: false,
    })
  }

  /** Step 5: a fragment of an A seen before is answered from memory, or dropped. */
  #isCopy(fragment: HandshakeFragment, source: Source, length: number): boolean {
    const seen = this.#digests.find(fragment.digest)
    if (seen === undefined) return false
    const half = seen.half
    if (half === undefined || !isCopyOf(seen, fragment, length)) {
      this.#node.counters.add('drop_replayed_handshake')
      return true
    }
    const sourceKey = sourceKeyOf(source.kind, source.address, 0)
    if (sourceKey !== half.sourceKey) half.single = false
    if (mayAnswer(half, sourceKey, fragment.number)) this.#node.sendRaw(source.link, source.address, half.datagrams[fragment.number]!, source.local)
    else this.#node.counters.add('drop_replayed_handshake')
    return true
  }

  // ── the whole message ───────────────────────────────────────────────────────────────────────────────────────────────────

  #arrive(now: Now, arrived: Arrived): void {
    if (this.#queue.size === 0 && this.#load.take(now.mono, this.#handshakeCost)) this.#read(now, arrived)
    else if (!this.#queue.push({ ...arrived, known: this.#isKnownAddress(arrived.source.address) })) this.#node.counters.add('drop_handshake_queue')
  }

  /** Nobody waits in a queue for this: the same A, or a fresh one, comes again. */
  #arriveXx(now: Now, arrived: XxArrived): void {
    if (this.#xx.hasRoomFor(arrived.source) && this.#load.take(now.mono, this.#handshakeCost)) this.#xx.answer(now, arrived)
    else this.#node.counters.add('drop_handshake_queue')
  }

  onConfirmation(now: Now, answer: XxAnswer, fragment: HandshakeFragment, link: LinkId, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    this.#xx.onConfirmation(now, answer, fragment, link, address, bytes, offset, length)
  }

  #isKnownAddress(address: Uint8Array): boolean {
    let looked = 0
    for (const peer of this.#node.roster.entries()) {
      const first = peer.record.addresses[0]
      if (first !== undefined && equalBytes(first.subarray(0, 16), address.subarray(0, 16))) return true
      // A hint for the order of a queue of 64: not worth a walk through ten thousand peers.
      if (++looked >= KNOWN_LOOKED_AT) return false
    }
    return false
  }

  /** The form of an id, which costs a millisecond the first time. */
  #x25519Of(now: Now, id: Uint8Array): Uint8Array | undefined {
    const { provider, roster, validator } = this.#node
    const peer = roster.find(id)
    if (peer !== undefined) return peer.staticKey
    if (!validator.isCached(id)) this.#load.spend(now.mono, provider.costs.validateId)
    return validator.x25519Of(id)
  }

  /** What reading A asks of our tables. */
  #admission(now: Now): Admission {
    const { config, roster } = this.#node
    return {
      admitStatic: (remoteStatic) => roster.findByStatic(remoteStatic) !== undefined || roster.hasOpenInvites || config.admitStrangers,
      admitPayload: (payload) => {
        const peer = roster.find(payload.id)
        // Outside the roster, but dialed or in a session: it may answer with a dial of its own, or rekey. Not while it compares a code.
        if (peer?.inRoster === true || peer?.connection?.state.restricted === false) return 0
        if (config.admitStrangers || roster.admittingInvite(now, payload) !== undefined) return peer !== undefined || roster.hasRoom ? 0 : handshakeStatus.busy
        return roster.holdsInvite(payload) ? handshakeStatus.notAdmitted : undefined
      },
      x25519Of: (id) => this.#x25519Of(now, id),
    }
  }

  /** Step 8: the Noise read of A, admission, and B. */
  #read(now: Now, arrived: Arrived): void {
    const node = this.#node
    const read = readInitiation(node.provider, node.identity, this.#admission(now), arrived.suite, arrived.message, arrived.senderIndex)
    if (typeof read === 'string') {
      node.counters.add(faultCounters[read])
      return
    }
    const peer = node.roster.find(read.payload.id)
    const status = strongerInBoth(arrived.suite, builtSuiteMask, read.payload.suites) === undefined ? read.status : handshakeStatus.suiteRefused
    if (peer !== undefined && !node.roster.isFresh(peer, read.payload.tai64n)) {
      node.counters.add('drop_stale_handshake')
      this.#ignore(arrived, read)
    } else if (status !== handshakeStatus.ok) {
      this.#refuse(now, arrived, read, status)
    } else if (peer === undefined || !this.#crosses(now, peer, arrived, read)) {
      this.#answer(now, arrived, read)
    }
  }

  /** No answer, nor to its copies. */
  #ignore(arrived: Arrived, read: ReadInitiation): void {
    read.noise.wipe()
    this.#remember(arrived, undefined)
  }

  /** Says no in a B that is authentic, so that the peer need not guess, and keeps nothing. Once per A: its copies are dropped. */
  #refuse(now: Now, arrived: Arrived, read: ReadInitiation, status: number): void {
    const node = this.#node
    this.#remember(arrived, undefined)
    const payload = this.#handshakes.payload(node.index.draw(), stampOf(now.wall), node.sidFor(read.payload.id), read.payload.sidSelf)
    const response = writeResponse(node.provider, node.identity, arrived.suite, read, { ...payload, status }, arrived.senderIndex, arrived.count)
    if (response === undefined) {
      node.counters.add('drop_handshake_noise')
      return
    }
    wipe(response.keys.initiatorKey, response.keys.responderKey)
    node.counters.add('refusals_sent')
    for (const datagram of response.datagrams) node.sendRaw(arrived.source.link, arrived.source.address, datagram, arrived.source.local)
  }

  /** Both sides dial at once (WIRE.md §3.9). True when this A waits for our own dial. */
  #crosses(now: Now, peer: PeerEntry, arrived: Arrived, read: ReadInitiation): boolean {
    const connection = peer.connection
    const dial = connection?.state.dial
    if (connection === undefined || dial?.initiation === undefined || dial.suspended) return false
    if (!peer.lower) {
      suspendDial(connection.state, now)
      this.#node.reschedule(connection)
      return false
    }
    const rtt = connection.state.active?.recovery.rtt.smoothed ?? 0
    this.#dropStash(peer)
    this.#remember(arrived, undefined)
    this.#stash.set(peer.key, { peer, arrived, read, until: toInstant(now.mono + Math.max(STASH_TIME, 2 * rtt)) })
    dialBack(connection.state, now, arrived.source.link, arrived.source.address)
    this.#node.reschedule(connection)
    return true
  }

  #dropStash(peer: PeerEntry): void {
    this.#stash.get(peer.key)?.read.noise.wipe()
    this.#stash.delete(peer.key)
  }

  /** Our own dial did not get through in time: the peer's A is answered after all, and ours waits for it. */
  #answerStashed(now: Now, { peer, arrived, read }: Stashed): void {
    const node = this.#node
    this.#stash.delete(peer.key)
    if (node.shuttingDown || this.#admission(now).admitPayload(read.payload) !== 0 || !node.roster.isFresh(peer, read.payload.tai64n)) {
      this.#ignore(arrived, read)
      return
    }
    if (peer.connection?.state.dial !== undefined) {
      suspendDial(peer.connection.state, now)
      node.reschedule(peer.connection)
    }
    this.#answer(now, arrived, read)
  }

  #answer(now: Now, arrived: Arrived, read: ReadInitiation): void {
    const node = this.#node
    const peer = node.roster.find(read.payload.id)
    // Of a stranger nothing is kept before confirmation but the half-open entry: our session id towards it lives there.
    const sidSelf = peer?.sidSelf ?? node.sidFor(read.payload.id)
    if (peer !== undefined) peer.sidSelf = sidSelf
    const stamp = peer === undefined ? stampOf(now.wall) : node.roster.nextStamp(peer, now.wall)
    const index = node.index.draw()
    const payload = this.#handshakes.payload(index, stamp, sidSelf, read.payload.sidSelf)
    const response = writeResponse(node.provider, node.identity, arrived.suite, read, payload, arrived.senderIndex, arrived.count)
    if (response === undefined) {
      node.counters.add('drop_handshake_noise')
      return
    }
    const { source } = arrived
    const lower = compareBytes(node.identity.id, read.payload.id) < 0
    const half: HalfOpen = {
      kind: 'half-open', payload: read.payload, remoteStatic: read.remoteStatic, sidSelf, stamp, peerKey: toHex(read.payload.id),
      keys: this.#handshakes.makeKeys(now, index, arrived.senderIndex, response.keys, false, !lower, read.payload.resetToken),
      link: source.link, address: source.address, local: source.local, sourceKey: sourceKeyOf(source.kind, source.address, 0), validated: arrived.validated, single: true,
      digest: arrived.digest, datagrams: response.datagrams, createdAt: now.mono, inviteKey: node.roster.admittingInvite(now, read.payload), answers: 0, answersBySource: new Map(),
    }
    this.#halfOpen.add(half)
    node.index.set(index, half)
    this.#remember(arrived, half)
    half.datagrams.forEach((datagram, number) => {
      if (mayAnswer(half, half.sourceKey, number)) node.sendRaw(half.link, half.address, datagram, half.local)
    })
  }

  #remember({ digest, suite, senderIndex, count, message }: Arrived, half: HalfOpen | undefined): void {
    this.#digests.remember(digest, { suite: suite.number, senderIndex, count, size: message.length, half })
  }

  /** The connection is gone, and with it what was begun over it. */
  linkClosed(link: LinkId): void {
    this.#xx.linkClosed(link)
  }

  // ── the end of half-open handshakes ─────────────────────────────────────────────────────────────────────────────────────

  /** A half-open handshake was confirmed: its entry goes, its keys live on. */
  take(half: HalfOpen): void {
    this.#halfOpen.take(half)
    this.#digests.settle(half.digest)
  }

  /** It may not be confirmed any more. */
  drop(half: HalfOpen): void {
    this.#halfOpen.drop(half)
  }

  /** A session with the peer came up: what was stashed for the case that none would is of no use. */
  established(peer: PeerEntry): void {
    this.#dropStash(peer)
  }

  /** The session is over, by somebody's will: what was begun beside it may not bring it back. */
  ended(peer: PeerEntry): void {
    this.#dropStash(peer)
    this.#halfOpen.dropPeer(toHex(peer.id))
  }

  sidFor(id: Uint8Array): Uint8Array | undefined {
    return this.#halfOpen.sidFor(toHex(id))
  }

  #freeHalfOpen(half: HalfOpen): void {
    this.#digests.settle(half.digest)
    this.#node.index.remove(half.createdAt, half.keys.localIndex, false)
    this.#node.provider.removeKey(half.keys.seal)
    this.#node.provider.removeKey(half.keys.open)
  }

  // ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  handleTimeout(now: Now): void {
    this.#xx.handleTimeout(now)
    this.#gate.reassembly.expire(now.mono)
    this.#halfOpen.expire(now.mono)
    for (const stashed of [...this.#stash.values()]) if (stashed.until <= now.mono) this.#answerStashed(now, stashed)
    if (this.#node.shuttingDown) this.#queue.clear()
    while (this.#queue.size > 0 && this.#load.take(now.mono, this.#handshakeCost)) this.#read(now, this.#queue.shift()!)
  }

  nextTimeout(now: Instant): Instant {
    let stash = never
    for (const stashed of this.#stash.values()) stash = earliest(stash, stashed.until)
    const queue = this.#queue.size > 0 ? toInstant(Math.max(this.#load.nextAt(now), now + millisecond)) : never
    return earliest(this.#xx.nextTimeout(), this.#gate.reassembly.nextTimeout(), this.#halfOpen.nextTimeout(), stash, queue)
  }
}

const faultCounters = {
  noise: 'drop_handshake_noise', payload: 'drop_handshake_payload', id: 'drop_handshake_payload', self: 'drop_self', stranger: 'drop_not_admitted',
} as const satisfies Record<InitiationFault, string>
