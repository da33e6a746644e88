import { ADDRESS_SIZE } from '../base/address.ts'
import { compareBytes, toHex } from '../base/bytes.ts'
import type { LinkId, LinkKind } from '../base/domain.ts'
import { millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import { suspendDial } from '../connection/dial.ts'
import { computeCookie, cookieKey, mac1Key, sealCookie, verifyMac1, verifyMac2 } from '../session/macs.ts'
import { digestMatches } from '../session/fragment-slots.ts'
import { readInitiation, writeResponse, type ReadInitiation } from '../session/response.ts'
import { stampOf } from '../session/tai64n.ts'
import { isNoiseMessageSize, suiteOf, type Suite } from '../session/suites.ts'
import { encodeCookieDatagram } from '../wire/datagram.ts'
import { MESSAGE_A, type HandshakeFragment } from '../wire/handshake-fragment.ts'
import { HalfOpenTable, mayAnswer, type HalfOpen } from './half-open.ts'
import { sourceKeyOf, type Handshakes } from './handshakes.ts'
import { LoadMeter, PrefixBuckets } from './load.ts'
import { earliest, type Node } from './node.ts'
import { prefixKey, ReassemblyTable } from './reassembly-table.ts'
import type { PeerEntry } from './roster.ts'

const DIGESTS_MAX = 4096
const QUEUE_MAX = 64
const KNOWN_LOOKED_AT = 256
const COOKIE_SECRET_LIFE: Duration = 120 * second
const STASH_TIME: Duration = second
/** Hashes that verifying and sealing a COOKIE cost. */
const COOKIE_HASHES = 6
/** Hashes of reading A and writing B. */
const HANDSHAKE_HASHES = 60

/** A whole message A with what its datagrams said: what waits for its share of the CPU, or for a crossing dial to fail. */
interface Arrived {
  readonly message: Uint8Array
  readonly digestKey: string
  readonly suite: Suite
  readonly senderIndex: number
  readonly count: number
  readonly fragmentLength: number
  readonly link: LinkId
  readonly kind: LinkKind
  readonly address: Uint8Array
  readonly sourceKey: string
  readonly prefix: string
  readonly validated: boolean
}

interface Digest {
  readonly suite: number
  readonly senderIndex: number
  readonly count: number
  readonly fragmentLength: number
  half: HalfOpen | undefined
}

/** The responder's half of handshakes: message A from the cheapest check to the half-open entry (WIRE.md §3.5). */
export class Responder {
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #load: LoadMeter
  readonly #buckets: PrefixBuckets
  readonly #reassembly = new ReassemblyTable()
  readonly #halfOpen: HalfOpenTable
  /** Completed A that were answered, refused or stashed: a replay costs a look-up. BOUNDED: the oldest goes. */
  readonly #digests = new Map<string, Digest>()
  readonly #queue: { readonly arrived: Arrived; readonly known: boolean }[] = []
  #lastPrefix = ''
  /** One A per peer that waits for our own dial to it (we are the lower id). */
  readonly #stash = new Map<string, { readonly peer: PeerEntry; readonly arrived: Arrived; readonly read: ReadInitiation; readonly until: Instant }>()
  readonly #mac1Key: Uint8Array
  readonly #cookieKey: Uint8Array
  #secret: Uint8Array
  #secretBefore: Uint8Array
  #secretAt: Instant
  readonly #handshakeCost: Duration

  constructor(node: Node, handshakes: Handshakes, now: Now) {
    this.#node = node
    this.#handshakes = handshakes
    this.#load = new LoadMeter(now.mono, node.config.handshakeShare)
    const key = node.randomBytes(16)
    this.#buckets = new PrefixBuckets(new Uint32Array(key.buffer, key.byteOffset, 4))
    this.#halfOpen = new HalfOpenTable((entry) => this.#freeHalfOpen(entry))
    this.#mac1Key = mac1Key(node.provider, node.identity.staticKeyPair.publicKey)
    this.#cookieKey = cookieKey(node.provider, node.identity.staticKeyPair.publicKey)
    this.#secret = node.randomBytes(32)
    this.#secretBefore = node.randomBytes(32)
    this.#secretAt = now.mono
    const { x25519, x25519Generate, x25519Import, hash } = node.provider.costs
    this.#handshakeCost = 4 * x25519 + x25519Generate + 2 * x25519Import + HANDSHAKE_HASHES * hash
    handshakes.onEstablished = (peer) => this.#dropStash(peer)
  }

  get halfOpenCount(): number {
    return this.#halfOpen.size
  }

  /** Steps 2 to 7 of WIRE.md §3.5 for a well-formed fragment of A; step 8 when there is CPU for it. */
  onInitiation(now: Now, fragment: HandshakeFragment, link: LinkId, kind: LinkKind, address: Uint8Array, addressOffset: number, bytes: Uint8Array, offset: number, length: number): void {
    const node = this.#node
    if (node.shuttingDown) return
    if (!verifyMac1(node.provider, bytes, offset, length, MESSAGE_A, this.#mac1Key)) {
      node.counters.add('drop_mac1')
      return
    }
    const suite = suiteOf(fragment.suite)
    if (suite?.built !== true || suite.family !== 'IK') {
      node.counters.add('drop_suite')
      return
    }
    const proven = this.#provenSource(now, link, kind, address, addressOffset, bytes, offset, length, fragment)
    if (proven === undefined) return
    if (this.#knownDigest(fragment, link, kind, address, addressOffset, length)) return
    const loaded = this.#underLoad(now)
    const message = this.#reassembly.add(now.mono, kind, address, addressOffset, fragment, proven, loaded)
    if (message === undefined) return
    if (!isNoiseMessageSize(suite, MESSAGE_A, message.length) || !digestMatches(node.provider, message, fragment.digest)) {
      node.counters.add('drop_malformed_handshake')
      return
    }
    const source = address.slice(addressOffset, addressOffset + ADDRESS_SIZE)
    const arrived: Arrived = {
      message, digestKey: toHex(fragment.digest), suite, senderIndex: fragment.senderIndex, count: fragment.count, fragmentLength: length,
      link, kind, address: source, sourceKey: sourceKeyOf(kind, source, 0), prefix: prefixKey(source), validated: proven,
    }
    if (this.#load.take(now.mono, this.#handshakeCost)) this.#read(now, arrived)
    else if (this.#queue.length < QUEUE_MAX) this.#queue.push({ arrived, known: this.#isKnownAddress(source) })
    else node.counters.add('drop_handshake_queue')
  }

  #underLoad(now: Now): boolean {
    return this.#load.underLoad(now.mono, this.#reassembly.unvalidated, this.#halfOpen.unvalidated)
  }

  /** Steps 3 and 4: whether mac2 proves the source; `undefined` when the fragment ends here (a COOKIE was sent, or its prefix is too fast). */
  #provenSource(now: Now, link: LinkId, kind: LinkKind, address: Uint8Array, addressOffset: number, bytes: Uint8Array, offset: number, length: number, fragment: HandshakeFragment): boolean | undefined {
    // TCP and BLE prove their source by existing.
    if (kind === 'tcp' || kind === 'ble') return true
    const node = this.#node
    this.#rotateSecret(now)
    const hasMac2 = fragment.mac2!.some((byte) => byte !== 0)
    const proven = hasMac2 && [this.#secret, this.#secretBefore].some((secret) => verifyMac2(node.provider, bytes, offset, length, computeCookie(node.provider, secret, kind, address, addressOffset)))
    if (!proven) this.#load.countUnproven(now.mono)
    if (!this.#underLoad(now)) return proven
    if (!proven) {
      node.counters.add('drop_mac2')
      this.#sendCookie(now, fragment, link, kind, address, addressOffset)
      return undefined
    }
    if (this.#buckets.take(now.mono, address, addressOffset)) return true
    node.counters.add('drop_rate_limited')
    return undefined
  }

  #sendCookie(now: Now, fragment: HandshakeFragment, link: LinkId, kind: LinkKind, address: Uint8Array, addressOffset: number): void {
    const node = this.#node
    if (!this.#load.takeCookie(now.mono, COOKIE_HASHES * node.provider.costs.hash)) return
    const cookie = computeCookie(node.provider, this.#secret, kind, address, addressOffset)
    const nonce = node.randomBytes(16)
    const datagram = encodeCookieDatagram(fragment.senderIndex, nonce, sealCookie(node.provider, this.#cookieKey, nonce, fragment.mac1, cookie))
    node.counters.add('cookies_sent')
    node.sendRaw(link, address.slice(addressOffset, addressOffset + ADDRESS_SIZE), datagram)
  }

  #rotateSecret(now: Now): void {
    if (now.mono - this.#secretAt < COOKIE_SECRET_LIFE) return
    this.#secretBefore = now.mono - this.#secretAt < 2 * COOKIE_SECRET_LIFE ? this.#secret : this.#node.randomBytes(32)
    this.#secret = this.#node.randomBytes(32)
    this.#secretAt = now.mono
  }

  /** Step 5: an A seen before is answered from memory, or dropped. */
  #knownDigest(fragment: HandshakeFragment, link: LinkId, kind: LinkKind, address: Uint8Array, addressOffset: number, length: number): boolean {
    const known = this.#digests.get(toHex(fragment.digest))
    if (known === undefined) return false
    const half = known.half
    const same = known.suite === fragment.suite && known.senderIndex === fragment.senderIndex && known.count === fragment.count
    const lengthFits = known.fragmentLength === length || fragment.count > 1
    if (half === undefined || !same || !lengthFits) {
      this.#node.counters.add('drop_replayed_handshake')
      return true
    }
    const sourceKey = sourceKeyOf(kind, address, addressOffset)
    if (sourceKey !== half.sourceKey) half.single = false
    if (mayAnswer(half, sourceKey, fragment.number)) {
      this.#node.sendRaw(link, address.slice(addressOffset, addressOffset + ADDRESS_SIZE), half.datagrams[fragment.number]!)
    } else {
      this.#node.counters.add('drop_replayed_handshake')
    }
    return true
  }

  #isKnownAddress(address: Uint8Array): boolean {
    let looked = 0
    for (const peer of this.#node.roster.entries()) {
      const first = peer.record.addresses[0]
      if (first !== undefined && compareBytes(first.subarray(0, 16), address.subarray(0, 16)) === 0) return true
      // A hint for the order of a queue of 64: not worth a walk through ten thousand peers.
      if (++looked >= KNOWN_LOOKED_AT) return false
    }
    return false
  }

  /** Step 8: the Noise read of A, admission, and B. */
  #read(now: Now, arrived: Arrived): void {
    const node = this.#node
    const open = node.roster.hasOpenInvites || node.config.admitStrangers
    const read = readInitiation(node.provider, node.identity, node.validator, arrived.suite, arrived.message, arrived.senderIndex, (remoteStatic) => {
      const peer = node.roster.findByStatic(remoteStatic)
      if (peer === undefined) return open
      peer.imported ??= node.provider.x25519Import(peer.staticKey)
      return peer.imported
    })
    if (typeof read === 'string') {
      const counter = { noise: 'drop_handshake_noise', payload: 'drop_handshake_payload', id: 'drop_handshake_payload', self: 'drop_self', stranger: 'drop_not_admitted' } as const
      node.counters.add(counter[read])
      return
    }
    const peer = node.roster.find(read.payload.id)
    const inviteKey = node.roster.admittingInvite(now, read.payload)
    if (peer?.inRoster !== true && inviteKey === undefined && !node.config.admitStrangers) {
      node.counters.add('drop_not_admitted')
      return
    }
    if (peer !== undefined && !node.roster.isFresh(peer, read.payload.tai64n)) {
      node.counters.add('drop_stale_handshake')
      return
    }
    if (peer !== undefined && this.#crosses(now, peer, arrived, read)) return
    this.#answer(now, arrived, read, inviteKey)
  }

  /** Both sides dial at once (WIRE.md §3.9). True when this A waits for our own dial. */
  #crosses(now: Now, peer: PeerEntry, arrived: Arrived, read: ReadInitiation): boolean {
    const dial = peer.connection?.state.dial
    if (peer.connection === undefined || dial?.initiation === undefined || dial.suspended) return false
    if (!peer.lower) {
      suspendDial(peer.connection.state, now)
      this.#node.reschedule(peer.connection)
      return false
    }
    const rtt = peer.connection.state.active?.recovery.rtt.smoothed ?? 0
    this.#remember(arrived, undefined)
    this.#stash.set(peer.key, { peer, arrived, read, until: toInstant(now.mono + Math.max(STASH_TIME, 2 * rtt)) })
    return true
  }

  #dropStash(peer: PeerEntry): void {
    this.#stash.get(peer.key)?.read.noise.wipe()
    this.#stash.delete(peer.key)
  }

  #answer(now: Now, arrived: Arrived, read: ReadInitiation, inviteKey: string | undefined): void {
    const node = this.#node
    const peer = node.roster.find(read.payload.id)
    // A stranger's session id is drawn for this handshake alone: nothing is kept of a stranger before confirmation.
    const sidSelf = peer === undefined ? node.drawSid() : (peer.sidSelf ??= node.drawSid())
    const index = node.index.draw()
    const payload = this.#handshakes.payload(index, stampOf(now.wall), sidSelf, read.payload.sidSelf)
    const response = writeResponse(node.provider, node.identity, arrived.suite, read, payload, arrived.senderIndex, arrived.count)
    if (response === undefined) {
      node.counters.add('drop_handshake_noise')
      return
    }
    const lower = compareBytes(node.identity.id, read.payload.id) < 0
    const half: HalfOpen = {
      kind: 'half-open', payload: read.payload, remoteStatic: read.remoteStatic, sidSelf, peerKey: toHex(read.payload.id),
      keys: this.#handshakes.makeKeys(now, index, arrived.senderIndex, response.keys, false, !lower, read.payload.resetToken),
      link: arrived.link, address: arrived.address, sourceKey: arrived.sourceKey, validated: arrived.validated, single: true,
      digestKey: arrived.digestKey, datagrams: response.datagrams, createdAt: now.mono, inviteKey, answers: 0, answersBySource: new Map(),
    }
    this.#halfOpen.add(half)
    node.index.set(index, half)
    this.#remember(arrived, half)
    half.datagrams.forEach((datagram, number) => {
      if (mayAnswer(half, half.sourceKey, number)) node.sendRaw(half.link, half.address, datagram)
    })
  }

  #remember(arrived: Arrived, half: HalfOpen | undefined): void {
    this.#digests.delete(arrived.digestKey)
    this.#digests.set(arrived.digestKey, { suite: arrived.suite.number, senderIndex: arrived.senderIndex, count: arrived.count, fragmentLength: arrived.fragmentLength, half })
    if (this.#digests.size <= DIGESTS_MAX) return
    const oldest = this.#digests.keys().next()
    if (oldest.done === false) this.#digests.delete(oldest.value)
  }

  /** A half-open handshake was confirmed: its entry goes, its keys live on. */
  take(half: HalfOpen): void {
    this.#halfOpen.take(half)
    const digest = this.#digests.get(half.digestKey)
    if (digest !== undefined) digest.half = undefined
  }

  /** It may not be confirmed any more. */
  drop(half: HalfOpen): void {
    this.#halfOpen.drop(half)
  }

  #freeHalfOpen(half: HalfOpen): void {
    const digest = this.#digests.get(half.digestKey)
    if (digest !== undefined) digest.half = undefined
    this.#node.index.remove(0 as Instant, half.keys.localIndex, false)
    this.#node.provider.removeKey(half.keys.seal)
    this.#node.provider.removeKey(half.keys.open)
  }

  handleTimeout(now: Now): void {
    this.#reassembly.expire(now.mono)
    this.#halfOpen.expire(now.mono)
    for (const [key, stashed] of this.#stash) {
      if (stashed.until > now.mono) continue
      this.#stash.delete(key)
      if (stashed.peer.connection?.state.dial !== undefined) suspendDial(stashed.peer.connection.state, now)
      this.#answer(now, stashed.arrived, stashed.read, this.#node.roster.admittingInvite(now, stashed.read.payload))
    }
    while (this.#queue.length > 0 && this.#load.take(now.mono, this.#handshakeCost)) this.#read(now, this.#nextQueued())
  }

  /** Known addresses first, then prefixes in turn. */
  #nextQueued(): Arrived {
    let at = this.#queue.findIndex((queued) => queued.known)
    if (at < 0) at = this.#queue.findIndex((queued) => queued.arrived.prefix !== this.#lastPrefix)
    const next = this.#queue.splice(Math.max(at, 0), 1)[0]!.arrived
    this.#lastPrefix = next.prefix
    return next
  }

  nextTimeout(now: Instant): Instant {
    let stash = never
    for (const stashed of this.#stash.values()) stash = earliest(stash, stashed.until)
    const queue = this.#queue.length > 0 ? toInstant(Math.max(this.#load.nextAt(now), now + millisecond)) : never
    return earliest(this.#reassembly.nextTimeout(), this.#halfOpen.nextTimeout(), stash, queue)
  }
}
