import { ADDRESS_SIZE, isIPv4, portOf } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import { toBinaryString, writeU16 } from '../base/bytes.ts'
import { after, millisecond, minute, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { Candidate } from '../wire/candidates-frame.ts'
import { sameHost } from './remotes.ts'

/**
 * Birthday probing (WIRE.md §5, decision 098): the hard side, whose router takes another port for each destination, has many sockets that all
 * send to the easy side's one address; the easy side sends to random ports of the hard side's one address. When a guess meets the port of one of
 * the sockets, both routers have that way open.
 */

/** Sockets of the hard side at once. */
export const SOCKETS_MAX = 256
/**
 * [P] Twice, after so long, they are exchanged for others on other ports: the easy side's router still has the ways of all guesses open, so that
 * 300 of them stand against 256 new ports at once. Not more often, since some providers give a home a thousand ports.
 */
export const REDRAW_TIME: Duration = 6 * second
export const REDRAWS = 2
/** Guesses of the easy side in the fast part: P = 0.999 that one meets, half of all rounds end after 175. */
export const GUESSES_MAX = 1750
const GUESS_TIME: Duration = 20 * millisecond
/** WIRE.md §5. */
export const FAST_TIME: Duration = 35 * second
/** [P] Where nobody says when the other one begins: as much traffic as the hard side needs to keep its ways open. */
const SLOW_GUESS_TIME: Duration = 100 * millisecond
/** Guesses that a timer which comes late makes up for. */
const LATE_MAX = 4
/** [P] A router forgets an unanswered way out after 30 s, some sooner. */
const FRESHEN_FAST: Duration = 10 * second
const FRESHEN_SLOW: Duration = 25 * second
/** Knocks of the hard side that go at once, and the pause behind them. */
const BURST = 16
const BURST_TIME: Duration = 10 * millisecond
/** Ports that are guessed: routers give out none below (RFC 4787 REQ-3 keeps the ranges apart). */
const PORT_MIN = 1024
const PORT_COUNT = 65_536 - PORT_MIN
const LOW_PORTS: readonly number[] = [443, 3478]
/** Datagrams to one host in an hour, because of introductions and sessions, and because of a meeting that a person asked for. */
const HOUR_PACKETS = GUESSES_MAX
const HOUR_PACKETS_BY_HAND = 20_000
const HOUR: Duration = 60 * minute
/** Hosts that are counted; when full, one whose hour is over makes room, else nobody else is guessed at. */
const HOSTS_MAX = 256

export type BirthdayRole = 'hard' | 'easy'

/** Which part this side has. None where both are alike: two easy ones meet without, two hard ones would need 65,000 sockets. */
export function birthdayRole(ownHard: boolean, peerHard: boolean): BirthdayRole | undefined {
  return ownHard === peerHard ? undefined : ownHard ? 'hard' : 'easy'
}

/** The one address that a round is about: of what a peer told, the last of the public net, since what servers see is told last. */
export function meetingPoint(addresses: readonly Uint8Array[]): Uint8Array | undefined {
  return addresses.findLast((address) => isIPv4(address) && addressClass(address) === 'global')?.slice(0, ADDRESS_SIZE)
}

/** Whether datagrams may go there, hundreds of them, because a peer said that it is there: no services of others, and not our own router. */
export function mayMeetAt(address: Uint8Array, ours: readonly Candidate[]): boolean {
  const port = portOf(address)
  return addressClass(address) === 'global' && (port >= PORT_MIN || LOW_PORTS.includes(port)) && !ours.some((own) => sameHost(own.address, address))
}

/** A random port of the host, by a random number in 0 ≤ x < 1. */
export function guessAt(host: Uint8Array, unit: number): Uint8Array {
  const address = host.slice(0, ADDRESS_SIZE)
  writeU16(address, 16, PORT_MIN + Math.min(PORT_COUNT - 1, Math.floor(unit * PORT_COUNT)))
  return address
}

/** When the easy side guesses: fast at first, then, if the round goes on, ten times a second. */
export class Guesses {
  sent = 0
  readonly #slowAt: Instant
  #nextAt: Instant

  constructor(now: Instant) {
    this.#nextAt = now
    this.#slowAt = after(now, FAST_TIME)
  }

  get nextAt(): Instant {
    return this.#nextAt
  }

  /** How many are due; what is later than {@link LATE_MAX} of them is not made up for. */
  take(now: Instant): number {
    let due = 0
    for (; this.#nextAt <= now && due < LATE_MAX; due++) {
      this.sent++
      this.#nextAt = after(this.#nextAt, this.#pause(now))
    }
    if (this.#nextAt <= now) this.#nextAt = after(now, this.#pause(now))
    return due
  }

  #pause(now: Instant): Duration {
    return now < this.#slowAt && this.sent < GUESSES_MAX ? GUESS_TIME : SLOW_GUESS_TIME
  }
}

/** When the hard side's sockets send: at once when they are open, and again before routers forget it. */
export class Freshening<Socket> {
  readonly #slowAt: Instant
  /** The one that sent longest ago first. BOUNDED by {@link SOCKETS_MAX}, which are asked for. */
  readonly #sockets: { readonly socket: Socket; readonly sentAt: Instant }[] = []
  #burstAt: Instant = toInstant(0)

  constructor(now: Instant) {
    this.#slowAt = after(now, FAST_TIME)
  }

  get size(): number {
    return this.#sockets.length
  }

  /** It has sent just now. */
  add(socket: Socket, now: Instant): void {
    this.#sockets.push({ socket, sentAt: now })
  }

  /** Takes all of them out. */
  clear(): Socket[] {
    return this.#sockets.splice(0).map(({ socket }) => socket)
  }

  remove(socket: Socket): void {
    const at = this.#sockets.findIndex((entry) => entry.socket === socket)
    if (at >= 0) this.#sockets.splice(at, 1)
  }

  nextAt(now: Instant): Instant {
    const [first] = this.#sockets
    return first === undefined ? never : toInstant(Math.max(after(first.sentAt, this.#interval(now)), this.#burstAt))
  }

  /** Those that shall send now. */
  take(now: Instant): Socket[] {
    if (now < this.#burstAt) return []
    const interval = this.#interval(now)
    const due: Socket[] = []
    for (let first = this.#sockets[0]; first !== undefined && due.length < BURST && after(first.sentAt, interval) <= now; first = this.#sockets[0]) {
      this.#sockets.shift()
      this.#sockets.push({ socket: first.socket, sentAt: now })
      due.push(first.socket)
    }
    if (due.length > 0) this.#burstAt = after(now, BURST_TIME)
    return due
  }

  #interval(now: Instant): Duration {
    return now < this.#slowAt ? FRESHEN_FAST : FRESHEN_SLOW
  }
}

/** What goes to one host in an hour because somebody named it: over all peers and rounds. */
export class GuessBudget {
  readonly #hosts = new Map<string, { since: Instant; packets: number }>()

  /** Whether one more datagram may go to this host; it is counted. `byHand`: a person asked for the meeting. */
  take(now: Instant, address: Uint8Array, byHand: boolean): boolean {
    const host = hostKey(address)
    let known = this.#hosts.get(host)
    if (known === undefined || now - known.since >= HOUR) {
      if (known === undefined && this.#hosts.size >= HOSTS_MAX && !this.#makeRoom(now)) return false
      known = { since: now, packets: 0 }
      this.#hosts.set(host, known)
    }
    if (known.packets >= (byHand ? HOUR_PACKETS_BY_HAND : HOUR_PACKETS)) return false
    known.packets++
    return true
  }

  /** Whether anything is left for this host. */
  has(now: Instant, address: Uint8Array, byHand: boolean): boolean {
    const known = this.#hosts.get(hostKey(address))
    return known === undefined || now - known.since >= HOUR || known.packets < (byHand ? HOUR_PACKETS_BY_HAND : HOUR_PACKETS)
  }

  #makeRoom(now: Instant): boolean {
    for (const [host, { since }] of this.#hosts) if (now - since >= HOUR) return this.#hosts.delete(host)
    return false
  }
}

function hostKey(address: Uint8Array): string {
  return toBinaryString(address.subarray(0, ADDRESS_SIZE - 2))
}
