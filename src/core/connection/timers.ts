import { never, toInstant, type Instant } from '../base/time.ts'

/** What a session waits for. Each has one deadline; what happens is in `connection.ts` beside `handleTimeout`. */
export const timer = {
  /** An acknowledgement was delayed long enough. */
  ack: 0,
  /** Packets count as lost by time, or a probe is due, on some path. */
  loss: 1,
  /** The pacer lets the next burst go. */
  pace: 2,
  /** An idle path needs a datagram, so that NATs keep their entry. */
  keepAlive: 3,
  /** A path challenge is to be repeated or has failed, or an old path has had its time. */
  path: 4,
  /** The only path was silent for too long. */
  liveness: 5,
  /** Unreliable messages in reassembly have had their time. */
  reassembly: 6,
  /** An incoming channel was not decided, or a closing one did not drain. */
  channel: 7,
  /** The current keys are old enough to be replaced. */
  rekey: 8,
  /** Some keys must be wiped. */
  wipe: 9,
  /** The next handshake datagram or attempt. */
  dial: 10,
  /** The closing state ends. */
  closing: 11,
  /** Storage of a quiet session is given back; an unreachable one ends. */
  idle: 12,
  /** Addresses of a better kind of path are asked whether they answer. */
  probe: 13,
  /** Connections are dialed, or a dial of one has had its time. */
  carrier: 14,
  /** Messages that wait to be sent are late. */
  deadline: 15,
  /** The next step of punching inside the session. */
  punch: 16,
} as const

export type TimerKind = (typeof timer)[keyof typeof timer]
const TIMER_COUNT = 17

/** The deadlines of one session as a table. */
export class TimerTable {
  // Plain numbers: a typed array of more than 64 bytes costs 300 more of its own, in every session.
  readonly #deadlines: number[] = new Array<number>(TIMER_COUNT).fill(Infinity)

  get(kind: TimerKind): Instant {
    return toInstant(this.#deadlines[kind]!)
  }

  set(kind: TimerKind, deadline: Instant): void {
    this.#deadlines[kind] = deadline
  }

  /** Sets the deadline unless an earlier one stands. */
  setEarlier(kind: TimerKind, deadline: Instant): void {
    if (deadline < this.#deadlines[kind]!) this.#deadlines[kind] = deadline
  }

  clear(kind: TimerKind): void {
    this.#deadlines[kind] = never
  }

  clearAll(): void {
    this.#deadlines.fill(Infinity)
  }

  /** Whether the deadline has come; it is cleared then. */
  take(kind: TimerKind, now: Instant): boolean {
    if (this.#deadlines[kind]! > now) return false
    this.#deadlines[kind] = never
    return true
  }

  next(): Instant {
    const deadlines = this.#deadlines
    let earliest = Infinity
    for (let kind = 0; kind < TIMER_COUNT; kind++) {
      if (deadlines[kind]! < earliest) earliest = deadlines[kind]!
    }
    return toInstant(earliest)
  }
}
