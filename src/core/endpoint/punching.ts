import { ADDRESS_SIZE, equalAddress } from '../base/address.ts'
import { concat, equalConstantTime, toBinaryString } from '../base/bytes.ts'
import type { LinkId, PeerHandle } from '../base/domain.ts'
import { after, millisecond, never, second, toInstant, toWallTime, type Duration, type Instant, type Now } from '../base/time.ts'
import { dialThrough } from '../connection/dialing/dial.ts'
import { probeAt } from '../connection/paths/probing.ts'
import { birthdayRole, FAST_TIME, Freshening, guessAt, GuessBudget, Guesses, mayMeetAt, meetingPoint, REDRAW_TIME, REDRAWS, SOCKETS_MAX, type BirthdayRole } from '../path/birthday.ts'
import { allows } from '../path/path-policy.ts'
import { sameHost } from '../path/remotes.ts'
import { computeMac, knockKey } from '../session/macs.ts'
import { isHardMapping } from '../stun/nat-classes.ts'
import { decodeKnockDatagram, encodeKnockHead } from '../wire/datagram.ts'
import { connectPeer } from './connect.ts'
import type { BirthdayView, MeetOptions } from './contract.ts'
import type { Node } from './node.ts'
import type { PeerEntry } from './roster.ts'

/** Slot of its deadline in the heap. */
export const PUNCH_SLOT = 2

/** Where plain dialing leads somewhere, it has led there by then. */
const FIRST_TIME: Duration = 750 * millisecond
/** Meetings that wait for their round; more: {@link Punching.meet}. */
const MEETINGS_MAX = 64
/** A meeting waits for what it lacks (our own class, its turn) and looks again. */
const LOOK_TIME: Duration = 2 * second
/** Addresses that knocked and are dialed, or answered, in one round. */
const HEARD_MAX = 4
const ANSWERED_MAX = 64
/** Macs of knocks that are looked at in a second: a peer sends fifty, or 256 sockets once; who floods from its host costs no more. */
const MACS_PER_SECOND = 500
/** How often it is looked at whether a socket that was kept still carries a path. */
const SWEEP_TIME: Duration = 30 * second

interface Meeting {
  readonly peer: PeerEntry
  readonly byHand: boolean
  readonly until: Instant
  lookAt: Instant
  /** Begun by a session that runs over a connection: what is found becomes a path of it. */
  readonly session: boolean
}

interface RoundBase {
  readonly meeting: Meeting
  /** Where the other side is: its one address, or of a hard one its host. */
  readonly target: Uint8Array
  readonly key: Uint8Array
  readonly fastUntil: Instant
  readonly view: { -readonly [Key in keyof BirthdayView]: BirthdayView[Key] }
}

type Round =
  | RoundBase & { readonly role: 'easy'; readonly guesses: Guesses; readonly answered: Set<string> }
  | RoundBase & { readonly role: 'hard'; token: number; readonly sockets: Freshening<LinkId>; readonly heard: Set<LinkId>; redraws: number; redrawAt: Instant }

/**
 * Birthday probing between this node and peers that it has no session with (decision 098). One round at a time:
 *
 *     waiting ──0.75 s, one side hard──▶ fast, 35 s ──by hand──▶ slow, until patience is over ──▶ over
 *                                         └──────────── a session: over at once ────────────────┘
 *
 * Every socket that was opened for it is closed with the round, but those that a session has a path on.
 */
export class Punching {
  readonly #node: Node
  readonly #budget = new GuessBudget()
  readonly #meetings = new Map<PeerHandle, Meeting>()
  /** Sockets of rounds, open now: those of this round, and kept ones. */
  readonly #sockets = new Set<LinkId>()
  #round: Round | undefined
  #sweepAt: Instant = never
  /** Macs looked at since {@link #macsSince}. */
  #macs = 0
  #macsSince: Instant = toInstant(0)

  constructor(node: Node) {
    this.#node = node
  }

