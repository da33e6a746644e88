import { compareBytes, equalBytes, toBinaryString, toHex } from '../base/bytes.ts'
import type { PeerHandle } from '../base/domain.ts'
import type { Now, WallTime } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { Connection } from '../connection/connection.ts'
import type { PathLog } from '../path/path-log.ts'
import type { Identity, IdValidator } from '../session/identity.ts'
import { inviteTokenId, verifyInviteProof, verifyInviteReply } from '../session/macs.ts'
import type { PresenceKey } from '../session/presence.ts'
import { compareStamps, laterStamp, nextStamp, stampOf } from '../session/tai64n.ts'
import { encodePeerId } from '../wire/peer-id.ts'
import type { HandshakePayload } from '../wire/handshake-payload.ts'
import type { InviteReply } from '../wire/invite-reply.ts'
import type { BirthdayView, EndpointEvent, InviteRecord, PeerRecord, ReplyRefusal, Whereabouts } from './contract.ts'

/** Addresses remembered of a peer; the oldest goes. */
const ADDRESSES_MAX = 16
/** Peers outside the roster that may be known at once (dialed by id, admitted as strangers); beyond it new ones are refused. */
const STRANGERS_MAX = 16_384
const INVITES_MAX = 1024

/** A peer this node knows: in the roster, or for as long as something goes on with it. */
export class PeerEntry {
  readonly handle: PeerHandle
  readonly id: Uint8Array
  /** The id as text: the key of tables and of the store. */
  readonly key: string
  /** X25519 form of the id. */
  readonly staticKey: Uint8Array
  readonly lower: boolean
  record: PeerRecord
  inRoster: boolean
  connection: Connection | undefined
  /** Our session id towards this peer, drawn when it is first needed, redrawn after a session ended. */
  sidSelf: Uint8Array | undefined
  stateSince: WallTime
  /** Its Bluetooth address, while it is in range. */
  nearby: Uint8Array | undefined
  /** What was decided about them, made with the first decision. */
  pathLog: PathLog | undefined
  /** What it said of itself by other ways than a session. */
  whereabouts: Whereabouts | undefined
  /** The same, by the hand of a person: no third one has a word in it. */
  toldByHand: Whereabouts | undefined
  /** The last round of guessing ports with it. */
  birthday: BirthdayView | undefined

  constructor(handle: PeerHandle, id: Uint8Array, staticKey: Uint8Array, lower: boolean, record: PeerRecord, inRoster: boolean, now: WallTime) {
    this.handle = handle
    this.id = id
    this.key = encodePeerId(id)
    this.staticKey = staticKey
    this.lower = lower
    this.record = record
    this.inRoster = inRoster
    this.stateSince = now
  }
}

function emptyRecord(id: Uint8Array, wall: WallTime): PeerRecord {
  return { id, name: undefined, addresses: [], addedAt: wall, connectedAt: undefined, hadSession: false, greatest: undefined, lastSent: undefined, policy: undefined, presence: undefined, invite: undefined }
}

/** The peers this node knows and the invites it gave. Changes of what must outlive the process are `persist` events. */
export class Roster {
  readonly #self: Uint8Array
  /** Own X25519 form: our id with the other sign is ourselves too. */
  readonly #selfStatic: Uint8Array
  readonly #provider: CryptoProvider
  readonly #validator: IdValidator
  readonly #emit: (event: EndpointEvent) => void
  readonly #peers: (PeerEntry | undefined)[] = [undefined]
  readonly #byId = new Map<string, PeerEntry>()
  readonly #byStatic = new Map<string, PeerEntry>()
  readonly #invites = new Map<string, InviteRecord>()
  #strangers = 0
  #sequence = 0
  /** The latest stamp of an answer to XX. */
  #offered: Uint8Array | undefined

  constructor(self: Identity, provider: CryptoProvider, validator: IdValidator, emit: (event: EndpointEvent) => void) {
    this.#self = self.id
    this.#selfStatic = self.staticKeyPair.publicKey
    this.#provider = provider
    this.#validator = validator
    this.#emit = emit
  }

