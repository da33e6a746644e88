import { millisecond, type Duration } from '../base/time.ts'

/** When a request over UDP is sent again, and when it is given up (RFC 8489 §6.2.1). */
export interface StunSchedule {
  /** The first pause (RTO); each is twice the one before. */
  readonly rto: Duration
  /** Rc: how often the request is sent in all. */
  readonly sends: number
  /** Rm: the wait behind the last one, as a multiple of the RTO. */
  readonly lastWait: number
}

/** RFC 8489 §6.2.1: RTO 500 ms, Rc 7, Rm 16; given up after 39.5 s. */
export const STUN_SCHEDULE: StunSchedule = { rto: 500 * millisecond, sends: 7, lastWait: 16 }

/** [P] For one who has other servers to ask, or for whom silence is an answer: sent at 0, 0.5 and 1.5 s, given up after 3.5 s. */
export const STUN_SCHEDULE_SHORT: StunSchedule = { rto: 500 * millisecond, sends: 3, lastWait: 4 }

/** Over TCP nothing is repeated (RFC 8489 §6.2.2). [P] Its Ti of 39.5 s is cut to 5 s for the same reason: connecting and asking takes two round trips. */
export const STUN_SCHEDULE_STREAM: StunSchedule = { rto: 5000 * millisecond, sends: 1, lastWait: 1 }

const JITTER = 0.1
/** [P] A wireless link may be busy for so long. */
const RTO_MIN: Duration = 250 * millisecond

/** How long after the first sending number `send` goes out, 0 being the first. `stretch` is {@link jitter} of this transaction. */
export function sendOffset({ rto }: StunSchedule, send: number, stretch: number): Duration {
  return rto * stretch * (2 ** send - 1)
}

export function giveUpOffset(schedule: StunSchedule, stretch: number): Duration {
  return sendOffset(schedule, schedule.sends - 1, stretch) + schedule.rto * schedule.lastWait * stretch
}

/** 0.9 … 1.1 of a random number in 0 ≤ x < 1, so that nodes that began together do not go on together. */
export function jitter(unit: number): number {
  return 1 - JITTER + 2 * JITTER * unit
}

/** The schedule for a server whose round trip is known (RFC 8489 §6.2.1 by RFC 6298): nobody waits half a second for who answers in ten milliseconds. */
export function scheduleFor(schedule: StunSchedule, rtt: Duration | undefined): StunSchedule {
  return rtt === undefined ? schedule : { ...schedule, rto: Math.min(schedule.rto, Math.max(RTO_MIN, 3 * rtt)) }
}
