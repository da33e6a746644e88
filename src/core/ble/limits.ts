import { minute, second, type Duration } from '../base/time.ts'

/** Of one link (WIRE.md §7, except where it says ours). */
export interface BleLinkLimits {
  /** From the opened link to the other side's HELLO. */
  readonly hello: Duration
  /** Without credit while data waits. */
  readonly credit: Duration
  /** From the opened link to `confirm`. */
  readonly confirm: Duration
  /** Ours: the controller takes something of what it was given within this. */
  readonly stalled: Duration
  /** Ours: how long a BYE may take on its way out. */
  readonly linger: Duration
  /** Segments that the other side may send before we have said that we took them. */
  readonly credits: number
  /** Ours: values in the controller. Two keep it busy while the next is on its way, and an urgent datagram waits for no more. */
  readonly unsentMax: number
  /** Ours: bytes of datagrams that wait for credit or the controller, and their number; what is given beyond is dropped. A core that heeds `writable` has one there. */
  readonly queueBytesMax: number
  readonly queueMax: number
}

export const bleLinkLimits: BleLinkLimits = {
  hello: 5 * second,
  credit: 5 * second,
  confirm: 10 * second,
  stalled: 10 * second,
  linger: second,
  credits: 16,
  unsentMax: 2,
  queueBytesMax: 131_072,
  queueMax: 1024,
}

/** Of the radio: how many links, how often what is tried (all ours, but for the four unconfirmed links). */
export interface BleRadioLimits {
  /** Links that this side dialed, with dials under way, and links that others dialed. */
  readonly outMax: number
  readonly inMax: number
  /** Links without a session, of both kinds. */
  readonly unconfirmedMax: number
  /** One dial of the controller. Peers that went away never answer. */
  readonly connect: Duration
  /** Dials that wait for the controller, which does one at a time; more are refused. */
  readonly dialsMax: number
  /** Pause after a dial or a link that came to nothing, doubled each time. */
  readonly backoffMin: Duration
  readonly backoffMax: Duration
  /** A link that held so long was a good one: its address starts afresh. */
  readonly steady: Duration
  /** Addresses that are remembered: those seen, and those that rest. Strangers leave first, then who was heard longest ago. */
  readonly sightingsMax: number
  /** A device that was not heard for so long is out of range; for longer, where the power mode listens seldom. */
  readonly sightingAge: Duration
}

export const bleRadioLimits: BleRadioLimits = {
  outMax: 6,
  inMax: 4,
  unconfirmedMax: 4,
  connect: 8 * second,
  dialsMax: 8,
  backoffMin: 2 * second,
  backoffMax: 5 * minute,
  steady: 30 * second,
  sightingsMax: 256,
  sightingAge: 90 * second,
}