  /** Takes over what was stored. Ids were validated when they came in, and the store is sealed: only their form is computed. */
  load(peers: readonly PeerRecord[], invites: readonly InviteRecord[], wall: WallTime): void {
    for (const record of peers) {
      const staticKey = storedForm(this.#provider, record.id)
      if (staticKey !== undefined) this.#create(record.id, staticKey, record, true, wall)
    }
    for (const invite of invites) this.#invites.set(this.inviteKey(invite.token), invite)
  }

  get hasOpenInvites(): boolean {
    return this.#invites.size > 0
  }

  get size(): number {
    return this.#byId.size
  }

  handles(): PeerHandle[] {
    const handles: PeerHandle[] = []
    for (const peer of this.#byId.values()) handles.push(peer.handle)
    return handles
  }

  entries(): IterableIterator<PeerEntry> {
    return this.#byId.values()
  }

  get(handle: PeerHandle): PeerEntry | undefined {
    return this.#peers[handle]
  }

  find(id: Uint8Array): PeerEntry | undefined {
    return this.#byId.get(tableKey(id))
  }

  findByStatic(staticKey: Uint8Array): PeerEntry | undefined {
    return this.#byStatic.get(tableKey(staticKey))
  }

  /** The entry of an id, made if need be; `undefined` for an id that is not valid, is our own, or finds no room. */
  ensure(id: Uint8Array, wall: WallTime): PeerEntry | undefined {
    const known = this.find(id)
    if (known !== undefined) return known
    if (!this.hasRoom) return undefined
    const staticKey = this.#validator.x25519Of(id)
    if (staticKey === undefined) return undefined
    const own = id.slice()
    return this.#create(own, staticKey, emptyRecord(own, wall), false, wall)
  }

  /** A stranger with whom nothing goes on any more is forgotten. */
  release(peer: PeerEntry): void {
    if (peer.inRoster || peer.connection !== undefined) return
    const key = tableKey(peer.staticKey)
    this.#byId.delete(tableKey(peer.id))
    if (this.#byStatic.get(key) === peer) {
      const alias = this.#byId.get(aliasKey(peer.id))
      if (alias === undefined) this.#byStatic.delete(key)
      else this.#byStatic.set(key, alias)
    }
    this.#peers[peer.handle] = undefined
    this.#strangers--
  }

  /** Puts a peer into the roster, or changes what is known of it. Written before its effect is told. */
  add(peer: PeerEntry, change: Partial<Pick<PeerRecord, 'name' | 'policy' | 'invite'>>, addresses: readonly Uint8Array[]): void {
    if (!peer.inRoster) {
      peer.inRoster = true
      this.#strangers--
    }
    peer.record = changed(peer.record, { ...change, addresses: mergeAddresses(addresses, peer.record.addresses) })
    this.persist(peer, true)
  }

  /**
   * Takes a peer out. The invites it came by are revoked first: it holds their tokens, and a spent invite stays good for its
   * spender, so it could walk in again, after a crash between the two writes as well.
   */
  remove(peer: PeerEntry): void {
    if (!peer.inRoster) return
    for (const invite of this.invites()) if (isSpender(invite, peer.id)) this.revokeInvite(invite.token)
    peer.inRoster = false
    this.#strangers++
    peer.record = emptyRecord(peer.id, peer.record.addedAt)
    this.#emit({ kind: 'persist', key: `peer/${peer.key}`, sequence: ++this.#sequence, value: undefined, barrier: true })
  }

  /** Remembers something of a peer that need not be on disk before it is told. */
  note(peer: PeerEntry, change: Partial<PeerRecord>): void {
    peer.record = changed(peer.record, change)
    if (peer.inRoster) this.persist(peer, false)
  }

  noteAddress(peer: PeerEntry, address: Uint8Array): void {
    const first = peer.record.addresses[0]
    if (first !== undefined && equalBytes(first, address)) return
    this.note(peer, { addresses: mergeAddresses([address], peer.record.addresses) })
  }

  /** Durable before friends are told it: they would look for us by a key that we had forgotten. */
  persistPresence(keys: readonly PresenceKey[]): void {
    this.#emit({ kind: 'persist', key: 'node/presence', sequence: ++this.#sequence, value: { kind: 'presence', keys }, barrier: true })
  }

  persist(peer: PeerEntry, barrier: boolean): void {
    this.#emit({ kind: 'persist', key: `peer/${peer.key}`, sequence: ++this.#sequence, value: { kind: 'peer', record: peer.record }, barrier })
  }

  /**
   * The stamp of the next A or B to this peer (WIRE.md §3.7): the clock, or just above the last one. Noted in memory; the
   * caller sees to it that it is stored.
   */
  nextStamp(peer: PeerEntry, wall: WallTime): Uint8Array {
    const { lastSent } = peer.record
    const stamp = nextStamp(wall, this.#offered === undefined ? lastSent : laterStamp(lastSent, this.#offered))
    peer.record = changed(peer.record, { lastSent: stamp })
    return stamp
  }

  /** For an answer to nobody knows whom. Whoever it was counts it: later stamps are greater towards everybody, or a dial that crosses it would be taken for a replay. */
  offerStamp(wall: WallTime): Uint8Array {
    this.#offered = laterStamp(this.#offered, stampOf(wall))
    return this.#offered
  }

  /** Whether a stamp is newer than the greatest that was confirmed. */
  isFresh(peer: PeerEntry, stamp: Uint8Array): boolean {
    return peer.record.greatest === undefined || compareStamps(stamp, peer.record.greatest) > 0
  }

  // ── invites ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  inviteKey(token: Uint8Array): string {
    return toHex(inviteTokenId(this.#provider, token))
  }

  invites(): InviteRecord[] {
    return [...this.#invites.values()]
  }

  addInvite(invite: InviteRecord): boolean {
    if (this.#invites.size >= INVITES_MAX) return false
    const key = this.inviteKey(invite.token)
    this.#invites.set(key, invite)
    this.#persistInvite(key, invite)
    return true
  }

  revokeInvite(token: Uint8Array): boolean {
    const key = this.inviteKey(token)
    if (!this.#invites.delete(key)) return false
    this.#persistInvite(key, undefined)
    return true
  }

  /** Forgets invites that have expired. */
  expireInvites(now: Now): void {
    for (const [key, invite] of this.#invites) {
      if (invite.expires > now.wall) continue
      this.#invites.delete(key)
      this.#persistInvite(key, undefined)
    }
  }

  /** The key of the invite that admits this id, if its proof is right and it is not spent by others. Spends nothing. */
  admittingInvite(now: Now, payload: HandshakePayload): string | undefined {
    const invite = this.#provenInvite(payload)
    if (invite === undefined || invite.expires <= now.wall) return undefined
    return isSpender(invite, payload.id) || invite.spentBy.length < invite.uses ? toHex(payload.invite!.tokenId) : undefined
  }

  /** Whether this id holds a token of ours, good or not: then it may be told why it does not come in. */
  holdsInvite(payload: HandshakePayload): boolean {
    return this.#provenInvite(payload) !== undefined
  }

  /** Whether one more peer outside the roster can be known. */
  get hasRoom(): boolean {
    return this.#strangers < STRANGERS_MAX
  }

  #provenInvite(payload: HandshakePayload): InviteRecord | undefined {
    if (payload.invite === undefined) return undefined
    const invite = this.#invites.get(toHex(payload.invite.tokenId))
    if (invite === undefined) return undefined
    return verifyInviteProof(this.#provider, invite.token, payload.id, this.#self, payload.tai64n, payload.invite.proof) ? invite : undefined
  }

  /** The handshake that an invite admitted was confirmed: the peer is in the roster now. Returns the invite, if it still was there. */
  spendInvite(peer: PeerEntry, key: string): InviteRecord | undefined {
    const invite = this.#invites.get(key)
    if (invite === undefined) return undefined
    if (!isSpender(invite, peer.id)) {
      if (invite.spentBy.length >= invite.uses) return undefined
      const spent = { ...invite, spentBy: [...invite.spentBy, peer.id] }
      this.#invites.set(key, spent)
      this.#persistInvite(key, spent)
    }
    return invite
  }

  /** A reply to an invite of ours was carried back: its writer is in the roster now, and a use of the invite is spent. */
  acceptReply(now: Now, reply: InviteReply): PeerEntry | ReplyRefusal {
    const key = toHex(reply.tokenId)
    const invite = this.#invites.get(key)
    if (invite === undefined) return 'unknown'
    if (!verifyInviteReply(this.#provider, invite.token, this.#self, reply.content, reply.proof)) return 'forged'
    if (invite.expires <= now.wall) return 'expired'
    if (!isSpender(invite, reply.id) && invite.spentBy.length >= invite.uses) return 'spent'
    const peer = this.ensure(reply.id, now.wall)
    if (peer === undefined) return 'self'
    this.spendInvite(peer, key)
    this.add(peer, { name: peer.record.name ?? invite.name }, reply.addresses)
    return peer
  }

  #persistInvite(key: string, invite: InviteRecord | undefined): void {
    this.#emit({ kind: 'persist', key: `invite/${key}`, sequence: ++this.#sequence, value: invite === undefined ? undefined : { kind: 'invite', record: invite }, barrier: true })
  }

  #create(id: Uint8Array, staticKey: Uint8Array, record: PeerRecord, inRoster: boolean, wall: WallTime): PeerEntry | undefined {
    if (equalBytes(staticKey, this.#selfStatic)) return undefined
    const peer = new PeerEntry(this.#peers.length as PeerHandle, id, staticKey, compareBytes(this.#self, id) < 0, record, inRoster, wall)
    this.#peers.push(peer)
    this.#byId.set(tableKey(id), peer)
    if (!this.#byStatic.has(tableKey(staticKey))) this.#byStatic.set(tableKey(staticKey), peer)
    if (!inRoster) this.#strangers++
    return peer
  }
}

/** A literal and not a spread: the engine keeps all its members in one object, where a spread one has a table of 240 bytes beside it. */
function changed({ id, name, addresses, addedAt, connectedAt, hadSession, greatest, lastSent, policy, presence, invite }: PeerRecord, change: Partial<PeerRecord>): PeerRecord {
  return Object.assign({ id, name, addresses, addedAt, connectedAt, hadSession, greatest, lastSent, policy, presence, invite }, change)
}

function mergeAddresses(first: readonly Uint8Array[], then: readonly Uint8Array[]): Uint8Array[] {
  const merged: Uint8Array[] = []
  for (const address of [...first, ...then]) {
    if (merged.length < ADDRESSES_MAX && !merged.some((known) => equalBytes(known, address))) merged.push(address.slice())
  }
  return merged
}

/** The X25519 form of an id from the store, `undefined` for what is no point. */
function storedForm(provider: CryptoProvider, id: Uint8Array): Uint8Array | undefined {
  try {
    return provider.idToX25519(id)
  } catch {
    return undefined
  }
}

function isSpender(invite: InviteRecord, id: Uint8Array): boolean {
  return invite.spentBy.some((spender) => equalBytes(spender, id))
}

/** Table key of the other id with the same X25519 form: the map loses the sign (WIRE.md §2). */
function aliasKey(id: Uint8Array): string {
  const alias = id.slice()
  alias[31]! ^= 0x80
  return tableKey(alias)
}

/** 32 bytes as a short string: half the size of hexadecimal, and cheaper to hash. */
function tableKey(bytes: Uint8Array): string {
  return toBinaryString(bytes)
}
