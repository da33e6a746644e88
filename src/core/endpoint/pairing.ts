import type { PresenceKey } from '../session/presence.ts'
import type { PeerHandle } from '../base/domain.ts'
import { after, minute, never, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import { acceptPairing, endPairing } from '../connection/pairing.ts'
import { PairingExchange } from '../connection/pairing-exchange.ts'
import type { Connection } from '../connection/connection.ts'
import type { Counters } from '../base/counters.ts'
import type { CounterName, ReadyMember } from '../connection/host.ts'
import type { EndpointEvent } from './contract.ts'
import type { Roster } from './roster.ts'

/** How long two people have to compare. */
const COMPARE_TIME: Duration = 2 * minute
/** A window stays open no longer, whatever is asked for. */
const WINDOW_MAX: Duration = 10 * minute
/** Strangers at once; a further one is not let in. */
const STRANGERS_MAX = 4
/** Exchanges that ended without a yes close the window: each is a try of one in a million for somebody in between. */
const FAILURES_MAX = 5

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
  readonly until: Instant
  done: boolean
  /** Told by who has both yes already, while ours is on its way; the newest counts. */
  presence: PresenceKey | undefined
}

/** The pairing window: while it is open, strangers may begin a handshake and compare a code; nothing else is open to them. */
export class Pairing {
  readonly #node: PairingHost
  #until: Instant = toInstant(0)
  #failures = 0
  readonly #guests = new Map<PeerHandle, Guest>()

  constructor(node: PairingHost) {
    this.#node = node
  }

  isOpen(now: Now): boolean {
    return now.mono < this.#until
  }

  open(now: Now, duration: Duration): void {
    this.#until = after(now.mono, Math.min(duration, WINDOW_MAX))
    this.#failures = 0
  }

  close(now: Now): void {
    this.#until = toInstant(0)
    for (const { connection, done } of [...this.#guests.values()]) {
      if (done) continue
      connection.close(now, 'not_admitted', '')
      this.#node.reschedule(connection)
    }
  }

  /** Whether one more stranger may compare: those who do may all come to nothing. */
  get hasRoom(): boolean {
    let comparing = 0
    for (const { done } of this.#guests.values()) if (!done) comparing++
    return this.#guests.size < STRANGERS_MAX && this.#failures + comparing < FAILURES_MAX
  }

  /** An XX handshake with a stranger is done: the session is for comparing, and for nothing else. */
  begin(now: Now, connection: Connection, h: Uint8Array, initiator: boolean): void {
    const { state } = connection
    state.pairing = new PairingExchange((length) => this.#node.randomBytes(length), h, initiator)
    state.restricted = true
    state.candidatesWanted = false
    this.#guests.set(state.peer, { connection, until: after(now.mono, COMPARE_TIME), done: false, presence: undefined })
    this.#node.counters.add('pairings_begun')
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
    guest.connection.close(now, 'not_admitted', '')
    this.#node.reschedule(guest.connection)
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
    this.#node.counters.add('pairings_failed')
    if (++this.#failures >= FAILURES_MAX) this.#until = toInstant(0)
    this.#node.push({ kind: 'pairing-ended', peer })
  }

  handleTimeout(now: Now): void {
    for (const [peer, guest] of [...this.#guests]) {
      if (now.mono < guest.until) continue
      if (guest.done) {
        // Its last word, had it been lost, has long gone again.
        guest.connection.state.pairing = undefined
        this.#guests.delete(peer)
      } else {
        guest.connection.close(now, 'not_admitted', '')
        this.#node.reschedule(guest.connection)
      }
    }
  }

  nextTimeout(): Instant {
    let next: Instant = never
    for (const { until } of this.#guests.values()) if (until < next) next = until
    return next
  }
}
