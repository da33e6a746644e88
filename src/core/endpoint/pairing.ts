import type { PresenceKey } from '../session/presence.ts'
import type { PeerHandle } from '../base/domain.ts'
import { toHex } from '../base/bytes.ts'
import { after, minute, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import { acceptPairing, endPairing } from '../connection/pairing/pairing.ts'
import { PairingExchange } from '../connection/pairing/pairing-exchange.ts'
import type { Connection } from '../connection/connection.ts'
import type { Counters } from '../base/counters.ts'
import type { CounterName, ReadyMember } from '../connection/host.ts'
import type { EndpointEvent } from './contract.ts'
import type { Roster } from './roster.ts'

/** From the handshake to the code: three messages. Who takes longer is not there, or not honest. */
const EXCHANGE_TIME: Duration = 8 * second
/** How long two people have to compare. */
const COMPARE_TIME: Duration = 2 * minute
/** Who was compared for so long makes room for somebody who waits, unless our user has said yes. */
const COMPARE_SURE: Duration = 30 * second
/** A window stays open no longer, whatever is asked for. */
const WINDOW_MAX: Duration = 10 * minute
/** Strangers at once: those that we dialed, and those that dialed us. Whoever dials takes no place of those whom we look for. */
const GUESTS_MAX = 2
/** Exchanges of which the other side knew our nonce, and that came to nothing, close the window: with four at once on either side, five tries in a million. */
const TRIES_MAX = 64
/** Exchanges with one address that came to nothing, before it is let in no more while the window is open; addresses of which that is remembered, the oldest leaves. */
const ADDRESS_FAILURES_MAX = 3
const ADDRESSES_MAX = 64

/** What it needs of its node. */
export interface PairingHost {
  readonly counters: Counters<CounterName>
  readonly roster: Roster
  randomBytes(length: number): Uint8Array
  presenceFor(peer: PeerHandle): unknown
  learnPresence(peer: PeerHandle, key: PresenceKey): void
  push(event: EndpointEvent): void
  markReady(session: ReadyMember): void
  reschedule(connection: Connection): void
}

interface Guest {
  readonly connection: Connection
  readonly exchange: PairingExchange
  readonly since: Instant
  /** Of the device, 18 bytes in hexadecimal. */
  readonly address: string
  /** In our roster already: an earlier pairing was cut off before the peer knew. The session is free, and nothing depends on the exchange here. */
  readonly friend: boolean
  done: boolean
  /** Told by who has both yes already, while ours is on its way; the newest counts. */
  presence: PresenceKey | undefined
}

/** The pairing window: while it is open, strangers may begin a handshake and compare a code; nothing else is open to them. */
export class Pairing {
  readonly #node: PairingHost
  #until: Instant = toInstant(0)
  #tries = 0
  readonly #guests = new Map<PeerHandle, Guest>()
  /** Exchanges in vain by address, of this window. */
  readonly #failures = new Map<string, number>()

  constructor(node: PairingHost) {
    this.#node = node
  }

  isOpen(now: Now): boolean {
    return now.mono < this.#until
  }

  /** Peers that compare, or are about to. */
  get size(): number {
    return [...this.#guests.values()].filter(({ done }) => !done).length
  }

  open(now: Now, duration: Duration): void {
    this.#until = after(now.mono, Math.min(duration, WINDOW_MAX))
    this.#tries = 0
    this.#failures.clear()
  }

  close(now: Now): void {
    this.#until = toInstant(0)
    for (const guest of [...this.#guests.values()]) if (!guest.done) this.#end(now, guest)
  }

  /**
   * Whether a stranger at this address may compare, whom we dialed or who dialed us. Those who do may all come to nothing.
   *
   * @param peer who it is, if known: it does not stand in its own way
   */
  hasRoom(now: Now, dialed: boolean, address: Uint8Array, peer?: PeerHandle): boolean {
    if (!this.isOpen(now) || (this.#failures.get(toHex(address)) ?? 0) >= ADDRESS_FAILURES_MAX) return false
    if (this.#tries + this.#inTheWay(true).length + this.#inTheWay(false).length >= TRIES_MAX) return false
    return this.#inTheWay(dialed, peer).length < GUESTS_MAX || this.#mayLeave(now, dialed) !== undefined
  }

  /**
   * An XX handshake with a friend is done, who may be one on our side alone, because the last word of a pairing was lost: if it wants to compare, we do,
   * and if not, nothing comes of it.
   */
  beginAgain(now: Now, connection: Connection, h: Uint8Array, dialed: boolean, address: Uint8Array): void {
    const { peer } = connection.state
    if (!this.isOpen(now) || this.#guests.has(peer) || [...this.#guests.values()].filter(({ friend }) => friend).length >= GUESTS_MAX) return
    this.#add(now, connection, h, dialed, address, true)
  }

  /** An XX handshake with a stranger is done: the session is for comparing, and for nothing else. */
  begin(now: Now, connection: Connection, h: Uint8Array, dialed: boolean, address: Uint8Array): void {
    const { state } = connection
    if (this.#inTheWay(dialed).length >= GUESTS_MAX) {
      const leaving = this.#mayLeave(now, dialed)
      if (leaving !== undefined) {
        this.#node.counters.add('pairings_displaced')
        this.#end(now, leaving)
      }
    }
    state.restricted = true
    state.candidatesWanted = false
    this.#node.counters.add('pairings_begun')
    this.#add(now, connection, h, dialed, address, false)
  }

  #add(now: Now, connection: Connection, h: Uint8Array, dialed: boolean, address: Uint8Array, friend: boolean): void {
    const exchange = new PairingExchange((length) => this.#node.randomBytes(length), h, dialed)
    connection.state.pairing = exchange
    this.#guests.set(connection.state.peer, { connection, exchange, since: now.mono, address: toHex(address), friend, done: false, presence: undefined })
    this.#node.markReady(connection)
  }

  accept(now: Now, peer: PeerHandle): boolean {
    const guest = this.#guests.get(peer)
    if (guest === undefined || !acceptPairing(guest.connection.state)) return false
    guest.connection.update(now)
    this.#node.reschedule(guest.connection)
    return true
  }

  reject(now: Now, peer: PeerHandle): boolean {
    const guest = this.#guests.get(peer)
    if (guest === undefined || guest.done) return false
    this.#end(now, guest)
    return true
  }

  /** Both said yes. */
  done(peer: PeerHandle): void {
    const node = this.#node
    const guest = this.#guests.get(peer)
    const entry = node.roster.get(peer)
    if (guest === undefined || entry === undefined || guest.done) return
    guest.done = true
    node.counters.add('pairings_done')
    node.roster.add(entry, {}, [])
    endPairing(guest.connection.state)
    if (guest.presence !== undefined) node.learnPresence(peer, guest.presence)
    guest.connection.state.presenceWanted = node.presenceFor(peer) !== undefined
    node.push({ kind: 'paired', peer })
  }

  /** Keeps the key of who is not in the roster yet; false when nobody compares with it. */
  keepPresence(peer: PeerHandle, key: PresenceKey): boolean {
    const guest = this.#guests.get(peer)
    if (guest === undefined) return false
    guest.presence = key
    return true
  }

  /** The session is over, by whomever. */
  ended(peer: PeerHandle): void {
    const guest = this.#guests.get(peer)
    if (guest === undefined) return
    this.#guests.delete(peer)
    if (guest.done) return
    if (guest.friend) {
      guest.connection.state.pairing = undefined
      if (guest.exchange.state === 'compared') this.#node.push({ kind: 'pairing-ended', peer })
      return
    }
    this.#node.counters.add('pairings_failed')
    if (guest.exchange.state !== 'begun') {
      this.#remember(guest.address)
      // Before our nonce is known the digits are not, to anybody: who leaves by then made no try, and may have found no room over there.
      if (++this.#tries >= TRIES_MAX) this.#until = toInstant(0)
    }
    this.#node.push({ kind: 'pairing-ended', peer })
  }

  /** The way to it is gone, and nothing else leads there. */
  lost(now: Now, connection: Connection): void {
    const guest = this.#guests.get(connection.state.peer)
    if (guest?.connection === connection && !guest.done && !connection.reachable) this.#end(now, guest)
  }

  handleTimeout(now: Now): void {
    for (const [peer, guest] of [...this.#guests]) {
      if (now.mono < deadlineOf(guest)) continue
      if (guest.done) {
        // Its last word, had it been lost, has long gone again.
        guest.connection.state.pairing = undefined
        this.#guests.delete(peer)
      } else {
        if (guest.exchange.state !== 'compared' && !guest.friend) {
          this.#node.counters.add('pairings_stalled')
          if (guest.exchange.state === 'begun') this.#remember(guest.address)
        }
        this.#end(now, guest)
      }
    }
  }

  nextTimeout(): Instant {
    let next: Instant = never
    for (const guest of this.#guests.values()) {
      const deadline = deadlineOf(guest)
      if (deadline < next) next = deadline
    }
    return next
  }

  /** Strangers of one kind, those whom we dialed or those who dialed us, that are not friends yet. */
  #inTheWay(dialed: boolean, except?: PeerHandle): Guest[] {
    return [...this.#guests.values()].filter(({ done, friend, exchange, connection }) => !done && !friend && exchange.initiator === dialed && connection.state.peer !== except)
  }

  /** The one who was compared long enough, the longest first: two people who look at the code have said so by then. */
  #mayLeave(now: Now, dialed: boolean): Guest | undefined {
    return this.#inTheWay(dialed).find(({ since, exchange }) => !exchange.accepted && now.mono >= after(since, COMPARE_SURE))
  }

  #remember(address: string): void {
    const failures = this.#failures
    const count = (failures.get(address) ?? 0) + 1
    failures.delete(address)
    failures.set(address, count)
    if (failures.size > ADDRESSES_MAX) failures.delete(failures.keys().next().value!)
  }

  /** Its place is free at once, while the session still says goodbye. */
  #end(now: Now, { connection, friend, exchange }: Guest): void {
    // A friend stays one; who said yes or no over there hears that it came to nothing.
    if (!friend || exchange.state === 'compared') {
      connection.close(now, 'not_admitted', '')
      this.#node.reschedule(connection)
    }
    this.ended(connection.state.peer)
  }
}

function deadlineOf({ since, exchange, done }: Guest): Instant {
  return after(since, done || exchange.state === 'compared' ? COMPARE_TIME : EXCHANGE_TIME)
}