  /**
   * From now on this peer is looked for by both sides. Begun anew, it goes on with the round that runs; but what a person asked for is not cut short by others that
   * speak of the peer, and comes after a round that is because of them.
   */
  meet(now: Now, peer: PeerEntry, { patience, byHand: wished }: MeetOptions): void {
    if (peer.connection?.reachable === true || this.#node.shuttingDown || !this.#node.config.guessPorts) return
    const byHand = wished && peer.toldByHand !== undefined
    const known = this.#meetings.get(peer.handle)
    if (known?.byHand === true && !byHand && now.mono < known.until) return
    if (byHand) this.#leaveOldTarget(now, peer)
    const running = this.#round?.meeting.peer === peer && (this.#round.meeting.byHand || !byHand)
    const meeting: Meeting = { peer, byHand, until: after(now.mono, Math.max(patience, FIRST_TIME + FAST_TIME)), lookAt: after(now.mono, FIRST_TIME), session: false }
    this.#meetings.delete(peer.handle)
    if (!running && this.#makeRoom(byHand)) this.#meetings.set(peer.handle, meeting)
    this.#schedule(now)
  }

  /** The person has another link now, which says that the peer is elsewhere. */
  #leaveOldTarget(now: Now, peer: PeerEntry): void {
    const target = meetingPoint(peer.toldByHand?.addresses ?? [])
    const round = this.#round
    if (round?.meeting.peer === peer && round.meeting.byHand && target !== undefined && !equalAddress(target, 0, round.target, 0)) this.#finish(now, 'called_off')
  }

  /** Of too many meetings one that nobody waits for at the keyboard makes room, the first begun, and one that somebody waits for only to its like. */
  #makeRoom(byHand: boolean): boolean {
    if (this.#meetings.size < MEETINGS_MAX) return true
    const meetings = [...this.#meetings.values()]
    const goes = meetings.find((meeting) => !meeting.byHand) ?? (byHand ? meetings[0] : undefined)
    return goes !== undefined && this.#meetings.delete(goes.peer.handle)
  }

  /** There is a session, or there is to be none. */
  end(now: Now, handle: PeerHandle, outcome: 'met' | 'called_off' | 'in_vain'): void {
    this.#meetings.delete(handle)
    if (this.#round?.meeting.peer.handle === handle) this.#finish(now, outcome)
    this.#schedule(now)
  }

  /** What it had agreed on is of no use to anybody: not a datagram more goes to where its peer said that it is. */
  sessionEnded(now: Now, handle: PeerHandle): void {
    const meeting = this.#round?.meeting
    if (meeting?.session !== true || meeting.peer.handle !== handle) return
    this.#finish(now, 'called_off')
    this.#schedule(now)
  }

  /** A session that runs over a connection has agreed on a round with its peer. */
  guess(now: Now, peer: PeerEntry, role: BirthdayRole, target: Uint8Array): boolean {
    const round = this.#round
    if ((round !== undefined && now.mono < round.fastUntil) || this.#node.shuttingDown || !this.#node.config.guessPorts) return false
    const begun = this.#open(now, { peer, byHand: false, until: after(now.mono, FAST_TIME), lookAt: never, session: true }, role, target)
    this.#schedule(now)
    return begun
  }

  /** The node goes, and no round begins any more. */
  close(now: Now): void {
    this.#meetings.clear()
    if (this.#round !== undefined) this.#finish(now, 'called_off')
    for (const link of this.#sockets) this.#node.links.endSpare(link)
  }

  // ── what comes in ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A socket that a round asked for. It sends at once: that is what it is there for. */
  handleOpened(now: Now, link: LinkId, token: number | undefined): void {
    this.#sockets.add(link)
    const round = this.#round
    if (round?.role !== 'hard' || round.token !== token || round.sockets.size >= SOCKETS_MAX) {
      this.#node.links.endSpare(link)
      return
    }
    round.sockets.add(link, now.mono)
    round.view.sockets = Math.max(round.view.sockets, round.sockets.size)
    this.#knock(now, round, link, round.target)
    this.#schedule(now)
  }

  handleClosed(now: Now, link: LinkId): void {
    this.#sockets.delete(link)
    if (this.#round?.role === 'hard') this.#round.sockets.remove(link)
    this.#schedule(now)
  }

  /** A datagram that says to be a knock: of the peer of the running round, from where it may be, or of no use. */
  handleKnock(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    const { counters, provider } = this.#node
    const round = this.#round
    const knock = decodeKnockDatagram(bytes, offset, length)
    const expected = round !== undefined && knock.kind === 'knock' && knock.from !== round.role && this.#mayCome(round, link, from) && this.#mayLook(now.mono)
    if (!expected || !equalConstantTime(computeMac(provider, round.key, knock.head), knock.mac)) {
      counters.add('drop_knock')
      return
    }
    counters.add('knocks_received')
    round.view.heard++
    if (round.role === 'easy') this.#answer(now, round, link, from)
    else this.#dialThrough(now, round, link)
    this.#schedule(now)
  }

  /** The easy side is at its one address, and its knocks come by the sockets of the round; the hard one at any port of its host. */
  #mayCome(round: Round, link: LinkId, from: Uint8Array): boolean {
    return round.role === 'easy' ? sameHost(round.target, from) : this.#sockets.has(link) && equalAddress(round.target, 0, from, 0)
  }

  #mayLook(now: Instant): boolean {
    if (now - this.#macsSince >= second) {
      this.#macsSince = now
      this.#macs = 0
    }
    return ++this.#macs <= MACS_PER_SECOND
  }

  /** The hard side reaches us from there. A knock for a knock, no longer than it: its source is not proven. */
  #answer(now: Now, round: Extract<Round, { role: 'easy' }>, link: LinkId, from: Uint8Array): void {
    const source = toBinaryString(from)
    if (round.answered.has(source) || round.answered.size >= ANSWERED_MAX) return
    round.answered.add(source)
    this.#knock(now, round, link, from)
  }

  /** The easy side reaches us by this socket: the handshake goes through it. */
  #dialThrough(now: Now, round: Extract<Round, { role: 'hard' }>, link: LinkId): void {
    if (round.heard.has(link) || round.heard.size >= HEARD_MAX) return
    round.heard.add(link)
    round.sockets.remove(link)
    const { peer, session } = round.meeting
    if (!session && peer.connection?.state.dial === undefined) connectPeer(this.#node, now, peer.id, { addresses: [round.target], now: true })
    const { connection } = peer
    if (connection === undefined) return
    if (session) probeAt(connection.state, now, link, round.target, true)
    else dialThrough(connection.state, now, link, round.target)
    connection.update(now)
    this.#node.reschedule(connection)
  }

  // ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  handleTimeout(now: Now): void {
    const round = this.#round
    if (round !== undefined && now.mono >= this.#endOf(round)) this.#finish(now, 'in_vain')
    this.#beginNext(now)
    if (this.#round !== undefined) this.#send(now, this.#round)
    if (now.mono >= this.#sweepAt) this.#sweep(now, true)
    this.#schedule(now)
  }

  #endOf({ meeting, fastUntil }: Round): Instant {
    return meeting.byHand ? meeting.until : toInstant(Math.min(meeting.until, fastUntil))
  }

  #schedule(now: Now): void {
    let next: Instant = this.#sweepAt
    for (const { lookAt } of this.#meetings.values()) next = toInstant(Math.min(next, lookAt))
    const round = this.#round
    if (round !== undefined) next = toInstant(Math.min(next, this.#endOf(round), round.role === 'easy' ? round.guesses.nextAt : Math.min(round.redrawAt, round.sockets.nextAt(now.mono))))
    this.#node.deadlines.set(PUNCH_SLOT, next)
  }

  #send(now: Now, round: Round): void {
    if (round.role === 'hard') {
      if (now.mono >= round.redrawAt) this.#redraw(now, round)
      for (const link of round.sockets.take(now.mono)) this.#knock(now, round, link, round.target)
      return
    }
    const link = this.#node.linksTo(round.target)[0]
    for (let due = round.guesses.take(now.mono); due > 0; due--) if (link !== undefined) this.#knock(now, round, link, guessAt(round.target, this.#node.randomUnit()))
  }

  /** Other sockets in place of those on which nothing was heard. */
  #redraw(now: Now, round: Extract<Round, { role: 'hard' }>): void {
    const { links } = this.#node
    round.redrawAt = ++round.redraws < REDRAWS ? after(now.mono, REDRAW_TIME) : never
    links.cancelSockets(round.token)
    for (const link of round.sockets.clear()) links.endSpare(link)
    round.token = links.openSockets(SOCKETS_MAX)
  }

  #knock(now: Now, round: Round, link: LinkId, to: Uint8Array): void {
    const { counters, provider } = this.#node
    if (!this.#budget.take(now.mono, to, round.meeting.byHand)) {
      counters.add('knocks_withheld')
      return
    }
    const head = encodeKnockHead(round.role, this.#node.randomBytes(8))
    counters.add('knocks_sent')
    round.view.sent++
    this.#node.sendRaw(link, to, concat(head, computeMac(provider, round.key, head)))
  }

  // ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The first meeting whose time has come. A round in its slow part makes room, and waits for another turn. */
  #beginNext(now: Now): void {
    for (const meeting of [...this.#meetings.values()]) {
      if (meeting.lookAt > now.mono) continue
      const busy = this.#round !== undefined && now.mono < this.#round.fastUntil
      meeting.lookAt = after(now.mono, LOOK_TIME)
      if (meeting.until <= now.mono) this.#meetings.delete(meeting.peer.handle)
      else if (!busy) this.#tryBegin(now, meeting)
    }
  }

  #tryBegin(now: Now, meeting: Meeting): void {
    const node = this.#node
    const { peer } = meeting
    // A person's word allows for more datagrams than that of one who introduces: so it is about where that person said.
    const told = meeting.byHand ? peer.toldByHand : peer.whereabouts
    const peerHard = told?.hard === true
    // Our own class may become known yet.
    if (node.mapping === 'unknown' && !peerHard) return
    this.#meetings.delete(peer.handle)
    const role = birthdayRole(isHardMapping(node.mapping), peerHard)
    if (role === undefined || !allows(peer.record.policy ?? node.config.pathPolicy, 'udp')) return
    this.#open(now, meeting, role, meetingPoint(told?.addresses ?? []))
  }

  /** A round towards this address, if one may go there and the hour's datagrams are not spent: without a knock it would only keep others waiting. */
  #open(now: Now, meeting: Meeting, role: BirthdayRole, target: Uint8Array | undefined): boolean {
    const node = this.#node
    const { peer } = meeting
    if (target === undefined || !mayMeetAt(target, node.candidates.candidates) || !this.#budget.has(now.mono, target, meeting.byHand)) {
      node.counters.add('birthdays_refused')
      return false
    }
    const agreed = node.identity.agree(peer.staticKey, undefined)
    if (agreed === undefined) return false
    this.#yield(now)
    this.#begin(now, meeting, role, target, knockKey(node.provider, agreed, ...(peer.lower ? [node.identity.id, peer.id] as const : [peer.id, node.identity.id] as const)))
    return true
  }

  #begin(now: Now, meeting: Meeting, role: BirthdayRole, target: Uint8Array, key: Uint8Array): void {
    this.#node.counters.add('birthdays_begun')
    const at = toWallTime(now.wall)
    const view: BirthdayView = { role, target: target.slice(0, ADDRESS_SIZE), startedAt: at, endedAt: undefined, outcome: 'running', sent: 0, heard: 0, sockets: 0 }
    const base = { meeting, target, key, fastUntil: after(now.mono, FAST_TIME), view }
    meeting.peer.birthday = view
    this.#round = role === 'easy' ? { ...base, role, guesses: new Guesses(now.mono), answered: new Set() }
      : { ...base, role, token: this.#node.links.openSockets(SOCKETS_MAX), sockets: new Freshening(now.mono), heard: new Set(), redraws: 0, redrawAt: after(now.mono, REDRAW_TIME) }
  }

  /** The slow part of another meeting waits for its next turn. */
  #yield(now: Now): void {
    const round = this.#round
    if (round === undefined) return
    const { meeting } = round
    this.#finish(now, 'called_off')
    if (!meeting.session) this.#meetings.set(meeting.peer.handle, { ...meeting, lookAt: after(now.mono, FAST_TIME) })
  }

  #finish(now: Now, outcome: 'met' | 'called_off' | 'in_vain'): void {
    const round = this.#round!
    this.#round = undefined
    this.#node.counters.add(outcome === 'met' ? 'birthdays_met' : outcome === 'in_vain' ? 'birthdays_in_vain' : 'birthdays_called_off')
    round.view.outcome = outcome
    round.view.endedAt = toWallTime(now.wall)
    if (round.role === 'hard') this.#node.links.cancelSockets(round.token)
    this.#sweep(now)
  }

  /** Closes sockets that no session has a path on, or a while later: none that it uses. Several may have been heard on, and the other side may have taken another one first. */
  #sweep(now: Now, settled = false): void {
    const node = this.#node
    if (this.#round?.role !== 'hard' && this.#sockets.size > 0) {
      const used = new Set<LinkId>()
      for (const connection of node.sessions) for (const path of connection?.state.paths ?? []) if (path !== undefined && (!settled || path === connection?.state.active)) used.add(path.link)
      for (const link of this.#sockets) if (!used.has(link)) node.links.endSpare(link)
    }
    this.#sweepAt = this.#sockets.size > 0 ? after(now.mono, SWEEP_TIME) : never
  }
}
